defmodule TidepoolWeb.Resources.Mcp.Messages do
  @moduledoc """
  Messages of the Model Context Protocol: JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>), by the protocol's
  versions.

  Versions differ in this: the first one has batches, arrays of messages; the later ones have titles, and results that
  a schema tells.
  """

  alias Tidepool.Native
  alias TidepoolWeb.Resources.Mcp.Reading

  # The newest last.
  @versions ["2025-03-26", "2025-06-18", "2025-11-25"]
  # That of a request which does not say its own.
  @unsaid "2025-03-26"
  # The only one with batches, and without structured results.
  @first "2025-03-26"
  # Messages of a batch.
  @most 16

  @codes [
    parse_error: -32_700,
    invalid_request: -32_600,
    unknown_method: -32_601,
    invalid_params: -32_602,
    internal: -32_603
  ]

  @type version :: String.t()
  @type code :: :parse_error | :invalid_request | :unknown_method | :invalid_params | :internal
  @type message :: %{String.t() => term}

  @typedoc "A request of a message: its method, its parameters, and the version that it came by."
  @type request :: {method :: String.t(), params :: map, version}

  @typedoc "A result as JSON, or an error."
  @type outcome :: {:ok, iodata} | {:error, code, String.t()}

  @typedoc "What is wrong with a request of HTTP as a whole: its status, a code, and a sentence."
  @type refused :: {:refused, 400..503, code, String.t()}

  @doc "The versions of the protocol that are spoken, the oldest first."
  @spec versions :: [version, ...]
  def versions, do: @versions

  @doc "The version of a request by its header."
  @spec version(String.t() | nil) :: {:ok, version} | :error
  def version(nil), do: {:ok, @unsaid}
  def version(said), do: if(said in @versions, do: {:ok, said}, else: :error)

  @doc """
  The version for a client that wants this one: it, or the newest.

      iex> alias TidepoolWeb.Resources.Mcp.Messages
      iex> Enum.map(["2025-06-18", "2024-11-05"], &Messages.agreed/1)
      ["2025-06-18", "2025-11-25"]
  """
  @spec agreed(String.t()) :: version
  def agreed(wanted), do: if(wanted in @versions, do: wanted, else: List.last(@versions))

  @doc "Has a version results with a schema, and titles?"
  @spec structured?(version) :: boolean
  def structured?(version), do: version != @first

  @doc "The messages of a body, and whether it is one or a batch."
  @spec read(binary, version) :: {:ok, [message, ...], :one | :batch} | refused
  def read(body, version) do
    case decoded(body) do
      {:ok, %{} = message} ->
        {:ok, [message], :one}

      {:ok, [_first | _more] = messages} when version == @first and length(messages) <= @most ->
        if Enum.all?(messages, &is_map/1), do: {:ok, messages, :batch}, else: wrong("a batch is of JSON objects")

      {:ok, messages} when is_list(messages) ->
        wrong("send one message; up to #{@most} in an array are taken by version #{@first} alone")

      {:ok, _other} ->
        wrong("a message is a JSON object")

      {:error, why} ->
        {:refused, 400, :parse_error, "the body is no JSON: #{why}"}
    end
  end

  defp decoded(body), do: if(Reading.large?(body), do: Native.json_decode_large(body), else: Native.json_decode(body))

  defp wrong(why), do: {:refused, 400, :invalid_request, why}

  @doc "The answers to messages, in order; `:accepted` when none wants one. `answer` says what comes of a request."
  @spec answers([message], :one | :batch, version, (request -> outcome)) :: {:ok, binary} | :accepted | refused
  def answers([message], :one, version, answer) do
    case kind(message) do
      {:request, id, method, params} -> {:ok, IO.iodata_to_binary(reply(id, answer.({method, params, version})))}
      :no_answer -> :accepted
      {:invalid, :none, why} -> wrong(why)
      {:invalid, id, why} -> {:ok, IO.iodata_to_binary(reply(id, {:error, :invalid_request, why}))}
    end
  end

  def answers(messages, :batch, version, answer) do
    kinds = Enum.map(messages, &kind/1)

    case Enum.find(kinds, &match?({:invalid, :none, _why}, &1)) do
      {:invalid, :none, why} ->
        wrong(why)

      nil ->
        case for(kind <- kinds, kind != :no_answer, do: batched(kind, version, answer)) do
          [] -> :accepted
          replies -> {:ok, IO.iodata_to_binary([?[, Enum.intersperse(replies, ?,), ?]])}
        end
    end
  end

  # What the versions are agreed on by comes alone.
  defp batched({:request, id, "initialize", _params}, _version, _answer),
    do: reply(id, {:error, :invalid_request, "`initialize` is no part of a batch"})

  defp batched({:request, id, method, params}, version, answer), do: reply(id, answer.({method, params, version}))
  defp batched({:invalid, id, why}, _version, _answer), do: reply(id, {:error, :invalid_request, why})

  defp kind(%{"jsonrpc" => "2.0", "id" => id, "method" => method} = message)
       when (is_binary(id) or is_integer(id)) and is_binary(method) do
    case Map.get(message, "params", %{}) do
      %{} = params -> {:request, id, method, params}
      _other -> {:invalid, id, "`params` are a JSON object"}
    end
  end

  defp kind(%{"jsonrpc" => "2.0", "id" => _other, "method" => _method}),
    do: {:invalid, :none, "the `id` of a request is a string or an integer, and its `method` a string"}

  defp kind(%{"jsonrpc" => "2.0", "method" => method}) when is_binary(method), do: :no_answer
  # Nothing is asked of a client, and so there is nothing that this could answer.
  defp kind(%{"jsonrpc" => "2.0", "id" => _id, "result" => _result}), do: :no_answer
  defp kind(%{"jsonrpc" => "2.0", "error" => %{}}), do: :no_answer
  defp kind(_message), do: {:invalid, :none, "this is no message of JSON-RPC 2.0"}

  defp reply(id, {:ok, result}), do: [~s({"jsonrpc":"2.0","id":), Native.json_encode(id), ~s(,"result":), result, ?}]

  defp reply(id, {:error, code, message}),
    do: Native.json_encode(%{jsonrpc: "2.0", id: id, error: error(code, message)})

  @doc "The body of a request's refusal: an error without an `id`."
  @spec refusal(code, String.t()) :: binary
  def refusal(code, message), do: Native.json_encode(%{jsonrpc: "2.0", error: error(code, message)})

  defp error(code, message), do: %{code: @codes[code], message: message}
end
