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

  @doc "A term as JSON. Long lists that a map has are written in pieces."
  @spec json(200..599, term) :: t
  def json(status, term), do: {status, :json, [], written(term)}

  defp written(%{} = term) when not is_struct(term) do
    case Enum.split_with(term, fn {_name, value} -> match?([_one | _more], value) and length(value) > @elements end) do
      {[], _short} -> Native.json_encode(term)
      {long, short} -> with_lists(Native.json_encode(Map.new(short)), long)
    end
  end

  defp written(term), do: Native.json_encode(term)

  # Behind the members that there are.
  defp with_lists(object, long) do
    members = for {name, list} <- long, do: [Native.json_encode(name), ?:, ?[, elements(list), ?]]
    head = binary_part(object, 0, byte_size(object) - 1)
    IO.iodata_to_binary([head, if(head == "{", do: [], else: ?,), Enum.intersperse(members, ?,), ?}])
  end

  defp elements(list) do
    list |> Enum.chunk_every(@elements) |> Enum.map(&within(Native.json_encode(&1))) |> Enum.intersperse(?,)
  end

  # Without the brackets.
  defp within(array), do: binary_part(array, 1, byte_size(array) - 2)

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

  # A module may have 100,000 imports, with names of any length.
  @imports 1_000
  @imports_in_lists 16
  @import_bytes 256

  @doc """
  A function as JSON shows it, with 1,000 of its imports at most: `imports_omitted` says how many more there are, and `unanswered` of
  which nobody answers them.
  """
  @spec function(Function.t()) :: map
  def function(%Function{} = function) do
    unanswered =
      for {binding, namespace, operation} <- Host.unanswered(function), do: cut("#{binding}/#{namespace}/#{operation}")

    Map.put(%{function(function, @imports) | interface: interface(function)}, :unanswered, unanswered)
  end

  @doc "A function in a list: the same with 16 of its imports at most, and without its interface and what nobody answers."
  @spec brief(Function.t()) :: map
  def brief(%Function{} = function),
    do: function |> function(@imports_in_lists) |> Map.merge(%{interface: nil, unanswered: nil})

  defp interface(%Function{interface: nil}), do: nil

  defp interface(%Function{interface: json}) do
    {:ok, interface} = Native.json_decode(json)
    interface
  end

  defp function(function, most) do
    {shown, omitted} = Enum.split(function.imports, most)
    function = %{function | imports: Enum.map(shown, &cut/1)} |> Fields.json() |> Map.delete(:asks)
    if omitted == [], do: function, else: Map.put(function, :imports_omitted, length(omitted))
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
