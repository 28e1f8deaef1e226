defmodule TidepoolWeb.Mcp.ListeningTest do
  # Streams that tell when tools change, and who may listen to how many.
  use Tidepool.Case, async: true

  import Tidepool.McpClient

  alias Tidepool.{EventClient, Peer, TestCluster}
  alias Tidepool.Cluster.Links
  alias TidepoolWeb.Listener
  alias TidepoolWeb.Resource.Shares

  @changed "notifications/tools/list_changed"
  @accept [{"accept", "text/event-stream"}]

  defp port(peer), do: Peer.call(peer, Listener, :port, [])

  # By `GET`, with what a client is told at first.
  defp listen(port, headers \\ []) do
    client = EventClient.connect(port, @accept ++ headers, "/mcp")
    assert client.status == 200 and client.headers["content-type"] == "text/event-stream"
    assert {%{"jsonrpc" => "2.0", "method" => @changed}, client} = message(client)
    client
  end

  defp subscribe(port, id, wanted) do
    {body, headers} = newest("subscriptions/listen", %{notifications: wanted}, id)
    stream(port, body, headers)
  end

  defp told(client) do
    assert {%{"method" => @changed}, client} = message(client)
    client
  end

  # All that comes until the stream is over.
  defp rest(client, told \\ []) do
    case message(client) do
      {:done, _client} -> Enum.reverse(told)
      {message, client} -> rest(client, [message | told])
    end
  end

  test "those without a token of their own share by their addresses, of IPv6 by their networks" do
    for {peer, same} <- [
          {"192.0.2.7:4000", "192.0.2.7"},
          {"[::ffff:192.0.2.7]:4000", "192.0.2.7"},
          {"[2001:db8::1]:4000", "2001:db8:0:0:ffff::2"},
          {"2001:db8::1", "2001:db8::9999"}
        ],
        do: assert(Shares.network(peer) == Shares.network(same))

    for {peer, other} <- [{"192.0.2.7", "192.0.2.8"}, {"2001:db8::1", "2001:db8:0:1::1"}, {"::1", "127.0.0.1"}],
        do: refute(Shares.network(peer) == Shares.network(other))
  end

  test "a client that listens is told of deploys and removals of tools, and only of what its token is for" do
    peer = Peer.start!(server: true, token: "s3cret", calls: :token)

    {:ok, _token, secret} =
      Peer.call(peer, Tidepool.Tokens, :make, [[name: "shop", scopes: ["call"], functions: "shop/*"]])

    own = listen(port(peer), [{"authorization", "Bearer s3cret"}])
    shop = listen(port(peer), [{"authorization", "Bearer " <> secret}])
    assert EventClient.connect(port(peer), @accept, "/mcp").status == 401

    Peer.deploy!(peer, "component", "tools", name: "blog", tools: ["only"])
    own = told(own)
    # Without tools, and with all as before.
    Peer.deploy!(peer, "component", "tools", name: "shop/silent")
    Peer.deploy!(peer, "component", "tools", name: "blog", tools: ["only"])
    Peer.deploy!(peer, "component", "tools", name: "shop/cart", tools: ["only"])
    [own, shop] = for client <- [own, shop], do: told(client)
    # A version without tools takes them.
    Peer.deploy!(peer, "component", "tools", name: "shop/cart")
    [own, shop] = for client <- [own, shop], do: told(client)
    :ok = Peer.call(peer, Tidepool, :remove, ["blog"])
    told(own)

    # A stream ends with its token.
    {:ok, _told} = Peer.call(peer, Tidepool.Tokens, :revoke, ["shop"])
    Peer.deploy!(peer, "component", "tools", name: "shop/last", tools: ["only"])
    assert rest(shop) == []
  end

  test "a subscription is acknowledged, names itself in all that it tells, and ends with a result when the node stops" do
    peer = Peer.start!(server: true)
    client = subscribe(port(peer), "listen-1", %{toolsListChanged: true, promptsListChanged: true})
    # A long message is read, and has no place for as long as its stream goes on.
    other = subscribe(port(peer), 2, %{promptsListChanged: true, padding: String.duplicate("x", 5_000)})
    meta = %{"io.modelcontextprotocol/subscriptionId" => "listen-1"}

    assert {%{"method" => "notifications/subscriptions/acknowledged", "params" => params}, client} = message(client)
    assert params == %{"_meta" => meta, "notifications" => %{"toolsListChanged" => true}}
    assert {%{"params" => %{"notifications" => none}}, other} = message(other)
    assert none == %{}
    assert Peer.call(peer, Shares, :count, [:middling_messages]) == 0

    Peer.deploy!(peer, "component", "tools", name: "f", tools: ["only"])
    assert {%{"method" => @changed, "params" => %{"_meta" => ^meta}}, client} = message(client)
    :ok = Peer.call(peer, Application, :stop, [:tidepool])
    assert [%{"id" => "listen-1", "result" => %{"resultType" => "complete"}}] = rest(client)
    # What it has not asked for it was not told.
    assert [%{"id" => 2, "result" => %{"resultType" => "complete"}}] = rest(other)
  end

  test "a deploy of any node is told by each, as soon as that can call it" do
    [a, b] = nodes = TestCluster.start!(2, server: true)
    for node <- nodes, do: eventually(fn -> length(Peer.call(node, Links, :linked, [])) == 1 end, 30_000)
    client = listen(port(b))
    Peer.deploy!(a, "component", "tools", name: "f", tools: ["move"])
    client = told(client)
    assert ["f__move"] = for(tool <- list([], Peer.url(b, "/mcp")), do: tool["name"])
    :ok = Peer.call(a, Tidepool, :remove, ["f"])
    told(client)
    assert list([], Peer.url(b, "/mcp")) == []
  end

  test "a client has no more lists of tools made and sent at a time than it leaves to others" do
    peer = Peer.start!(server: true)
    {shell, url} = {Peer.shell(peer), Peer.url(peer, "/mcp")}
    client = ":tool_lists, {:network, {127, 0, 0, 1}}"
    # As many requests of this machine that are not answered yet.
    {taken, _names} = shell.("for _ <- 1..32, do: TidepoolWeb.Resource.Shares.take(#{client}, 64)", [], [])
    assert Enum.uniq(taken) == [:ok]
    assert {:error, -32_603, message} = ask("tools/list", %{}, [], url)
    assert message =~ "ask again"
    {:ok, _names} = shell.("TidepoolWeb.Resource.Shares.give_back(#{client})", [], [])
    assert %{"tools" => []} = ask("tools/list", %{}, [], url)
  end

  test "a client gets no more streams than it leaves to others" do
    peer = Peer.start!(server: true)
    wanted = %{toolsListChanged: true}
    clients = for id <- 1..32, do: subscribe(port(peer), id, wanted)
    for client <- clients, do: assert(client.status == 200)
    # Each has its place when it is told that it has.
    for client <- clients, do: assert({_acknowledged, _client} = message(client))
    {body, headers} = newest("subscriptions/listen", %{notifications: wanted}, 33)
    headers = [{"accept", "application/json, text/event-stream"} | headers]
    full = fn -> send_message(body, headers, Peer.url(peer, "/mcp")) end
    assert {503, %{"retry-after" => "1"}, %{"id" => 33, "error" => %{"code" => -32_603}}} = full.()
    EventClient.close(hd(clients))
    eventually(fn -> subscribe(port(peer), 34, wanted).status == 200 end)
  end

  test "a stream is for pages of the node's own, for who reads streams, and by `GET` for versions that begin" do
    url = url("/mcp")
    assert {403, _headers, _error} = curl_url(url, ["-H", "origin: http://evil.example"])
    assert {406, _headers, _error} = curl_url(url, ["-H", "accept: application/json"])
    assert {404, _headers, _error} = curl_url(url, ["-H", "mcp-session-id: 1"])

    assert {400, _headers, %{"error" => %{"code" => -32_022}}} = curl_url(url, ["-H", "mcp-protocol-version: 1"])

    assert {405, %{"allow" => "POST"}, %{"error" => %{"message" => told}}} =
             curl_url(url, ["-H", "mcp-protocol-version: #{newest()}"])

    assert told =~ "subscriptions/listen"
    {body, headers} = newest("subscriptions/listen", %{notifications: %{toolsListChanged: true}})
    assert {406, _headers, %{"id" => 1}} = send_message(body, headers)
    {body, headers} = newest("subscriptions/listen", %{})
    headers = [{"accept", "application/json, text/event-stream"} | headers]
    assert {400, _headers, %{"id" => 1, "error" => %{"code" => -32_602}}} = send_message(body, headers)
    assert {:error, -32_601, _message} = ask("subscriptions/listen", %{notifications: %{}})
  end
end
