defmodule Tidepool.Keyvalue.PromptTest do
  # Not async: the node has one store, by its settings.
  #
  # The node's own stores, which are asked by the process that drives the guest: in time, with nothing left behind, and never of the past.
  use Tidepool.Case

  alias Tidepool.{Actor, Config, Error, Host, Keyvalue}
  alias Tidepool.Actor.Bucket
  alias Tidepool.Keyvalue.{Actors, Memory}
  alias Tidepool.Namespaces.Turns

  @soon_ms 300
  @late {:error, "the store has not answered within 300 ms"}

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
    space = unique_name("space")
    {:ok, space: space, bucket: space <> "/b", function: space <> "/f"}
  end

  defp set!(changes), do: Config.put(Map.merge(:persistent_term.get(Config), Map.new(changes)))

  defp ask(function, operation, arguments) do
    Keyvalue.Handler.answer(%Host.Call{
      binding: "wasi",
      namespace: "keyvalue",
      operation: operation,
      payload: "",
      args: ["b" | arguments],
      function: function,
      deadline: System.monotonic_time(:millisecond) + 60_000
    })
  end

  # The process of a namespace's bucket `b`.
  defp process(space) do
    [{pid, _queue}] = Registry.lookup(Actor.Registry, {Bucket.class(space), "b"})
    pid
  end

  defp suspend!(process) do
    :ok = :sys.suspend(process)
    on_exit(fn -> if Process.alive?(process), do: :sys.resume(process) end)
  end

  defp messages, do: self() |> Process.info(:messages) |> elem(1)

  for store <- [:actors, :memory] do
    test "a store that stands still is an error in time, which leaves no message, no turn and nothing that is done later, with #{store}",
         %{space: space, function: function} do
      set!(keyvalue: {if(unquote(store) == :actors, do: Actors, else: Memory), []})
      assert {:ok, nil} = ask(function, "set", ["k", "1"])
      assert {:ok, nil} = ask(function, "set", ["other", "1"])
      process = if unquote(store) == :actors, do: process(space), else: Process.whereis(Memory)
      suspend!(process)
      set!(keyvalue_timeout: @soon_ms)
      assert ask(function, "set-many", [[{"k", "late"}]]) == @late
      assert ask(function, "set", ["k", "late"]) == @late
      assert ask(function, "increment", ["n", 1]) == @late
      assert ask(function, "swap", ["k", "1", "late"]) == @late
      assert ask(function, "delete", ["other"]) == @late
      assert {messages(), Turns.count(:keyvalue, function)} == {[], {0, 0}}
      :ok = :sys.resume(process)
      set!(keyvalue_timeout: 60_000)
      # Behind what came too late.
      assert {:ok, nil} = ask(function, "set", ["last", "1"])
      assert {:ok, ["1", "1", nil]} = ask(function, "get-many", [["k", "other", "n"]])
      assert {:ok, nil} = ask(function, "set", ["k", "2"])
      assert {:ok, "2"} = ask(function, "get", ["k"])
      assert {messages(), Turns.count(:keyvalue, function)} == {[], {0, 0}}
    end

    test "a caller that is killed while a store stands still leaves no turn, and what waited has its own, with #{store}",
         %{space: space, function: function} do
      set!(keyvalue: {if(unquote(store) == :actors, do: Actors, else: Memory), []}, keyvalue_timeout: 60_000)
      assert {:ok, nil} = ask(function, "set", ["k", "1"])
      process = if unquote(store) == :actors, do: process(space), else: Process.whereis(Memory)
      suspend!(process)
      {most, _waiting} = Turns.bounds(:keyvalue)
      callers = for _caller <- 1..most, do: spawn(fn -> ask(function, "increment", ["n", 1]) end)
      eventually(fn -> Turns.count(:keyvalue, function) == {most, 0} end)
      waits = Task.async(fn -> ask(function, "set", ["k", "2"]) end)
      eventually(fn -> Turns.count(:keyvalue, function) == {most, 1} end)
      for caller <- callers, do: Process.exit(caller, :kill)
      eventually(fn -> Turns.count(:keyvalue, function) == {1, 0} end)
      :ok = :sys.resume(process)
      assert {:ok, nil} = Task.await(waits, 60_000)
      assert Turns.count(:keyvalue, function) == {0, 0}
      assert {:ok, "2"} = ask(function, "get", ["k"])
    end
  end

  # All turns of a namespace are had until the test is over.
  defp hold!(function) do
    {most, _waiting} = Turns.bounds(:keyvalue)
    test = self()

    hold = fn ->
      send(test, {:has, self()})
      receive do: (:never -> :ok)
    end

    for _turn <- 1..most do
      holder = spawn(fn -> Turns.run(:keyvalue, function, :infinity, hold) end)
      on_exit(fn -> Process.exit(holder, :kill) end)
      assert_receive {:has, ^holder}, 20_000
    end

    most
  end

  test "a guest whose turn does not come is told so in time", %{function: function} do
    set!(keyvalue: {Memory, []}, keyvalue_timeout: @soon_ms)
    most = hold!(function)
    assert ask(function, "get", ["k"]) == @late
    assert {messages(), Turns.count(:keyvalue, function)} == {[], {most, 0}}
  end

  test "what a bucket has read is told without its process and without a turn, and what it has not read is not", %{
    space: space,
    function: function
  } do
    set!(keyvalue: {Actors, []}, keyvalue_timeout: 60_000)
    name = space <> "/keys"
    {:ok, _function} = Tidepool.deploy(guest("rust", "keyvalue_draft2"), name: name, keyvalue: ["b"])
    on_exit(fn -> Tidepool.remove(name) end)
    for {key, value} <- [{"k", "v"}, {"l", "w"}], do: assert({:ok, nil} = ask(function, "set", [key, value]))
    assert {:ok, ["v", nil]} = ask(function, "get-many", [["k", "none"]])
    suspend!(process(space))
    hold!(function)
    set!(keyvalue_timeout: @soon_ms)
    for {key, value} <- [{"k", "v"}, {"none", nil}], do: assert(ask(function, "get", [key]) == {:ok, value})
    for {key, there?} <- [{"k", true}, {"none", false}], do: assert(ask(function, "exists", [key]) == {:ok, there?})
    assert Tidepool.call(name, :run, ["open b\nget k\nexists none"]) == {:ok, "ok\nv\nfalse"}
    assert ask(function, "get", ["unread"]) == @late
    assert messages() == []
  end

  test "what is read is never older than what was answered before, whatever ends the bucket's process", %{
    space: space,
    bucket: bucket
  } do
    set!(keyvalue: {Actors, []}, keyvalue_timeout: 60_000)
    # What was answered last, and whether the writer has ended.
    marks = :atomics.new(2, [])
    :ok = Actors.set(bucket, "n", "0", [])
    readers = for _reader <- 1..4, do: Task.async(fn -> read(bucket, marks, 0, 0) end)

    for number <- 1..400 do
      if answered(fn -> Actors.set(bucket, "n", "#{number}", []) end) == :ok, do: :atomics.put(marks, 1, number)
      if rem(number, 40) == 0, do: Process.exit(process(space), :kill)
    end

    :atomics.put(marks, 2, 1)
    # Some of it was in memory.
    assert readers |> Task.await_many(60_000) |> Enum.sum() > 0
    assert {:ok, "400"} = Actors.get(bucket, "n", [])
  end

  # How often a value was in memory.
  defp read(bucket, marks, last, known) do
    over? = :atomics.get(marks, 2) == 1
    least = max(last, :atomics.get(marks, 1))
    in_memory = Actors.known(bucket, "n")
    first = number(in_memory, least)
    last = number(answered(fn -> Actors.get(bucket, "n", []) end), first)
    known = if in_memory == :none, do: known, else: known + 1
    if over?, do: known, else: read(bucket, marks, last, known)
  end

  defp number({:ok, text}, least) do
    number = String.to_integer(text)
    assert number >= least
    number
  end

  # It is not in memory, or its process was killed.
  defp number(_none_or_error, least), do: least

  defp answered(ask) do
    ask.()
  rescue
    error in Error -> {:error, error}
  end
end
