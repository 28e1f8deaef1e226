defmodule Tidepool.OtherStoresTest do
  # Nodes of one cluster that are told of different stores of actors: who was there first has actors, and who comes then has none.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Actor, Peer, Postgres, TestCluster}
  alias Tidepool.Actor.Ownership.Shards

  @patience 60_000

  test "nodes that are started without the store that others share have no actors among each other, either" do
    {_postgres, url} = Postgres.start!()
    one = TestCluster.start_node!(Peer.name("one"), Peer.cookie(), [], actors: {:postgres, url}, builtins: [:actor])
    deploy!(one)

    without =
      for stem <- ["two", "three"],
          do: TestCluster.start_node!(Peer.name(stem), one.cookie, [one.node], builtins: [:actor])

    for node <- without, do: eventually(fn -> refused(node) =~ "share a store" end, @patience)
    # Both have said hello to each other by then.
    for node <- without, do: eventually(fn -> Peer.call(node, Shards, :nodes, []) |> length() == 2 end, @patience)
    for node <- without, do: assert(refused(node) =~ "share a store")
    assert {:ok, "5"} = call(one, "add", "5")
  end

  test "a node with a store that nodes share has no actors beside those that each have one of their own, and says why" do
    {_postgres, url} = Postgres.start!()
    [one, two] = others = TestCluster.start!(2, builtins: [:actor])
    deploy!(one)
    for node <- others, do: eventually(fn -> match?({:ok, "0"}, call(node, "sum", "")) end, @patience)
    assert {:ok, "5"} = call(one, "add", "5")
    settings = [actors: {:postgres, url}, builtins: [:actor]]
    three = TestCluster.start_node!(Peer.name("three"), one.cookie, [one.node, two.node], settings)
    eventually(fn -> refused(three) =~ "stores of their own" end, @patience)
    # It names those that it is linked with by then.
    for node <- ["#{one.node}", "#{three.node}"], do: eventually(fn -> refused(three) =~ node end, @patience)
    assert Peer.call(three, Actor, :placement, []) == nil
    for node <- others, do: assert({:ok, "5"} = call(node, "sum", ""))
    # A node of before starts again while that one is there.
    Peer.halt(two)
    two = TestCluster.restart!(two, [one.node, three.node], builtins: [:actor])
    eventually(fn -> match?({:ok, "5"}, call(two, "sum", "")) end, @patience)
    assert refused(three) =~ "stores of their own"
    for node <- [one, two], do: Peer.halt(node)
    eventually(fn -> match?({:ok, "1"}, call(three, "add", "1")) end, @patience)
  end

  test "a node has no actors beside those that share another store, and says why" do
    {_postgres, url} = Postgres.start!()
    one = TestCluster.start_node!(Peer.name("one"), Peer.cookie(), [], actors: {:postgres, url}, builtins: [:actor])
    deploy!(one)
    eventually(fn -> match?({:ok, "5"}, call(one, "add", "5")) end, @patience)
    settings = [actors: {:postgres, String.replace(url, "/postgres?", "/template1?")}, builtins: [:actor]]
    two = TestCluster.start_node!(Peer.name("two"), one.cookie, [one.node], settings)
    eventually(fn -> refused(two) =~ "another store" end, @patience)
    for node <- ["#{one.node}", "#{two.node}"], do: assert(refused(two) =~ node)
    assert {:ok, "5"} = call(one, "sum", "")
    Peer.halt(one)
    eventually(fn -> match?({:ok, "1"}, call(two, "add", "1")) end, @patience)
  end

  defp deploy!(peer), do: Peer.deploy!(peer, "rust", "ledger", name: "ledger", actor: [consistency: :available])

  defp call(peer, operation, payload),
    do: Peer.call(peer, Actor, :call, ["ledger", "actor", operation, payload, [timeout: 1_000]])

  # Why a node has no actors; nothing as long as it may.
  defp refused(peer) do
    case call(peer, "sum", "") do
      {:error, %{reason: :no_store, message: message}} -> message
      _answered_or_waits -> ""
    end
  end
end
