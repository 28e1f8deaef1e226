defmodule Tidepool.OtherStoresTest do
  # Nodes of one cluster that are told of different stores of actors, or of none: who was there first has actors, and who comes then has
  # none.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Actor, OwnStore, Peer, Postgres, TestCluster}

  @patience 60_000

  test "in a cluster without a store that nodes share classes and calls are refused, and told what to set" do
    nodes = TestCluster.start!(2, builtins: [:actor])

    for node <- nodes do
      options = [name: "ledger", actor: true]
      assert {:error, error} = Peer.call(node, Tidepool, :deploy, [guest("rust", "ledger"), options])
      assert error.reason == :invalid_config and error.message =~ "TIDEPOOL_ACTORS=replicated:"
      assert refused(node) =~ "TIDEPOOL_ACTORS=replicated:"
      assert {:error, %{reason: :no_store}} = Peer.call(node, Actor, :list, ["ledger"])
      assert Peer.call(node, Actor, :placement, []) == nil
    end
  end

  test "nodes that are started without the store that others share have no actors, and are told what to set" do
    {_postgres, url} = Postgres.start!()
    one = TestCluster.start_node!(Peer.name("one"), Peer.cookie(), [], actors: {:postgres, url}, builtins: [:actor])
    deploy!(one)

    without =
      for stem <- ["two", "three"],
          do: TestCluster.start_node!(Peer.name(stem), one.cookie, [one.node], builtins: [:actor])

    for node <- without, do: eventually(fn -> Peer.call(node, Tidepool, :list, []) != [] end, @patience)
    for node <- without, do: assert(refused(node) =~ "TIDEPOOL_ACTORS=replicated:")
    eventually(fn -> match?({:ok, "5"}, call(one, "add", "5")) end, @patience)
  end

  test "a node with a store that nodes share has no actors beside those of releases before with their own, and says why" do
    {_postgres, url} = Postgres.start!()
    [one, two] = before = TestCluster.start!(2, builtins: [:actor])
    for node <- before, do: :ok = Peer.call(node, OwnStore, :start, [])
    settings = [actors: {:postgres, url}, builtins: [:actor]]
    three = TestCluster.start_node!(Peer.name("three"), one.cookie, [one.node, two.node], settings)
    deploy!(three)
    eventually(fn -> refused(three) =~ "stores of their own" end, @patience)
    # It names those that it is linked with by then.
    for node <- ["#{one.node}", "#{three.node}"], do: eventually(fn -> refused(three) =~ node end, @patience)
    assert Peer.call(three, Actor, :placement, []) == nil
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

  defp deploy!(peer), do: Peer.deploy!(peer, "rust", "ledger", name: "ledger", actor: true)

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
