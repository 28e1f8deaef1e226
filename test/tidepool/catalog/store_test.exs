defmodule Tidepool.Catalog.StoreTest do
  # What damage to the log costs, wherever it is.
  use Tidepool.Case, async: true

  import Bitwise

  alias Tidepool.Error
  alias Tidepool.Catalog.{BlobStore, Clock, Entries, Entry, Log, Record, State, Store}

  @skew 60_000
  @names for n <- 1..9, do: "function_#{n}"

  setup do
    folder = tmp_folder!()
    %{folder: folder, path: Path.join(folder, "catalog.log")}
  end

  # A process of its own each time: the folder is free again when it has ended, or a moment later, when the VM has freed
  # what it held. Of a store the entries are left, as a map.
  defp open(folder, then) do
    Task.await(Task.async(fn -> folder |> free() |> then.() |> without_lock() end), 60_000)
  end

  defp free(folder) do
    eventually(
      fn ->
        case Store.open(folder, @skew) do
          {:ok, store} -> store
          {:error, %Error{reason: :data_in_use}} -> nil
        end
      end,
      20_000
    )
  end

  defp without_lock(%Store{} = store), do: %{Map.delete(store, :lock) | entries: known(store)}
  defp without_lock(other), do: other

  defp known(store), do: Map.new(Entries.list(store.entries), &{&1.name, &1})

  defp deploy(store, name, bytes, fields \\ []) do
    sha256 = BlobStore.sha256(bytes)
    :ok = BlobStore.put(store.blobs, sha256, bytes)
    {stamp, _clock} = Clock.next(Clock.new(store.context.replica), System.os_time(:millisecond))

    entry = %Entry{
      name: name,
      version: Store.next_version(store, name),
      sha256: sha256,
      size: byte_size(bytes),
      operation: name,
      instances: :fresh,
      limits: Tidepool.Limits.complete(%{}),
      deployed_at: System.os_time(:second),
      stamp: stamp
    }

    {:ok, store} = Store.write(store, [struct!(entry, fields)])
    store |> Store.served(name) |> Store.collect()
  end

  # Nine functions, of which the last was deployed twice, with bytes of their own.
  defp nine(folder) do
    open(folder, fn store ->
      store =
        Enum.reduce(["function_9" | @names], store, fn name, store ->
          deploy(store, name, name <> String.duplicate("?", Entries.count(store.entries)))
        end)

      known(store)
    end)
  end

  defp blobs(folder), do: Enum.sort(BlobStore.list(Path.join(folder, "blobs")))

  # Names, with the bytes of the last record of each, and of the record of the context.
  defp extents(bytes), do: extents(bytes, 0, %{})
  defp extents(bytes, at, extents) when at == byte_size(bytes), do: extents

  defp extents(bytes, at, extents) do
    <<_before::binary-size(at), size::32, _rest::binary>> = bytes
    {[record], []} = Record.decode(binary_part(bytes, at, 8 + size))
    extents(bytes, at + 8 + size, Map.put(extents, Map.get(record, :name, :context), {at, at + 8 + size}))
  end

  defp overwrite(bytes, at, with) do
    size = min(byte_size(with), byte_size(bytes) - at)
    <<before::binary-size(at), _old::binary-size(size), rest::binary>> = bytes
    before <> binary_part(with, 0, size) <> rest
  end

  defp insert(bytes, at, more), do: binary_part(bytes, 0, at) <> more <> binary_part(bytes, at, byte_size(bytes) - at)
  defp sector(bytes, at), do: binary_part(bytes, at, min(512, byte_size(bytes) - at))

  # Every way to damage a file, at each of its bytes, with the bytes that are touched.
  defp damages(bytes) do
    size = byte_size(bytes)

    Stream.flat_map(0..(size - 1), fn at ->
      byte = :binary.at(bytes, at)

      flips =
        for bit <- 0..7, do: {"bit #{bit} of byte #{at}", overwrite(bytes, at, <<bxor(byte, bsl(1, bit))>>), {at, at}}

      flips ++
        [
          {"byte #{at} zeroed", overwrite(bytes, at, <<0>>), {at, at + 1}},
          {"byte #{at} inverted", overwrite(bytes, at, <<255 - byte>>), {at, at + 1}},
          {"byte #{at} missing", binary_part(bytes, 0, at) <> binary_part(bytes, at + 1, size - at - 1), {at, at + 1}},
          {"cut at byte #{at}", binary_part(bytes, 0, at), {at, size}},
          {"a sector zeroed at #{at}", overwrite(bytes, at, <<0::4096>>), {at, at + 512}},
          {"a sector written twice at #{at}", insert(bytes, at, sector(bytes, at)), {at, at}},
          {"a sector over the one at #{at}", overwrite(bytes, at, sector(bytes, max(at - 512, 0))), {at, at + 512}}
        ]
    end)
  end

  defp untouched(entries, extents, {from, to}) do
    for {name, entry} <- entries,
        {first, behind} = extents[name],
        to <= first or from >= behind,
        into: %{},
        do: {name, entry}
  end

  test "damage of any kind at any byte of the log costs the functions whose records it touched, and is noticed", %{
    folder: folder,
    path: path
  } do
    entries = nine(folder)
    {bytes, seal} = {File.read!(path), File.read!(Log.seal_path(path))}
    extents = extents(bytes)

    # With `--long` each; otherwise one of eight, which the seed picks.
    every = sample(8, 1)

    for {{what, damaged, touched}, index} <- Enum.with_index(damages(bytes), ExUnit.configuration()[:seed]),
        rem(index, every) == 0 and damaged != bytes do
      {read, state} = Log.examine(damaged, seal)

      assert Map.take(read.entries, Map.keys(untouched(entries, extents, touched))) ==
               untouched(entries, extents, touched),
             what

      # None is older than it was, nor another one than it was, unless its own record is gone.
      for {name, entry} <- read.entries, do: assert(entry.version <= entries[name].version, what)
      # Records that are there twice do no harm; otherwise whatever is missing was noticed.
      assert match?({:damaged, [_ | _]}, state) or read.entries == entries, what
    end
  end

  test "no damage to the log costs a module, at this start or a later one, and what is deployed after it stays", %{
    folder: folder,
    path: path
  } do
    entries = nine(folder)
    {bytes, seal} = {File.read!(path), File.read!(Log.seal_path(path))}
    {extents, blobs} = {extents(bytes), blobs(folder)}

    # Each record's edges, and some bytes in between.
    edges = for {_name, {first, _behind}} <- extents, at <- [first + 100], do: at
    chosen = MapSet.new(edges ++ Enum.to_list(0..(byte_size(bytes) - 1)//sample(1_999, 499)))

    for {{what, damaged, touched}, index} <- Enum.with_index(damages(bytes)),
        damaged != bytes and div(index, 15) in chosen and rem(index, 15) in [0, 7, 8, 11, 12, 13, 14] do
      File.write!(path, damaged)
      File.write!(Log.seal_path(path), seal)
      kept = untouched(entries, extents, touched)

      first = open(folder, & &1)
      assert Map.take(first.entries, Map.keys(kept)) == kept, what
      assert blobs(folder) == blobs, what

      # What was lost is deployed again, with a later version where that is known, and what it replaced is not swept.
      second = open(folder, &(&1 |> deploy("after", "after " <> what)))
      assert Map.delete(second.entries, "after") == first.entries, what
      third = open(folder, & &1)
      assert third.entries == second.entries, what
      assert blobs -- blobs(folder) == [], what
      for kept <- Path.wildcard(path <> ".torn*"), do: File.rm!(kept)
      File.rm!(Path.join([folder, "blobs", BlobStore.sha256("after " <> what)]))
    end
  end

  test "a function that is lost is news from other nodes, and is not told to be removed", %{folder: folder, path: path} do
    lost = nine(folder)["function_5"]

    # All of it was seen, and something later was removed and collected.
    open(folder, fn store ->
      horizon = {System.os_time(:millisecond) + 1_000, 0, "other@host#1"}

      Store.forget(store, [], %{
        store.context
        | seen: %{store.context.replica => {elem(horizon, 0), 0}},
          horizon: horizon
      })
    end)

    bytes = File.read!(path)
    {at, _length} = :binary.match(bytes, "function_5")
    state = &State.new(&1.context, Map.values(&1.entries))

    File.write!(path, overwrite(bytes, at, <<bxor(?f, 1)>>))
    mended = open(folder, & &1)
    assert mended.context.horizon != nil
    assert {:same, _state} = State.merge(state.(mended), lost)

    File.write!(path, overwrite(bytes, at + 10, <<0::400>>))
    damaged = open(folder, & &1)
    refute is_map_key(damaged.entries, "function_5")
    assert {:changed, _state} = State.merge(state.(damaged), lost)
    # Nobody takes what it does now for what it did before.
    assert damaged.context.replica != mended.context.replica
  end

  test "the version after one that is lost is a later one, after another start too", %{folder: folder, path: path} do
    nine(folder)
    # The record of the second version, which is the log's last.
    {at, _behind} = extents(File.read!(path))["function_9"]
    File.write!(path, overwrite(File.read!(path), at, <<0::64>>))

    for _start <- 1..2 do
      open(folder, fn store ->
        assert Entries.get(store.entries, "function_9").version == 1
        assert Store.next_version(store, "function_9") == 3
        assert Store.next_version(store, "function_8") == 2
      end)
    end
  end

  test "damaged files are kept under names of their own, each once", %{folder: folder, path: path} do
    nine(folder)
    whole = File.read!(path)
    {at, _behind} = extents(whole)["function_9"]
    seal = File.read!(Log.seal_path(path))

    for damaged <- [overwrite(whole, 8, "first"), overwrite(whole, at, "second!!"), overwrite(whole, 8, "first")] do
      File.write!(path, damaged)
      File.write!(Log.seal_path(path), seal)
      open(folder, & &1.path)
      assert Enum.any?(Path.wildcard(path <> ".torn*"), &(File.read!(&1) == damaged))
    end

    assert Path.wildcard(path <> ".torn*") == [path <> ".torn", path <> ".torn.1"]
  end

  test "the log is rewritten when it has many more bytes than what it tells, be they of few changes", %{
    folder: folder,
    path: path
  } do
    config = for number <- 1..60, into: %{}, do: {"text_#{number}", String.duplicate("x", 3_800)}

    open(folder, fn store ->
      Enum.reduce(1..120, store, fn _again, store -> deploy(store, "function", "bytes", config: config) end)
    end)

    # Of what were 27 MB.
    assert File.stat!(path).size < 20_000_000
    assert %{"function" => %{version: 120, config: ^config}} = open(folder, &known/1)
  end

  test "a module goes with the last that needs it, and no others are looked at before the next start", %{folder: folder} do
    [one, two, three, stray] = for bytes <- ["one", "two", "three", "stray"], do: BlobStore.sha256(bytes)
    there = fn -> blobs(folder) end

    open(folder, fn store ->
      store = store |> deploy("f", "one") |> deploy("g", "one")
      :ok = BlobStore.put(store.blobs, stray, "stray")
      store = deploy(store, "f", "two")
      assert there.() == Enum.sort([one, two, stray])
      store = deploy(store, "g", "three")
      assert there.() == Enum.sort([two, three, stray])
      store = store |> Store.forget(["g"], store.context) |> Store.collect()
      assert there.() == Enum.sort([two, stray])
      # What is said to have come for nothing goes, but for what is yet to be needed.
      assert store |> Store.littered([two, stray]) |> Store.collect([stray]) |> Map.fetch!(:loose) == []
      assert there.() == Enum.sort([two, stray])
    end)

    open(folder, fn store -> known(store) end)
    assert there.() == [two]
  end

  test "a module serves until that of the next version has come, and goes when its function is removed before that", %{
    folder: folder
  } do
    open(folder, fn store ->
      store = deploy(store, "f", "one")
      %{stamp: {wall_ms, counter, replica}} = first = Entries.get(store.entries, "f")
      # As other nodes tell of one, which knows nothing of the first.
      later = %{first | version: 2, sha256: BlobStore.sha256("two"), stamp: {wall_ms, counter + 1, replica}}
      {:ok, store} = Store.write(store, [later])
      store = Store.collect(store)
      assert blobs(folder) == [first.sha256]
      {:ok, store} = Store.write(store, [%{later | removed: true, stamp: {wall_ms, counter + 2, replica}}])
      store = Store.collect(store)
      assert blobs(folder) == []
      store
    end)
  end

  test "the next version is one more than the highest that is known, removed or not", %{folder: folder} do
    open(folder, fn store ->
      store = deploy(store, "f", "f", version: 7, removed: true)
      assert Store.next_version(store, "f") == 8
      assert Store.next_version(store, "g") == 1
    end)
  end

  test "a write that fails changes nothing that is known, whether it was to be appended or written anew", %{
    folder: folder,
    path: path
  } do
    nine(folder)

    open(folder, fn store ->
      {before, name} = {known(store), "function_1"}
      File.mkdir!(path <> ".new")
      later = %{before[name] | version: 9, stamp: {System.os_time(:millisecond), 0, "n2@host#1"}}
      {:ok, full} = :file.open("/dev/full", [:read, :append, :raw, :binary])

      {:error, %Error{reason: :storage}, stale} = Store.write(%{store | file: full}, [later])
      {:error, %Error{reason: :storage}, stale} = Store.write(stale, [later, %{later | name: "new"}])
      assert {known(stale), stale.serving, stale.records} == {before, store.serving, store.records}

      File.rmdir!(path <> ".new")
      {:ok, written} = Store.write(stale, [later, %{later | name: "new"}])
      assert known(written) == Map.merge(before, %{name => later, "new" => %{later | name: "new"}})
      assert {written.serving, written.stale} == {%{name => before[name]}, nil}
    end)

    assert %{"function_1" => %{version: 9}, "new" => %{version: 9}} = open(folder, & &1).entries
  end

  # The VM tells of a death before it frees what the dead one held: here it has much to do in between.
  test "what the cluster decided while the disk refused holds at once, and is written down when the disk lets it", %{
    folder: folder
  } do
    nine(folder)

    decided =
      open(folder, fn store ->
        {stamp, _clock} = Clock.next(Clock.new("n2@host#1"), System.os_time(:millisecond) + 1_000)
        removed = %{Entries.get(store.entries, "function_1") | removed: true, stamp: stamp}
        store = Store.owe(store, [removed])
        assert Entries.get(store.entries, "function_1") == removed
        refute Enum.any?(Store.callable(store), &(&1.name == "function_1"))
        assert_receive :rewrite
        store = Store.retry(store)
        assert store.stale == nil
        removed
      end)

    assert open(folder, & &1).entries["function_1"] == decided
  end

  test "who takes the place of a process that was killed has its folder", %{folder: folder} do
    Process.flag(:trap_exit, true)

    for _round <- 1..5 do
      test = self()

      holder =
        spawn_link(fn ->
          claimed = Store.claim(folder)
          for _monitor <- 1..200_000, do: Process.monitor(test)
          send(test, elem(claimed, 0))
          Process.sleep(:infinity)
          claimed
        end)

      assert_receive claimed when claimed in [:ok, :error]
      assert claimed == :ok
      Process.exit(holder, :kill)
      assert_receive {:EXIT, ^holder, :killed}
    end
  end

  test "what is written after a rewrite that failed half-way is there after a restart", %{folder: folder, path: path} do
    nine(folder)

    # The log that is written beside it can't be put in its place: that is a folder, until it is not.
    for blocked <- [path <> ".new", Log.seal_path(path)] do
      name = Path.extname(blocked) |> String.trim(".")

      open(folder, fn store ->
        File.rm(blocked)
        File.mkdir_p!(blocked)
        store = Store.forget(store, [], store.context)
        File.rmdir!(blocked)
        deploy(store, name, name)
      end)

      assert is_map_key(open(folder, & &1).entries, name)
    end
  end
end
