defmodule Tidepool.Host.Timer do
  @moduledoc "Timeouts of waits that have a deadline."

  @doc """
  The timeout for `receive … after`, from µs. The VM counts from the *next* full millisecond, so it is ceil(deadline) − ceil(now):
  never early, less than 1 ms late.
  """
  @spec ms(remaining_us :: non_neg_integer) :: non_neg_integer
  def ms(remaining_us) do
    now_us = System.monotonic_time(:microsecond)
    ceil_ms(now_us + remaining_us) - ceil_ms(now_us)
  end

  @doc """
  Microseconds as milliseconds, rounded up.

      iex> Enum.map([0, 1, 1_000, 1_001], &Tidepool.Host.Timer.ceil_ms/1)
      [0, 1, 1, 2]
  """
  @spec ceil_ms(integer) :: integer
  def ceil_ms(us), do: -Integer.floor_div(-us, 1_000)
end
