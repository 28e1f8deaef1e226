defmodule Tidepool.Cli.CommandsTest do
  # Each command against a node. What the tool makes of servers that are none is tested in native/tidepool_cli/tests.
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, Tool}

  setup_all do
    Tool.path!()
    peer = Peer.start!(server: true, token: "s3cret")
    %{env: [{"TIDEPOOL_URL", Peer.url(peer, "")}, {"TIDEPOOL_TOKEN", "s3cret"}], url: Peer.url(peer, "")}
  end

  test "help and the version are JSON where that is asked for" do
    assert %{"version" => version} = Tool.json!(["--version"])
    assert Tool.run(["--version"]) == {"tidepool #{version}\n", 0}

    for asked <- [["--help"], ["deploy", "--help"]],
        do: assert(%{"help" => "" <> _text} = Tool.json!(asked))
  end

  test "it is one file, which needs no other of the machine" do
    assert {"\tstatically linked\n", 0} = System.cmd("ldd", [Tool.path!()])
  end

  test "what is deployed is listed, shown, called, gone back on and removed", %{env: env} do
    module = guest_path("rust", "hello_world")
    arguments = ["deploy", module, "--name", "walk", "--field", "label=team:walk", "--field", "instances=warm:2"]
    assert %{"name" => "walk", "version" => 1} = Tool.json!(arguments, env: env)
    assert %{"functions" => [%{"name" => "walk"}]} = Tool.json!(["list", "--label", "team:walk"], env: env)
    assert %{"functions" => []} = Tool.json!(["list", "--label", "team:other"], env: env)
    assert %{"instances" => "warm:2", "labels" => %{"team" => "walk"}} = Tool.json!(["show", "walk"], env: env)
    assert %{"reply" => "Hello, Ada!"} = Tool.json!(["call", "walk", "hello", "--data", "Ada"], env: env)
    assert {"Hello, Ada!", 0} = Tool.run(["call", "walk", "hello", "--data", "Ada"], env: env)
    assert {<<255, 0, 27>>, 0} = Tool.run(["call", "walk", "echo", "--file", bytes!(<<255, 0, 27>>)], env: env)

    assert %{"reply_base64" => "/wAb"} =
             Tool.json!(["call", "walk", "echo", "--file", bytes!(<<255, 0, 27>>)], env: env)

    assert %{"version" => 2} = Tool.json!(["deploy", guest_path("go", "hello_world"), "--name", "walk"], env: env)
    assert %{"versions" => [%{"version" => 2}, %{"version" => 1}]} = Tool.json!(["versions", "walk"], env: env)
    assert %{"version" => 3, "instances" => "warm:2"} = Tool.json!(["rollback", "walk"], env: env)
    assert {error, 1} = Tool.run(["rollback", "walk", "77", "--json"], env: env)
    assert error =~ "unknown_version"
    assert %{"removed" => "walk"} = Tool.json!(["rm", "walk"], env: env)
    assert {error, 1} = Tool.run(["show", "walk", "--json"], env: env)
    assert error =~ "not_deployed"
  end

  test "what a function printed is shown, and with -f what it prints, with nothing a terminal obeys", %{
    env: env
  } do
    Tool.json!(["deploy", guest_path("rust", "hello_world"), "--name", "talker"], env: env)
    print = fn text -> assert {"", 0} = Tool.run(["call", "talker", "log", "--data", text], env: env) end
    for text <- ["one", "two\e[31m"], do: print.(text)

    assert %{"lines" => [%{"text" => "two\e[31m"}], "name" => "talker"} =
             Tool.json!(["logs", "talker", "-n", "1"], env: env)

    assert {text, 0} = Tool.run(["logs", "talker"], env: env)
    assert [one, two] = String.split(text, "\n", trim: true)
    assert one =~ ~r/\A20\d\d-\d\d-\d\dT[\d:.]+Z v1 one\z/
    assert String.ends_with?(two, "two\\u{1b}[31m")
    assert {error, 1} = Tool.run(["logs", "nobody", "-f", "--json"], env: env)
    assert error =~ "not_deployed"

    options = [:binary, :exit_status, line: 10_000, env: for({key, value} <- env, do: {~c"#{key}", ~c"#{value}"})]

    port =
      Port.open({:spawn_executable, Tool.path!()}, [{:args, ["logs", "talker", "-f", "-n", "1", "--json"]} | options])

    # It follows until it is told to end, and would hold what this run writes to.
    {:os_pid, tool} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["#{tool}"], stderr_to_stdout: true) end)
    assert next_line(port)["text"] == "two\e[31m"
    print.("three")
    assert next_line(port)["text"] == "three"
    Port.close(port)
  end

  defp next_line(port) do
    assert_receive {^port, {:data, {:eol, line}}}
    {:ok, line} = Tidepool.Native.json_decode(line)
    line
  end

  test "actors are called, listed, shown and ended", %{env: env} do
    fields = ["--name", "class", "--field", "actor=true"]
    Tool.json!(["deploy", guest_path("rust", "counter") | fields], env: env)
    assert %{"reply" => _count} = Tool.json!(["actor", "call", "class", "one", "next"], env: env)
    assert %{"actors" => [_one]} = Tool.json!(["actor", "list", "class"], env: env)
    assert %{} = Tool.json!(["actor", "show", "class", "one"], env: env)
    assert %{} = Tool.json!(["actor", "rm", "class", "one"], env: env)
    assert {"none is kept\n", 0} = Tool.run(["actor", "list", "class"], env: env)
  end

  test "programs are started, listed, shown and killed", %{env: env} do
    server = ["deploy", guest_path("lunatic", "example_tcp_echo_server"), "--name", "program"]
    Tool.json!(server ++ ["--field", "net=tcp:listen:127.0.0.1:*"], env: env)
    Tool.json!(["deploy", guest_path("wat", "parked"), "--name", "call"], env: env)
    assert {error, 1} = Tool.run(["process", "start", "call", "--json"], env: env)
    assert error =~ "not_a_program"
    assert %{"function" => "program", "id" => id} = Tool.json!(["process", "start", "program"], env: env)
    assert %{"processes" => [%{"id" => ^id}]} = Tool.json!(["process", "list", "--function", "program"], env: env)
    assert %{"id" => ^id} = Tool.json!(["process", "show", id], env: env)
    assert %{"killed" => ^id} = Tool.json!(["process", "kill", id], env: env)
    assert {error, 1} = Tool.run(["process", "show", "99.99", "--json"], env: env)
    assert error =~ "unknown_process"
    assert {_error, 1} = Tool.run(["process", "upgrade", "99.99", "--json"], env: env)
    assert {_error, 1} = Tool.run(["process", "kill", "99.99", "--json"], env: env)
  end

  test "how the node is, and whether the token opens it", %{env: env, url: url} do
    assert %{"health" => %{"status" => "ok"}, "cluster" => %{"nodes" => _nodes}} = Tool.json!(["status"], env: env)
    assert %{"ok" => true} = Tool.json!(["doctor"], env: env)

    for env <- [[{"TIDEPOOL_URL", url}], [{"TIDEPOOL_URL", url}, {"TIDEPOOL_TOKEN", "wrong"}]] do
      assert {output, 1} = Tool.run(["doctor", "--json"], env: env)
      assert output =~ "unauthorized"
      # One that is sent at once, and one that the node would hang up on.
      for size <- [100, 20_000_000] do
        file = bytes!("\0asm" <> :binary.copy(<<0>>, size))
        assert {output, 1} = Tool.run(["deploy", file, "--name", "x", "--json"], env: env)
        assert output =~ ~s("reason":"unauthorized")
      end
    end
  end

  test "the node hands out the tool as it was built", %{url: url} do
    file = Path.join(tmp_folder!(), "tidepool")
    assert {"200", 0} = System.cmd("curl", ["-sS", "-o", file, "-w", "%{http_code}", url <> "/cli/tidepool"])
    assert File.read!(file) == File.read!(Tool.path!())
    assert {"200", 0} = System.cmd("curl", ["-sSI", "-o", "/dev/null", "-w", "%{http_code}", url <> "/cli/tidepool"])
  end

  defp bytes!(bytes) do
    file = Path.join(tmp_folder!(), "bytes.wasm")
    File.write!(file, bytes)
    file
  end
end
