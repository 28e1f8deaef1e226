defmodule Tidepool.CopiesClusterTest do
  # Actors with the consistency `:available` on real nodes that share no store: who has them, what is left of them when nodes are
  # lost, and what becomes of both when halves that both went on meet again.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.CopiesCluster

  alias Tidepool.Actor.Replication.PeerHealth
  alias Tidepool.{Actor, ActorLoad, Catalog, Config, LogWatch, Native, Peer, TestCluster}
  alias Tidepool.Actor.{Alarm, Replication}
  alias Tidepool.Actor.Journal.Archive
  alias Tidepool.Actor.Ownership.{Rendezvous, Shards}

  @available [consistency: :available]

  # But for links that were refused while nodes were parted.
  defp assert_calm(peers) do
    for peer <- peers, {level, text} <- Peer.call(peer, LogWatch, :collected, []) do
      refute level in [:error, :critical] and not (text =~ "Connection attempt"), text
    end
  end

  test "calls of an actor from each node reach one, and lists and what is known are of all" do
    peers = start!(3)
    names = for number <- 1..30, do: "actor-#{number}"

    for name <- names do
      assert ["1", "2", "3"] == for(peer <- peers, {:ok, sum} = call(peer, name, "add", "1"), do: sum)
      assert [node] = for(peer <- peers, {:ok, %{node: node}} = info(peer, name), uniq: true, do: node)
      assert node in Enum.map(peers, & &1.node)
    end

    for peer <- peers do
      # Each says who has them.
      assert %{actors: %{nodes: nodes, unowned: 0}} = Peer.call(peer, Tidepool.Cluster, :status, [])
      assert for(node <- nodes, do: node.name) == Enum.sort(for peer <- peers, do: to_string(peer.node))
      assert Enum.all?(nodes, &(&1.synced and &1.shards > 0))
      assert Enum.sum(for node <- nodes, do: node.shards) == 4_096
      assert {:ok, listed, nil} = Peer.call(peer, Actor, :list, ["ledger"])
      assert listed |> Enum.map(& &1.name) |> Enum.sort() == Enum.sort(names)
      assert Enum.all?(listed, & &1.awake)
      assert paged(peer, nil, 7) |> Enum.sort() == Enum.sort(names)
    end

    assert_calm(peers)
  end

  defp paged(peer, from, limit) do
    {:ok, listed, next} = Peer.call(peer, Actor, :list, ["ledger", from, limit])
    names = for %{name: name} <- listed, do: name
    if next, do: names ++ paged(peer, next, limit), else: names
  end

  test "what was answered is there after its node was killed, on the node that had the copy" do
    [one, two, three] = peers = start!(3)
    name = on(peers, [three, two])
    assert {:ok, "7"} = call(one, name, "add", "7", request_id: "seven")
    for number <- 8..40, sum = "#{number}", do: assert({:ok, ^sum} = call(one, name, "add", "1"))
    Peer.halt(three)
    eventually(fn -> assert {:ok, "40"} = call(one, name, "sum", "") end, 20_000)
    assert {:ok, "41"} = call(two, name, "add", "1")
    # As the last of its requests with an id.
    assert {:ok, "7"} = call(one, name, "add", "7", request_id: "seven")
    assert {:ok, %{node: node}} = info(one, name)
    assert node == two.node
    assert %{actors: %{nodes: [_one, _two], unowned: 0}} = Peer.call(one, Tidepool.Cluster, :status, [])
    assert_calm([one, two])
  end

  test "what was answered is there after its node was killed, though the next one's copy was behind another" do
    [one, two, three] = peers = start!(3, consistency: :available, copies: 2)
    name = on(peers, [one, two, three])
    assert {:ok, "1"} = call(one, name, "add", "1")
    quiet(peers)
    before = Peer.call(two, ActorLoad, :whole, ["ledger", name])
    for number <- 2..21, sum = "#{number}", do: assert({:ok, ^sum} = call(one, name, "add", "1", request_id: sum))
    # As if it had missed these.
    :ok = Peer.call(two, ActorLoad, :put_back, ["ledger", name, before])
    Peer.halt(one)
    eventually(fn -> assert {:ok, "21"} = call(two, name, "add", "1", request_id: "21") end, 20_000)

    for peer <- [two, three] do
      eventually(fn -> assert {:ok, "21"} = call(peer, name, "sum", "") end, 20_000)
      assert {:ok, [%{name: ^name}], nil} = Peer.call(peer, Actor, :list, ["ledger"])
    end

    assert_calm([two, three])
  end

  # The later state's node goes on being called while they meet.
  for {whose, winner} <- [owner: 1, copy: 0] do
    test "what the other half has written is kept when halves meet, while the actor goes on on its #{whose}'s" do
      [one, two] = peers = start!(2)
      {winner, loser} = {Enum.at(peers, unquote(winner)), Enum.at(peers, 1 - unquote(winner))}
      name = on(peers, [two, one])
      assert {:ok, "1"} = call(one, name, "add", "1")
      TestCluster.part([one], [two])
      for peer <- peers, do: alone([peer])
      assert {:ok, "1001"} = call(loser, name, "add", "1000")
      assert {:ok, "2"} = call(winner, name, "add", "1")
      [load] = ActorLoad.add(winner, "ledger", [name])
      TestCluster.heal([one], [two])
      met(peers)
      conflict = name <> "@conflict"
      eventually(fn -> assert {:ok, _sum} = call(winner, conflict, "sum", "", create: false) end, 60_000)
      {:ok, sum} = call(winner, name, "sum", "")

      eventually(
        fn -> assert String.to_integer(elem(call(winner, name, "sum", ""), 1)) > String.to_integer(sum) + 100 end,
        60_000
      )

      ActorLoad.enough(winner)
      assert {[_one | _more] = sums, []} = Task.await(load, 60_000)
      assert sums == Enum.to_list(3..List.last(sums))

      for peer <- peers do
        eventually(fn -> assert {:ok, "1001"} = call(peer, conflict, "sum", "", create: false) end, 20_000)
        assert {:ok, sum} = call(peer, name, "sum", "")
        assert String.to_integer(sum) == List.last(sums)
      end
    end
  end

  test "halves that were parted and both wrote come to the later state, and keep the other as a conflict" do
    [one, two, three] = peers = start!(3)
    # One half has its owner, and the other its copy.
    name = on(peers, [two, one])
    calm = on(peers, [three, one])
    assert {:ok, "1"} = call(one, name, "add", "1")
    assert {:ok, "5"} = call(one, calm, "add", "5")

    TestCluster.part([one], [two, three])
    alone([one])
    alone([two, three])
    assert {:ok, "11"} = call(two, name, "add", "10")
    assert {:ok, "12"} = call(three, name, "add", "1")
    # What only one half has written is no conflict.
    assert {:ok, "6"} = call(three, calm, "add", "1")
    eventually(fn -> assert {:ok, "1"} = call(one, name, "sum", "") end, 20_000)
    assert {:ok, "101"} = call(one, name, "add", "100")

    TestCluster.heal([one], [two, three])
    met(peers)
    conflict = name <> "@conflict"
    names = for peer <- peers, do: to_string(peer.node)

    # Whoever is to have it, or a copy.
    for kept <- [name, conflict],
        node <- "ledger" |> Native.record_shard(kept) |> Rendezvous.order(names) |> Enum.take(2),
        peer = Enum.find(peers, &(to_string(&1.node) == node)) do
      eventually(fn -> kept in kept(peer) end, 20_000)
    end

    for peer <- peers do
      eventually(fn -> assert {:ok, "101"} = call(peer, name, "sum", "") end, 20_000)
      eventually(fn -> assert {:ok, "12"} = call(peer, conflict, "sum", "", create: false) end, 20_000)
      assert {:ok, "6"} = call(peer, calm, "sum", "")
      assert {:error, %{reason: :unknown_actor}} = call(peer, calm <> "@conflict", "sum", "", create: false)
      assert {:ok, listed, nil} = Peer.call(peer, Actor, :list, ["ledger"])
      assert listed |> Enum.map(& &1.name) |> Enum.sort() == Enum.sort([name, conflict, calm])
    end

    assert ["102", "103", "104"] == for(peer <- peers, {:ok, sum} = call(peer, name, "add", "1"), do: sum)
    # Merged by hand.
    assert :ok = Peer.call(one, Actor, :delete, ["ledger", conflict])
    for peer <- peers, do: assert({:error, %{reason: :unknown_actor}} = info(peer, conflict))
    assert_calm(peers)
  end

  test "a node that comes gets its share, and one that leaves hands it on, and no call fails meanwhile" do
    [one, two] = start!(2)
    names = for number <- 1..24, do: "actor-#{number}"
    load = load(one, names)
    late = Peer.name("late")
    three = TestCluster.start_node!(late, one.cookie, [one.node, two.node], builtins: [:actor])
    met([one, two, three])
    assert late in for(name <- names, {:ok, %{node: node}} = info(two, name), do: node)
    :ok = Peer.stop_application(two)
    met([one, three])
    assert_all_added(enough(one, load))
    assert_calm([one])
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

  test "a delete while a node is away is not undone when it comes back, and the name can be used again" do
    [one, two, three] = peers = start!(3)
    name = on(peers, [three, two])
    again = on(peers, [two, three])
    for name <- [name, again], do: assert({:ok, "9"} = call(one, name, "add", "9"))
    :ok = Peer.halt(three)
    alone([one, two])
    for name <- [name, again], do: assert(:ok = Peer.call(one, Actor, :delete, ["ledger", name]))
    assert {:ok, "2"} = call(two, again, "add", "2")

    three = TestCluster.restart!(three, [one.node, two.node], builtins: [:actor])
    peers = [one, two, three]
    met(peers)

    for peer <- peers do
      assert {:error, %{reason: :unknown_actor}} = call(peer, name, "sum", "", create: false)
      assert {:ok, "2"} = call(peer, again, "sum", "", create: false)
      assert {:ok, [%{name: ^again}], nil} = Peer.call(peer, Actor, :list, ["ledger"])
    end
  end

  test "a node that stands still fails no call, and gets what it missed" do
    [one, two, three] = peers = start!(3)
    name = on(peers, [two, three])
    assert {:ok, "1"} = call(one, name, "add", "1")
    os_pid = Peer.call(three, System, :pid, [])
    {_output, 0} = System.cmd("kill", ["-STOP", os_pid])
    for number <- 2..50, sum = "#{number}", do: assert({:ok, ^sum} = call(one, name, "add", "1"))
    {_output, 0} = System.cmd("kill", ["-CONT", os_pid])
    wanted = Peer.call(two, ActorLoad, :vector, ["ledger", name])
    eventually(fn -> assert Peer.call(three, ActorLoad, :vector, ["ledger", name]) == wanted end, 30_000)
    Peer.halt(two)
    eventually(fn -> assert {:ok, "50"} = call(one, name, "sum", "") end, 20_000)
    assert {:ok, %{node: node}} = info(one, name)
    assert node == three.node
  end

  test "a copy that can't be kept fails no call, and the log of its node says why" do
    [one, two] = peers = start!(2)
    name = on(peers, [one, two])
    assert {:ok, "1"} = call(one, name, "add", "1")
    File.rm!(records_file(two))
    for number <- 2..5, sum = "#{number}", do: assert({:ok, ^sum} = call(one, name, "add", "1"))

    warnings = fn ->
      for {:warning, text} <- Peer.call(two, LogWatch, :collected, []), text =~ "can't be kept", do: text
    end

    eventually(fn -> match?([_once], warnings.()) end, 20_000)
  end

  defp records_file(peer) do
    data = Peer.call(peer, Config, :get, [:data])
    data |> Catalog.Store.folder(to_string(peer.node)) |> Actor.Journal.Archive.records()
  end

  test "a node that has lost its disk has its actors again, from those that had copies" do
    [one, two, three] = start!(3)
    names = for number <- 1..20, do: "actor-#{number}"
    for name <- names, do: assert({:ok, "4"} = call(one, name, "add", "4"))
    had = Enum.sort(kept(three))
    Peer.halt(three)
    alone([one, two])
    three = TestCluster.start_node!(three.node, one.cookie, [one.node, two.node], builtins: [:actor])
    met([one, two, three])
    eventually(fn -> assert Enum.sort(kept(three)) == had end, 20_000)
    for peer <- [one, two, three], name <- names, do: assert({:ok, "4"} = call(peer, name, "sum", "", create: false))
    assert_calm([one, two])
  end

  test "what a node writes that has lost its disk is no successor of what it wrote before" do
    [one, two] = peers = start!(2)
    name = on(peers, [two])
    assert {:ok, "5"} = call(one, name, "add", "5")
    Peer.halt(two)
    alone([one])
    two = Peer.boot!([cluster: true, seeds: [one.node], builtins: [:actor]], name: two.node, cookie: one.cookie)
    Peer.cut(one, two)
    assert {:ok, _started} = Peer.start_application(two)
    Peer.deploy!(two, "rust", "ledger", name: "ledger", actor: @available)
    assert {:ok, "7"} = call(two, name, "add", "7")
    Peer.heal(one, two)
    met([one, two])

    for peer <- [one, two] do
      eventually(fn -> assert {:ok, "7"} = call(peer, name, "sum", "") end, 20_000)
      eventually(fn -> assert {:ok, "5"} = call(peer, name <> "@conflict", "sum", "", create: false) end, 20_000)
    end
  end

  test "a copy that has missed a write is an older state, however often the writer's node has started before" do
    [one, two] = peers = start!(2)
    name = on(peers, [one, two])

    for number <- 1..20 do
      started!(one)
      sum = "#{number}"
      assert {:ok, ^sum} = call(one, name, "add", "1")
    end

    same = fn -> vector(one, name) == vector(two, name) end
    eventually(same, 20_000)
    Peer.halt(two)
    alone([one])
    started!(one)
    assert {:ok, "21"} = call(one, name, "add", "1")
    two = TestCluster.restart!(two, [one.node], builtins: [:actor])
    met([one, two])
    eventually(fn -> vector(one, name) == vector(two, name) end, 20_000)

    for peer <- [one, two] do
      assert {:ok, "21"} = call(peer, name, "sum", "")
      assert {:ok, [%{name: ^name}], nil} = Peer.call(peer, Actor, :list, ["ledger"])
    end
  end

  # What a start of its VM changes for vectors.
  defp started!(peer) do
    writer = Peer.call(peer, Replication.Clock, :writer, [])

    eventually(fn ->
      Peer.call(peer, Replication.Clock, :begin, []) && Peer.call(peer, Replication.Clock, :writer, []) != writer
    end)
  end

  defp vector(peer, name), do: Peer.call(peer, ActorLoad, :vector, ["ledger", name])

  test "a tombstone is kept for a week from the delete, whichever node it comes from" do
    [one] = start!(1)
    {now, week} = {System.os_time(:microsecond), 7 * 86_400_000_000}
    vector = fn ago -> %{"a@host#1" => now - ago} end
    {old, young} = {vector.(week + 3_600_000_000), vector.(week - 3_600_000_000)}

    put_tombstone = fn name, vector ->
      assert :ok = Peer.call(one, ActorLoad, :put_tombstone, ["ledger", name, vector])
    end

    hear = fn name, vector ->
      assert :ok = Peer.call(one, Replication.Merge, :merge, ["ledger", name, vector, :gone])
    end

    put_tombstone.("old", old)
    put_tombstone.("young", young)
    # By a clock that is ahead.
    put_tombstone.("ahead", vector.(-week))
    hear.("heard late", old)
    hear.("heard", young)

    assert one |> Peer.call(ActorLoad, :tombstones, []) |> Enum.sort() ==
             for(name <- ~w(ahead heard young), do: {"ledger", name})
  end

  test "a namespace makes no more actors when those that it has and those deleted within a week are as many as it may" do
    [one] = start!(1, @available, namespaces: "shop/actors=3")
    for class <- ["shop/room", "blog/room"], do: Peer.deploy!(one, "rust", "ledger", name: class, actor: @available)
    add = fn class, name -> Peer.call(one, Actor, :call, [class, name, "add", "1"]) end
    vector = %{"a@host#1" => System.os_time(:microsecond)}

    for class <- ["shop/room", "blog/room"],
        do: :ok = Peer.call(one, ActorLoad, :put_tombstones, [class, 9_998, vector])

    for name <- ["alice", "bob"], do: assert({:ok, "1"} = add.("shop/room", name))
    assert {:error, %{reason: {:quota, :actors}} = error} = add.("shop/room", "carol")
    assert %{message: message, details: %{namespace: "shop", allowed: 10_000}} = error
    assert message =~ "deleted within a week"
    # Those that there are go on, and one that is deleted makes no room: it has left a mark.
    :ok = Peer.call(one, Actor, :delete, ["shop/room", "bob"])
    assert {:error, %{reason: {:quota, :actors}}} = add.("shop/room", "carol")
    assert {:ok, "2"} = add.("shop/room", "alice")
    for name <- ["a", "b", "c", "d"], do: assert({:ok, "1"} = add.("blog/room", name))

    # A mark that is older does.
    old = %{"a@host#1" => System.os_time(:microsecond) - 8 * 86_400_000_000}
    :ok = Peer.call(one, ActorLoad, :put_tombstone, ["shop/room", "1", old])
    _purged = Peer.call(one, ActorLoad, :tombstones, [])
    assert {:ok, "1"} = add.("shop/room", "carol")
    assert {:error, %{reason: {:quota, :actors}}} = add.("shop/room", "dave")
  end

  test "no call makes an actor that is called as what a conflict leaves" do
    [one] = start!(1)
    assert {:error, %{reason: :invalid_option, message: message}} = call(one, "bob@conflict", "add", "7")
    assert message =~ "conflict"
    assert {:ok, [], nil} = Peer.call(one, Actor, :list, ["ledger"])
    assert {:ok, "7"} = call(one, "bob@conflict.example", "add", "7")
  end

  test "an alarm whose node was killed is called by the one that had the copy" do
    [one, two, three] = peers = start!(3)
    name = on(peers, [three, two])
    assert {:ok, _time} = call(one, name, "host", "alarm set 9\n+4000\nadd")
    Peer.halt(three)
    eventually(fn -> assert {:ok, %{alarm: nil}} = info(one, name) end, 30_000)
    assert {:ok, sum} = call(one, name, "sum", "")
    assert String.to_integer(sum) > 0
  end

  test "an alarm that a copy was in vain about to call is called at once when its node is killed" do
    [one, two] = peers = start!(2)
    name = on(peers, [two, one])
    # Whoever has it is slow to call it.
    :ok = Peer.call(two, :sys, :suspend, [Alarm.process()])
    assert {:ok, _time} = call(one, name, "host", "alarm set 8\n+100\nadd")

    eventually(
      fn ->
        Peer.call(one, Kernel, :send, [Alarm.process(), :look])
        assert %{{"ledger", ^name} => _times} = held(one)
      end,
      20_000
    )

    # However often that was so before.
    hold(one, name, 0, 1_800_000)
    Peer.call(one, Kernel, :send, [Alarm.process(), :look])
    eventually(fn -> assert %{{"ledger", ^name} => {_until, 2_000}} = held(one) end, 20_000)
    hold(one, name, 3_600_000, 3_600_000)
    Peer.halt(two)
    eventually(fn -> assert {:ok, %{alarm: nil}} = info(one, name) end, 30_000)
    # Its operation has added the time at which it was called.
    assert {:ok, sum} = call(one, name, "sum", "")
    assert String.to_integer(sum) > 0
  end

  test "a node that has no room is not sent all of an actor again and again, and has it once there is some" do
    [one, two] = peers = start!(2)
    name = on(peers, [one])
    node = to_string(two.node)
    assert {:ok, "1"} = call(one, name, "add", "1")
    quiet(peers)
    {vector, _all} = before = Peer.call(two, ActorLoad, :whole, ["ledger", name])
    assert {:ok, "2"} = call(one, name, "add", "1")
    quiet(peers)
    # It lacks that write, for which there was no room.
    :ok = Peer.call(two, ActorLoad, :put_back, ["ledger", name, before])
    :ok = Peer.call(one, PeerHealth, :full, [node])
    assert {:ok, "3"} = call(one, name, "add", "1")
    assert Peer.call(two, ActorLoad, :vector, ["ledger", name]) == vector
    true = Peer.call(one, :ets, :delete, [PeerHealth, {:full, node}])

    has? = fn ->
      Peer.call(two, ActorLoad, :vector, ["ledger", name]) == Peer.call(one, ActorLoad, :vector, ["ledger", name])
    end

    eventually(has?, 60_000)

    # Its file of records is gone, so that it can keep nothing.
    folder = Peer.call(two, Catalog.Store, :folder, [two.data])
    File.rename!(Archive.records(folder), Archive.records(folder) <> ".away")
    assert {:ok, "4"} = call(one, name, "add", "1")
    eventually(fn -> Peer.call(one, PeerHealth, :full?, [node]) end, 20_000)
  end

  defp held(peer), do: Peer.call(peer, :sys, :get_state, [Alarm.process()]).held
  defp hold(peer, name, in_ms, ms), do: Peer.call(peer, ActorLoad, :hold, [{"ledger", name}, in_ms, ms])

  test "actors that were imported on each of two nodes are one, and leave no conflict" do
    single = Peer.start!(builtins: [:actor])
    Peer.deploy!(single, "rust", "ledger", name: "ledger", actor: true)
    names = for number <- 1..20, do: "actor-#{number}"
    for name <- names, do: assert({:ok, "5"} = call(single, name, "add", "5"))
    file = Path.join(tmp_folder!(), "actors.tidepool")
    :ok = Peer.stop_application(single)
    assert {:ok, %{actors: 20}} = Archive.export({:folder, Peer.folder(single)}, file, nil, false)

    [one, _two] = peers = start!(2)
    for peer <- peers, do: :ok = Peer.stop_application(peer)
    for peer <- peers, do: assert({:ok, %{actors: 20}} = Archive.import({:folder, Peer.folder(peer)}, file, false))
    for peer <- peers, do: {:ok, _started} = Peer.start_application(peer)
    met(peers)
    for name <- names, do: assert({:ok, "6"} = call(one, name, "add", "1"))

    for peer <- peers do
      assert {:ok, listed, nil} = Peer.call(peer, Actor, :list, ["ledger"])
      assert listed |> Enum.map(& &1.name) |> Enum.sort() == Enum.sort(names)
    end
  end

  test "actors that were imported have all that they had, when the node is killed on which they were called first" do
    single = Peer.start!(builtins: [:actor])
    Peer.deploy!(single, "rust", "ledger", name: "ledger", actor: true)
    names = for number <- 1..300, do: "actor-#{number}"

    for name <- names do
      assert {:ok, "5"} = call(single, name, "add", "5", request_id: "five")
      assert {:ok, _reply} = call(single, name, "host", "kv put 11\n" <> <<6, 0>> <> "colourred")
    end

    file = Path.join(tmp_folder!(), "actors.tidepool")
    :ok = Peer.stop_application(single)
    assert {:ok, %{actors: 300}} = Archive.export({:folder, Peer.folder(single)}, file, nil, false)

    [one, two] = peers = start!(2)
    assert {:ok, "1"} = call(one, "another", "add", "1")
    :ok = Peer.stop_application(one)
    assert {:ok, %{actors: 300}} = Archive.import({:folder, Peer.folder(one)}, file, false)
    {:ok, _started} = Peer.start_application(one)
    here? = fn name -> match?({:here, _place}, Peer.call(one, Shards, :place, ["ledger", name])) end
    eventually(fn -> here?.(on(peers, [one])) end, 60_000)
    called = Enum.filter(Enum.reverse(names), here?)
    # Nothing but calls, while the other node is still sent what there is.
    for name <- called, do: assert({:ok, "5"} = call(one, name, "sum", ""))
    met(peers)
    Peer.halt(one)
    alone([two])

    for name <- called do
      assert {:ok, "5"} = call(two, name, "sum", "", create: false)
      assert {:ok, <<1, "red">>} = call(two, name, "host", "kv get 6\ncolour", create: false)
      assert {:ok, "5"} = call(two, name, "add", "5", create: false, request_id: "five")
    end
  end

  test "what a node has no more to have is gone from it, once those who are to have it have it" do
    [one, two, three] = peers = start!(3)
    names = for peer <- peers, do: to_string(peer.node)
    alone = on(peers, [three, two])
    TestCluster.part([one], [two, three])
    alone([one])
    assert {:ok, "1"} = call(one, alone, "add", "1")
    TestCluster.heal([one], [two, three])
    met(peers)
    assert alone in kept(one)

    assert Enum.sort(Peer.call(one, Replication.AntiEntropy, :run, [names, true])) ==
             Enum.sort([to_string(two.node), to_string(three.node)])

    assert kept(one) == []
    for peer <- [two, three], do: assert(kept(peer) == [alone])
    assert {:ok, "2"} = call(one, alone, "add", "1")
  end

  test "an actor on a module that was replaced goes on on a node that has only its copy" do
    [one, two, three] = peers = start!(3)
    name = on(peers, [three, two])
    assert {:ok, "1"} = call(one, name, "add", "1")
    newer = guest("rust", "ledger") <> <<0, 3, 2, "v2">>
    {:ok, _function} = Peer.call(one, Tidepool, :deploy, [newer, [name: "ledger", actor: @available, wait: :all]])
    assert {:ok, "2"} = call(one, name, "add", "1")
    Peer.halt(three)
    eventually(fn -> assert {:ok, "2"} = call(one, name, "sum", "") end, 20_000)
    assert {:ok, %{version: 1, node: node}} = info(one, name)
    assert node == two.node
  end

  test "actors of which there is to be one alone are refused without a store that nodes share" do
    [one, _two] = peers = TestCluster.start!(2)

    for actor <- [true, [consistency: :strict]] do
      deployed = Peer.call(one, Tidepool, :deploy, [guest("rust", "ledger"), [name: "ledger", actor: actor]])
      assert {:error, %{reason: :invalid_config, message: message}} = deployed
      assert message =~ "consistency=available"
      assert message =~ "TIDEPOOL_ACTORS=replicated:" and message =~ "postgres://"
    end

    for peer <- peers, do: assert(Peer.call(peer, Tidepool, :list, []) == [])
  end
end
