defmodule Tidepool.Process.UnderWayTest do
  # What processes of a program have sent to other nodes, whose processes are the test here.
  use Tidepool.Case, async: true

  alias Tidepool.Process.UnderWay

  @patience 30_000
  @most 1_048_576

  setup do
    # No program of this node comes to such a number.
    program = 0x1_0000_0000_0000 + System.unique_integer([:positive])
    on_exit(fn -> UnderWay.forget(program) end)
    {:ok, program: program}
  end

  # What a sender is told that counts so many bytes, and ends.
  defp count(program, to, bytes), do: Task.await(Task.async(fn -> UnderWay.count(program, to, bytes) end), @patience)

  # Counts as much as there may be, by senders of which none lives; who is to be asked when there is room.
  defp fill!(program, to) do
    for _sender <- 1..16, do: assert(count(program, to, div(@most, 16)) == :ok)
    assert {:full, asker} = count(program, to, 1)
    asker
  end

  # A process that waits for room as a sender does, and what it says once there is some.
  defp wait!(asker, to \\ self()) do
    {test, ref} = {self(), make_ref()}

    pid =
      spawn(fn ->
        send(asker, {:tidepool_taken?, self(), ref, to})
        receive(do: ({:tidepool_taken, ^ref, true} -> send(test, {:room, self()})))
      end)

    {pid, {:room, pid}}
  end

  defp asked!(asker) do
    assert_receive {:tidepool_taken?, ^asker, monitor, :none}, @patience
    monitor
  end

  test "who sends to one that takes nothing waits, also when its other senders have ended, and who sends to others does not",
       %{program: program} do
    asker = fill!(program, self())
    {_pid, room} = wait!(asker)
    taken = asked!(asker)
    assert {:full, ^asker} = count(program, self(), 1)
    other = spawn(fn -> receive(do: (:end -> :ok)) end)
    {_pid, to_other} = wait!(asker, other)
    assert_receive ^to_other, @patience
    assert count(program, other, 1) == :ok
    refute_received ^room
    send(asker, {:tidepool_taken, taken, true})
    assert_receive ^room, @patience
    assert count(program, self(), 1) == :ok
  end

  test "all senders wait when so many take nothing, until one does", %{program: program} do
    sleep = fn -> receive(do: (:end -> :ok)) end
    # 16 MiB are more than there may be.
    [first | _others] = receivers = for _number <- 1..16, do: spawn(sleep)
    for receiver <- receivers, do: program |> fill!(receiver) |> begin!(receiver)
    assert count(program, self(), @most) == :ok
    assert {:full, asker} = count(program, self(), 1)
    {waiting, room} = wait!(asker)
    # It has taken note of who waits, and of all that came before.
    eventually(fn -> Process.info(waiting, :status) == {:status, :waiting} end)
    eventually(fn -> Process.info(asker, :message_queue_len) == {:message_queue_len, 0} end)
    refute_received ^room
    Process.exit(first, :kill)
    # There is room for what was counted meanwhile, and nothing else until that is taken.
    send(asker, {:tidepool_taken, asked!(asker), true})
    assert_receive ^room, @patience
  end

  # Has a round begin, in which this one is asked.
  defp begin!(asker, receiver) do
    wait!(asker, receiver)
    eventually(fn -> match?({:messages, [_ | _]}, Process.info(receiver, :messages)) end)
  end

  test "programs have a bound each", %{program: program} do
    fill!(program, self())
    on_exit(fn -> UnderWay.forget(program + 1) end)
    assert count(program + 1, self(), @most) == :ok
  end

  test "what was sent to one that has died is under way no more", %{program: program} do
    receiver = spawn(fn -> Process.sleep(:infinity) end)
    {_pid, room} = program |> fill!(receiver) |> wait!(receiver)
    Process.exit(receiver, :kill)
    assert_receive ^room, @patience
    assert count(program, self(), 1) == :ok
  end

  test "a large message is asked for after all of it has gone, whatever was answered before", %{program: program} do
    assert count(program, self(), 2 * @most) == :ok
    assert {:full, asker} = count(program, self(), 1)
    {_pid, room} = wait!(asker)
    taken = asked!(asker)
    UnderWay.count_again(program, self(), 2 * @most)
    send(asker, {:tidepool_taken, taken, true})
    taken = asked!(asker)
    refute_received ^room
    send(asker, {:tidepool_taken, taken, true})
    assert_receive ^room, @patience
  end

  test "one that waits for room and ends leaves nothing of that", %{program: program} do
    asker = fill!(program, self())
    {waiting, _room} = wait!(asker)
    asked!(asker)
    monitors = fn -> asker |> Process.info(:monitors) |> elem(1) |> Enum.sort() end
    eventually(fn -> monitors.() == Enum.sort(process: self(), process: waiting) end)
    Process.exit(waiting, :kill)
    eventually(fn -> monitors.() == [process: self()] end)
  end

  test "nothing is left of a program that is forgotten", %{program: program} do
    asker = fill!(program, self())
    monitor = Process.monitor(asker)
    UnderWay.forget(program)
    assert_receive {:DOWN, ^monitor, :process, ^asker, :killed}, @patience
    assert :ets.match(UnderWay, {{program, :_}, :"$1"}) == []
    assert :ets.match(UnderWay, {{program, :open, :_}, :"$1"}) == []
  end

  test "who is asked for room is there, also after the end of the one before", %{program: program} do
    asker = fill!(program, self())
    monitor = Process.monitor(asker)
    Process.exit(asker, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^asker, :killed}, @patience
    assert {:full, another} = count(program, self(), 1)
    {_pid, room} = wait!(another)
    send(another, {:tidepool_taken, asked!(another), true})
    assert_receive ^room, @patience
  end
end
