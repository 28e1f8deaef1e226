defmodule Tidepool.Keyvalue.Redis.ConnectionTest do
  # Not async: a connection goes by the node's settings.
  #
  # What those are told who ask over one connection, by a server of the test's that answers as it likes.
  use Tidepool.Case

  alias Tidepool.{Config, Keyvalue}
  alias Tidepool.Keyvalue.Redis.Connection

  @name __MODULE__.Connection
  @away {:error, "the store can't be reached"}

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, backlog: 8])
    {:ok, port} = :inet.port(listener)
    %{listener: listener, port: port}
  end

  defp connection!(port, login \\ "") do
    url = "redis://#{login}127.0.0.1:#{port}"
    changes = %{keyvalue: {Keyvalue.Redis, url: url}, keyvalue_timeout: 60_000}
    Config.put(Map.merge(:persistent_term.get(Config), changes))
    start_supervised!({Connection, @name})
  end

  defp ask(space), do: Connection.command(@name, space, ["GET", "k"])
  defp asked(space), do: Task.async(fn -> ask(space) end)
  defp waits(count), do: eventually(fn -> :sys.get_state(@name).count == count end)

  # A close that the other side sees at once, as a server that is killed makes it.
  defp reset(socket) do
    :ok = :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
  end

  test "a thousand requests wait on a connection, and one that would be more is told so", %{
    port: port,
    listener: listener
  } do
    connection!(port)
    tasks = for number <- 1..1_000, do: asked("space#{rem(number, 100)}")
    {:ok, socket} = :gen_tcp.accept(listener)
    waits(1_000)
    busy = {:error, "busy: the store has 1000 requests to answer before this one"}
    assert ask("other") == busy
    # Each answer makes room for one more.
    :ok = :gen_tcp.send(socket, "+1\r\n")
    waits(999)
    more = asked("other")
    waits(1_000)
    assert ask("other") == busy
    :ok = :gen_tcp.send(socket, String.duplicate("+1\r\n", 1_000))
    assert Task.await_many(tasks ++ [more], 60_000) == List.duplicate({:ok, "1"}, 1_001)
    waits(0)
  end

  test "however many have asked a server that takes nothing, and are gone, few of their bytes are kept, and others go on",
       %{
         port: port,
         listener: listener
       } do
    connection = connection!(port)
    # More than sockets have room for, and four of them all that one namespace may have under way.
    words = ["SET", "k", :binary.copy("x", 4_194_304)]
    askers = for _asker <- 1..200, do: begin(fn -> Connection.command(@name, "many", words) end)
    {:ok, socket} = :gen_tcp.accept(listener)
    eventually(fn -> Enum.count(askers, &Process.alive?/1) == 4 end, 20_000)
    eventually(fn -> :queue.len(:sys.get_state(@name).waiting) == 4 end, 20_000)
    Enum.each(askers, &Process.exit(&1, :kill))

    # What the server has yet to take is not gone with those who asked.
    assert Connection.command(@name, "many", words) ==
             {:error, "busy: the store has 16 MiB of requests to answer before this one"}

    other = asked("other")
    waits(5)
    assert Process.info(connection, :message_queue_len) == {:message_queue_len, 0}
    :ok = :gen_tcp.send(socket, String.duplicate("+1\r\n", 5))
    assert Task.await(other, 60_000) == {:ok, "1"}
    assert %{count: 0, bytes: 0, spaces: spaces} = :sys.get_state(@name)
    assert spaces == %{}
  end

  test "of the bytes that wait on a connection a namespace has no more than it leaves to others", %{
    port: port,
    listener: listener
  } do
    connection!(port)
    words = ["SET", "k", :binary.copy("x", 4_194_304)]

    waits? = fn space ->
      count = :sys.get_state(@name).count
      asker = begin(fn -> Connection.command(@name, space, words) end)
      eventually(fn -> not Process.alive?(asker) or :sys.get_state(@name).count == count + 1 end)
      Process.alive?(asker)
    end

    # Eight times 16 MiB would be all that there are.
    asked = for space <- 1..8, _request <- 1..4, do: waits?.("space#{space}")
    assert asked == List.duplicate(true, 30) ++ [false, false]
    assert waits?.("another")
    {:ok, socket} = :gen_tcp.accept(listener)
    :ok = :gen_tcp.send(socket, String.duplicate("+1\r\n", 31))
    waits(0)
  end

  test "who waits for a connection that is closed before anything is sent is told so at once", %{
    port: port,
    listener: listener
  } do
    connection = connection!(port, ":tide@")
    tasks = for space <- ["a", "b", "b"], do: asked(space)
    waits(3)
    {:ok, socket} = :gen_tcp.accept(listener)
    {:monitors, [process: connecting]} = Process.info(connection, :monitors)
    monitor = Process.monitor(connecting)
    # The server closes it when it has greeted, and before the connection gets to send.
    :ok = :sys.suspend(connection)
    assert {:ok, "*" <> _auth} = :gen_tcp.recv(socket, 0, 10_000)
    :ok = :gen_tcp.send(socket, "+OK\r\n")
    assert_receive {:DOWN, ^monitor, :process, ^connecting, {:ok, _socket}}
    reset(socket)
    :ok = :sys.resume(connection)
    assert Task.await_many(tasks, 60_000) == [@away, @away, @away]
    assert %{count: 0, spaces: spaces, unsent: []} = :sys.get_state(@name)
    assert spaces == %{}
  end

  test "a server that says more than it was asked for is left, and so is what is none", %{
    port: port,
    listener: listener
  } do
    connection!(port)

    for {said, answer} <- [
          {"+1\r\n+2\r\n", {:ok, "1"}},
          {"HTTP/1.1 400 Bad Request\r\n", {:error, "the store is away: what answers is no Redis"}}
        ] do
      task = asked("a")
      {:ok, socket} = :gen_tcp.accept(listener)
      assert {:ok, "*2\r\n" <> _command} = :gen_tcp.recv(socket, 0, 10_000)
      :ok = :gen_tcp.send(socket, said)
      assert Task.await(task, 60_000) == answer
      assert {:error, :closed} = :gen_tcp.recv(socket, 0, 10_000)
    end

    task = asked("a")
    {:ok, socket} = :gen_tcp.accept(listener)
    assert {:ok, "*2\r\n" <> _command} = :gen_tcp.recv(socket, 0, 10_000)
    reset(socket)
    assert {:error, "the store is away: " <> _why} = Task.await(task, 60_000)
  end

  test "what a server says that lets nobody in is cut in the log, on one line, and is no guest's", %{
    port: port,
    listener: listener
  } do
    connection!(port, ":tide@")

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        task = asked("a")
        {:ok, socket} = :gen_tcp.accept(listener)
        assert {:ok, "*" <> _auth} = :gen_tcp.recv(socket, 0, 10_000)
        :ok = :gen_tcp.send(socket, ["-ERR\n", String.duplicate("x", 8_000), "\r\n"])
        assert Task.await(task, 60_000) == @away
      end)

    assert [line] = for(line <- String.split(log, "\n"), line =~ "can't be reached: ", do: line)
    assert [_before, told] = String.split(line, "can't be reached: ")
    assert told =~ ~S(ERR\nxxx)
    assert String.length(told) in 400..600
    refute log =~ "tide@"
  end
end
