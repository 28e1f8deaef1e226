Code.require_file("built.exs", __DIR__)

defmodule Tidepool.Ship.EntrypointTest do
  # ops/entrypoint and ops/node with a program in the release's place that says what it is given. image_test.exs has the first in its
  # container, install_test.exs the second on a machine.
  use Tidepool.Case, async: true

  alias Tidepool.Built

  @moduletag :ship

  setup do
    folder = tmp_folder!()
    bin = Path.join(folder, "release/bin")
    File.mkdir_p!(bin)
    File.cp!("ops/entrypoint", Path.join(bin, "entrypoint"))
    File.cp!("ops/node", Path.join(bin, "tidepool-node"))
    File.write!(Path.join(bin, "tidepool"), ~s(#!/bin/sh\necho "$RELEASE_COOKIE $*"\n))
    File.chmod!(Path.join(bin, "tidepool"), 0o755)
    tmp = Path.join(folder, "tmp")
    File.mkdir_p!(tmp)
    env = [{"RELEASE_TMP", tmp}, {"RELEASE_NODE", nil}, {"RELEASE_COOKIE", nil}]
    start = fn -> Built.run!(Path.join(bin, "entrypoint"), ["start"], env: env) end
    %{bin: bin, tmp: tmp, cookie: Path.join(tmp, "cookie"), start: start}
  end

  test "a container keeps the cookie that it made, for its user alone", %{cookie: cookie, start: start} do
    said = start.()
    assert said =~ ~r/\A[0-9a-f]{64} start\n\z/
    assert start.() == said
    assert said == File.read!(cookie) <> " start\n"
    assert Bitwise.band(File.stat!(cookie).mode, 0o777) == 0o600
  end

  test "a container that was killed while it made its cookie starts again, with a whole one",
       %{cookie: cookie, start: start} do
    # As the one did that was made in place, and as one does that is made beside it.
    File.write!(cookie, "")
    File.write!(cookie <> ".new", "0123")
    File.chmod!(cookie <> ".new", 0o600)
    assert start.() =~ ~r/\A[0-9a-f]{64} start\n\z/
    assert Path.wildcard(cookie <> "*") == [cookie]
    assert Bitwise.band(File.stat!(cookie).mode, 0o777) == 0o600
  end

  test "of what a node's user has set root's terminal is told nothing that it obeys, and no address that is none",
       %{bin: bin, tmp: tmp} do
    unset = for name <- ~w(TIDEPOOL_ADDRESS TIDEPOOL_TLS_CERT PORT), into: %{"RELEASE_TMP" => tmp}, do: {name, nil}

    said = fn env ->
      env = Map.merge(unset, env)
      System.cmd(Path.join(bin, "tidepool-node"), ["url"], env: env, stderr_to_stdout: true)
    end

    assert said.(%{}) == {"http://127.0.0.1:4000\n", 0}
    assert said.(%{"TIDEPOOL_ADDRESS" => "::1", "PORT" => "80"}) == {"http://[::1]:80\n", 0}

    for port <- ["80\e[2J", "80\\033[2J", "80@elsewhere", "80/?", "8\n0"] do
      assert {refused, 1} = said.(%{"PORT" => port})
      assert refused =~ ~r/\Atidepool-node: TIDEPOOL_ADDRESS is an IP address, and PORT a number[^\e\\]+\z/
    end

    data = Path.join(Path.dirname(bin), "data")
    File.write!(Path.join(data, "environment"), "no setting \e[2J \\033[2J\n")
    assert {refused, 1} = said.(%{})
    assert refused =~ "and not 'no setting ^[[2J \\033[2J'\n"
  end

  test "a program that is run leaves no file, and has its VM write none when that crashes, unless it is told where",
       %{bin: bin, tmp: tmp} do
    File.write!(Path.join(bin, "tidepool"), ~s(#!/bin/sh\necho "$ERL_CRASH_DUMP_SECONDS $ERL_CRASH_DUMP"\n))
    unset = for name <- ~w(RELEASE_TMP RELEASE_NODE ERL_CRASH_DUMP ERL_CRASH_DUMP_SECONDS), do: {name, nil}
    files = fn -> Path.wildcard(Path.join(Path.dirname(tmp), "**"), match_dot: true) end

    run = fn env ->
      env = unset |> Map.new() |> Map.merge(Map.new(env)) |> Enum.to_list()
      Built.run!(Path.join(bin, "tidepool-node"), ["run", "f.wasm"], env: env)
    end

    before = files.()
    assert "0 " <> _nowhere = run.([{"TMPDIR", tmp}])
    assert files.() == before
    assert run.([{"RELEASE_TMP", tmp}]) == " #{tmp}/erl_crash.dump\n"
    assert run.([{"ERL_CRASH_DUMP", "here"}]) == " here\n"
  end
end
