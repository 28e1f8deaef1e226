defmodule Tidepool.Cluster.GuardTest do
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Cluster, Peer, TestCluster}

  test "when the cluster's processes keep failing calls go on, and the cluster comes back" do
    cookie = Peer.cookie()
    [a, b] = names = [Peer.name("guarded"), Peer.name("other")]
    [a, b] = for name <- [a, b], do: TestCluster.start_node!(name, cookie, names -- [name])
    {:ok, _function} = TestCluster.deploy(a, "f", 1)
    TestCluster.await(b, "f", 1)

    # Any supervisor that goes on restarting it gives up within this time.
    Peer.call(a, Peer, :keep_killing, [Tidepool.Cluster.Server, 1_000])
    assert TestCluster.version(a, "f") == 1
    assert List.keymember?(Peer.call(a, Application, :started_applications, []), :tidepool, 0)

    {:ok, _function} = TestCluster.deploy(a, "f", 2)
    TestCluster.await(b, "f", 2)
    {:ok, _function} = TestCluster.deploy(b, "f", 3)
    TestCluster.await(a, "f", 3)
  end

  test "a deploy that waits for all nodes takes nobody for absent while the cluster's processes are restarted" do
    cookie = Peer.cookie()
    [a, b] = names = [Peer.name("asking"), Peer.name("full")]
    a = TestCluster.start_node!(a, cookie, names -- [a])
    # Too small for any module.
    b = TestCluster.start_node!(b, cookie, names -- [b], max_module: 8)
    eventually(fn -> length(Peer.call(a, Cluster, :status, []).nodes) == 2 end, 20_000)
    {:ok, _function} = TestCluster.deploy(a, "f", 1)

    waiting = Peer.async(a, Cluster, :wait, ["f", :all, 6_000])
    Peer.call(a, Peer, :keep_killing, [Cluster.Server, 500])
    assert %{node: _name, fetching: []} = Peer.call(a, Cluster, :status, [])
    assert {:timeout, %{ready: [_a]}} = Task.await(waiting, 60_000)

    name = to_string(b.node)
    eventually(fn -> match?({:timeout, %{pending: [^name]}}, Peer.call(a, Cluster, :wait, ["f", :all, 0])) end, 20_000)
  end
end
