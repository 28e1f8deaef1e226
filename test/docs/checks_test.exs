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
      for script <- ~w(bin/setup bin/guests bin/cli bin/book bench/smoke test/browser/run),
          into: %{},
          do: {script, @passes}

    folders = for folder <- ~w(native examples/embed), into: %{}, do: {folder <> "/.keep", ""}

    for {path, text} <- [tools, scripts, folders, replaced] |> Enum.reduce(&Map.merge(&2, &1)) do
      file = Path.join(folder, path)
      File.mkdir_p!(Path.dirname(file))
      File.write!(file, text)
      File.chmod!(file, 0o755)
    end

    for part <- ["bin/test", "bin/support"], do: File.cp_r!(part, Path.join(folder, part))
    folder
  end

  defp checks(folder, arguments \\ []) do
    env = [
      {"PATH", Path.join(folder, "tools") <> ":" <> System.fetch_env!("PATH")},
      {"XDG_CACHE_HOME", Path.join(folder, "cache")},
      {"CI", nil},
      {"TIDEPOOL_STEP_MINUTES", "1"}
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
    fails = "#!/bin/sh\necho '  1) test a promise (ATest)'\nexit 2\n"

    for {path, step, tests} <- [{"bench/smoke", "bench", "bench: "}, {"tools/python3", "tidy", "tidy: "}] do
      {output, 1} = checks(tree!(%{path => fails}))
      assert ["FAILED: " <> ^step, named | _] = output |> lines() |> Enum.reverse()
      assert named == tests <> "  1) test a promise (ATest)"
    end
  end

  test "the exit status is 1, and nothing else is run, when there is nothing that others could check" do
    {output, 1} = checks(tree!(%{"bin/guests" => "#!/bin/sh\nexit 3\n"}))
    refute output =~ "=== elixir ==="
    assert output =~ "FAILED: guests"
  end

  defp lines(text), do: String.split(text, "\n", trim: true)
end
