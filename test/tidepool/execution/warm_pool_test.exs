defmodule Tidepool.WarmPoolTest do
  # Warm instances, on a node of its own where their number is known and room is short.
  use Tidepool.Case, async: true

  alias Tidepool.{Engine, Error, Host, Latch, Peer}

  @max_instances 4

  setup_all do
    peer = Peer.start!(max_instances: @max_instances, max_queue: 100)
    {:ok, latch} = Peer.call(peer, Latch, :start, [[name: Latch]])
    :ok = Peer.call(peer, Host, :register, [{"host", "latch", "park"}, latch])
    # What the guest `parked` calls.
    :ok = Peer.call(peer, Host, :register, [{"host", "test", "park"}, latch])
    %{peer: peer, latch: latch}
  end

  setup %{peer: peer} do
    name = unique_name("pooled")

    on_exit(fn ->
      Peer.call(peer, Tidepool, :remove, [name])
      # That they go by themselves is a test of its own, the last one; the next here just needs them gone.
      Peer.call(peer, :erlang, :garbage_collect, [Peer.call(peer, Process, :whereis, [Tidepool.Catalog])])
      eventually(fn -> instances(peer).live == 0 end)
    end)

    %{name: name}
  end

  defp instances(peer), do: Peer.call(peer, Engine, :instances, [])
  defp call(peer, name, operation, payload \\ ""), do: Peer.call(peer, Tidepool, :call, [name, operation, payload])

  defp deploy(peer, name, language, guest, options) do
    Peer.deploy!(peer, language, guest, Keyword.merge([name: name, limits: [time: 50_000]], options))
  end

  defp park(peer, name, id) do
    Peer.async(peer, Tidepool, :call, [name, "host", "host/latch/park\n#{id}"])
  end

  defp await(peer, latch, count), do: Peer.call(peer, Latch, :await, [latch, count])
  defp release(peer, latch), do: Peer.call(peer, Latch, :release, [latch])

  test "a warm instance keeps its memory from call to call", %{peer: peer, name: name} do
    deploy(peer, name, "rust", "counter", instances: {:warm, 1})
    for n <- 1..10, do: assert(call(peer, name, "next") == {:ok, "#{n}"})
    assert instances(peer) == %{live: 1, idle: 1, queued: 0}
  end

  test "a fresh instance remembers nothing and is gone after its call", %{peer: peer, name: name} do
    deploy(peer, name, "rust", "counter", instances: :fresh)
    for _ <- 1..10, do: assert(call(peer, name, "next") == {:ok, "1"})
    eventually(fn -> instances(peer) == %{live: 0, idle: 0, queued: 0} end)
  end

  test "no instance is made before it is needed", %{peer: peer, name: name} do
    deploy(peer, name, "rust", "counter", instances: {:warm, 3})
    eventually(fn -> instances(peer) == %{live: 0, idle: 0, queued: 0} end)
  end

  test "two versions share no instance", %{peer: peer, name: name} do
    deploy(peer, name, "rust", "counter", instances: {:warm, 1})
    assert call(peer, name, "next") == {:ok, "1"}
    assert call(peer, name, "next") == {:ok, "2"}
    deploy(peer, name, "rust", "counter", instances: {:warm, 2})
    assert call(peer, name, "next") == {:ok, "1"}
  end

  test "a guest's own error leaves its instance in the pool", %{peer: peer, name: name} do
    deploy(peer, name, "rust", "counter", instances: {:warm, 1})
    assert call(peer, name, "next") == {:ok, "1"}
    assert {:error, %Error{reason: :guest_error}} = call(peer, name, "unheard of")
    assert call(peer, name, "next") == {:ok, "2"}
  end

  test "an instance that trapped is never used again", %{peer: peer, name: name} do
    deploy(peer, name, "rust", "hello_world", instances: {:warm, 1})
    assert {:ok, "Hello, world!"} = call(peer, name, "hello")
    assert instances(peer).idle == 1
    assert {:error, %Error{reason: {:trap, :stack_overflow}}} = call(peer, name, "fib", "9000000")
    assert instances(peer).idle == 0
    assert {:ok, "Hello, world!"} = call(peer, name, "hello")
    assert instances(peer).idle == 1
  end

  test "an instance whose call ran out of time is never used again", %{peer: peer, latch: latch, name: name} do
    deploy(peer, name, "wat", "parked", instances: {:warm, 1}, limits: [time: 100])
    assert {:error, %Error{reason: :timeout}} = call(peer, name, "any")
    eventually(fn -> instances(peer) == %{live: 0, idle: 0, queued: 0} end)
    release(peer, latch)
  end

  test "an instance whose caller was killed is never used again", %{peer: peer, latch: latch, name: name} do
    deploy(peer, name, "rust", "hello_world", instances: {:warm, 1})
    caller = Peer.call(peer, Kernel, :spawn, [Tidepool, :call, [name, "host", "host/latch/park\nkilled"]])
    assert await(peer, latch, 1) == ["killed"]
    Peer.call(peer, Process, :exit, [caller, :kill])
    eventually(fn -> instances(peer) == %{live: 0, idle: 0, queued: 0} end)
    release(peer, latch)
  end

  test "the pool is elastic: calls beyond it get new instances, of which it keeps what it holds", context do
    %{peer: peer, latch: latch, name: name} = context
    deploy(peer, name, "rust", "hello_world", instances: {:warm, 2})
    calls = for id <- 1..4, do: park(peer, name, id)
    assert peer |> await(latch, 4) |> Enum.sort() == ["1", "2", "3", "4"]
    assert instances(peer) == %{live: 4, idle: 0, queued: 0}

    release(peer, latch)
    for call <- calls, do: assert(Task.await(call, 60_000) == {:ok, "released"})
    eventually(fn -> instances(peer) == %{live: 2, idle: 2, queued: 0} end)
  end

  test "two calls never share an instance at the same time", %{peer: peer, latch: latch, name: name} do
    deploy(peer, name, "rust", "hello_world", instances: {:warm, 1})
    assert {:ok, "Hello, world!"} = call(peer, name, "hello")
    calls = for id <- 1..3, do: park(peer, name, id)
    await(peer, latch, 3)
    assert instances(peer) == %{live: 3, idle: 0, queued: 0}
    release(peer, latch)
    for call <- calls, do: assert(Task.await(call, 60_000) == {:ok, "released"})
  end

  test "idle instances make room for others when the cap is reached", %{peer: peer, latch: latch, name: name} do
    deploy(peer, name, "rust", "hello_world", instances: {:warm, @max_instances})
    calls = for id <- 1..@max_instances, do: park(peer, name, id)
    await(peer, latch, @max_instances)
    release(peer, latch)
    Task.await_many(calls, 60_000)
    assert instances(peer) == %{live: @max_instances, idle: @max_instances, queued: 0}

    other = unique_name("evicting")
    deploy(peer, other, "rust", "counter", instances: :fresh)
    for _ <- 1..10, do: assert(call(peer, other, "next") == {:ok, "1"})
    eventually(fn -> instances(peer) == %{live: @max_instances - 1, idle: @max_instances - 1, queued: 0} end)
    Peer.call(peer, Tidepool, :remove, [other])
  end

  test "a version's idle instances go when it is replaced or removed, not when the VM happens to collect garbage" do
    # Sequence: deploy, call, remove. The catalog's process had a term that kept the version alive until its next
    # garbage collection, which an idle node may never come to; here it doesn't come to one.
    peer = Peer.start!(max_instances: 8)
    Peer.call(peer, Peer, :collect_no_garbage, [Tidepool.Catalog])

    deploy(peer, "removed", "rust", "counter", instances: {:warm, 2})
    deploy(peer, "replaced", "rust", "counter", instances: {:warm, 2})
    for name <- ["removed", "replaced"], do: assert(call(peer, name, "next") == {:ok, "1"})
    assert instances(peer) == %{live: 2, idle: 2, queued: 0}

    :ok = Peer.call(peer, Tidepool, :remove, ["removed"])
    deploy(peer, "replaced", "rust", "counter", instances: :fresh)
    eventually(fn -> instances(peer) == %{live: 0, idle: 0, queued: 0} end)
  end
end
