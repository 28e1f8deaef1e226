defmodule Tidepool.Cluster.ForgetTest do
  # A node that is gone for good, and one that was thought to be.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.TestCluster

  alias Tidepool.{Cluster, Error, LogWatch, Peer}

  @token "s3cret"

  defp status(peer), do: Peer.call(peer, Cluster, :status, [])
  defp live(peer), do: Enum.sort(for node <- status(peer).nodes, do: node.name)
  defp names(peers), do: Enum.sort(for peer <- peers, do: to_string(peer.node))
  defp forget(peer, node), do: Peer.call(peer, Cluster, :forget, [node])
  defp assert_live(peers), do: for(peer <- peers, do: eventually(fn -> live(peer) == names(peers) end, 60_000))

  defp assert_lost(peers, lost) do
    for peer <- peers, do: eventually(fn -> status(peer).lost == Enum.map(lost, &to_string/1) end, 60_000)
  end

  defp delete(peer, node, headers) do
    curl_url(Peer.url(peer, "/cluster/nodes/#{node}"), ["-X", "DELETE"] ++ Enum.flat_map(headers, &["-H", &1]))
  end

  test "a lost node is forgotten by all when one is told to, and joins anew when it comes back" do
    [a, b, c] = peers = start!(3, server: true, token: @token)
    assert_live(peers)
    seeds = names([a, b])

    Enum.reduce([&forget(a, &1), &forget(b, to_string(&1))], c, fn forget, c ->
      assert {:error, %Error{reason: :node_reachable}} = forget.(c.node)
      Peer.halt(c)
      assert_lost([a, b], [c.node])
      assert :ok = forget.(c.node)
      assert_lost([a, b], [])
      assert {:error, %Error{reason: :unknown_node}} = forget.(c.node)

      # Its data has not forgotten the others; they tell it that it is gone, and it knows better.
      again = restart!(c, seeds, server: true, token: @token)
      assert_live([a, b, again])
      again
    end)
  end

  test "over HTTP it takes the token, and says why not" do
    [a, b] = peers = start!(2, server: true, token: @token)
    assert_live(peers)
    bearer = "authorization: Bearer #{@token}"

    assert {401, _headers, _error} = delete(a, b.node, [])
    assert {409, _headers, %{"error" => %{"reason" => "node_reachable"}}} = delete(a, b.node, [bearer])
    assert {404, _headers, %{"error" => %{"reason" => "unknown_node"}}} = delete(a, "nobody@nowhere", [bearer])
    Peer.halt(b)
    assert_lost([a], [b.node])
    assert {200, _headers, %{"forgotten" => forgotten}} = delete(a, b.node, [bearer])
    assert forgotten == to_string(b.node)
    assert status(a).lost == []
  end

  test "one side of a partition that forgets the other's nodes meets them again" do
    [a, b] = peers = start!(2)
    assert_live(peers)
    part([a], [b])
    assert_lost([a], [b.node])
    assert_lost([b], [a.node])
    assert :ok = forget(a, b.node)
    assert_lost([a], [])
    heal([a], [b])
    assert_live(peers)
    assert_lost(peers, [])
  end

  test "a node that comes and one that is lost are in the log of every other, and in its metrics" do
    [a, _b] = peers = start!(2, server: true)
    assert_live(peers)

    for peer <- peers do
      Peer.call(peer, Logger, :configure, [[level: :info]])
      Peer.call(peer, LogWatch, :collect, [])
    end

    logged = fn peer, level, text ->
      for {^level, line} <- Peer.call(peer, LogWatch, :collected, []), line =~ text, do: line
    end

    metrics = fn peer ->
      {200, _headers, text} = curl_url(Peer.url(peer, "/metrics"))

      for [_line, name, value] <- Regex.scan(~r/^tidepool_cluster_(\w+) (\d+)$/m, text),
          into: %{},
          do: {name, String.to_integer(value)}
    end

    c = start_node!(Peer.name("c"), a.cookie, names(peers), server: true)

    for peer <- peers do
      eventually(fn -> assert [_once] = logged.(peer, :info, "#{c.node} is there") end, 30_000)
      assert %{"nodes_alive" => 3, "nodes_linked" => 2, "nodes_lost" => 0} = metrics.(peer)
    end

    Peer.halt(c)

    for peer <- peers do
      eventually(fn -> assert [_once] = logged.(peer, :warning, "#{c.node} is lost") end, 30_000)

      assert %{"nodes_alive" => 2, "nodes_linked" => 1, "nodes_lost" => 1, "functions_pending" => 0, "loads" => 0} =
               metrics.(peer)

      assert %{"messages_sent" => sent, "bytes_sent" => bytes, "messages_received" => received} = metrics.(peer)
      assert sent > 0 and bytes > sent and received > 0
    end
  end

  test "a node without a cluster has lost nobody, and is the only one" do
    assert {:error, %Error{reason: :unknown_node}} = Cluster.forget(:n@h)

    assert [{"tidepool_cluster_nodes_alive", _help, 1}] =
             for({_name, _help, value} = it <- Cluster.metrics(), value != 0, do: it)
  end
end
