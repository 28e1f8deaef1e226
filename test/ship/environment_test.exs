defmodule Tidepool.Ship.EnvironmentTest do
  # What a release does before it starts a VM.
  use Tidepool.Case, async: true

  # The variables that env.sh leaves, or the status and text with which it refuses.
  defp source(env) do
    path = Path.join(tmp_folder!(), "env.sh")
    File.write!(path, EEx.eval_file("rel/env.sh.eex", assigns: [release: %{name: :tidepool}]))
    script = ". #{path}; printf '%s\\n' \"$RELEASE_NODE|$RELEASE_DISTRIBUTION|$ERL_EPMD_ADDRESS|$ERL_ZFLAGS\""

    names =
      ~w(RELEASE_ROOT RELEASE_TMP RELEASE_COMMAND RELEASE_NODE RELEASE_DISTRIBUTION RELEASE_COOKIE TIDEPOOL_CLUSTER_ADDRESS TIDEPOOL_CERTS)

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

  test "a node whose host has no dot has a short name, by which Erlang finds others of that kind" do
    env = [{"RELEASE_COOKIE", "secret"}, {"TIDEPOOL_CLUSTER_ADDRESS", "0.0.0.0"}]
    kind = fn env -> with {0, [_node, kind | _more]} <- source(env), do: kind end
    assert kind.([{"RELEASE_NODE", "a@host1"} | env]) == "sname"
    assert kind.([{"RELEASE_NODE", "a.b@host1"} | env]) == "sname"
    assert kind.([{"RELEASE_NODE", "a@host1.internal"} | env]) == "name"
    assert kind.([{"RELEASE_NODE", "a@host1"}, {"RELEASE_DISTRIBUTION", "name"} | env]) == "name"
    # It can be reached by others all the same.
    assert {1, [text]} = source([{"RELEASE_NODE", "a@host1"}])
    assert text =~ "RELEASE_COOKIE"
    assert {1, [text]} = source([{"RELEASE_NODE", "a@host1"}, {"RELEASE_COOKIE", "secret"}])
    assert text =~ "TIDEPOOL_CLUSTER_ADDRESS"
  end

  test "what is no node's name is refused in a sentence" do
    for name <- ["x y@10.0.0.1", "é@10.0.0.1", "bad@@10.0.0.1", "a@b@c", "x", "@10.0.0.1", "x@", "x;y@10.0.0.1"] do
      assert {1, [text]} = source([{"RELEASE_NODE", name}, {"RELEASE_COOKIE", "secret"}])
      assert text =~ "tidepool can't start: RELEASE_NODE is NAME@ADDRESS"
      assert text =~ name
    end
  end

  test "a node without a name needs neither" do
    assert {0, [_node, "none", "", ""]} =
             source([{"RELEASE_NODE", "tidepool@10.0.0.1"}, {"RELEASE_DISTRIBUTION", "none"}])
  end

  test "a cookie that others can read is refused, unless it is not the one that counts" do
    root = tmp_folder!()
    cookie = Path.join(root, "releases/COOKIE")
    File.mkdir_p!(Path.dirname(cookie))
    File.write!(cookie, "secret")
    env = [{"RELEASE_ROOT", root}]
    for mode <- [0o600, 0o400], do: assert(File.chmod(cookie, mode) == :ok and match?({0, _variables}, source(env)))

    for mode <- [0o644, 0o640, 0o604, 0o620, 0o602, 0o601] do
      File.chmod!(cookie, mode)
      assert {1, ["tidepool can't start: others can read " <> rest]} = source(env)
      assert rest =~ "chmod 600"
      assert {0, _variables} = source(env ++ [{"RELEASE_COOKIE", "another"}])
      assert {0, _variables} = source(env ++ [{"RELEASE_DISTRIBUTION", "none"}])
    end

    # A link is as open as what it leads to.
    File.rename!(cookie, cookie <> ".real")
    File.ln_s!(cookie <> ".real", cookie)
    assert {1, _text} = source(env)
    File.chmod!(cookie <> ".real", 0o600)
    assert {0, _variables} = source(env)
  end

  test "a VM has its cookie from a file for its user alone, in a home that nobody else has made" do
    tmp = tmp_folder!()
    env = [{"RELEASE_TMP", tmp}, {"RELEASE_COOKIE", "secret"}]
    home = Path.join(tmp, "home")
    file = Path.join(home, ".erlang.cookie")

    for command <- ~w(start daemon rpc remote restart stop pid) do
      File.rm_rf!(home)

      assert {0, _variables} =
               source(
                 env ++ [{"RELEASE_COMMAND", command}, {"RELEASE_ROOT", programs!(tmp)}, {"RELEASE_NAME", "tidepool"}]
               )

      assert File.read!(file) == "secret"
      assert Bitwise.band(File.stat!(file).mode, 0o777) == 0o400
      assert Bitwise.band(File.stat!(home).mode, 0o777) == 0o700
      assert File.ls!(home) == [".erlang.cookie"]
    end

    # One that was killed, and another cookie.
    File.write!(file <> ".1", "half")
    assert {0, _variables} = source([{"RELEASE_TMP", tmp}, {"RELEASE_COOKIE", "other"}, {"RELEASE_COMMAND", "pid"}])
    assert File.read!(file) == "other"

    elsewhere = tmp_folder!()
    File.rm_rf!(home)
    File.ln_s!(elsewhere, home)
    assert {1, ["tidepool can't start: " <> text]} = source(env ++ [{"RELEASE_COMMAND", "rpc"}])
    assert text =~ "is another user's"
    assert File.ls!(elsewhere) == []
  end

  # A release of programs that do nothing.
  defp programs!(folder) do
    for program <- ~w(erts-1/bin/epmd bin/tidepool) do
      path = Path.join([folder, "release", program])
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, "#!/bin/sh\n")
      File.chmod!(path, 0o755)
    end

    Path.join(folder, "release")
  end

  test "certificates that are missing, empty or something else are refused by name" do
    folder = tmp_folder!()
    source_tls = fn -> source([{"TIDEPOOL_CERTS", folder}]) end
    good = %{"ca.pem" => "CERTIFICATE", "cert.pem" => "CERTIFICATE", "key.pem" => "EC PRIVATE KEY"}
    for {file, kind} <- good, do: File.write!(Path.join(folder, file), "-----BEGIN #{kind}-----\n")
    assert {0, _variables} = source_tls.()

    for {file, kind} <- good, bad <- [nil, "", "garbage", "-----BEGIN PUBLIC KEY-----\n"] do
      path = Path.join(folder, file)
      if bad, do: File.write!(path, bad), else: File.rm!(path)
      assert {1, ["tidepool can't start: " <> text]} = source_tls.()
      assert text =~ path
      File.write!(path, "-----BEGIN #{kind}-----\n")
    end
  end
end
