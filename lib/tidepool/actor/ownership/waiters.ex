defmodule Tidepool.Actor.Ownership.Waiters do
  @moduledoc """
  Processes that wait until something is another than it was: the process that changes it tells them, by its key.
  """

  alias Tidepool.Actor.Table

  # {key, alias of who waits}
  @table __MODULE__

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@table, [:bag, write_concurrency: true])

  @doc """
  Waits until what has this key was changed, for `ms` at most, or until the process `holder` has ended. Does not wait unless `still?` says
  that it is as before.
  """
  @spec await(key :: term, timeout, (() -> boolean), holder :: pid | nil) :: :ok
  def await(key, ms, still?, holder \\ nil) do
    ref = if holder, do: :erlang.monitor(:process, holder, alias: :explicit_unalias), else: :erlang.alias()
    :ets.insert(@table, {key, ref})

    # Only now: who changes it from here on finds who waits.
    if still?.() do
      receive do
        {^ref, :changed} -> :ok
        {:DOWN, ^ref, :process, _holder, _reason} -> :ok
      after
        ms -> :ok
      end
    end

    :ets.delete_object(@table, {key, ref})
    :erlang.unalias(ref)
    if holder, do: Process.demonitor(ref, [:flush])

    receive do
      {^ref, :changed} -> :ok
    after
      0 -> :ok
    end
  end

  @doc "Tells those who wait that what has this key was changed."
  @spec tell(key :: term) :: :ok
  def tell(key) do
    for {_key, ref} <- :ets.take(@table, key), do: send(ref, {ref, :changed})
    :ok
  end
end
