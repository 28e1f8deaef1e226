defmodule Tidepool.Cluster.DiscoveryTest do
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Dns, Peer}
  alias Tidepool.Cluster.Links.{Backoff, Discovery}

  @nothing %{seeds: [], dns: nil, dns_node: "tidepool", epmd: false}

  defp nodes(peer), do: for(node <- Peer.call(peer, Tidepool.Cluster, :status, []).nodes, do: node.name)

  defp meet!(a, b) do
    both = Enum.sort([to_string(a.node), to_string(b.node)])
    for peer <- [a, b], do: eventually(fn -> Enum.sort(nodes(peer)) == both end, 20_000)
  end

  # A VM whose resolver asks the server at this port, and nothing else.
  defp resolver(port) do
    path = Path.join(tmp_folder!(), "inetrc")
    # Without {resolv_conf, ""} the system's servers would take the place of this one.
    File.write!(path, ~s({resolv_conf, ""}.\n{lookup, [dns]}.\n{nameserver, {127,0,0,1}, #{port}}.\n))
    [env: [{~c"ERL_INETRC", to_charlist(path)}]]
  end

  test "seeds are taken from a list and from a string, and are nodes that the settings name" do
    assert Discovery.find(%{@nothing | seeds: [:"a@10.0.0.1"]}) == %{"a@10.0.0.1" => :configured}
    assert Map.keys(Discovery.find(%{@nothing | seeds: "a@10.0.0.1,b@10.0.0.2"})) == ["a@10.0.0.1", "b@10.0.0.2"]
  end

  test "nodes of one machine find each other by its epmd, without any setting" do
    cookie = Peer.cookie()
    [a, b] = for stem <- ["a", "b"], do: Peer.start!([cluster: true], name: Peer.name(stem), cookie: cookie)
    meet!(a, b)
  end

  test "a node of this machine that does not run Tidepool is left in peace" do
    cookie = Peer.cookie()
    stranger = Peer.boot!([], name: Peer.name("stranger"), cookie: cookie)
    settings = [cluster: true, epmd: false, seeds: [stranger.node], discovery_interval: 50]
    a = Peer.start!(settings, name: Peer.name("a"), cookie: cookie)
    eventually(fn -> a.node in Peer.call(stranger, Node, :list, [:connected]) end, 20_000)
    eventually(fn -> Peer.call(stranger, Node, :list, [:connected]) == [] end, 20_000)
    assert nodes(a) == [to_string(a.node)]
  end

  test "the link of a node that does not run Tidepool is left alone when it was not made here" do
    cookie = Peer.cookie()
    a = Peer.start!([cluster: true, epmd: false], name: Peer.name("a"), cookie: cookie)
    stranger = Peer.boot!([], name: Peer.name("stranger"), cookie: cookie)
    name = to_string(stranger.node)
    begun? = fn -> is_map_key(Peer.call(a, :sys, :get_state, [Tidepool.Cluster.Server]).links.handshakes, name) end
    Peer.link(stranger, a)
    eventually(begun?, 20_000)
    eventually(fn -> not begun?.() end, 20_000)
    assert Peer.call(a, Node, :list, [:hidden]) == [stranger.node]
  end

  test "nor is it cut when its node is found where other nodes are looked for" do
    cookie = Peer.cookie()
    [observer, name] = [Peer.name("observer"), Peer.name("a")]
    # Nobody is there yet, and whoever is asked again is asked at once.
    settings = [cluster: true, epmd: false, seeds: [observer], discovery_interval: 50]
    a = Peer.boot!(settings, name: name, cookie: cookie)
    stranger = Peer.boot!([], name: observer, cookie: cookie)
    Peer.link(stranger, a)
    {:ok, _started} = Peer.start_application(a)
    state = fn -> Peer.call(a, :sys, :get_state, [Tidepool.Cluster.Server]).links end
    tried? = fn -> Backoff.failed?(state.().backoff, to_string(observer)) end
    # It has said hello as often as it does, to a node that it wanted to connect to.
    eventually(tried?, 30_000)
    assert Peer.call(a, Node, :list, [:hidden]) == [observer]
    assert Peer.call(stranger, Node, :list, [:connected]) == [a.node]
  end

  test "the addresses of a DNS name are nodes, A and AAAA, as the records are now" do
    {dns, port} = Dns.start!(%{{"nodes.test", :a} => [{10, 0, 0, 1}, {10, 0, 0, 2}]})
    peer = Peer.boot!([], resolver(port))
    find = fn -> Peer.call(peer, Discovery, :find, [%{@nothing | dns: "nodes.test", dns_node: "tide"}]) end
    assert find.() == %{"tide@10.0.0.1" => :configured, "tide@10.0.0.2" => :configured}

    Dns.put(dns, %{{"nodes.test", :a} => [{10, 0, 0, 3}], {"nodes.test", :aaaa} => [{64_512, 0, 0, 0, 0, 0, 0, 1}]})
    eventually(fn -> find.() == %{"tide@10.0.0.3" => :configured, "tide@fc00::1" => :configured} end, 20_000)

    Dns.put(dns, %{})
    eventually(fn -> find.() == %{} end, 20_000)
  end

  test "while a name server is silent it is asked one question at a time" do
    {:ok, socket} = :gen_udp.open(0, [:binary, active: true, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(socket)
    settings = [cluster: true, dns: "nodes.test", discovery_interval: 3_600_000]
    a = Peer.start!(settings, [name: Peer.name("a"), cookie: Peer.cookie()] ++ resolver(port))
    assert_receive {:udp, ^socket, _ip, _port, _question}

    for _interval <- 1..20, do: Peer.call(a, :erlang, :send, [Tidepool.Cluster.Server, :discover])
    Peer.call(a, :sys, :get_state, [Tidepool.Cluster.Server])
    assert [_one] = Peer.call(a, Task.Supervisor, :children, [Tidepool.Cluster.Tasks])
    :gen_udp.close(socket)
  end

  test "nodes find each other by DNS" do
    {_dns, port} = Dns.start!(%{{"nodes.test", :a} => [{127, 0, 0, 1}]})
    cookie = Peer.cookie()
    b = Peer.start!([cluster: true, epmd: false], name: Peer.name("b"), cookie: cookie)
    [stem, _host] = b.node |> to_string() |> String.split("@")
    settings = [cluster: true, dns: "nodes.test", dns_node: stem]
    a = Peer.start!(settings, [name: Peer.name("a"), cookie: cookie] ++ resolver(port))
    meet!(a, b)
  end

  test "a node that gets its name later joins then" do
    cookie = Peer.cookie()
    a = Peer.start!([cluster: true, epmd: false], name: Peer.name("a"), cookie: cookie)
    b = Peer.start!(cluster: true, seeds: [a.node], discovery_interval: 50)
    assert %{distributed: false, nodes: [%{name: "nonode@nohost"}]} = Peer.call(b, Tidepool.Cluster, :status, [])

    b = %{b | node: Peer.name("b"), cookie: cookie}
    {:ok, _pid} = Peer.call(b, Node, :start, [b.node, :longnames])
    true = Peer.call(b, Node, :set_cookie, [cookie])
    meet!(a, b)
  end

  test "a node that gets its name later gets modules that it has lost" do
    cookie = Peer.cookie()
    a = Peer.start!([cluster: true, epmd: false], name: Peer.name("a"), cookie: cookie)
    b = Peer.start!(cluster: true, seeds: [a.node], discovery_interval: 50)
    for peer <- [a, b], do: Peer.deploy!(peer, "rust", "hello_world", limits: [time: 3_600_000])
    :ok = Peer.stop_application(b)
    [blob] = Path.wildcard(Path.join(Peer.folder(b), "blobs/*"))
    File.rm!(blob)
    {:ok, _started} = Peer.start_application(b)
    # Nobody is there that could bring it, so that no call waits.
    assert {:error, %{reason: :unavailable}} = Peer.call(b, Tidepool, :call, ["hello_world", "hello"])

    b = %{b | node: Peer.name("b"), cookie: cookie}
    {:ok, _pid} = Peer.call(b, Node, :start, [b.node, :longnames])
    true = Peer.call(b, Node, :set_cookie, [cookie])
    meet!(a, b)
    assert Peer.call(b, Tidepool, :call, ["hello_world", "hello"]) == {:ok, "Hello, world!"}
  end

  test "a node that gets its name later says what it can't serve" do
    b = Peer.start!(cluster: true, epmd: false, discovery_interval: 50)
    Peer.deploy!(b, "rust", "hello_world")
    {_context, [entry]} = Peer.call(b, Tidepool.Catalog, :known, [])
    missing = %{entry | name: "missing", sha256: String.duplicate("0", 64)}
    :ok = Peer.call(b, Tidepool.Catalog, :accept, [[missing]])
    :ok = Peer.call(b, Tidepool.Cluster.Reconciler, :load, [[missing], nil])

    b = %{b | node: Peer.name("b"), cookie: Peer.cookie()}
    {:ok, _pid} = Peer.call(b, Node, :start, [b.node, :longnames])
    name = to_string(b.node)

    eventually(
      fn ->
        assert %{functions: [%{name: "hello_world", ready: [^name]}, %{name: "missing", pending: [^name]}]} =
                 Peer.call(b, Tidepool.Cluster, :status, [])
      end,
      20_000
    )
  end

  describe "a node that could not be met" do
    test "waits longer each time, up to half a minute when the settings name it and longer when they don't" do
      for {why, longest} <- [configured: 30_000, apart: 30_000, guessed: 600_000, stranger: 600_000] do
        backoff = Enum.reduce(1..30, Backoff.new(), fn _attempt, backoff -> Backoff.failed(backoff, "n", why, 0) end)
        refute Backoff.due?(backoff, "n", div(longest, 2))
        assert Backoff.due?(backoff, "n", longest)
      end

      first = Backoff.failed(Backoff.new(), "n", :stranger, 0)
      refute Backoff.due?(first, "n", 499)
      assert Backoff.due?(first, "n", 1_000)
      assert Backoff.due?(first, "m", 0)
    end

    test "is tried at once if it was a peer before" do
      backoff = Backoff.new() |> Backoff.met("n") |> Backoff.failed("n", :configured, 0)
      assert Backoff.due?(backoff, "n", 0)
    end

    test "is not tried at once if it was a peer and is not to be linked with as it is now" do
      backoff = Backoff.new() |> Backoff.met("n") |> Backoff.failed("n", :apart, 0)
      refute Backoff.due?(backoff, "n", 499)
      assert backoff |> Backoff.met("n") |> Backoff.due?("n", 0)
    end
  end
end
