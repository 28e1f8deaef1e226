defmodule Tidepool.Fault.ActorDamageTest do
  # A byte of an actor's record is another, on a disk that a node starts with.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Peer}
  alias Tidepool.Actor.Journal.Archive

  defp call(peer, name, operation, payload \\ "", options \\ []),
    do: Peer.call(peer, Actor, :call, ["ledger", name, operation, payload, options])

  # In the file, which is all that there is once nobody has it open.
  defp flip!(file, text) do
    eventually(fn -> not File.exists?(file <> "-wal") end, 20_000)
    bytes = File.read!(file)
    [{at, _length} | _more] = :binary.matches(bytes, text)
    <<before::binary-size(at), byte, rest::binary>> = bytes
    File.write!(file, [before, Bitwise.bxor(byte, 1), rest])
  end

  test "of an actor is an error to its callers, and it can be deleted and made anew; others are what they were" do
    data = tmp_folder!()
    peer = Peer.start!(data: data)
    Peer.deploy!(peer, "rust", "ledger", actor: true)
    {:ok, "1"} = call(peer, "alice", "add", "1", request_id: "unlike any other")
    {:ok, "2"} = call(peer, "bob", "add", "2")
    file = Archive.records(Peer.folder(peer))
    :ok = Peer.stop_application(peer)
    flip!(file, "unlike any other")

    {:ok, _started} = Peer.start_application(peer)
    assert {:error, %Error{reason: :no_store, message: message}} = call(peer, "alice", "sum")
    assert message =~ "is damaged"
    assert {:error, %Error{reason: :no_store}} = Peer.call(peer, Actor, :info, ["ledger", "alice"])
    archive = Path.join(data, "archive")

    assert {:error, %Error{reason: :no_store, message: ^message}} =
             Archive.export({:folder, Peer.folder(peer)}, archive, nil, false)

    # Its process is there, for it was called.
    assert :ok = Peer.call(peer, Actor, :delete, ["ledger", "alice"])
    assert {:error, %Error{reason: :unknown_actor}} = Peer.call(peer, Actor, :delete, ["ledger", "alice"])
    assert {:error, %Error{reason: :unknown_actor}} = call(peer, "alice", "sum", "", create: false)
    assert {:ok, "5"} = call(peer, "alice", "add", "5")
    assert {:ok, "2"} = call(peer, "bob", "sum")
    assert {:ok, %{actors: 2}} = Archive.export({:folder, Peer.folder(peer)}, archive, nil, false)
  end

  test "of one that nobody has called is no hindrance to its end" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "ledger", actor: true)
    {:ok, "1"} = call(peer, "alice", "add", "1", request_id: "unlike any other")
    file = Archive.records(Peer.folder(peer))
    :ok = Peer.stop_application(peer)
    flip!(file, "unlike any other")
    {:ok, _started} = Peer.start_application(peer)
    assert :ok = Peer.call(peer, Actor, :delete, ["ledger", "alice"])
    assert {:ok, [], nil} = Peer.call(peer, Actor, :list, ["ledger"])
    assert {:ok, "0"} = call(peer, "alice", "sum")
  end

  test "in a change of its memory, behind an image that is whole, is that of the actor, which can be deleted" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "ledger", actor: true)
    {:ok, "1"} = call(peer, "alice", "write", Base.encode64(:crypto.strong_rand_bytes(6_000)))
    {:ok, %{bytes: whole}} = Peer.call(peer, Actor, :info, ["ledger", "alice"])
    {:ok, "2"} = call(peer, "alice", "write", "unlike any other")
    {:ok, "2"} = call(peer, "alice", "add", "2")
    {:ok, %{bytes: bytes}} = Peer.call(peer, Actor, :info, ["ledger", "alice"])
    assert bytes in (whole + 1)..(whole + 600)
    file = Archive.records(Peer.folder(peer))
    :ok = Peer.stop_application(peer)
    flip!(file, "unlike any other")
    {:ok, _started} = Peer.start_application(peer)
    assert {:error, %Error{reason: :no_store, message: message}} = call(peer, "alice", "sum")
    assert message =~ "is damaged"
    # Its process ends, and who looks at it from then on has its memory left alone.
    :ok = Peer.stop_application(peer)
    {:ok, _started} = Peer.start_application(peer)
    assert {:ok, %{awake: false, writes: 3}} = Peer.call(peer, Actor, :info, ["ledger", "alice"])
    archive = Path.join(tmp_folder!(), "archive")
    assert {:error, %Error{reason: :no_store}} = Archive.export({:folder, Peer.folder(peer)}, archive, nil, false)
    assert :ok = Peer.call(peer, Actor, :delete, ["ledger", "alice"])
    assert {:ok, "0"} = call(peer, "alice", "sum")
  end
end
