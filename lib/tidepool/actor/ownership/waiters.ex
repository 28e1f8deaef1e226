defmodule Tidepool.Actor.Ownership.Waiters do
  @moduledoc """
  Processes that wait until something is another than it was: the process that changes it tells them, by its key.

  One that is killed meanwhile, as a request is whose client hangs up, leaves its row. Where nodes share a store a process drops such rows.
  """

  use GenServer

  alias Tidepool.Actor.Table

  # {{key, alias of who waits}, who waits}: thousands may wait for the same, and who comes or goes has none of the others looked at.
  @table __MODULE__
  @sweep_ms 1_000
  # Rows that are looked at together.
  @piece 1_000

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@table, [:ordered_set, write_concurrency: true])

  @doc """
  Waits until what has this key was changed, for `ms` at most. Does not wait unless `still?` says that it is as before.
  """
  @spec await(key :: term, timeout, (() -> boolean)) :: :ok
  def await(key, ms, still?) do
    ref = :erlang.alias()
    :ets.insert(@table, {{key, ref}, self()})

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
    for ref <- :ets.select(@table, [{{{key, :"$1"}, :_}, [], [:"$1"]}]),
        [_row] <- [:ets.take(@table, {key, ref})],
        do: send(ref, {ref, :changed})

    :ok
  end

  @impl true
  def init(nil), do: {:ok, nil, @sweep_ms}

  @impl true
  def handle_info(_timeout, nil) do
    sweep(:ets.select(@table, [{:_, [], [:"$_"]}], @piece))
    {:noreply, nil, @sweep_ms}
  end

  defp sweep(:"$end_of_table"), do: :ok

  defp sweep({rows, next}) do
    for {row, pid} <- rows, not Process.alive?(pid), do: :ets.delete(@table, row)
    sweep(:ets.select(next))
  end
end
