defmodule TidepoolWeb.Resources.Mcp do
  @moduledoc """
  Exports as tools, by the Model Context Protocol's streamable HTTP
  (<https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http>): one `POST /mcp` for
  each message, answered with JSON, or with a stream where the client is told of a call's progress, or listens.

  The node keeps no session. All that an answer depends on comes with its request, so that each node of a cluster
  answers each. What clients of older versions have for a session is an id, by which they cancel calls, and a stream by
  `GET` that tells when tools change; `DELETE` is 405, as the protocol has it for a server whose sessions nobody ends.

  It takes a token where calls do, or lists. Without one a page of another site could have its reader's browser ask,
  by a name that is resolved to this node: a request that tells of an `Origin` has to be of the node's own, by an
  address or a name of the setting `hosts`.
  """

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Config
  alias TidepoolWeb.Resources.Mcp.{Calls, Envelope, Listening, Messages, Reading}

  # Of a request's body.
  @bytes 1_048_576
  # No name of a host is longer, with a dot at its end and a port.
  @host_bytes 260
  @headers [
    "accept",
    "content-type",
    "host",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "origin",
    "sec-fetch-site"
  ]

  @impl true
  def routes do
    options = [scope: :call, guarded: :as_calls, selects: true, headers: @headers]

    [
      {"POST", "/mcp", [body: {:whole, @bytes}] ++ options},
      {"GET", "/mcp", [places: Listening.most()] ++ options}
    ]
  end

  @impl true
  def serve("POST", ["mcp"], %{headers: headers, body: body, origin: origin}) do
    {headers, body} = {Map.new(headers), body || ""}

    with :ok <- own_origin(headers),
         :ok <- json(headers),
         {:ok, version} <- Envelope.version(headers),
         {:ok, session} <- Envelope.session(headers, version),
         :ok <- room(body, origin),
         {:ok, messages, form} <- Messages.read(body, version),
         :ok <- Envelope.check(messages, headers, version) do
      client = %{
        origin: origin,
        version: version,
        session: session,
        streams?: streams?(headers),
        bytes: byte_size(body),
        form: form
      }

      answer(messages, form, client)
    end
    |> told()
  end

  def serve("GET", ["mcp"], %{headers: headers, origin: origin}) do
    headers = Map.new(headers)

    with :ok <- own_origin(headers),
         :ok <- stream(headers),
         {:ok, version} <- Envelope.version(headers),
         :ok <- begun(version),
         {:ok, _session} <- Envelope.session(headers, version) do
      Listening.stream(origin)
    end
    |> told()
  end

  defp told({:refused, status, code, message}), do: told({:refused, status, code, message, %{}})
  defp told({:refused, 405, code, message, details}), do: refused(405, [{"allow", "POST"}], {code, message, details})
  defp told({:refused, 503, code, message, details}), do: refused(503, [{"retry-after", "1"}], {code, message, details})
  defp told({:refused, status, code, message, details}), do: refused(status, [], {code, message, details})
  defp told(answer), do: answer

  defp refused(status, headers, {code, message, details}),
    do: {status, :json, headers, Messages.refusal(code, message, details)}

  defp answer([{:request, id, "subscriptions/listen", params}] = messages, form, %{version: version} = client) do
    cond do
      not Messages.alone?(version) ->
        answers(messages, form, client)

      # It would be kept for as long as the stream goes on.
      Reading.large?(client.bytes) ->
        {:refused, 400, :invalid_request, "a request that listens has less than 64 KiB", %{id: id}}

      client.streams? ->
        listening = Listening.subscription(id, params, version, client.origin)
        # A stream goes on, and has no place that others read in.
        Reading.finish(client.bytes, client.origin)
        listening

      true ->
        {:refused, 406, :invalid_request, "it is answered by a stream: `accept` has to name `text/event-stream`",
         %{id: id}}
    end
  end

  defp answer([{:request, id, "tools/call", params}] = messages, :one, client) do
    case Calls.progress(params, client.streams?) do
      {:ok, nil} -> answers(messages, :one, client)
      {:ok, progress} -> progressing(id, params, progress, client)
      {:error, _code, _message} = error -> unanswerable(id, error, client)
    end
  end

  defp answer(messages, form, client), do: answers(messages, form, client)

  # Without the messages, which are not to be kept for as long as a call lasts.
  defp progressing(id, params, progress, client) do
    case Calls.progressing(id, params, progress, client) do
      {:stream, _status, _type, _headers, _run} = stream -> stream
      {:error, _code, _message} = error -> unanswerable(id, error, client)
    end
  end

  defp unanswerable(id, error, client),
    do: {200, :json, [], IO.iodata_to_binary(Messages.reply(id, error, client.version))}

  defp answers(messages, form, client) do
    # Before, for they are not to be kept, either.
    session = session(messages, client)

    case Messages.answers(messages, form, client.version, &Calls.answer(&1, client)) do
      # What is answered is nobody's but who has asked for it.
      {:ok, status, answers} -> {status, :json, [{"cache-control", "no-store"} | session], answers}
      :accepted -> {202, :text, [], ""}
    end
  end

  # The id that a client's requests name from then on.
  defp session([{:request, _id, "initialize", %{"protocolVersion" => wanted}}], %{version: version})
       when is_binary(wanted),
       do: if(Messages.alone?(version), do: [], else: [{"mcp-session-id", Envelope.new_session()}])

  defp session(_messages, _client), do: []

  defp begun(version) do
    if Messages.alone?(version),
      do: {:refused, 405, :invalid_request, "in #{version} clients listen by `subscriptions/listen`"},
      else: :ok
  end

  defp streams?(headers), do: Map.get(headers, "accept", "") =~ ~r/text\/(event-stream|\*)/i

  defp stream(headers) do
    if Map.get(headers, "accept", "*/*") =~ ~r/(text\/(event-stream|\*)|\*\/\*)/i,
      do: :ok,
      else: {:refused, 406, :invalid_request, "it is answered by a stream: `accept` has to name `text/event-stream`"}
  end

  defp room(body, origin) do
    with :full <- Reading.begin(body, origin) do
      {:refused, 503, :internal, "as many messages of this size are read as may be at a time: try again in a moment"}
    end
  end

  defp own_origin(%{"origin" => origin} = headers) do
    with host when is_binary(host) and byte_size(host) <= @host_bytes <- headers["host"],
         [_scheme, ^host] <- String.split(origin, "://", parts: 2),
         true <- ours?(URI.parse("http://" <> host).host) do
      :ok
    else
      _other ->
        {:refused, 403, :invalid_request, "pages of other sites call no tools: the Origin is not this node's own"}
    end
  end

  # Browsers tell no origin of what a page gets without looking at it, and say that it is a page's of elsewhere.
  defp own_origin(%{"sec-fetch-site" => site}) when site in ["cross-site", "same-site"],
    do: {:refused, 403, :invalid_request, "pages of other sites call no tools"}

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
end
