defmodule Tidepool.ActorsClusterTest do
  # Actors on real nodes that share a real database: who has them, and what becomes of calls when nodes end, stand still or leave.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, ActorLoad, Peer, Postgres, TestCluster}
  alias Tidepool.Actor.Owner

  @moduletag timeout: 240_000

  setup do
    {postgres, url} = Postgres.start!()
    {:ok, postgres: postgres, url: url}
  end

  defp start!(count, url) do
    peers = TestCluster.start!(count, actors: {:postgres, url}, builtins: [:actor])
    Peer.deploy!(hd(peers), "rust", "ledger", name: "ledger", actor: true)
    for peer <- peers, do: eventually(fn -> Peer.call(peer, Tidepool, :list, []) != [] end, 20_000)
    balanced(peers)
    peers
  end

  # All shards are where they ought to be, as all nodes know.
  defp balanced(peers) do
    names = for peer <- peers, do: to_string(peer.node)
    wanted = Enum.frequencies_by(0..4_095, &Owner.Balance.owner(&1, names))

    eventually(
      fn ->
        for peer <- peers do
          report = Peer.call(peer, Owner, :report, [])
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
  defp on(peer) do
    1..200
    |> Enum.map(&"actor-#{&1}")
    |> Enum.find(fn name -> match?({:here, _title}, Peer.call(peer, Owner.Shards, :place, ["ledger", name])) end)
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
    assert [{sums, reasons}] = enough(other, load)
    assert Enum.all?(reasons, &(&1 in [:unknown_outcome, :no_store])), inspect(Enum.frequencies(reasons))
    # No two that added got the same sum, and what was answered is there.
    assert Enum.uniq(own ++ sums) == own ++ sums
    assert {:ok, last} = call(other, name, "sum", "")
    assert String.to_integer(last) >= Enum.max(own ++ sums)

    assert String.to_integer(last) - length(own ++ sums) <=
             Enum.count(reasons, &(&1 == :unknown_outcome)) + 20 - length(own)
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

  defp load(peer, names), do: for(name <- names, do: Peer.async(peer, ActorLoad, :sums, ["ledger", name]))

  defp enough(peer, load) do
    Peer.call(peer, ActorLoad, :enough, [])
    Task.await_many(load, 60_000)
  end

  defp assert_all_added(loads) do
    for {sums, reasons} <- loads do
      assert reasons == []
      assert sums == Enum.to_list(1..length(sums))
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
end
