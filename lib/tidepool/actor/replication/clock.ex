defmodule Tidepool.Actor.Replication.Clock do
  @moduledoc "The time by which this node vectors what it writes: the machine's, which goes back here only with a new start of the VM."

  alias Tidepool.Catalog.Clock

  @started {__MODULE__, :started}

  @doc "Now, in µs since 1970, and later than whenever this was asked before."
  @spec now :: Tidepool.Actor.Journal.VersionVector.us()
  def now, do: later(last(), System.os_time(:microsecond))

  defp later(last, now) do
    before = :atomics.get(last, 1)
    now = max(now, before + 1)
    if :atomics.compare_exchange(last, 1, before, now) == :ok, do: now, else: later(last, now)
  end

  @doc """
  What this node's writes are stamped with: its name, and when it has started. One that has lost its disk, or begins from a backup, does
  not know what it wrote before, and must not be taken for one that does.
  """
  @spec writer :: String.t()
  def writer, do: Clock.replica(to_string(node()), :persistent_term.get(@started))

  @doc "Begins to count: for a new start."
  @spec begin :: :ok
  def begin do
    _last = last()
    :persistent_term.put(@started, System.os_time(:millisecond))
  end

  defp last do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      last = :atomics.new(1, signed: true)
      :persistent_term.put(__MODULE__, last)
      last
    end
  end
end
