defmodule Tidepool.TestModule do
  @moduledoc """
  Modules made byte by byte: variants of a guest that differ in their bytes alone, and what no compiler would leave.
  """

  import Bitwise

  @doc "The same module with other bytes: a custom section, which means nothing, is added."
  def variant(wasm, content), do: wasm <> section(0, [vector("variant"), to_string(content)])

  @doc "The same module as one of `size` bytes, some MiB: zeroes in a custom section are added."
  def padded(wasm, size) do
    name = IO.iodata_to_binary(vector("padding"))
    # The section's id, and its length, which takes four bytes.
    length = size - byte_size(wasm) - 5
    wasm <> section(0, [name, <<0::size(length - byte_size(name))-unit(8)>>])
  end

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

  @doc "A plain module of as many exports, `f1` and on, each of as many parameters (`i32`), and with the last of them for its result."
  def wide(exports, params) do
    given = for _param <- 1..params, do: 0x7F
    names = for export <- 1..exports, do: [vector("f#{export}"), 0, leb(0)]

    module([
      section(1, [1, 0x60, leb(params), given, 1, 0x7F]),
      section(3, [1, 0]),
      section(7, [leb(exports), names]),
      section(10, [1, sized([0, 0x20, leb(params - 1), 0x0B])])
    ])
  end

  @doc "A guest that does nothing, and imports one function of the host's as many times."
  def importing(times) do
    module([
      section(1, [2, [0x60, 2, 0x7F, 0x7F, 1, 0x7F], [0x60, 8, List.duplicate(0x7F, 8), 1, 0x7F]]),
      section(2, [leb(times), List.duplicate(host("__host_call", 1), times)]),
      section(3, [1, 0]),
      section(5, [1, 0, 1]),
      section(7, [2, vector("memory"), 2, 0, vector("__guest_call"), 0, leb(times)]),
      section(10, [1, sized([0, 0x41, 1, 0x0B])])
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

  @doc """
  A guest that echoes, and is late to do so: it calls the host's `{name, name, name}` first, then computes for as many
  `rounds` of a loop, and fetches its payload only then.
  """
  def late_echo(name, rounds, pages) do
    {name_at, payload_at} = {512, 1_024}
    text = [int(name_at), int(byte_size(name))]
    host_call = [text, text, text, int(0), int(0), call(2), 0x1A]
    # The third local counts down.
    compute = [int(rounds), 0x21, 2, 0x03, 0x40, 0x20, 2, int(1), 0x6B, 0x22, 2, 0x0D, 0, 0x0B]
    echo = [int(0), int(payload_at), call(0), int(payload_at), 0x20, 1, call(1), int(1)]
    two = [0x60, 2, 0x7F, 0x7F]

    module([
      section(1, [3, [two, 1, 0x7F], [two, 0], [0x60, 8, List.duplicate(0x7F, 8), 1, 0x7F]]),
      section(2, [3, host("__guest_request", 1), host("__guest_response", 1), host("__host_call", 2)]),
      section(3, [1, 0]),
      section(5, [1, 0, leb(pages)]),
      section(7, [2, vector("memory"), 2, 0, vector("__guest_call"), 0, 3]),
      section(10, [1, sized([1, 1, 0x7F, host_call, compute, echo, 0x0B])]),
      section(11, [1, 0, int(name_at), 0x0B, vector(name)])
    ])
  end

  @doc "The header of a component."
  def component, do: <<0, "asm", 13, 0, 1, 0>>

  @doc "A component of one module, whose export of this name it exports: a function of the type `func(depth: u32) -> u32`."
  def lifted(module, name) do
    IO.iodata_to_binary([
      component(),
      section(1, module),
      # An instance of the module, without imports; and of that the function.
      section(2, [1, 0, 0, 0]),
      section(6, [1, 0, 0, 1, 0, vector(name)]),
      section(7, [1, 0x40, 1, vector("depth"), 0x79, 0, 0x79]),
      section(8, [1, 0, 0, 0, 0, 0]),
      section(11, [1, 0, vector(name), 1, 0, 0])
    ])
  end

  defp module(sections), do: IO.iodata_to_binary([<<0, "asm", 1, 0, 0, 0>> | sections])
  defp section(id, content), do: IO.iodata_to_binary([id, sized(content)])
  defp vector(text), do: [leb(byte_size(text)), text]
  defp sized(content), do: [leb(IO.iodata_length(content)), content]

  defp host(name, type), do: [vector("wapc"), vector(name), 0, type]
  defp call(index), do: [0x10, leb(index)]
  defp int(number), do: [0x41, signed(number)]

  # A byte below 64 ends a number with a sign that is not negative.
  defp signed(number) when number < 64, do: [number]
  defp signed(number), do: [bor(band(number, 127), 128) | signed(bsr(number, 7))]

  defp leb(number) when number < 128, do: [number]
  defp leb(number), do: [bor(band(number, 127), 128) | leb(bsr(number, 7))]
end
