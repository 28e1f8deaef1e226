defmodule Tidepool.Fault.EndedCallsTest do
  # Not async: counts the node's instances.
  use Tidepool.Case

  alias Tidepool.{Error, FaultFootprint, Latch}

  @callers 20
  @patient [time: 60_000, cpu_time: 30_000]

  # The three things that a guest can be in the middle of: {what it does, its module, the call's payload}.
  @states [
    {:computing, {"wat", "loop"}, ""},
    {:asking_the_host, {"wat", "parked"}, ""},
    {:waiting, {"rust", "sleepy"}, "60000"}
  ]

  setup do
    latch = start_supervised!(Latch)
    handle!({"host", "test", "park"}, latch)
    {:ok, latch: latch, before: FaultFootprint.settled()}
  end

  for {state, {language, guest}, payload} <- @states do
    @tag state: state, language: language, guest: guest, payload: payload
    test "callers killed with their guests #{state} free their instances", context do
      name = deploy!(context.language, context.guest, limits: @patient)
      callers = for _caller <- 1..@callers, do: spawn_monitor(fn -> Tidepool.call(name, "any", context.payload) end)
      reach(context, callers)

      for {pid, _monitor} <- callers, do: Process.exit(pid, :kill)
      for {pid, monitor} <- callers, do: assert_receive({:DOWN, ^monitor, :process, ^pid, :killed})
      FaultFootprint.assert_instances_back(context.before)
      assert_no_stray_messages()
    end

    @tag state: state, language: language, guest: guest, payload: payload
    test "calls that time out with their guests #{state} free their instances and leave no message", context do
      name = deploy!(context.language, context.guest, limits: @patient)
      call = fn -> Tidepool.call(name, "any", context.payload, timeout: 100) end
      callers = for _caller <- 1..@callers, do: Task.async(fn -> {call.(), Process.info(self(), :messages)} end)

      for {answer, messages} <- Task.await_many(callers, 60_000) do
        assert {:error, %Error{reason: :timeout, function: ^name}} = answer
        assert messages == {:messages, []}
      end

      FaultFootprint.assert_instances_back(context.before)
      # What the host says after the timeout reaches nobody.
      Latch.release(context.latch)
      assert {:error, %Error{reason: :timeout}} = call.()
      assert_no_stray_messages()
    end
  end

  test "a chain of nested calls ends with its caller", context do
    name = unique_name("chain")
    chain = fn call -> Tidepool.call(name, "host", call.payload) end
    handle!({"host", "test", "chain"}, chain)
    on_exit(fn -> Tidepool.remove(name) end)
    {:ok, _function} = Tidepool.deploy(guest("zig", "hello_world"), name: name, limits: @patient)

    # Each level takes one line off the payload and calls the host with the rest; the innermost one is parked.
    payload = String.duplicate("host/test/chain\n", 9) <> "host/test/park\ndeep"
    {pid, monitor} = spawn_monitor(fn -> Tidepool.call(name, "host", payload) end)
    assert Latch.await(context.latch, 1) == ["deep"]
    assert busy_instances() == 10

    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    FaultFootprint.assert_instances_back(context.before)
  end

  test "waits that end at the very moment of the timeout leave no message", context do
    name = deploy!("rust", "sleepy", limits: @patient)

    callers =
      for index <- 1..50 do
        Task.async(fn ->
          reasons =
            for round <- 1..10 do
              # Timeouts from just before the end of the wait to just after it.
              case Tidepool.call(name, "any", "20", timeout: 16 + rem(index + round, 9)) do
                {:ok, "slept 20"} -> :ok
                {:error, %Error{reason: reason}} -> reason
              end
            end

          # A wake message of an earlier call comes by the same threads as this one's, and would be here before it.
          {:ok, "slept 50"} = Tidepool.call(name, "any", "50")
          {reasons, Process.info(self(), :messages)}
        end)
      end

    for {reasons, messages} <- Task.await_many(callers, 60_000) do
      assert Enum.all?(reasons, &(&1 in [:ok, :timeout]))
      assert messages == {:messages, []}
    end

    FaultFootprint.assert_instances_back(context.before)
  end

  defp reach(%{state: :computing}, _callers), do: eventually(fn -> busy_instances() == @callers end, 20_000)
  defp reach(%{state: :asking_the_host, latch: latch}, _callers), do: Latch.await(latch, @callers)

  # In a wait of its own: no other one is in the code that a sleeping guest's caller goes through.
  defp reach(%{state: :waiting}, callers) do
    eventually(fn -> Enum.all?(callers, fn {pid, _monitor} -> waiting?(pid) end) end, 20_000)
    assert busy_instances() == @callers
  end

  defp waiting?(pid), do: Process.info(pid, :status) == {:status, :waiting}
end
