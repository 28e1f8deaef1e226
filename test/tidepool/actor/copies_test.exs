defmodule Tidepool.Actor.CopiesTest do
  # What decides which of two states of an actor is the one: vectors, and names of what lost.
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Journal.VersionVector
  alias Tidepool.Actor.Replication
  alias Tidepool.Actor.Replication.{Clock, Merge, PeerHealth}

  doctest VersionVector
  doctest Merge, only: [conflict: 1]

  # Histories of three nodes that write, whatever their clocks say, and see each other's state now and then. Each starts anew at every
  # other write: far more often than a version vector has entries.
  defp history(seed) do
    :rand.seed(:exsss, {seed, seed, seed})
    begin = Map.new(~w(a b c), &{&1, {VersionVector.none(), MapSet.new()}})

    Enum.reduce(1..80, {begin, [{VersionVector.none(), MapSet.new()}]}, fn write, {nodes, all} ->
      {node, from} = {Enum.random(~w(a b c)), Enum.random(~w(a b c))}
      {vector, seen} = nodes[node]
      {vector, seen} = see({vector, seen}, nodes[from])
      writer = "#{node}#" <> Integer.to_string(div(write, 2))
      state = {VersionVector.next(vector, writer, :rand.uniform(1_000)), MapSet.put(seen, write)}
      {%{nodes | node => state}, [state | all]}
    end)
    |> elem(1)
  end

  # Takes over what follows from its own state, and puts together what does not, now and then.
  defp see({vector, seen}, {other, other_seen}) do
    case {VersionVector.compare(other, vector), :rand.uniform(3)} do
      {:after, _turn} -> {other, other_seen}
      {:apart, 1} -> {VersionVector.join(vector, other), MapSet.union(seen, other_seen)}
      _else -> {vector, seen}
    end
  end

  test "a version vector comes before another when all that it has seen was seen there, whatever the clocks said" do
    for seed <- 1..Tidepool.Case.sample(8, 30),
        states = history(seed),
        {vector, seen} <- states,
        {other, other_seen} <- states do
      expected =
        case {MapSet.subset?(seen, other_seen), MapSet.subset?(other_seen, seen)} do
          {true, true} -> :same
          {true, false} -> :before
          {false, true} -> :after
          {false, false} -> :apart
        end

      assert VersionVector.compare(vector, other) == expected
      if expected == :before, do: assert(VersionVector.last(vector) < VersionVector.last(other))
    end
  end

  test "a state follows another when it has seen what was written last there, whatever else that one has heard of" do
    for seed <- 1..Tidepool.Case.sample(8, 30),
        states = seed |> history() |> Enum.reverse() |> Enum.with_index(),
        {{vector, seen}, _write} <- states,
        {{other, _other_seen}, write} <- states,
        do: assert(VersionVector.follows?(vector, other) == (write == 0 or write in seen))
  end

  test "of two vectors that are apart all nodes find the same one later" do
    for seed <- 1..Tidepool.Case.sample(8, 30),
        states = history(seed),
        {vector, _seen} <- states,
        {other, _other_seen} <- states,
        vector != other do
      assert VersionVector.later?(vector, other) != VersionVector.later?(other, vector)
      joined = VersionVector.join(vector, other)
      assert joined == VersionVector.join(other, vector)
      assert VersionVector.compare(joined, vector) in [:same, :after]
      assert VersionVector.valid?(joined)
    end
  end

  test "a version vector is of a bounded number of nodes, those that have written last" do
    vector = Enum.reduce(1..100, VersionVector.none(), &VersionVector.next(&2, "node-#{&1}", &1))
    assert map_size(vector) == 16
    assert VersionVector.valid?(vector)
    assert Enum.all?(85..100, &is_map_key(vector, "node-#{&1}"))

    for other <- [nil, %{1 => 2}, %{"a" => -1}, %{"a" => "b"}, Map.new(1..17, &{"#{&1}", 1})],
        do: refute(VersionVector.valid?(other))
  end

  test "a write waits for copies for as long as its size takes" do
    put = fn image, values -> Replication.wait_ms({:put, nil, "head", image, values}) end
    assert put.(nil, []) == 500
    assert put.(nil, [{"gone", nil}, {"key", "value"}]) == 500
    assert put.(:binary.copy("x", 8_192_000), []) == 1_500
    assert put.({:next, :binary.copy("x", 8_192_000)}, [{"key", :binary.copy("x", 8_192_000)}]) == 2_500
  end

  test "a node that has something large to take is not late with what comes behind it" do
    PeerHealth.new()
    [busy, late, spent] = for name <- ~w(busy late spent), do: "#{name}-#{System.unique_integer()}@host"
    PeerHealth.busy(busy, 600_000)
    PeerHealth.busy(spent, 0)
    for node <- [busy, late, spent], do: PeerHealth.late(node)
    assert Enum.map([busy, late, spent], &PeerHealth.late?/1) == [false, true, true]
  end

  test "the clock of vectors never stands still, and is the machine's" do
    times =
      1..4 |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..1_000, do: Clock.now() end) end) |> Task.await_many(60_000)

    for own <- times, do: assert(own == Enum.sort(own))
    times = Enum.concat(times)
    assert Enum.uniq(times) == times
    assert_in_delta Clock.now(), System.os_time(:microsecond), 60_000_000
  end
end
