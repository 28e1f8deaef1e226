defmodule Tidepool.Catalog.LongLogTest do
  # A catalog's file with many functions whose options have as many texts as they may: what it takes to read and to write it.
  # Not async: it measures the memory of the VM.
  use Tidepool.Case

  alias Tidepool.Catalog.{Entry, Log, Record}

  # 260 KB each.
  defp entry(name, overrides \\ []) do
    texts =
      for number <- 1..64, into: %{}, do: {String.pad_leading("#{number}", 256, "n"), String.duplicate("v", 3_800)}

    struct!(
      %Entry{
        name: name,
        version: 1,
        sha256: String.duplicate("0", 64),
        size: 9,
        operation: "a",
        instances: :fresh,
        limits: Tidepool.Limits.complete(%{}),
        config: texts,
        deployed_at: 1
      },
      overrides
    )
  end

  defp flip(bytes, at) do
    <<before::binary-size(at), byte, rest::binary>> = bytes
    <<before::binary, Bitwise.bxor(byte, 0xFF), rest::binary>>
  end

  # The most bytes of binaries that the VM has more at a time while this is done.
  defp most_binaries(work) do
    test = self()
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    before = :erlang.memory(:binary)
    sampler = spawn_link(fn -> poll_memory(test, before) end)
    result = work |> Task.async() |> Task.await(120_000)
    send(sampler, :stop)
    assert_receive {:most, most}, 20_000
    {result, most - before}
  end

  defp poll_memory(test, most) do
    most = max(most, :erlang.memory(:binary))

    receive do
      :stop -> send(test, {:most, most})
    after
      1 -> poll_memory(test, most)
    end
  end

  setup do: %{path: Path.join(tmp_folder!(), "catalog.log")}

  test "a file of several pieces is read as if it were one, whole or damaged anywhere", %{path: path} do
    entries = for number <- 1..40, do: entry("f#{number}")
    :ok = Log.rewrite(path, entries)
    {bytes, seal} = {File.read!(path), File.read!(Log.seal_path(path))}
    assert bytes == Enum.map_join(entries, &Record.encode/1)
    assert {:ok, %{entries: read}, :whole} = Log.read(path)
    assert read == Map.new(entries, &{&1.name, &1})

    record = div(byte_size(bytes), 40)

    for at <- [2, 5_000, 4_194_304, 4_194_305, 20 * record + 100, byte_size(bytes) - 1] do
      damaged = flip(bytes, at)
      File.write!(path, damaged)
      {replayed, {:damaged, damage}} = Log.examine(damaged, seal)
      assert Log.read(path) == {:ok, replayed, {:damaged, damaged, damage}}
      assert map_size(replayed.entries) == 39
    end

    File.write!(path, bytes <> binary_part(bytes, 0, 100_000))
    assert {:ok, %{entries: ^read}, :torn} = Log.read(path)
  end

  test "a long file is read and written without as much memory", %{path: path} do
    # What the one says is forgotten with the other.
    records = [entry("f"), %{Entry.bare(entry("f", version: 2)) | removed: true}]
    bytes = 500 * Enum.sum(for record <- records, do: byte_size(Record.encode(record)))
    all = List.flatten(List.duplicate(records, 500))

    {written, most} = most_binaries(fn -> Log.rewrite(path, all) end)
    assert written == :ok
    assert File.stat!(path).size == bytes
    assert most < div(bytes, 2)

    {{:ok, %{entries: entries}, :whole}, most} = most_binaries(fn -> Log.read(path) end)
    assert %{"f" => %{removed: true}} = entries
    assert most < div(bytes, 2)
  end
end
