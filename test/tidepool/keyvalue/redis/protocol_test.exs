defmodule Tidepool.Keyvalue.Redis.ProtocolTest do
  # How much an answer may have before it is taken for somebody else's, who is left: so nothing that a server says fills the node.
  use ExUnit.Case, async: true

  alias Tidepool.Keyvalue.Redis.Protocol

  @most_bytes 16_777_216

  defp read(bytes), do: Protocol.read(Protocol.start(), IO.iodata_to_binary(bytes))

  defp whole(bytes), do: assert({:ok, [answer], _part} = read(bytes)) && answer
  defp begun(bytes), do: assert({:ok, [], _part} = read(bytes))
  defp none(bytes), do: assert(read(bytes) == :error)

  test "an answer has 16 MiB of texts and lines at most" do
    # The line that says how long a text is counts, too.
    most = @most_bytes - byte_size("$16777207")
    begun("$#{most}\r\n")
    none("$#{most + 1}\r\n")
    none("$#{@most_bytes + 1}\r\n")
    assert byte_size(whole(["$#{most}\r\n", String.duplicate("x", most), "\r\n"])) == most

    # Lines alone count as well: each is short, and together they are more.
    line = ["+", String.duplicate("x", 8_189), "\r\n"]
    lines = fn count -> ["*3000\r\n", List.duplicate(line, count)] end
    # What follows a line is not copied for it, which took minutes.
    assert {took, {:ok, [], _part}} = :timer.tc(fn -> read(lines.(2_048)) end)
    assert took < 20_000_000
    none(lines.(2_049))

    # An answer's bytes are none of the next one's.
    half = ["$9000000\r\n", String.duplicate("x", 9_000_000), "\r\n"]
    assert {:ok, [_one, _other], _part} = read([half, half])
    none(["*2\r\n", half, half])
  end

  test "an answer has a hundred thousand elements at most, itself included, and eight lists around one" do
    assert length(whole(["*99999\r\n", List.duplicate(":1\r\n", 99_999)])) == 99_999
    begun(["*100000\r\n", List.duplicate(":1\r\n", 99_999)])
    none(["*100000\r\n", List.duplicate(":1\r\n", 100_000)])
    none("*100001\r\n")
    assert whole([List.duplicate("*1\r\n", 8), ":1\r\n"]) == [[[[[[[[1]]]]]]]]
    none([List.duplicate("*1\r\n", 9), ":1\r\n"])
  end

  test "a line has 8 KiB at most, and a number twenty digits" do
    assert whole(["+", String.duplicate("x", 8_189), "\r\n"]) == String.duplicate("x", 8_189)
    begun(["+", String.duplicate("x", 8_190)])
    none(["+", String.duplicate("x", 8_191)])
    none(["+", String.duplicate("x", 8_190), "\r\n"])
    assert whole(":-9223372036854775808\r\n") == -0x8000_0000_0000_0000
    none([":", String.duplicate("1", 21), "\r\n"])
    for wrong <- [":", ":1a", "$-2", "*-2", "$a", "?1", ""], do: none(wrong <> "\r\n")
    # A text ends where it was said to.
    none("$2\r\nabc\r\n")
    assert whole("$2\r\nab\r\n") == "ab"
  end

  test "an answer is the same however its bytes come" do
    bytes = "*3\r\n$4\r\nti\r\n\r\n*2\r\n:-1\r\n$-1\r\n-ERR no\r\n+OK\r\n"
    expected = [["ti\r\n", [-1, nil], {:error, "ERR no"}], "OK"]

    for size <- 1..byte_size(bytes) do
      pieces = for at <- 0..(byte_size(bytes) - 1)//size, do: binary_part(bytes, at, min(size, byte_size(bytes) - at))

      {answers, part} =
        Enum.reduce(pieces, {[], Protocol.start()}, fn piece, {answers, part} ->
          assert {:ok, more, part} = Protocol.read(part, piece)
          {answers ++ more, part}
        end)

      assert {answers, part} == {expected, Protocol.start()}
    end
  end
end
