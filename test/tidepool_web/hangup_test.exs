defmodule TidepoolWeb.HangupTest do
  # A client that hangs up cancels its call. Not async: counts the node's busy instances.
  use Tidepool.Case, async: false

  alias Tidepool.Latch

  @long [time: 600_000, cpu_time: 600_000]

  setup do
    eventually(fn -> busy_instances() == 0 end)
    :ok
  end

  # The request is with its guest when this returns.
  defp request(path) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, TidepoolWeb.Listener.port(), [:binary, active: false])
    :ok = :gen_tcp.send(socket, "GET #{path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
    eventually(fn -> busy_instances() == 1 end)
    socket
  end

  test "while the guest computes" do
    socket = request("/call/#{deploy!("wat", "loop", limits: @long)}")
    :gen_tcp.close(socket)
    eventually(fn -> busy_instances() == 0 end)
  end

  test "while the guest sleeps" do
    socket = request("/call/#{deploy!("wat", "wasi_sleep", limits: @long)}")
    :gen_tcp.close(socket)
    eventually(fn -> busy_instances() == 0 end)
  end

  test "while the guest waits for a GenServer" do
    latch = start_supervised!(Latch)
    namespace = unique_name("park")
    handle!({"host", namespace, :_}, latch)
    name = deploy!("rust", "hello_world", limits: @long)
    socket = request("/call/#{name}/host?payload=host/#{namespace}/park")
    Latch.await(latch, 1)
    :gen_tcp.close(socket)
    eventually(fn -> busy_instances() == 0 end)
    assert Latch.release(latch) == 1
  end

  test "while a handler works" do
    namespace = unique_name("works")
    test = self()

    handle!({"host", namespace, :_}, fn _call ->
      send(test, {:working, self()})
      Process.sleep(:infinity)
    end)

    name = deploy!("rust", "hello_world", limits: @long)
    socket = request("/call/#{name}/host?payload=host/#{namespace}/work")
    assert_receive {:working, pid}
    monitor = Process.monitor(pid)
    :gen_tcp.close(socket)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}
    eventually(fn -> busy_instances() == 0 end)
  end

  test "with a reset, or on HTTP/2" do
    name = deploy!("wat", "loop", limits: @long)
    socket = request("/call/#{name}")
    :ok = :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
    eventually(fn -> busy_instances() == 0 end)

    # curl gives up after a second of its own; the guest would go on for ten minutes.
    {_output, 28} =
      System.cmd("curl", ["-sS", "--http2-prior-knowledge", "--max-time", "1", url("/call/#{name}")],
        stderr_to_stdout: true
      )

    eventually(fn -> busy_instances() == 0 end)
  end

  test "is counted, as a hang-up and as an aborted call, and disturbs nobody" do
    hangups = TidepoolWeb.Listener.stats().hangups
    name = deploy!("wat", "loop", limits: @long)
    hello = deploy!("rust", "hello_world")
    socket = request("/call/#{name}")
    assert {200, _headers, "Hello, world!"} = curl("/call/#{hello}/hello")
    :gen_tcp.close(socket)
    eventually(fn -> TidepoolWeb.Listener.stats().hangups == hangups + 1 end)
    eventually(fn -> busy_instances() == 0 end)
    {200, _headers, text} = curl("/metrics")
    assert text =~ ~s(tidepool_calls_total{function="#{name}",reason="aborted"} 1)
    assert {200, _headers, "Hello, world!"} = curl("/call/#{hello}/hello")
  end

  test "while a request waits for an instance frees its place in the queue" do
    # Told with Elixir callers in overload_test.exs; here the whole path of a request.
    peer = Tidepool.Peer.start!(server: true, max_instances: 1, max_queue: 5)
    Tidepool.Peer.deploy!(peer, "wat", "loop", limits: @long)
    port = URI.parse(Tidepool.Peer.url(peer, "/")).port

    sockets =
      for _ <- 1..4 do
        {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
        :ok = :gen_tcp.send(socket, "GET /call/loop HTTP/1.1\r\nhost: localhost\r\n\r\n")
        socket
      end

    instances = fn -> Tidepool.Peer.call(peer, Tidepool.Engine, :instances, []) end
    eventually(fn -> instances.() == %{live: 1, idle: 0, queued: 3} end)
    Enum.each(sockets, &:gen_tcp.close/1)
    eventually(fn -> instances.() == %{live: 0, idle: 0, queued: 0} end)
  end
end
