defmodule Tidepool.ClusterTest do
  # Real nodes; each test has its own.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{
    CallTrace,
    Catalog,
    Cluster,
    ClusterMessages,
    Error,
    FullDisk,
    Function,
    Limits,
    LogWatch,
    Peer,
    TestModule
  }

  alias Tidepool.Catalog.Log
  alias Tidepool.Cluster.Wire

  @settings [cluster: true, discovery_interval: 100]

  defp cluster!(count, settings \\ []) do
    cookie = Peer.cookie()
    names = for index <- 1..count, do: Peer.name("n#{index}")
    peers = for name <- names, do: start!(name, cookie, names, settings)
    for peer <- peers, do: eventually(fn -> length(status(peer).nodes) == count end, 20_000)
    peers
  end

  defp start!(name, cookie, seeds, settings \\ []) do
    Peer.start!(@settings ++ [seeds: seeds] ++ settings, name: name, cookie: cookie)
  end

  defp status(peer), do: Peer.call(peer, Cluster, :status, [])
  defp call(peer, name, operation, payload \\ ""), do: Peer.call(peer, Tidepool, :call, [name, operation, payload])
  defp links(peer), do: Enum.sort(Peer.call(peer, Cluster.Links, :linked, []))

  test "what is deployed on one node can be called on the other, and what is removed there is gone here" do
    [a, b] = cluster!(2)
    Peer.deploy!(a, "rust", "hello_world")
    eventually(fn -> call(b, "hello_world", "hello", "Ada") == {:ok, "Hello, Ada!"} end, 20_000)
    # The list follows the calls.
    eventually(fn -> match?([%Function{version: 1}], Peer.call(b, Tidepool, :list, [])) end, 20_000)

    :ok = Peer.call(b, Tidepool, :remove, ["hello_world"])
    eventually(fn -> match?({:error, %Error{reason: :not_deployed}}, call(a, "hello_world", "hello")) end, 20_000)
  end

  test "gossip has no entry that the catalog has, and tells a node that comes of all of them, one that the disk refuses among them" do
    [a, b] = cluster!(2)
    Peer.deploy!(a, "rust", "hello_world", wait: :all)
    {_context, [entry]} = Peer.call(a, Catalog, :known, [])
    Peer.call(b, FullDisk, :fill, [])
    File.mkdir!(Path.join(Peer.folder(b), "catalog.log.new"))
    :ok = Peer.call(a, Tidepool, :remove, ["hello_world"])

    held = &Peer.call(&1, :sys, :get_state, [Cluster.Server]).gossip.catalog.held
    removed? = &match?(%{removed: true}, Peer.call(&1, Catalog, :entry, [&2]))
    for peer <- [a, b], do: eventually(fn -> removed?.(peer, "hello_world") and held.(peer) == %{} end, 20_000)
    assert {:ok, %{entries: %{"hello_world" => ^entry}}, _state} = Log.read(Path.join(Peer.folder(b), "catalog.log"))

    :ok = Peer.stop_application(a)
    c = start!(Peer.name("later"), b.cookie, [b.node])
    eventually(fn -> removed?.(c, "hello_world") end, 20_000)
    # Nor does it have any for a while that its table is gone.
    :ok = Peer.stop_application(c)
    assert Peer.call(c, Catalog, :entry, ["hello_world"]) == nil
  end

  test "a new version replaces the one before on every node, wherever it is deployed" do
    [a, b] = cluster!(2)
    Peer.deploy!(a, "wat", "host_unasked", name: "f")
    eventually(fn -> match?({:ok, _reply}, call(b, "f", nil)) end, 20_000)
    assert %Function{version: 2} = Peer.deploy!(b, "wat", "start_exit_0", name: "f")
    reply = call(b, "f", nil)
    eventually(fn -> call(a, "f", nil) == reply end, 20_000)
    eventually(fn -> match?([%Function{version: 2}], Peer.call(a, Tidepool, :list, [])) end, 20_000)
  end

  test "a node that joins later gets all that is deployed" do
    [a, b] = cluster!(2)
    for index <- 1..20, do: Peer.deploy!(a, "rust", "hello_world", name: "f#{index}", operation: "hello")
    {:ok, wasm} = {:ok, TestModule.variant(guest("rust", "hello_world"), "another")}
    {:ok, _function} = Peer.call(b, Tidepool, :deploy, [wasm, [name: "other", operation: "hello"]])
    c = start!(Peer.name("later"), a.cookie, [b.node])
    eventually(fn -> length(Peer.call(c, Tidepool, :list, [])) == 21 end, 20_000)
    for name <- ["f1", "f20", "other"], do: assert(call(c, name, nil) == {:ok, "Hello, world!"})
  end

  test "a node that has just started does not say of a function of the cluster that it is not deployed" do
    [a, _b] = cluster!(2, server: true)
    Peer.deploy!(a, "rust", "hello_world", wait: :all)

    for index <- 1..3 do
      late = start!(Peer.name("late#{index}"), a.cookie, [a.node], server: true)
      assert call(late, "hello_world", "hello", "Ada") == {:ok, "Hello, Ada!"}
      assert {200, _headers, %{"status" => "ok"}} = curl_url(Peer.url(late, "/health"))
      assert {:error, %Error{reason: :not_deployed}} = call(late, "unheard_of", nil)
    end

    # Versions go on where the cluster's are.
    last = start!(Peer.name("last"), a.cookie, [a.node], server: true)
    assert %Function{version: 2} = Peer.deploy!(last, "rust", "hello_world", operation: "hello")
  end

  test "a call waits for what the cluster has although the process that loads it is slow to hear of it" do
    [a, _b] = cluster!(2)
    Peer.deploy!(a, "rust", "hello_world", wait: :all)
    late = start!(Peer.name("late"), a.cookie, [a.node])
    :ok = Peer.call(late, :sys, :suspend, [Cluster.Reconciler])
    call = Peer.async(late, Tidepool, :call, ["hello_world", "hello", "Ada"])
    name = to_string(a.node)

    eventually(
      fn ->
        {:ok, view} = Peer.call(late, Cluster.Server, :view, [])

        match?(%{live: %{^name => %{root: r}}, root: r, functions: [_one]}, view)
      end,
      20_000
    )

    :ok = Peer.call(late, :sys, :resume, [Cluster.Reconciler])
    assert Task.await(call, 60_000) == {:ok, "Hello, Ada!"}
  end

  test "while a node is joining its health is 503, so that no balancer sends it calls, and 200 from then on" do
    cookie = Peer.cookie()
    # Linked with, and silent: a few seconds pass until it is given up.
    silent = Peer.boot!([], name: Peer.name("silent"), cookie: cookie)
    a = start!(Peer.name("a"), cookie, [silent.node], server: true)
    health = fn -> curl_url(Peer.url(a, "/health")) end

    # On a busy machine it may have joined before the answer came: then it starts once more.
    eventually(
      fn ->
        before? = Peer.call(a, Cluster, :joining?, [])
        {status, _headers, body} = health.()

        if before? and Peer.call(a, Cluster, :joining?, []) do
          assert {status, body} == {503, %{"status" => "joining", "node" => to_string(a.node)}}
        else
          :ok = Peer.stop_application(a)
          {:ok, _started} = Peer.start_application(a)
          false
        end
      end,
      30_000
    )

    eventually(fn -> not Peer.call(a, Cluster, :joining?, []) end, 20_000)
    assert {200, _headers, %{"status" => "ok"}} = health.()
  end

  test "a node that finds nobody does not wait for anybody" do
    a = Peer.boot!(@settings ++ [seeds: [:"nobody@127.0.0.1"]], name: Peer.name("a"), cookie: Peer.cookie())

    # Who waits for somebody does so for 3 s. A busy machine may take as long to start it: then it starts once more.
    eventually(
      fn ->
        begun = System.monotonic_time(:millisecond)
        {:ok, _started} = Peer.start_application(a)
        eventually(fn -> not Peer.call(a, Cluster, :joining?, []) end, 20_000)
        took = System.monotonic_time(:millisecond) - begun
        if took >= 3_000, do: :ok = Peer.stop_application(a)
        took < 3_000
      end,
      30_000
    )
  end

  test "a module reaches a node that is linked only with one that got it from elsewhere" do
    cookie = Peer.cookie()
    [a, b, c] = for stem <- ["a", "b", "c"], do: Peer.boot!(@settings, name: Peer.name(stem), cookie: cookie)
    Peer.cut(a, c)
    for {peer, seed} <- [{b, a}, {c, b}], do: Peer.call(peer, Application, :put_env, [:tidepool, :seeds, [seed.node]])
    for peer <- [a, b, c], do: {:ok, _started} = Peer.start_application(peer)
    eventually(fn -> links(b) == Enum.sort([a.node, c.node]) end, 20_000)

    Peer.deploy!(a, "rust", "hello_world")
    eventually(fn -> call(c, "hello_world", "hello", "Ada") == {:ok, "Hello, Ada!"} end, 20_000)
    assert links(c) == [b.node]
    eventually(fn -> length(status(c).nodes) == 3 end, 20_000)
  end

  test "a deploy that waits for all nodes returns when all can serve it, and says which" do
    [a, b, c] = cluster!(3)

    for _round <- 1..5 do
      wasm = TestModule.variant(guest("rust", "hello_world"), System.unique_integer())
      {:ok, function} = Peer.call(a, Tidepool, :deploy, [wasm, [name: "f", operation: "hello", wait: :all]])
      for peer <- [a, b, c], do: assert([^function] = strip(Peer.call(peer, Tidepool, :list, []), function))
    end

    assert {:ok, %{ready: ready, pending: []}} = Peer.call(b, Cluster, :wait, ["f", :all, 20_000])
    assert Enum.sort(ready) == Enum.sort(for peer <- [a, b, c], do: to_string(peer.node))
    assert {:ok, _spread} = Peer.call(b, Cluster, :wait, ["f", :majority, 20_000])
  end

  # How long compiling took is each node's own affair.
  defp strip(functions, function), do: Enum.map(functions, &%{&1 | compile_us: function.compile_us})

  test "a deploy that waits for nodes which can't load the module says so, and stands" do
    cookie = Peer.cookie()
    a = start!(Peer.name("a"), cookie, [], server: true)
    b = start!(Peer.name("b"), cookie, [a.node], server: true, max_module: 1_000)
    eventually(fn -> length(status(a).nodes) == 2 end, 20_000)
    options = [name: "f", wait: :all, wait_timeout: 1_000]
    {:error, error} = Peer.call(a, Tidepool, :deploy, [guest("rust", "hello_world"), options])
    assert %Error{reason: :not_spread, details: %{step: :spread, version: 1}} = error
    assert error.details.ready == [to_string(a.node)]
    assert error.details.pending == [to_string(b.node)]
    assert {:ok, _reply} = call(a, "f", "hello")
    eventually(fn -> match?({:error, %Error{reason: :unavailable}}, call(b, "f", "hello")) end, 20_000)

    path = Peer.url(a, "/deploy?wait=all&wait_timeout=1000")
    {504, _headers, %{"error" => answer}} = curl_deploy_url(path, guest("rust", "hello_world"), name: "g")
    assert %{"reason" => "not_spread", "ready" => ready, "pending" => pending} = answer
    assert {ready, pending} == {error.details.ready, error.details.pending}

    # More than half of two is two.
    assert {:timeout, _spread} = Peer.call(a, Cluster, :wait, ["f", :majority, 10])
  end

  test "who waits for other nodes is told when they have loaded, and superseded waits end at once" do
    [a, b] = cluster!(2)
    # What is on its way to it stays there.
    :ok = Peer.call(b, :sys, :suspend, [Tidepool.Catalog])
    :ok = Peer.call(a, CallTrace, :start, [{Cluster.Server, :await, 4}])
    wasm = guest("rust", "hello_world")
    {:ok, first} = Peer.call(a, Tidepool, :deploy, [wasm, [name: "f", operation: "hello"]])
    [superseded, waits] = for extent <- [:all, :majority], do: Peer.async(a, Cluster, :wait, ["f", extent, 60_000])
    eventually(fn -> map_size(Peer.call(a, :sys, :get_state, [Cluster.Server]).waiters.waiting) == 2 end)
    {:ok, second} = Peer.call(a, Tidepool, :deploy, [wasm, [name: "f", operation: "upper"]])
    assert {first.version, second.version} == {1, 2}
    for task <- [superseded, waits], do: assert({:superseded, %{ready: [], pending: []}} = Task.await(task, 60_000))

    waits = Peer.async(a, Cluster, :wait, ["f", :all, 60_000])
    eventually(fn -> map_size(Peer.call(a, :sys, :get_state, [Cluster.Server]).waiters.waiting) == 1 end)
    :ok = Peer.call(b, :sys, :resume, [Tidepool.Catalog])
    assert {:ok, %{pending: []}} = Task.await(waits, 60_000)
    # Nobody asks again, and whoever dies while it waits leaves nothing.
    assert length(Peer.call(a, CallTrace, :stop, [])) == 3
    :ok = Peer.call(b, :sys, :suspend, [Tidepool.Catalog])
    {:ok, _third} = Peer.call(a, Tidepool, :deploy, [wasm, [name: "f", operation: "hello"]])
    Peer.call(a, :erlang, :spawn, [Cluster, :wait, ["f", :all, 3_600_000]])
    eventually(fn -> map_size(Peer.call(a, :sys, :get_state, [Cluster.Server]).waiters.waiting) == 1 end)

    kill =
      "for {_, %{from: {pid, _}}} <- :sys.get_state(Tidepool.Cluster.Server).waiters.waiting, do: Process.exit(pid, :kill)"

    Peer.call(a, Code, :eval_string, [kill])
    eventually(fn -> Peer.call(a, :sys, :get_state, [Cluster.Server]).waiters.waiting == %{} end)
  end

  test "over HTTP a deploy waits too, and the state of the cluster is there" do
    [a, b] = cluster!(2, server: true)
    path = Peer.url(a, "/deploy?wait=all")
    {201, _headers, answer} = curl_deploy_url(path, guest("rust", "hello_world"), name: "hello_world")
    both = Enum.sort([to_string(a.node), to_string(b.node)])
    assert Enum.sort(answer["ready"]) == both
    assert answer["pending"] == []
    assert {200, _headers, "Hello, Ada!"} = curl_url(Peer.url(b, "/call/hello_world/hello"), ["--data-binary", "Ada"])

    assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} =
             curl_deploy_url(Peer.url(a, "/deploy?wait=some"), guest("rust", "hello_world"), name: "hello_world")

    {200, _headers, state} = curl_url(Peer.url(b, "/cluster"))
    assert [%{"name" => "hello_world", "version" => 1, "pending" => [], "ready" => ready}] = state["functions"]
    assert Enum.sort(ready) == both
    table = Mix.Tasks.Tidepool.Cluster.render(state)
    assert table =~ ~r/hello_world +1 +[0-9a-f]{12} +2\/2/
    for name <- both, do: assert(table =~ name)
  end

  test "the state of the cluster names nodes, links, skews and what is lost" do
    [a, b] = cluster!(2)

    eventually(
      fn -> match?([%{links: [_a]}, %{links: [_b], skew_ms: skew}] when is_integer(skew), status(a).nodes) end,
      20_000
    )

    Peer.halt(b)
    name = to_string(b.node)
    eventually(fn -> match?(%{nodes: [_a], lost: [^name]}, status(a)) end, 20_000)
  end

  test "a version of the protocol that is not known is ignored, and logged once" do
    [a, b] = cluster!(2)
    Peer.call(b, LogWatch, :collect, [])

    server = Peer.call(a, Process, :whereis, [Cluster.Server])

    for bytes <- [<<99, 1, 2>>, <<99, 3>>, <<98>>, <<Wire.version(), 63>>] do
      Peer.call(a, :erlang, :send, [{Cluster.Server, b.node}, {:tidepool_cluster, server, bytes}])
    end

    Peer.deploy!(a, "rust", "hello_world", wait: :all)
    logged = for {:warning, text} <- Peer.call(b, LogWatch, :collected, []), text =~ "protocol", do: text
    assert Enum.count(logged, &(&1 =~ "version 99")) == 1
    assert Enum.count(logged, &(&1 =~ "version 98")) == 1
    assert length(logged) == 3
    assert links(b) == [a.node]
  end

  test "changes by a clock that is far ahead are refused, and logged once, and others go on" do
    [a, b] = cluster!(2)
    Peer.call(b, LogWatch, :collect, [])
    stamp = {System.os_time(:millisecond) + 3_600_000, 0, "elsewhere#1"}
    entry = ClusterMessages.entry("ahead", stamp, limits: Limits.complete(%{}))
    bytes = Wire.encode({:push, [{entry, nil}]})
    server = Peer.call(a, Process, :whereis, [Cluster.Server])
    for _ <- 1..2, do: Peer.call(a, :erlang, :send, [{Cluster.Server, b.node}, {:tidepool_cluster, server, bytes}])

    Peer.deploy!(a, "rust", "hello_world", wait: :all)
    assert [%{name: "hello_world"}] = status(b).functions
    assert [text] = for({:warning, text} <- Peer.call(b, LogWatch, :collected, []), text =~ "ahead", do: text)
    assert text =~ "changes of elsewhere#1 are refused, which #{a.node} passed on: its clock is 3"
  end

  test "a look at the cluster takes no more of its process when many names were removed" do
    [a, b] = cluster!(2)
    Peer.deploy!(a, "rust", "hello_world", wait: :all)

    words = fn ->
      {:ok, view} = Peer.call(b, Cluster.Server, :view, [])
      :erts_debug.flat_size(view)
    end

    before = words.()
    now = System.os_time(:millisecond)

    removed =
      for number <- 1..500 do
        stamp = {now, number, "elsewhere#1"}
        {ClusterMessages.entry("removed_#{number}", stamp, limits: Limits.complete(%{}), removed: true), nil}
      end

    server = Peer.call(a, Process, :whereis, [Cluster.Server])
    message = {:tidepool_cluster, server, Wire.encode({:push, removed})}
    Peer.call(a, :erlang, :send, [{Cluster.Server, b.node}, message])
    eventually(fn -> match?(%{removed: true}, Peer.call(b, Catalog, :entry, ["removed_500"])) end, 20_000)
    # Of each there were 140; what nodes say of themselves differs by some.
    assert words.() < before + 5_000
    assert [%{name: "hello_world", version: 1}] = status(b).functions
  end

  test "links are hidden ones, and links that an application has made are used and stay" do
    cookie = Peer.cookie()
    a = start!(Peer.name("a"), cookie, [], epmd: false)
    b = start!(Peer.name("b"), cookie, [], epmd: false)
    true = Peer.call(a, Node, :connect, [b.node])
    eventually(fn -> links(a) == [b.node] and links(b) == [a.node] end, 20_000)
    assert Peer.call(a, Node, :list, []) == [b.node]

    [c, _d] = cluster!(2)
    assert Peer.call(c, Node, :list, []) == []
  end

  test "without a cluster there is none of its processes" do
    assert Process.whereis(Tidepool.Cluster.Supervisor) == nil
    assert %{distributed: false, lost: [], fetching: []} = Cluster.status()
    assert {:superseded, _nobody} = Cluster.wait("unheard_of", :all, 0)
  end

  test "of a function its version is waited for, and not the one that took its place; of a name the newest" do
    name = deploy!("rust", "hello_world")
    {:ok, function} = Tidepool.Catalog.fetch(name)
    alone = %{ready: [to_string(node())], pending: []}
    assert Cluster.wait(function, :all, 0) == {:ok, alone}
    {:ok, later} = Tidepool.deploy(guest("rust", "counter"), name: name)
    assert {:superseded, _nobody} = Cluster.wait(function, :all, 0)
    for waited_for <- [later, name], do: assert(Cluster.wait(waited_for, :all, 0) == {:ok, alone})
  end
end
