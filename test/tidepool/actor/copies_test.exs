defmodule Tidepool.Actor.CopiesTest do
  # What decides which of two states of an actor is the one: marks, and names of what lost.
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Copies
  alias Tidepool.Actor.Copies.{Clock, Hold, Mark, Merge}

  doctest Mark
  doctest Merge, only: [conflict: 1]

  # Histories of three nodes that write, whatever their clocks say, and see each other's state now and then. Each starts anew at every
  # other write: far more often than a mark has entries.
  defp history(seed) do
    :rand.seed(:exsss, {seed, seed, seed})
    begin = Map.new(~w(a b c), &{&1, {Mark.none(), MapSet.new()}})

    Enum.reduce(1..80, {begin, [{Mark.none(), MapSet.new()}]}, fn write, {nodes, all} ->
      {node, from} = {Enum.random(~w(a b c)), Enum.random(~w(a b c))}
      {mark, seen} = nodes[node]
      {mark, seen} = see({mark, seen}, nodes[from])
      writer = "#{node}#" <> Integer.to_string(div(write, 2))
      state = {Mark.next(mark, writer, :rand.uniform(1_000)), MapSet.put(seen, write)}
      {%{nodes | node => state}, [state | all]}
    end)
    |> elem(1)
  end

  # Takes over what follows from its own state, and puts together what does not, now and then.
  defp see({mark, seen}, {other, other_seen}) do
    case {Mark.compare(other, mark), :rand.uniform(3)} do
      {:after, _turn} -> {other, other_seen}
      {:apart, 1} -> {Mark.join(mark, other), MapSet.union(seen, other_seen)}
      _else -> {mark, seen}
    end
  end

  test "a mark comes before another when all that it has seen was seen there, whatever the clocks said" do
    for seed <- 1..30, states = history(seed), {mark, seen} <- states, {other, other_seen} <- states do
      expected =
        case {MapSet.subset?(seen, other_seen), MapSet.subset?(other_seen, seen)} do
          {true, true} -> :same
          {true, false} -> :before
          {false, true} -> :after
          {false, false} -> :apart
        end

      assert Mark.compare(mark, other) == expected
      if expected == :before, do: assert(Mark.last(mark) < Mark.last(other))
    end
  end

  test "a state follows another when it has seen what was written last there, whatever else that one has heard of" do
    for seed <- 1..30,
        states = seed |> history() |> Enum.reverse() |> Enum.with_index(),
        {{mark, seen}, _write} <- states,
        {{other, _other_seen}, write} <- states,
        do: assert(Mark.follows?(mark, other) == (write == 0 or write in seen))
  end

  test "of two marks that are apart all nodes find the same one later" do
    for seed <- 1..30, states = history(seed), {mark, _seen} <- states, {other, _other_seen} <- states, mark != other do
      assert Mark.later?(mark, other) != Mark.later?(other, mark)
      joined = Mark.join(mark, other)
      assert joined == Mark.join(other, mark)
      assert Mark.compare(joined, mark) in [:same, :after]
      assert Mark.valid?(joined)
    end
  end

  test "a mark is of a bounded number of nodes, those that have written last" do
    mark = Enum.reduce(1..100, Mark.none(), &Mark.next(&2, "node-#{&1}", &1))
    assert map_size(mark) == 16
    assert Mark.valid?(mark)
    assert Enum.all?(85..100, &is_map_key(mark, "node-#{&1}"))

    for other <- [nil, %{1 => 2}, %{"a" => -1}, %{"a" => "b"}, Map.new(1..17, &{"#{&1}", 1})],
        do: refute(Mark.valid?(other))
  end

  test "a write waits for copies for as long as its size takes" do
    put = fn image, values -> Copies.wait_ms({:put, nil, "head", image, values}) end
    assert put.(nil, []) == 500
    assert put.(nil, [{"gone", nil}, {"key", "value"}]) == 500
    assert put.(:binary.copy("x", 8_192_000), []) == 1_500
    assert put.({:next, :binary.copy("x", 8_192_000)}, [{"key", :binary.copy("x", 8_192_000)}]) == 2_500
  end

  test "a node that has something large to take is not late with what comes behind it" do
    Hold.new()
    [busy, late, spent] = for name <- ~w(busy late spent), do: "#{name}-#{System.unique_integer()}@host"
    Hold.busy(busy, 600_000)
    Hold.busy(spent, 0)
    for node <- [busy, late, spent], do: Hold.late(node)
    assert Enum.map([busy, late, spent], &Hold.late?/1) == [false, true, true]
  end

  test "the clock of marks never stands still, and is the machine's" do
    times = 1..4 |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..1_000, do: Clock.now() end) end) |> Task.await_many()
    for own <- times, do: assert(own == Enum.sort(own))
    times = Enum.concat(times)
    assert Enum.uniq(times) == times
    assert_in_delta Clock.now(), System.os_time(:microsecond), 60_000_000
  end
end
