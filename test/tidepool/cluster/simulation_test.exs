defmodule Tidepool.Cluster.SimulationTest do
  # Clusters of 50 in virtual time. What fails is printed with its seed; SIMULATION_SEED=n runs that one again.
  use ExUnit.Case, async: true

  @moduletag :slow

  alias Tidepool.Simulation
  alias Tidepool.Catalog.{Entry, State}
  alias Tidepool.Cluster.Gossip
  alias Tidepool.Cluster.Gossip.Membership

  @nodes 50
  @rough [loss: 0.05, repeat: 0.05, delay: 3, skew_ms: 200]

  test "50 nodes agree after changes on both sides of a partition, restarts, loss, delay and repetition" do
    each_seed(4, fn seed ->
      cluster = connected(seed, @rough)
      cluster = changes(cluster, 100)
      cluster = cluster |> Simulation.partition(&rem(&1, 2)) |> changes(100) |> restart_some(5) |> changes(50)
      cluster = cluster |> Simulation.heal() |> changes(50)

      assert {rounds, cluster} = Simulation.until(cluster, 1_000, &Simulation.converged?/1)
      assert rounds != :never
      assert {rounds, cluster} = Simulation.until(cluster, 1_000, &Simulation.connected?/1)
      assert rounds != :never

      # And none of them has an entry that its catalog has: not for longer than that takes to write it down.
      assert {rounds, cluster} = Simulation.until(cluster, 20, &released?/1)
      assert rounds != :never
      for {_name, catalog} <- cluster.catalogs, do: assert(catalog.entries == cluster.best)
    end)
  end

  test "views are bounded, symmetric and connected once things are quiet, and catalogs agree on what was seen" do
    each_seed(3, fn seed ->
      cluster = seed |> connected(@rough) |> changes(50) |> restart_some(3)
      cluster = Simulation.calm(cluster)
      assert {rounds, cluster} = Simulation.until(cluster, 2_000, &settled?/1)
      assert rounds != :never
      assert Simulation.connected?(cluster)

      for {_name, gossip} <- cluster.nodes do
        assert length(Gossip.peers(gossip)) in 1..gossip.options.active_size
        assert length(Membership.passive(gossip.members)) <= gossip.options.passive_size
      end
    end)
  end

  test "a quiet cluster sends a digest for each link and interval, and nothing of the catalog" do
    each_seed(2, fn seed ->
      cluster = seed |> connected(delay: 2) |> changes(50)
      {rounds, cluster} = Simulation.until(cluster, 2_000, &(settled?(&1) and quiet?(&1)))
      assert rounds != :never

      seconds = 20
      # What is on its way arrives first.
      cluster = Simulation.rounds(cluster, 20)
      later = Simulation.rounds(%{cluster | kinds: %{}}, 20 * seconds)
      links = MapSet.size(later.links)
      {digests, others} = Map.pop(later.kinds, :digest)
      assert_in_delta digests / (links * seconds), 1, 0.1
      # A node whose view is not full asks for peers now and then, and reports what comes of it.
      about_reports = for kind <- [:groups, :leaves, :keys, :want], do: {kind, :reports}
      assert Map.keys(others) -- [:neighbor, :neighbor_reply, :shuffle, :shuffle_reply, :reports | about_reports] == []
    end)
  end

  test "a cluster no larger than the active view and one becomes fully connected" do
    each_seed(5, fn seed ->
      for count <- 2..6 do
        cluster = Simulation.new(count, seed: seed, delay: 2)
        full? = &Enum.all?(&1.nodes, fn {_name, gossip} -> length(Gossip.peers(gossip)) == count - 1 end)
        assert {rounds, _cluster} = Simulation.until(cluster, 1_000, full?)
        assert rounds != :never
      end
    end)
  end

  test "a node that is back after longer than the age of tombstones brings nothing removed back, and its news are kept" do
    age_ms = 20_000
    gossip = [tombstone_age_ms: age_ms, collect_ms: 1_000]

    each_seed(5, fn seed ->
      cluster = Simulation.new(8, seed: seed, delay: 2, loss: 0.02, gossip: gossip)
      {_rounds, cluster} = Simulation.until(cluster, 1_000, &Simulation.connected?/1)
      {away, cluster} = Simulation.pick(cluster)
      [other | _rest] = Map.keys(cluster.nodes) -- [away]

      cluster = Enum.reduce(~w(removed kept again), cluster, &Simulation.change(&2, away, &1))
      cluster = cluster |> Simulation.calm() |> settle()

      cluster = Simulation.partition(cluster, &if(elem(cluster.names, &1) == away, do: 1, else: 0))
      cluster = cluster |> Simulation.change(other, "removed", true) |> Simulation.change(other, "again", true)
      cluster = Simulation.rounds(cluster, div(3 * age_ms, 50))
      refute Map.has_key?(Simulation.known(cluster, other), "removed")
      cluster = cluster |> Simulation.change(away, "news") |> Simulation.change(other, "again")

      cluster = cluster |> Simulation.restart(away) |> Simulation.heal() |> settle()

      for {node, _gossip} <- cluster.nodes do
        live = for {name, %{removed: false}} <- Simulation.known(cluster, node), do: name
        assert Enum.sort(live) == ~w(again kept news)
      end
    end)
  end

  test "a cluster of the protocol's first version is upgraded node by node: nothing is lost, and in the end all is known" do
    each_seed(4, fn seed ->
      names = for n <- 1..8, do: "n#{n}@host"
      cluster = Simulation.new(8, [seed: seed, old: MapSet.new(names)] ++ @rough)
      cluster = cluster |> Simulation.rounds(200) |> churn(100)

      cluster =
        Enum.reduce(names, cluster, fn name, cluster ->
          cluster = cluster |> churn(60) |> Simulation.upgrade(name) |> churn(60)
          # What nodes of both versions know, they agree on while they are mixed, and then there is nothing to repair.
          calm = Simulation.calm(cluster)
          assert {rounds, calm} = Simulation.until(calm, 2_000, &agreed?/1)
          assert rounds != :never
          calm = Simulation.rounds(calm, 100)
          assert agreed?(calm)
          assert repairs(Simulation.rounds(calm, 200)) == repairs(calm)
          %{calm | options: cluster.options}
        end)

      assert {rounds, cluster} = cluster |> Simulation.calm() |> Simulation.until(2_000, &Simulation.converged?/1)
      assert rounds != :never
      # There was something to lose.
      assert Enum.any?(cluster.best, fn {_name, entry} -> entry.description != "" end)
    end)
  end

  defp released?(cluster), do: Enum.all?(cluster.nodes, fn {_name, gossip} -> gossip.catalog.held == %{} end)

  # Are the changes that count everywhere, whatever is known of them?
  defp agreed?(cluster) do
    bare = &Map.new(&1, fn {name, entry} -> {name, Entry.told(entry, 1)} end)
    best = bare.(cluster.best)
    Enum.all?(cluster.nodes, fn {name, _gossip} -> bare.(Simulation.known(cluster, name)) == best end)
  end

  defp repairs(cluster),
    do: for({kind, count} <- cluster.kinds, kind == :push or match?({_step, :entries}, kind), do: {kind, count})

  # Changes and removals on any nodes, all the time.
  defp churn(cluster, rounds) do
    Enum.reduce(1..rounds, cluster, fn _round, cluster ->
      {name, cluster} = Simulation.pick(cluster)
      {n, cluster} = Simulation.uniform(cluster, 24)
      cluster = if n <= 6, do: Simulation.change(cluster, name, "f#{n}", rem(n, 3) == 0), else: cluster
      Simulation.step(cluster)
    end)
  end

  test "a clock far ahead is refused and named, and pulls no other along" do
    cluster = Simulation.new(6, seed: 1)
    {_rounds, cluster} = Simulation.until(cluster, 1_000, &Simulation.connected?/1)
    cluster = %{cluster | skews: Map.put(cluster.skews, "n1@host", 3_600_000)}
    cluster = cluster |> Simulation.change("n1@host", "ahead") |> Simulation.change("n2@host", "fine")
    cluster = Simulation.rounds(cluster, 200)

    for {name, gossip} <- cluster.nodes, name != "n1@host" do
      assert %{"fine" => %{stamp: {wall_ms, _counter, _replica}}} = gossip.catalog.index
      assert map_size(gossip.catalog.index) == 1
      assert wall_ms <= Simulation.now(cluster, name)
    end

    assert [{:ahead, "n1@host"}] =
             Enum.uniq(
               for {_from, {:ahead, _ms, replica}} <- cluster.refused,
                   do: {:ahead, Tidepool.Catalog.Clock.node_of(replica)}
             )
  end

  defp each_seed(count, fun) do
    seeds = if seed = System.get_env("SIMULATION_SEED"), do: [String.to_integer(seed)], else: 1..count

    for seed <- seeds do
      try do
        fun.(seed)
      rescue
        error in [ExUnit.AssertionError, MatchError] ->
          IO.puts("failed with SIMULATION_SEED=#{seed}")
          reraise error, __STACKTRACE__
      end
    end
  end

  defp connected(seed, options) do
    {rounds, cluster} =
      Simulation.until(Simulation.new(@nodes, [seed: seed] ++ options), 1_000, &Simulation.connected?/1)

    assert rounds != :never
    cluster
  end

  defp changes(cluster, count) do
    Enum.reduce(1..count, cluster, fn _n, cluster ->
      {node, cluster} = Simulation.pick(cluster)
      {name, cluster} = Simulation.uniform(cluster, 30)
      {kind, cluster} = Simulation.uniform(cluster, 4)
      cluster = Simulation.change(cluster, node, "f#{name}", kind == 1)
      {rounds, cluster} = Simulation.uniform(cluster, 3)
      Simulation.rounds(cluster, rounds - 1)
    end)
  end

  defp restart_some(cluster, count) do
    Enum.reduce(1..count, cluster, fn _n, cluster ->
      {node, cluster} = Simulation.pick(cluster)
      cluster |> Simulation.restart(node) |> Simulation.rounds(3)
    end)
  end

  defp settle(cluster) do
    {rounds, cluster} = Simulation.until(cluster, 4_000, &(settled?(&1) and Simulation.connected?(&1)))
    assert rounds != :never
    cluster
  end

  # Everybody knows the same, of catalog, reports and what was seen, and views are symmetric.
  defp settled?(cluster) do
    known = fn gossip ->
      {gossip.catalog.digest.root, State.context_hash(gossip.catalog), gossip.reports.digest.root}
    end

    rem(cluster.round, 20) == 0 and
      cluster.nodes |> Enum.uniq_by(fn {_name, gossip} -> known.(gossip) end) |> length() == 1 and
      symmetric?(cluster)
  end

  defp symmetric?(cluster) do
    Enum.all?(cluster.nodes, fn {name, gossip} ->
      Enum.all?(Gossip.peers(gossip), &Membership.active?(cluster.nodes[&1].members, name))
    end)
  end

  # Nobody has a reason to write a report.
  defp quiet?(cluster), do: Enum.all?(cluster.nodes, fn {_name, gossip} -> not gossip.own.dirty end)
end
