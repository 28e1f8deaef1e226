defmodule Tidepool.Catalog.Entries do
  @moduledoc """
  The entries of a node's catalog, by name: a table that its owner alone writes, and that anybody may read at any time.

  It lasts as long as its owner. It is packed, which takes half the memory, and reading one no longer.
  """

  alias Tidepool.Catalog.{BlobStore, Entry, Previous}

  @type t :: :ets.tid()

  @doc "A table of the calling process."
  @spec new([Entry.t()]) :: t
  def new(entries) do
    table = :ets.new(__MODULE__, [:protected, :compressed, read_concurrency: true])
    put(table, entries)
    table
  end

  @doc "The entry of a name."
  @spec get(t, String.t()) :: Entry.t() | nil
  def get(table, name) do
    case :ets.lookup(table, name) do
      [{_name, entry}] -> entry
      [] -> nil
    end
  end

  @doc "All of them, in any order."
  @spec list(t) :: [Entry.t()]
  def list(table), do: :ets.select(table, [{{:_, :"$1"}, [], [:"$1"]}])

  @doc "How many there are."
  @spec count(t) :: non_neg_integer
  def count(table), do: :ets.info(table, :size)

  @doc "How many are of names that were removed."
  @spec count_removed(t) :: non_neg_integer
  def count_removed(table), do: :ets.select_count(table, [{{:_, %{removed: true}}, [], [true]}])

  @doc "The names that were removed."
  @spec removed(t) :: [String.t()]
  def removed(table), do: :ets.select(table, [{{:"$1", %{removed: true}}, [], [:"$1"]}])

  @doc "Were any removed before this moment?"
  @spec removed_before?(t, wall_ms :: integer) :: boolean
  def removed_before?(table, wall_ms) do
    old = [{{:_, %{removed: true, stamp: {:"$1", :_, :_}}}, [{:<, :"$1", wall_ms}], [true]}]
    :ets.select(table, old, 1) != :"$end_of_table"
  end

  @doc "The modules of those that are not removed, in all of their versions."
  @spec modules(t) :: [BlobStore.sha256()]
  def modules(table) do
    for {sha256, previous} <-
          :ets.select(table, [{{:_, %{removed: false, sha256: :"$1", previous: :"$2"}}, [], [{{:"$1", :"$2"}}]}]),
        needed <- [sha256 | Previous.modules(previous)],
        do: needed
  end

  @doc "Makes these the entries of their names, all at once; of two of a name the last one."
  @spec put(t, [Entry.t()]) :: true
  def put(table, entries), do: :ets.insert(table, for(entry <- entries, do: {entry.name, entry}))

  @doc "Drops the entries of these names."
  @spec drop(t, [String.t()]) :: :ok
  def drop(table, names), do: Enum.each(names, &:ets.delete(table, &1))
end
