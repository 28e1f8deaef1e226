defmodule TidepoolWeb.McpTest do
  # Typed exports as tools of the Model Context Protocol, over HTTP: its messages and versions, and who may what.
  use Tidepool.Case, async: true

  import Tidepool.McpClient

  alias Tidepool.{McpClient, Native, Peer, TestCluster}
  alias Tidepool.Cluster.Links
  alias TidepoolWeb.Resource.Shares
  alias TidepoolWeb.Resources.Mcp.{Envelope, Messages, Tools}

  doctest Envelope
  doctest Messages
  doctest Tools

  @handshake McpClient.handshake()

  defp tools!(options), do: deploy!("component", "tools", options)

  test "a client and the node agree on a version, and each request goes by its own" do
    for version <- Messages.handshakes() do
      assert %{"protocolVersion" => ^version, "capabilities" => capabilities, "serverInfo" => server} =
               ask(
                 "initialize",
                 %{protocolVersion: version, capabilities: %{}, clientInfo: %{name: "t", version: "1"}},
                 [
                   {"mcp-protocol-version", nil}
                 ]
               )

      assert capabilities == %{"tools" => %{"listChanged" => true}}
      assert server["name"] == "tidepool" and server["version"] =~ ~r/\A\d/
    end

    for wanted <- ["2024-11-05", McpClient.newest()],
        do: assert(%{"protocolVersion" => @handshake} = ask("initialize", %{protocolVersion: wanted}))

    assert {:error, -32_602, _message} = ask("initialize")
    initialised = %{jsonrpc: "2.0", method: "notifications/initialized"}
    assert {202, headers, ""} = send_message(initialised)
    refute is_map_key(headers, "mcp-session-id")
    assert ask("ping") == %{}

    assert {400, _headers, %{"error" => %{"code" => -32_022, "data" => data}}} =
             send_message(initialised, [{"mcp-protocol-version", "x"}])

    assert data == %{"supported" => Messages.versions(), "requested" => "x"}
  end

  test "a client that begins gets a session that nobody has had, and one that is no session is none of the server's" do
    begin = request("initialize", %{protocolVersion: @handshake})

    sessions =
      for _client <- 1..3 do
        assert {200, %{"mcp-session-id" => session}, _answer} = send_message(begin)
        assert session =~ ~r/\A[A-Za-z0-9_-]{32}\z/
        assert {200, headers, _pong} = send_message(request("ping", %{}), [{"mcp-session-id", session}])
        refute is_map_key(headers, "mcp-session-id")
        session
      end

    assert Enum.uniq(sessions) == sessions

    for none <- ["1", String.duplicate("a", 31), String.duplicate("a", 33), String.duplicate("é", 16)] do
      assert {404, _headers, %{"error" => %{"code" => -32_600}}} =
               send_message(request("ping", %{}), [{"mcp-session-id", none}])
    end
  end

  test "what was read of a large message is not kept for as long as its call lasts" do
    node = Peer.start!(server: true)
    Peer.deploy!(node, "component", "tools", tools: ["only"], limits: [instances: 1, queue: 10, time: 120_000])
    # It has the one instance that there may be.
    {:ok, instance} = Peer.call(node, Tidepool.Instance, :start, ["tools"])
    message = request("tools/call", %{name: "tools__only", arguments: %{a: List.duplicate(%{b: 1}, 50_000)}})
    task = send_later(Native.json_encode(message), Peer.url(node, "/mcp"))

    heaps = """
    for pid <- Process.list(),
        Process.info(pid, :initial_call) == {:initial_call, {TidepoolWeb.Request, :run, 1}},
        {:total_heap_size, words} <- [Process.info(pid, :total_heap_size)],
        do: 8 * words
    """

    eventually(fn -> Peer.call(node, Tidepool.Engine, :instances, []).queued == 1 end, 20_000)
    assert {[bytes], _binding} = Peer.call(node, Code, :eval_string, [heaps])
    assert bytes < 500_000
    true = Peer.call(node, Process, :exit, [instance, :kill])
    # The tool takes other arguments.
    assert {200, _headers, %{"result" => %{"isError" => true}}} = Task.await(task, 60_000)
  end

  test "a large message whose call goes on leaves its place, however little of it the call takes along" do
    node = Peer.start!(server: true)
    url = Peer.url(node, "/mcp")
    Peer.deploy!(node, "component", "tools", tools: ["only"], limits: [instances: 1, queue: 10, time: 120_000])
    {:ok, instance} = Peer.call(node, Tidepool.Instance, :start, ["tools"])

    message = Native.json_encode(request("tools/call", %{name: "tools__only", arguments: %{}}))

    tasks =
      for call <- 1..8 do
        # Of each kind that has places.
        task = send_later(message <> String.duplicate(" ", if(call > 4, do: 100_000, else: 5_000)), url)
        eventually(fn -> Peer.call(node, Tidepool.Engine, :instances, []).queued == call end, 20_000)
        task
      end

    taken = fn -> for kind <- [:messages, :middling_messages], do: Peer.call(node, Shares, :count, [kind]) end
    assert taken.() == [0, 0]
    # A batch keeps what it has behind the message that is answered.
    batch = send_later("[#{message}#{String.duplicate(" ", 5_000)}]", url)
    eventually(fn -> Peer.call(node, Tidepool.Engine, :instances, []).queued == 9 end, 20_000)
    assert taken.() == [0, 1]
    true = Peer.call(node, Process, :exit, [instance, :kill])
    for task <- tasks, do: assert({200, _headers, %{"result" => _result}} = Task.await(task, 60_000))
    assert {200, _headers, [%{"result" => _result}]} = Task.await(batch, 60_000)
    eventually(fn -> taken.() == [0, 0] end)
  end

  test "messages of some KiB have places until their calls begin, of which a client leaves others some" do
    node = Peer.start!(server: true)
    url = Peer.url(node, "/mcp")
    shell = Peer.shell(node)
    client = "{:network, {127, 0, 0, 1}}"
    # Some that wait to look for their tools.
    assert {[:ok], _names} =
             shell.("Enum.uniq(for _ <- 1..32, do: #{inspect(Shares)}.take(:middling_messages, #{client}, 64))", [], [])

    ping = &Map.put(request("ping", %{}), :padding, String.duplicate("x", &1))

    for bytes <- [4_096, 60_000],
        do:
          assert(
            {503, %{"retry-after" => "1"}, %{"error" => %{"code" => -32_603}}} = send_message(ping.(bytes), [], url)
          )

    # A batch of any size has one.
    assert {503, _headers, _error} = send_message([request("ping", %{})], [{"mcp-protocol-version", "2025-03-26"}], url)
    # Small ones need none, and large ones have others.
    for bytes <- [3_900, 70_000], do: assert({200, _headers, _pong} = send_message(ping.(bytes), [], url))
    shell.("#{inspect(Shares)}.give_back(:middling_messages, #{client})", [], [])
    assert {200, _headers, _pong} = send_message(ping.(60_000), [], url)

    assert {200, _headers, [_pong]} =
             send_message([request("ping", %{})], [{"mcp-protocol-version", "2025-03-26"}], url)

    eventually(fn -> Peer.call(node, Shares, :count, [:middling_messages]) == 0 end)
  end

  # A body that is too long for an argument.
  defp send_later(body, url) do
    path = Path.join(tmp_folder!(), "message")
    File.write!(path, body)
    Task.async(fn -> curl_url(url, ["--data-binary", "@#{path}", "-H", "content-type: application/json"]) end)
  end

  test "large messages are read a few at a time, and those of a namespace leave others places" do
    node = Peer.start!(server: true)
    # Some that take their time.
    hold = """
    for _message <- 1..4 do
      asker = self()
      pid = spawn(fn -> send(asker, TidepoolWeb.Resource.Shares.take(:messages, :no_token, 8)); Process.sleep(:infinity) end)
      :ok = receive(do: (answer -> answer))
      pid
    end
    """

    {held, _binding} = Peer.call(node, Code, :eval_string, [hold])
    url = Peer.url(node, "/mcp")
    large = Map.put(request("ping", %{}), :padding, String.duplicate("x", 100_000))
    assert {503, _headers, %{"error" => %{"code" => -32_603}}} = send_message(large, [], url)
    assert {200, _headers, _pong} = send_message(request("ping", %{}), [], url)
    for pid <- held, do: Peer.call(node, Process, :exit, [pid, :kill])
    eventually(fn -> match?({200, _headers, _pong}, send_message(large, [], url)) end)
  end

  test "a tool has the schemas of its export's types, and what the deploy says of it" do
    name = tools!(tools: ["move", "jump", "only"], description: "Moves on a plane.")
    point = %{"type" => "object", "required" => ["x", "y"], "additionalProperties" => false}
    [move, jump, only] = for of <- ["move", "jump", "only"], do: Enum.find(list(), &(&1["name"] == "#{name}__#{of}"))

    assert %{"inputSchema" => input, "outputSchema" => output, "title" => title} = move
    assert title == "#{name} move"
    assert %{"type" => "object", "required" => ["from"], "additionalProperties" => false} = input

    assert %{"from" => from, "along-x" => %{"anyOf" => [%{"type" => "integer"}, %{"type" => "null"}]}} =
             input["properties"]

    for schema <- [from, output], do: assert(Map.delete(schema, "properties") == point)

    assert move["description"] =~ "Moves on a plane.\n\n`move: func(from: point, along-x: option<s32>) -> point`"
    assert jump["description"] =~ "`jump: func(far: u32) -> result<point, string>`"
    assert jump["outputSchema"] == output
    assert only["description"] =~ "`only: func() -> u32` of test:numbers/one@1.0.0, of the function #{name}."

    assert only["inputSchema"] == %{
             "type" => "object",
             "properties" => %{},
             "required" => [],
             "additionalProperties" => false
           }

    refute is_map_key(only, "outputSchema")

    # The first version knows neither.
    [move | _others] = for tool <- list([{"mcp-protocol-version", nil}]), tool["name"] == "#{name}__move", do: tool
    assert Enum.sort(Map.keys(move)) == ["description", "inputSchema", "name"]
  end

  test "a call has the result as text, and an object as one beside it" do
    name = tools!(tools: ["*"])
    point = %{"x" => 3, "y" => 2}
    arguments = %{from: %{x: 1, y: 2}, "along-x": 2}
    assert %{"isError" => false, "structuredContent" => ^point} = moved = call("#{name}__move", arguments)
    assert moved["content"] == [%{"type" => "text", "text" => ~s({"x":3,"y":2})}]
    # What may be left out is.
    assert %{"structuredContent" => %{"x" => 2}} = call("#{name}__move", %{from: %{x: 1, y: 2}})
    assert %{"structuredContent" => %{"x" => 8}} = call("#{name}__move", %{from: %{x: 1, y: 2}, along_x: 7})
    assert %{"structuredContent" => %{"x" => 9, "y" => 0}, "isError" => false} = call("#{name}__jump", %{far: 9})

    seven = call("#{name}__only", %{})
    assert seven == %{"content" => [%{"type" => "text", "text" => "7"}], "isError" => false}
    refute is_map_key(call("#{name}__move", arguments, [{"mcp-protocol-version", "2025-03-26"}]), "structuredContent")
  end

  test "names are one each, of characters that all clients take, also of what two interfaces have" do
    local = tools!(tools: ["*"])
    spaced = "names.#{System.unique_integer([:positive])}/#{String.duplicate("x", 80)}.y"
    {:ok, _function} = Tidepool.deploy(guest("component", "tools"), name: spaced, tools: ["*"])
    on_exit(fn -> remove!(spaced) end)

    ours = for tool <- list(), tool["title"] =~ ~r/\A(#{local}|#{Regex.escape(spaced)}) /, do: tool
    assert length(ours) == 10
    names = Enum.map(ours, & &1["name"])
    assert Enum.uniq(names) == names
    for name <- names, do: assert(name =~ ~r/\A[A-Za-z0-9_-]{1,64}\z/)

    numbers =
      for %{"name" => name, "title" => title, "description" => description} <- ours, title =~ ~r/ number\z/ do
        %{"content" => [%{"text" => text}]} = call(name, %{})
        assert description =~ if(text == "7", do: "test:numbers/one@1.0.0", else: "test:numbers/two@1.0.0")
        text
      end

    assert Enum.sort(numbers) == ["7", "7", "8", "8"]
  end

  test "what goes wrong in a tool is its result, with the value or the reason" do
    name = tools!(tools: ["*"])
    calc = deploy!("component", "calc", tools: ["*"], limits: [cpu_time: 50])

    assert %{"isError" => true, "content" => [%{"text" => ~s("too far")}], "_meta" => meta} =
             failed = call("#{name}__jump", %{far: 10})

    assert %{"tidepool/error" => %{"reason" => "guest_error", "value" => "too far", "function" => ^name}} = meta
    refute is_map_key(failed, "structuredContent")

    for {tool, arguments, reason, more} <- [
          {"#{calc}__trap", %{}, "trap", %{"trap" => "unreachable"}},
          {"#{calc}__spin", %{}, "limit", %{"limit" => "cpu_time", "allowed" => 50}},
          {"#{name}__jump", %{far: "x"}, "invalid_arguments", %{"path" => "far"}},
          {"#{name}__jump", %{}, "invalid_arguments", %{"path" => "far"}},
          {"#{name}__jump", %{far: 1, near: 2}, "invalid_arguments", %{"path" => "near"}},
          # Nobody answers what it asks of its host.
          {"#{calc}__price", %{item: "tea"}, "trap", %{}}
        ] do
      assert %{"isError" => true, "content" => [%{"type" => "text", "text" => text}], "_meta" => meta} =
               call(tool, arguments)

      assert text =~ reason <> ": "
      assert %{"reason" => ^reason} = error = meta["tidepool/error"]
      assert Map.take(error, Map.keys(more)) == more
    end

    small = tools!(tools: ["*"], limits: [payload: 8])
    assert %{"isError" => true, "_meta" => meta} = call("#{small}__jump", %{far: 100_000})
    assert %{"tidepool/error" => %{"reason" => "limit", "limit" => "payload"}} = meta
  end

  test "what is no tool, or no such request, is an error of the protocol" do
    name = tools!(tools: ["move"])
    plain = tools!([])
    untyped = deploy!("rust", "hello_world")
    deep = Enum.reduce(1..80, 1, fn _level, value -> [value] end)

    # Deeper than the node writes.
    deep = inspect(deep, limit: :infinity, width: :infinity)
    params = ~s({"name":"#{name}__move","arguments":{"from":#{deep}}})
    body = ~s({"jsonrpc":"2.0","id":1,"method":"tools/call","params":#{params}})

    for unknown <- [
          "#{name}__jump",
          "#{plain}__move",
          "#{untyped}__hello",
          name,
          "nobody__x",
          "",
          "__",
          "x_y_aaaaaaaaaaaa"
        ] do
      assert {:error, -32_602, "unknown tool: " <> ^unknown} = call(unknown, %{})
    end

    assert {:error, -32_602, _message} = call("#{name}__move", [1])
    assert {:error, -32_602, _message} = ask("tools/call", %{arguments: %{}})
    assert {:error, -32_602, _message} = ask("tools/list", %{cursor: "x"})
    assert {:error, -32_601, _message} = ask("resources/list")
    assert {200, _headers, %{"error" => %{"code" => -32_602}}} = send_message(body)

    for body <-
          [
            "",
            "{",
            "1",
            "null",
            "[]",
            ~s({"jsonrpc":"2.0"}),
            ~s({"id":1,"method":"ping"}),
            <<255>>,
            String.duplicate("[", 500)
          ] ++
            for(id <- ["null", "1.5", "[]"], do: ~s({"jsonrpc":"2.0","id":#{id},"method":"ping"})) do
      assert {400, _headers, %{"jsonrpc" => "2.0", "error" => %{"code" => code}} = refused} = send_message(body)
      assert code in [-32_700, -32_600]
      refute is_map_key(refused, "id")
    end

    # Of two members with one name there is no telling which is meant.
    call = fn arguments -> ~s("method":"tools/call","params":{"name":"#{name}__move","arguments":#{arguments}}) end

    for body <- [
          ~s({"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}),
          ~s({"jsonrpc":"2.0","id":1,"method":"tools/list","method":"ping"}),
          ~s({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}),
          ~s({"jsonrpc":"2.0","id":1,#{call.(~s({"from":1,"from":2}))}}),
          ~s({"jsonrpc":"2.0","id":1,#{call.(~s({"from":{"x":1,"x":1}}))}}),
          ~s({"jsonrpc":"2.0","id":1,#{call.(~s({"from":[{"x":1,"\\u0078":1}]}))}})
        ] do
      assert {400, _headers, %{"error" => %{"code" => -32_700, "message" => message}}} = send_message(body)
      assert message =~ ~r/it has the name "\w+" twice in one object/
    end

    assert {200, _headers, %{"id" => "é", "result" => %{}}} = send_message(%{jsonrpc: "2.0", id: "é", method: "ping"})
    assert {202, _headers, ""} = send_message(%{jsonrpc: "2.0", id: 1, result: %{}})
  end

  test "an error shows some bytes of what was sent, however many marks a letter of it has" do
    name = deploy!("wat", "numbers", tools: ["add"])
    marked = "a" <> String.duplicate("\u0301", 20_000)
    assert {:error, -32_602, "unknown tool: a" <> _marks = message} = call(marked, %{})
    assert byte_size(message) <= 14 + 128
    assert {:error, -32_601, message} = ask(marked)
    assert byte_size(message) <= 256

    assert %{"isError" => true, "_meta" => meta, "content" => [%{"text" => text}]} =
             call(name <> "__add", %{marked => 1})

    assert byte_size(meta["tidepool/error"]["path"]) <= 128 and byte_size(text) <= 512
  end

  test "batches are of the version that has them, and bounded" do
    first = [{"mcp-protocol-version", "2025-03-26"}]
    name = tools!(tools: ["*"])
    notification = %{jsonrpc: "2.0", method: "notifications/cancelled", params: %{requestId: 1}}
    number = fn id -> %{jsonrpc: "2.0", id: id, method: "tools/call", params: %{name: "#{name}__only"}} end
    initialize = request("initialize", %{protocolVersion: @handshake}, 3)

    assert {200, _headers, answers} = send_message([number.(1), notification, number.("b"), initialize], first)
    assert [%{"id" => 1, "result" => %{"isError" => false}}, %{"id" => "b", "result" => _result}, third] = answers
    assert %{"id" => 3, "error" => %{"code" => -32_600}} = third
    assert {202, _headers, ""} = send_message([notification, notification], first)

    for {messages, headers} <- [
          {[number.(1)], [{"mcp-protocol-version", @handshake}]},
          {[number.(1), 2], first},
          {[number.(1), %{}], first},
          {List.duplicate(notification, 17), first}
        ],
        do: assert({400, _headers, %{"error" => %{"code" => -32_600}}} = send_message(messages, headers))
  end

  test "a result has a MiB at most, and a batch is done as far as its answers have eight of them as JSON" do
    name = deploy!("component", "long", tools: ["*"])
    first = [{"mcp-protocol-version", "2025-03-26"}]
    call = fn bytes -> %{name: "#{name}__text", arguments: %{bytes: bytes}} end
    # With its quotes.
    largest = 1_048_576 - 2

    for {bytes, error?} <- [{div(largest, 6), false}, {div(largest, 6) + 1, true}] do
      assert %{"isError" => ^error?, "content" => [%{"text" => text}]} = result = ask("tools/call", call.(bytes))
      if error?, do: assert(text =~ "1048576 at most" and result["_meta"]["tidepool/error"]["limit"] == "reply")
    end

    # An error is cut as each is, whoever it is told.
    for bytes <- [10, div(largest, 6) + 1] do
      params = %{name: "#{name}__fail", arguments: %{bytes: bytes}}
      assert %{"isError" => true, "content" => [%{"text" => text}], "_meta" => meta} = ask("tools/call", params)
      assert meta["tidepool/error"]["value"] == Native.json_decode(text) |> elem(1)
      assert byte_size(text) <= 6 * (16_384 + 3) + 2
    end

    batch = for id <- 1..16, do: %{jsonrpc: "2.0", id: id, method: "tools/call", params: call.(div(largest, 6))}
    assert {200, _headers, answers} = send_message(batch, first)
    assert length(answers) == 16
    {done, left} = Enum.split_while(answers, &is_map_key(&1, "result"))
    assert done != [] and left != []
    for %{"error" => error} <- left, do: assert(error["message"] =~ "send it alone")
  end

  test "a request is JSON, from no page of another site, and asks for JSON" do
    ping = request("ping", %{})
    "http://" <> host = url("")

    for {status, headers} <- [
          {200, [{"accept", nil}]},
          {200, [{"accept", "text/event-stream, application/json;q=0.5"}]},
          {200, [{"content-type", "application/json; charset=utf-8"}]},
          {200, [{"origin", "http://" <> host}]},
          {406, [{"accept", "text/event-stream"}]},
          {415, [{"content-type", "text/plain"}]},
          {415, [{"content-type", "application/jsonp"}]},
          {403, [{"origin", "http://evil.example"}]},
          {403, [{"origin", "null"}]},
          {403, [{"sec-fetch-site", "cross-site"}]},
          {200, [{"sec-fetch-site", "none"}]},
          {403, [{"origin", "http://localhost:3000"}]}
        ] do
      assert {^status, _headers, _body} = send_message(ping, headers)
    end

    # A name that is resolved to a node which listens for others is a page's own.
    open = Peer.start!(server: true, token: "s3cret", address: "0.0.0.0")
    rebound = [{"host", "evil.example"}, {"origin", "http://evil.example"}]
    assert {403, _headers, %{"error" => %{"code" => -32_600}}} = send_message(ping, rebound, Peer.url(open, "/mcp"))
    assert {200, _headers, _pong} = send_message(ping, [{"host", "evil.example"}], Peer.url(open, "/mcp"))
  end

  test "there is no session to end, and no body that is larger than one may be" do
    assert {405, %{"allow" => allow}, %{"error" => %{"reason" => "method_not_allowed"}}} =
             curl("/mcp", ["-X", "DELETE"])

    assert allow |> String.split(",") |> Enum.sort() == ["GET", "HEAD", "POST"]
    large = Native.json_encode(request("ping", %{text: String.duplicate("x", 1_048_576)}))
    assert {413, _headers, %{"error" => %{"reason" => "payload_too_large"}}} = send_message(large)
  end

  test "a list has pages of a hundred, which go on behind a function that is removed" do
    peer = Peer.start!(server: true)
    url = Peer.url(peer, "/mcp")
    for index <- 100..140, do: Peer.deploy!(peer, "component", "tools", name: "f#{index}", tools: ["*"])

    assert %{"tools" => first, "nextCursor" => cursor} = ask("tools/list", %{}, [], url)
    assert length(first) == 100
    :ok = Peer.call(peer, Tidepool, :remove, ["f119"])
    assert %{"tools" => second, "nextCursor" => cursor} = ask("tools/list", %{cursor: cursor}, [], url)
    assert %{"tools" => third} = last = ask("tools/list", %{cursor: cursor}, [], url)
    refute is_map_key(last, "nextCursor")
    names = Enum.map(first ++ second ++ third, & &1["name"])
    assert length(names) == 41 * 5 and Enum.uniq(names) == names
  end

  test "where calls take a token, a client sees and calls the tools that its token is for, and no others" do
    peer = Peer.start!(server: true, token: "s3cret", calls: :token)
    url = Peer.url(peer, "/mcp")
    for name <- ["shop/cart", "blog"], do: Peer.deploy!(peer, "component", "tools", name: name, tools: ["only"])

    made = fn name, scopes, functions ->
      options = [name: name, scopes: scopes, functions: functions]
      {:ok, _token, secret} = Peer.call(peer, Tidepool.Tokens, :make, [options])
      [{"authorization", "Bearer " <> secret}]
    end

    titles = fn headers -> for tool <- list(headers, url), do: {tool["title"], tool["name"]} end
    assert [{"blog only", blog}, {"shop/cart only", cart}] = titles.([{"authorization", "Bearer s3cret"}])
    shop = made.("shop", ["call"], "shop/*")
    assert [{"shop/cart only", ^cart}] = titles.(shop)
    assert %{"isError" => false} = ask("tools/call", %{name: cart}, shop, url)
    assert {:error, -32_602, "unknown tool: " <> _name} = ask("tools/call", %{name: blog}, shop, url)

    assert {401, _headers, %{"error" => %{"reason" => "unauthorized"}}} =
             send_message(request("tools/list", %{}), [], url)

    reader = made.("reader", ["read"], "*")

    assert {403, _headers, %{"error" => %{"reason" => "forbidden"}}} =
             send_message(request("tools/list", %{}), reader, url)

    {:ok, _told} = Peer.call(peer, Tidepool.Tokens, :revoke, ["shop"])
    assert {401, _headers, _error} = send_message(request("ping", %{}), shop, url)
  end

  test "each node of a cluster answers with the tools of all, and with those of a version as soon as it calls that" do
    [a, b] = nodes = TestCluster.start!(2, server: true)
    for node <- nodes, do: eventually(fn -> length(Peer.call(node, Links, :linked, [])) == 1 end, 30_000)
    Peer.deploy!(a, "component", "tools", name: "f", tools: ["move"], wait: :all)
    names = fn -> for tool <- list([], Peer.url(b, "/mcp")), do: tool["name"] end
    assert names.() == ["f__move"]

    assert %{"structuredContent" => %{"x" => 2}} =
             ask("tools/call", %{name: "f__move", arguments: %{from: %{x: 1, y: 0}}}, [], Peer.url(b, "/mcp"))

    Peer.deploy!(a, "component", "tools", name: "f", tools: ["jump"], wait: :all)
    assert names.() == ["f__jump"]
    assert {:error, -32_602, _message} = ask("tools/call", %{name: "f__move"}, [], Peer.url(b, "/mcp"))
  end
end
