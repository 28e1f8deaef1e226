defmodule Tidepool.Actor.BucketTest do
  # What a bucket's process answers while its writes are under way: they are heard of when the test says so. The store is the node's.
  use Tidepool.Case, async: true

  alias Tidepool.Error
  alias Tidepool.Actor.Activation.{Activity, Guest, OutputGate, ReadCache, State}
  alias Tidepool.Actor.Bucket
  alias Tidepool.Actor.Journal.Record

  doctest Bucket

  @most 1_000_000_000

  setup do
    class = Bucket.class(nil)
    record = Record.new(Bucket.function(class), nil)
    state = %State{class: class, name: unique_name("bucket"), activity: Activity.new(), record: record}
    %{state: Guest.Bucket.own(state)}
  end

  # The answer, and whether a caller would have it now.
  defp ask(state, question) do
    {answer, state} = question |> :erlang.term_to_binary() |> Guest.Bucket.run(state)
    tag = make_ref()
    state = State.answer(state, {self(), tag}, answer)
    {_when, outcome} = answer
    {told(outcome), tag, state}
  end

  defp ask!(state, question) do
    {answer, _tag, state} = ask(state, question)
    {answer, state}
  end

  defp told({:ok, reply}), do: :erlang.binary_to_term(reply)
  defp told({:error, %Error{reason: reason}}), do: {:error, reason}

  # All that can be asked of it.
  defp seen(state) do
    questions =
      for(from <- [nil, "", "b", "c", "zz"], limit <- 1..6, do: {:list, from, limit}) ++
        [
          {:get, ["a", "b", "c", "d", "e", "f", ""], @most}
          | for(key <- ["a", "b", "c", "d", "e", "f"], do: {:exists, key})
        ]

    Enum.map_reduce(questions, state, fn question, state -> ask!(state, question) end)
  end

  test "what is not on disk yet is seen as what is, whether it was set, set anew or deleted", %{state: state} do
    {:ok, state} = ask!(state, {:put, for(key <- ["a", "b", "c", "d"], do: {key, key}), @most})
    state = State.await_writes(state)
    {:ok, state} = ask!(state, {:put, [{"a", nil}, {"c", "new"}, {"e", ""}, {"f", nil}, {"", "x"}], @most})
    {:ok, state} = ask!(state, {:swap, "d", "d", "swapped", @most})
    {{:changed, nil}, state} = ask!(state, {:swap, "a", "a", "b", @most})
    refute OutputGate.idle?(state.gate)
    {pending, state} = seen(state)
    assert {:ok, ["", "b", "c", "d", "e"], false} in pending
    assert {:ok, [nil, "b", "new", "swapped", "", nil, "x"]} in pending
    refute OutputGate.idle?(state.gate)
    {on_disk, state} = state |> State.await_writes() |> seen()
    assert on_disk == pending
    assert {%{}, 0} == {state.known, state.known_bytes}
    # By the store alone.
    {stored, _state} = seen(%{state | cache: :closed})
    assert stored == pending
    # What another process finds there, and what the entries count.
    {:ok, found} = Tidepool.Actor.buckets(Bucket.class(nil))

    expected =
      Enum.sum(
        for {key, value} <- [{"", "x"}, {"b", "b"}, {"c", "new"}, {"d", "swapped"}, {"e", ""}],
            do: 128 + byte_size(key <> value)
      )

    assert found[state.name] == expected
  end

  test "an answer waits for the writes that it has seen, and is an error when one of them fails", %{state: state} do
    {:ok, first, state} = ask(state, {:put, [{"a", "1"}], @most})
    refute_received {^first, _answer}
    state = State.await_writes(state)
    assert_received {^first, {:ok, _reply}}
    {:ok, write, state} = ask(state, {:put, [{"a", "2"}], @most})
    {{:ok, ["2"]}, read, state} = ask(state, {:get, ["a"], @most})
    # It did not follow, as far as this process is told.
    receive do: ({:tidepool_committed, id, :ok} -> send(self(), {:id, id}))
    assert_received {:id, id}
    state = State.heard(state, {:tidepool_committed, id, {:error, :no_store, "no room"}})
    for tag <- [write, read], do: assert_received({^tag, {:error, %Error{reason: :no_store}}})
    assert %{owned: nil, record: nil, known: known, known_bytes: 0} = state
    assert known == %{}
    assert {{:error, :no_store}, _tag, _state} = ask(state, {:get, ["a"], @most})
  end

  test "what is on disk is read by all, and what a change is about by none until that is on disk, or when it has failed",
       %{state: state} do
    read = fn -> for key <- ["a", "b", "c"], do: ReadCache.read(state.class, state.name, key) end
    {:ok, state} = ask!(state, {:put, [{"a", "1"}, {"b", "1"}], @most})
    assert read.() == [:none, :none, :none]
    {{:ok, ["1", nil]}, state} = state |> State.await_writes() |> ask!({:get, ["a", "c"], @most})
    assert read.() == [{:ok, "1"}, {:ok, "1"}, {:ok, nil}]
    {:ok, state} = ask!(state, {:put, [{"a", "2"}, {"c", "2"}], @most})
    {{:ok, ["2", "1", "2"]}, state} = ask!(state, {:get, ["a", "b", "c"], @most})
    assert read.() == [:none, {:ok, "1"}, :none]
    {{:ok, true}, state} = state |> State.await_writes() |> ask!({:exists, "a"})
    assert read.() == [{:ok, "2"}, {:ok, "1"}, {:ok, "2"}]
    {:ok, state} = ask!(state, {:put, [{"a", "3"}], @most})
    # It did not follow, as far as this process is told.
    receive do: ({:tidepool_committed, id, :ok} -> send(self(), {:id, id}))
    assert_received {:id, id}
    State.heard(state, {:tidepool_committed, id, {:error, :no_store, "no room"}})
    assert read.() == [:none, :none, :none]
  end

  test "no more than a MiB of changes is known before the next question waits for the disk, however small they are", %{
    state: state
  } do
    small = fn number -> {:put, [{"k#{number}", ""}], @most} end

    {most, state} =
      Enum.reduce(1..9_000, {0, state}, fn number, {most, state} ->
        {:ok, state} = state |> State.room() |> ask!(small.(number))
        {max(most, state.known_bytes), state}
      end)

    assert most <= 1_048_576 + 200
    assert map_size(state.known) <= 8_192
    {:ok, state} = ask!(State.await_writes(state), {:put, for(number <- 1..1_000, do: {"absent#{number}", nil}), @most})
    # What changes nothing is not kept.
    assert {map_size(state.known), OutputGate.idle?(state.gate)} == {0, true}
  end

  test "what a bucket does not know is refused, and it goes on", %{state: state} do
    assert {{:error, :no_store}, state} = ask!(state, {:rename, "a", "b"})
    # An atom that no node has.
    foreign = <<131, 119, 20, "an_atom_of_a_new_age">>
    assert {{:now, {:error, %Error{reason: :no_store}}}, state} = Guest.Bucket.run(foreign, state)
    assert {:ok, _state} = ask!(state, {:put, [{"a", "1"}], @most})
  end
end
