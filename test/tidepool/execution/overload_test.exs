defmodule Tidepool.OverloadTest do
  # More calls than instances, on a node of its own that has two instances and room for three calls to wait.
  use Tidepool.Case, async: true

  alias Tidepool.{Engine, Error, Host, Latch, Peer}

  setup_all do
    peer = Peer.start!(max_instances: 2, max_queue: 3, server: true, builtins: [:function])
    {:ok, latch} = Peer.call(peer, Latch, :start, [[name: Latch]])
    :ok = Peer.call(peer, Host, :register, [{"host", "latch", :_}, latch])
    Peer.deploy!(peer, "rust", "hello_world", limits: [time: 50_000])
    %{peer: peer, latch: latch}
  end

  setup %{peer: peer, latch: latch} do
    on_exit(fn ->
      eventually(fn ->
        Peer.call(peer, Latch, :release, [latch])
        instances(peer) == %{live: 0, idle: 0, queued: 0}
      end)
    end)
  end

  defp instances(peer), do: Peer.call(peer, Engine, :instances, [])
  defp hello(peer), do: Peer.call(peer, Tidepool, :call, ["hello_world", "hello"])
  defp await(peer, latch, count), do: Peer.call(peer, Latch, :await, [latch, count])
  defp release_first(peer, latch), do: Peer.call(peer, Latch, :release_first, [latch])

  defp park(peer, id, options \\ []) do
    Peer.async(peer, Tidepool, :call, ["hello_world", "host", "host/latch/park\n#{id}", options])
  end

  # One after another, so that their order is known.
  defp fill_queue(peer, ids) do
    for {id, queued} <- Enum.with_index(ids, 1) do
      call = park(peer, id)
      eventually(fn -> instances(peer).queued == queued end)
      call
    end
  end

  defp occupy(peer, latch) do
    running = for id <- ["a", "b"], do: park(peer, id)
    await(peer, latch, 2)
    running
  end

  test "calls over the cap wait, those over the queue are refused at once, and all who waited are served", context do
    %{peer: peer, latch: latch} = context
    running = occupy(peer, latch)
    waiting = fill_queue(peer, ["c", "d", "e"])
    assert instances(peer) == %{live: 2, idle: 0, queued: 3}

    assert {:error, %Error{reason: :overloaded, function: "hello_world"}} = hello(peer)
    assert instances(peer).queued == 3

    for _ <- 1..5, do: eventually(fn -> release_first(peer, latch) == 1 end)
    for call <- running ++ waiting, do: assert(Task.await(call, 60_000) == {:ok, "released"})
    eventually(fn -> instances(peer) == %{live: 0, idle: 0, queued: 0} end)
    assert hello(peer) == {:ok, "Hello, world!"}
  end

  test "who waited longest is served first", %{peer: peer, latch: latch} do
    running = occupy(peer, latch)
    waiting = fill_queue(peer, ["c", "d", "e"])

    for next <- ["c", "d", "e"] do
      assert release_first(peer, latch) == 1
      assert [_running, ^next] = await(peer, latch, 2)
    end

    for _ <- 1..2, do: release_first(peer, latch)
    for call <- running ++ waiting, do: assert(Task.await(call, 60_000) == {:ok, "released"})
  end

  test "over HTTP a refusal is 503 with Retry-After", %{peer: peer, latch: latch} do
    running = occupy(peer, latch)
    waiting = fill_queue(peer, ["c", "d", "e"])
    assert {503, headers, %{"error" => error}} = curl_url(Peer.url(peer, "/call/hello_world/hello"))
    assert {seconds, ""} = Integer.parse(headers["retry-after"])
    assert seconds > 0
    assert %{"reason" => "overloaded", "function" => "hello_world"} = error

    # How the node is can be asked all the same.
    assert {200, _headers, %{"instances" => %{"live" => 2, "queued" => 3}}} = curl_url(Peer.url(peer, "/health"))
    assert {200, _headers, metrics} = curl_url(Peer.url(peer, "/metrics"))
    assert metrics =~ ~r/^tidepool_calls_queued{engine="fast"} 3$/m

    for _ <- 1..5, do: eventually(fn -> release_first(peer, latch) == 1 end)
    Task.await_many(running ++ waiting, 60_000)
    assert {200, _headers, "Hello, world!"} = curl_url(Peer.url(peer, "/call/hello_world/hello"))
  end

  test "a wait that takes all of a call's time ends as overloaded: the function was never slow", context do
    %{peer: peer, latch: latch} = context
    running = occupy(peer, latch)
    assert {:error, %Error{reason: :overloaded}} = Task.await(park(peer, "c", timeout: 1_000), 60_000)
    assert instances(peer) == %{live: 2, idle: 0, queued: 0}
    for _ <- 1..2, do: release_first(peer, latch)
    for call <- running, do: assert(Task.await(call, 60_000) == {:ok, "released"})
  end

  test "a caller that is killed while it waits leaves its place to others", %{peer: peer, latch: latch} do
    running = occupy(peer, latch)
    arguments = ["hello_world", "host", "host/latch/park\nkilled"]
    waiting = for _ <- 1..3, do: Peer.call(peer, Kernel, :spawn, [Tidepool, :call, arguments])
    eventually(fn -> instances(peer).queued == 3 end)
    for pid <- waiting, do: Peer.call(peer, Process, :exit, [pid, :kill])
    eventually(fn -> instances(peer).queued == 0 end)

    [next] = fill_queue(peer, ["c"])
    release_first(peer, latch)
    assert ["b", "c"] = peer |> await(latch, 2) |> Enum.map(&if(&1 == "a", do: "b", else: &1))
    for _ <- 1..2, do: release_first(peer, latch)
    for call <- [next | running], do: assert(Task.await(call, 60_000) == {:ok, "released"})
  end

  test "a nested call does not wait for the instances that its own callers hold", %{peer: peer} do
    Peer.deploy!(peer, "rust", "recurse")
    assert Peer.call(peer, Tidepool, :call, ["recurse", nil, "1"]) == {:ok, "1>bottom"}
    assert {:error, %Error{reason: :guest_error}} = Peer.call(peer, Tidepool, :call, ["recurse", nil, "2"])
    assert hello(peer) == {:ok, "Hello, world!"}
  end

  test "a node that was flooded is as it was before", %{peer: peer} do
    outcomes = Peer.call(peer, Tidepool.Flood, :run, [500])
    assert Enum.all?(Map.keys(outcomes), &(&1 in [:ok, :overloaded]))
    assert outcomes[:ok] > 0
    eventually(fn -> instances(peer) == %{live: 0, idle: 0, queued: 0} end)
    assert hello(peer) == {:ok, "Hello, world!"}
  end
end
