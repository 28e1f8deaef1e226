defmodule Tidepool.Processes.SocketsTest do
  # Programs with sockets, and peers of this VM: what is served, what ends a socket, and what is not granted.
  use Tidepool.Case, async: true

  import Tidepool.Certificates
  import Tidepool.ProgramClient

  alias Tidepool.Error
  alias Tidepool.Function.Grants

  @moduletag :lunatic
  @patience 60_000
  @listen ["tcp:listen:127.0.0.1:*"]

  defp program!(arguments, grants, options \\ []) do
    name = deploy!("lunatic", "sockets", net: grants)
    start!(name, [args: [name | arguments]] ++ options)
  end

  defp outcome! do
    [_line, outcome, text] = line!(~r/^(got|failed:) (.*)$/)
    {outcome, text}
  end

  test "a server has a process for each connection, and one that panics is its client's alone" do
    program!(["tcp"], @listen)
    port = port!()
    [first, second] = for _client <- 1..2, do: connect!(port)
    assert ask!(first, "one") == "ONE"
    assert ask!(second, "two") == "TWO"
    say!(first, "crash")
    assert hear!(first) == :closed
    assert ask!(second, "still here") == "STILL HERE"
    assert ask!(connect!(port), "new") == "NEW"
  end

  test "lines of many clients at once come back each to its own" do
    program!(["tcp"], @listen)
    port = port!()

    1..40
    |> Task.async_stream(
      fn client ->
        socket = connect!(port)
        for line <- 1..20, do: assert(ask!(socket, "a#{client}b#{line}") == "A#{client}B#{line}")
        # More than is read at once.
        assert raw_ask!(socket, 60_000)
      end,
      max_concurrency: 40,
      timeout: @patience
    )
    |> Enum.each(&assert {:ok, _done} = &1)
  end

  # Is a line of so many bytes answered?
  defp raw_ask!(socket, bytes) do
    :ok = :inet.setopts(socket, packet: :raw)
    say!(socket, String.duplicate("x", bytes))
    {:ok, answer} = :gen_tcp.recv(socket, bytes + 1, @patience)
    answer == String.duplicate("X", bytes) <> "\n"
  end

  test "processes that wait for one connection at once each get what comes for them" do
    count = 5
    program!(["clones", "#{count}"], @listen)
    socket = connect!(port!())
    :ok = :inet.setopts(socket, packet: :raw)
    for _process <- 1..count, do: line!(~r/^waiting \d/)

    for byte <- ?a..(?a + count - 1) do
      :ok = :gen_tcp.send(socket, <<byte>>)
      assert :gen_tcp.recv(socket, 1, @patience) == {:ok, <<byte>>}
    end
  end

  test "a program that is killed closes its connections and its listener" do
    program = program!(["keep"], @listen)
    port = port!()
    socket = connect!(port)
    line!(~r/^kept$/)
    Process.exit(program, :kill)
    assert hear!(socket) == :closed
    eventually(fn -> :gen_tcp.connect({127, 0, 0, 1}, port, []) == {:error, :econnrefused} end)
  end

  test "a program that is granted nothing is told which grant it lacks" do
    {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1}, active: false)
    {:ok, port} = :inet.port(listener)

    for {arguments, grant} <- [
          {["dial", "127.0.0.1:#{port}", "hello"], "tcp:connect:127.0.0.1:#{port}"},
          {["dial-tls", "localhost", "#{port}", "hello"], "tls:connect:localhost:#{port}"},
          {["resolve", "localhost:80"], "dns"}
        ],
        grants <- [[], ["tcp:listen:*:*", "tcp:connect:127.0.0.1:1", "udp:*:*"]] do
      program!(arguments, grants)
      assert {"failed:", text} = outcome!()
      assert text =~ "not granted #{grant}:"
    end

    program!(["udp"], ["tcp:*:*", "dns"])
    line!(~r/no socket: .*not granted udp:listen:127\.0\.0\.1:\*:/)
    assert :gen_tcp.accept(listener, 0) == {:error, :timeout}
  end

  test "a program that is granted an address connects to it, and reads to its end" do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, packet: :line, ip: {127, 0, 0, 1}, active: false])
    {:ok, port} = :inet.port(listener)
    program!(["dial", "127.0.0.1:#{port}", "hello"], ["tcp:connect:127.0.0.0/8:#{port}"])
    {:ok, socket} = :gen_tcp.accept(listener, @patience)
    assert :gen_tcp.recv(socket, 0, @patience) == {:ok, "hello\n"}
    # Without an end of the line: that is where the peer closes.
    :ok = :gen_tcp.send(socket, "hello to you")
    :ok = :gen_tcp.close(socket)
    assert outcome!() == {"got", "hello to you"}
  end

  test "a connection that is refused is an error" do
    {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(listener)
    :ok = :gen_tcp.close(listener)
    program!(["dial", "127.0.0.1:#{port}", "hello"], ["tcp:*:*"])
    assert {"failed:", text} = outcome!()
    assert text =~ "refused"
  end

  test "datagrams are answered" do
    program!(["udp"], ["udp:listen:127.0.0.1:*", "udp:connect:127.0.0.0/8:*"])
    port = port!()
    {:ok, socket} = :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}])

    for text <- ["ping", String.duplicate("x", 2_000)] do
      :ok = :gen_udp.send(socket, {127, 0, 0, 1}, port, text)
      assert {:ok, {{127, 0, 0, 1}, ^port, answer}} = :gen_udp.recv(socket, 0, @patience)
      assert answer == String.upcase(text)
    end
  end

  test "names of this machine are resolved" do
    program!(["resolve", "localhost:80"], ["dns"])
    assert {"got", text} = outcome!()
    assert Enum.any?(String.split(text), &(&1 in ["127.0.0.1:80", "[::1]:80"]))

    # Nobody has this one.
    program!(["resolve", "nobody.invalid:80"], ["dns"])
    assert {"failed:", text} = outcome!()
    assert text =~ "nobody.invalid"
  end

  defp server_env(server) do
    {certificate, key} = identity(server)
    %{"CERT" => certificate, "KEY" => key}
  end

  defp tls_connect!(port, client) do
    options = [:binary, packet: :line, active: false, verify: :verify_peer, cacerts: client[:cacerts]]
    {:ok, socket} = :ssl.connect(~c"localhost", port, options, @patience)
    socket
  end

  defp tls_ask!(socket, line) do
    :ok = :ssl.send(socket, line <> "\n")
    {:ok, answer} = :ssl.recv(socket, 0, @patience)
    String.trim_trailing(answer, "\n")
  end

  test "a server of TLS answers, large answers too, and a client that speaks something else holds up nobody" do
    {:ok, _started} = Application.ensure_all_started(:ssl)
    {server, client} = certificates()
    name = deploy!("lunatic", "sockets", net: ["tls:listen:127.0.0.1:*"])
    start!(name, args: [name, "tls"], env: server_env(server))
    port = port!()
    # One says nothing, another nonsense, before any other comes.
    _silent = connect!(port)
    loud = connect!(port)
    say!(loud, "GET / HTTP/1.1")
    line!(~r/^failed: /)

    [first, second] = for _client <- 1..2, do: tls_connect!(port, client)
    assert tls_ask!(first, "one") == "ONE"
    assert tls_ask!(second, "two") == "TWO"
    # Of what there is for a connection its program has the account.
    assert Tidepool.Growth.held(name)["host_memory"] >= 2 * 40 * 1_024
    long = String.duplicate("x", 300_000)
    assert tls_ask!(first, long) == String.upcase(long)
    # A process that dies says that it ends.
    :ok = :ssl.send(second, "crash\n")
    assert :ssl.recv(second, 0, @patience) == {:error, :closed}
    assert tls_ask!(first, "again") == "AGAIN"
  end

  test "a client of TLS reaches a host that its roots vouch for, by name, and no other" do
    {:ok, _started} = Application.ensure_all_started(:ssl)
    {server, client} = certificates()
    [root | _more] = client[:cacerts]
    options = [:binary, packet: :line, active: false, ip: {127, 0, 0, 1}, cert: server[:cert], key: server[:key]]
    {:ok, listener} = :ssl.listen(0, options)
    {:ok, {_ip, port}} = :ssl.sockname(listener)

    serve = fn ->
      Task.async(fn ->
        {:ok, socket} = :ssl.transport_accept(listener, @patience)

        with {:ok, socket} <- :ssl.handshake(socket, @patience),
             {:ok, line} <- :ssl.recv(socket, 0, @patience),
             do: :ssl.send(socket, "you said " <> line)
      end)
    end

    env = %{"ROOTS" => pem(:Certificate, root)}
    arguments = ["dial-tls", "localhost", "#{port}", "hello"]

    local = "tls:connect:127.0.0.0/8:#{port}"

    for grants <- [["tls:connect:localhost:#{port}", local], ["tls:connect:*:*"], ["tcp:connect:127.0.0.1:*", "dns"]] do
      task = serve.()
      program!(arguments, grants, env: env)
      assert outcome!() == {"got", "you said hello"}
      assert Task.await(task, @patience) == :ok
    end

    # A name leads to no address of this machine by itself.
    program!(arguments, ["tls:connect:localhost:#{port}"], env: env)
    assert {"failed:", text} = outcome!()
    assert text =~ "not granted tls:connect:127.0.0.1:#{port}:" or text =~ "not granted tls:connect:[::1]:#{port}:"

    # The usual roots don't know it.
    task = serve.()
    program!(arguments, ["tls:connect:*:*"])
    assert {"failed:", text} = outcome!()
    assert text =~ "certificate"
    assert {:error, _alert} = Task.await(task, @patience)
  end

  test "a deploy that grants what is no grant is refused" do
    wasm = guest("lunatic", "sockets")

    for net <- [["tcp"], ["tcp:*:80", 1], "dns", ["dns", "dns"]] do
      assert {:error, %Error{reason: :invalid_option, message: message}} = Tidepool.deploy(wasm, name: "x", net: net)
      assert message =~ "the option :net has to be a list of at most 32 grants"
    end
  end

  test "grants beyond a node's are refused, with the one that is" do
    node = ["tcp:listen:127.0.0.1:*", "tls:connect:*.example.com:443"]
    assert Grants.check(["tcp:listen:127.0.0.1:80", "tls:connect:a.example.com:443"], node) == :ok
    assert Grants.check(["*"], ["*"]) == :ok
    assert Grants.check([], []) == :ok

    for {grants, beyond} <- [{["dns"], "dns"}, {["tcp:listen:127.0.0.1:80", "tcp:*:80"], "tcp:*:80"}] do
      assert {:error, %Error{reason: :invalid_option, message: message}} = Grants.check(grants, node)
      assert message =~ "`#{beyond}`"
    end
  end

  test "grants are fields of a form, and come back wherever the function is shown" do
    name = unique_name("sockets")
    grants = ["tcp:listen:127.0.0.1:*", "dns"]
    on_exit(fn -> Tidepool.remove(name) end)
    fields = [{:name, name} | for(grant <- grants, do: {:net, grant})]
    assert {201, _headers, %{"net" => ^grants}} = curl_deploy(guest("lunatic", "sockets"), fields)
    assert {200, _headers, %{"net" => ^grants}} = curl("/functions/#{name}")
    assert {:ok, %{net: ^grants}} = Tidepool.fetch(name)

    for {net, reason} <- [{"tcp:*:99999", "invalid_option"}, {"dns", "duplicate_field"}] do
      assert {400, _headers, %{"error" => %{"reason" => ^reason}}} =
               curl_deploy(guest("lunatic", "sockets"), fields ++ [{:net, net}])
    end
  end
end
