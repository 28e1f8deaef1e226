defmodule Tidepool.Host.Timer do
  @moduledoc "How long to wait for what has to come before a deadline."

  @doc """
  So many milliseconds are to stand behind `after`, so that it goes off in the first millisecond in which `remaining_us`
  are over: the VM counts from the next whole millisecond of its clock.
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
