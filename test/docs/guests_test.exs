Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.GuestsTest do
  # The guests that docs/guests.md and the pages of languages show: they are those of `guests`, and do what these say.
  use Tidepool.Case, async: true

  alias Tidepool.Docs.Markdown

  @document "docs/guests.md"
  @documents [@document, "docs/plain-modules.md" | Path.wildcard("docs/languages/*.md")]

  # By the name in the first line of a block.
  @shown %{
    "Cargo.toml" => "guests/hello_world/rust_hello/Cargo.toml",
    "hello.rs" => "guests/hello_world/rust_hello/hello.rs",
    "hello.ts" => "guests/hello_world/assemblyscript/hello.ts",
    "hello.zig" => "guests/hello_world/zig/hello.zig",
    "hello.go" => "guests/hello_world/go/hello.go",
    "hello.c" => "guests/hello_world/c/hello.c",
    "calc.rs" => "guests/plain/rust/calc.rs",
    "upper.rs" => "guests/upper/rust/upper.rs"
  }

  # Shells' and consoles' blocks are commands; the others are files.
  @files ~w(toml rust ts zig go c)

  test "every file that the documents show is one that bin/guests compiles" do
    shown =
      for document <- @documents, {language, text, line} <- Markdown.blocks(document), language in @files do
        [_whole, name] = Regex.run(~r{\A(?://|#) (\S+)\n}, text)
        assert path = @shown[name], "#{document}:#{line}: no guest is known for #{name}"
        # A name that is not in the file stands above it.
        shown = for text <- [text, String.replace_prefix(text, "// #{name}\n", "")], do: String.trim(text)
        assert String.trim(File.read!(path)) in shown, "#{document}:#{line} is not #{path}"
        name
      end

    assert Enum.sort(shown) == Enum.sort(Map.keys(@shown))
  end

  # Where modules lie beside their sources, so that who reads the documents needs no compiler.
  defp kept do
    for file <- Path.wildcard("guests/**/guest.toml"),
        text = File.read!(file),
        [_all, language] = Regex.run(~r/^language = "(\w+)"$/m, text),
        [_all, names] <- [Regex.run(~r/^kept = \[(.*)\]$/m, text)],
        [name] <- Regex.scan(~r/\w+/, names),
        do: {language, name, Path.join(Path.dirname(file), name <> ".wasm")}
  end

  # What says which compiler made a module: another version of Debian has another.
  defp compiler(wasm), do: Regex.run(~r/producers.{0,200}/s, wasm)

  test "every module that lies beside its source is what that gives" do
    assert length(kept()) >= 7

    for {language, name, path} <- kept() do
      [built, there] = [guest(language, name), File.read!(path)]
      same_compiler = language != "rust" or compiler(built) == compiler(there)
      assert not same_compiler or built == there, "#{path} is not what its source gives: run bin/guests --keep"
      assert byte_size(there) < 100_000
    end
  end

  test "a guest is built anew when the modules change by which it is built, and not when another part of the builder does" do
    python = """
    import sys
    sys.path.insert(0, "guests")
    from builder import describe
    for guest in describe.guests()[0]:
        print(guest.language.name, *(line.split("builder/")[-1] for line in guest.stamp.splitlines() if "/builder/" in line))
    """

    {lines, 0} = System.cmd("python3", ["-B", "-c", python])

    built_by =
      for [language | files] <- lines |> String.split("\n", trim: true) |> Enum.map(&String.split/1),
          do: {language, files}

    assert length(built_by) > 50

    for {language, file} <- [
          {"rust", "rust.py"},
          {"rust", "encoder/main.rs"},
          {"wat", "npm.py"},
          {"wat", "assemble.js"},
          {"go", "go.py"}
        ],
        {^language, files} <- built_by,
        do: assert(file in files)

    for {language, files} <- built_by do
      assert "tools.py" in files
      assert Enum.all?(["main.py", "units.py", "describe.py"], &(&1 not in files))
      assert language not in ["rust", "lunatic"] or "npm.py" not in files
    end
  end

  test "modules in the tree are those that are kept, and documents use these and what they have built" do
    {tracked, 0} = System.cmd("git", ["ls-files", "guests/*.wasm"])
    assert Enum.sort(String.split(tracked)) == Enum.sort(for {_language, _name, path} <- kept(), do: path)

    for document <- Markdown.documents(),
        [path] <- Regex.scan(~r{(?:guests|priv/testing)/[\w/]+\.wasm}, File.read!(document)),
        not String.starts_with?(path, "guests/build/"),
        do: assert(File.exists?(path), "#{document} uses #{path}, which is not there")
  end

  @sizes %{
    "C" => {"c", "hello_world"},
    "AssemblyScript" => {"assemblyscript", "hello_world"},
    "Zig" => {"zig", "hello_world"},
    "Rust, `rustc` alone" => {"rust", "hello_world"},
    "Rust, `wapc-guest`" => {"rust", "hello_world_crate"},
    "Go" => {"go", "hello_world"}
  }

  test "modules have the sizes that are told, but for a twentieth that another version of a compiler makes" do
    told = for [guest, bytes, _pages] <- Markdown.rows(@document), module = @sizes[guest], do: {module, bytes}
    assert Enum.sort(Enum.map(told, &elem(&1, 0))) == Enum.sort(Map.values(@sizes))

    for {{language, name}, bytes} <- told do
      bytes = bytes |> String.replace(",", "") |> String.to_integer()
      assert_in_delta byte_size(guest(language, name)), bytes, bytes / 20, "#{language}/#{name}"
    end
  end

  test "documents say that bin/guests compiles what they use of guests/build, before they use it" do
    used =
      for document <- Markdown.documents(),
          text = File.read!(document),
          [{_start, _length}, {at, length}] <- Regex.scan(~r{guests/build/([a-z]+)/}, text, return: :index) do
        language = binary_part(text, at, length)
        built = text |> binary_part(0, at) |> Markdown.builds()
        assert built == :all or language in built, "#{document} does not say who builds guests/build/#{language}"
        language
      end

    assert "wat" in used
  end

  test "every import of `wapc` is in the file that the documents have guests copy" do
    imports = Regex.scan(~r/^\| `(__\w+)|, `(__\w+)/m, File.read!(@document), capture: :all_but_first)
    names = for capture <- imports, name <- capture, name != "", name != "__guest_call", uniq: true, do: name
    assert length(names) >= 9

    for file <- ~w(guests/wapc.rs guests/hello_world/assemblyscript/wapc.ts guests/hello_world/zig/wapc.zig
                   guests/hello_world/go/wapc.go guests/hello_world/c/wapc.h),
        text = File.read!(file),
        name <- names do
      assert text =~ name, "#{file} lacks #{name}"
    end
  end

  for language <- ~w(rust assemblyscript zig go c) do
    test "the guest in #{language} answers, asks the host, and passes on what that refuses" do
      name = deploy!(unquote(language), "hello")
      assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
      assert {:error, %{reason: :guest_error, message: message}} = Tidepool.call(name, "price", "kiwi")
      assert message =~ "no host function shop/products/price"
    end
  end
end
