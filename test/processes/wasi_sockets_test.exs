defmodule Tidepool.Processes.WasiSocketsTest do
  # `wasi:sockets` of commands: TCP, UDP and names, by the grants of the deploy.
  use Tidepool.Case, async: true

  import Tidepool.ProgramClient

  alias Tidepool.{Error, LogWatch}

  @local ["tcp:127.0.0.1:*", "udp:127.0.0.1:*", "tcp:[::1]:*"]

  defp program!(net), do: deploy!("rust", "sockets_command", net: net)

  defp said!(name, args) do
    program = start!(name, args: [name | args])
    [_line, said] = line!(~r/^((?:ok|failed) .*)$/)
    assert ended!(program) == :normal
    String.trim(said)
  end

  defp listen!(options \\ []) do
    {:ok, socket} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}] ++ options)
    {:ok, port} = :inet.port(socket)
    {socket, "127.0.0.1:#{port}"}
  end

  test "a command serves connections one after the other, and sends back what comes" do
    name = program!(@local)

    for host <- ["127.0.0.1", "[::1]"] do
      program = start!(name, args: [name, "serve", "#{host}:0", "2"])
      [_line, port] = line!(~r/^listening on \S+:(\d+)$/)
      address = if host == "[::1]", do: {0, 0, 0, 0, 0, 0, 0, 1}, else: {127, 0, 0, 1}

      for text <- ["low tide", :binary.copy("high tide ", 20_000)] do
        {:ok, socket} = :gen_tcp.connect(address, String.to_integer(port), [:binary, active: false], 60_000)
        writer = Task.async(fn -> :ok = :gen_tcp.send(socket, text) end)
        assert {:ok, ^text} = :gen_tcp.recv(socket, byte_size(text), 60_000)
        Task.await(writer, 60_000)
        :gen_tcp.close(socket)
      end

      assert ["ok 200008 bytes"] = line!(~r/^ok .*$/)
      assert ended!(program) == :normal
    end
  end

  test "a command connects, sends, shuts its side down and reads to the end" do
    name = program!(@local)
    {listener, address} = listen!(exit_on_close: false)

    server =
      Task.async(fn ->
        {:ok, socket} = :gen_tcp.accept(listener, 60_000)
        {:ok, "ping"} = :gen_tcp.recv(socket, 4, 60_000)
        {:error, :closed} = :gen_tcp.recv(socket, 0, 60_000)
        :ok = :gen_tcp.send(socket, "pong")
        :gen_tcp.close(socket)
      end)

    assert said!(name, ["ask", address, "ping"]) == "ok pong"
    Task.await(server, 60_000)
  end

  test "a call has the sockets that its deploy grants, and leaves none" do
    name = program!(@local)
    {listener, address} = listen!()
    call = Task.async(fn -> Tidepool.call(name, "ask #{address} ping") end)
    {:ok, socket} = :gen_tcp.accept(listener, 60_000)
    assert {:ok, "ping"} = :gen_tcp.recv(socket, 4, 60_000)
    Task.shutdown(call, :brutal_kill)
    assert {:error, :closed} = :gen_tcp.recv(socket, 0, 60_000)
  end

  test "what is sent and what comes go side by side, as pollables say, with a peer that is slow to read" do
    name = program!(@local)
    {listener, address} = listen!(recbuf: 4_096)

    server =
      Task.async(fn ->
        {:ok, socket} = :gen_tcp.accept(listener, 60_000)
        back(socket, 3_000_000)
      end)

    assert said!(name, ["echo", address, "3000000"]) == "ok 3000000 true"
    Task.await(server, 60_000)
  end

  test "what was written goes before the end of its side, however slow its peer is to read" do
    name = program!(@local)
    {listener, address} = listen!(recbuf: 4_096, exit_on_close: false)

    server =
      Task.async(fn ->
        {:ok, socket} = :gen_tcp.accept(listener, 60_000)
        count = count(socket, 0)
        :ok = :gen_tcp.send(socket, to_string(count))
        :gen_tcp.close(socket)
      end)

    assert said!(name, ["pour", address, "5000000"]) == "ok 5000000"
    Task.await(server, 60_000)
  end

  defp count(socket, so_far) do
    case :gen_tcp.recv(socket, 0, 60_000) do
      {:ok, bytes} -> count(socket, so_far + byte_size(bytes))
      {:error, :closed} -> so_far
    end
  end

  defp back(_socket, 0), do: :ok

  defp back(socket, left) do
    {:ok, bytes} = :gen_tcp.recv(socket, 0, 60_000)
    :ok = :gen_tcp.send(socket, bytes)
    back(socket, left - byte_size(bytes))
  end

  test "what is started goes on alone: nothing else may be started beside it" do
    name = program!(@local)
    {_listener, address} = listen!()

    assert said!(name, ["start-twice", "127.0.0.1:0", address]) ==
             "ok " <> Enum.map_join(1..6, " ", fn _start -> "concurrency-conflict" end)
  end

  test "a receiving side that was shut down has nothing, whatever has come" do
    name = program!(@local)
    {listener, address} = listen!()

    server =
      Task.async(fn ->
        {:ok, socket} = :gen_tcp.accept(listener, 60_000)
        :ok = :gen_tcp.send(socket, "low tide")
        {:error, :closed} = :gen_tcp.recv(socket, 0, 60_000)
      end)

    assert said!(name, ["deaf", address]) == "ok closed"
    Task.await(server, 60_000)
  end

  test "a socket of IPv6 takes nothing of IPv4" do
    name = program!(["tcp:*:*", "tcp:[::]:*", "udp:[::]:*"])
    program = start!(name, args: [name, "serve", "[::]:0", "1"])
    [_line, port] = line!(~r/^listening on \S+:(\d+)$/)
    port = String.to_integer(port)
    assert {:error, :econnrefused} = :gen_tcp.connect({127, 0, 0, 1}, port, [], 60_000)
    {:ok, socket} = :gen_tcp.connect({0, 0, 0, 0, 0, 0, 0, 1}, port, [], 60_000)
    :gen_tcp.close(socket)
    assert ended!(program) == :normal
  end

  test "a socket for datagrams changes its peer when the streams before are dropped, and not beside them" do
    name = program!(@local)
    {:ok, peer} = :gen_udp.open(0, [:binary, active: false, ip: {127, 0, 0, 1}])
    {:ok, port} = :inet.port(peer)

    server =
      Task.async(fn ->
        for _datagram <- 1..2 do
          {:ok, {from, from_port, "ping"}} = :gen_udp.recv(peer, 0, 60_000)
          :ok = :gen_udp.send(peer, from, from_port, "pong")
        end
      end)

    assert said!(name, ["udp-again", "127.0.0.1:0", "127.0.0.1:#{port}"]) == "ok 1 true, 1 false"
    Task.await(server, 60_000)
    assert {:error, %Error{message: message}} = Tidepool.call(name, "udp-both 127.0.0.1:0")
    assert message =~ "had not dropped those before"
  end

  test "datagrams go and come, from whoever sends them and from one peer" do
    name = program!(@local)
    server = start!(name, args: [name, "udp-serve", "127.0.0.1:0", "3"])
    [_line, port] = line!(~r/^listening on \S+:(\d+)$/)
    assert said!(name, ["udp-ask", "127.0.0.1:0", "127.0.0.1:#{port}", "ebb"]) == "ok ebb"
    assert said!(name, ["udp-ask", "127.0.0.1:0", "127.0.0.1:#{port}", "flow"]) == "ok flow"
    {:ok, socket} = :gen_udp.open(0, [:binary, active: false])
    :ok = :gen_udp.send(socket, {127, 0, 0, 1}, String.to_integer(port), "")
    assert {:ok, {_address, _port, ""}} = :gen_udp.recv(socket, 0, 60_000)
    assert ["ok 3 datagrams"] = line!(~r/^ok 3 datagrams$/)
    assert ended!(server) == :normal
  end

  test "names are looked up by a grant, and addresses without one" do
    assert said!(program!(["dns"]), ["lookup", "localhost"]) =~ ~r/127\.0\.0\.1|::1/
    assert said!(program!(["dns"]), ["lookup", "no.such.name.invalid"]) =~ "failed name-unresolvable"
    assert said!(program!([]), ["lookup", "127.0.0.1"]) == "ok 127.0.0.1"
    assert Tidepool.call(program!([]), "lookup 127.0.0.1") == {:ok, "ok 127.0.0.1\n"}
    assert said!(program!([]), ["lookup", "localhost"]) =~ "failed access-denied"
  end

  test "what is not granted is denied, and the console says what grant would be enough" do
    {_listener, address} = listen!()
    name = program!(["tcp:connect:127.0.0.1:1"])
    LogWatch.watch(name)

    for args <- [
          ["ask", address, "ping"],
          ["serve", "127.0.0.1:0", "1"],
          ["udp-serve", "127.0.0.1:0", "1"],
          ["udp-ask", "127.0.0.1:0", "127.0.0.1:9", "x"]
        ],
        do: assert(said!(name, args) =~ "failed access-denied")

    assert {:ok, "failed access-denied\n"} = Tidepool.call(name, "ask #{address} ping")
    assert_receive {:logged, ^name, _level, line, _metadata}
    assert line =~ "is not granted `tcp:connect:#{address}`" or line =~ "tcp:connect:#{address}"
    none = program!([])
    LogWatch.watch(none)

    for {asked, grant} <- [
          {"ask #{address} ping", "tcp:connect:#{address}"},
          {"serve 127.0.0.1:0 1", "tcp:listen:127.0.0.1:*"},
          {"udp-serve 127.0.0.1:0 1", "udp:listen:127.0.0.1:*"},
          {"lookup localhost", "dns"}
        ] do
      assert Tidepool.call(none, asked) == {:ok, "failed access-denied\n"}
      assert_receive {:logged, ^none, _level, line, _metadata}, 30_000
      assert line =~ "the function is not granted #{grant}: its deploy's option `net`"
    end
  end

  test "errors of the system are those of WASI" do
    name = program!(@local)
    {listener, address} = listen!()
    :gen_tcp.close(listener)
    assert said!(name, ["ask", address, "x"]) =~ "failed connection-refused"
    {_listener, taken} = listen!()
    assert said!(name, ["serve", taken, "1"]) =~ "failed address-in-use"
    assert said!(name, ["ask", "127.0.0.1:0", "x"]) =~ "failed invalid-argument"
    assert said!(name, ["backlog", "127.0.0.1:0"]) == "ok"
    assert said!(program!(["dns"]), ["long-name"]) =~ "failed invalid-argument"
    assert said!(name, ["bound-connect", "127.0.0.1:0", taken]) =~ "failed not-supported"
  end

  test "a process that is killed leaves no socket, and one that waits holds nobody up" do
    name = program!(@local)
    {listener, address} = listen!()
    waiting = start!(name, args: [name, "ask", address, "ping"])
    {:ok, socket} = :gen_tcp.accept(listener, 60_000)
    {:ok, "ping"} = :gen_tcp.recv(socket, 4, 60_000)
    assert {:ok, "ok nothing" <> _rest} = Tidepool.call(name, "run")
    Process.exit(waiting, :kill)
    assert ended!(waiting) == :killed
    assert {:error, :closed} = :gen_tcp.recv(socket, 0, 60_000)
  end

  test "a guest is refused more connections than it may have handles for, and leaves none of them" do
    name = program!(@local)
    {listener, address} = listen!(backlog: 1_024)
    program = start!(name, args: [name, "hold", address, "2000"])
    {:ok, first} = :gen_tcp.accept(listener, 60_000)
    assert [_line, "failed new-socket-limit" <> _rest] = line!(~r/^(failed .*)$/)
    assert ended!(program) == :normal
    assert {:error, :closed} = :gen_tcp.recv(first, 0, 60_000)
  end

  test "a server that has as many connections as it may have handles for has further ones wait, and goes on" do
    name = program!(@local)
    program = start!(name, args: [name, "gather", "127.0.0.1:0"])
    [_line, port] = line!(~r/^listening on \S+:(\d+)$/)
    # The last ones find that it has gone on, and come to its end.
    for _connection <- 1..340, do: :gen_tcp.connect({127, 0, 0, 1}, String.to_integer(port), [:binary, active: false])
    [_line, count] = line!(~r/^ok (\d+) connections$/)
    assert String.to_integer(count) in 15..333
    assert ended!(program) == :normal
  end
end
