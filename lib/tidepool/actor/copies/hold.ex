defmodule Tidepool.Actor.Copies.Hold do
  @moduledoc """
  Actors that nobody may wake for a moment, since what is written of them is about to be another; and what is to be known of copies at
  once by everybody: which nodes are late.
  """

  # {{:held, class, name}, pid}, {{:leaving, class, name}, pid}, {{:late, node}, until}, {{:busy, node}, until}, {{:full, node}, until}, {{:told, what}, until}
  @table __MODULE__
  # Between two looks whether another has let an actor go.
  @again_ms 1
  # For how long nobody waits for a node that was late.
  @late_ms 5_000
  # For how long a node is sent nothing whole that could not keep something.
  @full_ms 30_000
  # How often the log says the same.
  @told_ms 60_000

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new do
    if :ets.whereis(@table) == :undefined,
      do: :ets.new(@table, [:named_table, :public, read_concurrency: true, write_concurrency: true])

    :ok
  end

  @doc "Does something while nobody else holds the actor, or wakes it."
  @spec with_actor(String.t(), String.t(), (() -> result)) :: result when result: term
  def with_actor(class, name, fun) do
    key = {:held, class, name}
    take(key)

    try do
      fun.()
    after
      :ets.delete(@table, key)
    end
  end

  defp take(key) do
    unless :ets.insert_new(@table, {key, self()}) do
      with [{_key, holder} = stale] <- :ets.lookup(@table, key),
           false <- Process.alive?(holder),
           do: :ets.delete_object(@table, stale)

      receive do
      after
        @again_ms -> take(key)
      end
    end
  end

  @doc "Is an actor held?"
  @spec held?(String.t(), String.t()) :: boolean
  def held?(class, name) do
    case :ets.lookup(@table, {:held, class, name}) do
      [{_key, holder}] -> Process.alive?(holder)
      [] -> false
    end
  end

  @doc "Notes that the calling actor leaves: it writes what it has, under its name no more."
  @spec leaving(String.t(), String.t()) :: :ok
  def leaving(class, name) do
    :ets.insert(@table, {{:leaving, class, name}, self()})
    :ok
  end

  @doc "The calling actor has left, and has written all."
  @spec left(String.t(), String.t()) :: :ok
  def left(class, name) do
    :ets.delete_object(@table, {{:leaving, class, name}, self()})
    :ok
  end

  @doc "Is there one that leaves?"
  @spec leaving?(String.t(), String.t()) :: boolean
  def leaving?(class, name) do
    with [{_key, pid} = left] <- :ets.lookup(@table, {:leaving, class, name}),
         false <- Process.alive?(pid) do
      :ets.delete_object(@table, left)
      false
    else
      [] -> false
      true -> true
    end
  end

  @doc "Notes that a node has not answered in time: for a while nobody waits for it, unless it is busy."
  @spec late(node :: String.t()) :: :ok
  def late(node) do
    unless lasts?({:busy, node}), do: :ets.insert(@table, {{:late, node}, now() + @late_ms})
    :ok
  end

  @doc "Is a node one of those?"
  @spec late?(node :: String.t()) :: boolean
  def late?(node), do: lasts?({:late, node})

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
