Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.ArchitectureTest do
  # ARCHITECTURE.md and docs/invariants.md: the files and tests that they name exist, and what is said to be absent is.
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown

  @document "ARCHITECTURE.md"
  @invariants "docs/invariants.md"
  @growth "docs/growth.md"

  test "every invariant names tests, and they exist" do
    # Each is a point of a list, and its tests are points below it.
    invariants = Regex.scan(~r/^- (.*?)$((?:\n  .*)*)/m, File.read!(@invariants), capture: :all_but_first)
    assert length(invariants) > 100

    for [always, guards] <- invariants, do: assert_named(guards, always)
  end

  test "every row of what namespaces share names tests, and they exist" do
    [_before, shared] = @growth |> File.read!() |> String.split("\n## What namespaces share\n")
    [_head, _rule | rows] = Regex.scan(~r/^\|.*$/m, shared) |> List.flatten()
    assert length(rows) > 10

    for row <- rows, do: row |> String.split(" | ") |> List.last() |> assert_named(row)
  end

  # A text of docs/ names tests, and they exist.
  defp assert_named(text, of) do
    assert [_one | _more] = tests = Markdown.named(text), of

    for [title, file] <- tests do
      assert Markdown.test?(Path.join("docs", file) |> Path.expand() |> Path.relative_to_cwd(), title),
             "#{file}: #{title}"
    end
  end

  test "every file and folder of the code map exists" do
    [map, _rest] =
      File.read!(@document) |> String.split("## Where things are\n") |> Enum.at(1) |> String.split("\n## ", parts: 2)

    for [_row, names] <- Regex.scan(~r/^\| (`[^|]+`) \|/m, map) do
      [first | more] = Regex.scan(~r/`([^`]+)`/, names, capture: :all_but_first) |> List.flatten()
      # Further names of a row are beside the first.
      for name <- [first | Enum.map(more, &Path.join(Path.dirname(first), &1))], do: assert(File.exists?(name), name)
    end
  end

  # The rooms of each house that ARCHITECTURE.md lists, in their order, with those that they may use: as rooms.toml has it, and as
  # the section does.
  defp table(house) do
    [_before, table] = String.split(File.read!("bin/tidy/rooms.toml"), ~s([house."#{house}"]\n), parts: 2)
    rows = table |> String.split("\n[") |> hd()

    for [_row, room, used] <- Regex.scan(~r/^"?([\w\/]+)"? = \[(.*)\]$/m, rows),
        do: {room, names(~r/"([\w\/]+)"/, used)}
  end

  defp section(heading) do
    [_before, text] = String.split(File.read!(@document), "\n## #{heading}\n", parts: 2)
    [text | _rest] = String.split(text, ~r/\n## |; and /)
    text = Regex.replace(~r/\([^)]*\)/s, text, "")

    for [_point, rooms, used] <- Regex.scan(~r/^- ((?:`[\w.\/]+`(?:, )?)+)\s*:((?:\s+(?:none|`[\w\/]+`),?)+)$/m, text),
        room <- names(~r/`(\w+(?:\/\w+)*)/, rooms),
        do: {room, names(~r/`([\w\/]+)`/, used)}
  end

  defp names(pattern, text), do: for([_all, name] <- Regex.scan(pattern, text), do: name)

  test "rooms use what ARCHITECTURE.md says, for that is what bin/tidy holds them to" do
    for {heading, house} <- [
          {"Rooms of Elixir", "lib/tidepool"},
          {"Rooms of the core", "native/tidepool_core/src"},
          {"Rooms of records", "native/tidepool_records/src"},
          {"Rooms of the edge and of the library", "native/tidepool_nif/src"}
        ] do
      # What a crate's programs are is no room of its own.
      assert section(heading) == List.keydelete(table(house), "bin", 0), heading
    end
  end

  test "core and edge depend neither on Rustler nor on each other" do
    for {crate, strangers} <- [
          # What guests are told of HTTP is in hyper's words; the core opens no connection.
          {"tidepool_core", ~w(rustler hyper-util axum tidepool_http tidepool_nif)},
          {"tidepool_http", ~w(rustler wasmtime tidepool_core tidepool_nif)}
        ] do
      arguments = ~w(tree --locked --offline --edges normal,build --prefix none --format {p} --package #{crate})
      {tree, 0} = System.cmd("cargo", arguments, cd: "native")
      packages = for line <- String.split(tree, "\n", trim: true), uniq: true, do: line |> String.split() |> hd()
      assert "tokio" in packages
      assert Enum.filter(strangers, &(&1 in packages)) == []
    end
  end

  test "NIF stubs are in Tidepool.Native, which has nothing else but how it is loaded" do
    stubs = ~r/:erlang\.nif_error/
    assert Enum.filter(Path.wildcard("lib/**/*.ex"), &(File.read!(&1) =~ stubs)) == ["lib/tidepool/native.ex"]

    functions = Tidepool.Native.__info__(:functions) |> Keyword.drop([:load, :folder]) |> length()
    assert length(Regex.scan(stubs, File.read!("lib/tidepool/native.ex"))) == functions
  end

  test "nothing below the application calls TidepoolWeb" do
    files = Path.wildcard("lib/tidepool/**/*.ex") -- ["lib/tidepool/application.ex"]
    assert files != []
    assert Enum.filter(["lib/tidepool.ex" | files], &(File.read!(&1) =~ "TidepoolWeb")) == []
  end
end
