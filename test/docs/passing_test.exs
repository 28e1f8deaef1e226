defmodule Tidepool.Docs.PassingTest do
  # What runs of bin/test leave: the folder for what is passing, as bin/support/running.sh makes it, what is kept for the next run,
  # of which bin/support/target.sh removes some, and no port mapper of nodes.
  use Tidepool.Case, async: true

  # Does nothing until its input ends.
  @run ". bin/support/common.sh; drop_target() { :; }; . bin/support/running.sh; echo \"$passing\"; read -r _"

  defp run!(env) do
    options = [:binary, :exit_status, line: 1_000, args: ["-c", @run], env: env]
    port = Port.open({:spawn_executable, System.find_executable("bash")}, options)
    assert_receive {^port, {:data, {:eol, folder}}}
    {port, folder}
  end

  test "what a run that was killed has left goes with the next one, and that of a run that goes on stays until its end" do
    place = tmp_folder!()
    env = [{~c"TMPDIR", to_charlist(place)}]
    {killed, left} = run!(env)
    {goes_on, stays} = run!(env)
    File.write!(Path.join(left, "a"), "")
    {:os_pid, pid} = Port.info(killed, :os_pid)
    {_, 0} = System.cmd("kill", ["-KILL", "#{pid}"])
    assert_receive {^killed, {:exit_status, 137}}
    assert Enum.all?([left, stays], &File.exists?/1)

    {next, its} = run!(env)
    assert Enum.sort(File.ls!(place)) == Enum.sort([Path.basename(stays), Path.basename(its)])
    for port <- [goes_on, next], do: Port.close(port)
    eventually(fn -> File.ls!(place) == [] end)
  end

  test "a port mapper of a run's own is at a port of its own, and goes with whoever has started it" do
    start! = fn ->
      port = Port.open({:spawn_executable, Path.expand("bin/support/epmd")}, [:binary, :exit_status, line: 1_000])
      assert_receive {^port, {:data, {:eol, "ready " <> number}}}
      {port, number}
    end

    there? = fn number ->
      env = [{"ERL_EPMD_PORT", number}]
      match?({_names, 0}, System.cmd("epmd", ["-names"], env: env, stderr_to_stdout: true))
    end

    {one, first} = start!.()
    {other, second} = start!.()
    assert length(Enum.uniq(["4369", first, second])) == 3
    assert there?.(first) and there?.(second)
    Port.close(one)
    eventually(fn -> not there?.(first) end)
    assert there?.(second)
    Port.close(other)
    eventually(fn -> not there?.(second) end)
  end

  # Files, and so many days ago somebody has read them.
  @kept [
    {"guests/npm-old/a", 40},
    {"guests/npm-new/a", 0},
    {"target/release/deps/month", 40},
    {"target/release/deps/week", 10},
    {"target/release/deps/made-0a", 0.5},
    {"target/release/deps/made-0b", 0},
    {"target/release/kept/a", 0},
    {"target/clippy/deps/a", 0},
    {"target/release/a", 40}
  ]

  # What stays where there is too much for as long as a file or folder is there.
  defp left(troubles) do
    cache = tmp_folder!()

    for {file, days} <- @kept, path = Path.join(cache, file) do
      File.mkdir_p!(Path.dirname(path))
      {_, 0} = System.cmd("touch", ["-d", "#{round(days * 24)} hours ago", path])
    end

    room = "cache=#{cache} CARGO_TARGET_DIR=#{cache}/target; too_much() { [[ -e $cache/#{troubles} ]]; }; make_room"
    {"", 0} = System.cmd("bash", ["-euc", ". bin/support/target.sh; #{room}"], stderr_to_stdout: true)
    for {file, _days} <- @kept, File.exists?(Path.join(cache, file)), do: file
  end

  test "where more is kept than may be, what nobody has read for the longest goes, and no more than has to" do
    [old, new, month, week, before, made, copy, clippy, other] = all = for {file, _days} <- @kept, do: file
    assert left("nothing") == all
    assert left("guests/npm-old") == [new, month, week, before, made, copy, clippy, other]
    assert left(month) == [new, week, before, made, copy, clippy, other]
    assert left(before) == [new, made, copy, clippy, other]
    assert left(copy) == [new, made, clippy, other]
    assert left("target/clippy") == [new, made, other]
    assert left("target/release") == [new]
    assert old not in left(week)
  end
end
