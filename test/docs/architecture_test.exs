Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.ArchitectureTest do
  # ARCHITECTURE.md and docs/invariants.md: the files and tests that they name exist, and what is said to be absent is.
  use ExUnit.Case, async: true

  alias Tidepool.Docs.Markdown
  alias Tidepool.GrowthTable

  @document "ARCHITECTURE.md"
  @invariants "docs/invariants.md"

  test "every invariant names tests, and they exist" do
    # Each is a point of a list, and its tests are points below it.
    invariants = Regex.scan(~r/^- (.*?)$((?:\n  .*)*)/m, File.read!(@invariants), capture: :all_but_first)
    assert length(invariants) > 100

    for [always, guards] <- invariants, do: assert_named(guards, always)
  end

  test "every row of what namespaces share, and of what is kept, names tests, and they exist" do
    for heading <- ["What namespaces share", "What is kept"] do
      rows = GrowthTable.rows(heading)
      assert length(rows) > 10
      for row <- rows, do: row |> List.last() |> assert_named("#{heading}: #{hd(row)}")
    end
  end

  # What the tables of handles have, by which guests name it, and the rows of it.
  @tables %{
    "Config" => "configurations of processes",
    "Module" => "modules that are compiled",
    "Timer" => "timers",
    "Vec<u64>" => "queries of nodes",
    "String" => "texts of errors",
    "VecDeque<SocketAddr>" => "addresses of hosts",
    "Arc<TcpListener>" => "handles of a socket",
    "Arc<TcpStream>" => "handles of a socket",
    "Arc<TlsListener>" => "handles of a socket",
    "Arc<TlsStream>" => "handles of a socket",
    "Arc<UdpSocket>" => "handles of a socket",
    "ResourceTable" => "handles of components",
    "ResourceAny" => "resources of an instance that its callers have",
    "Handle" => "resources of the host's that a guest has",
    "Descriptor" => "open files and folders",
    "u32" => "blocks of a plug-in's memory"
  }

  test "every table of handles that a guest can fill has a row of what grows" do
    headings = ["What programs take", "What calls take", "What is kept"]
    rows = for heading <- headings, [what | _cells] <- GrowthTable.rows(heading), do: what
    # Fields of the library's own type, of Wasmtime's, and maps by numbers.
    field =
      ~r/^    (?:pub(?:\([^)]*\))? )?\w+: (?:Handles<(.+?)(?:, [\d_]+)?>|(ResourceTable)|(?:Hash|BTree)Map<u\d+, (.+?)(?:, RandomState)?>),$/m

    found =
      for file <- Path.wildcard("native/tidepool_core/src/abi/**/*.rs"),
          [_field | of] <- Regex.scan(field, File.read!(file)),
          of = Enum.find(of, &(&1 != "")),
          # What `Handles` itself is made of.
          of != "T",
          uniq: true,
          do: of

    assert Enum.sort(found) == @tables |> Map.keys() |> Enum.sort()
    for {of, row} <- @tables, do: assert(row in rows, "#{of}: #{row}")
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
      # Cargo builds nothing for that, and waits for no build.
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
