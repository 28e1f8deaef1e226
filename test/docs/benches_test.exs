Code.require_file("markdown.exs", __DIR__)

defmodule Tidepool.Docs.BenchesTest do
  use Tidepool.Case, async: true

  alias Tidepool.Docs.Markdown

  # Name => what it measures, as `bench/run` lists them.
  defp listed do
    {output, 0} = System.cmd(Path.expand("bench/run"), [])
    [_usage, list] = String.split(output, "There are:\n")
    for [_line, name, what] <- Regex.scan(~r/^  (\S+) +(\S.*)$/m, list), into: %{}, do: {name, what}
  end

  test "the parts of the library that docs/benchmarks.md tells the sizes of are those that the bench sums symbols by" do
    code = "import symbols; print('\\n'.join(part for part, _ in symbols.PARTS))"
    {parts, 0} = System.cmd("python3", ["-B", "-c", code], cd: "bench/install")
    [_all, rows] = Regex.run(~r/^\| part \| MiB \|\n.*\n((?:\|.*\n)+)/m, File.read!("docs/benchmarks.md"))
    told = for [name] <- Regex.scan(~r/^\| (.*) \| [\d.]+ \|$/m, rows, capture: :all_but_first), do: name
    others = ["other crates, and constants", "tables for unwinding, relocations, names"]
    assert Enum.sort(told) == Enum.sort(String.split(parts, "\n", trim: true) ++ others)
  end

  test "bench/run lists every bench that there is with what it measures" do
    scripts = for path <- Path.wildcard("bench/**/*.exs"), File.read!(path) =~ "Bench.report(", do: path
    scripts = scripts -- ["bench/support.exs"]
    assert length(scripts) >= 14
    named = for path <- scripts, do: path |> Path.basename(".exs")
    programs = for path <- Path.wildcard("bench/*/run"), do: path |> Path.dirname() |> Path.basename()
    assert listed() |> Map.keys() |> Enum.sort() == Enum.sort(named ++ programs)
  end

  test "every bench and program of benches that a document names is there" do
    benches = listed()

    named =
      for document <- Markdown.documents(),
          [command] <- Regex.scan(~r{bench/\w[\w./]*(?: \w+)?}, File.read!(document)) do
        check!(String.split(command, " "), benches, "#{document}: #{command}")
      end

    assert Enum.count(named, &(&1 == :bench)) >= 10
  end

  # What is named after `bench/run` is a bench; everything else has to be a file, but for what benches write.
  defp check!(["bench/run", name], benches, where) when name != "NAME", do: (benches[name] && :bench) || flunk(where)
  defp check!(["bench/results" <> _file | _text], _benches, _where), do: :results
  defp check!(["bench/NAME" <> _file | _text], _benches, _where), do: :pattern
  defp check!([path | _text], _benches, where), do: assert(File.exists?(String.trim_trailing(path, ".")), where)

  test "a name that no bench has is a sentence and the list, and the status is 2" do
    for command <- [["bench/run", "coll"], ["bench/all", "coll"], ["bench/all", "--smoke", "call", "coll"]] do
      assert {output, 2} = System.cmd(Path.expand(hd(command)), tl(command), stderr_to_stdout: true)
      assert "there is no bench called coll; there are:\n" <> list = output
      assert list =~ ~r/^  call +calls from Elixir/m
      assert list =~ ~r/^  siege /m
    end
  end

  @tag :slow
  test "every bench says how it is run, without running, and one that is run with another switch ends" do
    for {name, what} <- listed() do
      assert {head, 0} = System.cmd(Path.expand("bench/run"), [name, "--help"])
      assert head =~ String.slice(what, 0, 20) or head =~ "usage: "
    end

    for script <- Path.wildcard("bench/**/*.exs"), File.read!(script) =~ ~r/^# Measures: /m do
      refute File.read!(script) =~ ~s(in System.argv), script
    end

    code = ~S[Code.require_file("bench/support.exs"); IO.puts("smoke: #{Bench.smoke?()}")]

    for {switches, text, status} <- [
          {[], "smoke: false", 0},
          {["--smoke"], "smoke: true", 0},
          {["--smok"], "this bench does not take --smok, but --smoke", 2},
          {["smoke"], "this bench does not take smoke, but --smoke", 2}
        ] do
      assert {output, ^status} = System.cmd("elixir", ["-e", code, "--" | switches], stderr_to_stdout: true)
      assert output =~ text
    end
  end

  # What a bench defines and loads, and not what it does: that begins with a call of its module.
  @compiled ~S"""
  kept? = fn
    {{:., _dot, [{:__aliases__, _alias, [:Bench | _module]}, _function]}, _meta, _arguments} -> false
    {:=, _meta, _sides} -> false
    _other -> true
  end

  for path <- System.argv() do
    {:__block__, meta, all} = path |> File.read!() |> Code.string_to_quoted!(file: path)
    Code.compile_quoted({:__block__, meta, Enum.filter(all, kept?)}, Path.expand(path))
    IO.puts("compiled #{path}")
  end
  """

  test "every bench compiles" do
    benches = for script <- Path.wildcard("bench/**/*.exs"), File.read!(script) =~ ~r/^# Measures: /m, do: script
    assert length(benches) > 10
    paths = Enum.flat_map(:code.get_path(), &["-pa", to_string(&1)])
    arguments = paths ++ ["-r", "bench/support.exs", "-e", @compiled, "--" | benches]
    {output, status} = System.cmd("elixir", arguments, stderr_to_stdout: true)
    assert status == 0, output
    refute output =~ "is undefined", output
    for bench <- benches, do: assert(output =~ "compiled #{bench}")
  end

  # In a tree of its own, so that flags other than today's show where they come from.
  @tag :slow
  test "a bench, and a node that it starts, runs with the flags of rel/vm.args.eex, and its user's flags win" do
    root = tmp_folder!()

    for file <- ~w(bench/run bench/support/benches.py bin/support/common.sh) do
      File.mkdir_p!(Path.join(root, Path.dirname(file)))
      File.cp!(file, Path.join(root, file))
    end

    shipped = File.read!("rel/vm.args.eex")
    assert shipped =~ ~r/^\+sbwt none$/m
    write!(root, "rel/vm.args.eex", shipped <> "\n## A comment of its own.\n+hms 4242\n  +hmbs 4243\n")
    write!(root, "bin/guests", "#!/bin/sh\n")
    File.chmod!(Path.join(root, "bin/guests"), 0o755)

    write!(root, "mix.exs", """
    defmodule Bare.MixProject do
      use Mix.Project
      def project, do: [app: :bare, version: "1.0.0"]
    end
    """)

    write!(root, "bench/flags/flags.exs", """
    # Measures: nothing
    {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, wait_boot: 120_000})

    for read <- [&:file.read_file/1, &:peer.call(peer, :file, :read_file, [&1])] do
      {:ok, line} = read.("/proc/self/cmdline")
      IO.puts("flags: " <> String.replace(line, <<0>>, " "))
    end

    IO.puts("arguments: \#{inspect(System.argv())}")
    """)

    command = [Path.join(root, "bench/run"), "flags", "--smoke", "a b"]
    env = [{"ELIXIR_ERL_OPTIONS", "+hms 777"}, {"ERL_AFLAGS", nil}, {"ERL_FLAGS", nil}]
    assert {output, 0} = System.cmd(hd(command), tl(command), env: env, stderr_to_stdout: true)
    assert [of_bench, of_peer] = for([_whole, line] <- Regex.scan(~r/^flags: (.*)$/m, output), do: line)
    assert output =~ ~s(arguments: ["--smoke", "a b"])

    # What a user writes with + the VM has with -.
    for line <- [of_bench, of_peer], "+" <> flag <- String.split(shipped, "\n"), do: assert(line =~ " -#{flag} ")
    assert of_bench =~ ~r/ -hms 4242 .*-hms 777 /
    assert of_peer =~ " -hmbs 4243 "
    refute of_bench =~ "comment"
  end

  test "nobody but rel/vm.args.eex has the flags that ship" do
    files = Path.wildcard("{bench,bin,rel,config,lib}/**") |> Enum.filter(&File.regular?/1)
    files = Enum.reject(files, &String.starts_with?(&1, "bench/results/"))
    assert for(file <- files, File.read!(file) =~ "+sbwt", do: file) == ["rel/vm.args.eex"]
  end

  defp write!(root, file, text) do
    path = Path.join(root, file)
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, text)
  end
end
