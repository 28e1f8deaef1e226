defmodule Tidepool.Fault.Cluster.LinksTest do
  # Not async: the throughput of a slow link is that of an idle machine.
  use Tidepool.Case

  @moduletag :slow

  import Tidepool.TestCluster

  alias Tidepool.{Cluster, FaultVersion, Peer, SlowLink}

  test "changes and modules travel along a chain of nodes whose ends never meet" do
    cookie = Peer.cookie()
    names = [first | _others] = for index <- 1..4, do: Peer.name("chain#{index}")

    # Each knows its neighbour before it; whoever is not next to it expects another cookie.
    peers =
      for {name, index} <- Enum.with_index(names) do
        seeds = if name == first, do: [], else: [Enum.at(names, index - 1)]
        peer = Peer.boot!([cluster: true, seeds: seeds], name: name, cookie: cookie)

        for {other, place} <- Enum.with_index(names), abs(place - index) > 1 do
          Peer.call(peer, :erlang, :set_cookie, [other, :"not_for_#{name}"])
        end

        {:ok, _started} = Peer.start_application(peer)
        peer
      end

    {:ok, _function} = deploy(hd(peers), "f", 1)
    {:ok, _function} = deploy(List.last(peers), "g", 2)
    assert_converged(peers, %{"f" => [1], "g" => [2]})
    :ok = remove(List.last(peers), "f")
    assert_converged(peers, %{"f" => [:removed], "g" => [2]})

    for {peer, index} <- Enum.with_index(peers) do
      linked = Peer.call(peer, Node, :list, [:connected])
      near = for {name, place} <- Enum.with_index(names), abs(place - index) == 1, do: name
      assert Enum.sort(linked) == Enum.sort(near)
    end
  end

  test "nodes agree although one of them can be reached, and can't reach the others itself" do
    [a, b, c] = peers = start!(3)
    assert_converged(peers, %{})

    # c expects other cookies, so its attempts fail; those of the others need c's true one, which it checks.
    for peer <- [a, b], do: Peer.cut(peer, c)
    {:ok, _function} = deploy(c, "from_c", 1)
    {:ok, _function} = deploy(a, "from_a", 2)
    for peer <- [a, b], do: Peer.call(c, :erlang, :set_cookie, [peer.node, peer.cookie])
    Peer.call(a, :erlang, :set_cookie, [c.node, c.cookie])

    # b and c stay parted: what they tell each other goes through a.
    assert_converged(peers, %{"from_c" => [1], "from_a" => [2]})
    refute b.node in Peer.call(c, Node, :list, [:connected])
  end

  test "a large module on a slow link holds up neither changes nor the link" do
    cookie = Peer.cookie()
    [a, b] = names = [Peer.name("slow"), Peer.name("slow")]
    link = start_supervised!({SlowLink, nodes: names, delay_ms: 10, bytes_per_s: 400_000})
    options = [args: SlowLink.arguments(link)]
    a = start_node!(a, cookie, [b], [], options)
    b = start_node!(b, cookie, [a.node], [], options)
    peers = [a, b]
    eventually(fn -> a.node in Peer.call(b, Node, :list, [:connected]) end, 30_000)

    large = FaultVersion.padded(FaultVersion.module(1), 2_000_000)
    {:ok, _function} = Peer.call(a, Tidepool, :deploy, [large, [name: "large"]])
    on_its_way = fn -> Peer.call(b, Cluster, :status, []).fetching end
    size = byte_size(large)
    eventually(fn -> match?([%{name: "large", version: 1, size: ^size}], on_its_way.()) end)
    {:ok, _function} = deploy(a, "small", 2)
    await(b, "small", 2)
    :ok = Peer.call(b, Tidepool, :remove, ["small"])
    await(a, "small", :removed)
    # The small change there and back took less time than the large module.
    refute "large" in Enum.map(catalog(b), & &1.name)

    assert_converged(peers, %{"large" => [1], "small" => [:removed]})
    assert on_its_way.() == []
    assert SlowLink.connections(link) == 1
  end
end
