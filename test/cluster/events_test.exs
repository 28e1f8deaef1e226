defmodule Tidepool.Cluster.EventsTest do
  # What a node tells of the cluster, as events.
  use Tidepool.Case, async: true

  alias Tidepool.{EventClient, Peer}

  defp start!(name, cookie, seeds) do
    Peer.start!([server: true, cluster: true, discovery_interval: 100, seeds: seeds], name: name, cookie: cookie)
  end

  defp port(peer), do: URI.parse(Peer.url(peer, "/")).port

  test "nodes that join and leave are told, and what is deployed and removed on another node when it is so here" do
    cookie = Peer.cookie()
    names = [first, second] = for _node <- 1..2, do: Peer.name("n")
    a = start!(first, cookie, names)
    client = EventClient.connect(port(a))
    b = start!(second, cookie, names)
    other = to_string(b.node)
    assert {%{"data" => %{"node" => ^other, "at" => _at}}, client} = EventClient.next(client, ["node_joined"])

    Peer.deploy!(b, "rust", "hello_world", name: "f")
    assert {%{"data" => %{"name" => "f", "version" => 1}}, client} = EventClient.next(client, ["deployed"])
    assert {:ok, "Hello, Ada!"} = Peer.call(a, Tidepool, :call, ["f", "hello", "Ada"])
    :ok = Peer.call(b, Tidepool, :remove, ["f"])
    assert {%{"data" => %{"name" => "f", "version" => 1}}, client} = EventClient.next(client, ["removed"])

    Peer.halt(b)
    assert {%{"data" => %{"node" => ^other}}, _client} = EventClient.next(client, ["node_left"])
  end
end
