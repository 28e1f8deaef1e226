defmodule Tidepool.Actor.Ownership.ActorLock do
  @moduledoc """
  Locks of actors by their names: while a process holds one, no call activates the actor, since its record is about to be replaced. An
  actor that leaves this node is here, too, until it has written what it has.
  """

  alias Tidepool.Actor.Table
  alias Tidepool.Actor.Ownership.Waiters

  # {{:held, class, name}, pid}, {{:leaving, class, name}, pid}
  @table __MODULE__

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@table)

  @doc "Calls a function while the caller holds the lock."
  @spec with_lock(String.t(), String.t(), (() -> result)) :: result when result: term
  def with_lock(class, name, fun) do
    key = {:held, class, name}
    take(key)

    try do
      fun.()
    after
      :ets.delete(@table, key)
      Waiters.tell(key)
    end
  end

  defp take(key) do
    unless :ets.insert_new(@table, {key, self()}) do
      with [{_key, holder} = held] <- :ets.lookup(@table, key) do
        Waiters.await(key, :infinity, fn -> :ets.lookup(@table, key) == [held] end, holder)
        # It has ended without letting it go.
        unless Process.alive?(holder), do: :ets.delete_object(@table, held)
      end

      take(key)
    end
  end

  @doc "Waits for `ms` at most until no process holds the lock."
  @spec await(String.t(), String.t(), timeout) :: :ok
  def await(class, name, ms), do: Waiters.await({:held, class, name}, ms, fn -> held?(class, name) end)

  @doc "Does a process hold the lock?"
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
end
