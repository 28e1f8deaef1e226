# Measures: what a change costs each node of 10, 100 and 1,000, and after how many rounds all have it, in virtual time
# bench/all runs it with: --smoke
#
# About four minutes; `--smoke` has small clusters. SIMULATION_SEED=n repeats a run.
Code.require_file("support.exs", __DIR__)
Code.require_file("../test/support/cluster/catalog_model.ex", __DIR__)
Code.require_file("../test/support/cluster/simulation.ex", __DIR__)

defmodule Bench.Simulation do
  @moduledoc "What a change costs each node of clusters of several sizes, in virtual time, with losses and a partition."

  alias Tidepool.Cluster.Gossip
  alias Tidepool.Simulation

  @changes_per_round 50
  @network [loss: 0.01, repeat: 0.01, delay: 2, skew_ms: 50]
  @limit 2_000

  def run(smoke?) do
    seed = String.to_integer(System.get_env("SIMULATION_SEED", "1"))
    {sizes, changes} = if smoke?, do: {[5, 20, 60], 200}, else: {[10, 100, 1_000], 10_000}

    IO.puts(
      "seed #{seed}, #{changes} changes, rounds of 50 ms; a run that fails is repeated by SIMULATION_SEED=#{seed}"
    )

    measured = for size <- sizes, do: {size, alone(fn -> measure(size, changes, seed) end)}
    rows = Enum.flat_map(measured, fn {size, figures} -> rows(size, figures) end)
    Bench.report("simulation", rows ++ growth(measured))
  end

  defp measure(size, changes, seed) do
    cluster = Simulation.new(size, [seed: seed] ++ @network)
    {joined, cluster} = until(cluster, size, "connected", &connected?/1)
    joining = per_node(cluster, size)

    # In a quiet cluster and alone, over links that lose nothing: the way through the mesh, without waiting for repairs.
    {reach, calm} = cluster |> Simulation.rounds(100) |> Simulation.calm() |> single()

    cluster = %{calm | options: cluster.options, count: %{messages: 0, bytes: 0, changes: 0}}
    half = div(changes, 2)
    cluster = change(cluster, half)
    cluster = cluster |> Simulation.partition(&rem(&1, 2)) |> change(half) |> Simulation.heal()
    {rounds, cluster} = until(cluster, size, "equal", &Simulation.converged?/1)
    {messages, bytes} = per_node(cluster, size)

    %{
      joined: joined,
      join_bytes: elem(joining, 1),
      reach: reach,
      messages: messages / changes,
      bytes: bytes / changes,
      rounds: rounds
    }
  end

  # Every node knows of every other one, and from one of them, links lead to all.
  defp connected?(cluster) do
    count = map_size(cluster.nodes)
    [{_name, first} | _rest] = nodes = Map.to_list(cluster.nodes)

    Enum.all?(nodes, fn {_name, gossip} -> map_size(gossip.reports.rows) == count end) and
      map_size(Gossip.live(first)) == count
  end

  # The rounds that a single change takes to all nodes: the mean of a few, since one is a small whole number.
  defp single(cluster) do
    {rounds, cluster} =
      Enum.map_reduce(1..10, cluster, fn n, cluster ->
        {node, cluster} = Simulation.pick(cluster)
        cluster = Simulation.change(cluster, node, "single_#{n}")
        until(cluster, map_size(cluster.nodes), "equal", &Simulation.converged?/1)
      end)

    {Enum.sum(rounds) / length(rounds), cluster}
  end

  defp change(cluster, count) do
    Enum.reduce(1..count//@changes_per_round, cluster, fn _batch, cluster ->
      1..@changes_per_round
      |> Enum.reduce(cluster, fn _change, cluster ->
        {node, cluster} = Simulation.pick(cluster)
        {name, cluster} = Simulation.uniform(cluster, 1_000)
        {kind, cluster} = Simulation.uniform(cluster, 5)
        Simulation.change(cluster, node, "function_#{name}", kind == 1)
      end)
      |> Simulation.step()
    end)
  end

  defp until(cluster, size, what, done?) do
    case Simulation.until(cluster, @limit, done?) do
      {:never, _cluster} -> raise "#{size} nodes were not #{what} after #{@limit} rounds: seed #{cluster.options.seed}"
      reached -> reached
    end
  end

  defp per_node(cluster, size), do: {cluster.count.messages / size, cluster.count.bytes / size}

  # A heap of its own, which is not copied again and again, and goes at once.
  defp alone(fun) do
    parent = self()
    options = [:link, :monitor, fullsweep_after: 1_000_000, min_heap_size: 10_000_000]
    {pid, monitor} = :erlang.spawn_opt(fn -> send(parent, {self(), fun.()}) end, options)

    receive do
      {^pid, result} ->
        Process.demonitor(monitor, [:flush])
        result
    end
  end

  defp rows(size, figures) do
    [
      {"#{size} nodes started at once: until all know all", figures.joined, "rounds", nil},
      {"#{size} nodes started at once: bytes of each", figures.join_bytes, "B", nil},
      {"#{size} nodes, single change, no loss: until all have it", figures.reach, "rounds", nil},
      {"#{size} nodes, single change: rounds / log₂ of the nodes", figures.reach / :math.log2(size), "",
       {:at_most, 1.25}},
      {"#{size} nodes: messages of each per change", figures.messages, "", nil},
      {"#{size} nodes: bytes of each per change", figures.bytes, "B", nil},
      {"#{size} nodes, after a partition: until all are equal", figures.rounds, "rounds", nil}
    ]
  end

  # From each size to the next, what a change costs a node grows no faster than the logarithm of the size.
  defp growth(measured) do
    for {{size, before}, {larger, later}} <- Enum.zip(measured, tl(measured)),
        key <- [:messages, :bytes] do
      allowed = Float.round(:math.log(larger) / :math.log(size), 2)
      {"#{key} per change and node, #{larger} / #{size} nodes", later[key] / before[key], "×", {:at_most, allowed}}
    end
  end
end

Bench.Simulation.run(Bench.smoke?())
