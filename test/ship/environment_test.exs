defmodule Tidepool.Ship.EnvironmentTest do
  # What a release does before it starts a VM.
  use Tidepool.Case, async: true

  # The variables that env.sh leaves, or the status and text with which it refuses.
  defp source(env) do
    path = Path.join(tmp_folder!(), "env.sh")
    File.write!(path, EEx.eval_file("rel/env.sh.eex", assigns: [release: %{name: :tidepool}]))
    script = ". #{path}; printf '%s\\n' \"$RELEASE_NODE|$RELEASE_DISTRIBUTION|$ERL_EPMD_ADDRESS|$ERL_ZFLAGS\""
    names = ~w(RELEASE_NODE RELEASE_DISTRIBUTION RELEASE_COOKIE TIDEPOOL_CLUSTER_ADDRESS TIDEPOOL_CERTS)
    clean = for name <- names ++ ~w(ERL_EPMD_ADDRESS ERL_ZFLAGS), do: {name, nil}
    {output, status} = System.cmd("sh", ["-c", script], env: clean ++ env, stderr_to_stdout: true)
    {status, output |> String.trim_trailing("\n") |> String.split("|")}
  end

  test "a release talks to its own machine alone unless it is told otherwise" do
    assert {0, ["tidepool@localhost", "sname", "127.0.0.1", flags]} = source([])
    assert flags =~ "inet_dist_use_interface {127,0,0,1}"
  end

  test "a node that others can reach does not start without a cookie of its own" do
    assert {1, [text]} = source([{"RELEASE_NODE", "tidepool@10.0.0.1"}])
    assert text =~ "RELEASE_COOKIE"
    assert {1, [_text]} = source([{"RELEASE_NODE", "tidepool@10.0.0.1"}, {"RELEASE_COOKIE", ""}])
  end

  test "a node that others can reach listens where its name says, or where it is told" do
    env = [{"RELEASE_NODE", "tidepool@10.0.0.1"}, {"RELEASE_COOKIE", "secret"}]
    assert {0, ["tidepool@10.0.0.1", "name", "10.0.0.1", flags]} = source(env)
    assert flags =~ "inet_dist_use_interface {10,0,0,1}"

    env = [{"RELEASE_NODE", "tidepool@host.example"}, {"RELEASE_COOKIE", "secret"}]
    assert {1, [text]} = source(env)
    assert text =~ "TIDEPOOL_CLUSTER_ADDRESS"
    assert {0, [_node, "name", "0.0.0.0", flags]} = source(env ++ [{"TIDEPOOL_CLUSTER_ADDRESS", "0.0.0.0"}])
    assert flags =~ "inet_dist_use_interface {0,0,0,0}"
  end

  test "a node without a name needs neither" do
    assert {0, [_node, "none", "", ""]} =
             source([{"RELEASE_NODE", "tidepool@10.0.0.1"}, {"RELEASE_DISTRIBUTION", "none"}])
  end
end
