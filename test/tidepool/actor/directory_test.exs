defmodule Tidepool.Actor.DirectoryTest do
  # What nodes that keep no actors ask those that do, and what they know from then on. Not async: the table of shards has a name.
  use Tidepool.Case

  alias Tidepool.Actor.Journal.Listing
  alias Tidepool.Actor.Ownership.{Directory, Lease, LeaseHolder, OtherStores, Outside, Shards}

  doctest Directory
  doctest Listing

  test "questions are what they are to be, and nothing else is asked" do
    assert Directory.question?({:places, nil}) and Directory.question?({:places, "stamp"})
    assert Directory.question?({:list, "ledger", nil, 1_000}) and Directory.question?({:count, "ledger", 1})

    for other <- [{:places, :stamp}, {:list, "ledger"}, {:call, "ledger", "alice", %{}}, :places, nil],
        do: refute(Directory.question?(other))

    # What is written of a namespace's actors is read, and sent, in its turns.
    assert Directory.namespace({:list, "shop/cart", nil, 5}) == "shop"
    assert Directory.turn({:count, "shop/cart", 5}) == "shop/cart"
    assert Directory.namespace({:places, nil}) == nil and Directory.turn({:places, nil}) == nil
  end

  test "who asks by the stamp of what there is gets no table, and by another one all of it" do
    Shards.new(Lease.new())
    # A lease alone says nothing of shards.
    assert {:elsewhere, []} = Directory.answer({:places, nil}, node(), :infinity, nil)
    for {shard, place} <- [{0, {:away, "a@host"}}, {1, {:ours, 5}}, {2, :nobody}], do: Shards.put(shard, place)
    Shards.filled()
    assert {:places, stamp, nodes, places} = Directory.answer({:places, nil}, node(), :infinity, nil)
    assert Directory.answer({:places, stamp}, node(), :infinity, nil) == :same
    {:ok, all} = Directory.decode(nodes, places)
    assert for({shard, name} when name != nil <- all, do: {shard, name}) == [{0, "a@host"}, {1, to_string(node())}]
    Shards.put(2, {:away, "a@host"})
    assert {:places, other, _nodes, _places} = Directory.answer({:places, stamp}, node(), :infinity, nil)
    assert other != stamp
    # Made of the same by whichever node, it is the same.
    Shards.put(2, :nobody)
    assert Directory.answer({:places, stamp}, node(), :infinity, nil) == :same
  end

  test "what a node without a lease has heard is in its table until it has one, and nothing of it is its own" do
    Shards.new(Lease.new())
    before = Shards.changes()
    assert Shards.heard({"one", [{0, "a@host"}, {1, "me@host"}, {2, nil}, {3, "b@host"}]}, "me@host") == :ok
    assert Enum.sort(Shards.all()) == [{0, {:away, "a@host"}}, {1, :nobody}, {2, :nobody}, {3, {:away, "b@host"}}]
    assert Enum.sort(Shards.nodes()) == ["a@host", "b@host"]
    assert Shards.stamp() == "one" and Shards.changes() > before
    # Nothing is written that is as it was.
    changes = Shards.changes()
    Shards.heard({"two", [{0, "a@host"}, {3, "b@host"}]}, "me@host")
    Shards.heard(:same, "me@host")
    assert Shards.stamp() == "two" and Shards.changes() == changes
    # By what it was told before it had a lease it is told nothing afterwards.
    Shards.begun()
    Shards.heard(:same, "me@host")
    assert Shards.stamp() == nil
  end

  test "a node without a lease that is told of a shard on its way is told all anew, for that may have come back" do
    Shards.new(Lease.new())
    Shards.heard({"one", [{0, "a@host"}, {1, "b@host"}]}, "me@host")
    state = %LeaseHolder{me: "me@host"}
    moved = fn shard -> {:tidepool_shards, "a@host", {:moved, "b@host", [shard]}} end
    assert {:noreply, ^state} = LeaseHolder.handle_info(moved.(1), state)
    assert Shards.stamp() == "one"
    assert {:noreply, ^state} = LeaseHolder.handle_info(moved.(0), state)
    assert Enum.sort(Shards.all()) == [{0, {:away, "b@host"}}, {1, {:away, "b@host"}}]
    assert Shards.stamp() == nil
    # What it knows counts on until then.
    assert [{:heard, nil, until}] = :ets.lookup(Shards, :heard)
    assert until > Lease.now()
  end

  test "a node whose actors have no other owner asks nobody" do
    refute Outside.stale?() or Outside.soon?()
    refute Shards.told?()
    assert Directory.read({:list, "ledger", nil, 5}, System.monotonic_time(:millisecond) + 1_000) == :own
    assert Directory.find(nil, [to_string(node()), "nobody@host"], nil) == nil
  end

  test "nodes that meet while each has actors of its own are told what to do" do
    for how <- [:own, :another], text = OtherStores.met({how, ["a@host", "b@host"]}) do
      assert text =~ "a@host, b@host" and text =~ to_string(node()) and text =~ "TIDEPOOL_ACTORS"
    end
  end
end
