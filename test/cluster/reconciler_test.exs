defmodule Tidepool.Cluster.ReconcilerTest do
  # A node that knows of deploys whose modules are still to come, as of a cluster that nobody else of is there.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Catalog, Error, Peer, TestModule}
  alias Tidepool.Catalog.{Arrivals, BlobStore, Entry}
  alias Tidepool.Cluster.{Reconciler, Server}

  setup do
    peer = Peer.start!([cluster: true, epmd: false], name: Peer.name("lone"), cookie: Peer.cookie())
    {:ok, limits} = Tidepool.Options.check([time: 20_000], Tidepool.Limits.schema(), "the limit")
    %{peer: peer, limits: limits}
  end

  defp entry(context, wasm, overrides \\ []) do
    struct!(
      %Entry{
        name: "coming",
        version: 1,
        sha256: BlobStore.sha256(wasm),
        size: byte_size(wasm),
        operation: "hello",
        instances: :fresh,
        limits: context.limits,
        deployed_at: 1,
        stamp: {System.os_time(:millisecond), 0, "elsewhere#1"}
      },
      overrides
    )
  end

  defp tell(peer, entry) do
    :ok = Peer.call(peer, Catalog, :accept, [[entry]])
    :ok = Peer.call(peer, Reconciler, :load, [[entry], nil])
    # That was a cast; once the process answers, it has taken it.
    %{} = Peer.call(peer, :sys, :get_state, [Reconciler])
  end

  defp bring(peer, wasm) do
    :ok = Peer.call(peer, BlobStore, :put, [Peer.call(peer, Catalog, :blobs, []), BlobStore.sha256(wasm), wasm])
  end

  defp call(peer, name, timeout), do: Peer.call(peer, Tidepool, :call, [name, nil, "", [timeout: timeout]])

  test "a call of a function whose module is on its way waits for it", %{peer: peer} = context do
    wasm = guest("rust", "hello_world")
    tell(peer, entry(context, wasm))
    call = Peer.async(peer, Tidepool, :call, ["coming", nil])
    eventually(fn -> map_size(Peer.call(peer, :sys, :get_state, [Arrivals]).waiters) == 1 end)
    bring(peer, wasm)
    assert Task.await(call, 60_000) == {:ok, "Hello, world!"}
  end

  test "what a call has waited for a module is taken off the time that it has", %{peer: peer} = context do
    tell_deadline = """
    Tidepool.Host.register({"host", "tell", "deadline"}, fn call -> {:ok, Integer.to_string(call.deadline)} end)
    """

    {:ok, _binding} = Peer.call(peer, Code, :eval_string, [tell_deadline])
    wasm = guest("rust", "hello_world")
    tell(peer, entry(context, wasm, operation: "host"))
    options = [timeout: 15_000]
    call = Peer.async(peer, Tidepool, :call, ["coming", nil, "host/tell/deadline\n", options])
    eventually(fn -> map_size(Peer.call(peer, :sys, :get_state, [Arrivals]).waiters) == 1 end)
    now = fn -> Peer.call(peer, System, :monotonic_time, [:millisecond]) end
    waiting = now.()
    eventually(fn -> now.() >= waiting + 1_000 end)
    bring(peer, wasm)
    assert {:ok, deadline} = Task.await(call, 60_000)
    assert String.to_integer(deadline) < waiting + options[:timeout] + 1_000
  end

  test "a call does not wait longer than it has time, and leaves nothing behind", %{peer: peer} = context do
    tell(peer, entry(context, "not here"))
    assert {:error, %Error{reason: :not_ready, function: "coming"}} = call(peer, "coming", 20)
    assert {:error, %Error{reason: :not_deployed}} = call(peer, "unheard_of", 20)
    # The function's own time limit counts as well.
    short = entry(context, "nor this", name: "short", limits: %{context.limits | time: 1})
    tell(peer, short)
    assert {:error, %Error{reason: :not_ready}} = Peer.call(peer, Tidepool, :call, ["short", nil])
  end

  test "no more than 10,000 calls wait, and those whose time is over make room for others", %{peer: peer} = context do
    tell(peer, entry(context, "not here"))

    flood = """
    wait = fn -> Tidepool.Catalog.Arrivals.await("coming", 8_000) end
    1..10_200 |> Enum.map(fn _caller -> Task.async(wait) end) |> Task.await_many(120_000) |> Enum.frequencies()
    """

    {answers, _binding} = Peer.call(peer, Code, :eval_string, [flood])
    assert %{timeout: waited, overloaded: refused} = answers
    assert waited >= 10_000 and waited + refused == 10_200
    eventually(fn -> match?({:error, %Error{reason: :not_ready}}, call(peer, "coming", 20)) end)
  end

  test "no more than 10,000 calls wait for what a node that joins is to learn, and changes wait beside them",
       %{peer: peer} do
    eventually(fn -> not Peer.call(peer, Arrivals, :joining?, []) end, 60_000)
    :ok = Peer.call(peer, Arrivals, :joining, [600_000])

    flood = """
    wait = fn -> Tidepool.Catalog.Arrivals.await("unheard_of", 8_000) end
    1..10_200 |> Enum.map(fn _caller -> Task.async(wait) end) |> Task.await_many(120_000) |> Enum.frequencies()
    """

    flood = Peer.async(peer, Code, :eval_string, [flood])
    waiting = fn -> map_size(Peer.call(peer, :sys, :get_state, [Arrivals]).waiters) end
    eventually(fn -> waiting.() == 10_000 end, 20_000)
    assert {:error, %Error{reason: :overloaded}} = call(peer, "unheard_of", 1_000)
    removal = Peer.async(peer, Tidepool, :remove, ["unheard_of"])
    eventually(fn -> waiting.() == 10_001 end, 5_000)

    assert {%{unknown: waited, overloaded: refused}, _binding} = Task.await(flood, 120_000)
    assert waited >= 10_000 and waited + refused == 10_200
    # Those whose time is over make room, long before the end of joining.
    eventually(fn -> match?({:error, %Error{reason: :not_deployed}}, call(peer, "unheard_of", 20)) end)
    assert Task.yield(removal, 0) == nil
    :ok = Peer.call(peer, Arrivals, :joined, [])
    assert {:error, %Error{reason: :not_deployed}} = Task.await(removal, 60_000)
  end

  test "calls that wait of a namespace leave others places, and those whose callers were killed leave theirs", %{
    peer: peer
  } do
    evaluate = &elem(Peer.call(peer, Code, :eval_string, [&1, &2]), 0)
    wait = "for _caller <- 1..5_100, do: spawn(fn -> Tidepool.Catalog.Arrivals.await(name, 600_000) end)"
    waiting = fn -> map_size(Peer.call(peer, :sys, :get_state, [Arrivals]).waiters) end
    for name <- ["shop/late", "blog/late", "late"], do: :ok = Peer.call(peer, Arrivals, :coming, [name, 600_000])

    of_one = evaluate.(wait, name: "shop/late")
    eventually(fn -> waiting.() == 5_000 end, 20_000)
    assert {:error, %Error{reason: :not_ready}} = call(peer, "blog/late", 20)
    others = evaluate.(wait, name: "late")
    eventually(fn -> match?({:error, %Error{reason: :overloaded}}, call(peer, "late", 20)) end, 20_000)

    evaluate.("Enum.each(callers, &Process.exit(&1, :kill))", callers: of_one ++ others)
    eventually(fn -> match?({:error, %Error{reason: :not_ready}}, call(peer, "late", 20)) end)
    assert waiting.() < 5_000
  end

  test "calls of names that there need not be have no place of those that are coming, while a node joins", %{peer: peer} do
    eventually(fn -> not Peer.call(peer, Arrivals, :joining?, []) end, 60_000)
    :ok = Peer.call(peer, Arrivals, :coming, ["shop/late", 600_000])
    :ok = Peer.call(peer, Arrivals, :joining, [600_000])
    wait = "for caller <- 1..10_100, do: spawn(fn -> Tidepool.Catalog.Arrivals.await(\"a\#{caller}/x\", 600_000) end)"
    Peer.call(peer, Code, :eval_string, [wait])
    eventually(fn -> map_size(Peer.call(peer, :sys, :get_state, [Arrivals]).waiters) == 10_000 end, 20_000)
    assert {:error, %Error{reason: :overloaded}} = call(peer, "another/x", 1_000)
    assert {:error, %Error{reason: :not_ready}} = call(peer, "shop/late", 20)
  end

  test "while a new version is on its way the one before is called, after a restart too", %{peer: peer} = context do
    old = Peer.deploy!(peer, "wat", "returns_1_twice", name: "coming")
    wasm = guest("rust", "hello_world")
    tell(peer, entry(context, wasm, version: 2))
    reply = call(peer, "coming", 5_000)
    assert {:ok, _reply} = reply
    :ok = Peer.stop_application(peer)
    {:ok, _started} = Peer.start_application(peer)
    assert call(peer, "coming", 5_000) == reply
    assert [%{version: 1, sha256: sha256}] = Peer.call(peer, Tidepool, :list, [])
    assert sha256 == old.sha256

    bring(peer, wasm)
    eventually(fn -> call(peer, "coming", 5_000) == {:ok, "Hello, world!"} end, 20_000)
    blobs = Peer.call(peer, Catalog, :blobs, [])
    eventually(fn -> File.ls!(blobs) == [BlobStore.sha256(wasm)] end)
  end

  test "a module that can't be compiled here is unavailable, and others load, after a restart too",
       %{peer: peer} = context do
    {bad, good} = {"no module at all", guest("rust", "hello_world")}
    bring(peer, bad)
    bring(peer, good)
    tell(peer, entry(context, bad, name: "bad"))
    tell(peer, entry(context, good))
    assert {:error, %Error{reason: :unavailable}} = call(peer, "bad", 20_000)
    assert call(peer, "coming", 20_000) == {:ok, "Hello, world!"}

    :ok = Peer.stop_application(peer)
    {:ok, _started} = Peer.start_application(peer)
    # It is there, and not tried again; one that is not there yet is.
    assert Peer.call(peer, Reconciler, :list, []) == []
    later = TestModule.variant(good, "later")
    tell(peer, entry(context, later, name: "later"))
    bring(peer, later)
    assert call(peer, "later", 20_000) == {:ok, "Hello, world!"}
    assert {:error, %Error{reason: :unavailable}} = call(peer, "bad", 20_000)
  end

  test "no more than 8 modules are loaded at a time, and all of them in the end", %{peer: peer} = context do
    # Larger than this node takes: each is done when the catalog has taken note of that.
    entries = for index <- 1..20, do: entry(context, "f#{index}", name: "f#{index}", size: 1_000_000_000_000)
    :ok = Peer.call(peer, Catalog, :accept, [entries])
    :ok = Peer.call(peer, :sys, :suspend, [Catalog])
    :ok = Peer.call(peer, Reconciler, :load, [entries, nil])
    states = fn -> peer |> Peer.call(Reconciler, :list, []) |> Enum.frequencies_by(& &1.state) end
    assert states.() == %{running: 8, queued: 12}
    :ok = Peer.call(peer, :sys, :resume, [Catalog])
    eventually(fn -> states.() == %{} end, 20_000)
    for entry <- entries, do: assert({:error, %Error{reason: :unavailable}} = call(peer, entry.name, 1_000))
  end

  test "modules of a namespace whose trials take long leave others as many places, and hold up none of another",
       %{peer: peer} = context do
    # Their start functions have no end, and a trial has a minute.
    slow = guest("wat", "init_loop")
    limits = Map.merge(context.limits, %{time: 600_000, cpu_time: 600_000})
    bring(peer, slow)
    for index <- 1..8, do: tell(peer, entry(context, slow, name: "shop/f#{index}", limits: limits, snapshot: false))
    jobs = fn -> peer |> Peer.call(Reconciler, :list, []) |> Enum.frequencies_by(& &1.state) end
    eventually(fn -> jobs.() == %{running: 4, queued: 4} end, 20_000)

    wasm = guest("rust", "hello_world")
    bring(peer, wasm)
    tell(peer, entry(context, wasm, name: "blog/hello"))
    assert call(peer, "blog/hello", 20_000) == {:ok, "Hello, world!"}
  end

  # As when a version that had the same module is replaced while this one is being compiled.
  test "a module that goes while it is being loaded is looked for anew: none serves that is not on the disk",
       %{peer: peer} = context do
    wasm = guest("rust", "hello_world")
    path = BlobStore.path(Peer.call(peer, Catalog, :blobs, []), BlobStore.sha256(wasm))
    bring(peer, wasm)
    entry = entry(context, wasm)
    :ok = Peer.call(peer, Catalog, :accept, [[entry]])
    {_context, [^entry]} = Peer.call(peer, Catalog, :known, [])

    :ok = Peer.call(peer, :sys, :suspend, [Catalog])
    :ok = Peer.call(peer, Reconciler, :load, [[entry], nil])
    catalog = Peer.call(peer, Process, :whereis, [Catalog])

    eventually(
      fn -> Peer.call(peer, Process, :info, [catalog, :message_queue_len]) == {:message_queue_len, 1} end,
      20_000
    )

    File.rm!(path)
    :ok = Peer.call(peer, :sys, :resume, [Catalog])

    eventually(fn ->
      match?([%{state: :waiting, attempts: attempts}] when attempts > 0, Peer.call(peer, Reconciler, :list, []))
    end)

    assert {:error, %Error{reason: :not_ready}} = call(peer, "coming", 100)
    bring(peer, wasm)
    assert {:ok, "Hello, world!"} = call(peer, "coming", 20_000)
    assert File.exists?(path)
  end

  test "what is superseded on its way is dropped", %{peer: peer} = context do
    tell(peer, entry(context, "never to come"))
    Peer.deploy!(peer, "rust", "hello_world", name: "coming", operation: "hello")
    assert call(peer, "coming", 5_000) == {:ok, "Hello, world!"}
    eventually(fn -> Peer.call(peer, Reconciler, :list, []) == [] end)

    {now, 0} = {System.os_time(:millisecond), 0}
    tell(peer, entry(context, "never either", name: "gone", stamp: {now, 0, "elsewhere#1"}))
    removal = entry(context, "never either", name: "gone", removed: true, stamp: {now, 1, "elsewhere#1"})
    :ok = Peer.call(peer, Catalog, :accept, [[removal]])
    :ok = Peer.call(peer, Reconciler, :cancel, [["gone"]])
    assert {:error, %Error{reason: :not_deployed}} = call(peer, "gone", 1_000)
  end

  test "a module that comes after the removal of its function does not stay on the disk", %{peer: peer} = context do
    wasm = guest("rust", "hello_world")
    entry = entry(context, wasm)
    {wall_ms, 0, replica} = entry.stamp
    :ok = Peer.call(peer, Catalog, :accept, [[entry]])
    :ok = Peer.call(peer, Catalog, :accept, [[%{entry | removed: true, stamp: {wall_ms, 1, replica}}]])
    bring(peer, wasm)
    :ok = Peer.call(peer, Reconciler, :load, [[entry], nil])
    eventually(fn -> BlobStore.list(Peer.call(peer, Catalog, :blobs, [])) == [] end)
  end

  test "however often links come up, a module that nobody has is looked for no more often", %{peer: peer} = context do
    tell(peer, entry(context, "nowhere"))
    attempts = fn -> hd(Peer.call(peer, Reconciler, :list, [])).attempts end

    # By then the pause between attempts has its full length, a second at least.
    for count <- 1..30 do
      :ok = Peer.call(peer, Reconciler, :up, [:"nobody@127.0.0.1"])
      eventually(fn -> attempts.() >= count end, 20_000)
    end

    {began, before} = {System.monotonic_time(:millisecond), attempts.()}
    eventually(fn -> attempts.() >= before + 4 end, 20_000)
    assert System.monotonic_time(:millisecond) - began >= 3_000
  end

  # The other node's deploy arrives while this node's own, made a moment before, is being written down: the catalog then
  # tells the cluster of the earlier one after the later one.
  test "a deploy of another node's that is later than this node's own is still loaded", %{peer: peer} = context do
    Peer.deploy!(peer, "wat", "returns_1_twice", name: "coming")
    {_context, [own]} = Peer.call(peer, Catalog, :known, [])
    wasm = guest("rust", "hello_world")
    {wall_ms, counter, _replica} = own.stamp
    later = entry(context, wasm, version: 2, stamp: {wall_ms, counter + 1, "elsewhere#1"})
    Peer.call(peer, Kernel, :send, [Server, {:tidepool_change, later}])
    # It knows of the later one now, and has ended what was on its way under that name.
    Peer.call(peer, :sys, :get_state, [Server])
    tell(peer, later)

    Peer.call(peer, Kernel, :send, [Server, {:tidepool_change, own}])
    Peer.call(peer, :sys, :get_state, [Server])
    assert [%{entry: ^later}] = Peer.call(peer, Reconciler, :list, [])

    bring(peer, wasm)
    eventually(fn -> call(peer, "coming", 5_000) == {:ok, "Hello, world!"} end, 20_000)
  end
end
