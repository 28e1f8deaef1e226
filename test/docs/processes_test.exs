Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.ProcessesTest do
  # The programs that docs/processes.md shows; what it does with them is run in blocks_test.exs.
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown

  @document "docs/processes.md"
  @crate "guests/processes/rust"

  test "every program that the document shows is one that bin/guests compiles" do
    shown = for {"rust", text, _line} <- Markdown.blocks(@document), do: text
    assert shown == for(name <- ["first", "sum", "everywhere"], do: File.read!("#{@crate}/src/bin/#{name}.rs"))
  end

  test "the crate's version is that of the programs here" do
    [_line, version] = Regex.run(~r/^lunatic = "=(.+)"$/m, File.read!("#{@crate}/Cargo.toml"))
    text = File.read!(@document)
    assert text =~ "\ncargo add lunatic@=#{version}\n"
    assert text =~ "crate `lunatic`\n#{version} run"
  end

  test "every test that the document links to has the table that it tells of" do
    for [_title, "../test/" <> _file = path] <- @document |> File.read!() |> Markdown.named() do
      assert File.read!(Path.join("docs", path)) =~ ~r/^ *@(fails|differs) %\{$/m
    end
  end
end
