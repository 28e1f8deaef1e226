defmodule Tidepool.SlowModule do
  @moduledoc """
  A program of 9 KB that the optimising compiler would take minutes over: loops within loops, in the innermost of which all locals
  are set.
  """

  import Bitwise

  @loops 500
  @locals 500

  @doc "The module's bytes."
  @spec wasm :: binary
  def wasm do
    empty_type = <<0x60, 0, 0>>
    body = [<<1>>, leb(@locals), <<0x7F>>, List.duplicate(<<0x03, 0x40>>, @loops), Enum.map(0..(@locals - 1), &add/1)]
    # br_if 0 of local 0, and the end of the loop around it; then that of the function.
    slow = [body, List.duplicate(<<0x20, 0, 0x0D, 0, 0x0B>>, @loops), <<0x0B>>]

    IO.iodata_to_binary([
      <<"\0asm", 1, 0, 0, 0>>,
      section(1, [<<1>>, empty_type]),
      section(3, <<2, 0, 0>>),
      section(5, <<1, 0, 1>>),
      section(7, [<<2>>, name("memory"), <<2, 0>>, name("_start"), <<0, 0>>]),
      section(10, [<<2>>, sized(<<0, 0x0B>>), sized(slow)])
    ])
  end

  # local = local + 1
  defp add(at), do: [<<0x20>>, leb(at), <<0x41, 1, 0x6A, 0x21>>, leb(at)]

  defp section(id, content), do: [id | sized(content)]
  defp sized(content), do: [leb(IO.iodata_length(content)), content]
  defp name(text), do: [leb(byte_size(text)), text]

  defp leb(number) when number < 0x80, do: <<number>>
  defp leb(number), do: [<<(number &&& 0x7F) ||| 0x80>>, leb(number >>> 7)]
end
