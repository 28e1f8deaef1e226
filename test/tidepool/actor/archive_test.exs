defmodule Tidepool.Actor.ArchiveTest do
  # Actors on their way between real stores of both kinds, through real nodes that have them before and afterwards.
  use Tidepool.Case, async: true

  import ExUnit.CaptureIO

  alias Mix.Tasks.Tidepool.Actors, as: Tasks
  alias Tidepool.{Actor, Error, Native, Peer, Postgres, Release, TestCluster}
  alias Tidepool.Actor.Journal.Archive

  defp call(peer, name, operation, payload, options \\ []),
    do: Peer.call(peer, Actor, :call, ["ledger", name, operation, payload, options])

  # Another module that does the same: what the actors run has to come along with them.
  defp edition!(peer, edition) do
    section = <<1, "e", edition>>
    wasm = guest("rust", "ledger") <> <<0, byte_size(section)>> <> section
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: "ledger", actor: true]])
  end

  defp alone!(settings), do: Peer.start!([cluster: false] ++ settings)

  defp sharing!(url) do
    [peer] = TestCluster.start!(1, actors: {:postgres, url})
    peer
  end

  defp as_they_were(peer, edition) do
    edition!(peer, edition)

    eventually(
      fn ->
        assert {:ok, "7"} = call(peer, "alice", "sum", "", create: false)
      end,
      20_000
    )

    assert {:ok, "7"} = call(peer, "alice", "add", "7", request_id: "seven")
    assert {:ok, <<1, "red">>} = call(peer, "alice", "host", "kv get 6\ncolour")
    assert {:ok, %{alarm: %{operation: "add"}, value_bytes: 9, version: 1}} = info(peer, "alice")
    for number <- 1..20, do: assert({:ok, "#{number}"} == call(peer, "actor #{number}", "sum", "", create: false))
    assert {:error, %Error{reason: :unknown_actor}} = call(peer, "nobody", "sum", "", create: false)
  end

  defp info(peer, name), do: Peer.call(peer, Actor, :info, ["ledger", name])

  test "actors that went from a folder to a database and back are what they were, on the module that they had" do
    {_postgres, url} = Postgres.start!()
    file = Path.join(tmp_folder!(), "actors")
    first = alone!([])
    edition!(first, 1)
    {:ok, "7"} = call(first, "alice", "add", "7", request_id: "seven")
    {:ok, _reply} = call(first, "alice", "host", "kv put 11\n" <> <<6, 0>> <> "colourred")
    {:ok, _reply} = call(first, "alice", "host", "alarm set 13\n+90000000\nadd")
    for number <- 1..20, do: {:ok, _sum} = call(first, "actor #{number}", "add", "#{number}")

    # While the node runs.
    assert {:ok, %{actors: 21, modules: 1}} = Archive.export({:folder, Peer.folder(first)}, file, nil, false)
    assert {:error, %Error{reason: :data_in_use}} = Archive.import({:folder, Peer.folder(first)}, file, true)
    assert {:ok, %{actors: 21, modules: 1}} = Archive.import({:postgres, url}, file, false)

    second = sharing!(url)
    as_they_were(second, 2)
    assert {:error, %Error{reason: :no_store, message: message}} = Archive.import({:postgres, url}, file, true)
    assert message =~ to_string(second.node)
    assert {:ok, %{actors: 21}} = Archive.export({:postgres, url}, file, "ledger", true)
    assert {:ok, %{actors: 0, modules: 0}} = Archive.export({:postgres, url}, file <> ".none", "other", false)
    Peer.stop_application(second)

    third = Peer.boot!(cluster: false)
    assert {:ok, %{actors: 21, modules: 1}} = Archive.import({:folder, Peer.folder(third)}, file, false)
    assert {:error, %Error{reason: :no_store}} = Archive.import({:folder, Peer.folder(third)}, file, false)
    {:ok, _started} = Peer.start_application(third)
    as_they_were(third, 3)
  end

  test "what was answered before a node was killed is in an export of its folder, and with that on another" do
    file = Path.join(tmp_folder!(), "file")
    one = alone!([])
    edition!(one, 1)
    for number <- 1..50, do: {:ok, "1"} = call(one, "actor #{number}", "add", "1")
    folder = Peer.folder(one)
    Peer.halt(one)
    assert {:ok, %{actors: 50, modules: 1}} = Archive.export({:folder, folder}, file, nil, false)
    other = Peer.boot!(cluster: false)
    assert {:ok, %{actors: 50}} = Archive.import({:folder, Peer.folder(other)}, file, false)
    {:ok, _started} = Peer.start_application(other)
    edition!(other, 1)
    for number <- 1..50, do: assert({:ok, "2"} = call(other, "actor #{number}", "add", "1"))
  end

  test "a file that is none, or where there are no actors, is refused with a sentence" do
    folder = tmp_folder!()
    file = Path.join(folder, "archive")
    assert {:error, %Error{reason: :no_store, message: message}} = Archive.export({:folder, folder}, file, nil, false)
    assert message =~ "no actors"
    refute File.exists?(file)
    File.write!(file, "no archive")
    assert {:error, %Error{reason: :no_store, message: message}} = Archive.import({:folder, folder}, file, false)
    assert message =~ "damaged"
    assert {:error, %Error{reason: :no_store}} = Archive.import({:folder, folder}, file <> ".none", false)
    assert {:error, %Error{reason: :no_store}} = Archive.import({:postgres, "postgres:///x?host=/nowhere"}, file, false)
    refute File.exists?(Archive.records(folder))
  end

  test "tasks and a release's functions say what they did, or why not, and name what they lack" do
    {data, file} = {tmp_folder!(), Path.join(tmp_folder!(), "file")}
    one = Path.join(data, "a@x")
    File.mkdir_p!(Path.join(one, "actors"))
    {:ok, records} = Native.open_records(Archive.records(one))
    for name <- ["alice", "bob"], do: Native.commit_record(records, "c", name, {:put, 1, 1, nil, "head", nil, []})
    for _name <- 1..2, do: assert_receive({:tidepool_committed, _id, :ok})
    arguments = [file, "--data", data, "--node"]

    assert capture_io(fn -> Tasks.Export.run(arguments ++ ["a@x"]) end) ==
             "#{file} has 2 actors, and 0 modules that they run\n"

    assert capture_io(fn -> Tasks.Import.run(arguments ++ ["b@x"]) end) ==
             "imported 2 actors, and 0 modules that they run\n"

    options = [data: data, node: "b@x"]

    said = capture_io(:stderr, fn -> assert catch_exit(Release.import_actors(file, options)) == {:shutdown, 1} end)

    assert said =~ "c/" and said =~ "is there already"
    assert capture_io(fn -> Release.import_actors(file, [overwrite: true] ++ options) end) =~ "imported 2 actors"
    assert_raise Mix.Error, fn -> Tasks.Export.run([]) end
    assert_raise Mix.Error, fn -> Tasks.Import.run([]) end
    assert_raise OptionParser.ParseError, fn -> Tasks.Import.run([file, "--overwirte"]) end
  end

  test "a file is read by nobody else, and replaced when that is said" do
    folder = tmp_folder!()
    File.mkdir_p!(Path.join(folder, "actors"))
    {:ok, records} = Native.open_records(Archive.records(folder))
    id = Native.commit_record(records, "class", "it", {:put, 1, 1, nil, "head", "image", []})
    assert_receive {:tidepool_committed, ^id, :ok}
    file = Path.join(folder, "file")
    assert {:ok, %{actors: 1, modules: 0}} = Archive.export({:folder, folder}, file, nil, false)
    assert Bitwise.band(File.stat!(file).mode, 0o777) == 0o600
    assert {:error, %Error{reason: :no_store}} = Archive.export({:folder, folder}, file, nil, false)
    assert {:ok, %{actors: 1}} = Archive.export({:folder, folder}, file, nil, true)
    assert Path.wildcard(file <> "*") == [file]
  end
end
