defmodule Tidepool.Fault.TaskOwnershipTest do
  use Tidepool.Case, async: true

  alias Tidepool.{FaultNative, Native}

  # Where the guest stands: {state, its module, the call's payload, how the call ends}.
  @states [
    {:host, {"wat", "parked"}, "", "answered"},
    {:yield, {"wat", "init_slow"}, "", "ready"},
    {:wait, {"rust", "sleepy"}, "100", "slept 100"}
  ]

  setup do
    {:ok, runtime: FaultNative.runtime()}
  end

  for {state, {language, guest}, payload, reply} <- @states do
    @tag state: state, language: language, guest: guest, payload: payload, reply: reply
    test "a call in the state #{state} is driven by its owner alone, and ends as if nobody else had tried", context do
      FaultNative.publish(context.runtime, context.language, context.guest)
      test = self()

      owner =
        Task.async(fn ->
          step = FaultNative.call(context.runtime, context.guest, context.payload)
          step = if context.state == :yield, do: step, else: FaultNative.settle(step)
          send(test, {:task, elem(step, 0), elem(step, 1)})
          receive do: (:go_on -> {FaultNative.finish(step), Process.info(self(), :messages)})
        end)

      assert_receive {:task, state, task}
      assert state == context.state

      assert {:error, :not_owner, _message, %{}} = Native.resume(task)
      assert {:error, :not_owner, _message, %{}} = Native.answer(task, {:ok, "from somebody else"})

      for tell <- [&Native.process_tell/2, &Native.process_signal/2],
          do: assert({:error, :not_owner, _message, %{}} = tell.(task, {:link_died, 1, nil}))

      assert {:error, :not_owner, _message, %{}} = Native.process_spawned(task, 1, self())
      assert {:error, :not_owner, _message, %{}} = Native.process_ties(task, 1, 1, :hold)
      assert {{:error, :not_owner, _message, %{}}, false} = Native.cancel(task, :timeout)
      assert {{:error, :not_owner, _message, %{}}, false} = Native.cancel(task, :aborted)

      send(owner.pid, :go_on)
      assert Task.await(owner, 60_000) == {{:ok, context.reply}, {:messages, []}}
      assert_no_stray_messages()
    end
  end

  test "the heir of a task can't drive it when its owner is dead", context do
    FaultNative.publish(context.runtime, "wat", "parked")
    test = self()
    {pid, monitor} = spawn_monitor(fn -> send(test, {:task, FaultNative.park(context.runtime)}) end)
    assert_receive {:task, task}
    assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}
    assert {:error, :not_owner, _message, %{}} = Native.answer(task, {:ok, "inherited"})
    assert {{:error, :not_owner, _message, %{}}, false} = Native.cancel(task, :aborted)
  end

  test "a call that is over stays so, whatever its owner does", context do
    FaultNative.publish(context.runtime, "wat", "parked")

    answered = FaultNative.park(context.runtime)
    assert FaultNative.settle(Native.answer(answered, {:ok, "once"})) == {:ok, "once"}
    cancelled = FaultNative.park(context.runtime)
    assert {{:error, :timeout, _message, %{}}, false} = Native.cancel(cancelled, :timeout)

    for task <- [answered, cancelled] do
      assert {:error, :internal, _message, %{}} = Native.resume(task)
      assert {:error, :internal, _message, %{}} = Native.answer(task, {:ok, "twice"})
      assert {{:error, :internal, _message, %{}}, false} = Native.cancel(task, :timeout)
    end

    assert Native.instances(context.runtime) == {0, 0, 0}
  end

  test "a guest that waits for the host is not disturbed by its owner's driving it early", context do
    FaultNative.publish(context.runtime, "wat", "parked")
    task = FaultNative.park(context.runtime)
    assert {:wait, ^task, _id, _ms} = FaultNative.settle(Native.resume(task))
    assert {:wait, ^task, _id, _ms} = FaultNative.settle(Native.resume(task))
    assert FaultNative.settle(Native.answer(task, {:ok, "in the end"})) == {:ok, "in the end"}
    assert_no_stray_messages()
  end
end
