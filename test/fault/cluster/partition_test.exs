defmodule Tidepool.Fault.Cluster.PartitionTest do
  # Not async: five nodes at once.
  use Tidepool.Case

  import Tidepool.TestCluster

  alias Tidepool.Peer

  test "halves that were written to while they were parted agree when they meet again, and nothing is lost" do
    [a, b, c, d, e] = peers = start!(5)
    for name <- ["both", "left_only", "gone", "kept"], do: {:ok, _function} = deploy(a, name, 1)
    assert_converged(peers, Map.new(["both", "left_only", "gone", "kept"], &{&1, [1]}))

    {left, right} = {[a, b], [c, d, e]}
    part(left, right)

    # Each half goes on working, and knows nothing of the other.
    {:ok, _function} = deploy(a, "both", 2)
    {:ok, _function} = deploy(b, "left_only", 3)
    {:ok, _function} = deploy(a, "new_left", 4)
    :ok = remove(c, "gone")
    {:ok, _function} = deploy(d, "new_right", 5)
    {:ok, _function} = deploy(e, "both", 6)
    {:ok, _function} = deploy(b, "removed_and_back", 7)
    :ok = remove(b, "removed_and_back")
    {:ok, _function} = deploy(e, "removed_and_back", 8)
    assert_converged(left, %{"both" => [2], "left_only" => [3], "new_left" => [4], "gone" => [1]})
    assert_converged(right, %{"both" => [6], "left_only" => [1], "new_right" => [5], "gone" => [:removed]})
    for peer <- right, do: assert(version(peer, "new_left") == :removed)

    heal(left, right)

    assert_converged(peers, %{
      "both" => [6],
      "left_only" => [3],
      "new_left" => [4],
      "new_right" => [5],
      "gone" => [:removed],
      "removed_and_back" => [8],
      "kept" => [1]
    })
  end

  test "what was removed in one half stays removed, although the other half still calls it" do
    [a, b, c] = peers = start!(3)
    {:ok, _function} = deploy(a, "f", 1)
    assert_converged(peers, %{"f" => [1]})
    part([a], [b, c])
    :ok = remove(a, "f")
    assert version(b, "f") == 1
    heal([a], [b, c])
    assert_converged(peers, %{"f" => [:removed]})
  end

  test "a route that both halves gave away is the older deploy's on all nodes, which can't lose it by a deploy of its own" do
    [a, b] = peers = start!(2, server: true, sites_port: 0)
    assert_converged(peers, %{})
    part([a], [b])
    {:ok, _function} = site(a, "older", ["shop.example/...", "/older"])
    {:ok, _function} = site(b, "younger", ["Shop.Example/...", "/younger"])
    assert {served(a), served(b)} == {"older", "younger"}
    heal([a], [b])
    assert_converged(peers, %{})
    for peer <- peers, do: eventually(fn -> served(peer) == "older" end, 30_000)

    # Whichever of both deploys again.
    {:ok, _function} = site(a, "younger", ["shop.example/...", "/younger", "/more"])
    assert_converged(peers, %{})

    assert {:error, %{reason: :route_taken, details: %{route: "shop.example/..."}} = error} =
             site(b, "older", ["shop.example/..."])

    assert error.message =~ "younger"
    {:ok, _function} = site(a, "younger", ["/younger"])
    assert_converged(peers, %{})
    {:ok, _function} = site(b, "older", ["shop.example/..."])
    assert_converged(peers, %{})
    for peer <- peers, do: eventually(fn -> served(peer) == "older" end, 30_000)
  end

  # The status of what it answers says which of the two it is.
  defp site(peer, name, routes) do
    version = if name == "older", do: "1", else: "2"
    wasm = String.replace(guest("abis", "http"), "version 1", "version " <> version)
    Peer.call(peer, Tidepool, :deploy, [wasm, [name: name, routes: routes]])
  end

  # Which of the two answers for the host.
  defp served(peer) do
    port = Peer.call(peer, TidepoolWeb.Listener, :sites_port, [])
    {status, _headers, _body} = curl_url("http://127.0.0.1:#{port}/x", ["-H", "host: shop.example"])
    %{249 => "older", 250 => "younger"}[status]
  end
end
