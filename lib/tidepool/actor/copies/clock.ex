defmodule Tidepool.Actor.Copies.Clock do
  @moduledoc "The time by which this node marks what it writes: the machine's, which goes back here only with a new start of the VM."

  @doc "Now, in µs since 1970, and later than whenever this was asked before."
  @spec now :: Tidepool.Actor.Copies.Mark.us()
  def now, do: later(last(), System.os_time(:microsecond))

  defp later(last, now) do
    before = :atomics.get(last, 1)
    now = max(now, before + 1)
    if :atomics.compare_exchange(last, 1, before, now) == :ok, do: now, else: later(last, now)
  end

  @doc "Begins to count, unless that was done."
  @spec begin :: :ok
  def begin do
    _last = last()
    :ok
  end

  defp last do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      last = :atomics.new(1, signed: true)
      :persistent_term.put(__MODULE__, last)
      last
    end
  end
end
