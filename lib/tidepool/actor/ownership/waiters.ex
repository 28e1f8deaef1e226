defmodule Tidepool.Actor.Ownership.Waiters do
  @moduledoc """
  Processes that wait until something is another than it was: the process that changes it tells them, by its key.
  """

  alias Tidepool.Actor.Table

  # {{key, alias of who waits}}: thousands may wait for the same, and who comes or goes has none of the others looked at.
  @table __MODULE__

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@table, [:ordered_set, write_concurrency: true])

  @doc """
  Waits until what has this key was changed, for `ms` at most. Does not wait unless `still?` says that it is as before.
  """
  @spec await(key :: term, timeout, (() -> boolean)) :: :ok
  def await(key, ms, still?) do
    ref = :erlang.alias()
    :ets.insert(@table, {{key, ref}})

    # Only now: who changes it from here on finds who waits.
    if still?.() do
      receive do
        {^ref, :changed} -> :ok
      after
        ms -> :ok
      end
    end

    :ets.delete(@table, {key, ref})
    :erlang.unalias(ref)

    receive do
      {^ref, :changed} -> :ok
    after
      0 -> :ok
    end
  end

  @doc "Tells those who wait that what has this key was changed."
  @spec tell(key :: term) :: :ok
  def tell(key) do
    # Two may tell of it at once.
    for ref <- :ets.select(@table, [{{{key, :"$1"}}, [], [:"$1"]}]),
        [_row] <- [:ets.take(@table, {key, ref})],
        do: send(ref, {ref, :changed})

    :ok
  end
end
