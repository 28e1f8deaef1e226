defmodule Tidepool.Log.BudgetTest do
  # Not async: the keys are those of the node.
  use ExUnit.Case

  alias Tidepool.Log.Budget

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
end
