defmodule Tidepool.Actor.OwnerTest do
  # What is decided without a store: which node ought to have which shard, and which questions of other nodes are any.
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Activation.DispatchServer
  alias Tidepool.Actor.Ownership.Rendezvous
  alias Tidepool.Nodes.Protocol

  doctest Tidepool.Actor.Ownership.Rendezvous

  @nodes ["a@host", "b@host", "c@host", "d@host"]

  test "a node that goes leaves the shards of all others where they are" do
    for shard <- 0..4_095, owner = Rendezvous.owner(shard, @nodes), owner != "c@host" do
      assert Rendezvous.owner(shard, @nodes -- ["c@host"]) == owner
    end
  end

  test "nodes have about as many shards, whichever order they are named in" do
    counts = Enum.frequencies_by(0..4_095, &Rendezvous.owner(&1, @nodes))
    assert Enum.all?(@nodes, &(counts[&1] in 850..1_200))
    assert counts == Enum.frequencies_by(0..4_095, &Rendezvous.owner(&1, Enum.reverse(@nodes)))
  end

  test "a node claims what nobody has and it ought to have, and nothing of one with a lease, though that leaves" do
    rows = for shard <- 0..4_095, do: {shard, 3, Enum.at([nil, "gone@host", "b@host", "leaving@host"], rem(shard, 4))}
    live = ["a@host", "b@host"]
    claims = Rendezvous.claims(rows, "a@host", live, ["leaving@host" | live])
    assert Enum.all?(claims, &(rem(&1, 4) in [0, 1] and Rendezvous.owner(&1, live) == "a@host"))
    assert length(claims) in 850..1_200
  end

  test "no more than a group moves at a time, to one node" do
    rows = for shard <- 0..4_095, do: {shard, 3, "a@host"}
    {to, group} = Rendezvous.move(rows, "a@host", @nodes, 64)
    assert length(group) == 64
    assert Enum.all?(group, fn {shard, 3} -> Rendezvous.owner(shard, @nodes) == to end)
    assert Rendezvous.move(rows, "a@host", ["a@host"], 64) == nil
  end

  test "what another node asks is of its type, or no question" do
    call = %{
      operation: "add",
      payload: "1",
      deadline: 5_000,
      depth: 1,
      context: nil,
      actors: [{"ledger", "bob"}],
      request_id: nil,
      create: true,
      alarm: nil
    }

    assert DispatchServer.question?({:call, "ledger", "alice", call})
    assert DispatchServer.question?({:cast, "ledger", "alice", %{call | deadline: :infinity, request_id: "a"}})
    assert DispatchServer.question?({:start, "ledger", "alice", true})
    for what <- [:stop, :delete, :info, :where], do: assert(DispatchServer.question?({what, "ledger", "alice", nil}))
    assert DispatchServer.question?({:awake, "ledger", "", ["alice", "bob"]})

    for {key, wrong} <- [
          operation: :add,
          payload: ["1"],
          deadline: -1,
          depth: 0,
          actors: [:bob],
          actors: [{"ledger", "bob"} | {"ledger", "alice"}],
          request_id: 5,
          create: nil,
          alarm: %{}
        ] do
      refute DispatchServer.question?({:call, "ledger", "alice", Map.put(call, key, wrong)}), inspect({key, wrong})
    end

    refute DispatchServer.question?({:call, "ledger", "alice", Map.delete(call, :create)})
    refute DispatchServer.question?({:call, "ledger", <<255>>, call})
    refute DispatchServer.question?({:call, :ledger, "alice", call})
    refute DispatchServer.question?({:ring, "ledger", "alice", 5})
    refute DispatchServer.question?({:awake, "ledger", "", ["alice" | "bob"]})
    refute DispatchServer.question?(:nonsense)
    refute Protocol.time?(0x1_0000_0000)
  end
end
