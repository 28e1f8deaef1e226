defmodule Tidepool.Fault.IsolationTest do
  # Not async: keeps both cores busy and counts the node's instances.
  use Tidepool.Case

  alias Tidepool.{Error, FaultClient, FaultFootprint, FaultGuests}

  @processes 200

  test "calls of a well-behaved function succeed beside 200 processes that run hostile guests" do
    FaultGuests.answer_hostile()
    neighbour = deploy!("zig", "hello_world", limits: [time: 60_000, cpu_time: 30_000])

    deployed = for {guest, limits, _outcome} <- FaultGuests.callable(), do: deploy!("wat", guest, limits: limits)

    # Every hostile guest at least once, refused ones among them, and then those that can be called again and again.
    refused = Enum.map(FaultGuests.refused(), &{:deploy, &1})
    called = Enum.map(deployed, &{:call, &1})
    alone = Map.new(refused ++ called, &{&1, attack(&1)})
    before = FaultFootprint.settled()
    well_behaved = for caller <- [elixir_caller(neighbour), http_caller(neighbour)], do: until_told(caller)

    work = refused |> Stream.concat(Stream.cycle(called)) |> Enum.take(@processes)
    attackers = for attack <- work, do: Task.async(fn -> {attack(attack), messages()} end)

    for {attack, {outcome, messages}} <- Enum.zip(work, Task.await_many(attackers, 120_000)) do
      assert {attack, outcome} == {attack, alone[attack]}
      assert messages == []
    end

    counts = Enum.map(well_behaved, &stop/1)
    assert Enum.all?(counts, &(&1 > 0))
    FaultFootprint.assert_instances_back(before)
    assert_no_stray_messages()
  end

  defp attack({:deploy, {guest, limits, _expectation}}) do
    reason(Tidepool.deploy(guest("wat", guest), name: unique_name(guest), limits: limits))
  end

  defp attack({:call, name}), do: reason(Tidepool.call(name, "any", "payload"))

  defp reason({:ok, _reply}), do: :ok
  defp reason({:error, %Error{reason: reason}}), do: reason

  defp messages, do: self() |> Process.info(:messages) |> elem(1)

  defp elixir_caller(name) do
    fn turn -> {:ok, "turn #{turn}"} == Tidepool.call(name, "echo", "turn #{turn}") end
  end

  defp http_caller(name) do
    fn turn ->
      # The socket belongs to the process that uses it, which is known on the first turn only.
      socket = Process.get(:socket) || FaultClient.connect()
      Process.put(:socket, socket)
      {200, "turn #{turn}"} == FaultClient.call(socket, name, "echo", "turn #{turn}")
    end
  end

  # Calls again and again until `stop/1`, and fails on the first call that does.
  defp until_told(call), do: Task.async(fn -> turns(call, 1) end)

  defp turns(call, turn) do
    assert call.(turn)

    receive do
      :stop -> turn
    after
      0 -> turns(call, turn + 1)
    end
  end

  defp stop(task) do
    send(task.pid, :stop)
    Task.await(task, 60_000)
  end
end
