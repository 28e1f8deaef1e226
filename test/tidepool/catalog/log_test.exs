defmodule Tidepool.Catalog.LogTest do
  use Tidepool.Case, async: true

  import Tidepool.Property

  alias Tidepool.Catalog.{Entry, Log}
  alias Tidepool.Error

  doctest Tidepool.Catalog.Log

  defp entry(overrides \\ []) do
    struct!(
      %Entry{
        name: "a",
        version: 1,
        sha256: String.duplicate("0", 64),
        size: 9,
        operation: "a",
        instances: :fresh,
        limits: %{time: 5},
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
          limits: %{time: time}
        ]
    end)
  end

  defp encode(entries), do: Enum.map_join(entries, &Log.encode/1)

  describe "properties:" do
    test "any sequence of entries comes back whole" do
      assert_holds(entries(), fn entries -> Log.decode(encode(entries)) == {entries, :whole} end)
    end

    test "any truncation comes back as a prefix, which is all that was whole" do
      assert_holds(types().tuple([entries(), types().float(0.0, 1.0)]), fn {entries, at} ->
        bytes = encode(entries)
        kept = binary_part(bytes, 0, trunc(at * byte_size(bytes)))
        {read, state} = Log.decode(kept)
        whole = byte_size(encode(read))
        read == Enum.take(entries, length(read)) and state == if(whole == byte_size(kept), do: :whole, else: :torn)
      end)
    end

    test "any flipped bit yields a prefix of what was written, and is noticed" do
      flip = types().tuple([types().non_empty(entries()), types().float(0.0, 0.999999), types().integer(0, 7)])

      assert_holds(
        flip,
        fn {entries, at, bit} ->
          bytes = encode(entries)
          at = trunc(at * byte_size(bytes))
          <<before::binary-size(at), byte, rest::binary>> = bytes
          damaged = <<before::binary, Bitwise.bxor(byte, Bitwise.bsl(1, bit)), rest::binary>>
          {read, state} = Log.decode(damaged)
          read == Enum.take(entries, length(read)) and length(read) < length(entries) and state == :torn
        end,
        500
      )
    end

    test "any bytes at all are read without a crash, and make no entry" do
      assert_holds(types().binary(), fn bytes ->
        {read, state} = Log.decode(bytes)
        read == [] and state == if(bytes == "", do: :whole, else: :torn)
      end)
    end

    test "garbage after whole records costs none of them" do
      assert_holds(types().tuple([entries(), types().non_empty(types().list(types().byte()))]), fn {entries, garbage} ->
        {read, state} = Log.decode(encode(entries) <> :binary.list_to_bin(garbage))
        read == entries and state == :torn
      end)
    end
  end

  test "a record that would make an atom of its own is left out" do
    payload = <<1, :erlang.term_to_binary(%{name: "x"})::binary>>
    # The same payload with an atom that this node has never had.
    strange = String.replace(payload, "name", "nomE")
    assert {[], :torn} = Log.decode(<<byte_size(strange)::32, :erlang.crc32(strange)::32, strange::binary>>)
  end

  test "a record from before there were engines is of the fast one" do
    old = entry() |> Map.delete(:engine) |> Log.encode()
    assert Log.decode(old) == {[entry(engine: :fast)], :whole}
  end

  test "a record of a format that comes later is left out" do
    payload = <<2, :erlang.term_to_binary(%{name: "x"})::binary>>
    assert {[], :torn} = Log.decode(<<byte_size(payload)::32, :erlang.crc32(payload)::32, payload::binary>>)
  end

  describe "on disk," do
    setup do: %{path: Path.join(tmp_folder!(), "catalog.log")}

    test "a missing file is an empty catalog", %{path: path} do
      assert Log.read(path) == {:ok, %{entries: %{}, earlier: %{}, context: nil}, :whole}
    end

    test "appended entries are read, the last of each name", %{path: path} do
      {:ok, file} = Log.open(path)
      entries = [entry(version: 1), entry(name: "b"), entry(version: 2, removed: true)]
      for entry <- entries, do: assert(:ok = Log.append(file, [entry]))
      :file.close(file)
      assert {:ok, %{entries: read}, :whole} = Log.read(path)
      assert read == %{"a" => entry(version: 2, removed: true), "b" => entry(name: "b")}

      {:ok, file} = Log.open(path)
      :ok = Log.append(file, [entry(version: 3)])
      :file.close(file)
      assert {:ok, %{entries: %{"a" => %Entry{version: 3}, "b" => _entry}}, :whole} = Log.read(path)
    end

    test "a rewrite replaces the file by the given entries, and leaves nothing beside it", %{path: path} do
      File.write!(path, encode(for version <- 1..50, do: entry(version: version)))
      assert :ok = Log.rewrite(path, [entry(version: 50)])
      assert File.read!(path) == Log.encode(entry(version: 50))
      assert File.ls!(Path.dirname(path)) == ["catalog.log"]
    end

    test "a context comes back whole, however much it has seen", %{path: path} do
      moments = for wall_ms <- 1..60_000, into: %{}, do: {{1_700_000_000_000 + wall_ms, wall_ms}, true}
      beyond = %{"a@host#1" => moments, "b@host#1" => %{{1, 1} => true}}
      horizon = {1_700_000_000_000, 0, "a@host#1"}
      context = %{replica: "c@host#1", seen: %{"a@host#1" => {1, 0}}, beyond: beyond, horizon: horizon}

      assert :ok = Log.rewrite(path, [context, entry()])
      assert {:ok, %{context: ^context, entries: %{"a" => _entry}}, :whole} = Log.read(path)

      # What comes later adds to it.
      {:ok, file} = Log.open(path)
      later = %{context | seen: %{"a@host#1" => {2, 0}}, beyond: %{}, horizon: nil}
      :ok = Log.append(file, [later])
      :file.close(file)
      both = %{context | seen: later.seen}
      assert {:ok, %{context: ^both}, :whole} = Log.read(path)
    end

    test "what can't be read or written is an error with the reason :storage", %{path: path} do
      File.mkdir_p!(path)
      assert {:error, %Error{reason: :storage}} = Log.read(path)
      assert {:error, %Error{reason: :storage}} = Log.open(path)
      assert {:error, %Error{reason: :storage}} = Log.rewrite(Path.join(path, "no/such/folder"), [entry()])
    end
  end
end
