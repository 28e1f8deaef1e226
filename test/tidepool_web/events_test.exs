defmodule TidepoolWeb.EventsTest do
  # GET /events. Not async: events are those of the whole node, and their numbers are looked at.
  use Tidepool.Case, async: false

  alias Tidepool.{EventClient, Events, TestEdge}
  alias TidepoolWeb.{EventRing, Listener, Resources}

  @kept 256

  defmodule Pinging do
    @behaviour TidepoolWeb.Resource
    @impl true
    def routes, do: [{"GET", "/events", headers: ["last-event-id"]}]
    @impl true
    def serve("GET", ["events"], request), do: Resources.Events.answer(request, 20)
  end

  # What a stream begins with: the position to come back to.
  defp connect(port \\ Listener.port(), headers \\ []) do
    client = EventClient.connect(port, headers)
    assert client.status == 200
    assert {%{"retry" => _ms, "id" => id}, client} = EventClient.next(client)
    {id, client}
  end

  defp number(id), do: id |> String.split("-") |> List.last() |> String.to_integer()
  defp publish(name, versions), do: for(version <- versions, do: Events.deployed(name, version))

  setup do: none_streams()

  # Readers of clients before may be on their way out, and one that writes or pings is not among those that wait.
  defp none_streams do
    none? = fn -> not Enum.any?(Process.list(), &streams?/1) and Listener.stats().requests_in_flight == 0 end
    eventually(none?, 60_000)
    :ok
  end

  defp streams?(pid) do
    with {:current_stacktrace, frames} <- Process.info(pid, :current_stacktrace),
         do: List.keymember?(frames, TidepoolWeb.EventStream, 0),
         else: (nil -> false)
  end

  # The ring has all that was published before.
  defp settled, do: :sys.get_state(EventRing)

  test "deploys and removals come in their order, with name, version and time, and numbers without a gap" do
    {first, client} = connect()
    name = deploy!("rust", "hello_world")
    {:ok, %{version: 2}} = Tidepool.deploy(guest("rust", "upper"), name: name)
    # One that changes nothing is none.
    {:ok, %{version: 2}} = Tidepool.deploy(guest("rust", "upper"), name: name)
    assert {200, _headers, _removed} = curl("/functions/#{name}", ["-X", "DELETE"])
    {events, _client} = EventClient.about(client, name, 3)

    assert for(event <- events, do: {event["event"], event["data"]["version"]}) == [
             {"deployed", 1},
             {"deployed", 2},
             {"removed", 2}
           ]

    assert Enum.map(events, &number(&1["id"])) == Enum.map(1..3, &(number(first) + &1))
    for %{"data" => %{"at" => at}} <- events, do: assert(abs(at - System.os_time(:second)) < 60)
    refute curl("/functions/#{name}") |> elem(0) == 200
  end

  test "a client that comes back with the last id that it has had gets what was meanwhile, once" do
    name = unique_name("meanwhile")
    {first, client} = connect()
    publish(name, 1..3)
    {[_one, %{"id" => last}], _client} = EventClient.about(client, name, 2)
    EventClient.close(client)
    publish(name, 4..5)

    for {id, versions} <- [{last, [3, 4, 5]}, {first, [1, 2, 3, 4, 5]}] do
      {^id, client} = connect(Listener.port(), [{"last-event-id", id}])
      {events, _client} = EventClient.about(client, name, length(versions))
      assert Enum.map(events, & &1["data"]["version"]) == versions
      EventClient.close(client)
    end
  end

  test "a client that comes back too late, or with an id from elsewhere, is told that it has missed something" do
    name = unique_name("late")
    {id, client} = connect()
    EventClient.close(client)
    publish(name, 1..(@kept + 10))
    settled()
    client = EventClient.connect(Listener.port(), [{"last-event-id", id}])
    # It begins where it was.
    assert {%{"id" => ^id}, client} = EventClient.next(client)
    assert {%{"event" => "missed", "data" => %{"count" => 10}, "id" => missed}, client} = EventClient.next(client)
    assert number(missed) == number(id) + 10
    {events, _client} = EventClient.about(client, name, @kept)
    assert Enum.map(events, & &1["data"]["version"]) == Enum.to_list(11..(@kept + 10))

    [mark, _number] = String.split(id, "-")
    %{last: last} = settled()

    for wrong <- [
          "AAAAAAAA-1",
          "#{mark}-#{last + 1}",
          "#{mark}-",
          "#{mark}--1",
          "x",
          "",
          String.duplicate("9", 5_000),
          <<255>>
        ] do
      client = EventClient.connect(Listener.port(), [{"last-event-id", wrong}])
      assert {%{"event" => "missed", "data" => %{"count" => nil}, "id" => now}, client} = EventClient.next(client)
      assert number(now) == last
      EventClient.close(client)
    end
  end

  test "a comment comes each ping, with and without events in between" do
    {_server, port} = TestEdge.start!([Pinging])
    {_id, client} = connect(port)
    assert {:ping, client} = EventClient.next(client)
    publish(unique_name("between"), [1])
    assert {%{"event" => "deployed"}, client} = EventClient.next(client, ["deployed"])
    assert {:ping, client} = EventClient.next(client)
    assert {:ping, _client} = EventClient.next(client)
  end

  test "the 65th client is 503 and told when to come back, and gets in when another has gone, whose process ends" do
    {_server, port} = TestEdge.start!([Resources.Events])
    waiting = map_size(settled().waiting)
    clients = for _ <- 1..64, do: port |> connect() |> elem(1)
    eventually(fn -> map_size(settled().waiting) == waiting + 64 end)
    late = EventClient.connect(port)
    assert {late.status, late.headers["retry-after"]} == {503, "1"}
    EventClient.close(hd(clients))
    eventually(fn -> map_size(settled().waiting) == waiting + 63 end)

    last =
      eventually(fn -> with %{status: 200} = client <- EventClient.connect(port), do: client, else: (_full -> nil) end)

    Enum.each([last | clients], &EventClient.close/1)
    eventually(fn -> map_size(settled().waiting) == waiting end)
  end

  # An HTTP/2 client whose streams have a window of 0, and its request for /events.
  defp windowless(port) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, nodelay: true])
    field = fn name, value -> <<0, byte_size(name), name::binary, byte_size(value), value::binary>> end
    block = <<0x82, 0x86>> <> field.(":path", "/events") <> field.(":authority", "localhost")
    settings = <<6::24, 4, 0, 0::32, 4::16, 0::32>>

    :ok =
      :gen_tcp.send(socket, ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings, <<byte_size(block)::24, 1, 5, 1::32>>, block])

    socket
  end

  # What comes of bodies until it has the text.
  defp body_until(socket, text, body \\ "") do
    if body =~ text do
      body
    else
      {:ok, <<length::24, kind, _flags, _stream::32>>} = :gen_tcp.recv(socket, 9, 30_000)
      {:ok, payload} = if length > 0, do: :gen_tcp.recv(socket, length, 30_000), else: {:ok, ""}
      body_until(socket, text, if(kind == 0, do: body <> payload, else: body))
    end
  end

  # The process that serves the only client. A client of a test before may have been let in late, and gone again: that leaves two
  # processes, or one that is not its reader, until it has noticed. Those that have begun are looked at first, for a client that has
  # its position has one, whether or not that waits already.
  defp reader do
    eventually(fn ->
      with [pid] <- Enum.filter(Process.list(), &streams?/1),
           true <- is_map_key(settled().waiting, pid),
           do: pid,
           else: (_ -> nil)
    end)
  end

  # It ends well, and no other serves a client then: that of a client before may have been found, as it ended.
  defp ends(pid) do
    monitor = Process.monitor(pid)

    fn ->
      assert_receive {:DOWN, ^monitor, :process, ^pid, reason} when reason in [:normal, :noproc]
      none_streams()
    end
  end

  test "a client that reads nothing holds up nobody and no memory, is told what it has missed, and is cut off in the end" do
    {_server, port} = TestEdge.start!([Resources.Events], %{write_timeout_ms: 60_000})
    socket = windowless(port)
    pid = reader()
    {_id, good} = connect(port)
    name = unique_name(String.duplicate("x", 100))
    # Some megabytes, which the client of the other connection reads.
    good =
      for from <- 1..20_000//100, reduce: good do
        good ->
          publish(name, from..(from + 99))
          {events, good} = EventClient.about(good, name, 100)
          assert List.last(events)["data"]["version"] == from + 99
          good
      end

    EventClient.close(good)
    assert map_size(settled().events) == @kept
    assert {:message_queue_len, length} = Process.info(pid, :message_queue_len)
    assert length <= 3
    # It may go on now: windows for the connection and its stream.
    for stream <- [0, 1], do: :ok = :gen_tcp.send(socket, <<4::24, 8, 0, stream::32, 10_000_000::32>>)
    body = body_until(socket, ~s("version":20000}))
    # It may have been late before it was stuck.
    counts =
      for [_all, count] <- Regex.scan(~r/event: missed\ndata: {"count":(\d+)}/, body), do: String.to_integer(count)

    assert Enum.sum(counts) > 10_000
    :gen_tcp.close(socket)

    none_streams()
    {_server, port} = TestEdge.start!([Resources.Events], %{write_timeout_ms: 100})
    _socket = windowless(port)
    ended = ends(reader())
    publish(name, 1..2_000)
    ended.()
  end

  test "a client that hangs up frees its process, whether that waits or writes" do
    {_id, client} = connect()
    ended = ends(reader())
    EventClient.close(client)
    ended.()

    {_server, port} = TestEdge.start!([Resources.Events])
    socket = windowless(port)
    pid = reader()
    ended = ends(pid)
    publish(unique_name(String.duplicate("x", 100)), 1..2_000)
    eventually(fn -> pid not in Map.keys(settled().waiting) end)
    :gen_tcp.close(socket)
    ended.()
  end

  test "a drain ends the streams well, at its beginning" do
    {server, port} = TestEdge.start!([Resources.Events], %{lame_duck_ms: 60_000})
    {_id, client} = connect(port)
    drain = Task.async(fn -> TestEdge.drain(server, 120_000) end)
    assert {:done, client} = EventClient.next(client)
    EventClient.close(client)
    assert {_finished, 0} = Task.await(drain, 60_000)
  end

  test "a process that serves a stream and dies breaks it off" do
    {_id, client} = connect()
    Process.exit(reader(), :kill)
    assert {:broken, _client} = EventClient.next(client)
  end

  test "HTTP/2 and HEAD are served" do
    port =
      Port.open({:spawn_executable, System.find_executable("curl")}, [
        :binary,
        :exit_status,
        args: ["-sN", "--http2-prior-knowledge", url("/events")]
      ])

    assert_receive {^port, {:data, "retry: " <> _rest}}
    name = deploy!("rust", "hello_world")
    await_text(port, ~s("name":"#{name}"), "")
    Port.close(port)

    for version <- [[], ["--http2-prior-knowledge"]] do
      assert {200, headers, ""} = curl("/events", ["-I" | version])
      assert headers["content-type"] == "text/event-stream"
      assert headers["cache-control"] == "no-store"
    end

    assert {405, %{"allow" => "GET,HEAD"}, _error} = curl("/events", ["-X", "POST"])
  end

  defp await_text(port, text, before) do
    assert_receive {^port, {:data, data}}
    unless before <> data =~ text, do: await_text(port, text, before <> data)
  end
end
