defmodule Tidepool.Instance.NestedTest do
  # Not async: handlers answer for all guests of the node.
  #
  # Kept instances that a handler calls, how long a caller may wait at least, and by which names they are found.
  use Tidepool.Case

  alias Tidepool.{Error, Instance}

  setup do
    %{name: deploy!("rust", "hello_world"), namespace: unique_name("nested")}
  end

  defp asked(namespace, payload), do: "host/#{namespace}/op\n" <> payload
  defp now, do: System.monotonic_time(:millisecond)

  test "a kept instance that a handler calls is one deeper, with the caller's context, and no more time than that has left",
       %{namespace: namespace} do
    name = deploy!("rust", "hello_world", limits: [time: 3_600_000])
    outer = deploy!("rust", "hello_world", limits: [time: 600_000])
    {:ok, instance} = Instance.start_link(name)
    test = self()

    # What the handler passes, and what the inner call has: its context, and its time, but for what a busy machine takes.
    for {options, context, ms} <- [
          {[], :outer, 600_000},
          {[timeout: 200_000], :outer, 200_000},
          {[timeout: :infinity, context: nil], nil, 600_000},
          {[timeout: 3_000_000, context: :inner], :inner, 600_000}
        ] do
      handle!({"host", namespace, "op"}, fn
        %{payload: "in"} ->
          send(test, {:outcome, Instance.call(instance, "host", asked(namespace, "inner"), options)})
          {:ok, "done"}

        call ->
          send(test, {:inner, call, now()})
          {:ok, "low tide"}
      end)

      assert Tidepool.call(outer, "host", asked(namespace, "in"), context: :outer) == {:ok, "done"}
      assert_received {:outcome, {:ok, "low tide"}}
      assert_received {:inner, %{depth: 2, context: ^context, function: ^name} = call, began}
      assert_in_delta call.deadline - began, ms, 100_000
    end

    # Outside of all calls it is the first.
    assert Instance.call(instance, "host", asked(namespace, "inner"), context: 1) == {:ok, "low tide"}
    assert_received {:inner, %{depth: 1, context: 1}, _now}
  end

  test "a caller that has no time is told so, and the instance goes on", %{name: name} do
    {:ok, instance} = Instance.start_link(name)
    assert {:error, %Error{reason: :timeout}} = Instance.call(instance, "hello", "Ada", timeout: 0)
    assert Instance.call(instance, "hello", "Ada") == {:ok, "Hello, Ada!"}
    assert Instance.timeout?(0) and Instance.timeout?(:infinity)
    for wrong <- [-1, 1.0, nil, :never], do: refute(Instance.timeout?(wrong))
  end

  test "an instance is called by any name that a process may have", %{name: name} do
    registry = Module.concat(__MODULE__, Registry)
    start_supervised!({Registry, keys: :unique, name: registry})

    for own <- [:"#{unique_name("kept")}", {:global, unique_name("kept")}, {:via, Registry, {registry, "kept"}}] do
      assert {:ok, instance} = Instance.start_link(name, name: own)
      assert GenServer.whereis(own) == instance
      assert Instance.call(own, "hello", "Ada") == {:ok, "Hello, Ada!"}
      assert Instance.memory_size(own) == Instance.memory_size(instance)
      assert {:error, {:already_started, ^instance}} = Instance.start(name, name: own)
      GenServer.stop(instance)
      assert {:error, %Error{reason: :unavailable}} = Instance.call(own, "hello", "Ada")
    end

    for wrong <- ["kept", {:local, :kept}, {:via, "Registry", :kept}, 5] do
      assert_raise ArgumentError, ~r/a name as a GenServer has it/, fn -> Instance.start(name, name: wrong) end
    end
  end
end
