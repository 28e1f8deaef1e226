defmodule Tidepool.Log.BudgetTest do
  # Not async: the keys are those of the node.
  use ExUnit.Case

  alias Tidepool.Actor.Activation.State
  alias Tidepool.Log.Budget
  alias Tidepool.LogWatch

  test "of a thousand keys and more those are dropped whose windows are over" do
    {lines, window_ms} = Budget.limits()
    Budget.under_id({__MODULE__, :told}, fn _id, _left_out -> :ok end)
    now = System.monotonic_time(:millisecond)
    later = now + 2 * window_ms
    keys = for number <- 1..2_000, do: {__MODULE__, number}
    for key <- keys, do: Budget.take(key, now)
    assert Budget.count() >= 2_000
    # One that goes on is kept, and counts on.
    for _line <- 1..(lines + 1), do: Budget.take({__MODULE__, :goes_on}, later)
    assert Budget.count() < 1_000
    assert Budget.take({__MODULE__, :goes_on}, later) == :left_out
    assert Budget.take(hd(keys), later) == {:ok, 0}
    assert "id " <> _of_its_own = Budget.under_id({__MODULE__, :told}, fn _id, _left_out -> :ok end)
  end

  test "a key may have another number of lines" do
    now = System.monotonic_time(:millisecond)
    assert for(_line <- 1..4, do: Budget.take({__MODULE__, :few}, now, 2)) == [{:ok, 0}, {:ok, 0}, :left_out, :left_out]
    assert Budget.take({__MODULE__, :none}, now, 0) == :left_out
  end

  test "a key may have its lines for longer, and what others have left out counts" do
    {_lines, window_ms} = Budget.limits()
    hour = div(System.monotonic_time(:millisecond), 360 * window_ms) * 360 * window_ms
    key = {__MODULE__, :hourly}
    assert Budget.take(key, hour, 2, 360) == {:ok, 0}
    assert Budget.take(key, hour + window_ms, 2, 360, 3) == {:ok, 3}
    assert Budget.take(key, hour + 359 * window_ms, 2, 360, 5) == :left_out
    assert Budget.take(key, hour + 360 * window_ms, 2, 360) == {:ok, 6}
  end

  test "of an actor's class there are ten lines in ten seconds, however many calls have one" do
    class = "class of #{inspect(__MODULE__)}"
    LogWatch.watch(class)
    {most, _window_ms} = Budget.limits()
    for number <- 1..50, do: State.warn(%State{class: class, name: "alice"}, "was not written, as call #{number}")
    # Who logs has told all who listen; and the time may be over in between.
    assert length(logged(class)) in most..(2 * most)
  end

  defp logged(class) do
    receive do
      {:logged, ^class, :warning, text, _metadata} -> [text | logged(class)]
    after
      0 -> []
    end
  end
end
