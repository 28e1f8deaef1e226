defmodule TidepoolWeb.NamespacesTest do
  # Functions of several applications on one node, over HTTP: their names, and who sees what.
  use Tidepool.Case, async: true

  alias Tidepool.{EventClient, FaultVersion, Peer, Tokens}
  alias TidepoolWeb.{Listener, Router, Topics}

  doctest TidepoolWeb.Resource.Namespace

  @own "s3cret-token"

  defp encoded(name), do: URI.encode(name, &URI.char_unreserved?/1)

  describe "a name with a namespace" do
    setup do
      namespace = unique_name("shop")
      {:ok, namespace: namespace, name: "#{namespace}/cart", path: "#{namespace}%2Fcart"}
    end

    test "is deployed, called, listed, shown, rolled back and removed", %{namespace: namespace, name: name, path: path} do
      on_exit(fn -> remove!(name) end)

      assert {201, _headers, %{"name" => ^name, "operation" => "cart"}} =
               curl_deploy(FaultVersion.module(1), name: name)

      assert {201, _headers, %{"version" => 2}} = curl_deploy(FaultVersion.module(2), name: name)

      for call <- ["/call/#{path}", "/call/#{path}/any", "/call/#{name}", "/call/#{name}/any"] do
        assert {200, _headers, reply} = curl(call)
        assert FaultVersion.of(reply) == 2, call
        assert {200, _headers, reply} = curl(call, ["--data-binary", "payload"])
        assert FaultVersion.of(reply) == 2, call
      end

      assert {:ok, _reply} = Tidepool.call(name, nil)
      assert {200, _headers, %{"functions" => [%{"name" => ^name}]}} = curl("/functions?namespace=#{namespace}")
      assert {200, _headers, %{"functions" => [%{"name" => ^name}]}} = curl("/figures?namespace=#{namespace}")
      assert {200, _headers, %{"functions" => []}} = curl("/functions?namespace=#{namespace}x")
      assert {200, _headers, %{"name" => ^name}} = curl("/functions/#{path}")
      assert {200, _headers, %{"name" => ^name, "calls" => 9}} = curl("/figures/#{path}")
      assert {200, _headers, %{"versions" => [_newest, _first]}} = curl("/functions/#{path}/versions")
      assert {200, %{"content-disposition" => file}, _wasm} = curl("/functions/#{path}/wasm")
      assert file == ~s(attachment; filename="#{namespace}-cart.wasm")

      assert {201, _headers, %{"version" => 3}} = curl("/functions/#{path}/rollback", ["-X", "POST"])
      assert {200, _headers, reply} = curl("/call/#{path}")
      assert FaultVersion.of(reply) == 1

      assert {200, _headers, %{"removed" => ^name}} = curl("/functions/#{path}", ["-X", "DELETE"])
      assert {404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = curl("/call/#{path}")
    end

    test "gives way on plain paths to a function that is called like the namespace, and never when it is encoded",
         context do
      on_exit(fn -> Enum.each([context.name, context.namespace], &remove!/1) end)
      assert {201, _headers, _function} = curl_deploy(FaultVersion.module(1), name: context.name)
      assert {201, _headers, _function} = curl_deploy(FaultVersion.module(2), name: context.namespace)

      for {path, version} <- [{context.name, 2}, {context.path, 1}, {"#{context.name}/any", 1}] do
        assert {200, _headers, reply} = curl("/call/#{path}")
        assert FaultVersion.of(reply) == version, path
      end
    end

    test "is that of a class of actors, and of a program", %{namespace: namespace} do
      [class, program] = for name <- ["ledger", "puppet"], do: "#{namespace}/#{name}"
      on_exit(fn -> Enum.each([class, program], &remove!/1) end)
      {201, _headers, _function} = curl_deploy(guest("rust", "ledger"), name: class, actor: "true")
      actor = "/actors/#{encoded(class)}/alice"
      assert {200, _headers, "2"} = curl(actor <> "/add", ["--data-binary", "2"])
      assert {200, _headers, %{"actors" => [%{"name" => "alice"}]}} = curl("/actors/#{encoded(class)}")
      assert {200, _headers, %{"name" => "alice"}} = curl(actor)
      assert {200, _headers, %{"deleted" => %{"class" => ^class}}} = curl(actor, ["-X", "DELETE"])

      {201, _headers, _function} = curl_deploy(guest("lunatic", "puppet"), name: program)
      assert {201, _headers, %{"id" => id}} = curl("/processes/#{encoded(program)}", ["-X", "POST"])
      assert {200, _headers, %{"processes" => [%{"id" => ^id}]}} = curl("/processes?namespace=#{namespace}")
      assert {200, _headers, %{"processes" => []}} = curl("/processes?namespace=#{namespace}x")
      assert {200, _headers, _killed} = curl("/processes/#{id}", ["-X", "DELETE"])
    end

    test "is that of what its function printed and failed with, by list and by topic", %{name: name, path: path} do
      on_exit(fn -> remove!(name) end)
      assert {201, _headers, _function} = curl_deploy(guest("rust", "hello_world"), name: name)
      assert {:ok, ""} = Tidepool.call(name, "log", "a line")
      assert {:error, _error} = Tidepool.call(name, "fail")
      assert {200, _headers, %{"name" => ^name, "lines" => [line]}} = curl("/functions/#{path}/logs")
      assert %{"function" => ^name, "text" => "a line"} = line
      assert {200, _headers, %{"name" => ^name, "failures" => [failure]}} = curl("/functions/#{path}/failures")
      assert %{"function" => ^name, "operation" => "fail", "reason" => "guest_error"} = failure

      for written <- [name, path] do
        topics = "/events?last=5&topics=logs:#{written},failures:#{written}"
        client = EventClient.connect(Listener.port(), [], topics)
        assert {%{"event" => "log", "data" => data}, client} = EventClient.next(client, ["log"])
        assert data == Map.delete(line, "position")
        assert {%{"event" => "failure", "data" => data}, client} = EventClient.next(client, ["failure"])
        assert data == Map.delete(failure, "position")
        EventClient.close(client)
      end
    end

    test "has one slash, between two names" do
      for name <- [
            "a/b/c",
            "a//b",
            "/a",
            "a/",
            "../a",
            "a/..",
            "./a",
            "a/.b",
            "a%2Fb",
            String.duplicate("a", 65) <> "/" <> String.duplicate("b", 64)
          ] do
        assert {400, _headers, %{"error" => error}} = curl_deploy(FaultVersion.module(1), name: name)
        assert %{"reason" => "invalid_option", "step" => "options"} = error
      end

      for path <- ["functions", "figures", "processes"], wrong <- ["a/b", "", "..", "-a"] do
        assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} = curl("/#{path}?namespace=#{wrong}")
        assert {400, _headers, %{"error" => %{"reason" => "unknown_field"}}} = curl("/#{path}?namespce=a")
      end
    end
  end

  describe "a token for a namespace, where nothing is open" do
    setup do
      node = Peer.start!(server: true, token: @own, calls: :token, reads: :token)

      for name <- ["shop/cart", "shopx/cart", "shop", "blog/post"] do
        {201, _headers, _function} =
          curl_deploy_url(Peer.url(node, "/deploy"), FaultVersion.module(1), [name: name], bearer(@own))
      end

      {:ok, node: node}
    end

    defp bearer(secret), do: ["-H", "authorization: Bearer #{secret}"]
    defp ask(node, path, secret, arguments \\ []), do: curl_url(Peer.url(node, path), bearer(secret) ++ arguments)

    defp token(node, name, scopes, functions, grants \\ nil) do
      asked = %{name: name, scopes: scopes, functions: functions, grants: grants}
      made = asked |> Map.reject(fn {_key, value} -> value == nil end) |> Tidepool.Native.json_encode()
      {201, _headers, %{"secret" => secret}} = ask(node, "/tokens", @own, ["--data-binary", made])
      secret
    end

    # What the token is told of by each path: names, or a status.
    @seen %{
      "/functions" => ["shop/cart"],
      "/functions/:function" => {200, 403},
      "/functions/:function/wasm" => {200, 403},
      "/functions/:function/versions" => {200, 403},
      "/functions/:function/logs" => {200, 403},
      "/functions/:function/failures" => {200, 403},
      "/figures" => ["shop/cart"],
      "/figures/:function" => {200, 403},
      "/processes" => ["shop/nap"],
      "/processes/:process" => {200, 404},
      "/actors/:class" => {200, 403},
      "/actors/:class/:name" => {404, 403},
      "/audit" => ["shop/cart", "shop/nap"],
      "/recordings" => [],
      "/recordings/:id" => 403,
      "/events" => ["shop/cart"],
      # A stream: what it tells is in mcp/listening_test.exs.
      "/mcp" => :stream,
      "/cluster" => 403,
      "/members" => 403,
      "/metrics" => 403,
      "/node" => 403,
      "/tokens" => 403,
      # These tell of no function.
      "/deploy/options" => 200,
      "/openapi.json" => 200,
      "/session" => 200,
      "/cli/tidepool" => :public,
      "/" => 302,
      "/ui" => 302,
      "/ui/" => 200,
      "/ui/:file" => :public,
      "/ui/:folder/:file" => :public,
      "/docs" => 302,
      "/docs/" => :public,
      "/docs/:file" => :public,
      "/docs/:folder/:file" => :public
    }

    test "sees its functions, and no others, by each path that can be read", %{node: node} do
      for name <- ["shop/nap", "blog/nap"] do
        {201, _headers, _function} =
          curl_deploy_url(Peer.url(node, "/deploy"), guest("c", "nap"), [name: name, engine: "dense"], bearer(@own))

        sleep = ["-X", "POST", "--data-binary", ~s({"args": ["600000"]})]
        {201, _headers, _process} = ask(node, "/processes/#{encoded(name)}", @own, sleep)
      end

      {200, _headers, %{"processes" => processes}} = ask(node, "/processes", @own)
      id = fn function -> for(%{"function" => ^function, "id" => id} <- processes, do: id) |> hd() end
      secret = token(node, "shop", ["admin"], "shop/*")

      for %{method: "GET", path: path} <- Router.endpoints() do
        case Map.fetch!(@seen, path) do
          {own, other} ->
            for {status, name} <- [{own, "shop/nap"}, {other, "blog/nap"}, {other, "shop"}, {other, "shopx/cart"}] do
              process = id.(if name == "shop/nap", do: name, else: "blog/nap")
              path = path |> String.replace(":process", process) |> String.replace(~r/:(function|class)/, encoded(name))
              path = String.replace(path, ":name", "nobody")
              assert {path, status} == {path, elem(ask(node, path, secret), 0)}
            end

          names when is_list(names) and path != "/events" ->
            assert {200, _headers, told} = ask(node, path, secret)
            list = for {_key, list} when is_list(list) <- told, one <- list, do: one
            seen = for one <- list, uniq: true, do: one["function"] || one["name"]
            assert {path, Enum.sort(seen) -- ["shop/nap"]} == {path, names -- ["shop/nap"]}
            assert "shop/nap" in names == path in ["/processes", "/audit"]

          status when is_integer(status) ->
            assert {path, status} == {path, elem(ask(node, path, secret), 0)}

          _others ->
            :ok
        end

        # Without a token there is what tells of no function.
        unless @seen[path] in [200, 302, :public] or path == "/tokens" do
          path = String.replace(path, ~r/:\w+/, "x")
          assert {path, 401} == {path, elem(curl_url(Peer.url(node, path)), 0)}
        end
      end
    end

    test "upgrades and kills its own processes, and is told of no other's", %{node: node} do
      [own, other] =
        for name <- ["shop/nap", "blog/nap"] do
          {201, _headers, _function} =
            curl_deploy_url(Peer.url(node, "/deploy"), guest("c", "nap"), [name: name, engine: "dense"], bearer(@own))

          sleep = ["-X", "POST", "--data-binary", ~s({"args": ["600000"]})]
          {201, _headers, %{"id" => id}} = ask(node, "/processes/#{encoded(name)}", @own, sleep)
          id
        end

      [deploys, reads] = for scope <- ["deploy", "read"], do: token(node, scope, [scope], "shop/*")
      # A WASI program has no upgrade, which its owner is told.
      changes = [{"POST", "/upgrade", 409}, {"DELETE", "", 200}]

      for {method, rest, done} <- changes do
        change = &elem(ask(node, "/processes/#{&1}#{rest}", &2, ["-X", method]), 0)
        assert {method, change.(own, reads)} == {method, 403}
        assert {method, change.(other, deploys)} == {method, 404}
        assert {method, change.(own, deploys)} == {method, done}
      end

      assert {200, _headers, _process} = ask(node, "/processes/#{other}", @own)
      assert {404, _headers, _error} = ask(node, "/processes/#{own}", @own)
    end

    test "is told of its own events alone", %{node: node} do
      secret = token(node, "shop", ["read"], "shop/*")
      port = URI.parse(Peer.url(node, "/")).port
      client = EventClient.connect(port, [{"authorization", "Bearer #{secret}"}])
      assert client.status == 200
      for name <- ["blog/post", "shop", "shop/cart", "shopx/cart"], do: :ok = Peer.call(node, Tidepool, :remove, [name])
      {:ok, _function} = Peer.call(node, Tidepool, :deploy, [FaultVersion.module(1), [name: "shop/new"]])

      assert {%{"event" => "removed", "data" => %{"name" => "shop/cart"}}, client} =
               EventClient.next(client, ~w(deployed removed))

      assert {%{"event" => "deployed", "data" => %{"name" => "shop/new"}}, client} =
               EventClient.next(client, ~w(deployed removed))

      EventClient.close(client)
    end

    test "has no more streams than it leaves to others, and its namespace's tokens no more together", %{node: node} do
      [shop, sister] = for name <- ["shop", "sister"], do: token(node, name, ["read"], "shop/*")
      blog = token(node, "blog", ["read"], "blog/*")
      clients = for _place <- 1..16, secret <- [shop, sister], do: stream(node, "functions", secret)
      assert Enum.map(clients, & &1.status) == List.duplicate(200, 32)

      for secret <- [shop, sister] do
        refused = stream(node, "functions", secret)
        assert {refused.status, refused.headers["retry-after"]} == {503, "1"}
      end

      assert %{status: 200} = other = stream(node, "functions", blog)
      Enum.each([other | clients], &EventClient.close/1)

      again =
        eventually(fn ->
          with %{status: 200} = client <- stream(node, "functions", shop), do: client, else: (_full -> nil)
        end)

      EventClient.close(again)
    end

    test "ends at the next ping once its token is revoked", %{node: node} do
      secret = token(node, "passing", ["read"], "shop/*")
      port = URI.parse(Peer.url(node, "/")).port
      client = EventClient.connect(port, [{"authorization", "Bearer #{secret}"}])
      assert client.status == 200
      url = Peer.url(node, "/tokens/passing")
      {200, _headers, _revoked} = curl_url(url, ["-X", "DELETE", "-H", "authorization: Bearer #{@own}"])
      assert :done = over(client)
    end

    # Long before the next ping, which comes after ten seconds.
    test "tells nothing once its token is revoked, by topics or without", %{node: node} do
      secret = token(node, "passing", ["read"], "shop/*")
      headers = [{"authorization", "Bearer #{secret}"}]
      port = URI.parse(Peer.url(node, "/")).port
      clients = for path <- ["/events", "/events?topics=functions"], do: EventClient.connect(port, headers, path)
      url = Peer.url(node, "/tokens/passing")
      {200, _headers, _revoked} = curl_url(url, ["-X", "DELETE", "-H", "authorization: Bearer #{@own}"])
      {:ok, _function} = Peer.call(node, Tidepool, :deploy, [FaultVersion.module(1), [name: "shop/secret"]])
      for client <- clients, do: assert(told(client) == [])
    end

    defp told(client) do
      case EventClient.next(client) do
        {:done, _client} -> []
        {%{"event" => event}, client} -> [event | told(client)]
        {_comment, client} -> told(client)
      end
    end

    defp over(client) do
      case EventClient.next(client) do
        {:done, _client} -> :done
        {_event, client} -> over(client)
      end
    end

    defp stream(node, topics, secret) do
      headers = if secret, do: [{"authorization", "Bearer #{secret}"}], else: []
      EventClient.connect(URI.parse(Peer.url(node, "/")).port, headers, "/events?topics=#{topics}")
    end

    test "reads topics of its functions, and those of all when it is for all", %{node: node} do
      shop = token(node, "shop", ["read"], "shop/*")
      shops = token(node, "shops", ["read"], "shop*")
      all = token(node, "all", ["read"], "*")
      caller = token(node, "caller", ["call"], "shop/*")

      for {topics, statuses} <- [
            {"logs", [403, 403, 200, 403, 401]},
            {"failures", [403, 403, 200, 403, 401]},
            {"functions,figures,failures", [403, 403, 200, 403, 401]},
            {"logs:shop/cart,failures:shop%2Fcart", [200, 403, 200, 403, 401]},
            {"logs:shop", [403, 200, 200, 403, 401]},
            {"failures:shopx/cart", [403, 403, 200, 403, 401]},
            {"logs:shop/cart,logs:blog/post", [403, 403, 200, 403, 401]},
            {"functions,figures", [200, 200, 200, 403, 401]}
          ] do
        told =
          for secret <- [shop, shops, all, caller, nil] do
            client = stream(node, topics, secret)
            EventClient.close(client)
            client.status
          end

        assert {topics, told} == {topics, statuses}
      end
    end

    test "is told by topics of its own functions alone, until it is revoked", %{node: node} do
      figures = fn client ->
        {%{"event" => "figures", "data" => %{"functions" => functions}}, client} = EventClient.next(client, ["figures"])
        {for(function <- functions, do: function["name"]), client}
      end

      everything = stream(node, "functions,figures", token(node, "all", ["read"], "*"))
      assert {["blog/post", "shop", "shop/cart", "shopx/cart"], everything} = figures.(everything)
      EventClient.close(everything)

      secret = token(node, "shop", ["read"], "shop/*")
      client = stream(node, "functions,figures", secret)
      assert {["shop/cart"], client} = figures.(client)
      for name <- ["blog/post", "shop", "shop/cart", "shopx/cart"], do: :ok = Peer.call(node, Tidepool, :remove, [name])
      {:ok, _function} = Peer.call(node, Tidepool, :deploy, [FaultVersion.module(1), [name: "shop/new"]])

      for expected <- [{"removed", "shop/cart"}, {"deployed", "shop/new"}], reduce: client do
        client ->
          {%{"event" => event, "data" => %{"name" => name}}, client} = EventClient.next(client, ~w(deployed removed))
          assert {event, name} == expected
          client
      end

      EventClient.close(client)
      origin = {{:token, "shop", Tokens.sha256(secret)}, "127.0.0.1:1"}
      assert Peer.call(node, Topics, :permit, [[:functions, :figures], origin]) == :ok
      assert {200, _headers, _revoked} = ask(node, "/tokens/shop", @own, ["-X", "DELETE"])

      assert {:error, {401, _type, _reply_headers, _body}} =
               Peer.call(node, Topics, :permit, [[:functions, :figures], origin])
    end

    test "is told that a route is taken, and by whom when that is one of its functions", %{node: node} do
      for namespace <- ["shop", "blog"],
          do: {201, _headers, _function} = site(node, "#{namespace}/pages", "#{namespace}.example/...", @own)

      secret = token(node, "shop", ["admin"], "shop/*")
      assert {409, _headers, %{"error" => error}} = site(node, "shop/more", "blog.example/...", secret)
      assert %{"reason" => "route_taken", "route" => "blog.example/...", "owner" => nil} = error
      refute error["message"] =~ "blog/"

      for {namespace, secret} <- [{"shop", secret}, {"blog", @own}] do
        owner = "#{namespace}/pages"
        assert {409, _headers, %{"error" => error}} = site(node, "shop/more", "#{namespace}.example/...", secret)
        assert %{"reason" => "route_taken", "owner" => ^owner} = error
        assert error["message"] =~ owner
      end
    end

    test "has routes of its own hosts alone, where its grants say which these are", %{node: node} do
      {201, _headers, _function} = site(node, "blog/pages", "blog.example/...", @own)
      secret = token(node, "shop", ["admin"], "shop/*", ["route:shop.example/..."])
      assert {403, _headers, %{"error" => error}} = site(node, "shop/more", "blog.example/login", secret)
      assert %{"reason" => "forbidden", "grant" => "route:blog.example/login"} = error
      assert {201, _headers, _function} = site(node, "shop/more", "shop.example/login", secret)
    end

    defp site(node, name, route, secret) do
      fields = [name: name, route: route]
      curl_deploy_url(Peer.url(node, "/deploy"), guest("c", "http"), fields, bearer(secret))
    end

    test "calls, deploys and removes what is in it, however the path is written", %{node: node} do
      secret = token(node, "shop", ["call", "deploy"], "shop/*")
      assert {200, _headers, _reply} = ask(node, "/call/shop%2Fcart", secret)
      assert {200, _headers, _reply} = ask(node, "/call/shop/cart/any", secret)
      # The function that is called as the namespace is none of it.
      for path <- ["shop/cart", "shop", "shopx%2Fcart", "blog%2Fpost", "blog/post/any", "shop%2F..%2Fblog"],
          do: assert({path, 403} == {path, elem(ask(node, "/call/#{path}", secret), 0)})

      for {name, status} <- [{"shop/new", 201}, {"shop", 403}, {"shopx/new", 403}, {"blog/new", 403}] do
        assert {^status, _headers, _told} =
                 curl_deploy_url(Peer.url(node, "/deploy"), FaultVersion.module(2), [name: name], bearer(secret))
      end

      assert {403, _headers, _error} = ask(node, "/functions/blog%2Fpost", secret, ["-X", "DELETE"])
      assert {200, _headers, _removed} = ask(node, "/functions/shop%2Fnew", secret, ["-X", "DELETE"])
    end
  end
end
