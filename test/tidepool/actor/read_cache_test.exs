defmodule Tidepool.Actor.ReadCacheTest do
  # What all of a node read of buckets without a message: when it is found, and how much of it there may be.
  use Tidepool.Case, async: true

  alias Tidepool.Actor.Activation.ReadCache
  alias Tidepool.Actor.Bucket
  alias Tidepool.Actor.Ownership.Lease

  # What an entry counts beside its key and its value.
  @entry 384

  defp owner(options \\ []) do
    space = Keyword.get_lazy(options, :space, fn -> unique_name("space") end)
    {Bucket.class(space), unique_name("bucket"), options[:lease]}
  end

  defp read({class, name, _lease}, key), do: ReadCache.read(class, name, key)
  defp read_all(owner, keys), do: Enum.map(keys, &read(owner, &1))

  # A process that has a bucket's, with a value, until it is killed.
  defp holder(owner, key, value) do
    test = self()

    pid =
      spawn(fn ->
        ReadCache.put(ReadCache.open(nil, owner), key, value)
        send(test, {:open, self()})
        receive do: (:never -> :ok)
      end)

    on_exit(fn -> Process.exit(pid, :kill) end)
    assert_receive {:open, ^pid}, 20_000
    pid
  end

  test "a value is found until it is taken out, all are cleared, or the bucket is closed for good" do
    owner = owner()
    cache = ReadCache.open(nil, owner)
    assert ReadCache.open(cache, owner) == cache
    keys = ["a", "b", "c", "d"]
    for {key, value} <- [{"a", "1"}, {"b", nil}, {"c", "3"}], do: ReadCache.put(cache, key, value)
    assert read_all(owner, keys) == [{:ok, "1"}, {:ok, nil}, {:ok, "3"}, :none]
    assert Enum.map(keys, &ReadCache.find(cache, &1)) == read_all(owner, keys)
    ReadCache.take(cache, "a")
    ReadCache.put(cache, "c", "4")
    assert read_all(owner, keys) == [:none, {:ok, nil}, {:ok, "4"}, :none]
    ReadCache.clear(cache)
    assert read_all(owner, keys) == [:none, :none, :none, :none]
    ReadCache.put(cache, "a", "5")
    assert read(owner, "a") == {:ok, "5"}
    assert read(owner(), "a") == :none
    assert ReadCache.close(cache) == :closed
    assert read(owner, "a") == :none
    assert ReadCache.open(:closed, owner) == :closed
  end

  test "what was found is not told under a lease that has run out" do
    lease = Lease.new()
    owner = owner(lease: lease)
    cache = ReadCache.open(nil, owner)
    ReadCache.put(cache, "a", "1")
    assert read(owner, "a") == :none
    Lease.renew(lease, Lease.now() + 600_000)
    assert read(owner, "a") == {:ok, "1"}
    Lease.finish(lease)
    assert read(owner, "a") == :none
    ReadCache.close(cache)
  end

  test "nothing is found of a process that was killed, and what the next one of the bucket has is" do
    owner = owner()
    killed = holder(owner, "a", "1")
    assert read(owner, "a") == {:ok, "1"}
    kill(killed)
    assert read(owner, "a") == :none
    holder(owner, "b", "2")
    assert read_all(owner, ["a", "b"]) == [:none, {:ok, "2"}]
  end

  test "of a bucket are so many bytes in memory, and none of a long value, however often values are put" do
    {_places, most} = ReadCache.bounds()
    owner = owner()
    cache = ReadCache.open(nil, owner)
    found = fn numbers -> Enum.count(numbers, &(read(owner, "#{&1}") != :none)) end

    for number <- 1..3_000 do
      ReadCache.put(cache, "#{number}", "")
      assert read(owner, "#{number}") == {:ok, ""}
    end

    assert found.(1..3_000) in 1..div(most, @entry)
    ReadCache.clear(cache)
    # What replaces another counts once.
    ReadCache.put(cache, "first", "1")
    for number <- 1..3_000, do: ReadCache.put(cache, "same", String.duplicate("x", rem(number, 1_000)))
    assert read(owner, "first") == {:ok, "1"}
    longest = String.duplicate("x", 65_536)
    ReadCache.put(cache, "long", longest)
    ReadCache.put(cache, "longer", longest <> "x")
    assert read_all(owner, ["long", "longer"]) == [{:ok, longest}, :none]
    for number <- 1..100, do: ReadCache.put(cache, "#{number}", longest)
    assert found.(1..100) in 1..div(most, 65_536)
    ReadCache.close(cache)
  end

  test "a namespace has no more buckets in memory than it leaves to others, and those of a process that was killed make room" do
    {places, _bytes} = ReadCache.bounds()
    {first, many} = holds(unique_name("space"))
    # Buckets of other tests may have some.
    assert many in 1..div(places, 2)
    {second, fewer} = holds(unique_name("space"))
    assert fewer in 1..many
    {_third, fewest} = holds(unique_name("space"))
    assert fewest in 1..fewer
    for pid <- [first, second], do: kill(pid)
    {_fourth, again} = holds(unique_name("space"))
    assert again > fewest
  end

  # A process that has as many as its namespace may have, and their number.
  defp holds(space) do
    test = self()

    pid =
      spawn(fn ->
        many = Enum.find_index(Stream.repeatedly(fn -> ReadCache.open(nil, owner(space: space)) end), &none?/1)
        send(test, {:has, self(), many})
        receive do: (:never -> :ok)
      end)

    on_exit(fn -> Process.exit(pid, :kill) end)
    assert_receive {:has, ^pid, many}, 20_000
    {pid, many}
  end

  defp none?(cache), do: match?({:none, _until}, cache)
end
