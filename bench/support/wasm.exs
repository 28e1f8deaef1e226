defmodule Bench.Wasm do
  @moduledoc "Modules of WebAssembly that benches make: larger than anybody would write."

  import Bitwise

  @doc """
  A waPC guest whose `__guest_call` is `code`, which leaves an integer on the stack. It imports `functions` of the host,
  `{module, name, parameters, results}` with numbers of integers, and has `pages` of memory.
  """
  @spec guest([{String.t(), String.t(), 0..20, 0..1}], pos_integer, iodata) :: binary
  def guest(functions, pages, code) do
    count = length(functions)
    types = Enum.uniq([{2, 1} | for({_module, _name, parameters, results} <- functions, do: {parameters, results})])
    type = types |> Enum.with_index() |> Map.new()
    imports = for {module, name, parameters, results} <- functions, do: {module, name, type[{parameters, results}]}

    IO.iodata_to_binary([
      <<0, "asm", 1, 0, 0, 0>>,
      section(1, [leb(length(types)) | for({parameters, results} <- types, do: [0x60, ints(parameters), ints(results)])]),
      section(2, [leb(count) | for({module, name, type} <- imports, do: [name(module), name(name), 0, leb(type)])]),
      section(3, [1, 0]),
      section(5, [1, 0, leb(pages)]),
      section(7, [2, name("memory"), 2, 0, name("__guest_call"), 0, leb(count)]),
      section(10, [1, sized([0, code, 0x0B])])
    ])
  end

  @doc "`i32.const number`."
  @spec int(integer) :: iodata
  def int(number), do: [0x41, leb(number)]

  @doc "`call` of a function by its index; those of the host come first."
  @spec call(non_neg_integer) :: iodata
  def call(index), do: [0x10, leb(index)]

  defp ints(count), do: [leb(count), List.duplicate(0x7F, count)]
  defp section(id, content), do: [id | sized(content)]
  defp sized(content), do: [leb(IO.iodata_length(content)), content]
  defp name(text), do: [leb(byte_size(text)), text]

  # LEB128 of what is not negative. A byte below 64 ends it, so that it is the same number with a sign and without.
  defp leb(number) when number < 0x40, do: <<number>>
  defp leb(number), do: <<1::1, number &&& 0x7F::7, leb(number >>> 7)::binary>>
end
