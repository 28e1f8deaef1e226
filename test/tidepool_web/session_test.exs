defmodule TidepoolWeb.SessionTest do
  # How a browser signs in to a node with a token, and who can't.
  use Tidepool.Case, async: true

  alias Tidepool.{OwnTrace, Peer, Tokens}
  alias TidepoolWeb.Listener
  alias TidepoolWeb.Resources.Session

  @token "s3cret-token"
  @bearer "authorization: Bearer #{@token}"
  @same ["-H", "sec-fetch-site: same-origin"]

  setup_all do
    peer = Peer.start!(server: true, token: @token)
    %{peer: peer, url: Peer.url(peer, "/session"), port: Peer.call(peer, Listener, :port, [])}
  end

  defp sign_in(url, headers), do: curl_url(url, ["-X", "POST" | Enum.flat_map(headers, &["-H", &1])])

  # The cookie of a session, and the header with its key.
  defp session!(url, bearer \\ @bearer) do
    assert {201, %{"set-cookie" => cookie}, %{"signed_in" => true, "key" => key}} = sign_in(url, [bearer])
    {cookie |> String.split(";") |> hd(), ["-H", "x-tidepool: #{key}"]}
  end

  defp remove(peer, cookie, more),
    do: curl_url(Peer.url(peer, "/functions/nobody"), ["-X", "DELETE", "-b", cookie | more])

  test "the token is traded for a cookie that no script reads and no other site sends, named after the port, and a key",
       context do
    assert {201, headers, %{"token" => true, "signed_in" => true, "key" => key}} = sign_in(context.url, [@bearer])
    assert headers["cache-control"] == "no-store"
    assert [value | attributes] = String.split(headers["set-cookie"], "; ")
    assert Enum.sort(attributes) == ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Strict"]
    assert [name, id] = String.split(value, "=")
    assert name == "tidepool_#{context.port}"
    for half <- [id, key], do: assert({:ok, <<_random::256>>} = Base.url_decode64(half, padding: false))
    assert id != key
    refute inspect(headers) =~ @token or inspect(headers) =~ key
    assert {401, headers, _error} = sign_in(context.url, ["authorization: Bearer wrong"])
    refute is_map_key(headers, "set-cookie")
  end

  test "the node's own pages are let in with both halves, and nobody else is", %{peer: peer, url: url} = context do
    {cookie, key} = session!(url)
    # Let in, and then told that there is no such function.
    assert {404, _headers, _error} = remove(peer, cookie, key ++ @same)
    origin = "origin: http://127.0.0.1:#{context.port}"
    assert {404, _headers, _error} = remove(peer, cookie, key ++ ["-H", origin])
    {_cookie, others} = session!(url)
    # What a form of another site sends, and a script there; and who has seen the cookie, as servers on other ports do.
    for more <- [
          ["-H", "sec-fetch-site: cross-site"],
          @same,
          key,
          key ++ ["-H", "origin: http://evil.example"],
          key ++ ["-H", "sec-fetch-site: same-site"],
          ["-H", "x-tidepool: 1" | @same],
          others ++ @same
        ] do
      assert {403, _headers, %{"error" => %{"reason" => "cross_site"}}} = remove(peer, cookie, more)
    end

    assert {421, _headers, _error} = remove(peer, cookie, ["-H", "host: evil.example"] ++ key ++ @same)
    assert {401, _headers, _error} = remove(peer, "tidepool_1=#{String.duplicate("a", 43)}", key ++ @same)
    assert {200, _headers, %{"settings" => _settings}} = curl_url(Peer.url(peer, "/node"), ["-b", cookie | key])
    assert {403, _headers, _error} = curl_url(Peer.url(peer, "/node"), ["-b", cookie, "-H", "x-tidepool: 1"])
    assert {200, _headers, %{"signed_in" => true}} = curl_url(url, ["-b", cookie | key])
    assert {200, _headers, %{"signed_in" => false}} = curl_url(url, ["-b", cookie, "-H", "x-tidepool: 1"])
    assert {200, _headers, %{"signed_in" => false}} = curl_url(url)
  end

  test "a session is no bearer token, and does not make another", %{peer: peer, url: url} do
    {"tidepool_" <> _port = cookie, ["-H", "x-tidepool: " <> key] = header} = session!(url)
    [_name, id] = String.split(cookie, "=")

    for half <- [id, key],
        do: assert({401, _headers, _error} = curl_url(Peer.url(peer, "/node"), ["-H", "authorization: Bearer #{half}"]))

    assert {401, headers, _error} = curl_url(url, ["-X", "POST", "-b", "tidepool_1=#{id}"] ++ header ++ @same)
    refute is_map_key(headers, "set-cookie")
  end

  test "who signs out has no session any more", %{peer: peer, url: url} do
    {{cookie, key}, {other, others}} = {session!(url), session!(url)}
    arguments = ["-X", "DELETE", "-b", cookie] ++ key ++ @same
    assert {200, %{"set-cookie" => gone}, %{"signed_in" => false}} = curl_url(url, arguments)
    assert gone =~ "Max-Age=0"
    assert {401, _headers, _error} = remove(peer, cookie, key ++ @same)
    assert {404, _headers, _error} = remove(peer, other, others ++ @same)

    # Nobody else is signed out by who has seen a cookie, with a token or a session of their own.
    {own, own_key} = session!(url)

    for arguments <- [["-b", other, "-H", @bearer], ["-b", "#{other}; #{own}"] ++ own_key ++ @same],
        do: assert({200, _headers, _status} = curl_url(url, ["-X", "DELETE" | arguments]))

    assert {404, _headers, _error} = remove(peer, other, others ++ @same)
    assert {401, _headers, _error} = remove(peer, own, own_key ++ @same)
  end

  test "who signs out over HTTP/2, with each cookie in a header of its own, has no session any more", %{
    peer: peer,
    url: url
  } do
    {cookie, key} = session!(url)
    cookies = Enum.flat_map(["theme=dark", "tidepool_1=other", cookie, "a=b"], &["-H", "cookie: #{&1}"])
    assert {200, _headers, %{"signed_in" => true}} = curl_url(url, ["--http2-prior-knowledge"] ++ cookies ++ key)
    arguments = ["--http2-prior-knowledge", "-X", "DELETE"] ++ cookies ++ key ++ @same
    assert {200, %{"set-cookie" => _gone}, %{"signed_in" => false}} = curl_url(url, arguments)
    assert {401, _headers, _error} = remove(peer, cookie, key ++ @same)
  end

  test "a token that was made signs in for what it is for, and no longer than there is one", %{peer: peer, url: url} do
    make = fn name, scopes, functions ->
      {:ok, _token, secret} = Peer.call(peer, Tokens, :make, [[name: name, scopes: scopes, functions: functions]])

      secret
    end

    secret = make.("shops", ["deploy"], "shop-*")
    {cookie, key} = session!(url, "authorization: Bearer #{secret}")
    asked = fn method, path -> curl_url(Peer.url(peer, path), ["-X", method, "-b", cookie] ++ key ++ @same) end
    assert {200, _headers, %{"signed_in" => true, "may" => may}} = asked.("GET", "/session")
    assert %{"name" => "shops", "scopes" => ["deploy"], "functions" => "shop-*"} = may
    assert {404, _headers, _error} = asked.("DELETE", "/functions/shop-cart")

    for {method, path} <- [
          {"DELETE", "/functions/other"},
          {"GET", "/tokens"},
          {"GET", "/audit"},
          {"GET", "/node"},
          {"DELETE", "/tokens/shops"}
        ],
        do: assert({403, _headers, %{"error" => %{"token" => "shops"}}} = asked.(method, path), path)

    # Whoever signs in very often signs out nobody but those with the same token.
    {own, own_key} = session!(url)
    for _time <- 1..120, do: session!(url, "authorization: Bearer #{secret}")
    assert {404, _headers, _error} = remove(peer, own, own_key ++ @same)
    assert {401, _headers, _error} = asked.("DELETE", "/functions/shop-cart")

    {cookie, key} = session!(url, "authorization: Bearer #{secret}")
    assert {403, _headers, %{"error" => %{"reason" => "forbidden"}}} = remove(peer, cookie, key ++ @same)
    {:ok, _told} = Peer.call(peer, Tokens, :revoke, ["shops"])
    make.("shops", ["admin"], "*")
    assert {401, _headers, _error} = remove(peer, cookie, key ++ @same)
    assert {404, _headers, _error} = remove(peer, own, own_key ++ @same)
  end

  test "a code signs in once", %{peer: peer, url: url} do
    code = Peer.call(peer, Listener, :open_code, [])
    # By this the page of a link tells it from a token.
    assert code =~ ~r/\A[\w-]{43}\z/
    {cookie, key} = session!(url, "authorization: Bearer #{code}")
    assert {404, _headers, _error} = remove(peer, cookie, key ++ @same)
    assert {401, _headers, _error} = sign_in(url, ["authorization: Bearer #{code}"])
  end

  test "cookies of other servers on the machine are no matter", %{peer: peer, url: url} do
    {cookie, key} = session!(url)
    others = for number <- 1..60, do: "tidepool_#{number}=#{String.duplicate("o", 43)}"
    line = Enum.join(others ++ [cookie, "tidepool_2=another"], "; ")
    # By itself curl sends no more than 8 KiB of them.
    arguments = ["-X", "DELETE", "-H", "cookie: #{line}"] ++ key ++ @same
    assert {404, _headers, _error} = curl_url(Peer.url(peer, "/functions/nobody"), arguments)
  end

  test "who signs out has some sessions closed, and the listener asked for nothing with each cookie" do
    half = String.duplicate("h", 43)
    own = "tidepool_#{Listener.port()}="
    others = for number <- 1..1_000, do: "; tidepool_#{number}=#{half}; #{own}#{number}"
    ids = for number <- 10..90, do: "#{half |> binary_part(0, 41)}#{number}"
    cookies = IO.iodata_to_binary(["a=b", others, for(id <- ids, do: ["; ", own, id])])

    for {key, closed} <- [{half, Enum.take(ids, 64)}, {half <> "h", []}, {"", []}] do
      request = %{headers: [{"x-tidepool", key}, {"cookie", cookies}], origin: {:no_token, "127.0.0.1:1"}}

      {answer, calls, sent} =
        OwnTrace.of([{Listener, :close_session, 1}], fn -> Session.serve("DELETE", ["session"], request) end)

      assert {200, :json, _headers, _json} = answer
      assert calls == for(id <- closed, do: [{id, key}])
      # By the cookies that it looks for, and by that which it sends.
      assert Enum.count(sent, &match?({:"$gen_call", _from, :port}, &1)) <= 2
    end
  end

  test "without a token there is nothing to sign in to" do
    assert Listener.open_code() == nil

    assert {200, headers, %{"token" => false, "calls" => "open", "signed_in" => false}} =
             curl("/session", ["-X", "POST"])

    refute is_map_key(headers, "set-cookie")
  end

  test "what is told of a node has no secret", %{peer: peer} do
    assert {200, _headers, node} = curl_url(Peer.url(peer, "/node"), ["-H", @bearer])
    refute inspect(node, limit: :infinity) =~ @token
    settings = Map.new(node["settings"], &{&1["name"], &1["value"]})
    assert settings["token"] == "set"

    assert Enum.sort(Map.keys(settings)) ==
             Tidepool.Config.Schema.settings() |> Keyword.keys() |> Enum.map(&to_string/1) |> Enum.sort()
  end
end
