defmodule Tidepool.Keyvalue.MemoryTest do
  # Not async: the node has one store of this kind.
  #
  # What the node's own tables have left when something was removed, and where each of their bounds is.
  use Tidepool.Case

  alias Tidepool.Keyvalue
  alias Tidepool.Keyvalue.Memory

  setup do
    :ok = Supervisor.terminate_child(Keyvalue.Supervisor, Memory)
    on_exit(fn -> {:ok, _pid} = Supervisor.restart_child(Keyvalue.Supervisor, Memory) end)
  end

  # What an entry takes beside its key and its value.
  @entry 384

  defp set(bucket, key, bytes), do: Memory.set(bucket, key, String.duplicate("x", bytes), [])
  defp full(what, most), do: {:error, "#{what} would have more than the #{most} bytes that it may have"}

  test "a bucket that is cleared, or whose last key is deleted, leaves nothing in the node's tables" do
    start_supervised!({Memory, []})
    pairs = for number <- 1..100, do: {"k#{number}", "v"}
    for bucket <- ["shop/a", "shop/b", "c"], do: assert(Memory.set_many(bucket, pairs, []) == :ok)
    assert Memory.clear("shop/a") == {:ok, 100}
    assert :ets.info(Memory, :size) == 200
    assert Memory.delete_many("shop/b", Enum.map(pairs, &elem(&1, 0)), []) == :ok
    assert Memory.clear("c") == {:ok, 100}
    assert :ets.info(Memory, :size) == 0
    assert Memory.buckets() == %{}
    assert %{bytes: 0, spaces: spaces} = :sys.get_state(Memory)
    assert spaces == %{}
    # What is put there afterwards is not found under what another bucket had.
    assert [set("c", "k1", 1), set("shop/b", "k2", 1)] == [:ok, :ok]
    assert Memory.list_keys("c", nil, 10, []) == {:ok, ["k1"], false}
    assert Memory.list_keys("shop/b", nil, 10, []) == {:ok, ["k2"], false}
    assert Memory.list_keys("shop/a", nil, 10, []) == {:ok, [], false}
  end

  test "a bucket, a namespace and the node have all the bytes that they may have, and not one more" do
    bucket = 2 * (@entry + 1 + 10)
    start_supervised!({Memory, max_bucket_bytes: bucket, max_namespace_bytes: bucket + 500, max_bytes: bucket + 1_000})
    assert [set("a/one", "k", 10), set("a/one", "l", 10)] == [:ok, :ok]
    assert set("a/one", "l", 11) == full("the bucket", bucket)
    space = 500 - @entry - 1
    assert set("a/two", "k", space + 1) == full("the namespace", bucket + 500)
    assert set("a/two", "k", space) == :ok
    assert set("b", "k", space + 1) == full("the node's store", bucket + 1_000)
    assert set("b", "k", space) == :ok
    # What is not larger than before is put where there is no room left.
    assert [set("a/one", "l", 10), set("a/two", "k", space), set("b", "k", space)] == [:ok, :ok, :ok]
    assert Memory.buckets()["a/one"] == %{entries: 2, bytes: bucket}
  end

  test "however many namespaces take all that they may, there is room for another" do
    start_supervised!({Memory, max_bytes: 1_000_000})
    # In halves of what is left, each to its last byte.
    left =
      for space <- ["a", "b", "c", "d"], reduce: 1_000_000 do
        left ->
          share = div(left, 2)
          most = share - @entry - 1
          assert set("#{space}/one", "k", most + 1) == full("the namespace", share)
          assert set("#{space}/one", "k", most) == :ok
          assert set("#{space}/two", "k", 1) == full("the namespace", share)
          left - share
      end

    assert set("late", "k", div(left, 2) - @entry - 1) == :ok
  end

  test "numbers go to the ends of 64 bits, and have one text each" do
    start_supervised!({Memory, []})
    {least, most} = {-0x8000_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF}

    for {there, delta, sum} <- [
          {nil, 5, {:ok, 5}},
          {"#{most - 1}", 1, {:ok, most}},
          {"#{most}", 1, {:error, Keyvalue.no_sum()}},
          {"#{least + 1}", -1, {:ok, least}},
          {"#{least}", -1, {:error, Keyvalue.no_sum()}},
          {"#{least}", most, {:ok, -1}},
          {"#{most + 1}", 0, {:error, Keyvalue.no_number()}},
          {"#{least - 1}", 0, {:error, Keyvalue.no_number()}},
          {"+1", 0, {:error, Keyvalue.no_number()}},
          {"01", 0, {:error, Keyvalue.no_number()}},
          {"1 ", 0, {:error, Keyvalue.no_number()}},
          {"", 0, {:error, Keyvalue.no_number()}}
        ] do
      if there, do: :ok = Memory.set("n", "k", there, []), else: :ok = Memory.delete("n", "k", [])
      assert {there, Memory.increment("n", "k", delta, [])} == {there, sum}
      # What was refused has changed nothing.
      expected = with({:ok, sum} <- sum, do: "#{sum}", else: (_error -> there))
      assert Memory.get("n", "k", []) == {:ok, expected}
    end
  end

  test "options are whole numbers of one or more, by names that it has" do
    assert Memory.argument?([])
    assert Memory.argument?(max_entries: 1, max_bucket_bytes: 1, max_namespace_bytes: 1, max_bytes: 1)
    for wrong <- [[max_entries: 0], [max_bytes: 1.0], [most: 1], %{max_bytes: 1}], do: refute(Memory.argument?(wrong))
  end
end
