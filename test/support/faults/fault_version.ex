defmodule Tidepool.FaultVersion do
  @moduledoc """
  Guests that tell which version of them answered: version 57 replies to any call with `0057` five thousand times.

  The first mark of a reply is an operand in the module's code, the others are data on several pages of memory, so a
  reply that was put together from two versions does not go unnoticed.
  """

  import Bitwise

  @marks 5_000

  @doc "The module of version `number`, 0 to 9999."
  def module(number) do
    mark = mark(number)
    <<operand::little-signed-32>> = mark

    code = [
      [0x41, 0, 0x41, signed_leb(operand), 0x36, 2, 0],
      [0x41, 0, 0x41, signed_leb(4 * @marks), 0x10, 0],
      [0x41, 1, 0x0B]
    ]

    IO.iodata_to_binary([
      <<0, "asm", 1, 0, 0, 0>>,
      # (i32, i32) -> (), and (i32, i32) -> i32.
      section(1, [2, [0x60, 2, 0x7F, 0x7F, 0], [0x60, 2, 0x7F, 0x7F, 1, 0x7F]]),
      section(2, [1, name("wapc"), name("__guest_response"), 0, 0]),
      section(3, [1, 1]),
      section(5, [1, 0, 1]),
      section(7, [2, name("memory"), 2, 0, name("__guest_call"), 0, 1]),
      section(10, [1, sized([0 | code])]),
      section(11, [1, 0, 0x41, 4, 0x0B, sized(:binary.copy(mark, @marks - 1))])
    ])
  end

  @doc "The same module, larger by `bytes` that mean nothing."
  def padded(module, bytes), do: module <> IO.iodata_to_binary(section(0, [name("padding"), :binary.copy("-", bytes)]))

  @doc "The version that gave this reply, or `:mixed` when no version gives such a one."
  def of(<<mark::binary-size(4), _rest::binary>> = reply) do
    if reply == :binary.copy(mark, @marks), do: String.to_integer(mark), else: :mixed
  end

  def of(_reply), do: :mixed

  defp mark(number) when number in 0..9999, do: number |> Integer.to_string() |> String.pad_leading(4, "0")

  defp section(id, content), do: [id, sized(content)]
  defp name(text), do: sized(text)
  defp sized(content), do: [leb(IO.iodata_length(content)), content]

  defp leb(number) when number < 128, do: [number]
  defp leb(number), do: [bor(band(number, 127), 128) | leb(bsr(number, 7))]

  defp signed_leb(number) when number in -64..63, do: [band(number, 127)]
  defp signed_leb(number), do: [bor(band(number, 127), 128) | signed_leb(bsr(number, 7))]
end
