defmodule TidepoolWeb.AuditTest do
  # What was changed and by whom, as it is kept.
  use Tidepool.Case, async: true

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
    line = ~s({"id":1,"at":1,"action":"deploy","name":"#{String.duplicate("x", 200)}"}\n)
    File.write!(Path.join(folder, "audit.old.log"), String.duplicate("old\n", 10))
    :ok = Peer.stop_application(node)
    File.write!(Path.join(folder, "audit.log"), String.duplicate(line, div(2_200_000, byte_size(line))))
    {:ok, _started} = Peer.start_application(node)
    for number <- 1..3, do: :ok = Peer.call(node, Audit, :note, [:deploy, "f#{number}", number, {nil, nil}])
    assert Enum.sum(for name <- Audit.files(), do: File.stat!(Path.join(folder, name)).size) < 2_400_000
    assert {[%{"name" => "f3"}, %{"name" => "f2"}, %{"name" => "f1"}, %{"id" => 1}], nil} = entries(node)
  end
end
