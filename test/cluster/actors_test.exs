defmodule Tidepool.ActorsClusterTest do
  # Actors on real nodes that share a real database: who has them, and what becomes of calls when nodes end, stand still or leave.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Actor, ActorLoad, Collector, HeldLink, Native, Peer, Postgres, TestCluster}
  alias Tidepool.Actor.Activation.DispatchServer
  alias Tidepool.Actor.Ownership.{LeaseHolder, Rendezvous, Shards}

  setup do
    {postgres, url} = Postgres.start!()
    {:ok, postgres: postgres, url: url}
  end

  defp start!(count, url, settings \\ []) do
    peers = TestCluster.start!(count, [actors: {:postgres, url}, builtins: [:actor]] ++ settings)
    Peer.deploy!(hd(peers), "rust", "ledger", name: "ledger", actor: true)
    for peer <- peers, do: eventually(fn -> Peer.call(peer, Tidepool, :list, []) != [] end, 20_000)
    balanced(peers)
    peers
  end

  # All shards are where they ought to be, as all nodes know.
  defp balanced(peers) do
    names = for peer <- peers, do: to_string(peer.node)
    wanted = Enum.frequencies_by(0..4_095, &Rendezvous.owner(&1, names))

    eventually(
      fn ->
        for peer <- peers do
          report = Peer.call(peer, Actor, :placement, [])
          assert %{moving: nil, unowned: 0, nodes: nodes} = report
          there = for %{shards: shards} = node when shards > 0 <- nodes, into: %{}, do: {node.name, shards}
          assert there == wanted
          assert Enum.all?(nodes, &(&1.shards == 0 or &1.lease_ms > 0)), inspect(report)
        end
      end,
      30_000
    )
  end

  defp call(peer, name, operation, payload, options \\ []),
    do: Peer.call(peer, Actor, :call, ["ledger", name, operation, payload, options])

  defp owner(peer, name) do
    {:ok, %{node: node}} = Peer.call(peer, Actor, :info, ["ledger", name])
    node
  end

  # A name whose actor is on that node.
  defp on(peer, class \\ "ledger") do
    1..200
    |> Enum.map(&"actor-#{&1}")
    |> Enum.find(fn name -> match?({:here, _title}, Peer.call(peer, Shards, :place, [class, name])) end)
  end

  test "what an actor does on another node is part of its caller's trace", %{url: url} do
    collector = Collector.start!()
    [one, other] = peers = start!(2, url, otlp: [endpoint: Collector.url(collector), interval: 20])
    assert {:ok, "1"} = call(one, on(other), "add", "1")

    eventually(
      fn -> Enum.all?(peers, &match?(%{waiting: 0}, Peer.call(&1, Tidepool.Trace.Exporter, :counts, []))) end,
      20_000
    )

    spans = Enum.group_by(Collector.take(collector), & &1["name"])
    assert [%{"kind" => 3, "parentSpanId" => ""} = asked] = spans["actor ledger"]
    assert [%{"kind" => 2} = done] = spans["call ledger"]
    assert {done["traceId"], done["parentSpanId"]} == {asked["traceId"], asked["spanId"]}
    assert {asked["node"], done["node"]} == {to_string(one.node), to_string(other.node)}
  end

  test "every node calls every actor, and there is one of each", %{url: url} do
    [one, other] = peers = start!(2, url)
    names = for number <- 1..40, do: "actor-#{number}"

    for name <- names do
      assert {:ok, "1"} = call(one, name, "add", "1")
      assert {:ok, "3"} = call(other, name, "add", "2")
    end

    assert names |> Enum.map(&owner(one, &1)) |> Enum.uniq() |> Enum.sort() == Enum.sort(Enum.map(peers, & &1.node))
    assert Enum.map(names, &owner(one, &1)) == Enum.map(names, &owner(other, &1))

    for peer <- peers do
      assert {:ok, listed, nil} = Peer.call(peer, Actor, :list, ["ledger"])
      assert listed |> Enum.map(& &1.name) |> Enum.sort() == Enum.sort(names)
      assert Enum.all?(listed, & &1.awake)
    end

    # What is asked of one that another node has is done there.
    name = on(one)
    assert :ok = Peer.call(other, Actor, :cast, ["ledger", name, "add", "5"])
    assert {:ok, sum} = call(other, name, "sum", "")
    assert {:ok, ^sum} = call(one, name, "sum", "")
    assert Peer.call(other, Actor, :where, ["ledger", name]) |> node() == one.node
    assert :ok = Peer.call(other, Actor, :stop, ["ledger", name])
    assert Peer.call(one, Actor, :where, ["ledger", name]) == nil
    assert {:ok, %{awake: false, node: node}} = Peer.call(other, Actor, :info, ["ledger", name])
    assert node == one.node
    assert :ok = Peer.call(other, Actor, :delete, ["ledger", name])
    assert {:error, %{reason: :unknown_actor}} = call(one, name, "sum", "", create: false)

    # Whoever waits for an answer of itself, by way of the other node, is told at once.
    away = on(other)

    assert {:error, %{reason: :guest_error, message: message}} =
             call(one, name, "ask", "ledger/#{away}/ask\nledger/#{name}/sum\n")

    assert message =~ "waits for this call"
  end

  test "what was answered is there after its node was killed, and others answer", %{url: url} do
    [one, other] = start!(2, url)
    name = on(other)
    assert {:ok, "7"} = call(one, name, "add", "7", request_id: "seven")
    Peer.halt(other)
    assert {:ok, "7"} = call(one, name, "add", "7", request_id: "seven")
    assert {:ok, "8"} = call(one, name, "add", "1")
    assert owner(one, name) == one.node
  end

  test "a node that stood still for longer than its lease neither answers nor writes", %{url: url} do
    [one, other] = start!(2, url)
    name = on(other)
    assert {:ok, "0"} = call(other, name, "add", "0")
    os_pid = Peer.call(other, System, :pid, [])
    # Calls are under way there as it is stopped.
    load = load(other, [name])

    eventually(fn ->
      {:ok, sum} = call(one, name, "sum", "")
      String.to_integer(sum) > 50
    end)

    {_output, 0} = System.cmd("kill", ["-STOP", os_pid])
    own = for _turn <- 1..20, {:ok, sum} <- [call(one, name, "add", "1")], do: String.to_integer(sum)
    assert own != []
    {_output, 0} = System.cmd("kill", ["-CONT", os_pid])
    # It has its share again.
    balanced([one, other])
    assert [{sums, errors}] = enough(other, load)
    reasons = for error <- errors, do: error.reason
    assert Enum.all?(reasons, &(&1 in [:unknown_outcome, :no_store])), inspect(Enum.frequencies(reasons))
    # No two that added got the same sum, and what was answered is there.
    assert Enum.uniq(own ++ sums) == own ++ sums
    assert {:ok, last} = call(other, name, "sum", "")
    assert String.to_integer(last) >= Enum.max(own ++ sums)

    assert String.to_integer(last) - length(own ++ sums) <=
             Enum.count(reasons, &(&1 == :unknown_outcome)) + 20 - length(own)
  end

  test "what a node has in memory of an actor that sleeps is not used once another has had the actor", %{url: url} do
    [one, other] = peers = start!(2, url)
    Peer.deploy!(one, "rust", "ledger", name: "ledger", actor: [idle: 20])
    frozen? = fn name -> match?({:ok, %{tier: :frozen}}, Peer.call(other, Actor, :info, ["ledger", name])) end
    name = on(other)
    assert {:ok, "1"} = call(other, name, "add", "1")
    eventually(fn -> frozen?.(name) end, 20_000)
    os_pid = Peer.call(other, System, :pid, [])
    {_output, 0} = System.cmd("kill", ["-STOP", os_pid])
    # Until the other's lease is over, what is asked of it has no answer.
    eventually(fn -> assert {:ok, "1"} = call(one, name, "sum", "") end, 30_000)
    assert {:ok, "3"} = call(one, name, "add", "2")
    {_output, 0} = System.cmd("kill", ["-CONT", os_pid])
    balanced(peers)
    assert {:ok, "3"} = call(other, name, "sum", "")
    assert owner(one, name) == other.node
  end

  test "an answer waits until the database has said that it has what was done", %{url: url, postgres: postgres} do
    {link, folder} = HeldLink.start!(Postgres.folder(postgres))
    [one] = start!(1, String.replace(url, Postgres.folder(postgres), folder))
    assert {:ok, "1"} = call(one, "alice", "add", "1")
    :ok = HeldLink.hold(link, :from)
    added = Peer.async(one, Actor, :call, ["ledger", "alice", "add", "1"])
    eventually(fn -> {:ok, %{calls: 2}} = Peer.call(one, Actor, :info, ["ledger", "alice"]) end)
    assert Task.yield(added, 200) == nil
    HeldLink.release(link)
    assert {:ok, "2"} = Task.await(added, 60_000)
  end

  test "no answer leaves a node whose lease has ended, and nothing is begun there", %{url: url} do
    [one] = start!(1, url)
    :ok = Peer.call(one, Tidepool.Host, :register, [{"tidepool", "obey", :_}, {ActorLoad, :obey}, [run: :inline]])
    for name <- ["alice", "bob", "carol"], do: assert({:ok, "1"} = call(one, name, "add", "1"))

    # Neither is the lease renewed, nor noticed that it ends. One actor has a call by then, and one that it has not begun.
    :ok = Peer.call(one, :sys, :suspend, [LeaseHolder.process()])
    begun = Peer.async(one, Actor, :call, ["ledger", "alice", "obey", "sum\n"])
    bob = Peer.call(one, Actor, :where, ["ledger", "bob"])
    :ok = Peer.call(one, :sys, :suspend, [bob])
    waits = Peer.async(one, Actor, :call, ["ledger", "bob", "add", "1"])
    assert {:error, %{reason: :unknown_outcome}} = Task.await(begun, 60_000)
    :ok = Peer.call(one, :sys, :resume, [bob])
    assert {:error, %{reason: :no_store}} = Task.await(waits, 60_000)
    assert {:error, %{reason: :no_store}} = call(one, "carol", "add", "1")
    assert {:error, %{reason: :no_store}} = Peer.call(one, Actor, :cast, ["ledger", "carol", "add", "1"])
    assert {:error, %{reason: :no_store}} = Peer.call(one, Actor, :start, ["ledger", "dave"])
    :ok = Peer.call(one, :sys, :resume, [LeaseHolder.process()])
    for name <- ["alice", "bob", "carol"], do: eventually(fn -> {:ok, "1"} = call(one, name, "sum", "") end, 20_000)
    assert {:error, %{reason: :unknown_actor}} = Peer.call(one, Actor, :info, ["ledger", "dave"])
  end

  test "a node that leaves hands its actors on, and no call fails", %{url: url} do
    [one, other] = start!(2, url)
    names = for number <- 1..32, do: "actor-#{number}"
    for name <- names, do: assert({:ok, "0"} = call(one, name, "add", "0"))
    load = load(one, names)
    :ok = Peer.stop_application(other)
    assert_all_added(enough(one, load))
    assert Enum.all?(names, &(owner(one, &1) == one.node))
  end

  test "a node that comes gets its share, and no call fails meanwhile", %{url: url} do
    [one] = start!(1, url)
    names = for number <- 1..32, do: "actor-#{number}"
    load = load(one, names)
    late = Peer.name("late")
    other = TestCluster.start_node!(late, one.cookie, [one.node], actors: {:postgres, url})
    balanced([one, other])
    assert_all_added(enough(one, load))
    assert names |> Enum.map(&owner(one, &1)) |> Enum.uniq() |> Enum.sort() == Enum.sort([one.node, late])
  end

  test "an actor that went over to a version stays on it on a node that has not heard of that", %{url: url} do
    [one, other] = start!(2, url)
    rules = [:migrate, :kv, :reset]
    for rule <- rules, do: class!(one, rule, 1, versions: rule)
    for rule <- rules, do: eventually(fn -> version(other, rule) == 1 end, 20_000)
    names = for rule <- rules, into: %{}, do: {rule, on(one, to_string(rule))}
    for {rule, name} <- names, do: assert({:ok, "1"} = add(one, rule, name, "1"))
    # From here on what is deployed on one of them is not known to the other.
    Peer.cut(one, other)
    for rule <- rules, do: class!(one, rule, 2, versions: rule)
    sums = for {rule, name} <- names, {:ok, sum} = add(one, rule, name, "5"), into: %{}, do: {rule, sum}
    assert sums == %{migrate: "6", kv: "5", reset: "5"}
    Peer.halt(one)

    for {rule, name} <- names, sum = sums[rule] do
      assert {:ok, ^sum} = add(other, rule, name, "0")
      assert version(other, rule) == 1
      assert {:ok, %{version: 2}} = Peer.call(other, Actor, :info, [to_string(rule), name])
    end
  end

  defp class!(peer, class, version, actor \\ true),
    do: {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [ledger(version), [name: to_string(class), actor: actor]])

  # With a custom section that makes each version another module.
  defp ledger(version), do: guest("rust", "ledger") <> <<0, 3, 2, "v", version + ?0>>

  defp version(peer, class) do
    with {:ok, function} <- Peer.call(peer, Tidepool.Catalog, :fetch, [to_string(class)]), do: function.version
  end

  defp add(peer, class, name, number), do: Peer.call(peer, Actor, :call, [to_string(class), name, "add", number])

  test "a node that comes owns no shard before it can call what others have deployed", %{url: url} do
    [one] = start!(1, url)
    classes = for number <- 1..9, do: "class-#{number}"
    for {class, number} <- Enum.with_index(classes, 1), do: class!(one, class, number)
    settings = [cluster: true, seeds: [one.node], actors: {:postgres, url}]
    late = Peer.boot!(settings, name: Peer.name("late"), cookie: one.cookie)
    started = Task.async(fn -> Peer.start_application(late) end)

    refute {false, true} in begun(late, classes, [])
    assert {:ok, _started} = Task.await(started, 60_000)
  end

  # What the node was seen to have, until it has both: classes that it can call, and a lease.
  defp begun(peer, classes, seen) do
    case Peer.call(peer, ActorLoad, :begun, [classes]) do
      {true, true} -> seen
      either -> begun(peer, classes, Enum.uniq([either | seen]))
    end
  end

  test "an actor is called by any node as soon as its class is deployed on one", %{url: url} do
    [one, other] = start!(2, url)
    # The node that has the actor does not hear of its class for a while.
    :ok = Peer.call(other, :sys, :suspend, [Tidepool.Cluster.Server])
    called = Peer.async(one, ActorLoad, :deploy_and_call, [ledger(1), "late", on(other, "late")])
    door = DispatchServer.protocol().server
    eventually(fn -> map_size(elem(Peer.call(other, :sys, :get_state, [door]), 3).doing) == 1 end, 20_000)
    :ok = Peer.call(other, :sys, :resume, [Tidepool.Cluster.Server])
    assert {:ok, "1"} = Task.await(called, 60_000)
    assert {:error, %{reason: :not_deployed}} = Peer.call(one, Actor, :call, ["none", on(other, "none"), "add", "1"])
  end

  defp load(peer, names), do: ActorLoad.add(peer, "ledger", names)

  defp enough(peer, load) do
    ActorLoad.enough(peer)
    Task.await_many(load, 60_000)
  end

  defp assert_all_added(loads) do
    for {sums, errors} <- loads do
      assert errors == []
      assert sums == Enum.to_list(1..length(sums)//1)
    end
  end

  test "while the store is away nobody answers for longer than a lease, and all do when it is back",
       %{url: url, postgres: postgres} do
    [one, other] = start!(2, url)
    assert {:ok, "1"} = call(one, "alice", "add", "1")
    :ok = Postgres.tell(postgres, :stop)
    eventually(fn -> match?({:error, %{reason: :no_store}}, call(one, "alice", "sum", "", timeout: 500)) end, 20_000)
    eventually(fn -> match?({:error, %{reason: :no_store}}, call(other, "alice", "sum", "", timeout: 500)) end, 20_000)
    :ok = Postgres.tell(postgres, :start)
    eventually(fn -> match?({:ok, "1"}, call(one, "alice", "sum", "")) end, 30_000)
    assert {:ok, "2"} = call(other, "alice", "add", "1")
  end

  test "of a store that was restored from a backup what it has is answered, and not what nodes remember",
       %{url: url, postgres: postgres} do
    [one, other] = peers = start!(2, url)
    Peer.deploy!(one, "rust", "ledger", name: "sleeper", actor: [idle: 20])
    eventually(fn -> Enum.any?(Peer.call(other, Tidepool, :list, []), &(&1.name == "sleeper")) end, 20_000)
    actors = for class <- ["ledger", "sleeper"], peer <- peers, do: {peer, class, on(peer, class)}
    add = fn {peer, class, name}, number -> Peer.call(peer, Actor, :call, [class, name, "add", number]) end
    sum = fn {peer, class, name} -> Peer.call(peer, Actor, :call, [class, name, "sum"]) end
    for actor <- actors, do: assert({:ok, "1"} = add.(actor, "1"))
    :ok = Postgres.tell(postgres, :save)
    leases = for peer <- peers, do: lease(peer)
    for actor <- actors, do: eventually(fn -> match?({:ok, _sum}, add.(actor, "5")) end, 30_000)
    # It is by their leases that nodes notice it.
    for {peer, before} <- Enum.zip(peers, leases), do: eventually(fn -> lease(peer) != before end, 30_000)
    # One that is asked again has nothing to write.
    for actor <- actors, _turn <- 1..3, do: assert({:ok, "6"} = sum.(actor))
    for {peer, "sleeper", name} <- actors, do: eventually(fn -> tier(peer, "sleeper", name) == :frozen end, 20_000)
    :ok = Postgres.tell(postgres, :return)

    for actor <- actors, do: eventually(fn -> match?({:ok, "1"}, sum.(actor)) end, 30_000)
    for actor <- actors, do: assert({:ok, "3"} = add.(actor, "2"))
  end

  # When a node's lease ends, as the store was asked last.
  defp lease(peer), do: Peer.call(peer, :sys, :get_state, [LeaseHolder.process()]).nodes[to_string(peer.node)]

  defp tier(peer, class, name) do
    with {:ok, %{tier: tier}} <- Peer.call(peer, Actor, :info, [class, name]), do: tier
  end

  test "what is answered after a restore is not lost to what a node that was away remembers by the same epoch",
       %{url: url, postgres: postgres} do
    [one, other] = start!(2, url)
    Peer.deploy!(one, "rust", "ledger", name: "sleeper", actor: [idle: 20])
    late = Peer.name("late")
    # It is first on one of two nodes, and of three on the late one.
    name = first(one, [one, other], late)
    call = fn peer, operation, payload -> Peer.call(peer, Actor, :call, ["sleeper", name, operation, payload]) end
    assert {:ok, "1"} = call.(one, "add", "1")
    :ok = Postgres.tell(postgres, :save)
    settings = [actors: {:postgres, url}, builtins: [:actor]]
    third = TestCluster.start_node!(late, one.cookie, [one.node, other.node], settings)
    balanced([one, other, third])
    assert {:ok, "101"} = call.(third, "add", "100")
    eventually(fn -> tier(third, "sleeper", name) == :frozen end, 20_000)

    :ok = Peer.call(third, :sys, :suspend, [LeaseHolder.process()])
    :ok = Postgres.tell(postgres, :return)
    # Nobody asks the late one.
    eventually(fn -> match?({:here, _title}, Peer.call(one, Shards, :place, ["sleeper", name])) end, 30_000)
    eventually(fn -> match?({:ok, "6"}, call.(one, "add", "5")) end, 30_000)
    :ok = Peer.call(third, :sys, :resume, [LeaseHolder.process()])
    balanced([one, other, third])
    assert {:ok, "7"} = call.(third, "add", "1")
  end

  defp first(peer, peers, late) do
    names = for peer <- peers, do: to_string(peer.node)

    Enum.find(for(number <- 1..500, do: "actor-#{number}"), fn name ->
      shard = Native.record_shard("sleeper", name)

      Rendezvous.owner(shard, names) == to_string(peer.node) and
        Rendezvous.owner(shard, [to_string(late) | names]) == to_string(late)
    end)
  end
end
