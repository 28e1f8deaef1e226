defmodule Tidepool.Catalog.Entries do
  @moduledoc """
  The entries of a node's catalog, by name: a table that its owner alone writes, and that anybody may read at any time.

  Beside it are sums of what entries have: for how many versions each module is needed, and what each namespace has. They change with the
  entries, so that who changes one name looks at no others.

  Both last as long as their owner. Entries are packed, which takes half the memory, and reading one no longer.
  """

  alias Tidepool.Catalog.{BlobStore, Entry, Previous}
  alias Tidepool.Function.Routes
  alias Tidepool.Namespaces.Name

  @type t :: {entries :: :ets.tid(), sums :: :ets.tid()}

  @typedoc "What some functions have: their number, and the bytes of their newest modules, and of those of the versions before."
  @type sums :: %{functions: non_neg_integer, newest: non_neg_integer, previous: non_neg_integer}

  @doc "Tables of the calling process."
  @spec new([Entry.t()]) :: t
  def new(entries) do
    table = :ets.new(__MODULE__, [:protected, :compressed, read_concurrency: true])
    tables = {table, :ets.new(__MODULE__, [:ordered_set, :protected])}
    put(tables, entries)
    tables
  end

  @doc "The entry of a name."
  @spec get(t, String.t()) :: Entry.t() | nil
  def get({table, _sums}, name) do
    case :ets.lookup(table, name) do
      [{_name, entry}] -> entry
      [] -> nil
    end
  end

  @doc "All of them, in any order."
  @spec list(t) :: [Entry.t()]
  def list({table, _sums}), do: :ets.select(table, [{{:_, :"$1"}, [], [:"$1"]}])

  @doc "Those that have one of these routes; by chance another one is among them."
  @spec routed(t, Routes.t()) :: [Entry.t()]
  def routed({_table, sums} = entries, routes) do
    names =
      for route <- routes, name <- :ets.select(sums, [{{{:route, hash(route), :"$1"}, :_}, [], [:"$1"]}]), do: name

    for name <- Enum.uniq(names), entry = get(entries, name), do: entry
  end

  @doc "How many there are."
  @spec count(t) :: non_neg_integer
  def count({table, _sums}), do: :ets.info(table, :size)

  @doc "How many are of names of a namespace that were removed."
  @spec count_removed(t, namespace :: String.t() | nil) :: non_neg_integer
  def count_removed({_table, sums}, namespace), do: sum(sums, {:removed, namespace})

  @doc "Were any removed before this moment?"
  @spec removed_before?(t, wall_ms :: integer) :: boolean
  def removed_before?({table, _sums}, wall_ms) do
    old = [{{:_, %{removed: true, stamp: {:"$1", :_, :_}}}, [{:<, :"$1", wall_ms}], [true]}]
    :ets.select(table, old, 1) != :"$end_of_table"
  end

  @doc "Does a version of those that are not removed need this module?"
  @spec needs?(t, BlobStore.sha256()) :: boolean
  def needs?({_table, sums}, sha256), do: :ets.member(sums, sha256)

  @doc "What the other functions of a name's namespace have."
  @spec others(t, String.t()) :: sums
  def others({_table, sums} = entries, name) do
    own = entries |> get(name) |> parts() |> Map.new()

    for what <- [:functions, :newest, :previous], into: %{} do
      key = {what, Name.of(name)}
      {what, sum(sums, key) - Map.get(own, key, 0)}
    end
  end

  @doc "Makes these the entries of their names, all at once; of two of a name the last one."
  @spec put(t, [Entry.t()]) :: true
  def put({table, sums} = entries, new) do
    new = Map.new(new, &{&1.name, &1})
    before = for {name, _entry} <- new, {key, less} <- entries |> get(name) |> parts(), do: {key, -less}
    # By what is other than before alone: others read the sums meanwhile.
    changes = for {_name, entry} <- new, part <- parts(entry), do: part
    changes = Enum.reduce(before ++ changes, %{}, fn {key, more}, all -> Map.update(all, key, more, &(&1 + more)) end)
    for {key, more} <- changes, more != 0, do: add(sums, key, more)
    :ets.insert(table, Map.to_list(new))
  end

  @doc "Drops the entries of these names."
  @spec drop(t, [String.t()]) :: :ok
  def drop({table, sums} = entries, names) do
    Enum.each(names, fn name ->
      for {key, less} <- parts(get(entries, name)), do: add(sums, key, -less)
      :ets.delete(table, name)
    end)
  end

  # What an entry is a part of each sum with.
  defp parts(nil), do: []
  defp parts(%{removed: true, name: name}), do: [{{:removed, Name.of(name)}, 1}]

  defp parts(%{name: name} = entry) do
    namespace = Name.of(name)
    routed = for route <- entry.routes, do: {{:route, hash(route), name}, 1}
    bytes = [{{:newest, namespace}, entry.size}, {{:previous, namespace}, Previous.bytes(entry.previous)}]
    [{{:functions, namespace}, 1} | bytes] ++ routed ++ for(sha256 <- Entry.modules(entry), do: {sha256, 1})
  end

  # A route is longer.
  defp hash(route), do: :erlang.phash2(Routes.canonical(route))

  defp add(sums, key, more), do: if(:ets.update_counter(sums, key, more, {key, 0}) == 0, do: :ets.delete(sums, key))

  defp sum(sums, key) do
    case :ets.lookup(sums, key) do
      [{_key, sum}] -> sum
      [] -> 0
    end
  end
end
