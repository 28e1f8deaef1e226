defmodule TidepoolWeb.Reply do
  @moduledoc """
  Answers as the edge sends them: `{status, content type, headers, body}`.
  """

  alias Tidepool.{Error, Function, Host, Native}
  alias Tidepool.Function.Fields
  alias Tidepool.Error.Reason

  @typedoc "What a body is; `:reply` is `:text` when it is UTF-8 and `:bytes` otherwise, a string is the header as it goes out."
  @type type :: :json | :reply | :text | :bytes | String.t()

  @type t :: {100 | 200..599, type, [{String.t(), String.t()}], binary}

  @doc "A guest's reply, which the edge sends as text when it is UTF-8, else as bytes."
  @spec bytes(binary) :: t
  def bytes(reply), do: {200, :reply, [], reply}

  @doc "What is JSON already."
  @spec encoded(binary) :: t
  def encoded(json), do: {200, :json, [], json}

  # Elements of a list that are written at a time: more would hold a scheduler.
  @elements 32

  @doc "A term as JSON. Of a map, long lists are written in pieces, and what is `{:json, text}` is that text, as it is."
  @spec json(200..599, term) :: t
  def json(status, term), do: {status, :json, [], written(term)}

  defp written(%{} = term) when not is_struct(term) do
    {apart, others} = Enum.split_with(term, fn {_name, value} -> text?(value) or long?(value) end)

    if apart == [] do
      Native.json_encode(term)
    else
      {texts, lists} = Enum.split_with(apart, fn {_name, value} -> text?(value) end)
      lists = for {name, list} <- lists, do: [Native.json_encode(name), ?:, ?[, elements(list), ?]]
      IO.iodata_to_binary([?{, Enum.intersperse(in_order(texts, others) ++ lists, ?,), ?}])
    end
  end

  defp written(term), do: Native.json_encode(term)

  defp text?(value), do: match?({:json, _text}, value)
  defp long?(value), do: match?([_one | _more], value) and length(value) > @elements

  # Texts are where their names are among the others, and long lists behind.
  defp in_order(texts, others) do
    (texts ++ others)
    |> Enum.sort_by(fn {name, _value} -> to_string(name) end)
    |> Enum.chunk_by(fn {name, value} -> if text?(value), do: name end)
    |> Enum.map(fn
      [{name, {:json, text}}] -> [Native.json_encode(name), ?:, text]
      members -> within(Native.json_encode(Map.new(members)))
    end)
  end

  defp elements(list) do
    list |> Enum.chunk_every(@elements) |> Enum.map(&within(Native.json_encode(&1))) |> Enum.intersperse(?,)
  end

  # Without the brackets.
  defp within(json), do: binary_part(json, 1, byte_size(json) - 2)

  @doc "A function's module, as a file to keep. Names of functions need no quoting; a namespace is no folder."
  @spec wasm(Function.t(), binary) :: t
  def wasm(%Function{name: name, version: version, sha256: sha256}, wasm) do
    headers = [
      {"etag", ~s("#{sha256}")},
      {"content-disposition", ~s(attachment; filename="#{String.replace(name, "/", "-")}.wasm")},
      {"tidepool-version", "#{version}"}
    ]

    {200, "application/wasm", headers, wasm}
  end

  # Names of imports have any length.
  @imports 1_000
  @imports_in_lists 16
  @import_bytes 256

  @doc """
  A function as JSON shows it, with 1,000 of its imports at most: `imports_omitted` says how many more there are, and `unanswered` of
  which nobody answers them. The interface is for `json/2` to write.
  """
  @spec function(Function.t()) :: map
  def function(%Function{} = function) do
    unanswered =
      for {binding, namespace, operation} <- Host.unanswered(function), do: cut("#{binding}/#{namespace}/#{operation}")

    Map.put(%{function(function, @imports) | interface: interface(function)}, :unanswered, unanswered)
  end

  @doc "A function in a list: the same with 16 of its imports at most, and without its interface, what nobody answers, and its `config`."
  @spec brief(Function.t()) :: map
  def brief(%Function{} = function) do
    # Its texts may have 250 KB.
    function |> function(@imports_in_lists) |> Map.merge(%{interface: nil, unanswered: nil}) |> Map.delete(:config)
  end

  # It may have 1 MiB.
  defp interface(%Function{interface: nil}), do: nil
  defp interface(%Function{interface: text}), do: {:json, text}

  defp function(function, most) do
    {shown, others} = Enum.split(function.imports, most)
    omitted = function.imports_omitted + length(others)
    function = %{function | imports: Enum.map(shown, &cut/1)} |> Fields.json() |> Map.drop([:asks, :imports_omitted])
    if omitted == 0, do: function, else: Map.put(function, :imports_omitted, omitted)
  end

  # The native side makes what is cut within a character UTF-8 again.
  defp cut(<<name::binary-size(@import_bytes), _rest::binary>>), do: name <> "…"
  defp cut(name), do: name

  @doc "A refusal with a reason of the edge's, of what the edge itself lets pass."
  @spec refusal(reason :: :not_found | :unauthorized | :forbidden, String.t(), map) :: t
  def refusal(reason, message, details \\ %{}),
    do: json(Reason.status(reason, false), %{error: Map.merge(details, %{reason: reason, message: message})})

  @doc """
  An error, with the status that its reason has.

  The body is `{"error": {"reason": …, "message": …, "function": …, …}}`; a trap's kind, a limit's name and a quota's are fields of
  their own, beside the error's details.
  """
  @spec error(Error.t()) :: t
  def error(%Error{} = error) do
    {status(error), :json, headers(error.reason), Native.json_encode(%{error: members(error)})}
  end

  @doc "What JSON has of an error."
  @spec members(Error.t()) :: map
  def members(%Error{} = error) do
    {reason, kind} = reason(error.reason)

    error.details
    |> Map.merge(kind)
    |> Map.merge(%{reason: reason, message: error.message, function: error.function})
  end

  defp reason({word, kind}), do: {word, %{word => kind}}
  defp reason(word), do: {word, %{}}

  defp headers(reason), do: if(Reason.retry(reason) == :soon, do: [{"retry-after", "1"}], else: [])

  defp status(error), do: Reason.status(error.reason, is_map_key(error.details, :step))
end
