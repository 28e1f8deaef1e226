defmodule Tidepool.Docs.Markdown do
  @moduledoc """
  Documents as data: their code blocks, links and headings; and running the blocks.

  - ` ```console `: lines after `$ ` are run by the shell in the project's folder, with a node's address for
    `localhost:4000`, others' for the ports after it; the lines after a command are what it writes, where `…` stands for anything.
  - ` ```elixir `: run with one binding for the document. The value of what stands before `#=> PATTERN` matches the pattern. A block that begins with the comment `# config/…` is checked as settings; one that begins with
    another file's name just has to be Elixir.
  """

  import ExUnit.Assertions

  @doc "The documents of the project."
  def documents do
    [
      "*.md",
      "docs/**/*.md",
      "lib/**/*.md",
      "native/tidepool_*/*.md",
      "native/fuzz/*.md",
      "guests/**/README.md",
      "examples/*/*.md",
      "bench/*.md"
    ]
    |> Enum.flat_map(&Path.wildcard/1)
    |> Enum.reject(&(&1 =~ ~r{^guests/build/}))
  end

  @doc "Code blocks as `{language, text, line}`."
  def blocks(path) do
    path
    |> File.read!()
    |> String.split("\n")
    |> Enum.with_index(1)
    |> Enum.reduce({nil, []}, fn
      {"```" <> language, line}, {nil, blocks} -> {{language, [], line}, blocks}
      {"```" <> _rest, _line}, {{language, lines, line}, blocks} -> {nil, [{language, text(lines), line} | blocks]}
      {_text, _line}, {nil, blocks} -> {nil, blocks}
      {text, _line}, {{language, lines, line}, blocks} -> {{language, [text | lines], line}, blocks}
    end)
    |> elem(1)
    |> Enum.reverse()
  end

  @doc "The text without code blocks."
  def prose(path), do: path |> File.read!() |> String.replace(~r/^```.*?^```/ms, "")

  @doc "Targets of links, but for those to other sites."
  def links(path) do
    for [_whole, target] <- Regex.scan(~r/\]\(([^)\s]+)\)/, String.replace(prose(path), ~r/`[^`\n]*`/, "code")),
        not (target =~ ~r{^[a-z]+:}),
        do: target
  end

  @doc "The anchors of a document's headings, as code forges make them."
  def anchors(path) do
    for [_whole, heading] <- Regex.scan(~r/^\#{1,6} +(.+)$/m, prose(path)) do
      heading |> String.downcase() |> String.replace(~r/[^\w\- ]/u, "") |> String.replace(" ", "-")
    end
  end

  @doc "The rows of all tables, as lists of cells."
  def rows(path) do
    for "| " <> row <- path |> prose() |> String.split("\n"), not (row =~ ~r/^-+ \|/) do
      row |> String.trim_trailing(" |") |> String.split(" | ") |> Enum.map(&String.trim/1)
    end
  end

  @doc "The links of a text as `[title, target]`."
  def named(text), do: Regex.scan(~r/\[([^\]]+)\]\(([^)]+)\)/, text, capture: :all_but_first)

  @doc "Does the file have a test of this title? What that has at … is put in when the test is compiled."
  def test?(file, title) do
    parts = title |> String.split("…") |> Enum.map(&Regex.escape/1)
    kind = if Path.extname(file) == ".rs", do: "fn ", else: "test \""
    File.exists?(file) and File.read!(file) =~ Regex.compile!(kind <> Enum.join(parts, "[^\"\\n]*") <> "[\"(]")
  end

  @doc "The languages of the guests that a text has `bin/guests` compile, or `:all`."
  def builds(text) do
    commands = for [_all, languages] <- Regex.scan(~r{bin/guests((?: [a-z]+)*)}, text), do: String.split(languages)
    if [] in commands, do: :all, else: commands |> Enum.concat() |> Enum.uniq()
  end

  @doc "Runs all console blocks against the edges at `addresses`, which stand for localhost:4000 and the ports after it, with options of `System.cmd/3`."
  def run_console!(path, addresses, options \\ []) do
    # Of this run alone: what a page leaves goes, and two runs do not have the same files.
    folder = Path.join(System.tmp_dir!(), "page-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(folder) end)
    own = &String.replace(&1, "/tmp/", folder <> "/")

    for {"console", text, line} <- blocks(path), {command, expected} <- commands(text) do
      {command, expected} = {own.(command), own.(expected)}

      command =
        addresses
        |> Enum.with_index(4000)
        |> Enum.reduce(command, fn {address, port}, command -> String.replace(command, "localhost:#{port}", address) end)

      {output, status} = System.cmd("bash", ["-c", command], options)
      output = String.trim_trailing(output, "\n")
      message = "#{path}:#{line}: #{command}\nshould write\n#{expected}\nand wrote\n#{output}"
      assert output =~ pattern(expected), message
      assert status == 0, "#{path}:#{line}: #{command}\nended with status #{status}"
    end
  end

  @doc "Runs all Elixir blocks with `evaluate`, which is like `Code.eval_string/3`."
  def run_elixir!(path, evaluate) do
    for({"elixir", text, line} <- blocks(path), do: {text, line})
    |> Enum.reduce([], fn {text, line}, binding ->
      case Regex.run(~r/\A# ([\w\/.]+\.exs?)\n/, text) do
        [_comment, "config/" <> _name = file] -> check_config!(file, text) && binding
        [_comment, _file] -> Code.string_to_quoted!(text, file: path, line: line) && binding
        nil -> run_block!(text, binding, path, line + 1, evaluate)
      end
    end)
  end

  defp check_config!(file, text) do
    settings = Config.__eval__!(file, text) |> elem(0)
    assert {:ok, _config} = Tidepool.Config.Schema.check(settings[:tidepool])
  end

  defp run_block!(text, binding, path, line, evaluate) do
    case String.split(text, ~r/^#=> /m, parts: 2) do
      [code] ->
        {_value, binding} = evaluate.(code, binding, file: path, line: line)
        binding

      [code, rest] ->
        [pattern | after_it] = String.split(rest, "\n", parts: 2)
        {value, binding} = evaluate.(code, binding, file: path, line: line)
        {matches?, _binding} = Code.eval_string("match?(#{pattern}, value)", value: value)
        assert matches?, "#{path}:#{line}: #{code}is #{inspect(value)}, not #{pattern}"
        run_block!(Enum.join(after_it), binding, path, line, evaluate)
    end
  end

  defp commands(text) do
    for part <- String.split(text, ~r/^\$ /m, trim: true) do
      [command | output] = String.split(part, "\n", parts: 2)
      {command, output |> Enum.join() |> String.trim_trailing("\n")}
    end
  end

  defp pattern(expected) do
    parts = expected |> String.split("…") |> Enum.map(&Regex.escape/1)
    Regex.compile!("\\A" <> Enum.join(parts, ".*") <> "\\z", "su")
  end

  defp text(lines), do: lines |> Enum.reverse() |> Enum.map_join(&(&1 <> "\n"))
end
