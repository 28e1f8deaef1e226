defmodule TidepoolWeb.AccessTest do
  # A node with a token: changing what is deployed needs it, calling doesn't.
  use Tidepool.Case, async: true

  alias Tidepool.Peer

  @token "s3cret-token"

  setup_all do
    peer = Peer.start!(server: true, token: @token, max_module: 100_000)
    %{peer: peer}
  end

  defp deploy(peer, name, headers) do
    arguments = Enum.flat_map(headers, &["-H", &1])

    curl_deploy_url(
      Peer.url(peer, "/deploy"),
      guest("rust", "hello_world"),
      [name: name, operation: "hello"],
      arguments
    )
  end

  defp remove(peer, name, headers) do
    curl_url(Peer.url(peer, "/functions/#{name}"), ["-X", "DELETE"] ++ Enum.flat_map(headers, &["-H", &1]))
  end

  @bearer "authorization: Bearer #{@token}"
  @wrong [
    [],
    ["authorization: Bearer wrong"],
    ["authorization: Bearer s3cret-toke"],
    ["authorization: Bearer s3cret-tokens"],
    ["authorization: Bearer"],
    ["authorization: Basic s3cret-token"],
    ["authorization: s3cret-token"],
    ["x-token: s3cret-token"]
  ]

  test "a deploy without the token, or with another, is 401 and changes nothing", %{peer: peer} do
    for headers <- @wrong do
      assert {401, answer, %{"error" => %{"reason" => "unauthorized"}}} = deploy(peer, "refused", headers)
      assert answer["www-authenticate"] =~ "Bearer"
    end

    assert {404, _headers, _error} = curl_url(Peer.url(peer, "/functions/refused"))
  end

  test "a deploy with the token is 201, and calling needs none", %{peer: peer} do
    assert {201, _headers, %{"name" => "open"}} = deploy(peer, "open", [@bearer])
    assert {200, _headers, "Hello, Ada!"} = curl_url(Peer.url(peer, "/call/open?payload=Ada"))

    for path <- ["/functions", "/functions/open", "/health", "/metrics"],
        do: assert({200, _headers, _body} = curl_url(Peer.url(peer, path)))
  end

  test "a removal needs the token", %{peer: peer} do
    assert {201, _headers, _function} = deploy(peer, "removed", [@bearer])
    for headers <- @wrong, do: assert({401, _headers, _error} = remove(peer, "removed", headers))
    assert {200, _headers, _reply} = curl_url(Peer.url(peer, "/call/removed"))
    assert {200, _headers, %{"removed" => "removed"}} = remove(peer, "removed", [@bearer])
    assert {404, _headers, _error} = curl_url(Peer.url(peer, "/call/removed"))
  end

  test "a page whose name was made to mean this machine may neither change nor read anything, a name of the settings may" do
    peer = Peer.start!(server: true, hosts: "tide.example")
    rebound = ["host: evil.example", "origin: http://evil.example"]
    assert {421, _headers, %{"error" => error}} = deploy(peer, "rebound", rebound)
    assert %{"reason" => "unknown_host", "host" => "evil.example"} = error
    assert error["message"] =~ "TIDEPOOL_HOSTS"
    assert {421, _headers, _error} = remove(peer, "rebound", rebound)

    for path <- ["/functions", "/call/rebound", "/health", "/metrics"] do
      assert {421, _headers, _error} = curl_url(Peer.url(peer, path), ["-H", "host: evil.example"])
    end

    assert {201, _headers, _function} = deploy(peer, "named", ["host: tide.example", "origin: http://tide.example"])
  end

  test "whether a function exists is not told to who may not remove it", %{peer: peer} do
    assert {401, _headers, error} = remove(peer, "nobody", [])
    assert {201, _headers, _function} = deploy(peer, "somebody", [@bearer])
    assert {401, _headers, ^error} = remove(peer, "somebody", [])
  end

  test "with a token, pages of other sites that have it may deploy", %{peer: peer} do
    assert {201, _headers, _function} = deploy(peer, "elsewhere", [@bearer, "origin: http://elsewhere.example"])
  end

  test "a module over the node's limit is 413 with the figure, for HTTP as for Elixir", %{peer: peer} do
    large = guest("rust", "upper") <> String.duplicate(<<0>>, 100_000)
    url = Peer.url(peer, "/deploy")
    assert {413, _headers, %{"error" => error}} = curl_deploy_url(url, large, [name: "large"], ["-H", @bearer])
    assert %{"reason" => "too_large", "allowed" => 100_000, "unit" => "bytes"} = error

    assert {:error, %Tidepool.Error{reason: :too_large, function: "large", details: details}} =
             Peer.call(peer, Tidepool, :deploy, [large, [name: "large"]])

    assert details == %{step: :size, allowed: 100_000, unit: "bytes"}
  end
end
