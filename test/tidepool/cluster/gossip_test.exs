defmodule Tidepool.Cluster.GossipTest do
  use ExUnit.Case, async: true

  import Tidepool.ClusterMessages
  import Tidepool.Property

  alias Tidepool.Catalog.{Clock, Entry, State}
  alias Tidepool.CatalogModel
  alias Tidepool.Cluster.{Gossip, Report}
  alias Tidepool.Cluster.Gossip.{AntiEntropy, Membership}

  @began 1_700_000_000_000
  @age_ms 100_000
  @nodes ~w(a@host b@host c@host)

  # What may happen to three nodes, in any order. Whatever is sent and not delivered by a `:deliver` is lost.
  defp steps do
    node = types().union(@nodes)
    name = types().union(["f", "g"])

    step =
      types().weighted_union([
        {4, types().tuple([:deploy, node, name])},
        {3, types().tuple([:remove, node, name])},
        {4, types().tuple([:deliver, node])},
        {3, types().tuple([:write, node])},
        {2, types().tuple([:compare, node, node])},
        {2, types().tuple([:wait, types().union([1, 2 * @age_ms])])},
        {3, types().tuple([:collect, node])},
        {1, types().tuple([:restart, node])}
      ])

    types().vector(30, step)
  end

  test "what somebody removed who knew it never comes back, and what nobody removed is not lost, whatever happens meanwhile" do
    assert_holds(
      steps(),
      fn steps ->
        world = Enum.reduce(steps, world(), &step/2)
        world = agree(world, 6)
        catalogs = for {node, _gossip} <- world.nodes, do: known(world, node)

        length(Enum.uniq(catalogs)) == 1 and Enum.all?(["f", "g"], &right?(world, hd(catalogs)[&1], &1))
      end,
      500
    )
  end

  test "nodes agree as well while tombstones are collected and others are away, and then find out" do
    # a's deploy reaches c; a and c part; a's first change was never part of a comparison, and its tombstone is collected.
    world =
      Enum.reduce(
        [
          {:deploy, "a@host", "f"},
          {:deliver, "c@host"},
          {:remove, "c@host", "f"},
          {:wait, 3 * @age_ms},
          {:collect, "c@host"}
        ],
        world(),
        &step/2
      )

    assert world.nodes["c@host"].catalog.index == %{}
    world = agree(world, 3)
    assert for({_node, gossip} <- world.nodes, do: gossip.catalog.index) == [%{}, %{}, %{}]
  end

  test "no message that can be read harms a node, whoever sends it and in whatever order" do
    assert_holds(
      types().list(types().tuple([types().union(@nodes), message()])),
      fn messages ->
        gossip = Gossip.new("n1@host", State.new(State.new_context("n1@host#1"), []), @began, seed: 1)

        gossip =
          Enum.reduce(messages, gossip, fn {from, message}, gossip ->
            {gossip, _effects} = Gossip.handle(gossip, [{:up, from}, {:message, from, message}, :tick], @began)
            gossip
          end)

        length(Gossip.peers(gossip)) <= 5 and length(Membership.passive(gossip.members)) <= 30
      end,
      300
    )
  end

  test "a change is pushed at once to all peers, and on to those that may not have it, once" do
    gossip = linked("a@host", ["b@host", "c@host", "d@host"])
    entry = stamped(gossip, "f", false, @began)
    {gossip, effects} = Gossip.handle(gossip, {:local, [entry]}, @began)
    assert Enum.sort(pushed(effects)) == [{"b@host", "f"}, {"c@host", "f"}, {"d@host", "f"}]

    other = %{entry | name: "g", stamp: {@began, 0, "x@host#1"}}
    {gossip, effects} = Gossip.handle(gossip, {:message, "b@host", {:push, [{other, nil}]}}, @began)
    assert {:accepted, [other], "b@host"} in effects
    assert Enum.sort(pushed(effects)) == [{"c@host", "g"}, {"d@host", "g"}]

    assert {_gossip, []} = Gossip.handle(gossip, {:message, "c@host", {:push, [{other, nil}]}}, @began)
  end

  test "who knows how far with an entry is every node, told by itself" do
    a = linked("a@host", ["b@host"])
    entry = stamped(a, "f", false, @began)
    {a, _effects} = Gossip.handle(a, [{:local, [entry]}, {:ready, [entry]}], @began)
    assert Gossip.progress(a, Entry.hash(entry)) == %{"a@host" => :ready, "b@host" => :unknown}

    report = %Report{node: "b@host", at: @began, links: ["a@host"], pending: [Entry.hash(entry)]}
    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:reports, [report]}}, @began)
    assert Gossip.progress(a, Entry.hash(entry)) == %{"a@host" => :ready, "b@host" => :pending}

    report = %{report | at: @began + 1, pending: [], ready: [Entry.hash(entry)]}
    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:reports, [report]}}, @began)
    assert Gossip.progress(a, Entry.hash(entry)) == %{"a@host" => :ready, "b@host" => :ready}

    # Loaded long ago, and equal since.
    report = %{report | at: @began + 2, ready: [], root: a.catalog.digest.root}
    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:reports, [report]}}, @began)
    assert Gossip.progress(a, Entry.hash(entry))["b@host"] == :ready
  end

  test "a change that anybody could make is refused by a node that is not open, and goes no further" do
    for {open?, taken} <- [{true, ["a", "f", "g"]}, {false, ["a", "g"]}] do
      gossip = linked("a@host", ["b@host", "c@host"], open?: open?)
      at = fn name, admitted, counter -> entry(name, {@began, counter, "x@host#1"}, admitted: admitted) end
      changes = [at.("a", :unknown, 0), at.("f", :no_token, 1), at.("g", :token, 2)]

      {gossip, effects} =
        Gossip.handle(gossip, {:message, "b@host", {:push, for(change <- changes, do: {change, nil})}}, @began)

      assert gossip.catalog.index |> Map.keys() |> Enum.sort() == taken
      assert effects |> pushed() |> Enum.sort() == for(name <- taken, do: {"c@host", name})
      assert {:refused, "b@host", {:no_token, "x@host#1"}} in effects != open?
    end
  end

  test "a node that is forgotten is so for all, until it says something later" do
    a = linked("a@host", ["b@host"])
    links = [%Report{node: "b@host", at: @began, links: ["a@host"]}, %Report{node: "c@host", at: @began}]
    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:reports, links}}, @began)
    assert Gossip.lost(a) == ["c@host"]
    {a, effects} = Gossip.handle(a, {:forget, "c@host"}, @began)
    assert Gossip.lost(a) == []

    assert [%Report{node: "c@host", forgotten: true} = forgotten] =
             for({:send, "b@host", {:reports, [it]}} <- effects, do: it)

    for {report, lost} <- [
          {%Report{node: "c@host", at: @began}, []},
          {forgotten, []},
          # As soon as it can be, in both orders.
          {%Report{node: "c@host", at: @began + 1}, ["c@host"]},
          {%Report{node: "c@host", at: @began + 2}, ["c@host"]}
        ],
        order <- [[forgotten, report], [report, forgotten]] do
      {a, _effects} = Gossip.handle(a, for(it <- order, do: {:message, "b@host", {:reports, [it]}}), @began)
      assert Gossip.lost(a) == lost
      again = Report.hash(a.reports.rows["c@host"])
      {a, _effects} = Gossip.handle(a, {:message, "b@host", {:reports, [forgotten]}}, @began)
      assert Report.hash(a.reports.rows["c@host"]) == again
    end
  end

  test "that a node is forgotten is repaired among nodes that know of it, and all agree on its report with those that don't" do
    reports = for node <- ["a@host", "b@host", "c@host"], do: %Report{node: node, at: @began}
    [a, b] = for {node, peer} <- [{"a@host", "b@host"}, {"b@host", "a@host"}], do: linked(node, [peer])

    [a, b] =
      for gossip <- [a, b], do: gossip |> Gossip.handle({:message, "x@host", {:reports, reports}}, @began) |> elem(0)

    # What it tells at once is lost.
    {a, _effects} = Gossip.handle(a, {:forget, "c@host"}, @began)
    report = & &1.reports.rows["c@host"]
    assert Report.hash(report.(a)) == Report.hash(report.(b))

    catalogs = %{"a@host" => %CatalogModel{}, "b@host" => %CatalogModel{}}
    world = %{nodes: %{"a@host" => a, "b@host" => b}, catalogs: catalogs, now: @began, mail: [], kept: %{}}
    world = compare(world, "a@host", "b@host")
    assert Gossip.lost(world.nodes["b@host"]) == Gossip.lost(world.nodes["a@host"]) -- ["b@host"]
    assert %Report{forgotten: true} = report.(world.nodes["b@host"])
  end

  test "a node and one of a version before agree on all that both can call, and the one of today asks for nothing that it has later" do
    typed = fn name, at -> entry(name, {@began, at, "a@host#1"}, abi: :typed) end
    plain = entry("plain", {@began, 1, "a@host#1"}, [])
    before = entry("calc", {@began, 2, "a@host#1"}, [])
    catalog = &State.new(State.new_context("here#1"), &1)
    tables = &AntiEntropy.levels(&1, %Report.Table{})
    # What it tells is of the versions that it knows.
    old = fn catalog ->
      {AntiEntropy.roots(catalog, %Report.Table{}), Enum.reject(tables.(catalog), &(elem(&1, 0) > 8))}
    end

    differing = fn old_catalog, catalog ->
      {roots, levels} = old.(old_catalog)
      AntiEntropy.differing(roots, levels, catalog, %Report.Table{})
    end

    today = catalog.([plain, typed.("calc", 3), typed.("site", 4)])
    assert differing.(catalog.([plain]), today) == []
    assert differing.(catalog.([]), today) == [{:entries, 8}]

    assert AntiEntropy.differing(elem(old.(catalog.([plain])), 0), tables.(catalog.([plain])), today, %Report.Table{}) ==
             [{:entries, 11}]

    # It goes on with what it had of a name, which counts here, too, when it is told.
    assert differing.(catalog.([plain, before]), today) == [{:entries, 8}]
    leaf = Tidepool.Catalog.Digest.leaf("calc")
    keys = {:keys, {:entries, 8}, [{leaf, [{"calc", before.stamp}]}]}
    wanted = [{:want, {:entries, 8}, ["calc"]}]
    assert {^today, ^wanted} = AntiEntropy.answer(keys, today, %Report.Table{})
    assert {:older, told} = State.merge(today, before)
    assert differing.(catalog.([plain, before]), told) == []
    late = entry("calc", {@began, 9, "b@host#1"}, [])

    later = {:keys, {:entries, 8}, [{leaf, [{"calc", late.stamp}]}]}
    assert {_today, ^wanted} = AntiEntropy.answer(later, today, %Report.Table{})

    # That it is removed both can be told.
    removed = catalog.([plain, %{typed.("calc", 5) | removed: true, abi: nil}])
    assert differing.(catalog.([plain]), removed) == [{:entries, 8}]
  end

  test "a node to which no links lead is lost, and its report expires when it is old" do
    a = linked("a@host", ["b@host"])

    reports = [
      %Report{node: "b@host", at: @began, links: ["a@host", "c@host"]},
      %Report{node: "c@host", at: @began, links: ["b@host"]}
    ]

    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:reports, reports}}, @began)
    assert a |> Gossip.live() |> Map.keys() |> Enum.sort() == @nodes

    alone = %Report{node: "b@host", at: @began + 1, links: ["a@host"]}
    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:reports, [alone]}}, @began)
    assert Gossip.lost(a) == ["c@host"]

    later = @began + a.options.report_age_ms + 1
    {a, _effects} = Gossip.handle(a, List.duplicate(:tick, div(a.options.collect_ms, a.options.tick_ms)), later)
    assert Gossip.lost(a) == []
    # Nor does it come back from a node that has kept it.
    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:reports, reports}}, later)
    assert Gossip.lost(a) == []
  end

  test "a node that finds a report of a former life writes a later one" do
    a = linked("a@host", ["b@host"])

    {a, effects} =
      Gossip.handle(a, {:message, "b@host", {:reports, [%Report{node: "a@host", at: @began + 500}]}}, @began)

    assert a.own.report.at == @began + 501

    assert [%Report{node: "a@host", links: ["b@host"]}] =
             for({:send, "b@host", {:reports, [report]}} <- effects, do: report)
  end

  test "a clock far ahead collects its own tombstones and nobody else's" do
    {day, b} = {86_400_000, linked("b@host", ["x@host"])}
    entry = stamped(b, "f", false, @began)
    removal = %{entry | removed: true, version: 2, stamp: {@began, 1, "b@host#1"}}
    {b, _effects} = Gossip.handle(b, {:local, [entry, removal]}, @began)

    x = linked("x@host", ["b@host"])
    {x, _effects} = Gossip.handle(x, {:message, "b@host", {:push, [{entry, nil}, {removal, {@began, 0}}]}}, @began)
    ticks = List.duplicate(:tick, div(x.options.collect_ms, x.options.tick_ms))
    {x, _effects} = Gossip.handle(x, ticks, @began + 8 * day)
    assert x.catalog.index == %{}

    # b tells x of what x lacks, and x answers that it is gone.
    push = {:message, "b@host", {:push, [{removal, nil}]}}
    {_x, effects} = Gossip.handle(x, push, @began + 8 * day)
    gone = {:gone, [{"f", removal.stamp}]}
    assert {:send, "b@host", gone} in effects
    {b, effects} = Gossip.handle(b, {:message, "x@host", gone}, @began + 1_000)
    assert State.entry(b.catalog, "f") == removal
    assert effects == []

    {b, effects} = Gossip.handle(b, {:message, "x@host", gone}, @began + 8 * day)
    assert b.catalog.index == %{}
    assert [{"f", removal.stamp}] in for({:collected, stamps, _context} <- effects, do: stamps)
  end

  test "what turns out to be gone before it could be loaded is not reported as pending for ever" do
    a = linked("a@host", ["b@host"])
    entry = stamped(a, "f", false, @began)
    push = {:message, "b@host", {:push, [{entry, nil}]}}
    {a, _effects} = Gossip.handle(a, [push, {:pending, [entry]}], @began)
    assert a.own.report.pending == [Entry.hash(entry)]
    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:gone, [{"f", entry.stamp}]}}, @began)
    assert a.own.report.pending == []
  end

  test "how far a clock is ahead is known as long as there is a link" do
    a = linked("a@host", ["b@host"])
    {a, _effects} = Gossip.handle(a, {:message, "b@host", {:digest, @began + 30, 0, 0, 0, []}}, @began)
    assert Gossip.skews(a) == %{"b@host" => 30}
    {a, _effects} = Gossip.handle(a, {:down, "b@host"}, @began)
    assert Gossip.skews(a) == %{}
  end

  # A node that has these peers.
  defp linked(node, peers, options \\ []) do
    gossip = Gossip.new(node, State.new(State.new_context(Clock.replica(node, 1)), []), @began, [seed: 1] ++ options)

    Enum.reduce(peers, gossip, fn peer, gossip ->
      {gossip, _effects} = Gossip.handle(gossip, [{:up, peer}, {:message, peer, {:neighbor, :high}}], @began)
      gossip
    end)
  end

  defp pushed(effects),
    do: for({:send, to, {:push, changes}} <- effects, {entry, _before} <- changes, do: {to, entry.name})

  defp world do
    nodes = for node <- @nodes, into: %{}, do: {node, start(node, State.new_context(Clock.replica(node, 1)), [])}
    # What was removed by somebody who knew it, by name; what each change replaced; all changes.
    kept = Map.new(nodes, fn {node, gossip} -> {node, State.context(gossip.catalog)} end)
    catalogs = Map.new(nodes, fn {node, _gossip} -> {node, %CatalogModel{}} end)

    %{
      nodes: nodes,
      catalogs: catalogs,
      kept: kept,
      now: @began,
      mail: [],
      removed: MapSet.new(),
      before: %{},
      changes: []
    }
  end

  defp start(node, context, entries) do
    options = [seed: 1, tick_ms: 1_000, collect_ms: 1_000, tombstone_age_ms: @age_ms, shuffle_ms: 1_000_000]
    gossip = Gossip.new(node, State.new(context, entries), @began, options)
    others = for peer <- @nodes, peer != node, event <- [{:up, peer}, {:message, peer, {:neighbor, :high}}], do: event
    {gossip, _effects} = Gossip.handle(gossip, others, @began)
    gossip
  end

  defp step({:deploy, node, name}, world), do: change(world, node, name, false)
  defp step({:remove, node, name}, world), do: change(world, node, name, true)
  defp step({:wait, ms}, world), do: %{world | now: world.now + ms}
  defp step({:collect, node}, world), do: handle(world, node, :tick)
  defp step({:write, node}, world), do: update_in(world.catalogs[node], &CatalogModel.note(&1, :all))
  defp step({:compare, node, node}, world), do: world
  defp step({:compare, a, b}, world), do: compare(world, a, b)

  defp step({:deliver, node}, world) do
    {mine, others} = Enum.split_with(world.mail, fn {to, _event} -> to == node end)
    Enum.reduce(mine, %{world | mail: others}, fn {to, event}, world -> handle(world, to, event) end)
  end

  defp step({:restart, node}, world) do
    # Long enough after the last change for the context to be on disk.
    world = step({:write, node}, handle(world, node, :tick))
    put_in(world.nodes[node], start(node, world.kept[node], Map.values(world.catalogs[node].entries)))
  end

  defp change(world, node, name, removed?) do
    old = known(world, node)[name]

    if removed? and (old == nil or old.removed) do
      world
    else
      world = %{world | now: world.now + 1}
      entry = stamped(world.nodes[node], name, removed?, world.now, old)
      known = if old, do: MapSet.put(Map.get(world.before, old.stamp, MapSet.new()), old.stamp), else: MapSet.new()
      removed = if removed?, do: MapSet.union(world.removed, known), else: world.removed

      world = %{
        world
        | before: Map.put(world.before, entry.stamp, known),
          removed: removed,
          changes: [entry | world.changes]
      }

      world = update_in(world.catalogs[node], &CatalogModel.change(&1, entry))
      handle(world, node, {:local, [entry]})
    end
  end

  defp stamped(%{catalog: catalog}, name, removed?, now, old \\ nil) do
    stamps = for {_name, mark} <- catalog.index, do: mark.stamp
    {stamp, _clock} = stamps |> Enum.reduce(Clock.new(catalog.replica), &Clock.observe(&2, &1)) |> Clock.next(now)
    entry(name, stamp, version: if(old, do: old.version + 1, else: 1), removed: removed?)
  end

  defp known(world, node), do: CatalogModel.known(world.catalogs[node], world.nodes[node])

  defp handle(world, node, event) do
    gossip = CatalogModel.readable(world.catalogs[node], world.nodes[node])
    {gossip, effects} = Gossip.handle(gossip, event, world.now)
    world = update_in(world.catalogs[node], &CatalogModel.await(&1, effects, 0))
    mail = for {:send, to, message} <- effects, Map.has_key?(world.nodes, to), do: {to, {:message, node, message}}
    kept = for {:collected, _stamps, context} <- effects, into: world.kept, do: {node, context}
    %{world | nodes: Map.put(world.nodes, node, gossip), mail: world.mail ++ mail, kept: kept}
  end

  # Two nodes compare their digests, and nothing that they send each other is lost. What is pushed to others is.
  defp compare(world, a, b) do
    catalog = world.nodes[a].catalog
    {entries, reports} = AntiEntropy.roots(catalog, world.nodes[a].reports)
    levels = AntiEntropy.levels(catalog, world.nodes[a].reports)
    digest = {:digest, world.now, entries, State.context_hash(catalog), reports, levels}
    drain(%{world | mail: [{b, {:message, a, digest}}]}, [a, b], 200)
  end

  defp drain(%{mail: []} = world, _pair, _left), do: world
  defp drain(_world, _pair, 0), do: flunk("two nodes don't come to an end")

  defp drain(%{mail: [{to, {:message, from, _message} = event} | rest]} = world, pair, left) do
    world = %{world | mail: rest}

    if to in pair and from in pair,
      do: world |> handle(to, event) |> drain(pair, left - 1),
      else: drain(world, pair, left)
  end

  defp agree(world, rounds) do
    for(_round <- 1..rounds, a <- @nodes, b <- @nodes, a < b, do: {a, b})
    |> Enum.reduce(world, fn {a, b}, world -> compare(world, a, b) end)
  end

  defp right?(world, entry, name) do
    winner = world.changes |> Enum.filter(&(&1.name == name)) |> Enum.max_by(& &1.stamp, fn -> nil end)

    cond do
      winner == nil -> entry == nil
      winner.removed -> entry in [nil, winner] or not MapSet.member?(world.removed, entry.stamp)
      # A removal that knew nothing of the winner has an earlier stamp, so there is none after it.
      true -> entry == winner
    end
  end
end
