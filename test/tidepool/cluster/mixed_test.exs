defmodule Tidepool.Cluster.MixedTest do
  # Nodes of the version before among those of today, which deploy what those ignore: what they tell each other, and when they stop.
  use ExUnit.Case, async: true

  import Tidepool.ClusterMessages
  import Tidepool.Property

  alias Tidepool.Catalog.State
  alias Tidepool.Cluster.{Gossip, Wire}
  alias Tidepool.Cluster.Gossip.AntiEntropy

  @began 1_700_000_000_000
  # Components came with the version after this one.
  @before 8
  @old ~w(a@host b@host)
  @new ~w(c@host d@host)
  @nodes @old ++ @new

  test "a function that old nodes know, replaced by one that they don't, is nothing that they go on comparing" do
    for abi <- [:typed, :http], do: replaced(abi)
  end

  defp replaced(abi) do
    world = Enum.reduce([{:deploy, "a@host", "f", :plain}, :agree], world(), &step/2)
    assert Enum.uniq(abis(world, "f")) == [nil]
    world = Enum.reduce([{:deploy, "c@host", "f", abi}, :agree], world, &step/2)
    assert abis(world, "f") == [nil, nil, abi, abi]
    assert said(world) == []

    # One that is started anew has it from its disk alone, and is told once what the others have.
    world = step({:restart, "d@host"}, world)
    assert said(world) != []
    world = step(:agree, world)
    assert abis(world, "f") == [nil, nil, abi, abi]
    assert said(world) == []

    # What both know is theirs again.
    world = Enum.reduce([{:deploy, "d@host", "f", :plain}, :agree], world, &step/2)
    assert Enum.uniq(abis(world, "f")) == [nil]
    assert said(world) == []
  end

  test "an old node that has nothing of such a name is not told of it for ever" do
    steps = [
      {:deploy, "a@host", "f", :plain},
      :agree,
      {:deploy, "c@host", "f", :typed},
      :agree,
      {:empty, "a@host"},
      {:empty, "b@host"},
      :agree
    ]

    world = Enum.reduce(steps, world(), &step/2)
    assert abis(world, "f") == [:none, :none, :typed, :typed]
    assert said(world) == []
  end

  test "whatever is deployed where, removed and lost, they come to an end and agree on what each kind knows" do
    node = types().union(@nodes)
    name = types().union(["f", "g"])

    step =
      types().weighted_union([
        {5, types().tuple([:deploy, node, name, types().union([:plain, :typed, :http])])},
        {2, types().tuple([:remove, node, name])},
        {5, types().tuple([:compare, node, node])},
        {2, types().tuple([:restart, node])},
        {1, types().tuple([:empty, types().union(@old)])}
      ])

    assert_holds(
      types().vector(20, step),
      fn steps ->
        world = Enum.reduce(steps ++ [:agree], world(), &step/2)
        known = for name <- ["f", "g"], do: for(node <- @nodes, do: State.entry(world[node].catalog, name))

        said(world) == [] and
          Enum.all?(known, fn [a, b, c, d] -> a == b and c == d and (a == nil or a == c or a.stamp < c.stamp) end)
      end,
      300
    )
  end

  defp world, do: Map.new(@nodes, &{&1, start(&1, [])})

  defp start(node, entries) do
    options = [seed: 1, tick_ms: 1_000, shuffle_ms: 1_000_000]
    Gossip.new(node, State.new(State.new_context(node <> "#1"), entries), @began, options)
  end

  defp step(:agree, world) do
    for(_round <- 1..4, a <- @nodes, b <- @nodes, a != b, do: {a, b})
    |> Enum.reduce(world, fn {a, b}, world -> elem(compare(world, a, b), 0) end)
  end

  defp step({:compare, node, node}, world), do: world
  defp step({:compare, a, b}, world), do: world |> compare(a, b) |> elem(0)
  # Nodes of before don't deploy what they don't know.
  defp step({:deploy, node, name, abi}, world) when node in @old and abi != :plain,
    do: step({:deploy, node, name, :plain}, world)

  defp step({:deploy, node, name, :plain}, world), do: change(world, node, name, [])
  defp step({:deploy, node, name, :typed}, world), do: change(world, node, name, abi: :typed)
  defp step({:deploy, node, name, :http}, world), do: change(world, node, name, abi: :http, routes: ["/" <> name])

  defp step({:remove, node, name}, world) do
    case State.entry(world[node].catalog, name) do
      %{removed: false} -> change(world, node, name, removed: true)
      _none -> world
    end
  end

  defp step({:restart, node}, world) do
    catalog = world[node].catalog
    %{world | node => start(node, for({name, _mark} <- catalog.index, do: State.entry(catalog, name)))}
  end

  defp step({:empty, node}, world), do: %{world | node => start(node, [])}

  defp change(world, node, name, fields) do
    stamps =
      for {_node, %{catalog: catalog}} <- world, {_name, %{stamp: {at, _counter, _replica}}} <- catalog.index, do: at

    fields = [limits: Tidepool.Limits.complete(%{})] ++ fields
    entry = entry(name, {Enum.max([@began | stamps]) + 1, 0, node <> "#1"}, fields)
    {gossip, _lost} = Gossip.handle(world[node], {:local, [entry]}, @began)
    %{world | node => gossip}
  end

  # What is said when all have compared their digests, which are not counted.
  defp said(world), do: for(a <- @nodes, b <- @nodes, a != b, message <- elem(compare(world, a, b), 1), do: message)

  defp compare(world, a, b) do
    %{catalog: catalog, reports: reports} = world[a]
    {entries, sums} = AntiEntropy.roots(catalog, reports)
    levels = AntiEntropy.levels(catalog, reports)
    digest = {:digest, @began, entries, State.context_hash(catalog), sums, levels}
    drain(world, through(digest, a, b), [])
  end

  defp drain(world, [], said), do: {world, said}
  defp drain(_world, _mail, said) when length(said) > 200, do: flunk("two nodes don't come to an end: #{inspect(said)}")

  defp drain(world, [{from, to, message} | mail], said) do
    {gossip, effects} = Gossip.handle(world[to], {:message, from, message}, @began)
    sent = for {:send, ^from, message} <- effects, answer <- through(message, to, from), do: answer

    # Reports are told apart, and not here.
    sent =
      Enum.filter(sent, fn {_from, _to, message} ->
        match?({:push, _}, message) or match?({_, {:entries, _}, _}, message)
      end)

    drain(%{world | to => gossip}, mail ++ sent, said ++ sent)
  end

  # As bytes, of which a node of before reads those of its own version; digests are of the levels that it has.
  defp through(message, from, to) do
    version = min(version(from), version(to))

    for <<first, _rest::binary>> = bytes <- Wire.encode(message, version), first <= version(to) do
      {:ok, message} = Wire.decode(bytes)
      {from, to, message}
    end
  end

  defp version(node) when node in @old, do: @before
  defp version(_node), do: Wire.version()

  defp abis(world, name) do
    for node <- @nodes do
      case State.entry(world[node].catalog, name) do
        nil -> :none
        entry -> entry.abi
      end
    end
  end
end
