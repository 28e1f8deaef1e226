defmodule TidepoolWeb.SitesTest do
  # Routes: what is asked for on the port of sites, and whose it is.
  use Tidepool.Case

  alias Tidepool.{Native, Origin, Peer}

  setup do
    {:ok, port: TidepoolWeb.Listener.sites_port()}
  end

  defp ask(port, host, path, arguments \\ []) do
    curl_url("http://127.0.0.1:#{port}#{path}", ["-H", "host: #{host}"] ++ arguments)
  end

  defp host, do: "#{unique_name("site") |> String.replace("_", "-")}.example"

  test "a function is asked for by its host and path, sees both whole, and its origin is its own", %{port: port} do
    host = host()
    deploy!("rust", "http", routes: ["#{host}/headers", "#{host}/shop/..."])
    cookie = ["-H", "cookie: theirs=1", "-H", "authorization: Bearer theirs"]
    assert {200, _headers, lines} = ask(port, "#{host}:80", "/headers?q=1", cookie)
    assert lines =~ ":authority: #{host}:80\n"
    assert lines =~ ":path: /headers?q=1\n"
    assert lines =~ "cookie: theirs=1\n"
    assert lines =~ "authorization: Bearer theirs\n"
    assert {404, _headers, ""} = ask(port, host, "/shop")
    assert {404, _headers, ""} = ask(port, host, "/shop/x/y")
    assert {404, _headers, %{"error" => %{"reason" => "not_found"}}} = ask(port, host, "/shops")
    assert {404, _headers, %{"error" => %{"reason" => "not_found"}}} = ask(port, "other.#{host}", "/headers")

    deploy!("rust", "http", routes: ["#{host}/hostile"])
    assert {200, headers, _page} = ask(port, host, "/hostile")
    assert headers["clear-site-data"] == ~s("*")
    # A cookie of the node's page would go to the node, too: they have one host.
    refute Map.has_key?(headers, "set-cookie")
    assert headers["content-security-policy"] == "sandbox allow-scripts allow-same-origin"
  end

  # Sends requests at once on one connection, each with a trailer where it has a body: status, body and trailer of their responses.
  @http2 """
  const [address, ...requests] = process.argv.slice(1);
  const client = require("http2").connect(address);
  const ask = (request) => new Promise((resolve) => {
    const [authority, method, path, body] = request.split(" ");
    const head = { ":authority": authority, ":method": method, ":path": path };
    const stream = client.request(head, { endStream: !body, waitForTrailers: Boolean(body) });
    const told = [null, "", null];
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "42" }));
    stream.on("response", (headers) => (told[0] = headers[":status"]));
    stream.on("trailers", (trailers) => (told[2] = trailers["x-sum"]));
    stream.setEncoding("utf8").on("data", (text) => (told[1] += text)).on("close", () => resolve(told));
    if (body) stream.end(body);
  });
  Promise.all(requests.map(ask)).then((told) => console.log(JSON.stringify(told))).then(() => client.close());
  """

  test "by HTTP/2 each request of a connection is for the function of its authority, and whole", %{port: port} do
    [one, other] = [host(), host()]
    deploy!("rust", "http", routes: ["#{one}/..."])
    deploy!("abis", "http", routes: ["#{other}/a"])
    requests = ["#{one} GET /headers?q=1", "#{one} POST /echo tide", "#{other} GET /a", "#{other} GET /hello"]
    {output, 0} = System.cmd("node", ["-e", @http2, "http://127.0.0.1:#{port}" | requests])
    {:ok, [head, echo, elsewhere, [404, nobody, nil]]} = output |> String.trim() |> Native.json_decode()

    assert [200, lines, nil] = head
    for line <- [":authority: #{one}", ":path: /headers?q=1", ":scheme: http"], do: assert(lines =~ line <> "\n")
    assert echo == [200, "tide", "42"]
    # Of the other function: 200 more than the character that is its version.
    assert elsewhere == [200 + ?1, "", nil]
    assert {:ok, %{"error" => %{"reason" => "not_found"}}} = Native.json_decode(nobody)

    # What breaks off is reset, of which curl says 92.
    url = "http://127.0.0.1:#{port}/trap-after"
    arguments = ["-sS", "--max-time", "120", "--http2-prior-knowledge", "-H", "host: #{one}", url]
    assert {_half, 92} = System.cmd("curl", arguments, stderr_to_stdout: true)
  end

  test "cookies and redirects are a function's own there, and on the node's own port are none", %{port: port} do
    host = host()
    # In the place of a cookie of the node's that it sets otherwise, and of the same length.
    wasm = :binary.replace(guest("rust", "http"), "tidepool_session=stolen", "shop_session=for_a_week")
    shop = deploy_bytes!(wasm, routes: ["#{host}/hostile"])
    assert {200, %{"set-cookie" => "shop_session=for_a_week; Path=/"}, _page} = ask(port, host, "/hostile")
    assert {200, headers, _page} = curl("/call/#{shop}/hostile")
    refute Map.has_key?(headers, "set-cookie")

    answer = "HTTP/1.1 302 Found\r\nlocation: /door\r\ncontent-length: 0\r\n\r\n"
    asked = Origin.start!(fn socket, _head -> :gen_tcp.send(socket, answer) end)
    leading = deploy!("rust", "fetch", net: ["tcp:connect:127.0.0.1:#{asked}"], routes: ["#{host}/get"])
    path = "/get?http://127.0.0.1:#{asked}/"
    assert {302, %{"location" => "/door"}, ""} = ask(port, host, path)
    assert {302, headers, ""} = curl("/call/#{leading}#{path}")
    refute Map.has_key?(headers, "location")
  end

  test "there is no such port where no setting names one" do
    peer = Peer.start!(server: true)
    assert Peer.call(peer, TidepoolWeb.Listener, :sites_port, []) == nil
  end

  test "nothing of the node is there", %{port: port} do
    for {method, path} <- [
          {"GET", "/health"},
          {"POST", "/deploy"},
          {"GET", "/functions"},
          {"GET", "/ui/"},
          {"GET", "/call/x"}
        ] do
      assert {404, _headers, %{"error" => %{"reason" => "not_found"}}} = ask(port, host(), path, ["-X", method])
    end
  end

  test "a route is one function's, until that gives it up", %{port: port} do
    host = host()
    owner = deploy!("rust", "http", routes: ["#{host}/hello"])
    other = unique_name("other")
    guest = guest("c", "http")
    on_exit(fn -> remove!(other) end)

    assert {:error, %{reason: :route_taken, details: %{owner: ^owner}} = error} =
             Tidepool.deploy(guest, name: other, routes: ["#{String.upcase(host)}/hello"])

    assert error.message =~ owner

    assert {409, _headers, %{"error" => %{"reason" => "route_taken", "owner" => ^owner}}} =
             curl_deploy(guest, [{"name", other}, {"route", "#{host}/hello"}])

    # A longer one is not the same.
    assert {:ok, _function} = Tidepool.deploy(guest, name: other, routes: ["#{host}/hello/..."])
    assert {200, _headers, "hello"} = ask(port, host, "/hello")

    assert {:ok, _function} = Tidepool.deploy(guest("rust", "http"), name: owner)
    assert {404, _headers, _body} = ask(port, host, "/hello/x")
    assert {:ok, _function} = Tidepool.deploy(guest, name: other, routes: ["#{host}/hello"])
    assert {200, _headers, "hello"} = ask(port, host, "/hello")

    :ok = Tidepool.remove(other)
    assert {404, _headers, %{"error" => %{"reason" => "not_found"}}} = ask(port, host, "/hello")
  end

  test "routes are of handlers of HTTP alone" do
    assert {:error, %{reason: :invalid_config, message: message}} =
             Tidepool.deploy(guest("rust", "hello_world"), name: unique_name("plain"), routes: ["/hook"])

    assert message =~ "http"
  end
end
