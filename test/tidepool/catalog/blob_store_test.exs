defmodule Tidepool.Catalog.BlobStoreTest do
  use Tidepool.Case, async: true

  alias Tidepool.Error
  alias Tidepool.Catalog.BlobStore

  setup do
    folder = Path.join(tmp_folder!(), "blobs")
    :ok = BlobStore.prepare(folder)
    %{folder: folder}
  end

  defp put(folder, bytes) do
    sha256 = BlobStore.sha256(bytes)
    :ok = BlobStore.put(folder, sha256, bytes)
    sha256
  end

  test "the name of a blob is the SHA-256 of its bytes, in lower-case hex" do
    assert BlobStore.sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
  end

  test "what was put is fetched, byte for byte", %{folder: folder} do
    for bytes <- ["", "text", :crypto.strong_rand_bytes(1_000_000)] do
      sha256 = put(folder, bytes)
      assert BlobStore.exists?(folder, sha256)
      assert BlobStore.fetch(folder, sha256) == {:ok, bytes}
    end
  end

  test "putting the same bytes again changes nothing, and leaves nothing beside", %{folder: folder} do
    sha256 = put(folder, "twice")
    assert put(folder, "twice") == sha256
    assert File.ls!(folder) == [sha256]
  end

  test "putting bytes whose file is damaged replaces it", %{folder: folder} do
    sha256 = put(folder, "sound")

    for damaged <- ["soun", "sound ", "Sound", ""] do
      File.write!(Path.join(folder, sha256), damaged)
      assert put(folder, "sound") == sha256
      assert BlobStore.fetch(folder, sha256) == {:ok, "sound"}
    end

    assert File.ls!(folder) == [sha256]
  end

  test "many may put the same bytes at once", %{folder: folder} do
    1..50 |> Task.async_stream(fn _ -> put(folder, "together") end, timeout: 60_000) |> Stream.run()
    assert File.ls!(folder) == [BlobStore.sha256("together")]
    assert BlobStore.fetch(folder, BlobStore.sha256("together")) == {:ok, "together"}
  end

  test "a blob that is missing is an error", %{folder: folder} do
    sha256 = BlobStore.sha256("never put")
    refute BlobStore.exists?(folder, sha256)
    assert {:error, %Error{reason: :storage}} = BlobStore.fetch(folder, sha256)
  end

  test "a damaged blob is an error that names it, set aside, and can be put again", %{folder: folder} do
    sha256 = put(folder, "sound")
    path = Path.join(folder, sha256)

    for damaged <- ["soun", "sound ", "Sound", ""] do
      File.write!(path, damaged)
      assert {:error, %Error{reason: :storage, message: message}} = BlobStore.fetch(folder, sha256)
      assert message =~ path
      assert File.read!(path <> ".damaged") == damaged
      refute BlobStore.exists?(folder, sha256)
      assert put(folder, "sound") == sha256
      assert BlobStore.fetch(folder, sha256) == {:ok, "sound"}
    end
  end

  test "what is damaged is kept, and is none of those that there are", %{folder: folder} do
    [kept, damaged] = for bytes <- ["kept", "damaged"], do: put(folder, bytes)
    File.write!(Path.join(folder, damaged), "broken")
    {:error, _error} = BlobStore.fetch(folder, damaged)
    assert BlobStore.list(folder) == [kept]
    assert Enum.sort(File.ls!(folder)) == Enum.sort([kept, damaged <> ".damaged"])
  end

  test "preparing removes what an unfinished write left, and nothing else", %{folder: folder} do
    kept = put(folder, "kept")
    File.write!(Path.join(folder, BlobStore.sha256("unfinished") <> ".17.new"), "unfin")
    assert :ok = BlobStore.prepare(folder)
    assert File.ls!(folder) == [kept]
  end

  test "of a write that the disk refuses half-way nothing is left", %{folder: folder} do
    sha256 = BlobStore.sha256("refused")
    # It is written beside that, and can't take its place.
    File.mkdir_p!(Path.join([folder, sha256, "in the way"]))
    assert {:error, %Error{reason: :storage}} = BlobStore.put(folder, sha256, "refused")
    assert File.ls!(folder) == [sha256]
  end

  test "a folder that can't be written is an error" do
    file = Path.join(tmp_folder!(), "a file")
    File.write!(file, "")
    assert {:error, %Error{reason: :storage}} = BlobStore.prepare(Path.join(file, "blobs"))
    assert {:error, %Error{reason: :storage}} = BlobStore.put(Path.join(file, "blobs"), BlobStore.sha256("x"), "x")
  end
end
