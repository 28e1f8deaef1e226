defmodule Tidepool.Cluster.Gossip do
  @moduledoc """
  The cluster's side of a node as a pure state machine: events in, effects out. A process drives it.

  A change is pushed at once to all active peers (`Tidepool.Cluster.Gossip.Membership`); who did not know it passes it on, so it
  reaches all nodes that any chain of links leads to. Peers that are known to have it are left out.

  Losses are repaired: each side of a link sends a digest every other interval, so that a quiet link carries one in each.
  Where digests differ the peers go down to the differing leaves in three steps (`Tidepool.Catalog.Digest`), and only
  differing entries travel. The same way the nodes' reports are spread and repaired.

  ## Events

    * `{:local, entries}`: changes made here, stamped, in the order of their stamps
    * `{:ready, entries}`, `{:pending, entries}`: entries of the catalog that this node can serve now, or can't yet
    * `{:message, node, message}`: a decoded message (`Tidepool.Cluster.Wire`)
    * `{:up, node}`, `{:down, node}`: a link came up or went down; `{:failed, node}`: it could not be made
    * `{:found, nodes}`: all nodes that discovery knows now
    * `{:forget, node}`: a node of `lost/1` is gone for good
    * `:tick`: `:tick_ms` have passed; durations are counted in ticks, so steps of the wall clock don't matter to them

  ## Effects, to be done in order

    * `{:send, node, message}`: lost if there is no link
    * `{:connect, node}`, to be answered by `:up` or `:failed`; `{:disconnect, node}`
    * `{:accepted, entries, from}`: now the entries of their names; to be kept and acted on
    * `{:completed, entries}`: what were the entries of their names already, with more details; to be kept
    * `{:collected, stamps, context}`: entries to be forgotten, if they still have this stamp, as `{name, stamp}`; keep `context`
      on disk with what is left. Mostly tombstones; a live one was removed while this node was away. Once a minute at most
      with no stamps at all, when the context has changed
    * `{:refused, node, {:ahead, ms, replica}}`: `node` passed on something of `replica`, whose clock is ahead by more than the
      limit; `{:refused, node, {:no_token, replica}}`: a change that anybody could make, and `open?` is false
    * `{:joined, nodes}`: they can be reached, and could not be before; `{:lost, nodes}`: they can't any more

  Nodes are strings throughout. `now` is wall time in ms. Entries are kept by who does `:accepted`, `:completed` and `:collected`:
  the catalog reads them from there (`Tidepool.Catalog.State`).
  """

  alias Tidepool.Catalog.{Clock, Digest, Entry, State}
  alias Tidepool.Cluster.Report
  alias Tidepool.Cluster.Gossip.{AntiEntropy, Membership, Outbox}

  @defaults [
    tick_ms: 250,
    interval_ms: 1_000,
    shuffle_ms: 10_000,
    max_skew_ms: 60_000,
    tombstone_age_ms: 7 * 86_400_000,
    collect_ms: 60_000,
    report_age_ms: 86_400_000,
    active_size: 5,
    passive_size: 30,
    open?: true
  ]

  @enforce_keys [:node, :options, :catalog, :members, :own]
  defstruct @enforce_keys ++
              [
                reports: %Report.Table{},
                changes: %{},
                news: %{},
                found: [],
                missed: [],
                joined: MapSet.new(),
                skews: %{},
                kept: 0,
                tick: 0
              ]

  @type t :: %__MODULE__{}
  @type message ::
          Membership.message()
          | {:push, [Outbox.change()]}
          | {:reports, [Report.t()]}
          | {:digest, wall_ms :: non_neg_integer, entries :: Digest.hash(), seen :: Digest.hash(),
             reports :: Digest.hash(), levels :: [{pos_integer, entries :: Digest.hash(), reports :: Digest.hash()}]}
          | {:groups, AntiEntropy.table(), [Digest.hash()]}
          | {:leaves, AntiEntropy.table(), [{Digest.group(), [Digest.hash()]}]}
          | {:keys, AntiEntropy.table(), [{Digest.leaf(), [{String.t(), version :: term}]}]}
          | {:want, AntiEntropy.table(), [String.t()]}
          | {:gone, [{String.t(), Clock.stamp()}]}
          | {:seen, root :: Digest.hash(), %{seen: State.seen(), beyond: State.beyond(), horizon: Clock.stamp() | nil}}
  @type event ::
          {:local, [Entry.t()]}
          | {:ready, [Entry.t()]}
          | {:pending, [Entry.t()]}
          | {:message, String.t(), message}
          | {:up, String.t()}
          | {:down, String.t()}
          | {:failed, String.t()}
          | {:found, [String.t()]}
          | {:forget, String.t()}
          | :tick
  @type effect ::
          {:send, String.t(), message}
          | {:connect, String.t()}
          | {:disconnect, String.t()}
          | {:accepted, [Entry.t()], from :: String.t()}
          | {:completed, [Entry.t()]}
          | {:collected, [{String.t(), Clock.stamp()}], State.context()}
          | {:refused, String.t(), {:ahead, pos_integer, String.t()} | {:no_token, String.t()}}
          | {:joined, [String.t()]}
          | {:lost, [String.t()]}

  @doc """
  A node named `node` that begins with this catalog. All options have defaults: #{inspect(Keyword.keys(@defaults))}, and
  `:seed` for its random numbers.
  """
  @spec new(String.t(), State.t(), now :: non_neg_integer, keyword) :: t
  def new(node, catalog, now, options \\ []) do
    options = Map.new(Keyword.merge(@defaults, options))

    members =
      Membership.new(node,
        seed: Map.get_lazy(options, :seed, fn -> :erlang.phash2(:crypto.strong_rand_bytes(8)) end),
        active_size: options.active_size,
        passive_size: options.passive_size,
        shuffle_ticks: ticks(options, options.shuffle_ms),
        patience_ticks: ticks(options, 5_000),
        second_ticks: ticks(options, 1_000)
      )

    %__MODULE__{
      node: node,
      options: options,
      catalog: catalog,
      members: members,
      own: Report.Own.new(node, now, catalog.digest.root),
      kept: State.context_hash(catalog)
    }
    |> write_report(now)
  end

  @doc "What an event, or several at once, leads to."
  @spec handle(t, event | [event], now :: non_neg_integer) :: {t, [effect]}
  def handle(state, events, now) when is_list(events) do
    {state, effects} =
      Enum.reduce(events, {state, []}, fn event, {state, effects} -> on(event, state, effects, now) end)

    {state, effects} = state |> keep_report(now) |> flush(effects)
    {state, Enum.reverse(effects)}
  end

  def handle(state, event, now), do: handle(state, [event], now)

  @doc "The nodes in the active view."
  @spec peers(t) :: [String.t()]
  def peers(state), do: Membership.active(state.members)

  @doc """
  How far the clocks of linked nodes are ahead of this node's, in ms, as their last digests told; a message's way included.
  """
  @spec skews(t) :: %{String.t() => integer}
  def skews(state), do: state.skews

  @doc "All nodes that are reachable now, this one included, with their reports as far as they are here."
  @spec live(t) :: %{String.t() => Report.t() | nil}
  def live(state) do
    for node <- Report.Table.reachable(state.reports, state.node), into: %{}, do: {node, state.reports.rows[node]}
  end

  @doc """
  The other nodes that were told to be there (`:joined`), and not to be lost since. Whoever goes by these effects goes by this: a node that is
  out of reach for a moment is in it, and none of them tells of that.
  """
  @spec joined(t) :: [String.t()]
  def joined(state), do: MapSet.to_list(state.joined)

  @doc "All nodes whose reports are known, which are not forgotten, and which are not reachable now."
  @spec lost(t) :: [String.t()]
  def lost(state) do
    reachable = Report.Table.reachable(state.reports, state.node)
    Enum.reject(Report.Table.nodes(state.reports), &MapSet.member?(reachable, &1))
  end

  @doc "How many entries of the catalog this node can't serve yet."
  @spec pending(t) :: non_neg_integer
  def pending(state), do: map_size(state.own.pending)

  @doc "How far each reachable node is with the entry of the catalog that has this hash."
  @spec progress(t, Digest.hash()) :: %{String.t() => :ready | :pending | :unknown}
  def progress(state, hash) do
    root = state.catalog.digest.root

    Map.new(live(state), fn {node, report} ->
      {node, if(report, do: Report.progress(report, hash, root), else: :unknown)}
    end)
  end

  defp on({:local, entries}, state, effects, _now) do
    {changes, catalog} =
      Enum.reduce(entries, {state.changes, state.catalog}, fn entry, {changes, catalog} ->
        Outbox.local(changes, catalog, entry)
      end)

    {%{state | changes: changes, catalog: catalog}, effects}
  end

  defp on({:ready, entries}, state, effects, _now), do: {%{state | own: Report.Own.ready(state.own, entries)}, effects}

  defp on({:pending, entries}, state, effects, _now),
    do: {%{state | own: Report.Own.pending(state.own, entries)}, effects}

  defp on({:found, nodes}, state, effects, now), do: membership({:found, nodes}, %{state | found: nodes}, effects, now)

  defp on({:forget, node}, state, effects, now),
    do: {merge_report(state, Report.Table.forget(state.reports, node), state.node, now), effects}

  defp on(:tick, state, effects, now) do
    state = %{state | tick: state.tick + 1, catalog: State.release(state.catalog)}
    {state, effects} = membership(:tick, state, effects, now)
    interval = ticks(state.options, state.options.interval_ms)

    {state, effects} =
      if rem(state.tick, 2 * interval) == rem(:erlang.phash2(state.node), 2 * interval),
        do: {state, Enum.reduce(peers(state), effects, &[{:send, &1, digest(state, now)} | &2])},
        else: {state, effects}

    {state, effects} = if rem(state.tick, interval) == 0, do: look_for_lost(state, effects, now), else: {state, effects}

    if rem(state.tick, ticks(state.options, state.options.collect_ms)) == 0,
      do: collect(state, effects, now),
      else: {state, effects}
  end

  defp on({:message, from, {:digest, wall_ms, entries, seen, reports, levels}}, state, effects, now) do
    state = %{state | skews: Map.put(state.skews, from, wall_ms - now)}
    {state, effects} = membership({:contact, from}, state, effects, now)
    catalog = state.catalog

    # What was seen is told when both know the same changes, whatever the details.
    seen = if entries == catalog.digest.root and seen != State.context_hash(catalog), do: [seen(catalog)], else: []
    differing = AntiEntropy.differing({entries, reports}, levels, catalog, state.reports)
    {state, sends(seen ++ Enum.map(differing, &AntiEntropy.begin(&1, catalog, state.reports)), from, effects)}
  end

  defp on({:message, from, {step, _table, _sums} = message}, state, effects, _now)
       when step in [:groups, :leaves, :keys, :want] do
    {catalog, answers} = AntiEntropy.answer(message, state.catalog, state.reports)
    {%{state | catalog: catalog}, sends(answers, from, effects)}
  end

  defp on({:message, from, {:seen, root, theirs}}, state, effects, _now) do
    if root == state.catalog.digest.root do
      catalog = State.join(state.catalog, theirs)
      told_all? = Map.take(catalog, [:seen, :beyond, :horizon]) == theirs
      {%{state | catalog: catalog}, if(told_all?, do: effects, else: sends([seen(catalog)], from, effects))}
    else
      {state, effects}
    end
  end

  defp on({:message, from, {:push, changes}}, state, effects, now) do
    {state, found} =
      Enum.reduce(changes, {state, %{}}, fn change, {state, found} ->
        {kind, what, state} = take_in(change, from, state, now)
        {state, Map.update(found, kind, [what], &[what | &1])}
      end)

    effects =
      with %{accepted: entries} <- found,
           do: [{:accepted, Enum.reverse(entries), from} | effects],
           else: (_none -> effects)

    effects =
      with %{completed: entries} <- found, do: [{:completed, Enum.reverse(entries)} | effects], else: (_none -> effects)

    back = for entry <- found[:tie] || [], do: entry.name
    effects = sends(AntiEntropy.rows(:entries, back, state.catalog, state.reports), from, effects)
    gone = for entry <- found[:gone] || [], do: {entry.name, entry.stamp}
    effects = gone |> AntiEntropy.chunks(&{:gone, &1}) |> sends(from, effects)
    {state, refused(Map.new(found[:refused] || []), from, effects)}
  end

  defp on({:message, from, {:reports, reports}}, state, effects, now) do
    {state, refused} =
      Enum.reduce(reports, {state, %{}}, fn report, {state, refused} ->
        if ms = Clock.ahead(report.at, now, state.options.max_skew_ms),
          do: {state, Map.put(refused, {:ahead, report.node}, ms)},
          else: {merge_report(state, report, from, now), refused}
      end)

    {state, refused(refused, from, effects)}
  end

  defp on({:message, _from, {:gone, stamps}}, state, effects, now) do
    # A tombstone that no clock within the limit takes for old was collected by one that is further ahead.
    old = now - state.options.tombstone_age_ms + state.options.max_skew_ms

    {catalog, forgotten} =
      Enum.reduce(stamps, {state.catalog, []}, fn {name, stamp}, {catalog, forgotten} ->
        case State.forget(catalog, name, stamp, old) do
          {:changed, catalog} -> {catalog, [{name, stamp} | forgotten]}
          {:same, catalog} -> {catalog, forgotten}
        end
      end)

    if forgotten == [], do: {state, effects}, else: keep(%{state | catalog: catalog}, forgotten, effects)
  end

  defp on({:message, from, message}, state, effects, now),
    do: membership({:message, from, message}, state, effects, now)

  defp on({:down, node}, state, effects, now),
    do: membership({:down, node}, %{state | skews: Map.delete(state.skews, node)}, effects, now)

  defp on(link, state, effects, now), do: membership(link, state, effects, now)

  defp take_in({%{stamp: {wall_ms, _counter, replica}} = entry, _before} = change, from, state, now) do
    ahead = Clock.ahead(wall_ms, now, state.options.max_skew_ms)

    cond do
      ahead ->
        {:refused, {{:ahead, replica}, ahead}, state}

      # Nodes that have such changes are not linked with (`Tidepool.Cluster.Links`): this one passes on what it should not.
      Entry.withheld?(entry, state.options.open?) ->
        {:refused, {{:no_token, replica}, nil}, state}

      true ->
        {result, changes, catalog} = Outbox.take_in(state.changes, state.catalog, change, from)
        {result, entry, %{state | changes: changes, catalog: catalog}}
    end
  end

  defp merge_report(%{node: node} = state, %{node: node} = report, _from, now) do
    if report.at >= state.own.report.at and report != state.own.report,
      do: write_report(%{state | own: Report.Own.follow(state.own, report)}, now),
      else: state
  end

  defp merge_report(state, report, from, now) do
    case Report.Table.merge(state.reports, report, now - state.options.report_age_ms) do
      {:changed, reports} -> %{state | reports: reports, news: Map.put(state.news, report.node, [from])}
      {:same, _reports} -> %{state | news: heard_report(state.news, report.node, from)}
      {_older, _reports} -> state
    end
  end

  defp heard_report(news, node, from) do
    case news do
      %{^node => heard} -> Map.put(news, node, [from | heard])
      _none -> news
    end
  end

  defp keep_report(state, now) do
    if Report.Own.due?(state.own, state.tick, now, state.options.report_age_ms),
      do: write_report(state, now),
      else: state
  end

  defp write_report(state, now) do
    due = state.tick + div(map_size(state.reports.rows), 20)
    own = Report.Own.write(state.own, now, peers(state), state.catalog.digest.root, due)
    {_changed, reports} = Report.Table.merge(state.reports, own.report, 0)
    %{state | own: own, reports: reports, news: Map.put(state.news, state.node, [])}
  end

  defp flush(%{changes: changes, news: news} = state, effects) when changes == %{} and news == %{}, do: {state, effects}

  defp flush(state, effects) do
    peers = peers(state)
    effects = push(peers, Map.values(state.changes), :push, effects)
    news = for {node, heard} <- state.news, report = state.reports.rows[node], do: {report, heard}
    {%{state | changes: %{}, news: %{}}, push(peers, news, :reports, effects)}
  end

  defp push(_peers, [], _kind, effects), do: effects

  defp push(peers, items, kind, effects) do
    Enum.reduce(peers, effects, fn peer, effects ->
      for({item, heard} <- items, peer not in heard, do: item)
      |> AntiEntropy.chunks(&{kind, &1})
      |> sends(peer, effects)
    end)
  end

  defp membership(event, state, effects, now) do
    before = state.members.active
    {members, more} = Membership.handle(state.members, event)
    state = %{state | members: members}
    effects = Enum.reverse(more, effects)

    if members.active == before do
      {state, effects}
    else
      added = MapSet.difference(members.active, before)

      {%{state | own: Report.Own.changed(state.own)},
       Enum.reduce(added, effects, &[{:send, &1, digest(state, now)} | &2])}
    end
  end

  # Views change all the time while nodes come and go; lost is what was out of reach a while ago as well.
  defp look_for_lost(state, effects, now) do
    reachable = Report.Table.reachable(state.reports, state.node)
    known = Enum.uniq(Report.Table.nodes(state.reports) ++ state.found)
    missed = for node <- known, not MapSet.member?(reachable, node), do: node
    lost = Enum.filter(missed, &(&1 in state.missed))
    {state, effects} = tell_joined(%{state | missed: missed}, reachable, lost, effects)
    membership({:lost, lost, MapSet.to_list(reachable)}, state, effects, now)
  end

  defp tell_joined(state, reachable, lost, effects) do
    new = reachable |> MapSet.difference(state.joined) |> MapSet.delete(state.node)
    # Who is forgotten before it is missed twice is lost as well.
    gone = MapSet.filter(state.joined, &(&1 in lost or not (MapSet.member?(reachable, &1) or &1 in state.missed)))
    joined = state.joined |> MapSet.union(new) |> MapSet.difference(gone)
    told = for {kind, nodes} <- [joined: new, lost: gone], MapSet.size(nodes) > 0, do: {kind, Enum.sort(nodes)}
    {%{state | joined: joined}, told ++ effects}
  end

  defp collect(state, effects, now) do
    {names, catalog} = State.collect(state.catalog, now - state.options.tombstone_age_ms)
    reports = Report.Table.expire(state.reports, now - state.options.report_age_ms)
    keep(%{state | catalog: catalog, reports: reports}, names, effects)
  end

  # What was seen has to be on disk before it is needed, which is when a tombstone is old.
  defp keep(state, forgotten, effects) do
    hash = State.context_hash(state.catalog)

    if forgotten == [] and hash == state.kept do
      {state, effects}
    else
      own = Report.Own.forget(state.own, for({name, _stamp} <- forgotten, do: name))
      {%{state | kept: hash, own: own}, [{:collected, forgotten, State.context(state.catalog)} | effects]}
    end
  end

  defp refused(refused, from, effects) do
    Enum.reduce(refused, effects, fn
      {{:ahead, replica}, ms}, effects -> [{:refused, from, {:ahead, ms, replica}} | effects]
      {{:no_token, replica}, nil}, effects -> [{:refused, from, {:no_token, replica}} | effects]
    end)
  end

  defp digest(state, now) do
    {entries, reports} = AntiEntropy.roots(state.catalog, state.reports)

    {:digest, now, entries, State.context_hash(state.catalog), reports,
     AntiEntropy.levels(state.catalog, state.reports)}
  end

  defp seen(catalog), do: {:seen, catalog.digest.root, Map.take(catalog, [:seen, :beyond, :horizon])}

  defp sends(messages, to, effects), do: Enum.reduce(messages, effects, &[{:send, to, &1} | &2])

  defp ticks(options, ms), do: max(1, div(ms, options.tick_ms))
end
