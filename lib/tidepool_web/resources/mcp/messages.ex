defmodule TidepoolWeb.Resources.Mcp.Messages do
  @moduledoc """
  Messages of the Model Context Protocol: JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>), by the protocol's
  versions.

  Versions differ in this: the first one has batches, arrays of messages; the later ones have titles, and results that
  a schema tells. The newest has no sessions: each of its requests says by itself what it is spoken by
  (`TidepoolWeb.Resources.Mcp.Envelope`), and each result what it is a result of.
  """

  alias Tidepool.Native
  alias TidepoolWeb.Resources.Mcp.Reading

  # Those that begin with `initialize`; the newest last.
  @handshakes ["2025-03-26", "2025-06-18", "2025-11-25"]
  @newest "2026-07-28"
  @versions @handshakes ++ [@newest]
  # That of a request which does not say its own.
  @unsaid "2025-03-26"
  # The only one with batches, and without structured results.
  @first "2025-03-26"
  # Messages of a batch; and bytes of its answers, after which nothing more of it is done.
  @most 16
  @answers_bytes 8_388_608
  # Of an `id`: it is kept until its request is answered, and each notification of one that listens has it.
  @id_bytes 256

  @codes [
    parse_error: -32_700,
    invalid_request: -32_600,
    unknown_method: -32_601,
    invalid_params: -32_602,
    internal: -32_603,
    header_mismatch: -32_020,
    unsupported_version: -32_022
  ]

  @type version :: String.t()
  @type id :: String.t() | integer
  @type code ::
          :parse_error
          | :invalid_request
          | :unknown_method
          | :invalid_params
          | :internal
          | :header_mismatch
          | :unsupported_version

  @typedoc "A message: a request, a notification, what wants no answer, or none, with the id that it is told under, and why."
  @type message ::
          {:request, id, method :: String.t(), params :: map}
          | {:notification, method :: String.t(), params :: map}
          | :no_answer
          | {:invalid, id | :none, String.t()}

  @typedoc "A request or a notification, which has no id, as whoever answers gets it."
  @type request :: {id | nil, method :: String.t(), params :: map}

  @typedoc "The members of a result as JSON, and of its `_meta` as terms; an error; or nothing, of what is not answered any more."
  @type outcome :: {:ok, [{String.t(), iodata}], meta :: map} | {:error, code, String.t()} | :unanswered

  @typedoc "What is wrong with a request of HTTP as a whole: its status, a code, a sentence, and what else is told."
  @type refused :: {:refused, 400..503, code, String.t()} | {:refused, 400..503, code, String.t(), details :: map}

  @doc "The versions of the protocol that are spoken, the oldest first."
  @spec versions :: [version, ...]
  def versions, do: @versions

  @doc "Those of them that begin with `initialize`."
  @spec handshakes :: [version, ...]
  def handshakes, do: @handshakes

  @doc "The version of a request by its header."
  @spec version(String.t() | nil) :: {:ok, version} | :error
  def version(nil), do: {:ok, @unsaid}
  def version(said), do: if(said in @versions, do: {:ok, said}, else: :error)

  @doc """
  The version for a client that begins with `initialize` and wants this one: it, or the newest that begins so.

      iex> alias TidepoolWeb.Resources.Mcp.Messages
      iex> Enum.map(["2025-06-18", "2024-11-05", "2026-07-28"], &Messages.agreed/1)
      ["2025-06-18", "2025-11-25", "2025-11-25"]
  """
  @spec agreed(String.t()) :: version
  def agreed(wanted), do: if(wanted in @handshakes, do: wanted, else: List.last(@handshakes))

  @doc "Has a version results with a schema, and titles?"
  @spec structured?(version) :: boolean
  def structured?(version), do: version != @first

  @doc "Says each request of a version what it is spoken by, and is there nothing that begins?"
  @spec alone?(version) :: boolean
  def alone?(version), do: version == @newest

  @doc "The messages of a body, and whether it is one or a batch."
  @spec read(binary, version) :: {:ok, [message, ...], :one | :batch} | refused
  def read(body, version) do
    with {:ok, objects, form} <- objects(decoded(body), version), do: all(Enum.map(objects, &kind/1), form)
  end

  defp objects({:ok, %{} = message}, _version), do: {:ok, [message], :one}

  defp objects({:ok, [_first | _more] = messages}, version) when version == @first and length(messages) <= @most,
    do: if(Enum.all?(messages, &is_map/1), do: {:ok, messages, :batch}, else: wrong("a batch is of JSON objects"))

  defp objects({:ok, messages}, _version) when is_list(messages),
    do: wrong("send one message; up to #{@most} in an array are taken by version #{@first} alone")

  defp objects({:ok, _other}, _version), do: wrong("a message is a JSON object")
  defp objects({:error, why}, _version), do: {:refused, 400, :parse_error, "the body can't be read: #{why}"}

  # Nothing of a batch is done that has no message in the place of one.
  defp all(messages, form) do
    case Enum.find(messages, &match?({:invalid, :none, _why}, &1)) do
      {:invalid, :none, why} -> wrong(why)
      nil -> {:ok, messages, form}
    end
  end

  defp decoded(body), do: if(Reading.large?(body), do: Native.json_decode_large(body), else: Native.json_decode(body))

  defp wrong(why), do: {:refused, 400, :invalid_request, why}

  defp kind(%{"jsonrpc" => "2.0", "id" => id, "method" => _method}) when is_binary(id) and byte_size(id) > @id_bytes,
    do: {:invalid, :none, "the `id` of a request has #{@id_bytes} bytes at most"}

  defp kind(%{"jsonrpc" => "2.0", "id" => id, "method" => method} = message)
       when (is_binary(id) or is_integer(id)) and is_binary(method) do
    case Map.get(message, "params", %{}) do
      %{} = params -> {:request, id, method, params}
      _other -> {:invalid, id, "`params` are a JSON object"}
    end
  end

  defp kind(%{"jsonrpc" => "2.0", "id" => _other, "method" => _method}),
    do: {:invalid, :none, "the `id` of a request is a string or an integer, and its `method` a string"}

  defp kind(%{"jsonrpc" => "2.0", "method" => method} = message) when is_binary(method) do
    params = message["params"]
    {:notification, method, if(is_map(params), do: params, else: %{})}
  end

  # Nothing is asked of a client, and so there is nothing that this could answer.
  defp kind(%{"jsonrpc" => "2.0", "id" => _id, "result" => _result}), do: :no_answer
  defp kind(%{"jsonrpc" => "2.0", "error" => %{}}), do: :no_answer
  defp kind(_message), do: {:invalid, :none, "this is no message of JSON-RPC 2.0"}

  @doc "The answers to messages, in order; `:accepted` when none wants one. `answer` says what comes of each, one after the other."
  @spec answers([message], :one | :batch, version, (request -> outcome)) ::
          {:ok, status :: 200 | 404, binary} | :accepted
  def answers([message], :one, version, answer) do
    case answered(message, :one, version, answer) do
      nil -> :accepted
      {status, json} -> {:ok, status, IO.iodata_to_binary(json)}
    end
  end

  def answers(messages, :batch, version, answer) do
    case replies(messages, 0, [], {version, answer}) do
      [] -> :accepted
      replies -> {:ok, 200, array(replies)}
    end
  end

  defp replies([], _bytes, replies, _how), do: Enum.reverse(replies)

  defp replies([message | more], bytes, replies, {version, answer} = how) do
    message = if bytes < @answers_bytes, do: message, else: undone(message)

    case answered(message, :batch, version, answer) do
      nil -> replies(more, bytes, replies, how)
      {_status, json} -> replies(more, bytes + IO.iodata_length(json), [json | replies], how)
    end
  end

  defp undone({:request, id, _method, _params}),
    do:
      {:invalid, id,
       "the answers of this batch have #{@answers_bytes} bytes and more: this was not done, send it alone"}

  defp undone(message), do: message

  defp array(replies), do: IO.iodata_to_binary([?[, Enum.intersperse(replies, ?,), ?]])

  # What the versions are agreed on by comes alone.
  defp answered({:request, id, "initialize", _params}, :batch, version, _answer),
    do: told(id, {:error, :invalid_request, "`initialize` is no part of a batch"}, version)

  defp answered({:request, id, method, params}, _form, version, answer),
    do: told(id, answer.({id, method, params}), version)

  defp answered({:notification, method, params}, _form, _version, answer) do
    answer.({nil, method, params})
    nil
  end

  defp answered({:invalid, id, why}, _form, version, _answer), do: told(id, {:error, :invalid_request, why}, version)
  defp answered(:no_answer, _form, _version, _answer), do: nil

  defp told(_id, :unanswered, _version), do: nil

  # A gateway tells by the status what this node does not have.
  defp told(id, {:error, :unknown_method, _message} = outcome, version),
    do: {if(alone?(version), do: 404, else: 200), reply(id, outcome, version)}

  defp told(id, outcome, version), do: {200, reply(id, outcome, version)}

  @doc "The answer to a request."
  @spec reply(id, outcome, version) :: iodata
  def reply(id, {:ok, members, meta}, version) do
    {first, meta} = if alone?(version), do: {[{"resultType", ~s("complete")}], named(meta, version)}, else: {[], meta}
    last = if meta == %{}, do: [], else: [{"_meta", Native.json_encode(meta)}]
    members = for {name, json} <- first ++ members ++ last, do: [?", name, ~s(":), json]
    [~s({"jsonrpc":"2.0","id":), Native.json_encode(id), ~s(,"result":{), Enum.intersperse(members, ?,), "}}"]
  end

  def reply(id, {:error, code, message}, _version),
    do: Native.json_encode(%{jsonrpc: "2.0", id: id, error: error(code, message)})

  defp named(meta, version), do: Map.put(meta, "io.modelcontextprotocol/serverInfo", server(version))

  @doc "What this server is called."
  @spec server(version) :: map
  def server(version) do
    server = %{name: "tidepool", version: to_string(Application.spec(:tidepool, :vsn))}
    if structured?(version), do: Map.put(server, :title, "Tidepool"), else: server
  end

  @doc "A notification to a client."
  @spec notification(method :: String.t(), params :: map) :: binary
  def notification(method, params), do: Native.json_encode(%{jsonrpc: "2.0", method: method, params: params})

  @doc "A message as an event of a stream."
  @spec event(iodata) :: iodata
  def event(message), do: ["event: message\ndata: ", message, "\n\n"]

  @doc "The body of a request's refusal: an error, under an id where that is known."
  @spec refusal(code, String.t(), details :: map) :: binary
  def refusal(code, message, details \\ %{}) do
    {id, data} = Map.pop(details, :id)
    error = if data == %{}, do: error(code, message), else: Map.put(error(code, message), :data, data)
    refusal = %{jsonrpc: "2.0", error: error}
    Native.json_encode(if(id, do: Map.put(refusal, :id, id), else: refusal))
  end

  defp error(code, message), do: %{code: @codes[code], message: message}
end
