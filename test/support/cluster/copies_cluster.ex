defmodule Tidepool.CopiesCluster do
  @moduledoc "Nodes without a shared store that have actors of the class `ledger` together, and what is asked of these."

  import ExUnit.Assertions
  import Tidepool.Case, only: [eventually: 2]

  alias Tidepool.{Actor, ActorLoad, LogWatch, Native, Peer, TestCluster}
  alias Tidepool.Actor.Ownership.{Rendezvous, Shards}
  alias Tidepool.Actor.Replication.Ring

  @available [consistency: :available]

  @doc "Starts nodes with the class, each of which has its share."
  def start!(count, actor \\ @available, settings \\ []) do
    peers = TestCluster.start!(count, [builtins: [:actor]] ++ settings)
    for peer <- peers, do: Peer.call(peer, LogWatch, :collect, [])
    Peer.deploy!(hd(peers), "rust", "ledger", name: "ledger", actor: actor)
    for peer <- peers, do: eventually(fn -> Peer.call(peer, Tidepool, :list, []) != [] end, 20_000)
    met(peers)
    peers
  end

  @doc "Waits until all nodes have their share, as all know, and have sent each other what they have."
  def met(peers) do
    names = for peer <- peers, do: to_string(peer.node)
    wanted = Map.new(0..4_095, &{&1, Rendezvous.owner(&1, names)})

    for peer <- peers, me = to_string(peer.node) do
      eventually(
        fn ->
          there = for {shard, state} <- Peer.call(peer, Shards, :all, []), into: %{}, do: {shard, owner(state, me)}

          assert there == wanted
          assert Peer.call(peer, Shards, :unsynced, []) == []
        end,
        60_000
      )
    end
  end

  @doc "Waits until nobody lacks what was written, and no node offers others what it has, or is about to."
  def quiet(peers) do
    for peer <- peers do
      eventually(
        fn ->
          assert Peer.call(peer, GenServer, :call, [Ring.process(), :settled?])
          assert Peer.call(peer, Actor.Replication, :behind, []) == {0, 0}
        end,
        60_000
      )
    end
  end

  defp owner({:ours, 1}, me), do: me
  defp owner({:away, name}, _me), do: name

  @doc "Calls an actor from a node."
  def call(peer, name, operation, payload, options \\ []),
    do: Peer.call(peer, Actor, :call, ["ledger", name, operation, payload, options])

  @doc "What a node knows of an actor."
  def info(peer, name), do: Peer.call(peer, Actor, :info, ["ledger", name])

  @doc "A name whose actor is first on that node, and then on this, when there are such nodes only."
  def on(peers, order) do
    names = for peer <- peers, do: to_string(peer.node)
    order = for peer <- order, do: to_string(peer.node)

    Enum.find(for(number <- 1..500, do: "actor-#{number}"), fn name ->
      "ledger" |> Native.record_shard(name) |> Rendezvous.order(names) |> List.starts_with?(order)
    end)
  end

  @doc "Waits until nodes know of each other, and of no more."
  def alone(peers) do
    names = Enum.sort(for peer <- peers, do: to_string(peer.node))
    for peer <- peers, do: eventually(fn -> Enum.sort(Peer.call(peer, Shards, :nodes, [])) == names end, 20_000)
  end

  @doc "The names of actors of which a node has a record."
  def kept(peer), do: Peer.call(peer, ActorLoad, :kept, ["ledger"])
end
