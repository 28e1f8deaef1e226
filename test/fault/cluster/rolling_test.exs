defmodule Tidepool.Fault.Cluster.RollingTest do
  # Not async: constant load on three nodes.
  use Tidepool.Case

  import Tidepool.TestCluster

  alias Tidepool.{ClusterClient, FreePort, Peer}

  @clients 6

  test "no call fails while the nodes of a cluster are stopped and started in turn and versions are deployed all along" do
    {peers, ports} = start_with_edges!()
    clients = start_clients(ports)
    deployer = start_deployer(hd(peers))

    peers =
      for {peer, index} <- Enum.with_index(peers) do
        # Versions come by way of a node that stays, or has come back.
        use_for_deploys(deployer, if(index == 0, do: List.last(peers), else: hd(peers)))
        :ok = Peer.stop_application(peer)
        {:ok, _started} = Peer.start_application(peer)
        eventually(fn -> calls(peer) > 50 end, 30_000)
        peer
      end

    last = stop_deployer(deployer)
    assert_converged(peers, %{"f" => [last]})
    {versions, failures} = stop_clients(clients)
    assert failures == []
    assert MapSet.size(versions) > 5
    refute MapSet.member?(versions, :mixed)
  end

  test "when a node is killed, calls on connections to it fail, and no others" do
    {[_a, b, _c] = peers, ports} = start_with_edges!()
    clients = start_clients(ports)
    eventually(fn -> Enum.all?(peers, &(calls(&1) > 50)) end, 30_000)
    Peer.halt(b)
    seeds = Enum.map(peers, & &1.node) -- [b.node]
    restarted = restart!(b, seeds, server: true, port: ports[b.node])
    eventually(fn -> calls(restarted) > 50 end, 30_000)
    {_versions, failures} = stop_clients(clients)
    assert Enum.uniq(Enum.map(failures, &elem(&1, 0))) -- [ports[b.node]] == []
    # Each client had one call under way at most.
    assert length(failures) <= @clients
  end

  defp start_with_edges! do
    cookie = Peer.cookie()
    names = for index <- 1..3, do: Peer.name("edge#{index}")
    ports = Map.new(names, &{&1, FreePort.take()})
    peers = for name <- names, do: start_node!(name, cookie, names -- [name], server: true, port: ports[name])
    {:ok, _function} = deploy(hd(peers), "f", 1)
    assert_converged(peers, %{"f" => [1]})
    {peers, ports}
  end

  defp start_clients(ports) do
    ports = Map.values(ports)

    for index <- 1..@clients do
      {before, rest} = Enum.split(ports, rem(index, 3))
      Task.async(fn -> ClusterClient.run(rest ++ before, "f") end)
    end
  end

  defp stop_clients(clients) do
    for client <- clients, do: send(client.pid, :stop)
    results = Task.await_many(clients, 60_000)
    assert Enum.all?(results, &(&1.answers > 0))
    {Enum.reduce(results, MapSet.new(), &MapSet.union(&1.versions, &2)), Enum.flat_map(results, & &1.failures)}
  end

  defp calls(peer), do: Peer.call(peer, TidepoolWeb.Listener, :stats, [])[:answered] || 0

  # Deploys version after version.
  defp start_deployer(peer), do: Task.async(fn -> deployer(peer, 1) end)

  defp deployer(peer, version) do
    receive do
      {:use, peer, from} ->
        send(from, {:used, peer})
        deployer(peer, version)

      :stop ->
        version
    after
      20 ->
        {:ok, _function} = deploy(peer, "f", version + 1)
        deployer(peer, version + 1)
    end
  end

  defp use_for_deploys(task, peer) do
    send(task.pid, {:use, peer, self()})
    assert_receive {:used, ^peer}
  end

  defp stop_deployer(task) do
    send(task.pid, :stop)
    Task.await(task, 60_000)
  end
end
