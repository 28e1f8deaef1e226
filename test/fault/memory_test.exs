defmodule Tidepool.Fault.MemoryTest do
  # Not async: weighs the whole node.
  use Tidepool.Case

  alias Tidepool.{Error, FaultFootprint}

  @mib 1024 * 1024
  @calls 200
  # Guests that kept what they fill would cost the node 3,200 MiB over all calls.
  @guest_bytes 16 * @mib
  @tolerated_bytes 100 * @mib
  @rounds 3
  @shrunk_ms 20_000

  # What the call is, and how it has to end.
  @cases [
    {"grow and reply", "memory_hold", [], {:ok, "256"}},
    {"fill all they get and trap", "memory_bomb", [], {:limit, :memory}},
    {"run out of time while they fill it", "loop_fill", [cpu_time: 10], {:limit, :cpu_time}}
  ]

  for {title, guest, limits, outcome} <- @cases do
    @tag guest: guest, limits: limits, outcome: outcome
    test "#{@calls} guests that #{title} give their 16 MiB back", context do
      limits = Keyword.merge([memory: @guest_bytes, time: 60_000, cpu_time: 30_000], context.limits)
      name = deploy!("wat", context.guest, limits: limits)

      assert_no_growth(fn ->
        case {Tidepool.call(name, "any"), context.outcome} do
          {{:ok, reply}, {:ok, reply}} -> :ok
          {{:error, %Error{reason: reason}}, reason} -> :ok
          {answer, expected} -> flunk("#{inspect(answer)} is not #{inspect(expected)}")
        end
      end)
    end
  end

  test "#{@calls} guests whose callers are killed give their memory back" do
    name = deploy!("zig", "hello_world", limits: [time: 60_000, cpu_time: 30_000])
    test = self()

    # Runs in the caller, which is killed here with the payload in the guest's memory.
    handle!({"host", "test", "park"}, fn call ->
      send(test, {:parked, byte_size(call.payload)})
      receive do: (:never -> {:ok, ""})
    end)

    payload = "host/test/park\n" <> :binary.copy("x", 4 * @mib)

    assert_no_growth(fn ->
      {pid, monitor} = spawn_monitor(fn -> Tidepool.call(name, "host", payload) end)
      assert_receive {:parked, 4_194_304}
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    end)
  end

  test "#{@calls} large replies are given back" do
    name = deploy!("zig", "hello_world", limits: [time: 60_000, cpu_time: 30_000])
    payload = :binary.copy("x", 4 * @mib)

    assert_no_growth(fn ->
      assert {:ok, reply} = Tidepool.call(name, "echo", payload)
      assert byte_size(reply) == byte_size(payload)
    end)
  end

  test "a rush of calls with large payloads and replies gives back what it took" do
    name = deploy!("zig", "hello_world", limits: [time: 60_000, cpu_time: 30_000])
    # As much as a call may bring: a GiB in payloads and replies.
    payload = :binary.copy("x", 8 * @mib)
    rush = fn -> Task.await_many(for(_caller <- 1..64, do: Task.async(fn -> echo(name, payload) end)), 120_000) end
    assert echo(name, payload)
    before = FaultFootprint.settled()
    weight = FaultFootprint.resident_bytes()
    for _round <- 1..3, do: assert(Enum.uniq(rush.()) == [true])
    FaultFootprint.assert_instances_back(before)
    growth = shrunk(weight, System.monotonic_time(:millisecond) + @shrunk_ms)
    assert growth < @tolerated_bytes, "grew by #{growth} bytes"
  end

  test "#{@calls} times guests of all hostile kinds at once give back what they took" do
    handle!({"host", "test", "echo"}, fn call -> {:ok, call.payload} end)
    patient = [time: 60_000, cpu_time: 30_000]
    limits = [memory: @guest_bytes] ++ patient

    [memory, table, stack] =
      for guest <- ~w(memory_bomb table_bomb stack_overflow), do: deploy!("wat", guest, limits: limits)

    host = deploy!("rust", "hello_world", limits: patient)
    # As much as a call may bring.
    payload = "host/test/echo\n" <> :binary.copy("x", 8 * @mib - 64)

    assert_no_growth(fn ->
      calls = [{memory, ""}, {table, ""}, {stack, ""}, {host, payload}]

      outcomes =
        calls
        |> Enum.map(fn {name, payload} -> Task.async(fn -> outcome(name, payload) end) end)
        |> Task.await_many(60_000)

      assert outcomes == [{:limit, :memory}, {:limit, :table}, {:trap, :stack_overflow}, byte_size(payload) - 15]
    end)
  end

  defp echo(name, payload), do: Tidepool.call(name, "echo", payload) == {:ok, payload}

  defp outcome(name, payload) do
    case Tidepool.call(name, "host", payload) do
      {:ok, reply} -> byte_size(reply)
      {:error, %Error{reason: reason}} -> reason
    end
  end

  # What is not given back grows the node in each round of calls. What the allocators keep in reserve, on a busy machine
  # more than elsewhere, they take once: so a round that grew the node is followed by others.
  defp assert_no_growth(call) do
    before = FaultFootprint.settled()
    # The first calls bring what every node needs: slots that stay resident, stacks.
    for _call <- 1..20, do: call.()

    growths =
      Enum.reduce_while(1..@rounds, [], fn _round, growths ->
        growth = growth(call, before)
        {if(growth < @tolerated_bytes, do: :halt, else: :cont), [max(growth, 0) | growths]}
      end)

    assert hd(growths) < @tolerated_bytes,
           "grew by #{inspect(growths)} bytes, the last round first; in MiB there are #{FaultFootprint.breakdown()}"

    assert Enum.sum(growths) < 2 * @tolerated_bytes
  end

  # How many bytes the node has gained once it has had time to give them back.
  defp growth(call, before) do
    FaultFootprint.settled()
    weight = FaultFootprint.resident_bytes()
    for _call <- 1..@calls, do: call.()
    FaultFootprint.assert_instances_back(before)
    shrunk(weight, System.monotonic_time(:millisecond) + @shrunk_ms)
  end

  defp shrunk(weight, deadline) do
    FaultFootprint.settled()
    growth = FaultFootprint.resident_bytes() - weight

    if growth < @tolerated_bytes or System.monotonic_time(:millisecond) > deadline do
      growth
    else
      # A node gives back what it keeps for more of the same when it has become quiet.
      receive do
      after
        500 -> shrunk(weight, deadline)
      end
    end
  end
end
