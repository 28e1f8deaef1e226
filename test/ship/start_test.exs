Code.require_file("foreground.exs", __DIR__)

defmodule Tidepool.Ship.StartTest do
  # bin/start and mix phx.server as their users start them.
  use Tidepool.Case, async: false

  alias Tidepool.Foreground

  @moduletag :ship

  defp start!(executable, arguments \\ [], env \\ []) do
    env = Enum.uniq_by(env ++ [{"PORT", "0"}, {"TIDEPOOL_DATA", tmp_folder!()}], &elem(&1, 0))
    Foreground.start!(executable, arguments, env)
  end

  # The address that a node says it listens on.
  defp await_url!(program, until \\ ~r/listens on \S+\n/) do
    output = Foreground.await_output!(program, until)
    [_line, url] = Regex.run(~r/listens on (\S+)/, output)
    {url, output}
  end

  defp shell!(line) do
    {output, 0} = System.cmd("sh", ["-c", line], stderr_to_stdout: false)
    output
  end

  test "bin/start prints lines to try, and they work" do
    program = start!("bin/start")
    # The log says the address, and the console the lines: either may be first.
    {_url, output} = await_url!(program, ~r/listens on .*\/functions\n|\/functions\n.*listens on \S+\n/s)
    lines = for "  curl " <> _rest = line <- String.split(output, "\n"), do: line

    assert [deploy, call, hello, functions] =
             Enum.map(lines, &shell!(String.replace(&1, "curl", "curl -sS", global: false)))

    assert deploy =~ ~s("name":"hello_world")
    assert call == "Hello, world!"
    assert hello == "Hello, Ada!"
    assert functions =~ ~s("version":1)
  end

  test "bin/start with a token prints a link to the page that signs in once" do
    program = start!("bin/start", [], [{"TIDEPOOL_TOKEN", "s3cret"}])
    {url, output} = await_url!(program, ~r/listens on .*#code=\S+\n|#code=\S+\n.*listens on \S+\n/s)
    refute output =~ "s3cret"
    [_link, page, code] = Regex.run(~r{(http://\S+/ui/)#code=(\S+)}, output)
    assert {200, %{"content-type" => "text/html" <> _charset}, _page} = curl_url(page)
    sign_in = ["-X", "POST", "-H", "authorization: Bearer #{code}"]
    assert {201, %{"set-cookie" => "tidepool_" <> _cookie}, _status} = curl_url("#{url}/session", sign_in)
    assert {401, _headers, _error} = curl_url("#{url}/session", sign_in)
  end

  test "bin/start drains on SIGTERM: a call in flight is answered, and the status is 0" do
    program = start!("bin/start")
    {url, _output} = await_url!(program)
    call = Foreground.call_in_flight!(url, 3_000)
    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)
    assert Task.await(call, 60_000) == {"slept 3000 200", 0}
  end

  test "Ctrl-C does the same" do
    program = start!("bin/start")
    {url, _output} = await_url!(program)
    call = Foreground.call_in_flight!(url, 3_000)
    Foreground.signal_group(program, "INT")
    assert {0, _output} = Foreground.await_exit!(program)
    assert Task.await(call, 60_000) == {"slept 3000 200", 0}
  end

  test "what is in flight after TIDEPOOL_DRAIN is cut" do
    program = start!("bin/start", [], [{"TIDEPOOL_DRAIN", "100"}])
    {url, _output} = await_url!(program)
    call = Foreground.call_in_flight!(url, 100_000)
    Foreground.signal(program, "TERM")
    assert {0, output} = Foreground.await_exit!(program)
    assert output =~ "1 cut"
    assert {_text, status} = Task.await(call, 60_000)
    assert status != 0
  end

  test "bin/start fails with a sentence when the port is taken" do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    program = Foreground.start!("bin/start", [], [{"PORT", "#{port}"}, {"TIDEPOOL_DATA", tmp_folder!()}])
    assert {status, output} = Foreground.await_exit!(program)
    assert status != 0
    assert output =~ "tidepool can't start: 127.0.0.1:#{port} is in use"
    refute output =~ ~r/\*\*|%\{|crash dump/
  end

  test "mix tidepool.server, and its alias, say in one sentence why a node can't start, and never the token" do
    dump = Path.join(tmp_folder!(), "erl_crash.dump")
    # What compiling prints comes before.
    assert {0, _output} = Foreground.await_exit!(start!("mix", ["compile"]))

    for task <- ["tidepool.server", "phx.server"],
        {env, text} <- [
          {{"PORT", "abc"}, ~s|the setting :port has to be an integer from 0 to 65535, and is "PORT=abc"|},
          {{"TIDEPOOL_TOKEN", "s3cret s3cret"}, "the setting :token has to be printable ASCII without spaces"},
          {{"TIDEPOOL_ADDRESS", "0.0.0.0"}, "anybody who reaches 0.0.0.0 could deploy code"}
        ] do
      assert {1, output} = Foreground.await_exit!(start!("mix", [task], [env, {"ERL_CRASH_DUMP", dump}]))
      assert output =~ ~r/\Atidepool can't start: [^\n]*\n\z/
      assert output =~ text
      refute output =~ "s3cret"
    end

    refute File.exists?(dump)
  end

  test "mix tidepool.server starts no node with an argument that it does not take, and says where settings are" do
    assert {1, output} = Foreground.await_exit!(start!("mix", ["tidepool.server", "--port", "4001"]))
    assert output =~ "mix tidepool.server takes --examples, and not --port 4001: settings are in the environment"
  end

  test "mix phx.server stays in the foreground until SIGTERM, and exits with 0" do
    program = start!("mix", ["phx.server"])
    {url, _output} = await_url!(program)
    assert {200, _headers, %{"status" => "ok"}} = curl_url("#{url}/health")
    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)
  end

  test "iex -S mix phx.server is the same node with a shell" do
    program = start!("iex", ["-S", "mix", "phx.server"])
    {url, _output} = await_url!(program)
    curl_deploy_url("#{url}/deploy", guest("rust", "hello_world"), name: "hello_world")
    Foreground.write(program, ~s|IO.puts Tidepool.call!("hello_world", "hello", "shell")\n|)
    assert Foreground.await_output!(program, ~r/Hello, shell!/)
    Foreground.write(program, "System.stop()\n")
    assert {0, _output} = Foreground.await_exit!(program)
  end

  test "mix tidepool.adopt gives a node the data that it had under another name, or says why not" do
    data = tmp_folder!()
    env = [{"TIDEPOOL_DATA", data}, {"MIX_ENV", "dev"}]
    adopt = fn names -> System.cmd("mix", ["tidepool.adopt" | names], env: env, stderr_to_stdout: true) end
    program = start!("mix", ["tidepool.server"], [{"TIDEPOOL_DATA", data}])
    {url, _output} = await_url!(program)
    curl_deploy_url("#{url}/deploy", guest("rust", "hello_world"), name: "hello_world")
    assert adopt.(["nonode@nohost", "n1@127.0.0.1"]) == {"nonode@nohost is running: stop it first\n", 1}
    Foreground.signal(program, "TERM")
    assert {0, _output} = Foreground.await_exit!(program)

    assert {"n1@127.0.0.1 has the data of nonode@nohost now: 1 function, in " <> _folder, 0} =
             adopt.(["nonode@nohost", "n1@127.0.0.1"])

    # Without a second name it is that of nodes without one.
    assert {"nonode@nohost has the data of n1@127.0.0.1 now" <> _rest, 0} = adopt.(["n1@127.0.0.1"])
    assert {"n1@127.0.0.1 has no data in " <> _rest, 1} = adopt.(["n1@127.0.0.1"])
    assert {"** (Mix) name the node that has the data" <> _rest, 1} = adopt.([])
  end
end
