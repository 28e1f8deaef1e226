defmodule TidepoolWeb.AuditTest do
  # What was changed and by whom, as it is kept.
  use Tidepool.Case, async: true
  doctest Tidepool.Audit

  alias Tidepool.{Audit, FaultVersion, Peer}

  @own "s3cret-token"

  defp ask(peer, arguments, path, secret \\ @own),
    do: curl_url(Peer.url(peer, path), ["-H", "authorization: Bearer #{secret}" | arguments])

  defp entries(peer, query \\ "") do
    assert {200, _headers, %{"entries" => entries, "next" => next}} = ask(peer, [], "/audit" <> query)
    {entries, next}
  end

  test "every change is kept with the name of its token, newest first, and survives a restart" do
    node = Peer.start!(server: true, token: @own)
    made = Tidepool.Native.json_encode(%{name: "ci", scopes: ["deploy"], functions: "shop-*"})
    assert {201, _headers, %{"secret" => secret}} = ask(node, ["--data-binary", made], "/tokens")

    for version <- 1..2 do
      bearer = ["-H", "authorization: Bearer #{secret}"]
      module = FaultVersion.module(version)
      assert {201, _headers, _function} = curl_deploy_url(Peer.url(node, "/deploy"), module, [name: "shop-a"], bearer)
      assert {403, _headers, _refused} = curl_deploy_url(Peer.url(node, "/deploy"), module, [name: "other"], bearer)
    end

    assert {201, _headers, _function} = ask(node, ["-X", "POST"], "/functions/shop-a/rollback", secret)
    :ok = Peer.call(node, Tidepool, :remove, ["shop-a"])
    assert {200, _headers, _revoked} = ask(node, ["-X", "DELETE"], "/tokens/ci")
    assert {404, _headers, _nothing} = ask(node, ["-X", "DELETE"], "/tokens/ci")

    changes = [
      ["token_revoked", "ci", nil, "TIDEPOOL_TOKEN"],
      ["remove", "shop-a", 3, "elixir"],
      ["rollback", "shop-a", 3, "ci"],
      ["deploy", "shop-a", 2, "ci"],
      ["deploy", "shop-a", 1, "ci"],
      ["token_made", "ci", nil, "TIDEPOOL_TOKEN"]
    ]

    {kept, nil} = entries(node)
    assert for(entry <- kept, do: Enum.map(["action", "name", "version", "token"], &entry[&1])) == changes
    assert Enum.map(kept, & &1["id"]) == Enum.to_list(6..1)
    assert %{"peer" => "127.0.0.1:" <> _port, "at" => at} = hd(kept)
    assert_in_delta at, System.os_time(:second), 60

    assert {[%{"id" => 6}, %{"id" => 5}], 5} = entries(node, "?limit=2")
    assert {[%{"id" => 4}, %{"id" => 3}, %{"id" => 2}, %{"id" => 1}], nil} = entries(node, "?limit=4&before=5")

    for wrong <- ["?limit=0", "?limit=1001", "?before=x", "?limit=1&limit=2", "?lines=1"],
        do: assert({400, _headers, _error} = ask(node, [], "/audit" <> wrong))

    # Of a write that was cut short the next start makes a line of its own.
    :ok = Peer.stop_application(node)
    File.write!(Path.join(Peer.folder(node), "audit.log"), ~s({"id":), [:append])
    {:ok, _started} = Peer.start_application(node)
    assert {[%{"id" => 7, "action" => "drain", "token" => nil} | ^kept], nil} = entries(node)
    {:ok, _function} = Peer.call(node, Tidepool, :deploy, [FaultVersion.module(1), [name: "shop-b"]])
    assert {[%{"id" => 8, "name" => "shop-b", "token" => "elixir"}, %{"id" => 7} | _more], nil} = entries(node)
  end

  test "what is kept is bounded, and goes on over the end of a file" do
    node = Peer.start!(server: true, token: @own)
    folder = Peer.folder(node)
    :ok = Peer.stop_application(node)

    # All files full, and what is in the oldest can be told from the rest.
    for {name, number} <- Audit.files() |> Enum.reverse() |> Enum.with_index(1) do
      line = ~s({"id":#{number},"at":#{number},"action":"deploy","name":"#{String.duplicate("x", 5_000)}"}\n)
      File.write!(Path.join(folder, name), String.duplicate(line, div(4_200_000, byte_size(line))))
    end

    {:ok, _started} = Peer.start_application(node)
    for number <- 1..3, do: :ok = Peer.call(node, Audit, :note, [:deploy, "f#{number}", number, {nil, nil}])
    sizes = for name <- Audit.files(), {:ok, stat} <- [File.stat(Path.join(folder, name))], do: stat.size
    assert length(sizes) == 16 and Enum.sum(sizes) < 64_000_000
    {kept, nil} = entries(node, "?limit=1000")
    assert Enum.map(kept, & &1["id"]) == [19, 18, 17] ++ Enum.to_list(16..2)
    assert Enum.map(Enum.take(kept, 3), & &1["name"]) == ["f3", "f2", "f1"]
  end

  test "entries are found by name, and by when they were made" do
    node = Peer.start!(server: true, token: @own)

    for name <- ["shop-a", "shop-b", "shop", ~s(a"b\\), nil],
        do: Peer.call(node, Audit, :note, [:deploy, name, 1, {nil, nil}])

    names = fn query -> for(entry <- node |> entries(query) |> elem(0), do: entry["name"]) end
    assert names.("?name=shop") == ["shop"]
    assert names.("?name=shop-*") == ["shop-b", "shop-a"]
    assert names.("?name=shop-*&limit=1") == ["shop-b"]
    assert names.("?name=#{URI.encode_www_form(~s(a"b\\))}") == [~s(a"b\\)]
    assert names.("?name=none") == []
    now = System.os_time(:second)
    assert length(names.("?since=#{now - 60}")) == 5
    assert names.("?since=#{now + 600}") == []
  end

  test "who signs in, who fails to, and who signs out is kept, and no flood of that writes over all else" do
    node = Peer.start!(server: true, token: @own)
    {:ok, _token, secret} = Peer.call(node, Tidepool.Tokens, :make, [[name: "ci", scopes: ["read"]]])
    session = Peer.url(node, "/session")
    {201, headers, %{"key" => key}} = curl_url(session, ["-X", "POST", "-H", "authorization: Bearer #{secret}"])
    [cookie | _attributes] = String.split(headers["set-cookie"], ";")
    page = ["-H", "x-tidepool: #{key}", "-H", "sec-fetch-site: same-origin"]
    assert {200, _headers, _status} = curl_url(session, ["-X", "DELETE", "-b", cookie | page])
    assert {401, _headers, _error} = curl_url(session, ["-X", "POST", "-H", "authorization: Bearer wrong"])

    # The edge tells of what it refuses when it has answered.
    eventually(fn ->
      kept = for entry <- node |> entries() |> elem(0), do: {entry["action"], entry["token"]}
      kept == [{"sign_in_failed", nil}, {"signed_out", "ci"}, {"signed_in", "ci"}, {"token_made", "elixir"}]
    end)

    {[%{"id" => before} | _more], nil} = entries(node)
    for _time <- 1..20, do: curl_url(session, ["-X", "POST", "-H", "authorization: Bearer wrong"])

    for number <- 1..200,
        do: Peer.call(node, Tidepool.Log, :changed, [:signed_in, nil, {{:token, "ci", <<0::256>>}, "a:#{number}"}])

    for number <- 1..200,
        do: Peer.call(node, Tidepool.Log, :refused_at_edge, ["POST /session", "unauthorized", "a:#{number}", 0])

    {[%{"id" => then} | _more], _next} = entries(node)
    # An hour may have ended meanwhile.
    assert (then - before) in 110..240

    for number <- 1..200,
        action <- [:actor_deleted, :recording_deleted],
        do: Peer.call(node, Tidepool.Log, :changed, [action, "a/#{number}", :elixir])

    {[%{"id" => last} | _more], _next} = entries(node)
    assert (last - then) in 120..240
  end

  test "programs that are started, killed and upgraded are kept with the function that they are of" do
    node = Peer.start!(server: true, token: @own)
    wasm = guest("lunatic", "example_tcp_echo_server")
    {:ok, _function} = Peer.call(node, Tidepool, :deploy, [wasm, [name: "echo", net: ["*"]]])
    assert {201, _headers, %{"id" => id}} = ask(node, ["-X", "POST"], "/processes/echo")
    kept = for entry <- node |> entries() |> elem(0), do: {entry["action"], entry["name"], entry["token"]}
    assert {"process_started", "echo", "TIDEPOOL_TOKEN"} = hd(kept)

    if id do
      {status, _headers, _answer} = ask(node, ["-X", "DELETE"], "/processes/#{id}")

      if status == 200,
        do: assert({[%{"action" => "process_killed", "name" => "echo " <> ^id} | _], nil} = entries(node))
    end
  end

  test "an actor that is deleted is kept with its class, for those who see that" do
    node = Peer.start!(server: true, token: @own)

    for class <- ["shop/ledger", "ledger"] do
      {:ok, _class} = Peer.call(node, Tidepool, :deploy, [guest("rust", "ledger"), [name: class, actor: true]])
      {:ok, "1"} = Peer.call(node, Tidepool.Actor, :call, [class, "Ada L", "add", "1"])
      path = "/actors/#{String.replace(class, "/", "%2F")}/Ada%20L"
      assert {200, _headers, %{"deleted" => _actor}} = ask(node, ["-X", "DELETE"], path)
      assert {[%{"action" => "actor_deleted", "name" => name, "token" => "TIDEPOOL_TOKEN"} | _], nil} = entries(node)
      assert name == "#{class} Ada L"
    end

    made = Tidepool.Native.json_encode(%{name: "shop", scopes: ["admin"], functions: "shop/*"})
    {201, _headers, %{"secret" => secret}} = ask(node, ["--data-binary", made], "/tokens")

    {200, _headers, %{"entries" => seen}} =
      curl_url(Peer.url(node, "/audit"), ["-H", "authorization: Bearer #{secret}"])

    assert ["shop/ledger Ada L"] == for(%{"action" => "actor_deleted", "name" => name} <- seen, do: name)
  end

  test "requests for the audit of one namespace leave others as many places" do
    node = Peer.start!(server: true, token: @own)

    [shop, blog] =
      for namespace <- ["shop", "blog"] do
        made = Tidepool.Native.json_encode(%{name: namespace, scopes: ["admin"], functions: "#{namespace}/*"})
        assert {201, _headers, %{"secret" => secret}} = ask(node, ["--data-binary", made], "/tokens")
        secret
      end

    # Requests that take their time.
    hold = """
    for _request <- 1..2 do
      asker = self()
      pid = spawn(fn -> send(asker, TidepoolWeb.Resource.Shares.take(:audit, "shop", 4)); Process.sleep(:infinity) end)
      :ok = receive(do: (answer -> answer))
      pid
    end
    """

    {held, _binding} = Peer.call(node, Code, :eval_string, [hold])
    assert {503, _headers, %{"error" => %{"reason" => "overloaded"}}} = ask(node, [], "/audit", shop)
    assert {200, _headers, %{"entries" => []}} = ask(node, [], "/audit", blog)
    for pid <- held, do: Peer.call(node, Process, :exit, [pid, :kill])
    eventually(fn -> match?({200, _headers, _audit}, ask(node, [], "/audit", shop)) end)
  end
end
