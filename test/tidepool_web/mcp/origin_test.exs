defmodule TidepoolWeb.Mcp.OriginTest do
  # Not async: which names are the node's own is one of its settings.
  #
  # Whose pages may call tools: a browser's request says where its page is from, and a name that somebody else has pointed at
  # the node is not the node's.
  use Tidepool.Case

  alias Tidepool.{Config, Native}
  alias TidepoolWeb.Resources.Mcp

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
  end

  defp status(headers) do
    body = Native.json_encode(%{jsonrpc: "2.0", id: 1, method: "ping"})
    headers = [{"content-type", "application/json"} | headers]
    {status, :json, _headers, _answer} = Mcp.serve("POST", ["mcp"], %{headers: headers, body: body, origin: nil})
    status
  end

  defp from(origin, host), do: status([{"origin", origin}, {"host", host}])

  test "a page of the node's own is one of an address, of localhost, or of a name that the setting `hosts` has" do
    own = ["127.0.0.1:4000", "[::1]:4000", "localhost", "tide.localhost:4000"]

    for {hosts, named, others} <- [
          {"tide.example, shop.example", ["tide.example", "Tide.Example.", "shop.example:4000"],
           ["evil.example", "tide.example.evil.example", "a.tide.example", "localhost.evil.example"]},
          {"*", ["tide.example", "evil.example"], []}
        ] do
      Config.put(Map.put(:persistent_term.get(Config), :hosts, hosts))
      for host <- own ++ named, do: assert({host, from("http://" <> host, host)} == {host, 200})
      for host <- others, do: assert({host, from("http://" <> host, host)} == {host, 403})
    end
  end

  test "a page of another origin than it asks is none of the node's, and what is no page says no origin" do
    host = "localhost:4000"
    assert from("https://localhost:4000", host) == 200

    for origin <- ["http://localhost", "http://127.0.0.1:4000", "localhost:4000", "null", "", "http://localhost:4000/"],
        do: assert({origin, from(origin, host)} == {origin, 403})

    assert status([{"origin", "http://localhost:4000"}]) == 403
    assert status([{"host", host}]) == 200
    assert status([{"host", "evil.example"}]) == 200
  end

  test "what is longer than any host's name is none of the node's, and is not taken apart" do
    for host <- [String.duplicate(".", 60_000) <> "localhost", String.duplicate("a.", 130) <> "localhost"],
        do: assert(from("http://" <> host, host) == 403)

    host = String.duplicate("a.", 120) <> "localhost:4000"
    assert from("http://" <> host, host) == 200
  end
end
