defmodule TidepoolWeb.ResourceTest do
  # What a module gets of the edge that is a resource, and what the edge keeps from it.
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, TestEdge}
  alias TidepoolWeb.{Reply, Resource, Router, Stream}

  defmodule Mirror do
    @behaviour Resource

    @impl true
    def routes do
      [
        {"GET", "/mirror/:a/:b", query: true, headers: ["x-wanted"]},
        {"GET", "/guarded", guarded: true},
        {"PUT", "/mirror/:a", body: {:whole, 1_000}},
        {"PUT", "/hash", body: {:pieces, 50_000_000}},
        {"PUT", "/echo", body: {:pieces, 50_000_000}},
        {"PUT", "/reads", body: {:pieces, 1_000}},
        {"GET", "/streams", query: true}
      ]
    end

    @impl true
    def serve("PUT", ["hash"], %{body: body}) do
      hash = hash(body, :crypto.hash_init(:sha256))
      {200, "text/x-hash", [{"x-hash", "sha256"}], Base.encode16(hash, case: :lower)}
    end

    def serve("PUT", ["echo"], %{body: body}), do: {:stream, 200, :bytes, [], &echo(&1, body)}

    def serve("PUT", ["reads"], %{body: body}) do
      send(:mirror_test, {:reading, self()})
      hash(body, :crypto.hash_init(:sha256))
      Reply.json(200, "read")
    end

    def serve("GET", ["streams"], %{query: [{"then", what}]}) do
      {:stream, 201, :text, [],
       fn stream ->
         :ok = Stream.write(stream, "begun")
         send(:mirror_test, {:streaming, self()})
         if what == "wait", do: wait(stream), else: write_on(stream)
       end}
    end

    def serve(_method, _path, request) do
      {by, _peer} = request.origin

      Reply.json(200, %{
        request
        | origin: by,
          query: Enum.map(request.query, &Tuple.to_list/1),
          headers: Map.new(request.headers)
      })
    end

    defp hash(body, state) do
      case Stream.read(body) do
        {:ok, data} -> hash(body, :crypto.hash_update(state, data))
        :done -> :crypto.hash_final(state)
      end
    end

    defp echo(stream, body) do
      with {:ok, data} <- Stream.read(body), :ok <- Stream.write(stream, data), do: echo(stream, body)
    end

    defp write_on(stream) do
      with :ok <- Stream.write(stream, String.duplicate("x", 100_000)), do: write_on(stream)
    end

    defp wait(%{id: id}), do: receive(do: ({:tidepool_stream, ^id, :closed} -> :ok))
  end

  setup context do
    settings = Map.get(context, :settings, %{})
    {_server, port} = TestEdge.start!([Mirror], settings)
    %{port: port}
  end

  defp url(port, path), do: "http://127.0.0.1:#{port}#{path}"

  # What is there already, and small.
  @small ["/", "/ui", "/docs", "/session", "/openapi.json", "/deploy/options"]

  test "whatever is read has places, so that no more answers are made at a time, but for what is small" do
    without = for %{method: "GET", scope: "read", places: nil, path: path} <- Router.endpoints(), do: path
    assert without -- @small == []
  end

  test "a request comes with its decoded path and parameters, the headers it wants, and who asks", %{port: port} do
    url = url(port, "/mirror/caf%C3%A9/b+c?x=1&y=a+b&x=%00")
    assert {200, _headers, request} = curl_url(url, ["-H", "X-Wanted: 7", "-H", "x-other: 8"])

    assert request == %{
             "method" => "GET",
             "path" => ["mirror", "café", "b+c"],
             "query" => [["x", "1"], ["y", "a b"], ["x", "\0"]],
             "headers" => %{"x-wanted" => "7"},
             "body" => nil,
             "origin" => "no_token"
           }

    assert {200, _headers, %{"body" => "whole", "query" => []}} =
             curl_url(url(port, "/mirror/a"), ["-X", "PUT", "--data-binary", "whole"])

    for {query, reason} <- [{"x=%zz", "invalid_query"}, {"x=1", "unknown_field"}] do
      assert {400, _headers, %{"error" => %{"reason" => ^reason}}} =
               curl_url(url(port, "/mirror/a?" <> query), ["-X", "PUT", "--data-binary", "whole"])
    end
  end

  @tag settings: %{token: "s3cret"}
  test "whatever changes something and what says so takes the token, whoever forgets to say it", %{port: port} do
    assert {"401", 0} = System.cmd("curl", ["-sI", "-o", "/dev/null", "-w", "%{http_code}", url(port, "/guarded")])

    for {path, arguments} <- [{"/guarded", []}, {"/mirror/a", ["-X", "PUT"]}] do
      assert {401, %{"www-authenticate" => _bearer}, _error} = curl_url(url(port, path), arguments)
      with_token = ["-H", "authorization: Bearer s3cret" | arguments]
      assert {200, _headers, _request} = curl_url(url(port, path), with_token)
    end

    assert {200, _headers, %{"origin" => "no_token"}} = curl_url(url(port, "/mirror/a/b"))
  end

  test "a body in pieces is read to its end, however large, over both versions of HTTP", %{port: port} do
    file = Path.join(tmp_folder!(), "body")
    body = :crypto.strong_rand_bytes(20_000_000)
    File.write!(file, body)
    hash = Base.encode16(:crypto.hash(:sha256, body), case: :lower)

    for version <- ["--http1.1", "--http2-prior-knowledge"] do
      assert {200, %{"content-type" => "text/x-hash", "x-hash" => "sha256"}, ^hash} =
               curl_url(url(port, "/hash"), [version, "-T", file])

      arguments = ["-sS", "--max-time", "60", version, "-T", file, url(port, "/echo")]
      assert {echo, 0} = System.cmd("curl", arguments)
      assert echo == body
    end
  end

  test "a body above its bound is refused by the edge, and its process ends", %{port: port} do
    Process.register(self(), :mirror_test)
    url = url(port, "/reads")
    large = String.duplicate("x", 2_000)
    assert {413, _headers, %{"error" => error}} = curl_url(url, ["-X", "PUT", "--data-binary", large])
    assert %{"reason" => "payload_too_large", "limit_bytes" => 1_000} = error
    refute_received {:reading, _pid}
    chunked = ["-X", "PUT", "-H", "transfer-encoding: chunked", "--data-binary", large]
    assert {413, _headers, %{"error" => ^error}} = curl_url(url, chunked)
    assert_receive {:reading, pid}
    eventually(fn -> not Process.alive?(pid) end)
  end

  test "a client that hangs up within its body ends the process that reads it", %{port: port} do
    Process.register(self(), :mirror_test)
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, "PUT /reads HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf")
    assert_receive {:reading, pid}
    monitor = Process.monitor(pid)
    :gen_tcp.close(socket)
    assert_receive {:DOWN, ^monitor, :process, ^pid, reason} when reason in [:killed, :noproc]
  end

  test "a process that dies breaks its answer off, and curl says so", %{port: port} do
    Process.register(self(), :mirror_test)

    for {version, status} <- [{"--http1.1", 18}, {"--http2-prior-knowledge", 92}] do
      arguments = ["-sN", "--max-time", "30", version, url(port, "/streams?then=wait")]
      curl = Port.open({:spawn_executable, System.find_executable("curl")}, [:binary, :exit_status, args: arguments])
      assert_receive {:streaming, pid}
      assert_receive {^curl, {:data, "begun"}}
      Process.exit(pid, :kill)
      assert_receive {^curl, {:exit_status, ^status}}
    end
  end

  for what <- ["write", "wait"] do
    test "a client that hangs up ends the stream of a process that would #{what}", %{port: port} do
      Process.register(self(), :mirror_test)
      {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
      :ok = :gen_tcp.send(socket, "GET /streams?then=#{unquote(what)} HTTP/1.1\r\nhost: localhost\r\n\r\n")
      assert_receive {:streaming, pid}
      monitor = Process.monitor(pid)
      :gen_tcp.close(socket)
      assert_receive {:DOWN, ^monitor, :process, ^pid, reason} when reason in [:normal, :noproc]
    end
  end

  # Every row of the router's table, and what the edge serves by itself: method, path, whether it takes the token.
  defp rows do
    own = [{"POST", "/deploy", true}, {"GET", "/health", false}, {"GET", "/call/f", false}, {"POST", "/call/f", false}]
    own ++ for row <- Router.endpoints(), do: {row.method, String.replace(row.path, ~r/:\w+/, "x"), row.guarded}
  end

  test "the edge guards every route: hosts, the token, other sites' pages, methods" do
    peer = Peer.start!(server: true, token: "s3cret")
    open = Peer.start!(server: true)

    for {method, path, guarded?} <- rows() do
      arguments = ["-X", method, "--max-time", "30"]
      url = Peer.url(peer, path)
      assert {421, _headers, _error} = curl_url(url, ["-H", "host: evil.example" | arguments])

      # What a function takes is known of one that there is.
      unless String.starts_with?(path, "/call/") do
        assert {405, %{"allow" => allow}, _error} = curl_url(url, ["-X", "BREW"])
        assert method in String.split(allow, ~r/, ?/)
      end

      if guarded? do
        assert {401, _headers, _error} = curl_url(url, arguments)

        assert {403, _headers, _error} =
                 curl_url(Peer.url(open, path), ["-H", "sec-fetch-site: cross-site" | arguments])
      end
    end

    guarded = for {_method, path, true} <- rows(), do: path
    actors = ["/actors/x/x", "/actors/x/x/x"]
    tokens = ["/tokens", "/tokens", "/tokens/x", "/audit"]

    changes = [
      "/cluster/nodes/x",
      "/members",
      "/deploy",
      "/functions/x",
      "/processes/x",
      "/processes/x",
      "/processes/x/upgrade"
    ]

    page = ["/node", "/session", "/session"]
    functions = ["/functions/x/wasm", "/functions/x/logs", "/functions/x/failures", "/functions/x/rollback"]
    recordings = ["/recordings", "/recordings/x", "/recordings/x", "/replay"]
    assert Enum.sort(guarded) == Enum.sort(functions ++ recordings ++ actors ++ changes ++ page ++ tokens)
  end

  defp shown(path) do
    shown = Regex.replace(~r/:(\w+)/, path, fn _all, name -> String.upcase(name) end)
    {shown, String.replace(shown, "FUNCTION", "NAME")}
  end

  test "docs/http.md names the routes that take a token with their scopes, and no others" do
    [_before, section] = String.split(File.read!("docs/http.md"), "\n## Token\n", parts: 2)
    [table, _rest] = String.split(section, "\nCalls, lists,", parts: 2)

    documented =
      for [_all, route, scope] <- Regex.scan(~r/^\| `([A-Z]+ [^`]+)` \| `(\w+)` \|/m, table), do: {route, scope}

    rows =
      for row <- Router.endpoints(),
          row.guarded,
          do: {"#{row.method} #{row.path |> shown() |> elem(1)}", row.scope || "any"}

    assert Enum.sort(documented) == Enum.sort([{"POST /deploy", "deploy"} | rows])
  end

  test "a parameter that there is not is refused on every route that looks at any, and changes nothing" do
    name = deploy!("rust", "hello_world")

    for {method, path} <- [
          {"DELETE", "/functions/#{name}"},
          {"GET", "/functions/#{name}"},
          {"GET", "/functions"},
          {"GET", "/cluster"},
          {"GET", "/processes"},
          {"DELETE", "/actors/x/y"},
          {"GET", "/audit"},
          {"POST", "/functions/#{name}/rollback"}
        ] do
      assert {400, _headers, %{"error" => %{"reason" => "unknown_field", "field" => "forse"}}} =
               curl(path <> "?forse=true", ["-X", method])
    end

    assert {200, _headers, _function} = curl("/functions/#{name}")
    # What others add is no matter where there is nothing to be misspelt.
    for path <- ["/call/#{name}/echo?payload=a&utm=b", "/health?x=1", "/metrics?x=1", "/ui/?x=1"],
        do: assert({200, _headers, _answer} = curl(path))
  end

  test "every route of every resource says which scope it needs, and one that does not is for admins" do
    for resource <- Router.resources(), {method, path, options} <- resource.routes() do
      assert options[:scope] in [:any, :read, :call, :deploy, :admin], "#{method} #{path} says no scope"
    end

    assert [%{scope: "admin"} | _more] = Router.endpoints([Mirror])
  end

  test "every route is in the table of docs/http.md, in what a 404 lists, and has no two that are alike" do
    text = File.read!("docs/http.md")
    {404, _headers, %{"error" => %{"message" => known}}} = curl("/nowhere")

    for %{method: method, path: path} <- Router.endpoints() do
      {shown, documented} = shown(path)
      assert known =~ " #{shown}"
      assert text =~ ~r/^\| .*`#{method} #{documented}`/m, "#{method} #{documented} is not documented"
    end

    alike = for row <- Router.endpoints(), do: {row.method, String.replace(row.path, ~r/:\w+/, ":")}
    assert alike == Enum.uniq(alike)
  end
end
