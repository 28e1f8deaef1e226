defmodule Tidepool.LunaticSuite do
  @moduledoc """
  The tests of the crate `lunatic`, as its macro leaves them in a module: exports named
  `#lunatic_test_` + [`#ignore_`] + [`#panic_TEXT#`] + path, of type `() -> ()`.
  """

  alias Tidepool.Process, as: Guest

  # A test that hangs is reported as such long before ExUnit ends it.
  @longest 120_000

  @typedoc """
  A test: the module that it is in, its export, its path in the crate, whether it is ignored, and which text a panic has to
  say, if it is to panic at all; an empty text means any death.
  """
  @type entry :: %{
          module: String.t(),
          export: String.t(),
          path: String.t(),
          ignored?: boolean,
          panic: String.t() | nil
        }

  @doc "The tests of all modules in a folder, by module and path."
  @spec entries(Path.t()) :: [entry]
  def entries(folder) do
    for file <- Enum.sort(Path.wildcard(Path.join(folder, "test_*.wasm"))),
        "#lunatic_test_" <> name = export <- Enum.sort(exports(File.read!(file))) do
      Map.merge(parse(name), %{module: Path.basename(file, ".wasm"), export: export})
    end
  end

  defp parse("#ignore_" <> name), do: %{parse(name) | ignored?: true}

  defp parse("#panic_" <> name) do
    # The text ends at a # without a backslash before it.
    [text, path] = String.split(name, ~r/(?<!\\)#/, parts: 2)
    %{path: path, ignored?: false, panic: String.replace(text, "\\#", "#")}
  end

  defp parse(name), do: %{path: name, ignored?: false, panic: nil}

  @doc """
  Runs a test as a program of its own: `:ok`, or `{:failed, what}` with what was said.

  A test passes when it returns, or, if it has to panic, when it dies and its panic's message has the text.
  """
  @spec run(entry, String.t()) :: :ok | {:failed, String.t()}
  def run(entry, function) do
    # A short one is over before it could be monitored.
    Process.flag(:trap_exit, true)
    {:ok, pid} = Guest.start_link(function, [], entry: entry.export, output: self())

    receive do
      {:EXIT, ^pid, reason} -> judge(entry, reason, said([]))
    after
      @longest ->
        Process.exit(pid, :kill)
        {:failed, "it has not ended after #{@longest} ms, and said:\n#{said([])}"}
    end
  end

  defp judge(%{panic: nil}, :normal, _output), do: :ok
  defp judge(%{panic: nil}, reason, output), do: {:failed, "it died: #{inspect(reason)}, and said:\n#{output}"}
  defp judge(_entry, :normal, output), do: {:failed, "it was to panic and returned, and said:\n#{output}"}
  defp judge(%{panic: ""}, _reason, _output), do: :ok

  defp judge(entry, reason, output) do
    if Enum.any?(panics(output), &String.contains?(&1, entry.panic)),
      do: :ok,
      else: {:failed, "no panic says #{inspect(entry.panic)}; it died: #{inspect(reason)}, and said:\n#{output}"}
  end

  @doc """
  What panics say in the output of Rust's programs: before Rust 1.73 in quotes before the place, since then on the lines after it.

      iex> Tidepool.LunaticSuite.panics("thread '<unnamed>' panicked at 'too deep', tests/x.rs:1:5")
      ["too deep"]
      iex> Tidepool.LunaticSuite.panics("thread 'main' panicked at src/x.rs:1:5:\\ntoo deep\\nnote: run with more")
      ["too deep"]
  """
  @spec panics(String.t()) :: [String.t()]
  def panics(output) do
    for pattern <- [
          ~r/ panicked at '(.*?)', [^'\n]+:\d+:\d+$/ms,
          ~r/ panicked at [^'\n]+:\d+:\d+:\n(.*?)(?=\nnote: |\nthread '|\z)/s
        ],
        [_whole, text] <- Regex.scan(pattern, output),
        do: text
  end

  # What the program's processes have said: its messages are here before the monitor's, if they come from the same process.
  defp said(lines) do
    receive do
      {:tidepool_output, _process, _stream, line} -> said([line | lines])
    after
      0 -> lines |> Enum.reverse() |> Enum.map_join("\n", &String.trim_trailing(&1, "\n"))
    end
  end

  # The names in a module's export section.
  defp exports(<<"\0asm", 1, 0, 0, 0, sections::binary>>), do: exports_in(sections)

  defp exports_in(<<7, rest::binary>>) do
    {_size, rest} = leb(rest)
    {count, rest} = leb(rest)
    names(count, rest)
  end

  defp exports_in(<<_id, rest::binary>>) do
    {size, rest} = leb(rest)
    <<_section::binary-size(size), rest::binary>> = rest
    exports_in(rest)
  end

  defp exports_in(<<>>), do: []

  defp names(0, _rest), do: []

  defp names(count, rest) do
    {size, rest} = leb(rest)
    <<name::binary-size(size), _kind, rest::binary>> = rest
    {_index, rest} = leb(rest)
    [name | names(count - 1, rest)]
  end

  defp leb(binary, shift \\ 0)
  defp leb(<<0::1, bits::7, rest::binary>>, shift), do: {Bitwise.bsl(bits, shift), rest}

  defp leb(<<1::1, bits::7, rest::binary>>, shift) do
    {more, rest} = leb(rest, shift + 7)
    {Bitwise.bsl(bits, shift) + more, rest}
  end
end
