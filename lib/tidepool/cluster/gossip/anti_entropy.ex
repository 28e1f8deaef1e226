defmodule Tidepool.Cluster.Gossip.AntiEntropy do
  @moduledoc """
  How two peers whose digests differ find what the one has and the other lacks, step by step, each answering the other:

    1. `:groups`: the sums of all groups of a table
    2. `:leaves`: the sums of the leaves of those groups that differ
    3. `:keys`: the keys and versions in those leaves that differ; of a leaf that the other has nothing in, the rows themselves
    4. the rows that the other lacks or has an earlier version of; `:want` for those that are missing here; `:gone` for entries that
       were removed and collected here (`Tidepool.Catalog.State`)

  No step keeps anything between messages, so any of them may be lost, late or repeated. There are two tables, the catalog's
  entries and the nodes' reports; each of them as the first version of the protocol has it, and as later ones do, which
  know more of a row (`Tidepool.Function.Spec.levels/0`), and of rows that those before ignore. Two nodes compare what both know.

  Of a name whose entry the other ignores (`Tidepool.Catalog.State`) nothing is sent: what the other has of it counts here from then on.
  """

  alias Tidepool.Catalog.{Digest, State}
  alias Tidepool.Cluster.{Gossip, Report}
  alias Tidepool.Function.Spec

  # Of a message: rows, and bytes of these as terms, of which a row has some hundred KB at most. `Tidepool.Cluster.Wire` takes 8 MiB.
  @chunk 256
  @chunk_bytes 4_194_304

  @type kind :: :entries | :reports
  @type table :: kind | {kind, level :: pos_integer}

  @doc "The first step."
  @spec begin(table, State.t(), Report.Table.t()) :: Gossip.message()
  def begin(table, catalog, reports), do: {:groups, table, Digest.groups(digest(table, catalog, reports))}

  @doc "The roots of both tables' digests."
  @spec roots(State.t(), Report.Table.t()) :: {entries :: Digest.hash(), reports :: Digest.hash()}
  def roots(catalog, reports), do: {catalog.digest.root, reports.digest.root}

  @doc "The roots of both tables' digests at each level."
  @spec levels(State.t(), Report.Table.t()) :: [
          {level :: pos_integer, entries :: Digest.hash(), reports :: Digest.hash()}
        ]
  def levels(catalog, reports) do
    for level <- Spec.levels(), do: {level, catalog.levels[level].root, reports.whole.root}
  end

  @doc """
  By the roots of another node's tables, and those of its levels, which of them differ from the ones here: as both know
  them best.
  """
  @spec differing(
          {Digest.hash(), Digest.hash()},
          [{pos_integer, Digest.hash(), Digest.hash()}],
          State.t(),
          Report.Table.t()
        ) ::
          [table]
  def differing(roots, levels, catalog, reports) do
    ours = levels(catalog, reports)

    case for {level, _entries, _reports} = theirs <- levels, List.keymember?(ours, level, 0), do: theirs do
      [] ->
        unlike([:entries, :reports], roots, roots(catalog, reports))

      common ->
        {level, entries, sums} = Enum.max(common)
        {level, our_entries, our_sums} = List.keyfind(ours, level, 0)
        unlike([{:entries, level}, {:reports, level}], {entries, sums}, {our_entries, our_sums})
    end
  end

  defp unlike([entries, reports], {a, b}, {c, d}),
    do: if(a == c, do: [], else: [entries]) ++ if(b == d, do: [], else: [reports])

  @doc "The answers to a step, and the catalog by what the other has of names whose entries it ignores."
  @spec answer(Gossip.message(), State.t(), Report.Table.t()) :: {State.t(), [Gossip.message()]}
  def answer({:groups, table, sums}, catalog, reports) do
    digest = digest(table, catalog, reports)
    leaves = for group <- Digest.differing_groups(digest, sums), do: {group, Digest.leaves(digest, group)}
    {catalog, if(leaves == [], do: [], else: [{:leaves, table, leaves}])}
  end

  def answer({:leaves, table, groups}, catalog, reports) do
    digest = digest(table, catalog, reports)
    leaves = Enum.flat_map(groups, fn {group, sums} -> Digest.differing_leaves(digest, group, sums) end)
    {empty, differing} = Enum.split_with(leaves, fn {_leaf, sum} -> sum == 0 end)
    missing = Enum.flat_map(empty, fn {leaf, _sum} -> Digest.keys(digest, leaf) end)
    versions = &for(key <- &1, do: {key, version(table, key, catalog, reports)})
    keys = for {leaf, _sum} <- differing, do: {leaf, versions.(Digest.keys(digest, leaf))}
    {catalog, rows} = told(table, missing, catalog, reports)
    {catalog, rows ++ chunks(keys, &{:keys, table, &1})}
  end

  def answer({:keys, table, leaves}, catalog, reports) do
    digest = digest(table, catalog, reports)

    {ours, wanted, gone} =
      Enum.reduce(leaves, {[], [], []}, fn {leaf, theirs}, found ->
        mine = Map.new(Digest.keys(digest, leaf), &{&1, version(table, &1, catalog, reports)})
        compare(table, catalog, mine, Map.new(theirs), found)
      end)

    catalog = wanted |> Enum.filter(&hidden?(table, catalog, &1)) |> Enum.reduce(catalog, &lack(table, &2, &1))
    {catalog, rows} = told(table, ours, catalog, reports)
    {catalog, rows ++ chunks(wanted, &{:want, table, &1}) ++ chunks(gone, &{:gone, &1})}
  end

  def answer({:want, table, keys}, catalog, reports), do: told(table, keys, catalog, reports)

  # What the other lacks.
  defp told({:entries, level} = table, names, catalog, reports) do
    {hidden, names} = Enum.split_with(names, &State.hidden?(catalog, &1, level))
    {Enum.reduce(hidden, catalog, &lack(table, &2, &1)), rows(table, names, catalog, reports)}
  end

  defp told(table, keys, catalog, reports), do: {catalog, rows(table, keys, catalog, reports)}

  @doc "The rows of these keys, as far as there are any, as messages."
  @spec rows(table, [String.t()], State.t(), Report.Table.t()) :: [Gossip.message()]
  def rows({kind, _level}, keys, catalog, reports), do: rows(kind, keys, catalog, reports)

  def rows(:entries, names, catalog, _reports) do
    chunks(for(name <- names, entry = State.entry(catalog, name), do: {entry, nil}), &{:push, &1})
  end

  def rows(:reports, nodes, _catalog, reports) do
    chunks(for(node <- nodes, report = reports.rows[node], do: report), &{:reports, &1})
  end

  @doc "A long list as several messages."
  @spec chunks(list, (list -> Gossip.message())) :: [Gossip.message()]
  def chunks(items, message) do
    items
    |> Enum.chunk_while({[], 0, 0}, &chunk/2, fn {chunk, _count, _bytes} -> {:cont, chunk, nil} end)
    |> Enum.flat_map(fn chunk -> if(chunk == [], do: [], else: [message.(Enum.reverse(chunk))]) end)
  end

  defp chunk(item, {chunk, count, bytes}) do
    own = :erlang.external_size(item)

    if count > 0 and (count == @chunk or bytes + own > @chunk_bytes),
      do: {:cont, chunk, {[item], 1, own}},
      else: {:cont, {[item | chunk], count + 1, bytes + own}}
  end

  # Equal versions of unequal rows don't show here; the sums say that there are some, so all of the leaf is sent.
  defp compare(table, catalog, same, same, {ours, wanted, gone}) do
    {hidden, rest} = same |> Map.keys() |> Enum.split_with(&hidden?(table, catalog, &1))
    {rest ++ ours, hidden ++ wanted, gone}
  end

  defp compare(table, catalog, mine, theirs, {ours, wanted, gone}) do
    newer =
      for {key, version} <- mine,
          not is_map_key(theirs, key) or (theirs[key] < version and not hidden?(table, catalog, key)),
          do: key

    Enum.reduce(theirs, {newer ++ ours, wanted, gone}, fn {key, version}, {ours, wanted, gone} ->
      cond do
        mine[key] == version -> {ours, wanted, gone}
        # It is the other's to say what it has of this name.
        hidden?(table, catalog, key) -> {ours, [key | wanted], gone}
        is_map_key(mine, key) and mine[key] >= version -> {ours, wanted, gone}
        kind(table) == :entries and State.collected?(catalog, version) -> {ours, wanted, [{key, version} | gone]}
        true -> {ours, [key | wanted], gone}
      end
    end)
  end

  defp hidden?({:entries, level}, catalog, name), do: State.hidden?(catalog, name, level)
  defp hidden?(_table, _catalog, _key), do: false

  defp lack({:entries, level}, catalog, name), do: State.lack(catalog, name, level)

  defp digest(:entries, catalog, _reports), do: catalog.digest
  defp digest({:entries, level}, catalog, _reports), do: Map.fetch!(catalog.levels, level)
  defp digest(:reports, _catalog, reports), do: reports.digest
  defp digest({:reports, _level}, _catalog, reports), do: reports.whole

  defp kind({kind, _level}), do: kind
  defp kind(kind), do: kind

  defp version({:entries, level}, name, catalog, _reports), do: State.stamp(catalog, name, level)
  defp version({kind, _level}, key, catalog, reports), do: version(kind, key, catalog, reports)
  defp version(:entries, name, catalog, _reports), do: catalog.index[name].stamp
  defp version(:reports, node, _catalog, reports), do: reports.rows[node].at
end
