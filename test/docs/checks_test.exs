defmodule Tidepool.Docs.ChecksTest do
  # What bin/test says of all checks together, in a tree of the test's own whose checks are scripts.
  use Tidepool.Case, async: true

  @moduletag :slow

  @passes "#!/bin/sh\nexit 0\n"

  # Makes the table that it is asked for.
  @makes_table """
  #!/bin/sh
  while [ $# -gt 1 ]; do
    [ "$1" != --output_plt ] || echo >"$2"
    shift
  done
  """

  # A tree with bin/test in which every check passes but those whose command is replaced. It is in no commit: its seed is 7.
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

  defp checks(folder, arguments \\ [], options \\ []) do
    System.cmd(Path.join(folder, "bin/test"), arguments, env: env(folder, options), stderr_to_stdout: true)
  end

  defp env(folder, options) do
    [
      {"PATH", Path.join(folder, "tools") <> ":" <> System.fetch_env!("PATH")},
      {"XDG_CACHE_HOME", Keyword.get(options, :cache, Path.join(folder, "cache"))},
      {"CI", Keyword.get(options, :ci)},
      # Of this run: the programs there are not of that tree.
      {"CARGO_TARGET_DIR", nil},
      {"RETRY_PAUSES", "0.1 0.1"},
      {"TIDEPOOL_STEP_MINUTES", Keyword.get(options, :step, "1")},
      {"TIDEPOOL_ALL_MINUTES", Keyword.get(options, :all, "2")}
    ]
  end

  test "the exit status is 0 when every check has passed" do
    {list, 0} = System.cmd(Path.expand("bin/test"), ["--list"])
    [everyday, others] = for part <- String.split(list, ~r/^And .*$/m), do: part |> lines() |> Enum.map(&first_word/1)

    for {arguments, wanted} <- [
          {[], everyday},
          {["--all"], everyday ++ others},
          {["docs", "tidy"], ~w(setup tidy native docs)},
          {["embed", "tidy"], ~w(setup tidy native guests compile book embed)}
        ] do
      {output, status} = checks(tree!(), arguments)
      [_, summary] = String.split(output, "=== summary ===\n")
      {names, ["all"]} = summary |> lines() |> Enum.map(&first_word/1) |> Enum.split(-1)
      assert {names, summary =~ "FAILED", status} == {wanted, false, 0}, output
    end
  end

  defp first_word(line), do: line |> String.split() |> hd()

  test "what belongs to the files that differ from a commit is checked, too" do
    dev =
      "#!/bin/sh\n[ \"$*\" = '--since main --left' ] && printf 'step browser\\nstep model\\nslow test/a_test.exs\\n'\n"

    folder = tree!(%{"bin/dev" => dev, "tools/mix" => "#!/bin/sh\necho \"$*\" >>\"$0.asked\"\n"})
    {output, 0} = checks(folder, ["--since", "main", "--seed", "7"])
    for step <- ~w(elixir browser model slow), do: assert(output =~ ~r/^#{step} +0:\d\d .*ok$/m)
    refute output =~ "ship"

    assert "test --seed 7 --timeout 600000 --only slow test/a_test.exs" in lines(
             File.read!(Path.join(folder, "tools/mix.asked"))
           )

    {output, 0} = checks(folder, ["--slow-since", "main", "--seed", "7"])
    for step <- ~w(elixir model slow), do: assert(output =~ ~r/^#{step} +0:\d\d .*ok$/m)
    refute output =~ "browser"
  end

  test "what a check says is seen when it says it, with its name" do
    goes_on = "#!/bin/sh\necho it began\nuntil [ -e \"$0.enough\" ]; do sleep 0.05; done\n"
    folder = tree!(%{"tools/python3" => goes_on})
    env = for {name, value} <- env(folder, []), do: {to_charlist(name), (value && to_charlist(value)) || false}
    options = [:binary, :exit_status, :stderr_to_stdout, args: ["tidy", "format"], env: env]
    port = Port.open({:spawn_executable, Path.join(folder, "bin/test")}, options)
    seen(port, "", "tidy: it began\n")
    File.touch!(Path.join(folder, "tools/python3.enough"))
    assert_receive {^port, {:exit_status, 0}}
  end

  defp seen(port, before, wanted) do
    assert_receive {^port, {:data, more}}
    text = before <> more
    unless text =~ wanted, do: seen(port, text, wanted)
  end

  test "the exit status is 1 when a check has failed, which is named last with its tests that failed" do
    said = ["  1) test a promise (ATest)", "     left: 1", "     The following output was logged:", "     much"]
    fails = "#!/bin/sh\nprintf '%s\\n' #{Enum.map_join(said, " ", &"'#{&1}'")}\nexit 2\n"

    for {path, step, tests} <- [{"bench/smoke", "bench", "bench: "}, {"tools/python3", "tidy", "tidy: "}] do
      {output, 1} = checks(tree!(%{path => fails}), ["--all"])
      assert ["FAILED: " <> ^step, named | _] = output |> lines() |> Enum.reverse()
      assert named == tests <> "  1) test a promise (ATest)"
      [_all, told] = String.split(output, "=== what failed in #{step} ===\n")
      assert {["left: 1", "much"], true} = {Enum.filter(["left: 1", "much"], &(output =~ &1)), told =~ "left: 1"}
      refute told =~ "much"
    end
  end

  test "the exit status is 1, and what needs a check that has failed is not run, and named" do
    {output, 1} = checks(tree!(%{"bin/guests" => "#!/bin/sh\nexit 3\n"}))
    refute output =~ "=== elixir begins"
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
    for step <- ~w(tidy guests book), do: assert(output =~ ~r/^#{step} +0:\d\d .*FAILED$/m)

    for place <- ~w(tools bin),
        pid = String.trim(File.read!(Path.join([folder, place, "left"]))),
        do: eventually(fn -> not running?(pid) end)
  end

  # Ignores that it is to end.
  @hangs "#!/bin/sh\ntrap '' TERM\necho $$ >\"$(dirname \"$0\")/pid\"\nwhile :; do sleep 1; done\n"

  test "a check that hangs is ended after its minutes, though it ignores that it is told so" do
    folder = tree!(%{"tools/python3" => @hangs})
    {output, 1} = checks(folder, ["tidy", "format"], step: "0.05")
    assert output =~ "test: tidy has run for 0.05 minutes: it is ended"
    assert output =~ "FAILED: tidy"
    pid = String.trim(File.read!(Path.join(folder, "tools/pid")))
    eventually(fn -> not running?(pid) end, 30_000)
  end

  # What mix and cargo say of tests that failed.
  defp mix_fails(places) do
    named = for {place, at} <- Enum.with_index(places, 1), do: ["  #{at}) test a promise (ATest)", "     #{place}"]
    ["Running ExUnit with seed: 7, max_cases: 4", named, "", "9 tests, #{length(places)} failures"]
  end

  @cargo_fails [
    "     Running tests/core/main.rs (/built/release/deps/core-0123456789abcdef)",
    "test waits::it_waits ... FAILED",
    "---- waits::it_waits stdout ----",
    "test result: FAILED. 8 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
    "error: test failed, to rerun pass `-p tidepool_cli --test core`",
    "error: 1 target failed:",
    "    `-p tidepool_cli --test core`"
  ]
  @cargo_passes "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 8 filtered out; finished in 0.01s"

  # A command that says the one and fails with a status when its arguments end in `all`, and the other when they have `again`.
  defp flaky(all, {says, fails}, again, {then, status}) do
    said = fn lines -> lines |> List.flatten() |> Enum.map_join(" ", &"'#{String.replace(&1, "'", "'\\''")}'") end

    """
    #!/bin/sh
    [ "${PWD##*/}" != embed ] || exit 0
    case "$*" in
      *"#{all}") printf '%s\\n' #{said.(says)}; exit #{fails} ;;
      *"#{again}"*) echo "$*" >>"$0.again"; printf '%s\\n' #{said.(then)}; exit #{status} ;;
    esac
    """
  end

  @mix_passes {["9 tests, 0 failures, 8 excluded"], 0}

  defp flaky_mix(says, then \\ @mix_passes, fails \\ 2),
    do: flaky("test --seed 7 --warnings-as-errors", {says, fails}, "--max-cases 1", then)

  defp flaky_cargo(says, fails \\ 101),
    do: flaky("tidepool_cli --", {says, fails}, "tidepool_cli -- --exact", {[@cargo_passes], 0})

  test "what is random follows from the seed that is named, and is told" do
    says = "#!/bin/sh\necho \"$PROPTEST_RNG_SEED: $*\"\n"
    folder = tree!(%{"tools/mix" => says, "tools/cargo" => says})
    {output, 0} = checks(folder, ["--seed", "41", "elixir", "rust"])
    assert output =~ "test: seed 41\n"
    assert output =~ "elixir: 41: test --seed 41 --warnings-as-errors\n"
    assert output =~ ~r/^rust: 41: test --release/m
    assert {output, 0} = checks(folder, ["elixir"])
    assert output =~ "test: seed 7\n"
    assert {output, 1} = checks(folder, ["--seed", "7x", "elixir"])
    assert output =~ "7x is no number"
  end

  test "a test that passes when it is tried again, alone, is named as flaky with its seed, and is no failure" do
    mix = flaky_mix(["AGAIN c_test.exs: late" | mix_fails(["test/a_test.exs:7", "test/b_test.exs:8"])])
    folder = tree!(%{"tools/mix" => mix, "tools/cargo" => flaky_cargo(@cargo_fails)})
    assert {output, 0} = checks(folder)
    for step <- ~w(elixir rust), do: assert(output =~ ~r/^#{step} +0:\d\d .*flaky$/m)
    [_, named] = String.split(output, ~r/^all +\d+:\d\d\n/m)

    flaky = for test <- ["test/a_test.exs:7", "test/b_test.exs:8", "core/waits::it_waits"], do: "FLAKY #{test} seed 7"
    # Which step was over first is no matter.
    assert ["3 FLAKY, 1 AGAIN" | named] = lines(named)
    assert Enum.sort(named) == Enum.sort(flaky)

    again =
      for test <- ["a_test.exs:7", "b_test.exs:8"], do: "test --seed 7 --timeout 600000 --max-cases 1 test/#{test}"

    assert lines(File.read!(Path.join(folder, "tools/mix.again"))) == again
    assert File.read!(Path.join(folder, "tools/cargo.again")) =~ "--exact --test-threads 1 waits::it_waits\n"
  end

  # The core's tests wait for those of records, which need none of their time.
  defp beside(core) do
    """
    #!/bin/sh
    case "$*" in
      *"--test core") until [ -e "$0.others" ]; do sleep 0.05; done; #{core} ;;
      *"--test records --") echo "of records: $RUST_TEST_THREADS at a time"; touch "$0.others" ;;
      *"--test core -- --exact"*) echo '#{@cargo_passes}' ;;
    esac
    """
  end

  test "Rust's tests of the core run beside the others, are told when they are over, and one that failed is tried again" do
    fails = Enum.map_join(@cargo_fails, "; ", &"echo '#{&1}'") <> "; exit 101"
    {output, 0} = checks(tree!(%{"tools/cargo" => beside(fails)}), ["rust"])
    assert output =~ ~r/of records: 8 at a time\n.*Running tests.core.*^---- waits::it_waits/ms
    assert output =~ "FLAKY core/waits::it_waits seed 7"
  end

  test "what Rust's tests of the core have said is told when they take too long" do
    {output, 1} = checks(tree!(%{"tools/cargo" => beside("echo test a_test; sleep 300")}), ["rust"], step: "0.05")
    assert output =~ "has run for 0.05 minutes: it is ended"
    assert output =~ "test a_test\n"
  end

  test "a test that fails when it is tried again, or is not run then, has failed" do
    for then <- [{["9 tests, 1 failure, 8 excluded"], 2}, {["9 tests, 0 failures, 9 excluded"], 0}] do
      folder = tree!(%{"tools/mix" => flaky_mix(mix_fails(["test/a_test.exs:7"]), then)})
      assert {output, 1} = checks(folder)
      assert output =~ "a second try of test/a_test.exs:7"
      assert output =~ "FAILED: elixir"
      refute output =~ "FLAKY"
    end
  end

  # A registry that answers wrongly so many times.
  defp fetches_after(times) do
    """
    #!/bin/sh
    [ "$1" = fetch ] || exit 0
    echo fetch >>"$0.asked"
    [ $(wc -l <"$0.asked") -gt #{times} ] || { echo "error: got 500"; exit 101; }
    """
  end

  test "what could not be fetched is fetched again, and if that fails the machine is named, and nothing is built" do
    assert {output, 0} = checks(tree!(%{"tools/cargo" => fetches_after(2)}), ["tidy"])
    assert output =~ "failed, and begins again in 0.1 s: fetch_crates"
    refute output =~ "INFRA"
    assert {output, 1} = checks(tree!(%{"tools/cargo" => fetches_after(99)}))
    assert output =~ "INFRA: crates could not be fetched"
    assert output =~ ~r/^elixir +- +- +not run: what it needs has failed$/m
    assert output =~ "FAILED: setup"
  end

  test "what has to hold each time, more tests than three, and what is no test, are not tried again" do
    tidy = %{"tools/python3" => "#!/bin/sh\nexit 1\n"}
    one = ["test/a_test.exs:7"]

    for commands <- [
          %{"tools/mix" => flaky_mix(mix_fails(["test/cluster/histories_test.exs:9"]))},
          %{"tools/mix" => flaky_mix(mix_fails(for at <- 1..4, do: "test/a_test.exs:#{at}"))},
          %{"tools/mix" => flaky_mix(mix_fails(one) |> List.replace_at(-1, "9 tests, 2 failures"))},
          %{"tools/mix" => flaky_mix(mix_fails(one) |> List.replace_at(-1, "9 tests, 1 failure, 3 invalid"))},
          %{"tools/mix" => flaky_mix(Enum.drop(mix_fails(one), -1))},
          # A VM that died when all was over, and a warning, which is an error.
          %{"tools/mix" => flaky_mix(mix_fails(one), @mix_passes, 139)},
          %{"tools/mix" => flaky_mix(["warning: variable \"a\" is unused" | mix_fails(one)])},
          # Of another crate nothing has been run.
          %{"tools/cargo" => flaky_cargo(@cargo_fails, 137)},
          Map.put(tidy, "tools/mix", flaky_mix(mix_fails(one))),
          %{"tools/cargo" => flaky_cargo(Enum.map(@cargo_fails, &String.replace(&1, "waits::", "limits::")))},
          # One that a signal ended.
          %{"tools/cargo" => flaky_cargo(@cargo_fails ++ ["    `-p tidepool_cli --lib`"])},
          %{"tools/cargo" => flaky_cargo(["error[E0308]: mismatched types", "error: could not compile" | @cargo_fails])}
        ] do
      assert {output, 1} = checks(tree!(commands))
      refute output =~ "a second try of"
    end
  end

  test "a second try that takes too long is ended, and has failed" do
    hangs = String.replace(flaky_mix(mix_fails(["test/a_test.exs:7"])), "echo \"$*\"", "sleep 300; echo \"$*\"")
    {output, 1} = checks(tree!(%{"tools/mix" => hangs}), ["elixir"], step: "0.05")
    assert output =~ "a second try of test/a_test.exs:7"
    assert output =~ "FAILED: elixir"
  end

  test "the deadline of all checks ends a second try, and what it has started" do
    says = flaky_mix(mix_fails(["test/a_test.exs:7"]))
    # Its number is one of its own namespace: so what it holds tells of it.
    hangs = String.replace(says, "echo \"$*\"", "exec 9>\"$0.held\"; flock 9; sleep 300; echo \"$*\"")
    folder = tree!(%{"tools/mix" => hangs})
    {output, 1} = checks(folder, ["elixir"], all: "0.6")
    assert output =~ "all checks together have run for 0.6 minutes: the second try is ended"
    assert output =~ "FAILED: elixir"
    held = Path.join(folder, "tools/mix.held")
    assert File.exists?(held)
    eventually(fn -> match?({_none, 0}, System.cmd("flock", ["--nonblock", held, "true"])) end)
  end

  test "more tests that measure, and had to more than once, than may are a failure" do
    says = fn count -> "#!/bin/sh\ncase \"$*\" in *\"test --seed\"*) seq -f 'AGAIN %g: late' #{count} ;; esac\n" end
    assert {output, 0} = checks(tree!(%{"tools/mix" => says.(10)}), ["elixir"])
    assert output =~ "0 FLAKY, 10 AGAIN"
    assert {output, 1} = checks(tree!(%{"tools/mix" => says.(11)}), ["elixir"])
    assert output =~ "FAILED: 11 tests that measure had to do so again, and 10 may"
  end

  test "fuzzing begins with the seed of the run, and says how the same inputs are had again when one fails" do
    folder = tree!(%{"native/target/release/fuzz" => "#!/bin/sh\necho \"asked: $*\"\nexit 1\n"})
    {output, 1} = checks(folder, ["--seed", "21", "fuzz"])
    assert output =~ ~r/^asked: .* --seed 21$/m
    assert output =~ "bin/test --seed 21 fuzz\n"
  end

  test "no check is named beside those that all are, or that belong to what has changed" do
    for arguments <- [["--all", "tidy"], ["--long", "tidy"], ["--since", "main", "tidy"]] do
      assert {output, 1} = checks(tree!(%{"bin/dev" => "#!/bin/sh\necho step browser\n"}), arguments)
      assert output =~ "is not named as well"
      refute output =~ "begins at"
    end
  end

  test "slow tests are run beside the others that are flaky, and what is asked for wrongly is told" do
    mix = flaky_mix(mix_fails(["test/a_test.exs:7"]))
    {output, 0} = checks(tree!(%{"tools/mix" => mix}), ["elixir", "slow"])
    assert output =~ ~r/^slow +0:\d\d .*ok$/m
    {output, 1} = checks(tree!(%{"bin/dev" => "#!/bin/sh\necho step browser\nexit 2\n"}), ["--since", "nowhere"])
    assert output =~ "what differs from nowhere is not known"
    {output, 1} = checks(tree!(), [], all: "1h")
    assert output =~ "1h is no number of minutes"
  end

  test "each file, module and program that has to hold each time is there" do
    {patterns, 0} = System.cmd("bash", ["-c", ". bin/support/second_tries.sh && echo \"$strict_tests\""])

    modules =
      for {program, folder} <- [core: "core/tests/core", edge: "http/tests/edge", records: "records/tests"],
          folder = "native/tidepool_#{folder}",
          path <- Path.wildcard(folder <> "/**/*.rs"),
          do: "#{program}/#{path |> Path.relative_to(folder) |> Path.rootname() |> String.replace("/", "::")}::a"

    rooms = Path.wildcard("native/*/src/*/tests.rs")
    units = for path <- rooms, do: Regex.replace(~r{.*?/(.*)/src/(.*)/.*}, path, "\\1_units/\\2::a")

    programs =
      for path <- Path.wildcard("native/*/tests/*.rs"),
          not File.exists?(Path.join(Path.dirname(path), "main.rs")),
          do: "#{Path.basename(path, ".rs")}/a"

    there = Path.wildcard("test/**/*_test.exs") ++ modules ++ units ++ programs

    for pattern <- patterns |> String.trim() |> String.split("|^"),
        {before, names, behind} = alternatives(pattern),
        name <- names,
        do: assert(Enum.any?(there, &(&1 =~ Regex.compile!("^" <> before <> name <> behind))), name)
  end

  # `a/(b|c)_test` as what is before the names, these, and what is behind them; names that hold names are left as they are.
  defp alternatives(pattern) do
    case Regex.run(~r/\A\^?([^(]*)\(([^()]*)\)(.*)\z/, pattern) do
      [_all, before, names, behind] -> {before, String.split(names, "|"), behind}
      nil -> {"", [String.trim_leading(pattern, "^")], ""}
    end
  end

  test "checks that take too long together are ended, with what runs, and what was not begun is named" do
    folder = tree!(%{"tools/python3" => @hangs, "bin/guests" => "#!/bin/sh\nsleep 300\n"})
    {output, 1} = checks(folder, [], all: "0.2")
    assert output =~ "test: all checks together have run for 0.2 minutes"

    for {step, runs} <- [{"tidy", "python3"}, {"guests", "sleep 300"}],
        do: assert(output =~ ~r/#{step}: test: #{step} has run for 0 minutes.*#{step}: [^\n]*#{runs}/s)

    for step <- ~w(tidy guests), do: assert(output =~ ~r/^#{step} +0:\d\d .*FAILED$/m)
    assert output =~ ~r/^elixir +- +- +not begun$/m
    assert output =~ "FAILED: tidy guests"
    pid = String.trim(File.read!(Path.join(folder, "tools/pid")))
    eventually(fn -> not running?(pid) end, 30_000)
  end

  # Says which date the sources have, and builds as cargo does: a file that it made is of now.
  @tells_dates """
  #!/bin/sh
  stat -c '%n %.9Y' *.rs
  mkdir -p "$CARGO_TARGET_DIR/release/.fingerprint/a"
  [ "$1" != clippy ] || touch "$CARGO_TARGET_DIR/release/.fingerprint/a/invoked.timestamp"
  """

  test "on a CI machine what has not changed since the last run has the date of then, and all is of now once others have built" do
    cache = tmp_folder!()
    target = Path.join(cache, "tidepool/target")

    dates = fn sources ->
      folder = tree!(Map.merge(%{"tools/cargo" => @tells_dates, "native/c.sh" => ""}, sources))
      {output, 0} = checks(folder, ["clippy"], ci: "true", cache: cache)
      Map.new(Regex.scan(~r/^(\w\.rs) ([\d.]+)$/m, output), fn [_line, name, date] -> {name, date} end)
    end

    first = dates.(%{"native/a.rs" => "1", "native/b.rs" => "2"})
    assert map_size(first) == 2
    assert dates.(%{"native/a.rs" => "1", "native/b.rs" => "2"}) == first
    changed = dates.(%{"native/a.rs" => "1", "native/b.rs" => "3"})
    assert changed["a.rs"] == first["a.rs"]
    assert changed["b.rs"] > first["b.rs"]
    # What was there before the last run is no better than what is new.
    back = dates.(%{"native/a.rs" => "1", "native/b.rs" => "2"})
    assert back["b.rs"] > changed["b.rs"]

    File.touch!(Path.join(target, "clippy/release/.fingerprint/a/invoked.timestamp"), System.os_time(:second) + 1)
    others = dates.(%{"native/a.rs" => "1", "native/b.rs" => "2"})
    assert others["a.rs"] > back["b.rs"]
    assert others["b.rs"] > back["b.rs"]

    File.rm!(Path.join(target, "sources"))
    assert dates.(%{"native/a.rs" => "1", "native/b.rs" => "2"})["a.rs"] > others["b.rs"]
  end

  test "two runs at once on a CI machine build in folders of their own, and the second one's goes with it" do
    cache = tmp_folder!()
    target = Path.join(cache, "tidepool/target")
    builds = %{"tools/cargo" => "#!/bin/sh\necho \"in $CARGO_TARGET_DIR\"\n"}
    File.mkdir_p!(Path.dirname(target))
    lock = start_lock!(target <> ".lock")
    assert {output, 0} = checks(tree!(builds), ["clippy"], ci: "true", cache: cache)
    assert output =~ "in #{target}-2/clippy\n"
    refute File.exists?(target <> "-2")
    Port.close(lock)
    eventually(fn -> elem(System.cmd("flock", ["-n", target <> ".lock", "true"]), 1) == 0 end)
    assert {output, 0} = checks(tree!(builds), ["clippy"], ci: "true", cache: cache)
    assert output =~ "in #{target}/clippy\n"
  end

  # Until its port is closed.
  defp start_lock!(path) do
    flock = System.find_executable("flock")
    port = Port.open({:spawn_executable, flock}, [:binary, args: [path, "sh", "-c", "echo locked; cat"]])
    assert_receive {^port, {:data, "locked\n"}}
    port
  end

  test "no program has the folder of a checkout in it but for those who run it without cargo" do
    compiled_in =
      for path <- Path.wildcard("native/**/*.rs"), File.read!(path) =~ "env!(\"CARGO_MANIFEST_DIR\")", do: path

    assert compiled_in == ["native/fuzz/src/corpus.rs"]
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
