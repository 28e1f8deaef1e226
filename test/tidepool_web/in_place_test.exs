defmodule TidepoolWeb.InPlaceTest do
  # Calls that the edge answers by itself, and those that it hands over. Not async: traces the dispatchers.
  use Tidepool.Case, async: false

  alias Tidepool.{FaultClient, Latch}
  alias TidepoolWeb.{Dispatcher, Listener}

  @long [time: 600_000, cpu_time: 600_000]

  # How many requests the dispatchers get while `fun` runs.
  defp handed_over(names \\ Dispatcher.names(), fun) do
    pids = Enum.map(names, &Process.whereis/1)
    for pid <- pids, do: 1 = :erlang.trace(pid, true, [:receive])

    try do
      fun.()
      delivered = for pid <- pids, do: :erlang.trace_delivered(pid)
      for {pid, reference} <- Enum.zip(pids, delivered), do: assert_receive({:trace_delivered, ^pid, ^reference})
      count(0)
    after
      for pid <- pids, do: :erlang.trace(pid, false, [:receive])
    end
  end

  defp count(count) do
    receive do
      {:trace, _pid, :receive, {:tidepool_http, _queue}} -> count(count + 1)
      {:trace, _pid, :receive, _other} -> count(count)
    after
      0 -> count
    end
  end

  test "a call that has its reply within its first slice sends no message and makes no process" do
    name = deploy!("rust", "hello_world", instances: {:warm, 2})
    socket = FaultClient.connect()

    # On a busy machine the slice of one or the other is over too soon.
    at_most_times(3, "in_place_test.exs: replies within the first slice", fn ->
      calls = fn ->
        for _ <- 1..200, do: assert({200, "Hello, Ada!"} = FaultClient.call(socket, name, "hello", "Ada"))
      end

      assert handed_over(calls) < 100
    end)

    assert {404, _body} = FaultClient.call(socket, unique_name("nobody"), "hello")
    # By each of the names that it may have.
    assert handed_over(fn -> FaultClient.call(socket, unique_name("nobody"), "hello") end) == 2
  end

  test "a call that goes on becomes a process and gets the reply that it gets from Elixir" do
    test = self()
    namespace = unique_name("where")

    handle!({"host", namespace, :_}, fn call ->
      send(test, {:handled_by, self()})
      {:ok, "<" <> call.payload <> ">"}
    end)

    for instances <- [:fresh, {:warm, 2}] do
      host = deploy!("rust", "hello_world", instances: instances)
      socket = FaultClient.connect()
      target = "host/#{namespace}/echo\nAda"
      assert {:ok, reply} = Tidepool.call(host, "host", target)
      assert_receive {:handled_by, ^test}

      for _ <- 1..20 do
        assert FaultClient.call(socket, host, "host", target) == {200, reply}
        assert_receive {:handled_by, pid} when pid != test
        eventually(fn -> not Process.alive?(pid) end)
      end
    end

    # Longer than a slice, and asleep.
    sleepy = deploy!("rust", "sleepy")
    assert {200, "slept " <> _ms} = FaultClient.call(FaultClient.connect(), sleepy, "any", "30")
  end

  test "the client of a request whose process dies is told at once, and the next one is served" do
    namespace = unique_name("dies")
    handle!({"host", namespace, :_}, fn _call -> Process.exit(self(), :kill) end)
    begun = deploy!("rust", "hello_world", instances: {:warm, 2})
    socket = FaultClient.connect()

    for _ <- 1..20 do
      assert {500, body} = FaultClient.call(socket, begun, "host", "host/#{namespace}/any\n")
      assert body =~ ~s("reason":"aborted")
      assert {200, "Hello, Ada!"} = FaultClient.call(socket, begun, "hello", "Ada")
    end

    eventually(fn -> busy_instances() == 0 end)
  end

  test "errors look the same whether the call was begun by the edge or not" do
    socket = FaultClient.connect()

    for {language, guest, options} <- [
          {"wat", "trap_unreachable", []},
          {"wat", "returns_0_reply", []},
          {"wat", "memory_bomb", [limits: [memory: 1_048_576]]},
          {"wat", "loop", [limits: [time: 30, cpu_time: 600_000]]},
          {"rust", "hello_world", [limits: [payload: 2]]}
        ] do
      name = deploy!(language, guest, options)
      {:error, error} = Tidepool.call(name, "any", "payload")
      {status, :json, _headers, body} = TidepoolWeb.Reply.error(error)
      assert FaultClient.call(socket, name, "any", "payload") == {status, body}
    end
  end

  test "requests for the node's health, and no others, have a dispatcher that runs before guests which wait for their turn" do
    [health | others] = Dispatcher.names()
    assert Process.info(Process.whereis(health), :priority) == {:priority, :high}
    for other <- others, do: assert(Process.info(Process.whereis(other), :priority) == {:priority, :normal})
    namespace = unique_name("turn")
    handle!({"host", namespace, :_}, fn _call -> {:ok, inspect(Process.info(self(), :priority))} end)
    name = deploy!("rust", "hello_world", limits: @long)

    # More than there are dispatchers of all else.
    ask = fn path, count -> for _request <- 0..count, do: assert({200, _headers, _body} = curl(path)) end
    count = length(others)
    assert handed_over([health], fn -> ask.("/health", count) end) == count + 1
    assert handed_over(others, fn -> ask.("/health", count) end) == 0
    assert handed_over([health], fn -> ask.("/functions/#{name}", count) end) == 0
    assert {200, _headers, "{:priority, :normal}"} = curl("/call/#{name}/host?payload=host/#{namespace}/ask")
  end

  test "a client that hangs up before a process has taken its call over ends that call" do
    latch = start_supervised!(Latch)
    namespace = unique_name("park")
    handle!({"host", namespace, :_}, latch)
    # The first calls of functions are always begun by the edge.
    names =
      for {language, guest} <- [{"rust", "hello_world"}, {"wat", "loop"}],
          _ <- 1..2,
          do: deploy!(language, guest, limits: @long)

    eventually(fn -> busy_instances() == 0 end)
    dispatchers = Dispatcher.names()
    Enum.each(dispatchers, &:sys.suspend/1)

    try do
      hangups = Listener.stats().hangups
      sockets = for _ <- 1..4, do: FaultClient.connect()
      for {socket, name} <- Enum.zip(sockets, names), do: ask(socket, name, namespace)
      eventually(fn -> busy_instances() == 4 end)
      Enum.each(sockets, &:gen_tcp.close/1)
      eventually(fn -> Listener.stats().hangups == hangups + 4 end)
    after
      Enum.each(dispatchers, &:sys.resume/1)
    end

    eventually(fn -> busy_instances() == 0 end)
  end

  defp ask(socket, name, namespace), do: FaultClient.ask(socket, name, "host", "host/#{namespace}/park\n")

  test "what the edge hands over is counted" do
    name = deploy!("rust", "hello_world")
    before = Listener.stats()
    assert {404, _body} = FaultClient.call(FaultClient.connect(), unique_name("nobody"), "hello")
    assert {200, "Hello, world!"} = FaultClient.call(FaultClient.connect(), name, "hello")
    now = Listener.stats()
    assert now.requests >= before.requests + 2
    assert now.handed_over >= before.handed_over + 1
  end
end
