defmodule Tidepool.Fault.HostTimeoutTest do
  # Handlers that are functions, and take longer than a call may.
  use Tidepool.Case, async: true

  require Logger

  alias Tidepool.Error

  # Longer than any test takes, so that whoever waits for it is late for sure.
  @long 600_000

  setup do
    namespace = unique_name("slow")

    %{
      name: deploy!("rust", "hello_world", limits: [time: 60_000]),
      brief: deploy!("rust", "hello_world", limits: [time: 1_000]),
      namespace: namespace,
      target: {"host", namespace, "op"}
    }
  end

  defp host(context, options, name \\ nil, payload \\ "") do
    result = Tidepool.call(name || context.name, "host", "host/#{context.namespace}/op\n" <> payload, options)
    assert_no_stray_messages()
    result
  end

  # Tells who it is, and goes on for as long as nobody kills it.
  defp endless(test) do
    fn _call ->
      send(test, {:handler, self()})
      receive do: (:never -> {:ok, ""}), after: (@long -> {:ok, ""})
    end
  end

  # In a process of its own, so that the test's mailbox may have the handler's messages.
  defp elsewhere(fun) do
    fun |> Task.async() |> Task.await(30_000)
  end

  defp assert_gone(pid) do
    monitor = Process.monitor(pid)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}
  end

  test "a caller's timeout holds while a function handler does not return, and the handler is gone", context do
    test = self()
    handle!(context.target, endless(test))

    for options <- [[timeout: 1_000], [timeout: 1_000, context: 1], [context: 1, timeout: 1_000]] do
      # On a busy machine its time may be over before there is a handler.
      eventually(fn ->
        assert {:error, %Error{reason: :timeout}} = elsewhere(fn -> host(context, options) end)
        assert_received {:handler, handler}
        assert_gone(handler)
      end)
    end
  end

  test "a handler that computes without end, or traps exits, does not hold up the timeout either", context do
    for handler <- [
          fn _call -> Stream.repeatedly(fn -> :ok end) |> Stream.run() end,
          fn _call -> {Process.flag(:trap_exit, true), Process.sleep(@long)} end
        ] do
      handle!(context.target, handler)
      assert {:error, %Error{reason: :timeout}} = host(context, timeout: 50)
    end
  end

  test "the function's time limit holds for a handler that is isolated, and over HTTP", context do
    test = self()
    handle!(context.target, endless(test), run: :isolated)
    assert {:error, %Error{reason: :timeout}} = elsewhere(fn -> host(context, [], context.brief) end)
    assert_receive {:handler, handler}
    assert_gone(handler)
    path = "/call/#{context.brief}/host"
    assert {504, _headers, body} = curl(path, ["--data-binary", "host/#{context.namespace}/op\n"])
    assert body["error"]["reason"] == "timeout"
  end

  test "a handler that is inline runs in the caller's process, whatever the call says", context do
    for {options, run} <- [{[], []}, {[], [run: :inline]}, {[timeout: 10_000], [run: :inline]}] do
      handle!(context.target, fn _call -> {:ok, inspect(self())} end, run)
      assert host(context, options) == {:ok, inspect(self())}
    end

    for {options, run} <- [{[timeout: 10_000], []}, {[timeout: 10_000], [run: :timed]}, {[], [run: :isolated]}] do
      handle!(context.target, fn _call -> {:ok, inspect(self())} end, run)
      assert {:ok, pid} = host(context, options)
      assert pid != inspect(self())
    end
  end

  test "a handler that is killed with its caller does not live on", context do
    test = self()
    handle!(context.target, endless(test))
    caller = spawn(fn -> host(context, timeout: 60_000) end)
    assert_receive {:handler, handler}
    Process.exit(caller, :kill)
    assert_gone(handler)
  end

  test "an isolated handler has its caller's Logger metadata, $callers and place in the nesting", context do
    handle!(context.target, fn
      %{payload: "inner"} = call ->
        {:ok, inspect({call.depth, call.context, Logger.metadata()[:request], Process.get(:"$callers")})}

      _call ->
        # A call without a timeout of its own ends with the one around it.
        host(context, [], nil, "inner")
    end)

    caller =
      Task.async(fn ->
        Logger.metadata(request: 17)
        {host(context, timeout: 10_000, context: :mine), [self() | Process.get(:"$callers")]}
      end)

    assert {{:ok, seen}, callers} = Task.await(caller, 60_000)
    assert seen == inspect({2, :mine, 17, callers})
  end

  test "what a handler calls ends with the call around it", context do
    parent = self()

    handle!(context.target, fn
      %{payload: "inner"} = call -> endless(parent).(call)
      _call -> host(context, [], nil, "inner")
    end)

    assert {:error, %Error{reason: :timeout}} = elsewhere(fn -> host(context, timeout: 1_000) end)
    assert_receive {:handler, handler}
    assert_gone(handler)
  end

  for traps? <- [true, false] do
    test "an isolated handler fails as others do, and its caller (that traps exits: #{traps?}) gets no message",
         context do
      Process.flag(:trap_exit, unquote(traps?))

      for handler <- [
            fn _call -> raise "broken" end,
            fn _call -> throw(:ball) end,
            fn _call -> exit(:over) end,
            fn _call -> :nonsense end,
            fn _call -> Process.exit(self(), :kill) end,
            fn _call -> fn -> raise "a task" end |> Task.async() |> Task.await(60_000) end,
            fn _call -> spawn_link(fn -> exit(:linked) end) && Process.sleep(@long) end
          ],
          {run, options} <- [timed: [timeout: 30_000], isolated: [], isolated: [timeout: 30_000]] do
        handle!(context.target, handler, run: run)
        assert {:error, %Error{reason: :guest_error, message: message}} = host(context, options)
        assert message =~ "the host's handler failed (id "
      end

      handle!(context.target, fn _call -> {:ok, "fine"} end)
      assert host(context, timeout: 30_000) == {:ok, "fine"}
      handle!(context.target, fn _call -> {:error, "refused"} end)
      assert {:error, %Error{message: "refused"}} = host(context, timeout: 30_000)
    end
  end

  test "an isolated handler that traps exits ends with the process that called its guest", context do
    test = self()

    handler = fn _call ->
      Process.flag(:trap_exit, true)
      send(test, {:handler, self()})
      receive do: (:never -> {:ok, ""}), after: (@long -> {:ok, ""})
    end

    handle!(context.target, handler, run: :isolated)
    caller = spawn(fn -> host(context, []) end)
    assert_receive {:handler, handler}
    Process.exit(caller, :kill)
    assert_gone(handler)
  end

  test "what an isolated handler has started and linked outlives it when it returns", context do
    test = self()

    handle!(context.target, fn _call ->
      {:ok, agent} = Agent.start_link(fn -> "still here" end)
      send(test, {:agent, agent, self()})
      {:ok, ""}
    end)

    assert {:ok, ""} = elsewhere(fn -> host(context, timeout: 30_000) end)
    assert_receive {:agent, agent, handler}
    assert_gone(handler)
    assert Agent.get(agent, & &1) == "still here"
    Agent.stop(agent)
  end

  test "handlers that return at the very moment of the timeout leave no message", context do
    handle!(context.target, fn call ->
      receive do
      after
        max(call.deadline - System.monotonic_time(:millisecond) - 1, 0) -> {:ok, "just in time"}
      end
    end)

    call = fn index ->
      Process.flag(:trap_exit, rem(index, 2) == 0)
      elem(host(context, timeout: 10 + rem(index, 7)), 0)
    end

    for {:ok, outcome} <- Task.async_stream(1..200, call, max_concurrency: 20, timeout: 30_000) do
      assert outcome in [:ok, :error]
    end
  end
end
