defmodule TidepoolWeb.SessionTest do
  # How a browser signs in to a node with a token, and who can't.
  use Tidepool.Case, async: true

  alias Tidepool.Peer
  alias TidepoolWeb.Listener

  @token "s3cret-token"
  @bearer "authorization: Bearer #{@token}"
  @own ["-H", "x-tidepool: 1", "-H", "sec-fetch-site: same-origin"]

  setup_all do
    peer = Peer.start!(server: true, token: @token)
    %{peer: peer, url: Peer.url(peer, "/session"), port: Peer.call(peer, Listener, :port, [])}
  end

  defp sign_in(url, headers), do: curl_url(url, ["-X", "POST" | Enum.flat_map(headers, &["-H", &1])])

  defp cookie!(url) do
    assert {201, %{"set-cookie" => cookie}, %{"signed_in" => true}} = sign_in(url, [@bearer])
    cookie |> String.split(";") |> hd()
  end

  defp remove(peer, cookie, more),
    do: curl_url(Peer.url(peer, "/functions/nobody"), ["-X", "DELETE", "-b", cookie | more])

  test "the token is traded for a cookie that no script reads and no other site sends, named after the port", context do
    assert {201, %{"set-cookie" => cookie}, %{"token" => true, "signed_in" => true}} = sign_in(context.url, [@bearer])
    assert [value | attributes] = String.split(cookie, "; ")
    assert Enum.sort(attributes) == ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Strict"]
    assert [name, id] = String.split(value, "=")
    assert name == "tidepool_#{context.port}"
    assert {:ok, <<_random::256>>} = Base.url_decode64(id, padding: false)
    refute cookie =~ @token
    assert {401, headers, _error} = sign_in(context.url, ["authorization: Bearer wrong"])
    refute is_map_key(headers, "set-cookie")
  end

  test "the node's own pages are let in with the cookie, and nobody else is", %{peer: peer, url: url} = context do
    cookie = cookie!(url)
    # Let in, and then told that there is no such function.
    assert {404, _headers, _error} = remove(peer, cookie, @own)
    origin = "origin: http://127.0.0.1:#{context.port}"
    assert {404, _headers, _error} = remove(peer, cookie, ["-H", "x-tidepool: 1", "-H", origin])
    # What a form of another site sends, and a script there.
    for more <- [
          ["-H", "sec-fetch-site: cross-site"],
          ["-H", "sec-fetch-site: same-origin"],
          ["-H", "x-tidepool: 1"],
          ["-H", "x-tidepool: 1", "-H", "origin: http://evil.example"],
          ["-H", "x-tidepool: 1", "-H", "sec-fetch-site: same-site"]
        ] do
      assert {403, _headers, %{"error" => %{"reason" => "cross_site"}}} = remove(peer, cookie, more)
    end

    assert {421, _headers, _error} = remove(peer, cookie, ["-H", "host: evil.example" | @own])
    assert {401, _headers, _error} = remove(peer, "tidepool_1=#{String.duplicate("a", 43)}", @own)
    assert {200, _headers, %{"settings" => _settings}} = curl_url(Peer.url(peer, "/node"), ["-b", cookie | @own])
    assert {200, _headers, %{"signed_in" => true}} = curl_url(url, ["-b", cookie | @own])
    assert {200, _headers, %{"signed_in" => false}} = curl_url(url)
  end

  test "a session is no bearer token, and does not make another", %{peer: peer, url: url} do
    ["tidepool_" <> _port, id] = url |> cookie!() |> String.split("=")
    assert {401, _headers, _error} = curl_url(Peer.url(peer, "/node"), ["-H", "authorization: Bearer #{id}"])
    assert {401, headers, _error} = curl_url(url, ["-X", "POST", "-b", "tidepool_1=#{id}" | @own])
    refute is_map_key(headers, "set-cookie")
  end

  test "who signs out has no session any more", %{peer: peer, url: url} do
    {cookie, other} = {cookie!(url), cookie!(url)}
    arguments = ["-X", "DELETE", "-b", cookie | @own]
    assert {200, %{"set-cookie" => gone}, %{"signed_in" => false}} = curl_url(url, arguments)
    assert gone =~ "Max-Age=0"
    assert {401, _headers, _error} = remove(peer, cookie, @own)
    assert {404, _headers, _error} = remove(peer, other, @own)
  end

  test "a code signs in once", %{peer: peer, url: url} do
    code = Peer.call(peer, Listener, :open_code, [])
    assert {201, %{"set-cookie" => cookie}, _status} = sign_in(url, ["authorization: Bearer #{code}"])
    assert {404, _headers, _error} = remove(peer, cookie |> String.split(";") |> hd(), @own)
    assert {401, _headers, _error} = sign_in(url, ["authorization: Bearer #{code}"])
  end

  test "cookies of other nodes on the machine are no matter", %{peer: peer, url: url} do
    assert {404, _headers, _error} = remove(peer, "tidepool_1=other; #{cookie!(url)}; tidepool_2=another", @own)
  end

  test "without a token there is nothing to sign in to" do
    assert Listener.open_code() == nil
    assert {200, headers, %{"token" => false, "signed_in" => false}} = curl("/session", ["-X", "POST"])
    refute is_map_key(headers, "set-cookie")
  end

  test "what is told of a node has no secret", %{peer: peer} do
    assert {200, _headers, node} = curl_url(Peer.url(peer, "/node"), ["-H", @bearer])
    refute inspect(node, limit: :infinity) =~ @token
    settings = Map.new(node["settings"], &{&1["name"], &1["value"]})
    assert settings["token"] == "set"

    assert Enum.sort(Map.keys(settings)) ==
             Tidepool.Config.schema() |> Keyword.keys() |> Enum.map(&to_string/1) |> Enum.sort()
  end
end
