defmodule Tidepool.Keyvalue.StoresTest do
  # Not async: the node has one store, by its settings.
  #
  # What components do with keys and values, by each store that comes along, and both drafts of the interfaces.
  use Tidepool.Case

  import Tidepool.Property

  alias Tidepool.{Config, Keyvalue, Redis}
  alias Tidepool.Keyvalue.Memory

  doctest Keyvalue
  doctest Keyvalue.Handler
  doctest Keyvalue.Setting
  doctest Keyvalue.Redis.Address
  doctest Keyvalue.Redis.Protocol
  doctest Tidepool.Function.Buckets

  setup_all do
    {_server, url} = Redis.start!(password: "tide")

    start_supervised!(%{
      id: :connections,
      start: {Supervisor, :start_link, [Keyvalue.Redis.children([]), [strategy: :one_for_one]]}
    })

    %{
      stores: [memory: {Memory, []}, actors: {Keyvalue.Actors, []}, redis: {Keyvalue.Redis, url: url <> "/3"}],
      url: url
    }
  end

  setup do
    config = :persistent_term.get(Config)
    on_exit(fn -> Config.put(config) end)
  end

  defp use!(store), do: Config.put(Map.put(:persistent_term.get(Config), :keyvalue, store))

  # What the guest answers to each line.
  defp run(name, lines) do
    assert {:ok, text} = Tidepool.call(name, :run, [Enum.join(lines, "\n")])
    String.split(text, "\n")
  end

  for draft <- ["draft", "draft2"], store <- [:memory, :actors, :redis] do
    test "a component of #{draft} does all that the interfaces have, with #{store}", %{stores: stores} do
      use!(stores[unquote(store)])
      bucket = unique_name("all")
      name = deploy!("rust", "keyvalue_#{unquote(draft)}", keyvalue: [bucket, "other"])

      script = [
        {"open #{bucket}", "ok"},
        {"get a", "none"},
        {"exists a", "false"},
        {"set a low tide", "ok"},
        {"get a", "low tide"},
        {"exists a", "true"},
        {"set a high", "ok"},
        {"get a", "high"},
        {"set empty ", "ok"},
        {"get empty", ""},
        {"exists empty", "true"},
        {"delete a", "ok"},
        {"delete a", "ok"},
        {"get a", "none"},
        {"add n 5", "5"},
        {"add n 37", "42"},
        {"get n", "42"},
        {"sets b=1 ü=2 c=3", "ok"},
        {"gets c nothing b ü", "3 none 1 2"},
        {"list", "1 b c empty n ü"},
        {"deletes b nothing empty ü", "ok"},
        {"list", "1 c n"},
        {"add c 9223372036854775807", "error other #{Keyvalue.no_sum()}"},
        {"set n many", "ok"},
        {"add n 1", "error other #{Keyvalue.no_number()}"},
        {"get n", "many"},
        {"open other", "ok"},
        {"list", "1 "},
        {"open #{bucket}", "ok"},
        {"deletes c n", "ok"}
      ]

      assert_script(name, script)

      if unquote(draft) == "draft2" do
        assert_script(name, [
          {"open #{bucket}", "ok"},
          {"add n -5", "-5"},
          {"see a", "none"},
          {"set a 1", "ok"},
          {"swap 2", "changed 1"},
          {"swap 3", "ok"},
          {"get a", "3"},
          {"see a", "3"},
          {"delete a", "ok"},
          {"swap 4", "changed none"},
          {"swap 5", "ok"},
          {"get a", "5"},
          {"swap 6", "error nothing was seen"},
          {"deletes a n", "ok"}
        ])
      end
    end

    test "keys of #{draft} come in pages, which go on where the last one has ended, with #{store}", %{stores: stores} do
      use!(stores[unquote(store)])
      bucket = unique_name("pages")
      name = deploy!("rust", "keyvalue_#{unquote(draft)}", keyvalue: [bucket], limits: [time: 60_000])
      keys = Enum.sort(for number <- 1..2_345, do: "k#{number}")
      sets = for part <- Enum.chunk_every(keys, 1_000), do: "sets " <> Enum.map_join(part, " ", &"#{&1}=v")
      assert ["ok", "ok", "ok", "ok", listed] = run(name, ["open #{bucket}" | sets] ++ ["list"])
      assert listed == "3 " <> Enum.join(keys, " ")
      # What is deleted between two pages has none left out.
      [first | _more] = Enum.chunk_every(keys, 1_000)
      pages = ["open #{bucket}", "page", "deletes " <> Enum.join(first, " "), "next", "next", "page"]
      assert run(name, pages) == ["ok", "1000 true", "ok", "1000 true", "345 false", "1000 true"]
    end
  end

  defp assert_script(name, script) do
    {lines, expected} = Enum.unzip(script)
    assert Enum.zip(lines, run(name, lines)) == Enum.zip(lines, expected)
  end

  for store <- [:memory, :actors, :redis] do
    test "what eight callers add at a time is all there, with #{store}", %{stores: stores} do
      use!(stores[unquote(store)])
      bucket = unique_name("sum")
      name = deploy!("rust", "keyvalue_draft2", keyvalue: [bucket], instances: {:warm, 8})
      lines = ["open #{bucket}" | List.duplicate("add n 1", 50)]

      1..8
      |> Enum.map(fn _caller -> Task.async(fn -> for _call <- 1..4, do: run(name, lines) end) end)
      |> Task.await_many(60_000)

      assert run(name, ["open #{bucket}", "get n"]) == ["ok", "1600"]
    end

    test "of swaps of what was seen at a time one is made, with #{store}", %{stores: stores} do
      {module, argument} = stores[unquote(store)]
      use!({module, argument})
      bucket = unique_name("swap")

      outcomes =
        1..8
        |> Enum.map(fn caller -> Task.async(fn -> module.swap(bucket, "k", nil, "#{caller}", argument) end) end)
        |> Task.await_many(60_000)

      assert {:ok, winner} = module.get(bucket, "k", argument)
      assert Enum.frequencies(outcomes) == %{:ok => 1, {:changed, winner} => 7}
    end
  end

  test "a sequence of operations has the same results in each store", %{stores: stores} do
    key = types().union(["a", "b", "", "ü", "a\0b"])
    value = types().union(["", "1", "-7", "01", "9223372036854775807", <<0, 255>>, "text"])
    delta = types().union([0, 1, -1, 9_223_372_036_854_775_807, -9_223_372_036_854_775_808])
    expected = types().union([nil, "", "1", "text"])
    list = &:proper_types.list/1
    tuple = &:proper_types.tuple/1

    operation =
      types().union([
        tuple.([:get, key]),
        tuple.([:set, key, value]),
        tuple.([:delete, key]),
        tuple.([:exists, key]),
        tuple.([:list_keys, types().union([nil, "a", "", "zz"]), types().integer(1, 3)]),
        tuple.([:increment, key, delta]),
        tuple.([:swap, key, expected, value]),
        tuple.([:get_many, list.(key)]),
        tuple.([:set_many, list.(tuple.([key, value]))]),
        tuple.([:delete_many, list.(key)])
      ])

    # Those who connect ask the settings.
    use!(stores[:redis])

    assert_holds(
      list.(operation),
      fn operations ->
        bucket = unique_name("same")

        [memory | others] =
          for {_name, {module, argument}} <- stores do
            for operation <- operations do
              [name | arguments] = Tuple.to_list(operation)
              apply(module, name, [bucket | arguments] ++ [argument])
            end
          end

        Enum.all?(others, &(&1 == memory))
      end,
      sample(100, 2_000)
    )
  end

  test "a bucket in a Redis is a hash, and a set of its keys", %{stores: stores, url: url} do
    use!(stores[:redis])
    bucket = unique_name("plain")
    name = deploy!("rust", "keyvalue_draft2", keyvalue: [bucket])
    assert ["ok", "ok"] = run(name, ["open #{bucket}", "sets b=2 a=1"])
    assert Redis.cli(url <> "/3", ["HGET", "{tidepool:#{bucket}}:values", "a"]) =~ "1"
    assert Redis.cli(url <> "/3", ["ZRANGE", "{tidepool:#{bucket}}:keys", "0", "-1"]) =~ "a\nb"
    # What another program has put there is not too large for the node.
    script = "return redis.call('HSET', KEYS[1], 'large', string.rep('x', 1048577))"
    Redis.cli(url <> "/3", ["EVAL", script, "1", "{tidepool:#{bucket}}:values"])
    large = "error other " <> Keyvalue.too_large(Keyvalue.max_value_bytes())
    assert run(name, ["open #{bucket}", "get large", "get a"]) == ["ok", large, "1"]
  end

  test "tables of the node have as many entries and bytes as their options say, and what is removed makes room" do
    memory!(max_entries: 3, max_bucket_bytes: 1_800, max_namespace_bytes: 5_000, max_bytes: 2_700)
    set = &Memory.set(&1, &2, String.duplicate("x", &3), [])

    assert for(key <- ["a", "b", "c"], do: set.("one", key, 10)) == [:ok, :ok, :ok]
    assert set.("one", "d", 10) == {:error, "the bucket has the 3 entries that it may have"}
    assert set.("one", "a", 700) == {:error, "the bucket would have more than the 1800 bytes that it may have"}
    assert Memory.get("one", "a", []) == {:ok, String.duplicate("x", 10)}
    assert set.("one", "a", 500) == :ok
    assert set.("two", "a", 500) == :ok
    assert set.("two", "b", 10) == {:error, "the node's store would have more than the 2700 bytes that it may have"}
    assert Memory.increment("two", "n", 1, []) == set.("two", "b", 10)
    assert Memory.set_many("two", [{"a", "x"}, {"b", "x"}], []) == :ok
    assert Memory.delete_many("one", ["a", "b", "c", "d"], []) == :ok
    assert set.("two", "c", 500) == :ok
    # A value of more bytes makes no room for itself, and one of fewer does.
    assert {:error, _full} = set.("two", "c", 1_900)
    assert for(key <- ["a", "b", "c"], do: set.("two", key, 0)) == [:ok, :ok, :ok]
    assert :sys.get_state(Memory).bytes == 3 * 385
    assert Memory.buckets() == %{"two" => %{entries: 3, bytes: 3 * 385}}
  end

  test "a namespace takes half of what others leave of the node's tables at most, and what functions have left there can be cleared" do
    memory!(max_bucket_bytes: 10_000, max_bytes: 20_000)
    set = &Memory.set(&1, &2, String.duplicate("x", &3), [])
    assert [:ok, :ok] = [set.("evil/a", "k", 5_000), set.("evil/b", "k", 3_000)]
    full = {:error, "the namespace would have more than the 10000 bytes that it may have"}
    assert [set.("evil/c", "k", 3_000), set.("evil/b", "k", 6_000)] == [full, full]
    assert [:ok, :ok] = [set.("good/a", "k", 5_000), set.("plain", "k", 1_000)]
    assert Memory.clear("evil/a") == {:ok, 1}
    assert Memory.clear("evil/a") == {:ok, 0}
    assert Memory.get("evil/a", "k", []) == {:ok, nil}
    assert Memory.list_keys("evil/a", nil, 10, []) == {:ok, [], false}
    assert set.("evil/b", "k", 6_000) == :ok
    assert Map.keys(Memory.buckets()) == ["evil/b", "good/a", "plain"]
  end

  test "a value of 1 MiB of digits is no number at once, and nobody waits for it" do
    long = String.duplicate("9", Keyvalue.max_value_bytes())
    bucket = unique_name("digits")
    assert Memory.set(bucket, "n", long, []) == :ok
    # To read one took a second, for each of them.
    for _time <- 1..100, do: assert(Memory.increment(bucket, "n", 1, []) == {:error, Keyvalue.no_number()})
    assert {took, :ok} = :timer.tc(fn -> Memory.set(unique_name("other"), "k", "v", []) end)
    assert took < 30_000_000
    assert Memory.clear(bucket) == {:ok, 1}
  end

  test "what entries count is near what the VM takes for them, whatever their bucket is called" do
    memory!(max_bytes: 1_000_000_000, max_bucket_bytes: 1_000_000_000)

    for length <- [8, 60, 65, 300] do
      taken = fn -> for(_time <- 1..2, do: :erlang.garbage_collect(Process.whereis(Memory))) && table_bytes() end
      before = {taken.(), :sys.get_state(Memory).bytes}

      for part <- Enum.chunk_every(1..20_000, 500) do
        pairs = for number <- part, do: {String.pad_leading("#{number}", length, "k"), String.duplicate("v", length)}
        :ok = Memory.set_many(String.duplicate("n", 100) <> "/" <> String.duplicate("b", 63), pairs, [])
      end

      {vm, counted} = {taken.() - elem(before, 0), :sys.get_state(Memory).bytes - elem(before, 1)}
      assert vm < counted * 1.1, "entries of #{length}: #{vm} taken, #{counted} counted"
      Memory.clear(String.duplicate("n", 100) <> "/" <> String.duplicate("b", 63))
    end
  end

  test "an answer of a Redis is read once, however small the pieces are in which it comes" do
    alias Keyvalue.Redis.Protocol
    value = String.duplicate("x", 4_190)
    whole = IO.iodata_to_binary(["*1000\r\n", List.duplicate(["$4190\r\n", value, "\r\n"], 1_000)])

    for size <- [1_448, 16_384] do
      pieces = for at <- 0..(byte_size(whole) - 1)//size, do: binary_part(whole, at, min(size, byte_size(whole) - at))

      read = fn ->
        Enum.reduce(pieces, {[], Protocol.start()}, fn piece, {[], part} ->
          {:ok, answers, part} = Protocol.read(part, piece)
          {answers, part}
        end)
      end

      assert {took, {[values], _part}} = :timer.tc(read)
      assert values == List.duplicate(value, 1_000)
      assert took < 20_000_000, "#{took} µs in pieces of #{size}"
    end

    assert {:ok, [], part} = Protocol.read(Protocol.start(), "*20\r\n")
    text = "$1048576\r\n" <> String.duplicate("x", 1_048_576) <> "\r\n"

    feed = fn _time, part ->
      with({:ok, [], part} <- Protocol.read(part, text), do: {:cont, part}, else: (:error -> {:halt, :error}))
    end

    assert Enum.reduce_while(1..19, part, feed) == :error
  end

  test "what a Redis says of an error is in the log alone", %{stores: stores, url: url} do
    {module, argument} = stores[:redis]
    use!(stores[:redis])
    bucket = unique_name("wrong")
    Redis.cli(url <> "/3", ["SET", "{tidepool:#{bucket}}:values", "text"])

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        assert {:error, "the store has refused it (id " <> id} = module.get(bucket, "k", argument)
        send(self(), {:id, id})
      end)

    assert_received {:id, id}
    assert log =~ "WRONGTYPE" and log =~ String.trim_trailing(id, ")")
  end

  # Of all tables, and of what is apart from them.
  defp table_bytes, do: :erlang.memory(:ets) + :erlang.memory(:binary)

  defp memory!(options) do
    :ok = Supervisor.terminate_child(Keyvalue.Supervisor, Memory)
    on_exit(fn -> {:ok, _pid} = Supervisor.restart_child(Keyvalue.Supervisor, Memory) end)
    start_supervised!({Memory, options})
  end
end
