defmodule Tidepool.Catalog.RecordTest do
  use Tidepool.Case, async: true

  import Bitwise
  import Tidepool.Property

  alias Tidepool.Catalog.{Entry, Record, State}

  doctest Tidepool.Catalog.Record

  defp entry(overrides \\ []) do
    struct!(
      %Entry{
        name: "a",
        version: 1,
        sha256: String.duplicate("0", 64),
        size: 9,
        operation: "a",
        instances: :fresh,
        limits: Tidepool.Limits.complete(%{time: 5}),
        deployed_at: 1
      },
      overrides
    )
  end

  # Entries as deploys make them: every field random.
  defp entries, do: types().list(map(fields(), &entry/1))

  defp fields do
    name = map(types().non_empty(types().list(types().integer(?a, ?z))), &to_string/1)
    positive = types().pos_integer()
    instances = types().oneof([:fresh, types().tuple([:warm, positive])])

    map(types().tuple([name, positive, types().boolean(), name, instances, positive]), fn
      {name, version, removed, operation, instances, time} ->
        [
          name: name,
          version: version,
          removed: removed,
          operation: operation,
          instances: instances,
          engine: Enum.at([:fast, :dense], rem(time, 2)),
          limits: Tidepool.Limits.complete(%{time: time})
        ]
    end)
  end

  defp encode(entries), do: Enum.map_join(entries, &Record.encode/1)

  defp flip(bytes, at, bit) do
    <<before::binary-size(at), byte, rest::binary>> = bytes
    <<before::binary, bxor(byte, bsl(1, bit)), rest::binary>>
  end

  defp frame(payload), do: <<byte_size(payload)::32, :erlang.crc32(payload)::32, payload::binary>>

  describe "properties:" do
    test "any sequence of entries comes back whole" do
      assert_holds(entries(), fn entries -> Record.decode(encode(entries)) == {entries, []} end)
    end

    test "any truncation comes back as a prefix, which is all that was whole" do
      assert_holds(types().tuple([entries(), types().float(0.0, 1.0)]), fn {entries, at} ->
        bytes = encode(entries)
        kept = binary_part(bytes, 0, trunc(at * byte_size(bytes)))
        {read, damage} = Record.decode(kept)
        whole = byte_size(encode(read))
        rest = byte_size(kept) - whole

        read == Enum.take(entries, length(read)) and
          if(rest == 0, do: damage == [], else: match?([%{at: ^whole, bytes: ^rest, what: :lost}], damage))
      end)
    end

    test "any flipped bit is flipped back, and noticed" do
      flip = types().tuple([types().non_empty(entries()), types().float(0.0, 0.999999), types().integer(0, 7)])

      assert_holds(
        flip,
        fn {entries, at, bit} ->
          bytes = encode(entries)
          match?({^entries, [%{what: :mended}]}, Record.decode(flip(bytes, trunc(at * byte_size(bytes)), bit)))
        end,
        500
      )
    end

    test "any bytes at all are read without a crash, and make no entry" do
      assert_holds(types().binary(), fn bytes ->
        {read, damage} = Record.decode(bytes)

        read == [] and
          if(bytes == "", do: damage == [], else: Enum.sum(for(one <- damage, do: one.bytes)) == byte_size(bytes))
      end)
    end

    test "garbage between records costs none of them" do
      garbage = types().non_empty(types().list(types().byte()))

      assert_holds(types().tuple([entries(), garbage, entries()]), fn {before, garbage, behind} ->
        {read, [_ | _]} = Record.decode(encode(before) <> :binary.list_to_bin(garbage) <> encode(behind))
        read == before ++ behind
      end)
    end
  end

  test "a length that is wrong costs nothing, whatever it says" do
    entries = for name <- ["a", "b", "c"], do: entry(name: name)
    [first, second, third] = Enum.map(entries, &Record.encode/1)
    <<_length::32, rest::binary>> = second

    for length <- [0, 1, byte_size(second) - 9, 2 * byte_size(second), 1_048_577, 0xFFFF_FFFF] do
      at = byte_size(first)

      assert {^entries, [%{what: :mended, at: ^at, functions: [{"b", 1}]}]} =
               Record.decode(first <> <<length::32>> <> rest <> third)
    end
  end

  test "what looks like a record within a damaged one is not taken for one" do
    inner = Record.encode(entry(name: "inner"))
    outer = Record.encode(entry(name: "outer", operation: inner))
    size = byte_size(outer)
    {inside, _length} = :binary.match(outer, inner)
    # Two bytes of the name are gone: nothing tells what they were.
    damaged = binary_part(outer, 0, inside - 30) <> "??" <> binary_part(outer, inside - 28, size - inside + 28)
    after_it = entry(name: "after")
    assert {[^after_it], [%{at: 0, bytes: ^size, what: :lost}]} = Record.decode(damaged <> Record.encode(after_it))
    assert {[], [%{at: 0, bytes: ^size, what: :lost}]} = Record.decode(damaged)
    # The length alone is wrong.
    assert {[%{name: "outer"}, ^after_it], [%{what: :mended}]} =
             Record.decode(flip(outer, 2, 0) <> Record.encode(after_it))
  end

  test "lost records are named, with their versions" do
    [first, second, third] =
      for {name, version} <- [{"one", 3}, {"two.x-y_z", 300}, {"three", 1}],
          do: Record.encode(entry(name: name, version: version))

    # Their checksums and lengths are overwritten.
    <<_head::64, first::binary>> = first
    <<_head::64, second::binary>> = second
    assert {[%{name: "three"}], damage} = Record.decode(<<0::64>> <> first <> <<0::64>> <> second <> third)
    assert Enum.flat_map(damage, & &1.functions) == [{"one", 3}, {"two.x-y_z", 300}]
  end

  test "a label called name names no lost record" do
    labels = %{"name" => "other", "version" => "7"}
    <<_head::64, record::binary>> = Record.encode(entry(name: "one", version: 3, labels: labels))
    assert {[], damage} = Record.decode(<<0::64>> <> record)
    assert Enum.flat_map(damage, & &1.functions) == [{"one", 3}]
  end

  test "a file that is made up to be searched for hours is given up within seconds" do
    # Each of these says that half a mebibyte belongs to it.
    bait = :binary.copy(<<524_288::32, 0::32, 1, 131, 116, 0>>, 1_000_000)
    {us, {[], [_ | _]}} = :timer.tc(fn -> Record.decode(bait) end)
    assert us < 30_000_000
  end

  test "a record that would make an atom of its own is left out, and told to be unknown" do
    payload = <<1, :erlang.term_to_binary(%{State.new_context("a") | replica: %{replica: 1}})::binary>>
    # The same payload with an atom that this node has never had.
    strange = String.replace(payload, "replica", "replicA")
    kept = entry()
    assert {[^kept], [%{what: :unknown, at: 0}]} = Record.decode(frame(strange) <> Record.encode(kept))
  end

  test "a whole record that is neither an entry nor a context is left out" do
    for term <- [%{name: "x"}, %{}, [], "text", %{entry() | name: :a}] do
      assert {[], [%{what: :unknown}]} = Record.decode(frame(<<1, :erlang.term_to_binary(term)::binary>>))
    end
  end

  test "a record from before there were engines is of the fast one" do
    old = entry() |> Map.delete(:engine) |> Record.encode()
    assert Record.decode(old) == {[entry(engine: :fast)], []}
  end

  test "a record from before changes said what admitted them is of somebody unknown, and withheld from nobody" do
    old = entry() |> Map.delete(:admitted) |> Record.encode()
    assert {[%{admitted: :unknown} = read], []} = Record.decode(old)
    refute Tidepool.Catalog.Entry.withheld?(read, false)
  end

  test "a record of a format that comes later is left out, and what comes after it is read" do
    kept = entry()
    later = frame(<<2, :erlang.term_to_binary(%{name: "x"})::binary>>)
    assert {[^kept], [%{what: :unknown}]} = Record.decode(later <> Record.encode(kept))
  end
end
