defmodule Tidepool.Cluster.PeerTest do
  # What the tests of the cluster stand on: nodes that can be parted and still be driven.
  use Tidepool.Case, async: true

  alias Tidepool.Peer

  test "nodes that are cut from each other meet again only after the cut is healed" do
    cookie = Peer.cookie()
    [a, b] = for stem <- ["a", "b"], do: Peer.boot!([], name: Peer.name(stem), cookie: cookie)
    Peer.link(a, b)
    assert Peer.call(b, Node, :list, [:connected]) == [a.node]
    assert Peer.call(b, Node, :list, []) == []

    Peer.cut(a, b)
    assert Peer.call(a, Node, :list, [:connected]) == []
    refute Peer.call(a, :net_kernel, :hidden_connect_node, [b.node])
    refute Peer.call(b, :net_kernel, :hidden_connect_node, [a.node])

    Peer.heal(a, b)
    Peer.link(b, a)
    assert Peer.call(a, Node, :list, [:connected]) == [b.node]
  end
end
