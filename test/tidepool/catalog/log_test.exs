defmodule Tidepool.Catalog.LogTest do
  use Tidepool.Case, async: true

  alias Tidepool.Catalog.{Entry, Log, Record}
  alias Tidepool.Error

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

  defp mfa({name, arity}), do: {:file, name, arity}

  defp encode(entries), do: Enum.map_join(entries, &Record.encode/1)

  describe "on disk," do
    setup do: %{path: Path.join(tmp_folder!(), "catalog.log")}

    test "a missing file is an empty catalog", %{path: path} do
      assert Log.read(path) == {:ok, %{entries: %{}, earlier: %{}, context: nil}, :whole}
    end

    test "appended entries are read, the last of each name", %{path: path} do
      {:ok, file} = Log.open(path)
      entries = [entry(version: 1), entry(name: "b"), entry(version: 2, removed: true)]
      for entry <- entries, do: assert(:ok = Log.append(path, file, [entry]))
      :file.close(file)
      assert {:ok, %{entries: read}, :whole} = Log.read(path)
      assert read == %{"a" => entry(version: 2, removed: true), "b" => entry(name: "b")}

      {:ok, file} = Log.open(path)
      :ok = Log.append(path, file, [entry(version: 3)])
      :file.close(file)
      assert {:ok, %{entries: %{"a" => %Entry{version: 3}, "b" => _entry}}, :whole} = Log.read(path)
    end

    test "what is appended is flushed before it is answered and sealed", %{path: path} do
      :ok = Log.rewrite(path, [entry()])
      test = self()
      for function <- [write: 2, datasync: 1, pwrite: 3], do: :erlang.trace_pattern(mfa(function), true, [])

      on_exit(fn ->
        for function <- [write: 2, datasync: 1, pwrite: 3], do: :erlang.trace_pattern(mfa(function), false, [])
      end)

      appender =
        spawn_link(fn ->
          receive do: (:go -> :ok)
          {:ok, file} = Log.open(path)
          :ok = Log.append(path, file, [entry(name: "b")])
          send(test, :appended)
        end)

      :erlang.trace(appender, true, [:call, {:tracer, test}])
      send(appender, :go)
      assert_receive :appended
      {:messages, messages} = Process.info(test, :messages)

      assert [:write, :datasync, :pwrite] =
               for({:trace, ^appender, :call, {:file, name, _arguments}} <- messages, do: name)
    end

    test "a rewrite replaces the file by the given entries, and leaves nothing beside it", %{path: path} do
      File.write!(path, encode(for version <- 1..50, do: entry(version: version)))
      assert :ok = Log.rewrite(path, [entry(version: 50)])
      assert File.read!(path) == Record.encode(entry(version: 50))
      assert Enum.sort(File.ls!(Path.dirname(path))) == ["catalog.end", "catalog.log"]
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
      :ok = Log.append(path, file, [later])
      :file.close(file)
      both = %{context | seen: later.seen}
      assert {:ok, %{context: ^both}, :whole} = Log.read(path)
    end

    test "a record that comes again behind a newer one does not bring its version back", %{path: path} do
      [old, new, removed] =
        for {version, stamp, removed} <- [
              {1, {1, 0, "a#1"}, false},
              {2, {2, 0, "a#1"}, false},
              {2, {3, 0, "a#1"}, true}
            ],
            do: entry(version: version, stamp: stamp, removed: removed)

      for {records, last} <- [{[old, new, old], new}, {[old, new, removed, new], removed}, {[removed, old], removed}] do
        File.write!(path, encode(records))
        assert {:ok, %{entries: %{"a" => ^last}}, :unsealed} = Log.read(path)
      end

      # Both sides of a partition made versions: the later one counts, whatever its number.
      File.write!(path, encode([new, %{old | stamp: {4, 0, "b#1"}}]))
      assert {:ok, %{entries: %{"a" => %{version: 1}}}, :unsealed} = Log.read(path)
    end

    test "what was appended when the node died is left out, and is no damage", %{path: path} do
      :ok = Log.rewrite(path, [entry()])
      whole = File.read!(path)
      appended = Record.encode(entry(name: "b"))

      for bytes <- [binary_part(appended, 0, 5), binary_part(appended, 0, 40), <<0::4096>>] do
        File.write!(path, whole <> bytes)
        assert {:ok, %{entries: entries}, :torn} = Log.read(path)
        assert Map.keys(entries) == ["a"]
      end
    end

    test "what was answered and can't be read is damage, be it the last record", %{path: path} do
      :ok = Log.rewrite(path, [entry()])
      {:ok, file} = Log.open(path)
      :ok = Log.append(path, file, [entry(name: "b")])
      :file.close(file)
      <<first::binary-size(60), _rest::binary>> = whole = File.read!(path)
      at = byte_size(Record.encode(entry()))

      File.write!(path, binary_part(whole, 0, byte_size(whole) - 1))
      assert {:ok, _replayed, {:damaged, _bytes, [%{at: ^at, what: :lost}, %{what: :cut, bytes: 1}]}} = Log.read(path)
      # Exactly one record less: nothing but the seal knows of it.
      File.write!(path, binary_part(whole, 0, at))
      assert {:ok, _replayed, {:damaged, _bytes, [%{what: :cut, at: ^at}]}} = Log.read(path)
      File.write!(path, first)
      assert {:ok, _replayed, {:damaged, ^first, [_lost, _cut]}} = Log.read(path)
      File.rm!(path)
      assert {:ok, _replayed, {:damaged, "", [%{what: :missing}]}} = Log.read(path)
      # Another node's.
      File.write!(path, encode(for n <- 1..9, do: entry(name: "other#{n}")))
      assert {:ok, _replayed, {:damaged, _bytes, [%{what: :foreign}]}} = Log.read(path)
    end

    test "a seal that is missing or damaged makes a whole file no worse, and an unreadable end damage", %{path: path} do
      :ok = Log.rewrite(path, [entry()])
      seal = File.read!(Log.seal_path(path))
      whole = File.read!(path)

      for bad <- [nil, "", binary_part(seal, 0, 10), seal <> seal, <<0::160>>] do
        if bad, do: File.write!(Log.seal_path(path), bad), else: File.rm!(Log.seal_path(path))
        File.write!(path, whole)
        assert {:ok, %{entries: %{"a" => _entry}}, :unsealed} = Log.read(path)
        File.write!(path, whole <> "torn")
        assert {:ok, %{entries: %{"a" => _entry}}, {:damaged, _bytes, [%{what: :lost}]}} = Log.read(path)
      end
    end

    test "a file from before there were seals is read, and sealed when it is written" do
      fixture = Path.expand("fixtures/unsealed.log", __DIR__)
      assert {:ok, %{entries: entries, context: %{replica: "nonode@nohost#" <> _}}, :unsealed} = Log.read(fixture)

      assert %{
               "returns_1_twice" => %{version: 1, removed: true},
               "start_exit_0" => %{version: 1, removed: false, limits: %{time: 4_321}},
               "trap_unreachable" => %{version: 2, engine: :dense, instances: {:warm, 3}}
             } = entries
    end

    test "what can't be read or written is an error with the reason :storage", %{path: path} do
      File.mkdir_p!(path)
      assert {:error, %Error{reason: :storage}} = Log.read(path)
      assert {:error, %Error{reason: :storage}} = Log.open(path)
      assert {:error, %Error{reason: :storage}} = Log.rewrite(Path.join(path, "no/such/folder"), [entry()])
    end
  end
end
