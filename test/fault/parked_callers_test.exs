defmodule Tidepool.Fault.ParkedCallersTest do
  # Not async: takes half of the node's instances.
  use Tidepool.Case

  alias Tidepool.{FaultFootprint, Host}

  @callers 2_000
  @patient [time: 120_000]

  setup do
    # This process is the handler: it sees every guest that waits.
    handle!({"host", "test", "park"}, self())
    {:ok, before: FaultFootprint.settled()}
  end

  test "#{@callers} guests parked in host calls at once are all answered, each with its own answer", context do
    name = deploy!("zig", "hello_world", limits: @patient)

    callers =
      for id <- 1..@callers do
        Task.async(fn -> {Tidepool.call(name, "host", "host/test/park\n#{id}"), Process.info(self(), :messages)} end)
      end

    parked = for _caller <- callers, do: parked()
    assert busy_instances() == @callers
    assert Enum.uniq_by(parked, fn {id, _ref} -> id end) == parked

    for {id, ref} <- Enum.shuffle(parked), do: Host.reply(ref, {:ok, "answer to #{id}"})

    for {caller, id} <- Enum.zip(Task.await_many(callers, 60_000), 1..@callers) do
      assert caller == {{:ok, "answer to #{id}"}, {:messages, []}}
    end

    FaultFootprint.assert_instances_back(context.before)
    assert_no_stray_messages()
  end

  test "#{@callers} callers that are killed with parked guests leave room for as many again", context do
    name = deploy!("wat", "parked", limits: @patient)

    # More rounds than the node has instances for, if those of the killed were not given back.
    for _round <- 1..3 do
      callers = for _caller <- 1..@callers, do: spawn_monitor(fn -> Tidepool.call(name, "any") end)
      for _caller <- callers, do: parked()
      assert busy_instances() == @callers

      for {pid, _monitor} <- callers, do: Process.exit(pid, :kill)
      for {pid, monitor} <- callers, do: assert_receive({:DOWN, ^monitor, :process, ^pid, :killed})
      FaultFootprint.assert_instances_back(context.before)
    end

    assert_no_stray_messages()
  end

  defp parked do
    assert_receive {:invoke_callback, "host", "test", "park", payload, ref}
    {payload, ref}
  end
end
