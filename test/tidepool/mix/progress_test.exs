Code.require_file("../../../native/build.exs", __DIR__)

defmodule Tidepool.ProgressTest do
  # How far a build of the native library is (native/progress.exs), which native/build.exs tells.
  use ExUnit.Case, async: true

  alias Tidepool.Native.Progress

  defp artifact(name, fresh? \\ false, from \\ "registry+https://registry.invalid/#") do
    ~s({"reason":"compiler-artifact","package_id":"#{from}#{name}@1.2.3","manifest_path":"/x/Cargo.toml","fresh":#{fresh?}})
  end

  defp all(build, names, fresh? \\ false) do
    Enum.reduce(names, build, fn name, build ->
      assert {:crate, build} = Progress.line(build, artifact(name, fresh?))
      build
    end)
  end

  # Every crate as often as the table has it.
  defp names, do: for({name, costs} <- Progress.table(), _cost <- costs, do: name)

  test "every crate of the table is one that is built" do
    lock = File.read!("native/Cargo.lock")
    for name <- names(), do: assert(lock =~ ~s(name = "#{name}"\n), "Cargo.lock has no #{name}")
  end

  test "a build begins with nothing, and has all when every crate is done" do
    build = Progress.new(2, 0)
    assert {0, seconds} = Progress.now(build, 0)
    assert seconds > 60
    assert {100, 0} = build |> all(names()) |> Progress.now(300_000)
  end

  test "what this machine took so far says how long the rest will take" do
    {half, _rest} = names() |> Enum.sort() |> Enum.split(div(length(names()), 2))
    build = Progress.new(2, 0) |> all(half)
    {percent, _seconds} = Progress.now(build, 100_000)

    for seconds <- [100, 200], {^percent, left} = Progress.now(build, seconds * 1000) do
      assert_in_delta left, seconds * (100 - percent) / percent, seconds / 10
    end
  end

  test "crates that were compiled before count neither as done nor as left" do
    {fresh, others} = names() |> Enum.sort() |> Enum.split(div(length(names()), 2))
    build = Progress.new(2, 0) |> all(fresh, true)
    assert {0, left} = Progress.now(build, 1_000)
    assert left < elem(Progress.now(Progress.new(2, 0), 1_000), 1)
    assert {100, 0} = build |> all(others) |> Progress.now(60_000)
  end

  test "elapsed time and crates are told from the beginning, and an estimate once the last ones agree" do
    names = Enum.uniq(names())
    build = Progress.new(2, 0, length(names))
    assert {"after 15 s: crate 0 of " <> _all, build} = Progress.told(build, 15_000)
    {half, _rest} = names |> Enum.sort() |> Enum.split(div(length(names), 2))
    build = all(build, half)
    # What was estimated before anything was compiled is no estimate that holds.
    {first, build} = Progress.told(build, 135_000)
    assert first == "after 2 min 15 s: crate #{length(half)} of #{length(names)}"
    # The machine goes on at the same speed, by what it has compiled until now.
    told =
      for chunk <- Enum.chunk_every(names -- half, div(length(half), 4)), reduce: [{nil, build}] do
        [{_line, build} | _before] = told ->
          build = all(build, chunk)
          {percent, _left} = Progress.now(build, 1)
          [Progress.told(build, percent * 3_000) | told]
      end

    [{_last, _build}, {line, build} | _before] = told
    assert line =~ ~r/^after \d min \d+ s: crate \d+ of \d+, about \d+ (s|min) left$/
    # It stalls, and the estimate does not hold any more: the end is further away each time.
    {line, _build} = Progress.told(build, 900_000)
    refute line =~ "left"
  end

  test "crates of cargo's tree are counted once, and of what is no tree none" do
    tree = "a v1.0.0 (/x/a)\nb v0.2.1\nc v1.0.0 (proc-macro)\nb v0.2.1 (*)\n\nb v0.3.0\n"
    assert Progress.crates(tree) == 4
    assert Progress.crates("error: no such command: `tree`\n") == nil
  end

  test "a crate counts once, whatever cargo builds of it, and not when the program that runs before it is built" do
    build = Progress.new(2, 0, 10)
    before = artifact("gimli") |> String.replace_suffix("}", ~s(,"target":{"kind":["custom-build"]}}))
    {:crate, build} = Progress.line(build, before)
    assert {"after 1 s: crate 0 of 10", build} = Progress.told(build, 1_000)
    assert {"after 1 s: crate 2 of 10", _build} = build |> all(["gimli", "gimli", "tokio"]) |> Progress.told(1_000)
  end

  test "a crate of a folder is known by its name, and one that the table lacks counts a little" do
    build = Progress.new(2, 0)
    path = ~s({"reason":"compiler-artifact","package_id":"path+file:///a/native/tidepool_core#0.1.0","fresh":false})
    assert {:crate, core} = Progress.line(build, path)
    assert elem(Progress.now(core, 1_000), 0) > 0
    assert {:crate, _build} = Progress.line(build, artifact("unheard-of"))
  end

  test "other messages of cargo's change nothing, and what it says for people is told from them" do
    build = Progress.new(2, 0)
    assert {:crate, ^build} = Progress.line(build, ~s({"reason":"build-finished","success":true}))

    for line <- ["warning: unused variable: `x`", "", "{", "    Blocking waiting for file lock"],
        do: assert(Progress.line(build, line) == :other)
  end
end
