defmodule Tidepool.ActorValuesTest do
  # What actors keep by host calls: with whose changes it is written, and what of it is nobody's.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, ActorScript, Error, Native}
  alias Tidepool.Actor.Activation.Guest.{Changes, Values}

  import ActorScript

  setup do
    # What is written or read beside it may keep the disk for seconds.
    {:ok, class: deploy!("rust", "ledger", actor: true, limits: [time: 60_000])}
  end

  defp host(class, name, script, options \\ []), do: Actor.call(class, name, "host", script, options)

  defp values(class, name, prefix \\ "", after_key \\ "", limit \\ 0) do
    {:ok, reply} = host(class, name, [list(prefix, after_key, limit)])
    read_list(reply)
  end

  test "are there after sleep and a kill, and are one actor's alone", %{class: class} do
    assert {:ok, ""} = host(class, "alice", [put("a", "1"), put("b", "")])

    for _again <- 1..2 do
      assert {:ok, <<1, "1">>} = host(class, "alice", [get("a")])
      assert {:ok, <<1>>} = host(class, "alice", [get("b")])
      assert {:ok, ""} = host(class, "alice", [get("c")])
      :ok = Actor.stop(class, "alice")
    end

    assert {:ok, ""} = host(class, "bob", [get("a")])
    assert {:ok, ""} = host(class, "alice", [delete("a"), delete("c")])
    assert [{"b", ""}] = values(class, "alice")
  end

  test "are seen by the call that changes them, and in lists, in the order of their keys", %{class: class} do
    assert {:ok, <<1, "2">>} = host(class, "alice", [put("a", "1"), put("a", "2"), get("a")])
    assert {:ok, ""} = host(class, "alice", [put("a", "3"), delete("a"), get("a")])

    for number <- 1..200, rem(number, 2) == 0, do: {:ok, ""} = host(class, "alice", [put(key(number), "#{number}")])
    # Those between, and some of those that there are, in a call that lists them.
    changes =
      for number <- 1..200,
          rem(number, 4) != 0,
          do: if(rem(number, 2) == 0, do: delete(key(number)), else: put(key(number), "new"))

    expected = for number <- 1..200, rem(number, 4) in [0, 1, 3], do: key(number)

    assert {:ok, reply} = host(class, "alice", [changes, list("k", "", 0)])
    assert Enum.map(read_list(reply), &elem(&1, 0)) == expected
    assert {:ok, reply} = host(class, "alice", [put("j", ""), put("l", ""), list("k", key(96), 3)])
    assert [{_, "new"}, {_, "new"}, {_, "100"}] = read_list(reply)
    assert Enum.map(values(class, "alice", "k"), &elem(&1, 0)) == expected
    assert [] = values(class, "alice", "k", key(200))
    assert [{"l", ""}] = values(class, "alice", "l", "k")
    assert [_one] = values(class, "alice", "", "", 1)
  end

  defp key(number), do: "k" <> String.pad_leading("#{number}", 3, "0")

  test "are read from the store for a list as far as that goes to the guest, and as many more as the call has removed",
       %{
         class: class
       } do
    large = String.duplicate("v", 65_536)
    for number <- 1..12, do: {:ok, ""} = host(class, "alice", [put(key(number), large)])
    # One is read, of as many bytes as go to a guest at once.
    assert {[{_key, ^large}], [{1, 262_144}]} = read(class, [list("", "", 1)])

    assert {[_one, _another], [{5, 262_144}, {1, _room}]} =
             read(class, [for(number <- 1..3, do: delete(key(number))), list("", "", 2)])

    # The store ends its page where the guest's list ends.
    assert {listed, [{64, 262_144}]} = read(class, [list("", "", 0)])
    assert Enum.map(listed, &elem(&1, 0)) == for(number <- 4..7, do: key(number))
    # The last ones, and the end.
    assert {listed, [{64, 262_144}]} = read(class, [list("", key(9), 0)])
    assert Enum.map(listed, &elem(&1, 0)) == for(number <- 10..12, do: key(number))
    # A page that has many bytes and comes to little is not the end.
    smaller = for number <- 4..11, do: put(key(number), "")
    assert {listed, [{64, 262_144}, {64, room} | _more]} = read(class, [smaller, list("", "", 0)])
    assert room < 262_144
    assert Enum.map(listed, &elem(&1, 0)) == for(number <- 4..12, do: key(number))
  end

  # What a call lists, and how much it has asked the store for each time.
  defp read(class, script) do
    actor = Actor.where(class, "alice")
    :erlang.trace_pattern({Native, :record_values, 6}, true, [])
    # It is read by processes that the actor's starts.
    1 = :erlang.trace(actor, true, [:call, :set_on_spawn])
    assert {:ok, reply} = host(class, "alice", script)
    1 = :erlang.trace(actor, false, [:call, :set_on_spawn])
    delivered = :erlang.trace_delivered(:all)
    assert_receive {:trace_delivered, :all, ^delivered}
    {:messages, messages} = Process.info(self(), :messages)
    asked = for {:trace, _reader, :call, {Native, :record_values, arguments}} <- messages, do: List.last(arguments)
    for _each <- asked, do: assert_receive({:trace, _reader, :call, {Native, :record_values, _arguments}})
    {read_list(reply), asked}
  end

  test "that were all removed in a call are none in its list", %{class: class} do
    {:ok, ""} = host(class, "alice", for(number <- 1..300, do: put(key(number), "")))
    {:ok, ""} = host(class, "alice", [put("z", "")])
    {:ok, reply} = host(class, "alice", [for(number <- 1..300, do: delete(key(number))), list("", "", 0)])
    assert [{"z", ""}] = read_list(reply)
  end

  test "are as before when their call traps, or spins, and are kept when the guest itself says that it failed", %{
    class: class
  } do
    slow = deploy!("rust", "ledger", actor: true, limits: [cpu_time: 20])

    for {class, ending} <- [{class, "add_and_trap"}, {slow, "add_and_spin"}] do
      {:ok, ""} = host(class, "alice", [put("a", "1"), put("gone", "1")])
      {:error, %Error{}} = host(class, "alice", [put("a", "2"), delete("gone"), put("b", "2"), then_do(ending, "1")])
      assert [{"a", "1"}, {"gone", "1"}] = values(class, "alice")
      assert {:ok, %{value_bytes: 7}} = Actor.info(class, "alice")
    end

    {:error, %Error{reason: :guest_error}} = host(class, "alice", [put("a", "3"), then_do("add_and_fail", "1")])
    assert {:ok, <<1, "3">>} = host(class, "alice", [get("a")])
    assert {:ok, "1"} = Actor.call(class, "alice", "sum")
  end

  test "and memory are of one call, whatever that ends by", %{class: class} do
    for number <- 1..20 do
      ending = Enum.random(["add", "add_and_trap", "add_and_fail"])
      host(class, "alice", [put(key(number), ""), then_do(ending, "1")])
    end

    {:ok, sum} = Actor.call(class, "alice", "sum")
    assert length(values(class, "alice")) == String.to_integer(sum)
  end

  test "are what a table has, whatever is done to them in whatever order", %{class: class} do
    :rand.seed(:exsss, ExUnit.configuration()[:seed])

    Enum.reduce(1..300, %{}, fn _call, table ->
      # Few keys, and more than are known without the store.
      keys = for _key <- 1..:rand.uniform(8), do: key(:rand.uniform(Enum.random([3, 100])))

      {script, changed} =
        Enum.map_reduce(keys, table, fn key, table ->
          value = String.duplicate("v", Enum.random([0, 3, 1_024, 1_025])) <> "#{:rand.uniform(9)}"

          case :rand.uniform(3) do
            1 -> {put(key, value), Map.put(table, key, value)}
            2 -> {delete(key), Map.delete(table, key)}
            3 -> {get(key), table}
          end
        end)

      {ending, after_it} =
        Enum.random([{"add", changed}, {"add", changed}, {"add_and_fail", changed}, {"add_and_trap", table}])

      host(class, "alice", [script, then_do(ending, "1")])
      if :rand.uniform(20) == 1, do: :ok = Actor.stop(class, "alice")

      wanted = Enum.random(keys)
      expected = if value = after_it[wanted], do: <<1, value::binary>>, else: ""
      assert {:ok, expected} == host(class, "alice", [get(wanted)])
      after_it
    end)
    |> then(fn table ->
      assert Map.new(values(class, "alice")) == table
      held = for {key, value} <- table, reduce: 0, do: (sum -> sum + byte_size(key) + byte_size(value))
      assert {:ok, %{value_bytes: ^held}} = Actor.info(class, "alice")
    end)
  end

  test "of a call that was to be the first, and traps, leave no actor", %{class: class} do
    {:error, %Error{}} = host(class, "alice", [put("a", "1"), then_do("add_and_trap", "1")])
    assert [] = values(class, "alice")
    :ok = Actor.stop(class, "alice")
  end

  test "are gone with their actor, and not its who has the name next", %{class: class} do
    for sleep? <- [false, true] do
      {:ok, ""} = host(class, "alice", [put("a", "1")], request_id: "id")
      if sleep?, do: :ok = Actor.stop(class, "alice")
      :ok = Actor.delete(class, "alice")
      assert [] = values(class, "alice")
      assert {:ok, ""} = host(class, "alice", [get("a")], request_id: "id")
      assert {:ok, %{value_bytes: 0}} = Actor.info(class, "alice")
      :ok = Actor.delete(class, "alice")
    end
  end

  test "are no answers to requests, nor are those values", %{class: class} do
    for id <- ["a", "value/a"] do
      assert {:ok, "1"} =
               host(class, id, [put("answer/#{id}", "mine"), put(id, "mine"), then_do("add", "1")], request_id: id)

      # Once.
      assert {:ok, "1"} = host(class, id, [put("answer/#{id}", "no"), then_do("add", "1")], request_id: id)
      assert [{_, "mine"}, {_, "mine"}] = values(class, id)
      :ok = Actor.stop(class, id)
      assert {:ok, "1"} = Actor.call(class, id, "add", "1", request_id: id)
      {:ok, ""} = host(class, id, [delete("answer/#{id}"), delete(id)])
      assert {:ok, "1"} = Actor.call(class, id, "add", "1", request_id: id)
    end
  end

  test "of casts are written as those of calls", %{class: class} do
    :ok = Actor.cast(class, "alice", "host", [put("a", "1"), then_do("add", "1")])
    assert {:ok, <<1, "1">>} = host(class, "alice", [get("a")])
  end

  test "with the durability idle are on disk when their call is answered" do
    class = deploy!("rust", "ledger", actor: [durability: :idle, flush: 60_000])
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    {:ok, ""} = host(class, "alice", [put("a", "1")])
    Process.exit(Actor.where(class, "alice"), :kill)
    eventually(fn -> Actor.where(class, "alice") == nil end)
    assert {:ok, <<1, "1">>} = host(class, "alice", [get("a")])
    assert {:ok, "1"} = Actor.call(class, "alice", "sum")
  end

  describe "bounds" do
    test "of keys, of values, of a call and of an actor are told the guest, and what is over them is not kept" do
      class = deploy!("rust", "ledger", actor: [values: 2_000_000])
      large = String.duplicate("v", 65_536)
      long = String.duplicate("k", 512)
      assert {:ok, ""} = host(class, "alice", [put(long, large)])

      for {call, said} <- [
            {put("", "1"), "1 to 512 bytes"},
            {put(long <> "k", "1"), "1 to 512 bytes"},
            {get(""), "1 to 512 bytes"},
            {delete(""), "1 to 512 bytes"},
            {put("a", large <> "v"), "65536 bytes at most"},
            {ask("kv", "put", <<5::little-16, "abc">>), "docs/actors.md"},
            {ask("kv", "put", ""), "docs/actors.md"},
            {ask("kv", "list", <<0::16, 0::16>>), "docs/actors.md"},
            {ask("kv", "list", <<0::16, 9::little-16, 0::32>>), "docs/actors.md"},
            {ask("kv", "take", ""), "get, put, delete or list"}
          ] do
        assert {:ok, "! kv " <> told} = host(class, "alice", [call])
        assert told =~ said
      end

      assert {:ok, "! kv put: one call" <> _bound} =
               host(class, "alice", for(number <- 1..16, do: put("#{number}", large)))

      # Those before it were made: 1 MiB and no more at once, 2 MB together.
      assert {:ok, %{value_bytes: held}} = Actor.info(class, "alice")
      assert held in 983_000..1_100_000

      assert {:ok, "! kv put: the values" <> _bound} =
               host(class, "alice", for(number <- 21..35, do: put("#{number}", large)))

      assert {:ok, %{value_bytes: held}} = Actor.info(class, "alice")
      assert held in 1_934_000..2_000_000
      # Smaller ones in their place make room.
      assert {:ok, ""} = host(class, "alice", [put("1", ""), delete("2"), put("3", large), put("40", large)])
      assert {:ok, reply} = host(class, "alice", [list("", "", 0)])
      assert byte_size(reply) in 262_144..330_000
    end

    test "of a call are so few where they are tiny that they take no more memory than a call may change" do
      none = [class: "ledger", name: "alice", stored?: false, most_bytes: 16_777_216, value_bytes: 0]
      changes = struct!(Changes, none ++ [alarm: nil, rung?: false])

      changes =
        Enum.reduce_while(Stream.iterate(0, &(&1 + 1)), changes, fn number, changes ->
          case Values.put(changes, <<number::64>>, <<number::64>>) do
            {:ok, changes} -> {:cont, changes}
            {:error, "one call" <> _bound} -> {:halt, changes}
          end
        end)

      assert map_size(changes.values) in 5_000..7_000
      # With what the library is given of them when the call is over.
      {_record, rows} = Changes.kept(changes, %{value_bytes: 0})
      assert :erts_debug.size({changes.values, rows}) * :erlang.system_info(:wordsize) <= 1_048_576
    end

    test "of an actor may be none at all" do
      class = deploy!("rust", "ledger", actor: [values: 0])
      assert {:ok, "! kv put: the values" <> _bound} = host(class, "alice", [put("a", "")])
    end
  end

  test "are for actors alone: neither a function has any, nor one that an actor's handler calls", %{class: class} do
    plain = deploy!("rust", "ledger")

    assert {:ok, "! kv get: this is for guests that are actors"} =
             Tidepool.call(plain, "host", [get("a")] |> IO.iodata_to_binary())

    handle!({"tidepool", "through", :_}, fn call -> Tidepool.call(call.operation, "host", call.payload) end)

    for inner <- [plain, class] do
      script = IO.iodata_to_binary([put("a", "stolen")])

      assert {:ok, "! kv put: this is for guests that are actors"} =
               host(class, "alice", [ask("through", inner, script)])
    end

    assert [] = values(class, "alice")
  end
end
