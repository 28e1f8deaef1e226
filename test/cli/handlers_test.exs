defmodule Tidepool.Cli.HandlersTest do
  # Requests for handlers of HTTP, by the tool against a node.
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, Tool}

  setup_all do
    Tool.path!()
    peer = Peer.start!(server: true, token: "s3cret")
    Peer.deploy!(peer, "rust", "http", name: "site")
    Peer.deploy!(peer, "rust", "hello_world", name: "greet", operation: "hello")
    %{env: [{"TIDEPOOL_URL", Peer.url(peer, "")}, {"TIDEPOOL_TOKEN", "s3cret"}]}
  end

  # What it says on both, and its exit code.
  defp both(arguments, env), do: Tool.run(arguments, env: env, stderr_to_stdout: true)

  test "a request is what was asked for: method, path, query, headers and body", %{env: env} do
    arguments = [
      "call",
      "site",
      "GET",
      "/headers?a=%20b",
      "-H",
      "X-Low: tide",
      "-H",
      "x-low:  two ",
      "-H",
      "host: localhost:7"
    ]

    assert {lines, 0} = Tool.run(arguments, env: env)
    lines = String.split(lines, "\n", trim: true)

    for line <- [":method: GET", ":path: /headers?a=%20b", ":authority: localhost:7", "x-low: tide", "x-low: two"],
        do: assert(line in lines)

    # The node's token is nothing of the guest's.
    refute Enum.any?(lines, &(&1 =~ "s3cret"))

    bytes = <<"low\r\n", 255, 0, 27>>
    file = Path.join(tmp_folder!(), "body")
    File.write!(file, bytes)

    for body <- [["-d", "@" <> file], ["--file", file]],
        do: assert({^bytes, 0} = Tool.run(["call", "site", "POST", "/echo" | body], env: env))

    assert {"", 0} = Tool.run(["call", "site", "POST", "/echo"], env: env)
    assert {"tide", 0} = Tool.run(["call", "site", "POST", "/echo", "-d", "tide"], env: env)

    for method <- ~w(PUT DELETE OPTIONS PURGE get),
        do:
          assert(
            %{"headers" => %{"x-method" => [^method]}} = Tool.json!(["call", "site", method, "/status/200"], env: env)
          )
  end

  test "with -i there are the status and the headers, and in JSON everything", %{env: env} do
    assert {text, 0} = Tool.run(["call", "site", "GET", "/hello", "-i"], env: env)
    assert [head, "hello"] = String.split(text, "\n\n")
    assert ["HTTP/1.1 200 OK" | headers] = String.split(head, "\n")
    assert "content-type: text/plain" in headers

    assert %{"status" => 200, "reply" => "hello", "headers" => %{"content-type" => ["text/plain"]}, "ms" => _ms} =
             Tool.json!(["call", "site", "GET", "/hello"], env: env)

    assert {"HTTP/1.1 200 OK\n" <> _headers, 0} = Tool.run(["call", "site", "HEAD", "/status/200", "-i"], env: env)
  end

  test "the exit code is that of a failure from the status 400 on, and the body is shown all the same", %{env: env} do
    for status <- [200, 204, 302, 399], do: assert({"", 0} = both(["call", "site", "GET", "/status/#{status}"], env))

    for {status, shown} <- [{404, "404 Not Found"}, {500, "500 Internal Server Error"}, {999, "999"}] do
      assert both(["call", "site", "GET", "/status/#{status}"], env) ==
               {"tidepool: site answered with the status #{shown}\n", 1}

      assert {line, 1} = Tool.run(["call", "site", "GET", "/status/#{status}", "--json"], env: env)
      assert {:ok, %{"status" => ^status, "reply" => ""}} = Tidepool.Native.json_decode(line)
    end

    # What the node says of it is an error as of any call.
    assert {error, 1} = Tool.run(["call", "site", "GET", "/trap-before", "--json"], env: env)
    assert error =~ ~s("reason":"trap")
    assert {error, 1} = Tool.run(["call", "nobody", "GET", "/", "--json"], env: env)
    assert error =~ ~s("reason":"not_deployed")
  end

  test "a body that breaks off is shown as far as it came, and is a failure", %{env: env} do
    assert {text, 1} = both(["call", "site", "GET", "/trap-after"], env)
    assert "half" <> error = text
    assert error =~ "broke off after 4 bytes"
    assert {error, 1} = Tool.run(["call", "site", "GET", "/trap-after", "--json"], env: env)
    assert error =~ ~s("reason":"broken_off")
  end

  test "a body is shown while the rest of it is still to come", %{env: env} do
    env = for {name, value} <- env, do: {to_charlist(name), to_charlist(value)}
    options = [:binary, :exit_status, args: ["call", "site", "GET", "/silent"], env: env]
    port = Port.open({:spawn_executable, Tool.path!()}, options)
    {:os_pid, tool} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["#{tool}"], stderr_to_stdout: true) end)
    assert_receive {^port, {:data, "one"}}, 30_000
    Port.close(port)
  end

  test "a handler is not called as a function, nor a function asked as a handler, and neither runs", %{env: env} do
    assert {error, 1} = both(["call", "site", "hello", "--data", "Ada"], env)
    assert error =~ "site is a handler of HTTP"
    assert error =~ "tidepool call site GET /"
    assert {error, 1} = both(["call", "greet", "GET", "/hello"], env)
    assert error =~ "greet is not a handler of HTTP"

    for {arguments, reason} <- [{["site"], "handler"}, {["greet", "POST", "/"], "not_a_handler"}] do
      assert {error, 1} = Tool.run(["call" | arguments] ++ ["--json"], env: env)
      assert error =~ ~s("reason":"#{reason}")
    end
  end

  test "what would be another request, or another's path, is not sent", %{env: env} do
    # Nobody is there: what is asked of a node ends with 3.
    env = [{"TIDEPOOL_URL", "http://127.0.0.1:1"} | tl(env)]
    request = fn arguments -> both(["call", "site" | arguments], env) |> elem(1) end
    assert request.(["GET", "/hello"]) == 3

    for path <- ["", "hello", "?a", "/../greet", "/a/%2e%2E/b", "/a b", "/a#b", "/é", "/a\r\nx: y"],
        do: assert({request.(["GET", path]), path} == {2, path})

    for header <- [
          "x",
          "x: a\r\ny: b",
          "x: a\nb",
          "x\r\ny: b",
          ": a",
          "content-length: 3",
          "transfer-encoding: chunked"
        ],
        do: assert({request.(["GET", "/", "-H", header]), header} == {2, header})

    for method <- ["CONNECT", "A B", "GET\r\n", "É", ""],
        do: assert({request.([method, "/"]), method} == {2, method})

    # Without a path there is no request that could have them.
    assert request.(["hello", "-i"]) == 2
    assert request.(["hello", "-H", "x: y"]) == 2
  end

  test "a header may have bytes that are no text", %{env: env} do
    assert {lines, 0} = Tool.run(["call", "site", "GET", "/headers", "-H", <<"x-tide: ", 255, 254>>], env: env)
    assert ("x-tide: " <> <<255, 254>>) in String.split(lines, "\n")
  end
end
