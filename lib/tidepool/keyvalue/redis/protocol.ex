defmodule Tidepool.Keyvalue.Redis.Protocol do
  @moduledoc """
  What goes to a Redis and comes from it: version 2 of its protocol, RESP. Answers are read as their bytes come, each byte once.
  Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
  """

  # More than any answer that is asked for: somebody else speaks there.
  @most_bytes 16_777_216
  @most_elements 100_000
  @most_line 8_192
  @most_depth 8
  # Of a number in an answer.
  @most_digits 20

  @type answer :: integer | binary | nil | [answer] | {:error, String.t()}

  @typedoc "What has been read of an answer that is not whole: lists around it, the bytes and elements so far, and what is read now."
  @opaque part :: %{
            lists: [{left :: pos_integer, [answer]}],
            bytes: non_neg_integer,
            elements: non_neg_integer,
            now: {:line, binary} | {:text, size :: pos_integer, missing :: pos_integer, [binary]}
          }

  @doc """
  A command.

      iex> IO.iodata_to_binary(Tidepool.Keyvalue.Redis.Protocol.command(["GET", "a"]))
      "*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\na\\r\\n"
  """
  @spec command([binary]) :: iodata
  def command(words) do
    ["*#{length(words)}\r\n" | for(word <- words, do: ["$#{byte_size(word)}\r\n", word, "\r\n"])]
  end

  @doc "Before the first byte of an answer."
  @spec start :: part
  def start, do: %{lists: [], bytes: 0, elements: 0, now: {:line, ""}}

  @doc """
  The answers that are whole with some more bytes, in their order, and what has been read of the next one.

      iex> alias Tidepool.Keyvalue.Redis.Protocol
      iex> whole = &elem(Protocol.read(Protocol.start(), &1), 1)
      iex> whole.("+OK\\r\\n:5\\r\\n$-1\\r\\n*2\\r\\n$1\\r\\na\\r\\n:1\\r\\n-ERR no\\r\\n:")
      ["OK", 5, nil, ["a", 1], {:error, "ERR no"}]
      iex> {:ok, [], part} = Protocol.read(Protocol.start(), "*2\\r\\n$5\\r\\nab")
      iex> {:ok, [["abcde", []]], _part} = Protocol.read(part, "cde\\r\\n*0\\r\\n")
      iex> Protocol.read(Protocol.start(), "HTTP/1.1 400\\r\\n")
      :error
  """
  @spec read(part, binary) :: {:ok, [answer], part} | :error
  def read(part, bytes), do: read(part, bytes, [])

  defp read(%{now: {:line, begun}} = part, bytes, answers) do
    # The end of a line may come in two pieces. Lines are short: to copy what has come of one is little.
    # Where nothing of one has, all that follows it, which may be long, is not copied for each.
    bytes = if begun == "", do: bytes, else: begun <> bytes

    case :binary.match(bytes, "\r\n", scope: {0, min(byte_size(bytes), @most_line)}) do
      {at, 2} ->
        <<line::binary-size(at), "\r\n", rest::binary>> = bytes
        part = %{part | bytes: part.bytes + at, elements: part.elements + 1}
        if allowed?(part), do: line(line, part, rest, answers), else: :error

      :nomatch when byte_size(bytes) >= @most_line ->
        :error

      :nomatch ->
        {:ok, Enum.reverse(answers), %{part | now: {:line, :binary.copy(bytes)}}}
    end
  end

  defp read(%{now: {:text, size, missing, pieces}} = part, bytes, answers) do
    case bytes do
      <<piece::binary-size(missing), rest::binary>> ->
        case IO.iodata_to_binary(Enum.reverse(pieces, [piece])) do
          <<text::binary-size(size), "\r\n">> -> value(text, part, rest, answers)
          _other -> :error
        end

      _piece ->
        {:ok, Enum.reverse(answers), %{part | now: {:text, size, missing - byte_size(bytes), [bytes | pieces]}}}
    end
  end

  defp allowed?(part),
    do: part.bytes <= @most_bytes and part.elements <= @most_elements and length(part.lists) <= @most_depth

  defp line("+" <> text, part, rest, answers), do: value(text, part, rest, answers)
  defp line("-" <> text, part, rest, answers), do: value({:error, text}, part, rest, answers)

  defp line(<<kind, digits::binary>>, part, rest, answers) when kind in ':$*' and byte_size(digits) <= @most_digits do
    case {kind, Integer.parse(digits)} do
      {?:, {number, ""}} ->
        value(number, part, rest, answers)

      {_kind, {-1, ""}} ->
        value(nil, part, rest, answers)

      {?$, {size, ""}} when size in 0..@most_bytes ->
        part = %{part | bytes: part.bytes + size, now: {:text, size, size + 2, []}}
        if allowed?(part), do: read(part, rest, answers), else: :error

      {?*, {0, ""}} ->
        value([], part, rest, answers)

      {?*, {count, ""}} when count in 1..@most_elements ->
        read(%{part | lists: [{count, []} | part.lists], now: {:line, ""}}, rest, answers)

      _other ->
        :error
    end
  end

  defp line(_other, _part, _rest, _answers), do: :error

  # A value is an answer, or the next element of the list that it stands in, which it may complete.
  defp value(value, %{lists: []}, rest, answers), do: read(start(), rest, [value | answers])

  defp value(value, %{lists: [{1, values} | lists]} = part, rest, answers),
    do: value(Enum.reverse(values, [value]), %{part | lists: lists}, rest, answers)

  defp value(value, %{lists: [{left, values} | lists]} = part, rest, answers),
    do: read(%{part | lists: [{left - 1, [value | values]} | lists], now: {:line, ""}}, rest, answers)
end
