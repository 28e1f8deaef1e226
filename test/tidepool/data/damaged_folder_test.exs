defmodule Tidepool.DamagedFolderTest do
  # Every file of the data folder, and everything that can happen to it.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Error, LogWatch, Peer}

  @guests ["trap_unreachable", "returns_1_twice", "start_exit_0"]

  # What a file is afterwards, from its bytes and those of another node's file in its place; nil is none.
  defp damages do
    [
      missing: fn _bytes, _other -> nil end,
      empty: fn _bytes, _other -> "" end,
      cut: fn bytes, _other -> binary_part(bytes, 0, div(byte_size(bytes), 2)) end,
      doubled: fn bytes, _other -> bytes <> bytes end,
      zeroed: fn bytes, _other -> :binary.copy(<<0>>, byte_size(bytes)) end,
      flipped: fn
        "", _other -> "x"
        <<byte, rest::binary>>, _other -> <<Bitwise.bxor(byte, 1), rest::binary>>
      end,
      another_nodes: fn _bytes, other -> other end
    ]
  end

  defp start!(guests) do
    peer = Peer.start!()
    functions = for guest <- guests, do: Peer.deploy!(peer, "wat", guest)
    eventually(fn -> length(Path.wildcard(Path.join(Peer.folder(peer), "compiled/*-*"))) == length(guests) end, 30_000)
    :ok = Peer.stop_application(peer)
    {peer, functions}
  end

  defp files(folder) do
    for path <- Path.wildcard(folder <> "/**"), File.regular?(path), do: Path.relative_to(path, folder)
  end

  # The file of another node that would be in the place of this one.
  defp counterpart(file, others) do
    like = fn other ->
      Path.dirname(other) == Path.dirname(file) and (other == file or Path.basename(other) =~ ~r/[0-9a-f]{64}$/)
    end

    if file in others, do: file, else: Enum.find(others, like)
  end

  test "any file of the data folder missing, cut, doubled or another node's costs what was in it, and is named" do
    {peer, functions} = start!(@guests)
    {other, _functions} = start!(["host_unasked"])
    {folder, others} = {Peer.folder(peer), Peer.folder(other)}
    pristine = Path.join(tmp_folder!(), "pristine")
    File.cp_r!(folder, pristine)
    files = files(folder)
    assert Enum.uniq(Enum.map(files, &Path.dirname/1)) |> Enum.sort() == [".", "blobs", "compiled"]
    assert ["catalog.end", "catalog.log", "lock", "compiled/key"] -- files == []
    Peer.call(peer, LogWatch, :collect, [])

    # One of those that are alike stands for all.
    for file <- Enum.uniq_by(files, &String.replace(&1, ~r/[0-9a-f]{16,}.*/, "")), {damage, fun} <- damages() do
      what = "#{file} #{damage}"
      File.rm_rf!(folder)
      File.cp_r!(pristine, folder)
      path = Path.join(folder, file)
      bytes = File.read!(path)
      damaged = fun.(bytes, File.read!(Path.join(others, counterpart(file, files(others)))))
      if damaged, do: File.write!(path, damaged), else: File.rm!(path)

      before = length(Peer.call(peer, LogWatch, :collected, []))
      assert {:ok, _started} = Peer.start_application(peer), what
      told = peer |> Peer.call(LogWatch, :collected, []) |> Enum.drop(before) |> Enum.map_join("\n", &elem(&1, 1))

      # Every function but those that this file had. What stands in the log twice counts once, and costs nothing.
      for function <- functions, file != "catalog.log" or damage == :doubled, Path.basename(file) != function.sha256 do
        assert {:ok, %{version: 1}} = Peer.call(peer, Tidepool, :fetch, [function.name]), "#{what}: #{function.name}"
      end

      for function <- functions, Path.basename(file) == function.sha256 and damaged != bytes do
        assert {:error, %Error{reason: :unavailable}} = Peer.call(peer, Tidepool, :fetch, [function.name]), what
      end

      # Every module but this one.
      for function <- functions, function.sha256 != Path.basename(file) do
        assert File.exists?(Path.join([folder, "blobs", function.sha256])), "#{what}: #{function.name}"
      end

      # Of compiled code what can't be used; the lock says nothing, and a seal that is missing is what older versions left. What
      # was changed by whom costs no function.
      named? =
        told =~ file or (file == "compiled/key" and told =~ Path.join(folder, "compiled")) or
          file in ["lock", "catalog.end", "audit.log"] or {file, damage} == {"catalog.log", :doubled}

      assert named? or damaged == bytes or (file =~ "compiled/" and damage == :missing), "#{what}: #{told}"

      # All can be deployed again.
      for guest <- @guests, do: Peer.deploy!(peer, "wat", guest)
      :ok = Peer.stop_application(peer)
      assert {:ok, _started} = Peer.start_application(peer), what
      assert length(Peer.call(peer, Tidepool, :list, [])) >= length(@guests), what
      :ok = Peer.stop_application(peer)
    end
  end
end
