defmodule Tidepool.Docs.DevTest do
  # bin/dev knows each file of the tree, runs what belongs to it and nothing else, and leaves no process behind. In trees of the
  # test's own, where what would take minutes is a script that says that it was run.
  use Tidepool.Case, async: true

  @patience 60_000

  # A script that does nothing for longer than any test, and has a child that left its group.
  @endless """
  #!/usr/bin/env bash
  setsid sleep 1000 & echo $! >>sleepers
  echo $$ >>sleepers
  sleep 1000
  """

  defp tree!(files) do
    folder = tmp_folder!()
    write!(folder, files)
    File.mkdir_p!(Path.join(folder, "bin"))
    for part <- ["bin/dev", "bin/support"], do: File.cp_r!(part, Path.join(folder, part))
    git!(folder, ["init", "--quiet", "--initial-branch=main"])
    commit!(folder)
    folder
  end

  defp write!(folder, files) do
    for {path, text} <- files do
      file = Path.join(folder, path)
      File.mkdir_p!(Path.dirname(file))
      File.write!(file, text)
      if String.starts_with?(text, "#!"), do: File.chmod!(file, 0o755)
    end
  end

  defp commit!(folder) do
    git!(folder, ["add", "--all"])
    git!(folder, ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=a"])
  end

  defp git!(folder, arguments), do: {_, 0} = System.cmd("git", arguments, cd: folder, stderr_to_stdout: true)

  defp dev(folder, arguments), do: System.cmd(Path.join(folder, "bin/dev"), arguments, stderr_to_stdout: true)

  test "each file of the tree has a line in the table, and one that has none is told of" do
    {_table, 0} = dev(File.cwd!(), ["--table"])

    folder = tree!(%{"README.md" => "", "elsewhere/new.thing" => ""})
    assert {table, 1} = dev(folder, ["--table"])
    assert table =~ "README.md: docs\n"
    assert table =~ "elsewhere/new.thing: FORGOTTEN\n"
    write!(folder, %{"elsewhere/new.thing" => "changed"})
    assert {output, 0} = dev(folder, [])
    assert output =~ "elsewhere/new.thing has no line in bin/support/dev/table.py"
  end

  test "each module of the core's tests belongs to a room" do
    {table, 0} =
      System.cmd("python3", ["-B", "-c", "import table; print(*sum(table.ROOMS.values(), []))"], cd: "bin/support/dev")

    named = String.split(table)
    rooms = for path <- Path.wildcard("native/tidepool_core/src/*"), File.dir?(path), do: Path.basename(path)
    {listed, 0} = System.cmd("python3", ["-B", "-c", "import table; print(*table.ROOMS)"], cd: "bin/support/dev")
    # Of those that all others stand on, and of the program, all tests are.
    assert rooms -- String.split(listed) == ["base", "bin", "os", "value"]

    modules =
      for path <- Path.wildcard("native/tidepool_core/tests/core/{*.rs,*}"),
          name = String.replace_suffix(path, "/mod.rs", ""),
          name != "native/tidepool_core/tests/core/support",
          Path.extname(name) in ["", ".rs"],
          do: Path.basename(name, ".rs")

    assert modules -- ["main", "testing_guests" | named] == []
    assert Enum.uniq(named) -- modules == []
  end

  test "each file beside the first one of a program of Rust's tests is a part of it" do
    for main <- Path.wildcard("native/**/tests/**/main.rs") do
      parts = for [_line, name] <- Regex.scan(~r/^mod (\w+);$/m, File.read!(main)), do: name
      folder = Path.dirname(main)
      files = for path <- Path.wildcard(folder <> "/*.rs") -- [main], do: Path.basename(path, ".rs")
      assert files -- parts == [], main
    end
  end

  test "a change in a room of the core has that room's tests run, and one below all rooms has all" do
    folder =
      tree!(%{"native/tidepool_core/src/instance/warm_pool.rs" => "", "native/tidepool_core/src/os/trim.rs" => ""})

    assert {"dev: nothing has changed\ndev: there is no check to run\n", 0} = dev(folder, [])

    write!(folder, %{"native/tidepool_core/src/instance/warm_pool.rs" => "fn changed() {}\n"})
    {output, 0} = dev(folder, ["--list"])

    assert output =~
             ~r/cargo .* --tests -- admission:: caps:: images:: instance:: namespaces:: owned:: trials:: wanted:: warm::\n/

    refute output =~ "mix test"

    write!(folder, %{"native/tidepool_core/src/os/trim.rs" => "fn changed() {}\n"})
    {output, 0} = dev(folder, ["--list"])
    assert output =~ ~r/cargo .* --tests -- .*instance:: .*os:: .*warm::\n/
  end

  test "files that git does not know yet count, and so do those that are gone, against any commit" do
    folder = tree!(%{"docs/gone.md" => ""})
    File.rm!(Path.join(folder, "docs/gone.md"))
    write!(folder, %{"lib/new file.ex" => ""})
    {output, 0} = dev(folder, ["--list"])
    assert output =~ "dev: documents, for docs/gone.md\n"
    assert output =~ "dev: Elixir, for lib/new file.ex\n"

    commit!(folder)
    assert {"dev: nothing has changed\n" <> _, 0} = dev(folder, [])
    {output, 0} = dev(folder, ["--list", "--since", "HEAD~1"])
    assert output =~ "dev: documents, for docs/gone.md\n"
    assert {"dev: fatal: " <> _, 2} = dev(folder, ["--since", "nowhere"])
  end

  test "what is left to bin/test is named for it: checks, and the files of slow tests with what they belong to" do
    folder = tree!(%{"test/slow_test.exs" => ""})
    table = "file\tof\twhy\tinstead\ntest/slow_test.exs\tlib/a/\tit is long\tlib/a_test.exs\n"
    write!(folder, %{"bin/support/slow.tsv" => table, ".gitignore" => ""})
    commit!(folder)
    left = fn -> folder |> dev(["--left", "--since", "HEAD"]) |> elem(0) end
    assert left.() == ""
    write!(folder, %{"lib/b.ex" => "", "README.md" => ""})
    assert left.() == ""
    write!(folder, %{"lib/a/b.ex" => ""})
    assert left.() == "slow test/slow_test.exs\n"
    changed = ~w(ops/image bench/call.exs native/fuzz/smith/a native/tidepool_model/a test/browser/a)
    write!(folder, Map.new(changed, &{&1, ""}))
    steps = for step <- ~w(bench browser model ship smith), do: "step #{step}\n"
    assert left.() == Enum.join(steps) <> "slow test/slow_test.exs\n"
    File.rm_rf!(Path.join(folder, "lib"))
    write!(folder, %{"test/slow_test.exs" => "changed"})
    assert left.() =~ "slow test/slow_test.exs\n"
  end

  test "slow tests are left to bin/test, too, when a file of test/support is changed that they use, by way of another as well" do
    folder =
      tree!(%{
        "test/one_test.exs" => "alias Tidepool.{Peer, Troop}\n",
        "test/two_test.exs" => "alias Tidepool.{Peer, Trooper}\n",
        "test/support/a/troop.ex" => "defmodule Tidepool.Troop do\n  alias Tidepool.Camp.Tent\nend\n",
        "test/support/tent.ex" => "defmodule Tidepool.Camp.Tent do\nend\n",
        "test/support/peer.ex" => "defmodule Tidepool.Peer do\nend\n",
        "test/support/other.ex" => "defmodule Tidepool.Other do\nend\n"
      })

    rows = for name <- ~w(one two), do: "test/#{name}_test.exs\tlib/a/\tit is long\tlib/a_test.exs\n"
    write!(folder, %{"bin/support/slow.tsv" => "file\tof\twhy\tinstead\n#{rows}", ".gitignore" => ""})
    commit!(folder)

    left = fn path ->
      text = File.read!(Path.join(folder, path))
      write!(folder, %{path => text <> "# changed\n"})
      {output, 0} = dev(folder, ["--left"])
      write!(folder, %{path => text})
      output
    end

    assert left.("test/support/a/troop.ex") == "slow test/one_test.exs\n"
    assert left.("test/support/tent.ex") == "slow test/one_test.exs\n"
    assert left.("test/support/peer.ex") == "slow test/one_test.exs\nslow test/two_test.exs\n"
    assert left.("test/support/other.ex") == ""
  end

  test "each slow test is tagged, exists, says why, and what stays in its place is there and is not slow" do
    [_head | rows] = "bin/support/slow.tsv" |> File.read!() |> String.split("\n", trim: true)
    rows = for row <- rows, do: String.split(row, "\t")

    tagged =
      for file <- Path.wildcard("test/**/*_test.exs"), File.read!(file) =~ ~r/^ .*@(module)?tag[ (]:slow\b/m, do: file

    assert Enum.sort(for [file | _] <- rows, do: file) == Enum.sort(tagged)
    {tree, 0} = System.cmd("git", ["ls-files"])

    for [_file, pattern, why, instead] <- rows do
      of = Regex.compile!("\\A(?:#{pattern})")
      assert Enum.any?(String.split(tree), &(&1 =~ of)), pattern
      assert String.length(why) > 10
      for path <- String.split(instead, " ", trim: true), do: assert(File.exists?(path) and path not in tagged, path)
    end
  end

  test "what fails is in the summary and in the exit status, and what comes after it is run" do
    folder = tree!(%{"guests/wapc.rs" => "", "bin/guests" => "#!/bin/sh\necho guests were built\n"})
    write!(folder, %{"bin/setup" => "#!/bin/sh\nif\n", "guests/wapc.rs" => "changed"})
    {output, 1} = dev(folder, [])
    assert output =~ ~r/^syntax of bin\/setup .* FAILED$/m
    assert output =~ "guests were built"
    assert output =~ ~r/^guests .* ok$/m
    assert output =~ "left, for it takes many minutes: bin/test ship"
  end

  test "a change is seen, what failed is run again, and Ctrl-C ends it with all that it has started" do
    folder = tree!(%{"guests/wapc.rs" => "", "bin/guests" => @endless, "bin/setup" => "#!/bin/sh\n"})
    write!(folder, %{"bin/setup" => "#!/bin/sh\nif\n"})
    {port, pid} = watch!(folder)
    assert read(port, "waiting for changes") =~ ~r/syntax of bin\/setup .* FAILED/

    # Of another file.
    write!(folder, %{"docs/a.txt" => "", "guests/wapc.rs" => "changed"})
    output = read(port, "  bin/guests\n")
    assert output =~ "dev: syntax of bin/setup, for bin/setup"

    first = sleepers(folder, 2)
    # A change that belongs to what runs.
    write!(folder, %{"guests/wapc.rs" => "changed again"})
    read(port, ~r/begins anew.*  bin\/guests\n/s)
    both = sleepers(folder, 4)
    assert Enum.filter(first, &alive?/1) == []
    assert Enum.all?(both -- first, &alive?/1)

    {_, 0} = System.cmd("kill", ["-INT", "#{pid}"])
    assert_receive {^port, {:exit_status, 130}}, @patience
    assert Enum.filter(both, &alive?/1) == []
  end

  defp watch!(folder) do
    port =
      Port.open({:spawn_executable, Path.join(folder, "bin/dev")}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        args: ["--watch"]
      ])

    {:os_pid, pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-TERM", "#{pid}"], stderr_to_stdout: true) end)
    {port, pid}
  end

  defp read(port, wanted, read \\ "") do
    if read =~ wanted do
      read
    else
      receive do
        {^port, {:data, text}} -> read(port, wanted, read <> text)
        {^port, {:exit_status, status}} -> flunk("bin/dev has ended with #{status}:\n#{read}")
      after
        @patience -> flunk("bin/dev has not said #{inspect(wanted)}:\n#{read}")
      end
    end
  end

  # The processes that the endless script has told of.
  defp sleepers(folder, count) do
    path = Path.join(folder, "sleepers")
    eventually(fn -> File.exists?(path) and path |> File.read!() |> String.split() |> length() == count end)
    path |> File.read!() |> String.split()
  end

  defp alive?(pid), do: File.exists?("/proc/#{pid}") and not (File.read!("/proc/#{pid}/status") =~ "State:\tZ")
end
