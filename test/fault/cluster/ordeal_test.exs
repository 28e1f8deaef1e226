defmodule Tidepool.Fault.Cluster.OrdealTest do
  # Not async: six nodes, some of them being killed.
  use Tidepool.Case

  @moduletag :slow

  alias Tidepool.{Catalog, FaultVersion, Ordeal, Peer, TestCluster}
  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Ordeal.{History, Liar, Troubles}

  @nodes 5
  # TIDEPOOL_ORDEAL_S=600 makes it ten minutes.
  @seconds String.to_integer(System.get_env("TIDEPOOL_ORDEAL_S", "20"))
  @converge_ms 120_000

  @tag timeout: (@seconds + 600) * 1_000
  test "nothing answered is lost and nothing comes back, whatever befalls five nodes and whatever a sixth tells them" do
    # Printed by ExUnit at the end; `mix test --seed` brings the same troubles back.
    seed = ExUnit.configuration()[:seed]
    :rand.seed(:exsss, seed)
    start_supervised!(History)
    cluster = Troubles.start!(@nodes, seed)
    clients = Ordeal.start_clients(fn -> Troubles.peers(cluster) end, seed)
    cluster = Troubles.run(cluster, @seconds)
    for client <- clients, do: send(client.pid, :stop)
    Task.await_many(clients, 120_000)

    entries = converged(Troubles.peers(cluster))
    assert History.violations(entries) == []
    for peer <- Troubles.peers(cluster), entry <- entries, do: assert_served(peer, entry)
    for peer <- Troubles.peers(cluster), entry <- entries, not entry.removed, do: assert_kept(peer, entry)

    lies = Peer.call(cluster.liar, Liar, :count, [])
    if @seconds > 60, do: IO.inspect(%{changes: History.count(), troubles: cluster.count, lies: lies})
    assert History.count().made > @seconds
    assert lies[:heard] > @seconds
  end

  # All nodes have the same entries, as they are known to the catalog, on the disk and to the cluster.
  defp converged(peers) do
    eventually(fn -> assert [_one] = peers |> Enum.map(&entries/1) |> Enum.uniq() end, @converge_ms)
    entries(hd(peers))
  end

  defp entries(peer) do
    {_context, entries} = Peer.call(peer, Catalog, :known, [])
    Enum.sort_by(entries, & &1.name)
  end

  # A version that is still to be fetched lets the one before it answer.
  defp assert_served(peer, entry) do
    eventually(fn -> assert {peer.node, served(peer, entry)} == {peer.node, History.change(entry)} end, @converge_ms)
  end

  # What serves from memory alone would be gone with the next start.
  defp assert_kept(peer, entry) do
    blobs = Peer.call(peer, Catalog, :blobs, [])
    assert Peer.call(peer, BlobStore, :check, [blobs, entry.sha256]) == :whole
  end

  defp served(peer, %{name: name}) do
    case TestCluster.version(peer, name) do
      version when is_integer(version) -> {:deployed, Ordeal.sha256(FaultVersion.module(version))}
      other -> other
    end
  end
end
