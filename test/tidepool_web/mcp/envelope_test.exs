defmodule TidepoolWeb.Mcp.EnvelopeTest do
  # Requests of the version that has no sessions: each says by itself what it is spoken by, in its body and in its headers.
  use Tidepool.Case, async: true

  import Tidepool.McpClient

  alias TidepoolWeb.Resources.Mcp.Messages

  @prefix "io.modelcontextprotocol/"

  defp asked(method, params \\ %{}, change \\ & &1) do
    {body, headers} = newest(method, params)
    {body, headers} = change.({body, Map.new(headers)})
    {status, _headers, answer} = send_message(body, Map.to_list(headers))
    {status, answer}
  end

  defp meta(change), do: fn {body, headers} -> {update_in(body.params._meta, change), headers} end
  defp header(name, value), do: fn {body, headers} -> {body, Map.put(headers, name, value)} end

  test "a client finds out what is spoken, lists tools and calls one, without beginning" do
    name = deploy!("component", "tools", tools: ["move", "only"])
    assert {200, %{"id" => 1, "result" => told}} = asked("server/discover")
    assert told["supportedVersions"] == Messages.versions()
    assert told["capabilities"] == %{"tools" => %{"listChanged" => true}}
    assert {200, %{"result" => %{"tools" => tools} = listed}} = asked("tools/list")
    assert Enum.any?(tools, &(&1["name"] == "#{name}__move" and is_map_key(&1, "outputSchema")))
    for result <- [told, listed], do: assert(%{"ttlMs" => 0, "cacheScope" => "private"} = result)

    move = %{name: "#{name}__move", arguments: %{from: %{x: 1, y: 2}}}
    assert {200, %{"result" => %{"structuredContent" => %{"x" => 2, "y" => 2}} = moved}} = asked("tools/call", move)
    wrong = %{move | arguments: %{}}
    assert {200, %{"result" => %{"isError" => true, "_meta" => meta} = failed}} = asked("tools/call", wrong)
    assert %{"reason" => "invalid_arguments"} = meta["tidepool/error"]

    for result <- [told, listed, moved, failed] do
      assert result["resultType"] == "complete"
      assert %{"name" => "tidepool", "version" => _version} = result["_meta"][@prefix <> "serverInfo"]
    end
  end

  test "a request that says another thing by its headers than by its body, or too little, is refused" do
    name = deploy!("component", "tools", tools: ["only"])
    call = %{name: "#{name}__only", arguments: %{}}
    encoded = "=?base64?#{Base.encode64(call.name)}?="
    assert {200, %{"result" => %{"isError" => false}}} = asked("tools/call", call, header("mcp-name", encoded))

    for change <- [
          header("mcp-method", nil),
          header("mcp-method", "tools/list"),
          header("mcp-name", nil),
          header("mcp-name", "other"),
          header("mcp-name", "=?base64?!?="),
          header("mcp-name", "=?base64?"),
          header("mcp-protocol-version", "2025-11-25"),
          header("mcp-protocol-version", nil),
          meta(&Map.put(&1, @prefix <> "protocolVersion", "2025-11-25"))
        ] do
      assert {400, %{"id" => 1, "error" => %{"code" => -32_020}}} = asked("tools/call", call, change)
    end

    for change <- [
          meta(fn _meta -> %{} end),
          meta(fn _meta -> 1 end),
          meta(&Map.delete(&1, @prefix <> "protocolVersion")),
          meta(&Map.delete(&1, @prefix <> "clientCapabilities")),
          meta(&Map.put(&1, @prefix <> "clientCapabilities", []))
        ] do
      assert {400, %{"id" => 1, "error" => %{"code" => -32_602}}} = asked("tools/list", %{}, change)
    end
  end

  test "a method that is not there is not found, such as those that only begin" do
    for method <- ["initialize", "ping", "resources/list", "logging/setLevel"] do
      assert {404, %{"id" => 1, "error" => %{"code" => -32_601}}} = asked(method, %{protocolVersion: newest()})
    end

    assert {:error, -32_601, _message} = ask("server/discover")
  end

  test "a session means nothing there, and a notification is taken" do
    assert {200, %{"result" => _listed}} = asked("tools/list", %{}, header("mcp-session-id", "1"))
    message = %{jsonrpc: "2.0", method: "notifications/cancelled", params: %{requestId: 1}}
    assert {202, _headers, ""} = send_message(message, [{"mcp-protocol-version", newest()}])
  end
end
