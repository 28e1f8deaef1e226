defmodule Tidepool.DenseTest do
  # Functions on the dense engine.
  use Tidepool.Case, async: true

  alias Tidepool.{Engine, Error, Flood, Function, Host, Latch, Peer}

  @cap 40

  describe "a function on the dense engine" do
    test "says so, and answers as it does on the fast one" do
      # Go's, of which compiling takes longest, answers in last_words_test.exs.
      for language <- ["rust", "assemblyscript", "zig", "c"] do
        name = deploy!(language, "hello_world", engine: :dense)
        assert {:ok, %Function{engine: :dense}} = Tidepool.fetch(name)
        assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
        assert {:error, %Error{reason: :guest_error}} = Tidepool.call(name, "fail")
      end

      assert "c" |> deploy!("upper", engine: :dense) |> Tidepool.call(nil, "low tide") == {:ok, "LOW TIDE"}
    end

    test "is on the fast one unless it is asked for" do
      assert {:ok, %Function{engine: :fast}} = "rust" |> deploy!("hello_world") |> Tidepool.fetch()
    end

    test "is deployed anew when only the engine changes" do
      name = deploy!("rust", "hello_world")
      assert {:ok, %Function{version: 2}} = Tidepool.deploy(guest("rust", "hello_world"), name: name, engine: :dense)
      assert {:ok, %Function{version: 2}} = Tidepool.deploy(guest("rust", "hello_world"), name: name, engine: :dense)
    end

    test "may keep more idle instances than the fast engine holds" do
      name = deploy!("rust", "counter", engine: :dense, instances: {:warm, 100_000})
      assert Tidepool.call(name, "next") == {:ok, "1"}
      assert Tidepool.call(name, "next") == {:ok, "2"}
      wasm = guest("rust", "counter")
      too_many = [engine: :fast, instances: {:warm, 16_001}]
      assert {:error, %Error{reason: :invalid_option}} = Tidepool.deploy(wasm, [name: unique_name("many")] ++ too_many)
    end

    test "is refused a memory limit that no slot holds" do
      options = [name: unique_name("large"), engine: :dense, limits: [memory: 67_174_400]]
      assert {:error, %Error{reason: :invalid_config}} = Tidepool.deploy(guest("rust", "hello_world"), options)
    end

    test "is refused an engine that there is not" do
      options = [name: unique_name("odd"), engine: :steam]
      assert {:error, %Error{reason: :invalid_option}} = Tidepool.deploy(guest("rust", "hello_world"), options)
    end

    test "is held to its limits as on the fast one" do
      loop = deploy!("wat", "loop", engine: :dense, limits: [cpu_time: 20])
      assert {:error, %Error{reason: {:limit, :cpu_time}}} = Tidepool.call(loop, "spin")
      bomb = deploy!("wat", "memory_bomb", engine: :dense)
      assert {:error, %Error{reason: {:limit, :memory}}} = Tidepool.call(bomb, "grow")
      deep = deploy!("wat", "stack_overflow", engine: :dense)
      assert {:error, %Error{reason: {:trap, :stack_overflow}}} = Tidepool.call(deep, "recurse")
    end
  end

  test "thousands of calls wait for the host at once, and each gets its own answer" do
    parked = deploy!("rust", "hello_world", engine: :dense, limits: [time: 60_000])
    {:ok, latch} = Latch.start_link()
    handle!({"host", "latch", "dense"}, latch)

    calls =
      for id <- 1..3_000 do
        Task.async(fn -> Tidepool.call(parked, "host", "host/latch/dense\n#{id}") end)
      end

    payloads = Latch.await(latch, 3_000)
    assert Enum.sort(payloads) == Enum.sort(for(id <- 1..3_000, do: "#{id}"))
    assert Engine.engines().dense.live >= 3_000
    assert Latch.release(latch) == 3_000
    assert Enum.all?(Task.await_many(calls, 60_000), &(&1 == {:ok, "released"}))
  end

  describe "on a node with room for few," do
    setup :small_node

    test "the engine that is full answers :overloaded, the other one serves, and both do when there is room", context do
      %{peer: peer, latch: latch} = context

      for _turn <- 1..3 do
        calls = for _ <- 1..@cap, do: Peer.async(peer, Tidepool, :call, ["parked", "x"])
        Peer.call(peer, Latch, :await, [latch, @cap])
        assert %{dense: %{live: @cap, idle: 0, queued: 0, max: @cap}} = Peer.call(peer, Engine, :engines, [])

        for _ <- 1..5,
            do: assert({:error, %Error{reason: :overloaded}} = Peer.call(peer, Tidepool, :call, ["parked", "x"]))

        assert Peer.call(peer, Tidepool, :call, ["hello_world", "hello"]) == {:ok, "Hello, world!"}
        assert Peer.call(peer, Latch, :release, [latch]) == @cap
        assert Enum.all?(Task.await_many(calls, 60_000), &(&1 == {:ok, "released"}))
        eventually(fn -> Peer.call(peer, Engine, :engines, []).dense.live == 0 end)
      end
    end

    test "callers that are killed leave their places", %{peer: peer, latch: latch} do
      pids = Peer.call(peer, Flood, :spawn, ["parked", @cap])
      Peer.call(peer, Latch, :await, [latch, @cap])
      Peer.call(peer, Flood, :kill, [pids])
      eventually(fn -> Peer.call(peer, Engine, :engines, []).dense.live == 0 end)
      Peer.call(peer, Latch, :release, [latch])
    end

    test "a function is on its engine still when the node starts again", %{peer: peer} do
      :ok = Peer.stop_application(peer)
      {:ok, _started} = Peer.start_application(peer)
      assert {:ok, %Function{engine: :dense}} = Peer.call(peer, Tidepool, :fetch, ["parked"])
      assert {:ok, %Function{engine: :fast}} = Peer.call(peer, Tidepool, :fetch, ["hello_world"])
    end
  end

  defp small_node(_context) do
    peer = Peer.start!(max_dense_instances: @cap, max_queue: 0, max_instances: 4)
    {:ok, latch} = Peer.call(peer, Latch, :start, [[name: Latch]])
    :ok = Peer.call(peer, Host, :register, [{"host", "test", "park"}, latch])
    Peer.deploy!(peer, "wat", "parked", engine: :dense, limits: [time: 60_000])
    Peer.deploy!(peer, "rust", "hello_world")
    %{peer: peer, latch: latch}
  end
end
