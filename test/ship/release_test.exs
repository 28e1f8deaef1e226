Code.require_file("foreground.exs", __DIR__)

defmodule Tidepool.Ship.ReleaseTest do
  # A release as `MIX_ENV=prod mix release` makes it: started, called, restarted, stopped.
  use Tidepool.Case, async: false

  alias Tidepool.Foreground

  @moduletag :ship
  @moduletag timeout: 600_000

  setup_all do
    root = Path.join(System.tmp_dir!(), "tidepool-release-#{System.pid()}")
    on_exit(fn -> File.rm_rf!(root) end)
    # A name server of its own, that the tests may end.
    epmd = {"ERL_EPMD_PORT", "#{free_port()}"}
    on_exit(fn -> System.cmd("epmd", ["-kill"], env: [epmd], stderr_to_stdout: true) end)
    # What a node has kept here must not get into the release.
    kept = "priv/data/release-test-#{System.pid()}"
    File.mkdir_p!(kept)
    on_exit(fn -> File.rm_rf!(kept) end)
    build!(root)
    %{root: root, env: [epmd, {"PORT", "0"}]}
  end

  defp build!(path) do
    env = [{"MIX_ENV", "prod"}, {"MIX_BUILD_PATH", nil}]
    {output, status} = System.cmd("mix", ["release", "--quiet", "--path", path], env: env, stderr_to_stdout: true)
    assert status == 0, output
  end

  defp free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :ok = :gen_tcp.close(socket)
    port
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

  test "a release serves, keeps what was deployed over a restart, and drains when it is told to stop", context do
    {program, url} = start!(context)
    {201, _headers, %{"version" => 1}} = curl_url("#{url}/deploy", ["-F", "wasm=@#{guest_path("rust", "hello_world")}"])
    assert {200, _headers, "Hello, world!"} = curl_url("#{url}/call/hello_world")
    assert {200, _headers, "Hello, Ada!"} = curl_url("#{url}/call/hello_world/hello", ["--data-binary", "Ada"])
    Foreground.signal(program, "TERM")
    assert {0, output} = Foreground.await_exit!(program)
    assert output =~ "drained"
    assert File.exists?(Path.join(context.root, "data/tidepool@localhost/catalog.log"))

    {program, url} = start!(context)
    assert {200, _headers, %{"version" => 1}} = curl_url("#{url}/functions/hello_world")
    assert {200, _headers, "Hello, Ada!"} = curl_url("#{url}/call/hello_world/hello", ["--data-binary", "Ada"])

    {201, _headers, _function} =
      curl_deploy_url("#{url}/deploy", guest("rust", "sleepy"), name: "sleepy", limits: ~s({"time": 60000}))

    arguments = ["-sS", "-w", " %{http_code}", "--data-binary", "3000", "#{url}/call/sleepy"]
    call = Task.async(fn -> System.cmd("curl", arguments, stderr_to_stdout: true) end)
    eventually(fn -> match?({200, _headers, %{"instances" => %{"live" => 1}}}, curl_url("#{url}/health")) end)
    command!(context, ["stop"])
    assert {0, _output} = Foreground.await_exit!(program)
    assert Task.await(call, 60_000) == {"slept 3000 200", 0}
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

  test "a wrong setting is a sentence and another status than 0", context do
    env = context.env ++ [{"TIDEPOOL_ADDRESS", "0.0.0.0"}, {"TIDEPOOL_DATA", tmp_folder!()}]
    program = Foreground.start!(Path.join(context.root, "bin/tidepool"), ["start"], env)
    assert {status, output} = Foreground.await_exit!(program)
    assert status != 0
    assert output =~ "TIDEPOOL_TOKEN"
  end

  test "nothing that was deployed on the building machine is in a release", context do
    assert [_library] = Path.wildcard(Path.join(context.root, "lib/tidepool-*/priv/native/tidepool_nif.so"))
    assert Path.wildcard(Path.join(context.root, "lib/tidepool-*/priv/data")) == []
  end

  test "the cookie is random, another one in each build", context do
    other = Path.join(tmp_folder!(), "release")
    build!(other)
    [first, second] = for root <- [context.root, other], do: File.read!(Path.join(root, "releases/COOKIE"))
    assert byte_size(first) >= 32
    assert first != second
  end
end
