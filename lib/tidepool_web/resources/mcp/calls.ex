defmodule TidepoolWeb.Resources.Mcp.Calls do
  @moduledoc """
  What comes of requests of the Model Context Protocol.

  What goes wrong within a tool is its result, with `isError`, so that a model hears of it: the value of a `result`'s
  error, or the reason and the message of any other. `_meta` has all that `/call` would tell. An error of the protocol
  is for what names no tool, or is no such request.
  """

  alias Tidepool.{Error, Execution, Native, Options}
  alias Tidepool.Catalog.Origin
  alias TidepoolWeb.{EventStream, Reply, Resource, Stream}
  alias TidepoolWeb.Resource.Shares
  alias TidepoolWeb.Resources.Mcp.{Envelope, Exports, Messages, Reading, Running, Tools}

  # Of a result: models read no more, and as JSON it is several times as long.
  @result_bytes 1_048_576
  # Of what was sent, so many bytes are in an error.
  @shown 128
  # Of lists of tools, each of which may have 1 MiB, that are made and sent at a time.
  @lists 64
  # How often a client is told that its call goes on.
  @progress_ms 1_000

  # Results may be kept for no time, and by their client alone: it is told when they are others.
  @unkept [{"ttlMs", "0"}, {"cacheScope", ~s("private")}]

  @typedoc "Who asks: by what, in which version, and in which session."
  @type client :: %{
          :origin => Origin.t(),
          :version => Messages.version(),
          :session => String.t() | nil,
          optional(atom) => term
        }

  @doc "What comes of a request, or a notification."
  @spec answer(Messages.request(), client) :: Messages.outcome()
  def answer({nil, "notifications/cancelled", params}, client) do
    Running.cancel(owner(client), params["requestId"])
    :unanswered
  end

  def answer({nil, _method, _params}, _client), do: :unanswered

  def answer({id, method, params}, client) do
    others = if Messages.alone?(client.version), do: ["initialize", "ping"], else: ["server/discover"]
    if method in others, do: unknown(method), else: asked(method, params, id, client)
  end

  defp asked("initialize", %{"protocolVersion" => wanted}, _id, _client) when is_binary(wanted) do
    version = Messages.agreed(wanted)

    {:ok,
     [
       {"protocolVersion", Native.json_encode(version)},
       {"capabilities", capabilities()},
       {"serverInfo", Native.json_encode(Messages.server(version))}
     ], %{}}
  end

  defp asked("initialize", _params, _id, _client),
    do: {:error, :invalid_params, "`protocolVersion` is missing: one of #{Enum.join(Messages.handshakes(), ", ")}"}

  defp asked("ping", _params, _id, _client), do: {:ok, [], %{}}

  defp asked("server/discover", _params, _id, _client) do
    versions = Native.json_encode(Messages.versions())
    {:ok, [{"supportedVersions", versions}, {"capabilities", capabilities()} | @unkept], %{}}
  end

  defp asked("tools/list", params, _id, client) do
    case params["cursor"] && Tools.position(params["cursor"]) do
      nil -> page(nil, client)
      {:ok, position} -> page(position, client)
      :error -> {:error, :invalid_params, "this `cursor` is none that a list has ended with"}
    end
  end

  defp asked("tools/call", params, id, client) do
    with {:ok, call} <- begin(params, client) do
      case Running.run(owner(client), id, fn -> call.(nil) end) do
        {:done, outcome} -> outcome
        :cancelled -> :unanswered
      end
    end
  end

  defp asked(method, _params, _id, _client), do: unknown(method)

  defp unknown(method),
    do: {:error, :unknown_method, "there is no method #{Options.cut(method, @shown)} here: this server has tools alone"}

  defp capabilities, do: Native.json_encode(%{tools: %{listChanged: true}})
  defp owner(client), do: Running.owner(client.origin, client.session)

  defp page(position, %{origin: origin} = client) do
    case place(origin) do
      :ok -> listed(position, client)
      :full -> {:error, :internal, "too many lists of tools are asked for at the moment: ask again later"}
    end
  end

  # One for all lists of a request, until that is answered: others of a batch are kept as well.
  defp place(origin) do
    with nil <- Process.get(__MODULE__),
         :ok <- Shares.take(:tool_lists, Shares.client(origin), @lists) do
      Process.put(__MODULE__, :listing)
      :ok
    else
      :listing -> :ok
      :full -> :full
    end
  end

  defp listed(position, %{origin: origin, version: version}) do
    {tools, more} = Tools.page(origin, position, Messages.structured?(version))
    more = if more, do: [{"nextCursor", Native.json_encode(Tools.cursor(more))}], else: []
    kept = if Messages.alone?(version), do: @unkept, else: []
    {:ok, [{"tools", [?[, Enum.intersperse(tools, ?,), ?]]} | more ++ kept], %{}}
  end

  @doc "The answer to a call whose client is told of its progress: a stream that ends with the result. An error is none of a stream's."
  @spec progressing(Messages.id(), params :: map, progress :: Messages.id(), client) ::
          Resource.answer() | {:error, Messages.code(), String.t()}
  def progressing(id, params, progress, client) do
    with {:ok, call} <- begin(params, client),
         do: EventStream.answer(&told(&1, id, progress, call, client))
  end

  defp told(stream, id, progress, call, client) do
    last_line = Native.new_last_line()

    tell = fn elapsed_ms ->
      message = Native.last_line(last_line) || "running for #{div(elapsed_ms, 1_000)} s"
      params = %{progressToken: progress, progress: elapsed_ms / 1_000, message: message}
      Stream.write(stream, Messages.event(Messages.notification("notifications/progress", params)))
    end

    beat = %{stream: stream, every_ms: @progress_ms, tell: tell}

    # Of one that was cancelled nothing more is said.
    with {:done, outcome} <- Running.run(owner(client), id, fn -> call.(last_line) end, beat),
         do: Stream.write(stream, Messages.event(Messages.reply(id, outcome, client.version)))
  end

  # The call that is asked for, to be made by whichever process, with a place for the guest's last line if it is watched: it takes no
  # more along than it has to.
  defp begin(params, client) do
    begun = begun(params, client)
    # The others of a batch are there until the last is answered, and so is the place.
    if client.form == :one, do: Reading.finish(client.bytes, client.origin)
    begun
  end

  defp begun(%{"name" => name} = params, client) when is_binary(name) do
    with {:ok, {function, export, _name}} <- find(client.origin, name),
         {:ok, arguments} <- arguments(params["arguments"] || %{}) do
      tool = %{function: function.name, abi: function.abi, export: Map.take(export, ["name", "object"])}
      structured? = Messages.structured?(client.version)

      case Exports.payload(tool.abi, export, arguments) do
        {:ok, payload} ->
          {:ok, &call(tool, payload, structured?, &1)}

        {:error, %Error{} = error} ->
          {:ok, fn _last_line -> failed(%{error | function: tool.function}) end}

        {:error, message} ->
          {:error, :invalid_params, message}
      end
    end
  end

  defp begun(_params, _client),
    do: {:error, :invalid_params, "`name` is missing: that of a tool, as `tools/list` tells it"}

  defp find(origin, name) do
    case Tools.find(origin, name) do
      {:ok, tool} -> {:ok, tool}
      :error -> {:error, :invalid_params, "unknown tool: #{Options.cut(name, @shown)}"}
      :full -> {:error, :internal, "too many calls wait for interfaces to be read at the moment: call again later"}
    end
  end

  defp arguments(%{} = arguments), do: {:ok, arguments}

  defp arguments(_other),
    do: {:error, :invalid_params, "`arguments` are a JSON object, by the names of the parameters"}

  defp call(%{function: function, abi: abi, export: export}, payload, structured?, last_line) do
    case made(function, export["name"], payload, last_line) do
      {:ok, reply} when byte_size(reply) > @result_bytes ->
        message = "the result has #{byte_size(reply)} bytes, and a tool's has #{@result_bytes} at most"
        failed(Error.new({:limit, :reply}, message <> ": POST /call answers with all of it", function))

      {:ok, reply} ->
        {content, object} = Exports.content(abi, export, function, reply)
        object = if object && structured?, do: [{"structuredContent", object}], else: []
        {:ok, [{"content", content}] ++ object ++ [{"isError", "false"}], %{}}

      {:error, error} ->
        failed(error)
    end
  end

  defp made(function, operation, payload, nil), do: Execution.call(function, operation, payload)

  defp made(function, operation, payload, last_line),
    do: Execution.call_watched(function, operation, payload, last_line)

  defp failed(error),
    do:
      {:ok, [{"content", Exports.text(text(error))}, {"isError", "true"}], %{"tidepool/error" => Reply.members(error)}}

  # What the guest says is for whoever has called it.
  defp text(%Error{reason: :guest_error, details: %{value: value}}), do: Native.json_encode(value)
  defp text(%Error{} = error), do: "#{Error.reason(error)}: #{error.message}"

  @doc "The token that a call's client wants to be told of its progress by, if it can read a stream."
  @spec progress(params :: map, streams? :: boolean) ::
          {:ok, Messages.id() | nil} | {:error, Messages.code(), String.t()}
  def progress(params, streams?) do
    case Envelope.progress(params) do
      {:ok, token} -> {:ok, if(streams?, do: token)}
      :error -> {:error, :invalid_params, "`progressToken` is an integer, or a string of at most 256 bytes"}
    end
  end
end
