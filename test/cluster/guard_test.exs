defmodule Tidepool.Cluster.GuardTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, TestCluster}

  @tag timeout: 60_000
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
end
