defmodule Tidepool.Fault.SigkillTest do
  # Not async: a node killed at a moment that the processor decides is killed at a random one.
  use Tidepool.Case

  alias Tidepool.{FaultStream, FaultVersion, Peer}
  alias Tidepool.Catalog.BlobStore

  @kills 20
  # A deploy takes some milliseconds; the first ones of a node are slower.
  @longest_wait_ms 150
  @longest_start_ms 60

  @others [{"returns_1_twice", "second"}, {"start_exit_0", "ready"}, {"host_unasked", "nothing"}]

  test "a node killed with SIGKILL at #{@kills} random points of deploys has the old version or the new one" do
    # Printed by ExUnit at the end; `mix test --seed` brings the same points back.
    :rand.seed(:exsss, ExUnit.configuration()[:seed])
    data = tmp_folder!()
    diary = Path.join(data, "diary")

    peer = Peer.start!(data: data)
    for {guest, _reply} <- @others, do: Peer.deploy!(peer, "wat", guest)
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [FaultStream.module(1), [name: "victim"]])

    # A kill between two deploys proves little and does not count.
    {peer, version, _kills} =
      Enum.reduce_while(1..(3 * @kills), {peer, 1, 0}, fn turn, {peer, version, kills} ->
        kill_during_deploy(peer, version, diary)
        {done, begun} = {FaultStream.last(diary, :done, version), FaultStream.last(diary, :begun, version)}
        if rem(turn, 4) == 0, do: kill_during_start(data)

        peer = Peer.start!(data: data)
        found = assert_whole(peer, data)
        assert found in [done, begun], "version #{found} after a kill between #{done} and #{begun}"
        kills = if begun > done, do: kills + 1, else: kills
        if kills == @kills, do: {:halt, {peer, found, kills}}, else: {:cont, {peer, found, kills}}
      end)
      |> tap(fn {_peer, _version, kills} -> assert kills == @kills end)

    # And goes on from there.
    next = version + 1
    assert {:ok, %{version: ^next}} = Peer.call(peer, Tidepool, :deploy, [FaultStream.module(next), [name: "victim"]])
    assert assert_whole(peer, data) == next
    Peer.halt(peer)
  end

  defp kill_during_deploy(peer, version, diary) do
    File.write!(diary, "")
    os_pid = Peer.call(peer, System, :pid, [])
    Peer.call(peer, FaultStream, :start, ["victim", version + 1, diary])
    Peer.kill_after!(peer, os_pid, :rand.uniform(@longest_wait_ms) - 1)
  end

  defp kill_during_start(data) do
    peer = Peer.boot!(data: data)
    os_pid = Peer.call(peer, System, :pid, [])
    starter = spawn(fn -> catch_exit(Peer.start_application(peer)) end)
    Peer.kill_after!(peer, os_pid, :rand.uniform(@longest_start_ms) - 1)
    Process.exit(starter, :kill)
  end

  # Everything is there, answers, and has the bytes that it says it has. Returns the version of the victim.
  defp assert_whole(peer, data) do
    functions = Peer.call(peer, Tidepool, :list, [])
    assert Enum.map(functions, & &1.name) == Enum.sort(["victim" | Enum.map(@others, &elem(&1, 0))])

    for {guest, reply} <- @others do
      assert %{version: 1} = Enum.find(functions, &(&1.name == guest))
      assert Peer.call(peer, Tidepool, :call, [guest, "any"]) == {:ok, reply}
    end

    victim = Enum.find(functions, &(&1.name == "victim"))
    assert {:ok, reply} = Peer.call(peer, Tidepool, :call, ["victim", "any"])
    assert FaultVersion.of(reply) == victim.version
    assert victim.sha256 == BlobStore.sha256(FaultStream.module(victim.version))

    # One blob for each version that is kept, each with the bytes of its name, and nothing of a deploy that came to nothing.
    blobs = Path.join(Peer.folder(peer), "blobs")

    kept =
      for function <- functions,
          {:ok, versions} = Peer.call(peer, Tidepool, :versions, [function.name]),
          version <- versions,
          do: version.sha256

    assert Enum.sort(File.ls!(blobs)) == kept |> Enum.uniq() |> Enum.sort()
    for name <- File.ls!(blobs), do: assert(BlobStore.sha256(File.read!(Path.join(blobs, name))) == name)
    assert String.starts_with?(blobs, data)
    victim.version
  end
end
