defmodule Tidepool.Docs.ChecksTest do
  # What bin/test says of all checks together, in a tree of the test's own whose checks are scripts.
  use Tidepool.Case, async: true

  @passes "#!/bin/sh\nexit 0\n"

  # Makes the table that it is asked for.
  @makes_table """
  #!/bin/sh
  while [ $# -gt 1 ]; do
    [ "$1" != --output_plt ] || echo >"$2"
    shift
  done
  """

  # A tree with bin/test in which every check passes but those whose command is replaced.
  defp tree!(replaced \\ %{}) do
    folder = tmp_folder!()

    tools =
      for tool <- ~w(mix cargo elixir python3),
          into: %{"tools/dialyzer" => @makes_table},
          do: {"tools/#{tool}", @passes}

    scripts =
      for script <- ~w(bin/setup bin/guests bin/cli bin/book bench/smoke test/browser/run native/target/release/fuzz),
          into: %{},
          do: {script, @passes}

    folders = for file <- ~w(native/.keep examples/embed/.keep rel/vm.args.eex), into: %{}, do: {file, ""}

    for {path, text} <- [tools, scripts, folders, replaced] |> Enum.reduce(&Map.merge(&2, &1)) do
      file = Path.join(folder, path)
      File.mkdir_p!(Path.dirname(file))
      File.write!(file, text)
      File.chmod!(file, 0o755)
    end

    for part <- ["bin/test", "bin/support"], do: File.cp_r!(part, Path.join(folder, part))
    folder
  end

  defp checks(folder, arguments \\ [], minutes \\ "1") do
    env = [
      {"PATH", Path.join(folder, "tools") <> ":" <> System.fetch_env!("PATH")},
      {"XDG_CACHE_HOME", Path.join(folder, "cache")},
      {"CI", nil},
      # Of this run: the programs there are not of that tree.
      {"CARGO_TARGET_DIR", nil},
      {"TIDEPOOL_STEP_MINUTES", minutes}
    ]

    System.cmd(Path.join(folder, "bin/test"), arguments, env: env, stderr_to_stdout: true)
  end

  test "the exit status is 0 when every check has passed" do
    {output, status} = checks(tree!())
    [_, summary] = String.split(output, "=== summary ===\n")
    {names, ["all"]} = summary |> lines() |> Enum.map(&hd(String.split(&1))) |> Enum.split(-1)
    {list, 0} = System.cmd(Path.expand("bin/test"), ["--list"])
    assert names == list |> lines() |> Enum.map(&hd(String.split(&1)))
    assert {summary =~ "FAILED", status} == {false, 0}, output
  end

  test "the exit status is 1 when a check has failed, which is named last with its tests that failed" do
    said = ["  1) test a promise (ATest)", "     left: 1", "     The following output was logged:", "     much"]
    fails = "#!/bin/sh\nprintf '%s\\n' #{Enum.map_join(said, " ", &"'#{&1}'")}\nexit 2\n"

    for {path, step, tests} <- [{"bench/smoke", "bench", "bench: "}, {"tools/python3", "tidy", "tidy: "}] do
      {output, 1} = checks(tree!(%{path => fails}))
      assert ["FAILED: " <> ^step, named | _] = output |> lines() |> Enum.reverse()
      assert named == tests <> "  1) test a promise (ATest)"
      [_all, told] = String.split(output, "=== what failed in #{step} ===\n")
      assert {["left: 1", "much"], true} = {Enum.filter(["left: 1", "much"], &(output =~ &1)), told =~ "left: 1"}
      refute told =~ "much"
    end
  end

  test "the exit status is 1, and what needs a check that has failed is not run, and named" do
    {output, 1} = checks(tree!(%{"bin/guests" => "#!/bin/sh\nexit 3\n"}))
    refute output =~ "=== elixir ==="
    assert output =~ ~r/^elixir +- +- +not run: what it needs has failed$/m
    assert output =~ "FAILED: guests"
  end

  # Kills all that is of its check; in the background is what would go on.
  @killed """
  #!/bin/sh
  sleep 300 &
  echo $! >"$(dirname "$0")/left"
  kill -KILL 0
  """

  test "a check that a signal ends has failed, whatever else runs beside it, and leaves nothing that runs" do
    folder = tree!(%{"tools/python3" => @killed, "bin/guests" => @killed, "bin/book" => @killed})
    {output, 1} = checks(folder)
    assert output =~ "=== summary ==="
    for step <- ~w(tidy guests compile), do: assert(output =~ ~r/^#{step} +0:\d\d .*FAILED$/m)

    for place <- ~w(tools bin),
        pid = String.trim(File.read!(Path.join([folder, place, "left"]))),
        do: eventually(fn -> not running?(pid) end)
  end

  # Ignores that it is to end.
  @hangs "#!/bin/sh\ntrap '' TERM\necho $$ >\"$(dirname \"$0\")/pid\"\nwhile :; do sleep 1; done\n"

  test "a check that hangs is ended after its minutes, though it ignores that it is told so" do
    folder = tree!(%{"tools/python3" => @hangs})
    {output, 1} = checks(folder, ["tidy", "format"], "0.05")
    assert output =~ "test: tidy has run for 0.05 minutes: it is ended"
    assert output =~ "FAILED: tidy"
    pid = String.trim(File.read!(Path.join(folder, "tools/pid")))
    eventually(fn -> not running?(pid) end, 30_000)
  end

  # A process that has ended and that nobody has waited for is one that is gone, too.
  defp running?(pid) do
    case File.read("/proc/#{pid}/stat") do
      {:ok, stat} -> not (stat =~ ") Z ")
      {:error, _gone} -> false
    end
  end

  defp lines(text), do: String.split(text, "\n", trim: true)
end
