defmodule Tidepool.Fault.ActorDiskTest do
  # A node's disk has no room, or has damaged what SQLite keeps beside the records of actors.
  use Tidepool.Case, async: true

  import ExUnit.CaptureIO

  alias Mix.Tasks.Tidepool.Actors.Accept
  alias Tidepool.{Actor, Error, LogWatch, Peer, SmallDisk}
  alias Tidepool.Actor.Journal.Archive

  @disk if(SmallDisk.available?(), do: :any, else: "mounting a disk takes a superuser")

  defp call(peer, name, operation, payload \\ ""),
    do: Peer.call(peer, Actor, :call, ["ledger", name, operation, payload])

  defp health(peer), do: curl_url(Peer.url(peer, "/health"))

  defp gauge(peer) do
    {200, _headers, text} = curl_url(Peer.url(peer, "/metrics"))
    [_all, value] = Regex.run(~r/^tidepool_actors_store_stopped (\d)/m, text)
    value
  end

  defp logged(peer),
    do: for({_level, "the records of actors " <> text} <- Peer.call(peer, LogWatch, :collected, []), do: text)

  # The folder of a node that was killed with changes that are in the log alone.
  defp killed!(data) do
    peer = Peer.start!(data: data)
    Peer.deploy!(peer, "rust", "ledger", actor: true)
    for number <- 1..20, do: {:ok, _sum} = call(peer, "alice", "add", to_string(number))
    folder = Peer.folder(peer)
    Peer.halt(peer)
    folder
  end

  # What the index of the log can't grow on is an I/O error to SQLite, and not a disk without room.
  @tag skip: @disk != :any && @disk
  test "a node that is started on a full disk has its actors again when there is room, and says so until then" do
    peer = Peer.start!(server: true)
    folder = peer |> Peer.folder() |> Path.join("actors") |> SmallDisk.mount!(8_192)
    Peer.deploy!(peer, "rust", "ledger", actor: true)
    assert {:ok, "1"} = call(peer, "alice", "add", "1")
    assert {200, _headers, %{"status" => "ok"}} = health(peer)
    assert gauge(peer) == "0"
    :ok = Peer.stop_application(peer)
    eventually(fn -> not File.exists?(Path.join(folder, "records.db-wal")) end, 20_000)
    SmallDisk.fill!(folder)
    Peer.call(peer, LogWatch, :collect, [])
    {:ok, _started} = Peer.start_application(peer)

    for _again <- 1..5, do: assert({:error, %Error{reason: :no_store}} = call(peer, "alice", "add", "2"))
    assert {503, _headers, %{"status" => "store_stopped"}} = health(peer)
    assert gauge(peer) == "1"
    SmallDisk.free!(folder)
    eventually(fn -> match?({200, _headers, %{"status" => "ok"}}, health(peer)) end, 20_000)
    assert {:ok, "3"} = call(peer, "alice", "add", "2")
    assert gauge(peer) == "0"
    assert ["can't be opened: " <> _why, "are written again"] = logged(peer)
  end

  @tag skip: @disk != :any && @disk
  test "a disk that becomes full is said to be, and said to have room again though nobody writes" do
    peer = Peer.start!(server: true)
    folder = peer |> Peer.folder() |> Path.join("actors") |> SmallDisk.mount!(16_384)
    Peer.deploy!(peer, "rust", "ledger", actor: true)
    assert {:ok, "1"} = call(peer, "alice", "add", "1")
    Peer.call(peer, LogWatch, :collect, [])
    SmallDisk.fill!(folder)

    eventually(fn ->
      assert {:error, %Error{reason: :no_store}} = call(peer, unique_name("bob"), "add", "1")
      assert {503, _headers, %{"status" => "store_stopped"}} = health(peer)
    end)

    SmallDisk.free!(folder)
    eventually(fn -> match?({200, _headers, %{"status" => "ok"}}, health(peer)) end, 30_000)
    assert {:ok, "3"} = call(peer, "alice", "add", "2")
    assert ["are not written: there is no room" <> _why, "are written again"] = logged(peer)
  end

  test "actors whose file was away are written again when it is back, and their node says so until then" do
    peer = Peer.start!(server: true)
    Peer.deploy!(peer, "rust", "ledger", actor: true)
    assert {:ok, "1"} = call(peer, "alice", "add", "1")
    Peer.call(peer, LogWatch, :collect, [])
    file = Archive.records(Peer.folder(peer))
    File.rename!(file, file <> ".away")
    assert {:error, %Error{reason: :unknown_outcome}} = call(peer, "alice", "add", "2")
    for _again <- 1..5, do: assert({:error, %Error{reason: :no_store}} = call(peer, "alice", "add", "2"))
    eventually(fn -> match?({503, _headers, %{"status" => "store_stopped"}}, health(peer)) end, 20_000)
    assert gauge(peer) == "1"
    File.rename!(file <> ".away", file)
    eventually(fn -> match?({200, _headers, %{"status" => "ok"}}, health(peer)) end, 20_000)
    # The one whose outcome was not known is done, and none of the others.
    assert {:ok, "7"} = call(peer, "alice", "add", "4")
    assert ["are not written: " <> _why, "are written again"] = logged(peer)
  end

  test "actors are older than what was answered, for the log is damaged, only when somebody has accepted that" do
    data = tmp_folder!()
    folder = killed!(data)
    log = Archive.records(folder) <> "-wal"
    <<head::binary-size(40_000), byte, rest::binary>> = File.read!(log)
    File.write!(log, <<head::binary, Bitwise.bxor(byte, 1), rest::binary>>)

    peer = Peer.start!([data: data, server: true], [])
    assert {:error, %Error{reason: :no_store}} = call(peer, "alice", "sum")
    assert {503, _headers, %{"status" => "store_stopped"}} = health(peer)
    assert {:error, %Error{reason: :data_in_use}} = Archive.accept({:folder, folder})
    :ok = Peer.stop_application(peer)

    said = capture_io(fn -> Accept.run(["--data", data, "--node", Path.basename(folder)]) end)
    assert said =~ "accepted without what is missing: the log is damaged"
    assert File.exists?(log <> ".torn")
    said = capture_io(fn -> Accept.run(["--data", data, "--node", Path.basename(folder)]) end)
    assert said =~ "nothing is missing"
    {:ok, _started} = Peer.start_application(peer)
    assert {:ok, older} = call(peer, "alice", "sum")
    assert String.to_integer(older) < Enum.sum(1..20)
    assert {200, _headers, %{"status" => "ok"}} = health(peer)
  end

  test "a file that is away when a node starts again is waited for, and no other is made in its place" do
    data = tmp_folder!()
    folder = killed!(data)
    records = Archive.records(folder)
    for suffix <- ["", "-wal"], do: File.rename!(records <> suffix, records <> ".away" <> suffix)
    File.write!(records, "no file of SQLite's")
    peer = Peer.start!([data: data, server: true], [])
    assert {503, _headers, %{"status" => "store_stopped"}} = health(peer)
    # Before it is away: that is said once.
    Peer.call(peer, LogWatch, :collect, [])
    File.rm!(records)
    eventually(fn -> assert "can't be opened: no such file" <> _path = List.last(logged(peer)) end, 20_000)
    assert {:error, %Error{reason: :no_store}} = call(peer, "alice", "add", "2")
    refute File.exists?(records)
    for suffix <- ["-wal", ""], do: File.rename!(records <> ".away" <> suffix, records <> suffix)
    eventually(fn -> match?({200, _headers, %{"status" => "ok"}}, health(peer)) end, 20_000)
    assert {:ok, "210"} = call(peer, "alice", "sum")
  end

  test "a node that was killed has its actors as they were answered, without a word" do
    data = tmp_folder!()
    _folder = killed!(data)
    peer = Peer.start!(data: data)
    assert {:ok, "210"} = call(peer, "alice", "sum")
    refute Peer.call(peer, Actor.Journal, :stopped?, [])
  end
end
