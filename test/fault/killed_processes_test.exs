defmodule Tidepool.Fault.KilledProcessesTest do
  # Nodes of their own: what is killed is what the test node itself stands on.
  use Tidepool.Case, async: true

  alias Tidepool.{FreePort, Latch, Peer}

  setup do
    # A port of its own, as a node in use has one: whoever comes after a dead listener has to get the same.
    port = FreePort.take()
    peer = Peer.start!(server: true, port: port)
    Peer.deploy!(peer, "zig", "hello_world", instances: {:warm, 4})
    {:ok, peer: peer, port: port}
  end

  for process <- [
        Tidepool.Engine,
        Tidepool.Engine.Console,
        Tidepool.Host.Registry,
        Tidepool.Catalog,
        TidepoolWeb.Dispatcher.Health,
        TidepoolWeb.Dispatcher.N1,
        TidepoolWeb.Listener
      ] do
    @tag process: process
    test "a node whose #{inspect(process)} was killed serves again, through Elixir and at the same port", context do
      kill(context.peer, context.process)

      eventually(fn ->
        assert attempt(fn -> Peer.call(context.peer, Tidepool, :call, ["hello_world", "hello", "Ada"]) end) ==
                 {:ok, "Hello, Ada!"}
      end)

      eventually(fn ->
        url = "http://127.0.0.1:#{context.port}/call/hello_world/hello?payload=Ada"
        assert {200, _headers, "Hello, Ada!"} = attempt(fn -> curl_url(url) end)
      end)

      # What is deployed from now on counts from where it was.
      assert %{version: 2} = Peer.deploy!(context.peer, "rust", "hello_world")
    end
  end

  test "a call in flight ends well although the engine and the catalog are killed", %{peer: peer} do
    {:ok, latch} = Peer.call(peer, Latch, :start, [[]])
    :ok = Peer.call(peer, Tidepool.Host, :register, [{"host", "test", "park"}, latch])
    parked = Peer.async(peer, Tidepool, :call, ["hello_world", "host", "host/test/park\n"])
    Peer.call(peer, Latch, :await, [latch, 1])

    kill(peer, Tidepool.Catalog)
    kill(peer, Tidepool.Engine)
    assert Peer.call(peer, Latch, :release, [latch, {:ok, "survived"}]) == 1
    assert Task.await(parked, 60_000) == {:ok, "survived"}
  end

  # Returns when another process has the dead one's name.
  defp kill(peer, name) do
    old = Peer.call(peer, Process, :whereis, [name])
    assert is_pid(old)
    Peer.call(peer, Process, :exit, [old, :kill])
    eventually(fn -> Peer.call(peer, Process, :whereis, [name]) not in [old, nil] end)
  end

  # While the tree is being rebuilt a call may find less than it needs.
  defp attempt(fun) do
    fun.()
  rescue
    error -> error
  catch
    kind, reason -> {kind, reason}
  end
end
