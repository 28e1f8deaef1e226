defmodule Tidepool.Catalog.OriginTest do
  # What admitted a change is kept with it, and told.
  use Tidepool.Case, async: true

  doctest Tidepool.Catalog.Origin

  alias Tidepool.{Catalog, Function, Peer}

  defp known(peer, name) do
    {_context, entries} = Peer.call(peer, Catalog, :known, [])
    Enum.find(entries, &(&1.name == name))
  end

  for {token, admitted} <- [{nil, :no_token}, {"s3cret", :token}] do
    test "a change through an edge #{if token, do: "with", else: "without"} a token says so, after a restart too" do
      headers = if unquote(token), do: ["-H", "authorization: Bearer #{unquote(token)}"], else: []
      peer = Peer.start!(server: true, token: unquote(token))
      admitted = to_string(unquote(admitted))

      assert {201, _headers, %{"admitted" => ^admitted}} =
               curl_deploy_url(Peer.url(peer, "/deploy"), guest("rust", "hello_world"), [name: "f"], headers)

      assert {200, _headers, %{"removed" => "f"}} =
               curl_url(Peer.url(peer, "/functions/f"), ["-X", "DELETE"] ++ headers)

      assert %{removed: true, admitted: unquote(admitted)} = known(peer, "f")

      assert %Function{admitted: :elixir} = Peer.deploy!(peer, "rust", "hello_world", name: "f")
      :ok = Peer.stop_application(peer)
      {:ok, _started} = Peer.start_application(peer)
      assert [%Function{admitted: :elixir}] = Peer.call(peer, Tidepool, :list, [])
    end
  end

  test "what anybody could deploy is deployed anew by whoever is let in, and not the other way round" do
    peer = Peer.start!(server: true)
    wasm = guest("rust", "hello_world")
    deploy = fn -> curl_deploy_url(Peer.url(peer, "/deploy"), wasm, name: "f") end
    assert {201, _headers, %{"version" => 1, "admitted" => "no_token"}} = deploy.()
    assert {200, _headers, %{"version" => 1}} = deploy.()
    assert {:ok, %Function{version: 2, admitted: :elixir}} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: "f"]])
    assert {200, _headers, %{"version" => 2, "admitted" => "elixir"}} = deploy.()
  end
end
