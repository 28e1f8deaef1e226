defmodule Tidepool.Actor.OutputGateTest do
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Activation.OutputGate

  doctest OutputGate

  # Calls begin writes or not, and writes end in their order, some of them badly: all of it as it comes.
  defp run(seed) do
    :rand.seed(:exsss, {seed, 2, 3})

    Enum.reduce(1..200, {OutputGate.new(), [], 0, [], []}, fn call, {gate, under_way, failed_from, asked, released} ->
      {gate, under_way, asked, now} = asked(:rand.uniform(3), call, gate, under_way, asked)
      {gate, under_way, failed_from, later} = ended(:rand.uniform(4), gate, under_way, failed_from)
      {gate, under_way, failed_from, asked, released ++ now ++ later}
    end)
  end

  defp asked(1, call, gate, under_way, asked) do
    {now, gate} = OutputGate.put(gate, :now, {:answer, call, :unwritten})
    {gate, under_way, asked ++ [{call, nil}], now}
  end

  defp asked(_writes, call, gate, under_way, asked) do
    {now, gate} = gate |> OutputGate.began(call) |> OutputGate.put(:gated, {:answer, call, :written})
    {gate, under_way ++ [call], asked ++ [{call, call}], now}
  end

  defp ended(1, gate, [id | under_way], failed) do
    {released, gate} = OutputGate.failed(gate, id, :failed)
    {gate, under_way, [id | List.wrap(failed)], released}
  end

  defp ended(2, gate, [id | under_way], failed) do
    {released, gate} = OutputGate.committed(gate, id)
    {gate, under_way, failed, released}
  end

  defp ended(_none, gate, under_way, failed), do: {gate, under_way, failed, []}

  test "answers leave in the order of their calls, none before its write has ended, and none is lost" do
    for seed <- 1..200 do
      {gate, under_way, failed, asked, released} = run(seed)

      {released, gate} =
        Enum.reduce(under_way, {released, gate}, fn id, {before, gate} ->
          # None of those that wait for it, or for a later one, has left.
          refute Enum.any?(before, fn {:answer, call, _answer} -> call >= id end)
          {more, gate} = OutputGate.committed(gate, id)
          {before ++ more, gate}
        end)

      assert OutputGate.idle?(gate)
      assert Enum.map(released, &elem(&1, 1)) == Enum.map(asked, &elem(&1, 0))

      for {:answer, call, answer} <- released, {^call, write} <- asked do
        expected = if write, do: if(write in List.wrap(failed), do: :failed, else: :written), else: :unwritten
        assert answer == expected
      end
    end
  end

  # A write is under way, and so many answers of so many bytes have come since.
  defp held(count, bytes) do
    reply = String.duplicate("x", bytes)
    gate = OutputGate.began(OutputGate.new(), 1)

    for number <- 1..count, reduce: gate do
      gate -> gate |> OutputGate.put(:gated, {:answer, number, {:ok, reply}}) |> elem(1)
    end
  end

  test "a gate is full with a thousand answers or with 4 MiB, and has room again when they have left" do
    for {count, bytes, full?} <- [{999, 1, false}, {1_000, 1, true}, {3, 1_048_576, false}, {4, 1_048_576, true}] do
      gate = held(count, bytes)
      assert {count, OutputGate.full?(gate)} == {count, full?}
      {released, gate} = OutputGate.committed(gate, 1)
      assert length(released) == count
      refute OutputGate.full?(gate)
      assert {gate.count, gate.bytes} == {0, 0}
    end

    # What waits for a write that failed is an error instead.
    {[], gate} = 4 |> held(1_048_576) |> OutputGate.began(2) |> OutputGate.put(:gated, {:answer, 5, {:ok, "12345"}})

    assert {0, gate} =
             gate |> OutputGate.failed(2, {:error, %{message: "123"}}) |> then(&{length(elem(&1, 0)), elem(&1, 1)})

    assert {gate.count, gate.bytes} == {5, 4 * 1_048_576 + 3}
    {_released, gate} = OutputGate.committed(gate, 1)
    assert {gate.count, gate.bytes, OutputGate.idle?(gate)} == {0, 0, true}
  end
end
