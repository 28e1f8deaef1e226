defmodule Tidepool.TestModule do
  @moduledoc """
  Modules made byte by byte: variants of a guest that differ in their bytes alone, and what no compiler would leave.
  """

  import Bitwise

  @doc "The same module with other bytes: a custom section, which means nothing, is added."
  def variant(wasm, content), do: wasm <> section(0, [vector("variant"), to_string(content)])

  @doc """
  A guest whose function `serve` calls `open_the_hatch`, or what the `innermost` is called, which executes `unreachable`. It has a name section, which the
  built guests are stripped of.
  """
  def named_trap(innermost \\ "open_the_hatch") do
    names = [leb(2), leb(0), vector("serve"), leb(1), vector(innermost)]

    module([
      # (i32, i32) -> i32, and () -> ().
      section(1, [2, [0x60, 2, 0x7F, 0x7F, 1, 0x7F], [0x60, 0, 0]]),
      section(3, [2, 0, 1]),
      section(5, [1, 0, 1]),
      section(7, [2, vector("memory"), 2, 0, vector("__guest_call"), 0, 0]),
      section(10, [2, sized([0, 0x10, 1, 0x41, 1, 0x0B]), sized([0, 0x00, 0x0B])]),
      section(0, [vector("name"), 1, sized(names)])
    ])
  end

  @doc "A guest that does nothing and starts with a table of `elements`."
  def table(elements) do
    module([
      section(1, [1, [0x60, 2, 0x7F, 0x7F, 1, 0x7F]]),
      section(3, [1, 0]),
      section(4, [1, 0x70, 0, leb(elements)]),
      section(5, [1, 0, 1]),
      section(7, [2, vector("memory"), 2, 0, vector("__guest_call"), 0, 0]),
      section(10, [1, sized([0, 0x41, 1, 0x0B])])
    ])
  end

  @doc "The header of a component."
  def component, do: <<0, "asm", 13, 0, 1, 0>>

  defp module(sections), do: IO.iodata_to_binary([<<0, "asm", 1, 0, 0, 0>> | sections])
  defp section(id, content), do: IO.iodata_to_binary([id, sized(content)])
  defp vector(text), do: [leb(byte_size(text)), text]
  defp sized(content), do: [leb(IO.iodata_length(content)), content]

  defp leb(number) when number < 128, do: [number]
  defp leb(number), do: [bor(band(number, 127), 128) | leb(bsr(number, 7))]
end
