defmodule TidepoolWeb.TokensTest do
  # Tokens beside the node's own, over HTTP: what each may do, who makes them, and how they end.
  use Tidepool.Case, async: true

  import Tidepool.TestCluster, only: [start!: 2, part: 2, heal: 2]

  alias Tidepool.{Cluster, FaultVersion, Peer}
  alias Tidepool.Tokens.Token

  @own "s3cret-token"

  defp bearer(secret), do: ["-H", "authorization: Bearer #{secret}"]
  defp ask(peer, method, path, secret), do: curl_url(Peer.url(peer, path), ["-X", method | bearer(secret)])

  defp status(peer, method, path, secret), do: peer |> ask(method, path, secret) |> elem(0)

  defp make(peer, options, secret \\ @own),
    do: curl_url(Peer.url(peer, "/tokens"), ["--data-binary", Tidepool.Native.json_encode(options) | bearer(secret)])

  defp make!(peer, name, scopes, functions \\ "*") do
    assert {201, headers, made} = make(peer, %{name: name, scopes: scopes, functions: functions})
    assert %{"name" => ^name, "made_by" => "TIDEPOOL_TOKEN", "secret" => "tidepool_" <> _random} = made
    assert headers["cache-control"] == "no-store"
    made["secret"]
  end

  defp deploy(peer, name, secret, version \\ 1),
    do: curl_deploy_url(Peer.url(peer, "/deploy"), FaultVersion.module(version), [name: name], bearer(secret))

  test "a token for some functions deploys those, gets 403 elsewhere, and once revoked 401 on every node" do
    [a, b] = nodes = start!(2, server: true, token: @own)
    for node <- nodes, do: eventually(fn -> length(Peer.call(node, Cluster.Links, :linked, [])) == 1 end, 30_000)
    secret = make!(a, "ci", ["deploy"], "shop-*")

    for node <- nodes do
      eventually(fn -> match?({status, _, _} when status in [200, 201], deploy(node, "shop-cart", secret)) end)
      assert {403, _headers, %{"error" => error}} = deploy(node, "other", secret)
      assert %{"reason" => "forbidden", "token" => "ci", "scope" => "deploy", "function" => "other"} = error

      # What is a name on the way and none in the end, or the other way round.
      for path <- ["other", "Shop-cart", "shop", "xshop-cart", "x%2Fshop-cart", "%00shop-cart", "..%2Fshop-cart"],
          do: assert(status(node, "DELETE", "/functions/#{path}", secret) == 403, path)

      assert status(node, "DELETE", "/functions/%73hop-nowhere", secret) == 404
      assert status(node, "POST", "/functions/other/rollback", secret) == 403
      assert status(node, "GET", "/functions/shop-cart/wasm", secret) == 403
      assert status(node, "DELETE", "/cluster/nodes/shop-cart", secret) == 403
      assert status(node, "DELETE", "/processes/1.1", secret) == 404

      for {method, path} <- [{"GET", "/tokens"}, {"DELETE", "/tokens/ci"}],
          do: assert(status(node, method, path, secret) == 403)

      assert {403, _headers, _error} = make(node, %{name: "more", scopes: ["admin"]}, secret)
      # Which of two a proxy has looked at is not known.
      twice = ["-X", "DELETE"] ++ bearer(secret) ++ bearer(@own)
      assert {401, _headers, _error} = curl_url(Peer.url(node, "/functions/other"), twice)
    end

    assert {201, _headers, _function} = deploy(b, "shop-cart", secret, 2)
    assert status(a, "POST", "/functions/shop-cart/rollback", secret) in [201, 200]
    assert status(b, "DELETE", "/tokens/ci", @own) == 200
    for node <- nodes, do: eventually(fn -> status(node, "DELETE", "/functions/shop-cart", secret) == 401 end)
    assert {404, _headers, %{"error" => %{"reason" => "unknown_token"}}} = ask(a, "DELETE", "/tokens/ci", @own)

    # A node that is parted goes on with what it knew until it is back, and a restart brings nothing back.
    secret = make!(a, "ci", ["call", "deploy"])
    eventually(fn -> status(b, "DELETE", "/functions/nowhere", secret) == 404 end)
    part([a], [b])
    assert status(a, "DELETE", "/tokens/ci", @own) == 200
    assert status(a, "DELETE", "/functions/nowhere", secret) == 401
    assert status(b, "DELETE", "/functions/nowhere", secret) == 404
    heal([a], [b])
    eventually(fn -> status(b, "DELETE", "/functions/nowhere", secret) == 401 end, 60_000)
    :ok = Peer.stop_application(b)
    {:ok, _started} = Peer.start_application(b)
    assert status(b, "DELETE", "/functions/nowhere", secret) == 401
  end

  test "tokens are made by admins of all functions alone, for no longer than themselves, and survive a restart" do
    node = Peer.start!(server: true, token: @own)
    admin = make!(node, "root", ["admin"])
    shops = make!(node, "shops", ["admin"], "shop-*")
    deployer = make!(node, "deployer", ["deploy", "call", "read"])

    for secret <- [shops, deployer],
        do: assert({403, _headers, _error} = make(node, %{name: "more", scopes: ["read"]}, secret))

    year = 31_536_000
    for_longer = %{name: "longer", scopes: ["admin"], expires_in: 2 * year}
    assert {403, _headers, %{"error" => %{"reason" => "forbidden"}}} = make(node, for_longer, admin)
    assert {201, _headers, %{"made_by" => "root"}} = make(node, %{name: "child", scopes: ["admin"]}, admin)
    assert {409, _headers, %{"error" => %{"reason" => "token_exists"}}} = make(node, %{name: "child", scopes: ["read"]})

    for wrong <- [
          %{name: "TIDEPOOL_TOKEN", scopes: ["read"]},
          %{name: "elixir", scopes: ["read"]},
          %{name: "a/b", scopes: ["read"]},
          %{name: "", scopes: ["read"]},
          %{name: "wrong", scopes: []},
          %{name: "wrong", scopes: ["root"]},
          %{name: "wrong", scopes: "admin"},
          %{name: "wrong", scopes: ["read"], functions: "*shop"},
          %{name: "wrong", scopes: ["read"], functions: ""},
          %{name: "wrong", scopes: ["read"], expires_in: 0},
          %{name: "wrong", scopes: ["read"], expires_in: -1},
          %{name: "wrong", scopes: ["read"], expires: 1},
          %{scopes: ["read"]},
          []
        ],
        do: assert({400, _headers, _error} = make(node, wrong), inspect(wrong))

    too_much = ["shop/prices/get", "host:shop", "net:tcp", "files:", "*", "net:dns"]

    for wrong <- ["*", [1], ["host:none"], ["net:dns", "net:dns"], too_much],
        do: assert({400, _headers, _error} = make(node, %{name: "wrong", scopes: ["deploy"], grants: wrong}))

    assert {200, _headers, %{"tokens" => tokens}} = ask(node, "GET", "/tokens", admin)
    assert Enum.map(tokens, & &1["name"]) == ["child", "deployer", "root", "shops"]
    refute Enum.any?(tokens, &(is_map_key(&1, "secret") or is_map_key(&1, "hash")))

    {201, _headers, %{"secret" => brief}} = make(node, %{name: "brief", scopes: ["deploy"], expires_in: 1})
    eventually(fn -> status(node, "DELETE", "/functions/x", brief) == 401 end, 10_000)

    :ok = Peer.stop_application(node)
    {:ok, _started} = Peer.start_application(node)
    assert status(node, "DELETE", "/functions/nowhere", deployer) == 404
    assert status(node, "GET", "/tokens", deployer) == 403
  end

  test "a token is let in on the routes of its scope, for its functions, and on no other" do
    node = Peer.start!(server: true, token: @own)

    for scope <- ["read", "call", "deploy"], functions <- ["*", "shop-*"] do
      name = "#{scope}-#{String.trim_trailing(functions, "*")}"
      secret = make!(node, name, [scope], functions)

      for row <- TidepoolWeb.Router.endpoints(), row.guarded, of <- ["shop-x", "other"] do
        path = row.path |> String.replace(~r/:(function|class)/, of) |> String.replace(~r/:\w+/, "x")
        about = if row.path =~ ~r/:(function|class)/, do: of, else: :server
        covered? = functions == "*" or about == "shop-x" or row.selects
        let_in? = row.scope == nil or (row.scope == scope and covered?)
        assert status(node, row.method, path, secret) != 403 == let_in?, "#{name} #{row.method} #{path}"
      end
    end
  end

  test "a deployer grants its functions what the token allows beyond what all have, and an admin all that the node does" do
    node =
      Peer.start!(server: true, token: @own, host: :none, files: [config: {Tidepool.Files.Folder, path: tmp_folder!()}])

    # A program, which may have folders.
    wasm = guest("c", "upper")
    plain = make!(node, "plain", ["deploy"], "shop-*")
    admin = make!(node, "admin", ["admin"])
    net = ["net:tls:connect:*.shop.example:443", "net:http:*.shop.example:80"]
    grants = ["host:shop/prices/*", "files:config" | net]
    assert {201, _headers, made} = make(node, %{name: "some", scopes: ["deploy"], functions: "shop-*", grants: grants})
    assert %{"secret" => some, "grants" => ^grants} = made

    given = fn secret, form ->
      {status, _headers, answer} =
        curl_deploy_url(Peer.url(node, "/deploy"), wasm, [{:name, "shop-a"} | form], bearer(secret))

      if status in [200, 201], do: :deployed, else: {status, answer["error"]["reason"], answer["error"]["grant"]}
    end

    assert given.(plain, []) == :deployed
    assert given.(plain, files: "/data=memory", host: "none") == :deployed

    for {form, grant} <- [
          {[host: "shop/prices/get"], "host:shop/prices/get"},
          {[host: "*"], "host:*"},
          {[net: "dns"], "net:dns"},
          {[files: "/etc/app=host:config"], "files:config"}
        ] do
      assert given.(plain, form) == {403, "forbidden", grant}
      assert given.(admin, form) == :deployed
      assert given.(@own, form) == :deployed
    end

    allowed = [
      [host: "shop/prices/get"],
      [host: "shop/prices/g*"],
      [net: "tls:connect:api.shop.example:443"],
      [net: "https:api.shop.example:443"],
      [net: "http:*.api.shop.example:80"],
      [files: "/etc/app=host:config"]
    ]

    for form <- allowed, do: assert(given.(some, form) == :deployed, inspect(form))

    for {form, grant} <- [
          {[host: "shop/*/get"], "host:shop/*/get"},
          {[host: "shop/prices/get", host: "redis/a/GET"], "host:redis/a/GET"},
          {[net: "tls:connect:*:443"], "net:tls:connect:*:443"},
          {[net: "https:shop.example:443"], "net:https:shop.example:443"},
          {[net: "http:10.0.0.1:80"], "net:http:10.0.0.1:80"},
          {[net: "tcp:connect:10.0.0.1:80"], "net:tcp:connect:10.0.0.1:80"},
          {[files: "/etc/app=host:config:rw"], "files:config:rw"}
        ],
        do: assert(given.(some, form) == {403, "forbidden", grant})

    # What somebody else has granted is not had by going back to it.
    assert given.(@own, net: "dns") == :deployed
    assert given.(@own, []) == :deployed

    assert {403, _headers, %{"error" => %{"grant" => "net:dns"}}} =
             ask(node, "POST", "/functions/shop-a/rollback", some)

    assert status(node, "POST", "/functions/shop-a/rollback", @own) == 201
  end

  test "tokens of nodes that know of no bounds grant what they did, and so do those of a file before" do
    node = Peer.start!(server: true, token: @own)
    secret = "a secret of an old token"

    old = %{
      Token.named_after(token(name: "old", hash: :crypto.hash(:sha256, secret), scopes: ["deploy"]), nil)
      | functions: "shop-*"
    }

    old = Map.delete(old, :grants)
    Peer.call(node, :erlang, :send, [Tidepool.Tokens, {:tidepool_tokens, 1, :a@b, {:some, [old]}}])
    eventually(fn -> status(node, "DELETE", "/functions/shop-x", secret) == 404 end)
    net = [name: "shop-a", net: "dns"]
    assert {201, _, _} = curl_deploy_url(Peer.url(node, "/deploy"), FaultVersion.module(1), net, bearer(secret))

    :ok = Peer.stop_application(node)
    path = Path.join(Peer.folder(node), "tokens")
    <<1, _crc::32, bytes::binary>> = File.read!(path)
    bytes = bytes |> :erlang.binary_to_term() |> Enum.map(&Map.delete(&1, :grants)) |> :erlang.term_to_binary()
    File.write!(path, [1, <<:erlang.crc32(bytes)::32>>, bytes])
    {:ok, _started} = Peer.start_application(node)
    assert {200, _headers, %{"tokens" => [%{"name" => "old", "grants" => ["*"]}]}} = ask(node, "GET", "/tokens", @own)
  end

  # The compiler takes its time, and the token is revoked meanwhile.
  test "what is not stored yet when its token is revoked is not deployed, nor what a later token of the name allows" do
    node = Peer.start!(server: true, token: @own)
    secret = make!(node, "ci", ["deploy"], "shop-*")
    origin = {{:token, "ci", :crypto.hash(:sha256, secret)}, "127.0.0.1:1"}
    deploy = fn -> Peer.call(node, Tidepool.Deploy, :run, [FaultVersion.module(1), [name: "shop-a"], origin]) end
    catalog = Peer.call(node, Process, :whereis, [Tidepool.Catalog])
    :ok = Peer.call(node, :sys, :suspend, [catalog])
    task = Task.async(deploy)

    eventually(
      fn -> match?({_, n} when n > 0, Peer.call(node, Process, :info, [catalog, :message_queue_len])) end,
      30_000
    )

    assert status(node, "DELETE", "/tokens/ci", @own) == 200
    make!(node, "ci", ["deploy"], "shop-*")
    :ok = Peer.call(node, :sys, :resume, [catalog])
    assert {:error, %{reason: :forbidden, details: %{token: "ci", step: :store}}} = Task.await(task, 60_000)
    assert Peer.call(node, Tidepool, :list, []) == []
  end

  test "what a token has made is revoked with it when that is asked for, and is named when it is not" do
    node = Peer.start!(server: true, token: @own)
    root = make!(node, "root", ["admin"])
    {201, _, %{"secret" => child}} = make(node, %{name: "child", scopes: ["admin"]}, root)
    {201, _, %{"secret" => grandchild}} = make(node, %{name: "grandchild", scopes: ["read"]}, child)
    other = make!(node, "other", ["read"])

    assert {200, _headers, told} = ask(node, "DELETE", "/tokens/root", @own)
    assert %{"revoked" => "root", "also" => [], "left" => ["child", "grandchild"]} = told
    assert status(node, "GET", "/tokens", root) == 401
    assert status(node, "GET", "/tokens", child) == 200

    {201, _, %{"secret" => root}} = make(node, %{name: "root", scopes: ["admin"]})
    assert {400, _headers, _error} = ask(node, "DELETE", "/tokens/root?childs=true", @own)
    assert {400, _headers, _error} = ask(node, "DELETE", "/tokens/root?children=yes", @own)
    assert {200, _headers, told} = ask(node, "DELETE", "/tokens/root?children=true", @own)
    assert %{"revoked" => "root", "also" => ["child", "grandchild"], "left" => []} = told
    for secret <- [root, child, grandchild], do: assert(status(node, "GET", "/functions/x/wasm", secret) == 401)
    assert status(node, "GET", "/functions/x/wasm", other) == 404
  end

  test "tokens that were revoked keep nobody from making one" do
    node = Peer.start!(server: true, token: @own)
    now = System.os_time(:second)

    revoked =
      for number <- 1..1_500 do
        hash = :crypto.hash(:sha256, "#{number}")
        token(name: "t#{number}", hash: hash, expires_at: now + 86_400, known_until: now + 86_400, revoked: true)
      end

    Peer.call(node, :erlang, :send, [Tidepool.Tokens, {:tidepool_tokens, 1, :a@b, {:some, revoked}}])
    assert Peer.call(node, Tidepool.Tokens, :list, []) == []
    make!(node, "after", ["read"])

    # As many as there may be at once, and of their names one is free again when it is revoked.
    good = for token <- Enum.take(revoked, 999), do: %{token | revoked: false, at: 6}
    Peer.call(node, :erlang, :send, [Tidepool.Tokens, {:tidepool_tokens, 1, :a@b, {:some, good}}])
    assert length(Peer.call(node, Tidepool.Tokens, :list, [])) == 1_000

    assert {409, _headers, %{"error" => %{"reason" => "too_many_tokens"}}} =
             make(node, %{name: "more", scopes: ["read"]})

    assert status(node, "DELETE", "/tokens/t1", @own) == 200
    make!(node, "more", ["read"])
  end

  test "closed calls take a token for calls, of that function" do
    node = Peer.start!(server: true, token: @own, calls: :token)
    assert {201, _headers, _function} = deploy(node, "shop-cart", @own)
    caller = make!(node, "caller", ["call"], "shop-*")
    deployer = make!(node, "deployer", ["deploy"])

    for method <- ["GET", "POST"] do
      for path <- ["/call/shop-cart", "/call/shop-cart/any"] do
        assert status(node, method, path, caller) == 200
        assert status(node, method, path, @own) == 200
        assert status(node, method, path, deployer) == 403
        assert {401, _headers, _error} = curl_url(Peer.url(node, path), ["-X", method])
      end

      assert status(node, method, "/call/other", caller) == 403
    end

    assert status(node, "DELETE", "/tokens/caller", @own) == 200
    assert status(node, "GET", "/call/shop-cart", caller) == 401
  end

  test "on a node without a token of its own there are no others" do
    node = Peer.start!(server: true)
    assert {409, _headers, %{"error" => %{"reason" => "no_token"}}} = make(node, %{name: "ci", scopes: ["read"]})
  end

  defp token(members) do
    token = %Token{
      name: "ci",
      hash: :crypto.hash(:sha256, "x"),
      scopes: ["read"],
      functions: "*",
      expires_at: 9_999_999_999,
      known_until: 9_999_999_999,
      made_at: 1,
      made_by: "TIDEPOOL_TOKEN",
      at: 5
    }

    struct!(token, members)
  end

  test "of two tokens of a name the later one counts everywhere, and what was revoked at the same moment is" do
    token = token([])
    tokens = [token, %{token | revoked: true}, %{token | at: 6}, %{token | hash: :crypto.hash(:sha256, "y")}]
    assert Enum.all?(tokens, &Token.valid?/1)
    refute Token.later?(token, token)
    assert Token.later?(%{token | revoked: true}, token)
    for one <- tokens, other <- tokens, one != other, do: assert(Token.later?(one, other) != Token.later?(other, one))

    for {key, wrong} <- [
          name: "a/b",
          hash: "x",
          scopes: ["root"],
          functions: "*x",
          expires_at: -1,
          at: nil,
          revoked: 1,
          grants: ["x"]
        ],
        do: refute(Token.valid?(Map.put(token, key, wrong)), "#{key}")

    assert Token.valid?(Token.upgrade(Map.delete(token, :grants)))
    for key <- Map.keys(token), key != :__struct__, do: refute(Token.valid?(Map.delete(token, key)), "#{key}")
    refute Token.valid?(%{token | known_until: token.expires_at - 1})
    refute Token.valid?(Map.from_struct(token))
  end

  test "a name whose token was revoked is known until that would have expired, however short its next one is" do
    node = Peer.start!(server: true, token: @own)
    old = make!(node, "ci", ["deploy"])
    [before] = Peer.call(node, Tidepool.Tokens, :list, [])
    assert {200, _headers, _revoked} = ask(node, "DELETE", "/tokens/ci", @own)
    assert {201, _headers, %{"secret" => new}} = make(node, %{name: "ci", scopes: ["deploy"], expires_in: 60})
    [known] = Peer.call(node, Tidepool.Tokens, :list, [])
    a_week_later = System.os_time(:second) + 604_800
    refute Token.live?(known, a_week_later)
    refute Token.over?(known, a_week_later)
    assert Token.over?(known, before.expires_at + 2 * 86_400)

    # A node that was away tells of the old one.
    Peer.call(node, :erlang, :send, [Tidepool.Tokens, {:tidepool_tokens, 1, :a@b, {:all, [before]}}])
    assert Peer.call(node, Tidepool.Tokens, :list, []) == [known]
    assert status(node, "DELETE", "/functions/nowhere", old) == 401
    assert status(node, "DELETE", "/functions/nowhere", new) == 404
  end

  test "a token is revoked at once even where the disk takes nothing, and that is told" do
    node = Peer.start!(server: true, token: @own)
    secret = make!(node, "ci", ["deploy"])
    # A folder that is not empty can't be replaced by a file.
    path = Path.join(Peer.folder(node), "tokens")
    File.rm!(path)
    File.mkdir_p!(Path.join(path, "in the way"))
    assert {507, _headers, %{"error" => %{"message" => message}}} = ask(node, "DELETE", "/tokens/ci", @own)
    assert message =~ "ci is revoked, but that could not be written down"
    assert status(node, "DELETE", "/functions/nowhere", secret) == 401
  end

  test "a file of tokens that was damaged is set aside, and tokens are refused rather than guessed" do
    node = Peer.start!(server: true, token: @own)
    secret = make!(node, "ci", ["deploy"])
    :ok = Peer.stop_application(node)
    path = Path.join(Peer.folder(node), "tokens")
    <<before::binary-size(20), byte, rest::binary>> = File.read!(path)
    File.write!(path, <<before::binary, Bitwise.bxor(byte, 1), rest::binary>>)
    {:ok, _started} = Peer.start_application(node)
    assert status(node, "DELETE", "/functions/nowhere", secret) == 401
    assert status(node, "DELETE", "/functions/nowhere", @own) == 404
    assert File.exists?(path <> ".damaged")
  end
end
