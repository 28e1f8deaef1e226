defmodule Tidepool.Actor.Replication.PeerHealth do
  @moduledoc "What all processes of this node are to know at once of other nodes that keep copies: which are late, silent, busy or full."

  alias Tidepool.Actor.Table

  # {{:late, node}, until}, {{:silent, node}, until}, {{:busy, node}, until}, {{:full, node}, until}, {{:told, what}, until}
  @table __MODULE__
  # For how long no write waits for a node that was late.
  @late_ms 5_000
  # For how long a node is sent nothing whole that could not keep something.
  @full_ms 30_000
  # How often the log says the same.
  @told_ms 60_000

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@table)

  @doc "Notes that a node has not answered in time: for a while no write waits for it, unless it is busy."
  @spec late(node :: String.t()) :: :ok
  def late(node) do
    unless lasts?({:busy, node}), do: :ets.insert(@table, {{:late, node}, now() + @late_ms})
    :ok
  end

  @doc "Is a node one of those?"
  @spec late?(node :: String.t()) :: boolean
  def late?(node), do: lasts?({:late, node})

  @doc """
  Notes that a node has not answered a question for as long as it may take: for a while it is not asked, or waited for,
  unless it is busy.
  """
  @spec silent(node :: String.t()) :: :ok
  def silent(node) do
    unless lasts?({:busy, node}), do: :ets.insert(@table, {{:silent, node}, now() + @late_ms})
    late(node)
  end

  @doc "Is a node one of those? One that was late to keep a write may answer questions."
  @spec silent?(node :: String.t()) :: boolean
  def silent?(node), do: lasts?({:silent, node})

  @doc "Notes that a node has something large to take, for so many ms at most: who is late then may be behind that."
  @spec busy(node :: String.t(), ms :: pos_integer) :: :ok
  def busy(node, ms) do
    :ets.insert(@table, {{:busy, node}, now() + ms})
    :ok
  end

  @doc "Notes that a node could not keep what it was sent: its disk has no room, or fails."
  @spec full(node :: String.t()) :: :ok
  def full(node) do
    :ets.insert(@table, {{:full, node}, now() + @full_ms})
    :ok
  end

  @doc "Is a node one of those? After a while it is tried again."
  @spec full?(node :: String.t()) :: boolean
  def full?(node), do: lasts?({:full, node})

  @doc "Is something to be told that was not told lately? Then it counts as told."
  @spec tell?(what :: term) :: boolean
  def tell?(what) do
    told? = lasts?({:told, what})
    unless told?, do: :ets.insert(@table, {{:told, what}, now() + @told_ms})
    not told?
  end

  defp lasts?(key) do
    case :ets.lookup(@table, key) do
      [{_key, until}] -> until > now()
      [] -> false
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
