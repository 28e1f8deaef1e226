defmodule Tidepool.McpClient do
  @moduledoc "A client of the Model Context Protocol in a test's hands: by curl, or by a socket for answers that are streams."

  import ExUnit.Assertions
  import Tidepool.Case, only: [curl_url: 2, tmp_folder!: 0, url: 1]

  alias Tidepool.{EventClient, Native}

  # That of clients which begin with `initialize`, and the newest.
  @handshake "2025-11-25"
  @newest "2026-07-28"
  @prefix "io.modelcontextprotocol/"

  def handshake, do: @handshake
  def newest, do: @newest

  @doc "Posts a body with these headers."
  def post(url, body, headers) do
    body = if is_binary(body), do: body, else: Native.json_encode(body)
    headers = Enum.flat_map(headers, fn {name, value} -> ["-H", "#{name}: #{value}"] end)
    curl_url(url, ["--data-binary", if(byte_size(body) < 65_536, do: body, else: file(body))] ++ headers)
  end

  # An argument of a program has no more bytes.
  defp file(body) do
    path = Path.join(tmp_folder!(), "message")
    File.write!(path, body)
    "@" <> path
  end

  @doc "Posts a message; a header that is `nil` is left out."
  def send_message(body, headers \\ [], url \\ url("/mcp")) do
    usual = %{
      "content-type" => "application/json",
      "accept" => "application/json",
      "mcp-protocol-version" => @handshake
    }

    post(url, body, for({name, value} <- Map.merge(usual, Map.new(headers)), value, do: {name, value}))
  end

  def request(method, params, id \\ 1), do: %{jsonrpc: "2.0", id: id, method: method, params: params}

  @doc "The result, or the error, of a request."
  def ask(method, params \\ %{}, headers \\ [], url \\ url("/mcp")) do
    assert {200, %{"content-type" => "application/json"}, answer} = send_message(request(method, params), headers, url)

    outcome(answer)
  end

  @doc "The result, or the error, of an answer to the request 1."
  def outcome(%{"jsonrpc" => "2.0", "id" => 1, "result" => result}), do: result

  def outcome(%{"jsonrpc" => "2.0", "id" => 1, "error" => %{"code" => code, "message" => text}}),
    do: {:error, code, text}

  def call(tool, arguments, headers \\ [], url \\ url("/mcp")),
    do: ask("tools/call", %{name: tool, arguments: arguments}, headers, url)

  @doc "All pages of the list."
  def list(headers \\ [], url \\ url("/mcp"), params \\ %{}) do
    %{"tools" => tools} = page = ask("tools/list", params, headers, url)
    if next = page["nextCursor"], do: tools ++ list(headers, url, %{cursor: next}), else: tools
  end

  @doc "A request of the newest version, and its headers."
  def newest(method, params, id \\ 1) do
    meta = %{
      (@prefix <> "protocolVersion") => @newest,
      (@prefix <> "clientCapabilities") => %{},
      (@prefix <> "clientInfo") => %{name: "test", version: "1"}
    }

    params = Map.update(params, :_meta, meta, &Map.merge(meta, &1))
    named = if params[:name], do: [{"mcp-name", params.name}], else: []
    {request(method, params, id), [{"mcp-protocol-version", @newest}, {"mcp-method", method}] ++ named}
  end

  @doc "A stream that answers a request."
  def stream(port, body, headers) do
    body = Native.json_encode(body)
    usual = [{"content-type", "application/json"}, {"accept", "application/json, text/event-stream"}]
    length = {"content-length", "#{byte_size(body)}"}
    EventClient.connect(port, usual ++ headers ++ [length], "/mcp", "POST", body)
  end

  @doc "The message of a stream's next event, or how it ended."
  def message(client) do
    case EventClient.next(client) do
      {:ping, client} -> message(client)
      {%{"event" => "message", "data" => message}, client} -> {message, client}
      over -> over
    end
  end
end
