for file <- ["foreground.exs", "built.exs"], do: Code.require_file(file, __DIR__)

defmodule Tidepool.Ship.ReleaseTest do
  # A release as `MIX_ENV=prod mix release` makes it: started, called, restarted, stopped.
  use Tidepool.Case, async: false

  alias Tidepool.{Built, Foreground}

  @moduletag :ship

  setup_all do
    root = Path.join(System.tmp_dir!(), "tidepool-release-#{System.pid()}")
    on_exit(fn -> File.rm_rf!(root) end)
    # A name server of its own, that the tests may end.
    names_port = "#{Tidepool.FreePort.take()}"
    on_exit(fn -> Built.end_name_server!(names_port) end)
    # What nodes have kept here, also where older versions did, must not get into the release.
    kept = for folder <- ["priv/data", "data"], do: Path.join(folder, "release-test-#{System.pid()}")
    File.mkdir_p!(hd(kept))
    Tidepool.Book.build!()
    on_exit(fn -> Enum.each(kept, &File.rm_rf!/1) end)
    Built.release!(root)
    %{root: root, env: [{"ERL_EPMD_PORT", names_port}, {"PORT", "0"}]}
  end

  defp start!(context, env \\ []) do
    program = Foreground.start!(Path.join(context.root, "bin/tidepool"), ["start"], context.env ++ env)
    output = Foreground.await_output!(program, ~r/listens on \S+\n/)
    [_line, url] = Regex.run(~r/listens on (\S+)/, output)
    {program, url}
  end

  defp command!(context, arguments) do
    {output, 0} = System.cmd(Path.join(context.root, "bin/tidepool"), arguments, env: context.env)
    output
  end

  # Of what is shipped the least that each change has to pass: `bin/test release`.
  @tag :release
  test "a release serves, the book as well, keeps what was deployed over a restart, and drains when it is told to stop",
       context do
    {program, url} = start!(context)
    {201, _headers, %{"version" => 1}} = curl_url("#{url}/deploy", ["-F", "wasm=@#{guest_path("rust", "hello_world")}"])
    assert {200, _headers, "Hello, world!"} = curl_url("#{url}/call/hello_world")
    assert {200, _headers, "Hello, Ada!"} = curl_url("#{url}/call/hello_world/hello", ["--data-binary", "Ada"])
    assert {200, %{"content-type" => "text/html; charset=utf-8"}, _page} = curl_url("#{url}/docs/start.html")
    Foreground.signal(program, "TERM")
    assert {0, output} = Foreground.await_exit!(program)
    assert output =~ "drained"
    assert File.exists?(Path.join(context.root, "data/tidepool@localhost/catalog.log"))

    {program, url} = start!(context)
    assert {200, _headers, %{"version" => 1}} = curl_url("#{url}/functions/hello_world")
    assert {200, _headers, "Hello, Ada!"} = curl_url("#{url}/call/hello_world/hello", ["--data-binary", "Ada"])

    call = Foreground.call_in_flight!(url, 3_000)
    command!(context, ["stop"])
    assert {0, _output} = Foreground.await_exit!(program)
    assert Task.await(call, 60_000) == {"slept 3000 200", 0}
  end

  test "two releases on one machine know nothing of each other until they are told", context do
    node = fn name, env ->
      named = [{"RELEASE_NODE", "#{name}@localhost"}, {"TIDEPOOL_DATA", tmp_folder!()}, {"TIDEPOOL_TOKEN", "s3cret"}]
      start!(context, named ++ env)
    end

    nodes = fn url ->
      {200, _headers, %{"nodes" => nodes, "distributed" => distributed}} = curl_url("#{url}/cluster")
      {distributed, Enum.sort(for node <- nodes, do: node["name"])}
    end

    {first, url} = node.("one", [])
    # It looks for the first one, and does not get to it.
    {second, seeking} = node.("two", [{"TIDEPOOL_SEEDS", "one@localhost"}])
    env = [{"RELEASE_NODE", "two@localhost"} | context.env]
    tool = Path.join(context.root, "bin/tidepool")
    apart? = "IO.puts(map_size(:sys.get_state(Tidepool.Cluster.Server).links.backoff))"
    eventually(fn -> System.cmd(tool, ["rpc", apart?], env: env) == {"1\n", 0} end, 60_000)
    assert nodes.(url) == {false, ["one@localhost"]}
    assert nodes.(seeking) == {true, ["two@localhost"]}
    {third, unasked} = node.("three", [])
    assert nodes.(unasked) == {false, ["three@localhost"]}

    Foreground.signal(first, "TERM")
    assert {0, _output} = Foreground.await_exit!(first)
    {first, url} = node.("one", [{"TIDEPOOL_CLUSTER", "true"}])
    both = {true, ["one@localhost", "two@localhost"]}
    for url <- [url, seeking], do: eventually(fn -> assert nodes.(url) == both end, 60_000)

    # `false` holds whatever else is said.
    {fourth, alone} = node.("four", [{"TIDEPOOL_CLUSTER", "false"}, {"TIDEPOOL_SEEDS", "one@localhost"}])
    assert nodes.(alone) == {false, ["four@localhost"]}

    for program <- [first, second, third, fourth] do
      Foreground.signal(program, "TERM")
      assert {0, _output} = Foreground.await_exit!(program)
    end
  end

  test "a release runs programs, with any arguments, standard input and output and their exit status", context do
    folder = tmp_folder!()
    File.write!(Path.join(folder, "in"), "low tide\n")
    terminal = Path.expand("guests/build/lunatic/terminal.wasm")

    run = fn arguments ->
      script = ~s("$TOOL" run "$@" <"$FOLDER/in" 2>"$FOLDER/err")
      env = [{"TOOL", Path.join(context.root, "bin/tidepool")}, {"FOLDER", folder}]
      {output, status} = System.cmd("bash", ["-c", script, "bash" | arguments], env: env)
      {output, File.read!(Path.join(folder, "err")), status}
    end

    assert run.([terminal, "--", "cat", "a  b", "*", "'$HOME'", ""]) ==
             {"terminal.wasm cat a  b * '$HOME' \nlow tide\n", "", 0}

    assert {"terminal.wasm exit 3\n", "", 3} = run.([terminal, "--", "exit", "3"])
    assert {"terminal.wasm panic\n", error, 134} = run.([terminal, "--", "panic"])
    assert error =~ "trap unreachable"
    assert {"", "name a file" <> _more, 2} = run.([])
  end

  test "shell commands reach the node, which listens to this machine alone", context do
    data = tmp_folder!()
    {program, url} = start!(context, [{"TIDEPOOL_DATA", data}])
    curl_deploy_url("#{url}/deploy", guest("rust", "hello_world"), name: "hello_world")
    assert command!(context, ["rpc", ~s|IO.puts(Tidepool.call!("hello_world", "hello", "rpc"))|]) == "Hello, rpc!\n"

    listening =
      command!(context, ["rpc", "IO.inspect(for p <- Port.list(), {:ok, address} <- [:inet.sockname(p)], do: address)"])

    assert {[_at_least_one | _more] = addresses, []} = Code.eval_string(listening)
    assert Enum.all?(addresses, fn {ip, _port} -> ip == {127, 0, 0, 1} end)

    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)
  end

  # The command's status, and what it wrote; it ends by itself.
  defp refused!(context, command, env) do
    dump = Path.join(tmp_folder!(), "erl_crash.dump")

    env =
      Map.to_list(
        Map.merge(Map.new(context.env), Map.new([{"ERL_CRASH_DUMP", dump}, {"TIDEPOOL_DATA", tmp_folder!()} | env]))
      )

    assert {1, output} =
             Foreground.await_exit!(Foreground.start!(Path.join(context.root, "bin/tidepool"), [command], env))

    refute File.exists?(dump)
    # What is logged goes to standard output, which is not told apart here.
    output = String.replace(output, ~r/\n?[\d:.]+ \[info\] [^\n]*\n/, "")
    assert output =~ ~r/\Atidepool can't start: [^\n]*\n\z/
    output
  end

  test "what keeps a node from starting is one sentence and status 1, as a daemon too, and never the token", context do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    file = Path.join(tmp_folder!(), "a file")
    File.write!(file, "")

    # Look like certificates, and are none.
    certs = tmp_folder!()

    for {name, kind} <- [ca: "CERTIFICATE", cert: "CERTIFICATE", key: "PRIVATE KEY"],
        do: File.write!(Path.join(certs, "#{name}.pem"), "-----BEGIN #{kind}-----\nAAAA\n-----END #{kind}-----\n")

    for command <- ["start", "daemon"],
        {env, text} <- [
          {[{"TIDEPOOL_CERTS", certs}], "ca.pem has nothing that can be decoded"},
          {[{"TIDEPOOL_ADDRESS", "0.0.0.0"}], "TIDEPOOL_TOKEN"},
          {[{"TIDEPOOL_TOKEN", "s3cret s3cret"}], "the setting :token"},
          {[{"PORT", "abc"}], "PORT=abc"},
          {[{"TIDEPOOL_TOKENS", "s3cret"}], "did you mean TIDEPOOL_TOKEN?"},
          {[{"TIDPOOL_TOKEN", "s3cret"}], "did you mean TIDEPOOL_TOKEN?"},
          {[{"PORT", "#{port}"}, {"TIDEPOOL_CLUSTER", "false"}, {"RELEASE_DISTRIBUTION", "none"}], "in use"},
          {[{"TIDEPOOL_DATA", file}], "not a directory"},
          {[{"TIDEPOOL_CERTS", file}], "TIDEPOOL_CERTS"},
          {[{"RELEASE_NODE", "tidepool@10.0.0.1"}], "RELEASE_COOKIE"}
        ] do
      output = refused!(context, command, env)
      assert output =~ text
      refute output =~ "s3cret"
    end
  end

  test "a second node of the same name, or on the same data, is refused, and the first is not disturbed", context do
    data = tmp_folder!()
    {program, url} = start!(context, [{"TIDEPOOL_DATA", data}])
    assert refused!(context, "start", []) =~ "a node called tidepool@localhost runs on this machine"
    assert refused!(context, "daemon", []) =~ "a node called tidepool@localhost runs on this machine"
    assert {200, _headers, %{"status" => "ok"}} = curl_url("#{url}/health")
    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)

    alone = [{"TIDEPOOL_DATA", data}, {"RELEASE_DISTRIBUTION", "none"}]
    {program, _url} = start!(context, alone)

    for command <- ["start", "daemon"],
        do: assert(refused!(context, command, alone) =~ "another node uses the data folder")

    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)
  end

  test "a daemon that can start does, and stops", context do
    env = context.env ++ [{"TIDEPOOL_DATA", tmp_folder!()}, {"RELEASE_TMP", tmp_folder!()}]

    tidepool = fn command ->
      System.cmd(Path.join(context.root, "bin/tidepool"), command, env: env, stderr_to_stdout: true)
    end

    assert {"", 0} = tidepool.(["daemon"])
    ask = ["rpc", "IO.inspect(Tidepool.list())"]
    eventually(fn -> match?({"[]\n", 0}, tidepool.(ask)) end, 60_000)
    assert {_output, 0} = tidepool.(["stop"])
    names = fn -> System.cmd("epmd", ["-names"], env: env) |> elem(0) end
    eventually(fn -> not (names.() =~ "name tidepool at port") end, 60_000)
  end

  test "nothing that was deployed on the building machine is in a release", context do
    assert [_library] = Path.wildcard(Path.join(context.root, "lib/tidepool-*/priv/native/tidepool_nif.so"))
    assert Path.wildcard(Path.join(context.root, "**/*release-test*")) == []
    assert Path.wildcard(Path.join(context.root, "lib/**/data")) == []
    assert File.dir?("data/release-test-#{System.pid()}")
  end

  test "a node that was given another name finds its data, and the release's command adopts it", context do
    data = tmp_folder!()
    env = [{"TIDEPOOL_DATA", data}]
    {program, url} = start!(context, env)
    curl_deploy_url("#{url}/deploy", guest("rust", "hello_world"), name: "hello_world")
    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)

    env = env ++ [{"RELEASE_NODE", "n1@127.0.0.1"}, {"RELEASE_COOKIE", "of_this_test"}]
    program = Foreground.start!(Path.join(context.root, "bin/tidepool"), ["start"], context.env ++ env)
    output = Foreground.await_output!(program, ~r/listens on \S+\n/)
    [command] = Regex.run(~r/bin\/tidepool eval '[^']+'/, output)

    adopt = fn further ->
      env = context.env ++ env ++ further
      System.cmd("sh", ["-c", Path.join(context.root, command)], env: env, stderr_to_stdout: true)
    end

    slip = "the variable TIDEPOOL_TOKENS is unknown: did you mean TIDEPOOL_TOKEN?\n"
    assert {^slip, 1} = adopt.([{"TIDEPOOL_TOKENS", "s3cret"}])
    assert {"n1@127.0.0.1 is running: stop it first\n", 1} = adopt.([])
    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)

    assert {"n1@127.0.0.1 has the data of tidepool@localhost now: 1 function, in " <> _folder, 0} = adopt.([])
    {program, url} = start!(context, env)
    assert {200, _headers, "Hello, world!"} = curl_url("#{url}/call/hello_world")
    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)
  end

  test "the cookie is random, another one in each build", context do
    other = Path.join(tmp_folder!(), "release")
    Built.release!(other)
    [first, second] = for root <- [context.root, other], do: File.read!(Path.join(root, "releases/COOKIE"))
    assert byte_size(first) >= 32
    assert first != second
  end

  test "the cookie is for the node's user alone, and a node whose cookie others can read does not start", context do
    cookie = Path.join(context.root, "releases/COOKIE")
    assert Bitwise.band(File.stat!(cookie).mode, 0o777) == 0o600
    on_exit(fn -> File.chmod!(cookie, 0o600) end)
    File.chmod!(cookie, 0o644)
    assert refused!(context, "start", []) =~ "chmod 600"
  end

  test "no argument of a process has the cookie, neither the node's nor that of a command that talks to it", context do
    {program, _url} = start!(context, [{"TIDEPOOL_DATA", tmp_folder!()}])
    tool = Path.join(context.root, "bin/tidepool")
    command = Foreground.start!(tool, ["rpc", ~s(IO.puts("is there"\); Process.sleep(:infinity\))], context.env)
    Foreground.await_output!(command, ~r/is there/)
    cookie = File.read!(Path.join(context.root, "releases/COOKIE"))
    arguments = for file <- Path.wildcard("/proc/[0-9]*/cmdline"), {:ok, text} <- [File.read(file)], do: text
    assert Enum.count(arguments, &(&1 =~ "#{context.root}/releases")) >= 2
    refute Enum.any?(arguments, &(&1 =~ cookie))
    for running <- [command, program], do: Foreground.signal(running, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)
    Foreground.await_exit!(command)
  end
end
