defmodule Tidepool.Files.FolderTest do
  # What a folder of the machine costs those who do not ask for it. It has the VM's file server wait.
  use Tidepool.Case, async: false

  alias Tidepool.Files.Folder
  alias Tidepool.Namespaces.Turns

  setup do
    folder = tmp_folder!()
    argument = [path: folder, write: true]
    context = %{argument: argument, folder: "work", function: "app", version: 1, program: 1, pid: self()}
    {:ok, folder: folder, context: context}
  end

  test "a folder with more entries than one answer lists is an error", %{folder: folder, context: context} do
    many = "cd \"$1\" && seq -f '%0200.0f' 65536 | xargs touch"
    assert {_output, 0} = System.cmd("sh", ["-c", many, "sh", folder])
    assert {:ok, entries} = Folder.list([], context)
    assert length(entries) == 65_536
    assert {String.duplicate("0", 199) <> "7", :file} in entries
    File.touch!(Path.join(folder, "one-more"))
    assert Folder.list([], context) == {:error, :efbig}
  end

  test "nothing is asked of the VM's file server, for which all others would wait", %{
    folder: folder,
    context: context
  } do
    # Whatever it takes to load is there.
    assert {:ok, []} = Folder.list([], context)
    :ok = :sys.suspend(:file_server_2)

    try do
      work =
        Task.async(fn ->
          assert Folder.create(["sub"], :directory, context) == :ok
          assert Folder.create(["sub", "file"], :file, context) == :ok
          assert Folder.write(["sub", "file"], 0, "low tide", context) == :ok
          assert Folder.resize(["sub", "file"], 3, context) == :ok
          assert Folder.read(["sub", "file"], 0, 10, context) == {:ok, "low"}
          assert {:ok, %{type: :file, size: 3}} = Folder.stat(["sub", "file"], context)
          assert Folder.rename(["sub", "file"], ["sub", "other"], context) == :ok
          assert Folder.list(["sub"], context) == {:ok, [{"other", :file}]}
          assert Folder.list(["sub", "other"], context) == {:error, :enotdir}
          assert Folder.list(["none"], context) == {:error, :enoent}
          assert Folder.remove(["sub"], :directory, context) == {:error, :enotempty}
          assert Folder.remove(["sub", "other"], :file, context) == :ok
          assert Folder.remove(["sub"], :directory, context) == :ok
        end)

      Task.await(work, 20_000)
    after
      :sys.resume(:file_server_2)
    end

    assert File.ls!(folder) == []
  end

  test "what a namespace asks of folders waits for its turns, and what another one asks does not", %{
    context: context
  } do
    function = unique_name("space") <> "/app"
    {most, _waiting} = Turns.bounds(:files)
    test = self()

    work = fn ->
      send(test, {:has, self()})
      receive do: (:go_on -> :done)
    end

    for _turn <- 1..most, do: spawn_link(fn -> Turns.run(:files, function, :infinity, work, :always) end)

    holders =
      for _turn <- 1..most do
        assert_receive {:has, pid}, 20_000
        pid
      end

    asker = Task.async(fn -> Folder.stat([], %{context | function: function}) end)
    eventually(fn -> Turns.count(:files, function) == {most, 1} end)
    other = %{context | function: unique_name("space") <> "/app"}
    assert {:ok, %{type: :directory}} = Folder.stat([], other)
    for pid <- holders, do: send(pid, :go_on)
    assert {:ok, %{type: :directory}} = Task.await(asker, 20_000)
  end
end
