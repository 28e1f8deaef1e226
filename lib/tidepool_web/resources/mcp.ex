defmodule TidepoolWeb.Resources.Mcp do
  @moduledoc """
  Typed exports as tools, by the Model Context Protocol's streamable HTTP
  (<https://modelcontextprotocol.io/specification/2025-11-25/basic/transports>): one `POST /mcp` for each message,
  each answered with JSON.

  There are no sessions, and no stream of the server's own: all that an answer depends on comes with its request, so
  that each node of a cluster answers each. `GET` and `DELETE` are 405, as the protocol has it for such a server.

  It takes a token where calls do, or lists. Without one a page of another site could have its reader's browser ask,
  by a name that is resolved to this node: a request that tells of an `Origin` has to be of the node's own, by an
  address or a name of the setting `hosts`.
  """

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Config
  alias TidepoolWeb.Resources.Mcp.{Calls, Messages, Reading}

  # Of a request's body.
  @bytes 1_048_576
  @headers ["accept", "content-type", "host", "mcp-protocol-version", "origin"]

  @impl true
  def routes do
    [{"POST", "/mcp", scope: :call, guarded: :as_calls, selects: true, headers: @headers, body: {:whole, @bytes}}]
  end

  @impl true
  def serve("POST", ["mcp"], %{headers: headers, body: body, origin: origin}) do
    headers = Map.new(headers)

    with :ok <- own_origin(headers),
         :ok <- json(headers),
         {:ok, version} <- version(headers),
         :ok <- room(body || "", origin),
         {:ok, messages, form} <- Messages.read(body || "", version),
         {:ok, answers} <- Messages.answers(messages, form, version, &Calls.answer(&1, origin)) do
      # What is answered is nobody's but who has asked for it.
      {200, :json, [{"cache-control", "no-store"}], answers}
    else
      :accepted -> {202, :text, [], ""}
      {:refused, status, code, message} -> {status, :json, [], Messages.refusal(code, message)}
    end
  end

  defp room(body, origin) do
    with :full <- Reading.begin(body, origin) do
      {:refused, 503, :internal, "as many large messages are read as may be at a time: try again in a moment"}
    end
  end

  defp own_origin(%{"origin" => origin} = headers) do
    with host when is_binary(host) <- headers["host"],
         [_scheme, ^host] <- String.split(origin, "://", parts: 2),
         true <- ours?(URI.parse("http://" <> host).host) do
      :ok
    else
      _other ->
        {:refused, 403, :invalid_request, "pages of other sites call no tools: the Origin is not this node's own"}
    end
  end

  defp own_origin(_headers), do: :ok

  # As the edge has it for `Host`; but where a node listens for other machines and takes any name, it has to be set.
  defp ours?(host) when is_binary(host) do
    known = Config.words(Config.get(:hosts))
    host = host |> String.downcase() |> String.trim_trailing(".")

    match?({:ok, _address}, :inet.parse_strict_address(String.to_charlist(host))) or
      host |> String.split(".") |> List.last() == "localhost" or "*" in known or
      Enum.any?(known, &(String.downcase(&1) == host))
  end

  defp ours?(_host), do: false

  # A form of a page has another type.
  defp json(headers) do
    accept = Map.get(headers, "accept", "*/*")

    cond do
      not (Map.get(headers, "content-type", "") =~ ~r/\A\s*application\/json\s*(;|\z)/i) ->
        {:refused, 415, :invalid_request, "send JSON, as `content-type: application/json`"}

      not (accept =~ ~r/(application\/(json|\*)|\*\/\*)/i) ->
        {:refused, 406, :invalid_request, "answers are `application/json`, which `accept` has to name"}

      true ->
        :ok
    end
  end

  defp version(headers) do
    case Messages.version(headers["mcp-protocol-version"]) do
      {:ok, version} ->
        {:ok, version}

      :error ->
        versions = Enum.join(Messages.versions(), ", ")
        {:refused, 400, :invalid_request, "this `mcp-protocol-version` is not spoken here: #{versions} are"}
    end
  end
end
