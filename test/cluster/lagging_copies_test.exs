defmodule Tidepool.LaggingCopiesTest do
  # What nodes without a shared store lack of each other's actors: how that is told, and that they get it.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.CopiesCluster

  alias Tidepool.{Actor, ActorLoad, Peer, TestCluster}
  alias Tidepool.Actor.Replication
  alias Tidepool.Actor.Replication.{PeerHealth, Queries, Ring}

  # Actors that are behind by a node's metrics, and since how many seconds.
  defp behind(peer) do
    {200, _headers, text} = curl_url(Peer.url(peer, "/metrics"))

    [count, seconds] =
      for metric <- ["tidepool_actors_uncopied", "tidepool_actors_uncopied_seconds"],
          do: ~r/^#{metric} (\d+)$/m |> Regex.run(text) |> List.last() |> String.to_integer()

    {count, seconds}
  end

  test "metrics count the actors of which a node lacks the last state, and tell for how long, until it has them" do
    [one, two, three] = peers = start!(3, [consistency: :available], server: true)
    name = on(peers, [two, three])
    assert {:ok, "1"} = call(one, name, "add", "1")
    for peer <- peers, do: eventually(fn -> assert behind(peer) == {0, 0} end, 20_000)

    os_pid = Peer.call(three, System, :pid, [])
    {_output, 0} = System.cmd("kill", ["-STOP", os_pid])
    assert {:ok, "2"} = call(one, name, "add", "1")
    eventually(fn -> match?({1, seconds} when seconds > 1, behind(two)) end, 20_000)
    assert {:ok, "3"} = call(one, name, "add", "1")
    # However often it is written meanwhile.
    assert {1, seconds} = behind(two)
    assert seconds > 1
    {_output, 0} = System.cmd("kill", ["-CONT", os_pid])
    for peer <- peers, do: eventually(fn -> assert behind(peer) == {0, 0} end, 30_000)

    assert Peer.call(three, ActorLoad, :vector, ["ledger", name]) ==
             Peer.call(two, ActorLoad, :vector, ["ledger", name])
  end

  test "metrics count all actors for which a node has no room, and none when there is nobody to have them" do
    [one, two] = start!(2, [consistency: :available], server: true)
    node = to_string(two.node)
    names = for number <- 1..5, do: "actor-#{number}"
    for name <- names, do: assert({:ok, "1"} = call(one, name, "add", "1"))
    eventually(fn -> assert behind(one) == {0, 0} end, 20_000)
    # It asks for nothing, and is sent nothing.
    :ok = Peer.call(one, PeerHealth, :full, [node])
    # As if it had come again.
    :ok = Peer.call(one, Replication.Backlog, :owe, [])
    assert Peer.call(one, Replication.AntiEntropy, :run, [[to_string(one.node), node], false]) == []
    assert {5, _seconds} = behind(one)
    true = Peer.call(one, :ets, :delete, [PeerHealth, {:full, node}])
    assert Peer.call(one, Replication.AntiEntropy, :run, [[to_string(one.node), node], false]) == [node]
    assert behind(one) == {0, 0}

    :ok = Peer.call(one, Replication.Backlog, :note, ["ledger", hd(names)])
    Peer.halt(two)
    alone([one])
    assert {:ok, "2"} = call(one, hd(names), "add", "1")
    assert behind(one) == {0, 0}
  end

  test "a copy takes no write behind one that it refused, though something else was written there in its place" do
    [one, two] = peers = start!(2)
    name = on(peers, [one, two])
    assert {:ok, "1"} = call(one, name, "add", "1")
    quiet(peers)
    before = Peer.call(two, ActorLoad, :whole, ["ledger", name])
    assert {:ok, "2"} = call(one, name, "add", "1", request_id: "two")
    keeper = Peer.call(two, ActorLoad, :keeper, ["ledger", name])
    # Twenty writes are on their way, when the record there becomes another one.
    :ok = Peer.call(two, :sys, :suspend, [keeper])
    :ok = Peer.call(two, ActorLoad, :put_back, ["ledger", name, before])

    calls =
      for number <- 1..20,
          do: Peer.async(one, Actor, :call, ["ledger", name, "add", "1", [request_id: "#{number}"]])

    eventually(fn -> Peer.call(two, ActorLoad, :waiting, [keeper]) >= 20 end)
    :ok = Peer.call(two, :sys, :resume, [keeper])
    sums = for {:ok, sum} <- Task.await_many(calls, 60_000), do: String.to_integer(sum)
    assert Enum.sort(sums) == Enum.to_list(3..22)

    # With the answers to all requests.
    eventually(
      fn ->
        [whole, copy] = for peer <- peers, do: Peer.call(peer, ActorLoad, :whole, ["ledger", name])
        assert copy == whole
      end,
      20_000
    )
  end

  test "who keeps copies waits for the end of each write once, whatever is written there by others meanwhile" do
    [one, two] = peers = start!(2)
    name = on(peers, [one, two])
    assert {:ok, "1"} = call(one, name, "add", "1")
    eventually(fn -> Peer.call(two, ActorLoad, :vector, ["ledger", name]) != nil end, 20_000)
    {vector, {:there, head, _image, _values}} = Peer.call(two, ActorLoad, :whole, ["ledger", name])
    keeper = Peer.call(two, ActorLoad, :keeper, ["ledger", name])

    # The end of the first write comes now before the second, now after it.
    for _round <- 1..20, do: true = Peer.call(one, ActorLoad, :puts_of_two, [two.node, "ledger", name, vector, head])
    eventually(fn -> Peer.call(two, ActorLoad, :pending, [keeper]) == 0 end, 20_000)
  end

  test "a node that was late to keep a write is asked for its state all the same, and no call fails meanwhile" do
    [one, two] = peers = start!(2)
    name = on(peers, [two, one])
    assert {:ok, "1"} = call(one, name, "add", "1")
    :ok = Peer.call(two, Actor, :stop, ["ledger", name])
    :ok = Peer.call(two, PeerHealth, :late, [to_string(one.node)])
    unsynced(two, one)
    assert {:ok, "1"} = call(two, name, "sum", "")
  end

  test "a call of an actor that another node may have waits for that node as long as the call has time" do
    [one, two] = peers = start!(2)
    name = on(peers, [two, one])
    assert {:ok, "1"} = call(one, name, "add", "1")
    :ok = Peer.call(two, Actor, :stop, ["ledger", name])
    unsynced(two, one)
    # Nobody there answers for now.
    answers = Peer.call(one, Process, :whereis, [Queries.protocol().server])
    true = Peer.call(one, Process, :unregister, [Queries.protocol().server])
    task = Peer.async(two, Actor, :call, ["ledger", name, "sum", "", [timeout: 60_000]])
    assert Task.yield(task, 300) == nil
    true = Peer.call(one, Process, :register, [answers, Queries.protocol().server])
    assert {:ok, "1"} = Task.await(task, 60_000)
  end

  # The other node may have more of actors than this one knows, whatever it says from now on.
  defp unsynced(peer, other) do
    :ok = Peer.call(peer, :sys, :suspend, [Ring.process()])
    :ok = Peer.call(peer, ActorLoad, :unsync, [[to_string(other.node)]])
  end

  test "a node answers with no less than what a node may have that can't be asked, until that is gone" do
    [one, two] = peers = start!(2)
    name = on(peers, [two, one])
    assert {:ok, "1"} = call(one, name, "add", "1")
    sum = fn -> Peer.call(two, Actor, :stop, ["ledger", name]) && call(two, name, "sum", "") end
    assert {:ok, "1"} = sum.()

    :ok = Peer.call(one, :sys, :suspend, [Queries.protocol().server])

    refused = fn ->
      :ok = Peer.call(two, ActorLoad, :unsync, [[to_string(one.node)]])
      with {:error, %{reason: :no_store, message: message}} <- sum.(), do: message, else: (_answered -> nil)
    end

    assert eventually(refused, 60_000) =~ to_string(one.node)
    :ok = Peer.call(one, :sys, :resume, [Queries.protocol().server])
    eventually(fn -> sum.() == {:ok, "1"} end, 60_000)
    :ok = Peer.call(two, ActorLoad, :unsync, [[to_string(one.node)]])
    Peer.halt(one)
    eventually(fn -> sum.() == {:ok, "1"} end, 60_000)
  end

  test "a node that could not get the module of its copy asks again, until it reaches one that has it" do
    [one, two] = start!(2)
    third = Peer.name("late")
    name = first(one, third, two)
    assert {:ok, "1"} = call(one, name, "add", "1")
    newer = guest("rust", "ledger") <> <<0, 3, 2, "v2">>
    options = [name: "ledger", actor: [consistency: :available], wait: :all]
    {:ok, _function} = Peer.call(one, Tidepool, :deploy, [newer, options])
    assert {:ok, "2"} = call(one, name, "add", "1")
    assert {:ok, %{version: 1, sha256: module}} = info(one, name)

    # It gets its copy from a node that answers no questions, and reaches no other.
    settings = [cluster: true, seeds: [one.node], builtins: [:actor]]
    three = Peer.boot!(settings, name: third, cookie: one.cookie)
    Peer.cut(two, three)
    :ok = Peer.call(one, :sys, :suspend, [Queries.protocol().server])
    assert {:ok, _started} = Peer.start_application(three)
    eventually(fn -> assert name in kept(three) end, 60_000)
    Peer.halt(one)
    alone([three])

    # Its caller is told what is missing.
    assert {:error, %{reason: :unavailable, message: message}} = call(three, name, "sum", "")
    assert message =~ module
    assert message =~ "no node that can be reached"
    refute kept?(three, module)
    Peer.heal(two, three)
    # Nobody calls it meanwhile.
    eventually(fn -> kept?(three, module) end, 60_000)
    met([two, three])
    for peer <- [two, three], do: assert({:ok, "2"} = call(peer, name, "sum", "", create: false))
    assert {:ok, %{node: node, version: 1}} = info(two, name)
    assert node == third
  end

  # A name that is first on `one`, then on `late` when that is there, and else on `two`.
  defp first(one, late, two) do
    names = for node <- [one.node, late, two.node], do: to_string(node)

    Enum.find(for(number <- 1..500, do: "actor-#{number}"), fn name ->
      "ledger" |> Tidepool.Native.record_shard(name) |> Actor.Ownership.Rendezvous.order(names) == names
    end)
  end

  defp kept?(peer, module), do: Peer.call(peer, ActorLoad, :module?, [module])

  test "an actor on an older module answers at once on a node that comes, and has only its record by then" do
    [one] = start!(1)
    assert {:ok, "1"} = call(one, "actor", "add", "1")
    newer = guest("rust", "ledger") <> <<0, 3, 2, "v2">>
    {:ok, _function} = Peer.call(one, Tidepool, :deploy, [newer, [name: "ledger", actor: [consistency: :available]]])
    names = for number <- 1..500, do: "actor-#{number}"
    late = Peer.name("late")
    nodes = Enum.map([late, one.node], &to_string/1)

    name =
      Enum.find(names, fn name ->
        "ledger" |> Tidepool.Native.record_shard(name) |> Actor.Ownership.Rendezvous.owner(nodes) == to_string(late)
      end)

    old = Peer.call(one, ActorLoad, :whole, ["ledger", "actor"])
    :ok = Peer.call(one, ActorLoad, :put_back, ["ledger", name, old])
    two = TestCluster.start_node!(late, one.cookie, [one.node], builtins: [:actor])
    met([one, two])
    {_mark, {:there, head, _image, _values}} = old
    {:ok, %{sha256: module}} = Actor.Journal.Record.read(head, "ledger", name)

    # As it is when its record was asked for by its first call. The module comes after the records, and would else come again.
    eventually(fn -> kept?(two, module) end, 20_000)
    :ok = Peer.call(two, ActorLoad, :drop_module, [module])
    assert {:ok, "2"} = call(two, name, "add", "1", create: false, timeout: 60_000)
    assert kept?(two, module)
  end
end
