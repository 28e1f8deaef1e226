defmodule Tidepool.Ship.GuestsTest do
  # bin/guests, in trees of its own with few guests. The compilers are this checkout's.
  use Tidepool.Case, async: true

  @moduletag :ship

  @wat "(module (memory (export \"memory\") 1))"
  # Of wabt's version: the compiler of WAT is that of the lock file.
  @npm ["package.json", "package-lock.json"]

  # A tree with the builder and no guests, and its folder of compilers.
  defp tree!(options \\ []) do
    root = tmp_folder!()
    for file <- ["bin/guests" | Path.wildcard("guests/builder/*.{py,js}")], do: copy!(file, root, file)
    tools = Path.join(root, "tools")
    File.mkdir_p!(tools)
    if Keyword.get(options, :compilers, true), do: link_compilers!(tools)
    {root, [{"TIDEPOOL_GUESTS_TOOLS", tools}, {"CI", ""}]}
  end

  # Without the lock and the caches.
  defp link_compilers!(tools) do
    {help, 0} = System.cmd(Path.expand("bin/guests"), ["--help"])
    [_whole, folder] = Regex.run(~r/fetched when first needed into (.*)$/m, help)

    for path <- Path.wildcard(Path.expand(folder) <> "/{rust,npm-*}"), not String.ends_with?(path, ".new") do
      File.ln_s!(path, Path.join(tools, Path.basename(path)))
    end
  end

  defp copy!(from, root, to) do
    path = Path.join(root, to)
    File.mkdir_p!(Path.dirname(path))
    File.cp!(from, path)
  end

  defp write!(root, file, text) do
    path = Path.join(root, file)
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, text)
  end

  # A waPC guest in Rust that counts its calls, and one in WAT.
  defp rust!(root, name) do
    copy!("guests/wapc.rs", root, "guests/wapc.rs")
    copy!("guests/counter/rust/counter.rs", root, "guests/#{name}/rust/#{name}.rs")

    write!(root, "guests/#{name}/rust/guest.toml", """
    language = "rust"
    kind = "wapc"
    modules = ["#{name}"]
    also = ["../../wapc.rs"]
    """)
  end

  defp wat!(root, name) do
    for file <- @npm, do: copy!("guests/hostile/#{file}", root, "guests/#{name}/#{file}")
    write!(root, "guests/#{name}/guest.toml", "language = \"wat\"\n")
    write!(root, "guests/#{name}/#{name}.wat", @wat)
  end

  defp guests({root, env}, arguments \\ []) do
    System.cmd(Path.join(root, "bin/guests"), arguments, env: env, stderr_to_stdout: true)
  end

  defp built?({root, _env}, module), do: File.exists?(Path.join(root, "guests/build/#{module}.wasm"))

  test "a folder with a guest.toml is a guest, is built once, and again when anything that it is made of changes" do
    {root, _env} = tree = tree!()
    rust!(root, "mine")
    assert {list, 0} = guests(tree, ["--list"])
    assert list =~ ~r/^rust\/mine +to be built$/
    assert {said, 0} = guests(tree)
    wasm = File.read!(Path.join(root, "guests/build/rust/mine.wasm"))
    assert said == "guests: built guests/build/rust/mine.wasm: #{byte_size(wasm)} bytes\n"
    name = deploy_bytes!(wasm)
    assert Tidepool.call(name, "next", "") == {:ok, "1"}

    assert guests(tree) == {"guests: up to date\n", 0}
    assert guests(tree, ["rust"]) == {"guests: up to date\n", 0}

    write!(root, "guests/mine/rust/README.md", "No source.")
    assert guests(tree) == {"guests: up to date\n", 0}

    for file <- ["guests/mine/rust/mine.rs", "guests/wapc.rs", "guests/mine/rust/guest.toml", "guests/builder/rust.py"] do
      text = File.read!(Path.join(root, file))
      write!(root, file, text <> "\n")
      assert {list, 0} = guests(tree, ["--list"])
      assert list =~ "to be built", file
      write!(root, file, text)
    end

    assert guests(tree) == {"guests: up to date\n", 0}
    File.rm!(Path.join(root, "guests/build/rust/mine.wasm"))
    assert {"guests: built guests/build/rust/mine.wasm: " <> _bytes, 0} = guests(tree)
    assert File.read!(Path.join(root, "guests/build/rust/mine.wasm")) == wasm
  end

  test "a CI machine compiles what is the same once for all its checkouts, and keeps the three that were used last" do
    {first, env} = tree!()
    env = [{"CI", "true"} | List.keydelete(env, "CI", 0)]
    for name <- ["one", "two"], do: wat!(first, name)
    write!(first, "guests/two/three.wat", @wat)
    assert {said, 0} = guests({first, env})
    assert said == "guests: built guests/build/wat: 1 modules\nguests: built guests/build/wat: 2 modules\n"

    {second, _env} = tree!(compilers: false)
    for name <- ["one", "two"], do: wat!(second, name)
    write!(second, "guests/two/three.wat", @wat)
    took = "guests: took guests/build/wat: 1 modules\nguests: took guests/build/wat: 2 modules\n"
    assert guests({second, env}) == {took, 0}

    for name <- ~w(one two three) do
      [here, there] = for root <- [first, second], do: File.read!(Path.join(root, "guests/build/wat/#{name}.wasm"))
      assert here == there
    end

    assert guests({second, env}) == {"guests: up to date\n", 0}

    for at <- 1..4 do
      write!(second, "guests/one/one.wat", "(module (memory (export \"memory\") #{at + 1}))")
      assert guests({second, env}) == {"guests: built guests/build/wat: 1 modules\n", 0}
    end

    builds = Path.join(List.keyfind(env, "TIDEPOOL_GUESTS_TOOLS", 0) |> elem(1), "built/wat-one")
    assert length(File.ls!(builds)) == 3
    # The first of all is among them no more.
    assert guests({first, env}) == {"guests: up to date\n", 0}
    File.rm_rf!(Path.join(first, "guests/build"))
    assert {said, 0} = guests({first, env})
    assert said == String.replace(took, "took guests/build/wat: 1", "built guests/build/wat: 1")
  end

  test "folders of WAT are built beside each other, and what was made of a file that is gone goes" do
    {root, _env} = tree = tree!()
    for name <- ["one", "two"], do: wat!(root, name)
    write!(root, "guests/two/three.wat", @wat)
    assert {said, 0} = guests(tree, ["wat"])
    assert said == "guests: built guests/build/wat: 1 modules\nguests: built guests/build/wat: 2 modules\n"
    assert for(name <- ~w(one two three), do: built?(tree, "wat/#{name}")) == [true, true, true]

    File.rm!(Path.join(root, "guests/two/three.wat"))
    assert guests(tree) == {"guests: built guests/build/wat: 1 modules\n", 0}
    assert for(name <- ~w(one two three), do: built?(tree, "wat/#{name}")) == [true, true, false]
  end

  test "every guest.toml that is wrong is named with its path and field, and nothing is built" do
    {root, _env} = tree = tree!()
    wat!(root, "right")

    wrong = [
      {"language = \"rust\"\nkind = ", ~r/it is no TOML: Invalid value/},
      {<<"language = ", 34, 255, 34>>, ~r/it is no TOML/},
      {"", ~r/language is missing; it is one of rust, lunatic, go, zig/},
      {"language = \"cobol\"", ~r/language is 'cobol'; it is one of rust/},
      {"language = [\"rust\"]", ~r/language is \['rust'\]/},
      {"language = \"rust\"",
       ~r/kind is missing; it is one of wapc, lines, wasi, reactor, crate, component, http, command, command-crate in rust/},
      {"language = \"zig\"\nkind = \"wasi\"", ~r/kind is 'wasi'; it is one of wapc in zig/},
      {"language = \"c\"\nkind = \"wapc\"", ~r/modules .* there is none/},
      {"language = \"c\"\nkind = \"wapc\"\nmodules = \"right\"", ~r/modules is 'right'; it is a list of strings/},
      {"language = \"c\"\nkind = \"wapc\"\nmodules = [1]", ~r/modules is \[1\]; it is a list of strings/},
      {"language = \"c\"\nkind = \"wapc\"\nmodules = [\"../../x\"]", ~r/modules has '..\/..\/x'; a name is/},
      {"language = \"c\"\nkind = \"wapc\"\nmodules = [\"x\"]", ~r/modules has 'x', and there is no x\.c beside it/},
      {"language = \"c\"\nkind = \"wapc\"\nmodules = [\"right\", \"right\"]", ~r/modules has something twice/},
      {"language = \"wat\"\nmodules = [\"right\"]", ~r/modules are not listed/},
      {"language = \"wat\"\n", ~r/there is no \*\.wat beside it/},
      {"language = \"c\"\nkind = \"wapc\"\nmodules = [\"right\"]\nalso = [\"y.h\"]",
       ~r/also has 'y\.h', and that is no file/},
      {"language = \"c\"\nkind = \"wapc\"\nmodules = [\"right\"]\nalso = [\"../../../bin/guests\"]", ~r/also has /},
      {"language = \"c\"\nkind = \"wapc\"\nmodules = [\"right\"]\nkept = [\"left\"]",
       ~r/kept has 'left', and that is none/},
      {"language = \"c\"\nkind = \"wapc\"\nmodul = [\"right\"]",
       ~r/modul is no field; there are language, kind, modules/},
      {"language = \"c\"\nkind = \"wasi\"\nmodules = [\"right\"]", nil},
      {"language = \"c\"\nkind = \"wasi\"\nmodules = [\"right\"]",
       ~r{modules: guests/build/c/right.wasm is guests/wrong29/guest.toml's already}}
    ]

    for {{text, _sentence}, index} <- Enum.with_index(wrong, 10) do
      write!(root, "guests/wrong#{index}/guest.toml", text)
      write!(root, "guests/wrong#{index}/right.c", "")
    end

    assert {said, 1} = guests(tree)

    for {{_text, sentence}, index} <- Enum.with_index(wrong, 10) do
      lines = for "guests: guests/wrong" <> line <- String.split(said, "\n"), line =~ ~r/^#{index}\//, do: line
      if sentence, do: assert([line] = lines) && assert(line =~ sentence), else: assert(lines == [])
    end

    assert {_same, 1} = guests(tree, ["wat"])
    assert {_same, 1} = guests(tree, ["--list"])
    refute built?(tree, "wat/right")
  end

  test "what is kept lies beside its source, as it was built, and a folder built at once keeps nothing" do
    {root, _env} = tree = tree!()
    rust!(root, "mine")
    description = Path.join(root, "guests/mine/rust/guest.toml")
    File.write!(description, File.read!(description) <> "kept = [\"mine\"]\n")
    assert {said, 0} = guests(tree, ["--keep"])
    assert said =~ "guests: kept guests/mine/rust/mine.wasm"
    kept = File.read!(Path.join(root, "guests/mine/rust/mine.wasm"))
    assert kept == File.read!(Path.join(root, "guests/build/rust/mine.wasm"))
    # It is no source.
    assert guests(tree) == {"guests: up to date\n", 0}

    wat!(root, "right")
    write!(root, "guests/right/guest.toml", "language = \"wat\"\nkept = [\"right\"]\n")
    assert {said, 1} = guests(tree)
    assert said =~ "kept is for modules that are built one by one"
  end

  test "a guest that can't be compiled is named below what the compiler says, others are built, and it is not taken for built" do
    {root, _env} = tree = tree!()
    rust!(root, "broken")
    wat!(root, "right")
    assert {_said, 0} = guests(tree, ["rust"])
    before = File.read!(Path.join(root, "guests/build/rust/broken.wasm"))
    write!(root, "guests/broken/rust/broken.rs", "fn broken() -> u32 { \"no number\" }\n")

    assert {said, 1} = guests(tree)

    assert [compiler, _rest] =
             String.split(said, "guests: rust/broken could not be built from guests/broken/rust: rustc ended")

    assert compiler =~ "error[E0308]"
    assert compiler =~ "broken.rs:1"
    assert built?(tree, "wat/right")

    assert {again, 1} = guests(tree)
    assert again =~ "error[E0308]"
    assert File.read!(Path.join(root, "guests/build/rust/broken.wasm")) == before
  end

  test "a compiler that can't be fetched is named, nothing of it stays, and the next run fetches it" do
    {root, env} = tree = tree!(compilers: false)
    wat!(root, "right")
    npm = [{"npm_config_registry", "http://127.0.0.1:1/"}, {"npm_config_fetch_retries", "0"}]
    nowhere = [{"npm_config_cache", Path.join(root, "cache")} | npm]

    assert {said, 1} = guests({root, env ++ nowhere})
    assert said =~ "guests: fetching wabt, the WAT assembler, about 1 MB into"

    assert said =~
             ~r/^guests: wat could not be built from guests\/right: fetching wabt.* failed, npm ended.*; try again/m

    assert Path.wildcard(Path.join(root, "tools/npm-*")) == []

    link_compilers!(Path.join(root, "tools"))
    assert {"guests: built guests/build/wat: 1 modules\n", 0} = guests({root, env ++ nowhere})
    assert built?(tree, "wat/right")
  end

  test "of two runs at once one builds, and the other one waits and finds nothing left to do" do
    {root, env} = tree = tree!()
    wat!(root, "right")
    lock = Path.join(root, "tools/lock")

    hold =
      "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held'); sys.stdin.readline()"

    holder = start!(System.find_executable("python3"), ["-uc", hold, lock], [])
    assert_receive {^holder, {:data, {:eol, "held"}}}

    runs = for _run <- 1..2, do: start!(Path.join(root, "bin/guests"), [], env)
    for run <- runs, do: assert_receive({^run, {:data, {:eol, "guests: waiting for another run to end"}}})
    refute built?(tree, "wat/right")
    Port.command(holder, "\n")

    said = for run <- runs, do: said(run)
    assert Enum.sort(said) == [["guests: built guests/build/wat: 1 modules"], ["guests: up to date"]]
  end

  defp start!(program, arguments, env) do
    env = for {name, value} <- env, do: {String.to_charlist(name), String.to_charlist(value)}
    options = [:binary, :exit_status, :stderr_to_stdout, line: 1_000, args: arguments, env: env]
    Port.open({:spawn_executable, program}, options)
  end

  # The lines until its end, which is one of status 0.
  defp said(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> [line | said(port)]
      {^port, {:exit_status, status}} -> assert(status == 0) && []
    after
      60_000 -> flunk("a run does not end")
    end
  end

  test "a language that there is none of is a sentence that has them all, and the status is 1" do
    assert guests(tree!(compilers: false), ["rust", "cobol"]) ==
             {"guests: no language is called cobol; there are: rust lunatic go zig c assemblyscript wat component abis packages\n",
              1}
  end

  test "every guest of this checkout is described, and every description is right" do
    assert {list, 0} = System.cmd(Path.expand("bin/guests"), ["--list"], stderr_to_stdout: true)
    listed = for [_line, module] <- Regex.scan(~r/^(\S+) +(?:up to date|to be built)$/m, list), do: module
    assert length(listed) > 100
    # Those that take long to build are built for long runs alone.
    heavy =
      for file <- Path.wildcard("guests/**/guest.toml"), text = File.read!(file), text =~ ~r/^heavy = true$/m, do: text

    heavy =
      for text <- heavy,
          [_all, language] = Regex.run(~r/^language = "(.*)"$/m, text),
          [_all, names] = Regex.run(~r/^modules = \[(.*?)\]$/ms, text),
          [_all, name] <- Regex.scan(~r/"([^"]+)"/, names),
          do: "#{language}/#{name}"

    for module <- sample(listed -- heavy, listed), do: assert(File.exists?("guests/build/#{module}.wasm"), module)
  end
end
