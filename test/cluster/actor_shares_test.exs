defmodule Tidepool.ActorSharesTest do
  # What actors of one namespace are asked by other nodes, beside those of another; the nodes are real ones, and share a real database.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Actor, ActorLoad, Error, Peer, Postgres, TestCluster}
  alias Tidepool.Actor.Activation.DispatchServer
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Catalog.Arrivals
  alias Tidepool.Nodes.Requests

  @patience 60_000
  # Half of the payloads that a node takes from others at a time, by two of the largest.
  @large 64 * 1_048_576

  # Its calls wait on that node for as long as its module is on its way.
  defp on_its_way(peer, class), do: :ok = Peer.call(peer, Arrivals, :coming, [class, 600_000])

  # What a node is asked about actors of a namespace.
  defp asked(peer, namespace) do
    peer |> Peer.call(:sys, :get_state, [DispatchServer.protocol().server]) |> elem(3) |> Requests.of(namespace)
  end

  # A name whose actor is on the node, as both know.
  defp on(peer, asker, class) do
    here? = &match?({:here, _title}, Peer.call(peer, Shards, :place, [class, &1]))
    away? = &(Peer.call(asker, Shards, :place, [class, &1]) == {:away, to_string(peer.node)})
    names = for number <- 1..200, do: "actor-#{number}"
    eventually(fn -> assert Enum.find(names, &(here?.(&1) and away?.(&1))) end, @patience)
  end

  test "payloads of one namespace's calls that come from other nodes leave as many bytes to those of others" do
    {_postgres, url} = Postgres.start!()
    [one, other] = TestCluster.start!(2, actors: {:postgres, url}, builtins: [:actor])
    Peer.deploy!(one, "rust", "ledger", name: "blog/ledger", actor: true, wait: :all)
    eventually(fn -> Peer.call(other, Tidepool, :list, []) != [] end, @patience)
    name = on(other, one, "blog/ledger")
    assert {:ok, "1"} = Peer.call(one, Actor, :call, ["blog/ledger", name, "add", "1"])

    on_its_way(other, "shop/ledger")
    ask = [other.node, "shop/ledger", @large, 600_000]
    _held = for _call <- 1..2, do: Peer.async(one, ActorLoad, :ask, ask)
    eventually(fn -> asked(other, "shop") == %{held: 2, waiting: 0, bytes: 2 * @large} end, @patience)

    assert {:ok, {:answer, {:error, %Error{reason: :overloaded}}}} =
             Peer.call(one, ActorLoad, :ask, [other.node, "shop/ledger", 1, @patience])

    assert {:ok, "3"} = Peer.call(one, Actor, :call, ["blog/ledger", name, "add", "2"])
    assert asked(other, "shop").held == 2
  end
end
