defmodule Tidepool.Fault.HostHandlerTest do
  # Not async: counts the node's instances, and registers a host handler that is the node's as well.
  use Tidepool.Case

  alias Tidepool.{Error, FaultFootprint, FaultHandler}

  @target {"host", "test", "fault"}

  setup do
    {:ok, handler} = GenServer.start(FaultHandler, nil)
    on_exit(fn -> Process.exit(handler, :kill) end)
    handle!(@target, handler)
    name = deploy!("zig", "hello_world", limits: [time: 60_000])
    {:ok, handler: handler, function: name, before: FaultFootprint.settled()}
  end

  # What the handler does, what comes of the call, and whether the handler lives on.
  for {what, outcome, lives_on?} <- [
        {"reply", {:ok, "reply"}, true},
        {"error", {:error, :guest_error}, true},
        {"twice", {:ok, "first"}, true},
        {"error, then reply", {:error, :guest_error}, true},
        {"delegate", {:ok, "from somebody else"}, true},
        {"raise", {:error, :guest_error}, false},
        {"exit", {:error, :guest_error}, false},
        {"die", {:error, :guest_error}, false},
        {"not a result", {:error, :guest_error}, false},
        {"reply and die", {:ok, "last words"}, false}
      ] do
    @tag what: what, outcome: outcome, lives_on?: lives_on?
    test "a handler that does \"#{what}\" makes the call end in #{inspect(outcome)}", context do
      monitor = Process.monitor(context.handler)
      assert outcome(call(context.function, context.what)) == context.outcome

      if context.lives_on? do
        assert_undisturbed(context)
      else
        assert_receive {:DOWN, ^monitor, :process, _handler, _reason}
        # A dead handler is no reason to wait.
        assert outcome(call(context.function, "reply")) == {:error, :guest_error}
      end

      Process.demonitor(monitor)
      FaultFootprint.assert_instances_back(context.before)
      assert_no_stray_messages()
    end
  end

  for what <- ["silence", "delegate to the dead"] do
    @tag what: what
    test "a handler that does \"#{what}\" makes the call end at its timeout, and its late answer reaches nobody",
         context do
      for _call <- 1..3 do
        assert outcome(call(context.function, context.what, timeout: 50)) == {:error, :timeout}
      end

      assert FaultHandler.answer_late(context.handler) == 3
      assert_undisturbed(context)
      FaultFootprint.assert_instances_back(context.before)
      assert_no_stray_messages()
    end
  end

  test "an answer that was forged, past the function that checks it, is an error in the guest", context do
    # In a process of its own: an exception carries the call with it to wherever it is kept.
    caller =
      Task.async(fn ->
        try do
          outcome(call(context.function, "forge"))
        rescue
          error -> {:raised, error.__struct__}
        end
      end)

    assert Task.await(caller, 60_000) == {:error, :guest_error}
    assert_undisturbed(context)
    FaultFootprint.assert_instances_back(context.before)
  end

  test "the handler's refusal reaches the guest word by word", context do
    assert {:error, %Error{reason: :guest_error, message: "no"}} = call(context.function, "error")
  end

  test "answers that come at the very moment of the timeout leave no message", context do
    callers =
      for index <- 1..50 do
        Task.async(fn ->
          outcomes =
            for round <- 1..10 do
              # Timeouts from just before the answer to just after it.
              outcome(call(context.function, "after 20", timeout: 16 + rem(index + round, 9)))
            end

          # Answered by the same process as those before, and after them.
          {:ok, "reply"} = call(context.function, "reply")
          {outcomes, Process.info(self(), :messages)}
        end)
      end

    for {outcomes, messages} <- Task.await_many(callers, 60_000) do
      assert Enum.all?(outcomes, &(&1 in [{:ok, "just in time"}, {:error, :timeout}]))
      assert messages == {:messages, []}
    end

    assert_undisturbed(context)
    FaultFootprint.assert_instances_back(context.before)
  end

  test "a handler that dies with hundreds of calls waiting ends them all", context do
    callers = for _caller <- 1..300, do: Task.async(fn -> outcome(call(context.function, "silence")) end)
    eventually(fn -> busy_instances() == 300 end, 20_000)
    Process.exit(context.handler, :kill)

    assert Enum.all?(Task.await_many(callers, 60_000), &(&1 == {:error, :guest_error}))
    FaultFootprint.assert_instances_back(context.before)
  end

  test "a handler that is registered by a name nobody has is an error in the guest", context do
    for name <- [:nobody_of_this_name, {:global, :nobody}, {:via, :global, :nobody}, context.handler] do
      Process.exit(context.handler, :kill)
      eventually(fn -> not Process.alive?(context.handler) end)
      handle!(@target, name)
      assert outcome(call(context.function, "reply")) == {:error, :guest_error}
    end

    assert_no_stray_messages()
  end

  test "a function that raises, throws, exits or returns nonsense is an error in the guest, and its caller lives",
       context do
    for fault <- [
          fn _call -> raise "broken" end,
          fn _call -> throw(:ball) end,
          fn _call -> exit(:normal) end,
          fn _call -> exit({:shutdown, :now}) end,
          fn _call -> :nonsense end,
          fn _call -> {:ok, :not_bytes} end,
          fn _call -> {:ok, <<1::3>>} end,
          fn _call -> {:error, ~c"no binary"} end,
          fn _call -> apply(Tidepool, :no_such_function, []) end
        ] do
      handle!(@target, fault)
      assert outcome(call(context.function, "anything")) == {:error, :guest_error}
    end

    # What a broken handler leaves in the process must not count for the calls after it.
    assert Tidepool.call(context.function, "echo", "whole") == {:ok, "whole"}
    FaultFootprint.assert_instances_back(context.before)
    assert_no_stray_messages()
  end

  defp call(function, what, options \\ []) do
    Tidepool.call(function, "host", "host/test/fault\n" <> what, options)
  end

  defp outcome({:ok, reply}), do: {:ok, reply}
  defp outcome({:error, %Error{reason: reason}}), do: {:error, reason}

  # The handler serves on, and no call has left a monitor on it but the test's own.
  defp assert_undisturbed(context) do
    assert outcome(call(context.function, "reply")) == {:ok, "reply"}
    {:monitored_by, pids} = Process.info(context.handler, :monitored_by)
    assert pids -- [self()] == []
  end
end
