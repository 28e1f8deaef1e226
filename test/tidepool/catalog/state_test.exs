defmodule Tidepool.Catalog.StateTest do
  use ExUnit.Case, async: true

  import Tidepool.ClusterMessages, only: [entry: 0, entry: 2, entry: 3]
  import Tidepool.Property

  alias Tidepool.Catalog.{Clock, Digest, Entry, State}
  alias Tidepool.Cluster.Gossip.AntiEntropy
  alias Tidepool.Cluster.Report.Table

  defp new(entries), do: State.new(State.new_context("me@host#1"), entries)

  defp merge(state, entries) do
    Enum.reduce(entries, state, fn entry, state ->
      {_result, state} = State.merge(state, entry)
      state
    end)
  end

  # What nodes that ignore an entry have of its name is what was told.
  defp equal?(a, b) do
    index = &Map.new(&1.index, fn {name, mark} -> {name, Map.drop(mark, [:levels, :hidden])} end)

    a.held == b.held and index.(a) == index.(b) and a.digest.root == b.digest.root and
      a.digest.groups == b.digest.groups
  end

  defp three, do: types().tuple([entries(), entries(), entries()])
  defp entries, do: types().list(entry())

  test "merging is commutative" do
    assert_holds(three(), fn {a, b, _c} -> equal?(merge(new(a), b), merge(new(b), a)) end, 300)
  end

  test "merging is associative" do
    values = &Map.values(&1.held)

    assert_holds(
      three(),
      fn {a, b, c} ->
        left = merge(merge(new(a), values.(new(b))), values.(new(c)))
        right = merge(new(a), values.(merge(new(b), values.(new(c)))))
        equal?(left, right)
      end,
      300
    )
  end

  test "merging is idempotent" do
    assert_holds(
      three(),
      fn {a, b, _c} ->
        once = merge(new(a), b)
        equal?(merge(once, b ++ a), once)
      end,
      300
    )
  end

  test "replicas are equal whatever the order and repetition in which changes reach them" do
    assert_holds(
      types().tuple([entries(), types().list(types().integer(0, 99))]),
      fn {changes, shuffle} ->
        keyed = Enum.zip(Stream.cycle([50 | shuffle]), changes) |> Enum.sort() |> Enum.map(&elem(&1, 1))
        equal?(new(changes), new(keyed ++ Enum.take(changes, 3)))
      end,
      300
    )
  end

  test "entries of a name have one order: of two unequal ones one is the later" do
    assert_holds(three(), fn {a, b, c} ->
      all = for entry <- a ++ b ++ c, do: %{entry | name: "f"}

      Enum.all?(for(x <- all, y <- all, do: {x, y}), fn {x, y} ->
        case Entry.compare(x, y) do
          :eq -> x == y
          :lt -> Entry.compare(y, x) == :gt
          :gt -> Entry.compare(y, x) == :lt
        end
      end) and
        Enum.all?(for(x <- all, y <- all, z <- all, do: {x, y, z}) |> Enum.take(2_000), fn {x, y, z} ->
          not (Entry.compare(x, y) == :lt and Entry.compare(y, z) == :lt) or Entry.compare(x, z) == :lt
        end)
    end)
  end

  test "an entry is held until its owner has that very one, and is read from there then" do
    [first, second] = for at <- [100, 200], do: entry("f", {at, 0, "a@host#1"}, admitted: :token)
    has = &%{&1 | read: fn "f" -> &2 end}
    {:changed, state} = State.merge(has.(new([]), nil), first)

    for other <- [nil, second, %{first | admitted: :unknown}] do
      assert %{held: %{"f" => ^first}} = released = State.release(has.(state, other))
      assert State.entry(released, "f") == first
    end

    assert %{held: held} = released = State.release(has.(state, first))
    assert held == %{}
    assert State.entry(released, "f") == first
    assert {:older, _state} = State.merge(released, %{first | admitted: :unknown})
    assert {:completed, %{held: %{"f" => %{description: "x"}}}} = State.merge(released, %{first | description: "x"})
    assert {:changed, %{held: %{"f" => %{size: 2}}}} = State.merge(released, %{first | size: 2})
  end

  test "what its owner has of a name in the place of an entry is not told, and nothing is compared with it" do
    entry = entry("f", {100, 0, "a@host#1"})
    state = State.new(State.new_context("me@host#1"), [entry], fn "f" -> entry end)

    for other <- [nil, %{entry | stamp: {90, 0, "me@host#1"}}, %{entry | stamp: {110, 0, "me@host#1"}}] do
      state = %{state | read: fn "f" -> other end}
      assert State.entry(state, "f") == nil
      assert AntiEntropy.rows(:entries, ["f"], state, %Table{}) == []
      assert {:same, ^state} = State.merge(state, %{entry | size: 2})
      assert {:changed, _state} = State.merge(state, %{entry | stamp: {120, 0, "a@host#1"}})
    end
  end

  test "what lists need of a name is its entry's hash and stamp, or what they tell of it while it is held, and nothing of what was removed" do
    entry = entry("f", {90, 0, "a@host#1"})
    state = new([entry, entry("g", {91, 0, "a@host#1"}, removed: true)])
    assert State.live(state) == [{"f", Entry.hash(entry), %{name: "f", version: entry.version, sha256: entry.sha256}}]
    released = State.release(%{state | read: fn name -> if name == "f", do: entry end})
    assert State.live(released) == [{"f", Entry.hash(entry), entry.stamp}]
  end

  test "an entry that was collected is gone, and one of which nothing was seen is news" do
    removed = entry("f", {100, 0, "a@host#1"}, removed: true)
    state = new([removed, entry("g", {200, 0, "b@host#1"})])
    state = State.join(state, seen(%{"a@host#1" => {100, 0}, "b@host#1" => {200, 0}}))
    assert {[{"f", {100, 0, "a@host#1"}}], state} = State.collect(state, 150)

    assert {:gone, ^state} = State.merge(state, entry("f", {90, 0, "a@host#1"}))
    assert {:gone, ^state} = State.merge(state, entry("f", {90, 0, "b@host#1"}))
    # Later than the horizon, of a replica that was never met, or later than what was seen.
    assert {:changed, _state} = State.merge(state, entry("f", {150, 0, "b@host#1"}))
    assert {:changed, _state} = State.merge(state, entry("f", {90, 0, "c@host#1"}))
    assert {:changed, _state} = State.merge(state, entry("f", {101, 0, "a@host#1"}))
  end

  test "a tombstone is kept until it is old" do
    state = new([entry("f", {100, 0, "a@host#1"}, removed: true)])
    assert {[], ^state} = State.collect(state, 100)
    assert {[{"f", _stamp}], %{index: index}} = State.collect(state, 101)
    assert index == %{}
  end

  test "tombstones are collected in as few steps when all names have one leaf of the digests" do
    crowded = Stream.iterate(0, &(&1 + 1)) |> Stream.map(&"f#{&1}") |> Stream.filter(&(Digest.leaf(&1) == 7))

    [crowded, spread] =
      for names <- [Enum.take(crowded, 1_000), for(number <- 1..1_000, do: "f#{number}")], do: steps(names)

    assert crowded < 3 * spread, "#{crowded} steps, and #{spread} where they are in all leaves"
  end

  defp steps(names) do
    state = new(for {name, at} <- Enum.with_index(names), do: entry(name, {at, 0, "a@host#1"}, removed: true))
    {:reductions, before} = Process.info(self(), :reductions)
    {collected, state} = State.collect(state, 1_000)
    {:reductions, later} = Process.info(self(), :reductions)
    assert {length(collected), state.digest} == {1_000, %Digest{}}
    assert Enum.all?(state.levels, fn {_level, digest} -> digest == %Digest{} end)
    later - before
  end

  test "a deploy that was replaced is known as seen, though nothing else of its replica was" do
    state = new([entry("f", {90, 0, "a@host#1"}), entry("f", {100, 0, "b@host#1"}, removed: true)])
    assert {[_f], state} = State.collect(state, 101)
    assert {:gone, _state} = State.merge(state, entry("f", {90, 0, "a@host#1"}))
    assert {:changed, _state} = State.merge(state, entry("f", {89, 0, "a@host#1"}))
  end

  test "what was seen in a row needs no exceptions" do
    state = new([entry("f", {90, 0, "a@host#1"}), entry("g", {100, 0, "a@host#1"})])
    assert state.beyond == %{"a@host#1" => %{{90, 0} => true, {100, 0} => true}}
    assert %{beyond: beyond} = joined = State.join(state, seen(%{"a@host#1" => {100, 0}}))
    assert beyond == %{}
    direct = State.join(new([]), seen(%{"a@host#1" => {100, 0}}))
    assert State.context_hash(joined) == State.context_hash(direct)
  end

  test "what was seen and collected is known after a restart" do
    removed = entry("f", {100, 0, "a@host#1"}, removed: true)
    state = State.join(new([removed]), seen(%{"a@host#1" => {100, 0}}))
    {_names, state} = State.collect(state, 101)
    again = State.new(State.context(state), Map.values(state.held))
    assert State.context_hash(again) == State.context_hash(state)
    assert {:gone, _state} = State.merge(again, entry("f", {90, 0, "a@host#1"}))
  end

  test "a change follows if it comes after the last one that was seen, and not across a gap" do
    state = State.join(new([]), seen(%{"a@host#1" => {100, 0}}))
    assert {:same, ^state} = State.follow(state, {300, 0, "a@host#1"}, {200, 0})
    assert {:changed, state} = State.follow(state, {200, 0, "a@host#1"}, {100, 0})
    assert {:changed, state} = State.follow(state, {300, 0, "a@host#1"}, {200, 0})
    assert State.seen(state, "a@host#1") == {300, 0}
    # The first change of a replica says nothing of what it did before: its disk may have been lost.
    assert {:same, _state} = State.follow(state, {300, 0, "b@host#1"}, nil)
  end

  test "only the entry with the stamp is forgotten, not a later one of its name" do
    state = new([entry("f", {100, 0, "a@host#1"})])
    assert {:same, ^state} = State.forget(state, "f", {90, 0, "a@host#1"}, 50)
    assert {:changed, %{index: index, digest: digest}} = State.forget(state, "f", {100, 0, "a@host#1"}, 50)
    assert {index, digest} == {%{}, %Tidepool.Catalog.Digest{}}
  end

  test "a tombstone is not forgotten before it is old, whoever says that it is gone" do
    state = new([entry("f", {100, 0, "a@host#1"}, removed: true)])
    assert {:same, ^state} = State.forget(state, "f", {100, 0, "a@host#1"}, 100)
    assert {:changed, %{index: index}} = State.forget(state, "f", {100, 0, "a@host#1"}, 101)
    assert index == %{}
  end

  test "stamps of a clock that was far ahead are made anew, in their order, by another replica" do
    context = State.new_context(Clock.replica("a@host", 1))
    mine = context.replica
    entries = [entry("x", {9_000, 0, mine}), entry("y", {8_000, 0, mine}), entry("z", {500, 0, mine})]

    assert State.restamp(context, entries, 8_500, 1_000) == {context, entries}
    assert {settled, stamped} = State.restamp(context, entries, 1_000, 100)
    assert settled.replica != mine and Clock.node_of(settled.replica) == "a@host"

    assert %{"x" => {1_000, 1, _}, "y" => {1_000, 0, _}, "z" => {500, 0, ^mine}} =
             Map.new(stamped, &{&1.name, &1.stamp})
  end

  test "an entry that was written before there were stamps gets the second of its deploy" do
    old = entry("f", nil, deployed_at: 12) |> Map.delete(:stamp)
    assert Entry.stamped(old, "a@host#1") == entry("f", {12_000, 0, "a@host#1"}, deployed_at: 12)
    assert Entry.stamped(entry("f", {5, 0, "b"}), "a@host#1").stamp == {5, 0, "b"}
  end

  defp seen(seen), do: %{seen: seen, beyond: %{}, horizon: nil}
end
