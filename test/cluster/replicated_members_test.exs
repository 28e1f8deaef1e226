defmodule Tidepool.ReplicatedMembersTest do
  # Members of those that keep actors together: what becomes of actors as one is removed, and what each says of itself.
  use Tidepool.Case, async: true

  @moduletag :slow

  import ExUnit.CaptureIO
  import Tidepool.ActorNodes

  alias Mix.Tasks.Tidepool.Members
  alias Tidepool.{Actor, ActorLoad, Error, Peer, SmallDisk, TestCluster}
  alias Tidepool.Actor.Journal.Archive
  alias Tidepool.Actor.Ownership.{LeaseHolder, Shards}
  alias Tidepool.Actor.Voter

  @patience 60_000
  @disk if(SmallDisk.available?(), do: :any, else: "mounting a disk takes a superuser")

  setup do
    names = for stem <- ~w(a b c), do: Peer.name(stem)
    cookie = Peer.cookie()
    settings = [actors: {:replicated, Enum.map(names, &to_string/1)}, builtins: [:actor], server: true]
    peers = for name <- names, do: TestCluster.start_node!(name, cookie, names -- [name], settings)
    Peer.deploy!(hd(peers), "rust", "ledger", name: "ledger", actor: true, wait: :all)
    for peer <- peers, do: own_some(peer)
    {:ok, peers: peers, settings: settings}
  end

  defp here?(peer, name), do: match?({:here, _title}, Peer.call(peer, Shards, :place, ["ledger", name]))

  defp sum(peer, name), do: Peer.call(peer, Actor, :call, ["ledger", name, "sum", ""])

  defp change(peer, how, of) do
    {status, _headers, answer} = curl_url(Peer.url(peer, "/members"), ["--data-binary", ~s({"#{how}":"#{of.node}"})])

    {status, answer}
  end

  defp health(peer) do
    {status, _headers, %{"status" => said}} = curl_url(Peer.url(peer, "/health"))
    {status, said}
  end

  test "a member that is removed hands its actors over first, and no call of them fails", %{peers: [one, other, third]} do
    names = Enum.map(1..24, &"actor-#{&1}")
    eventually(fn -> assert Enum.any?(names, &here?(third, &1)) end, @patience)

    # None is asked again.
    callers =
      for {peer, its} <- Enum.zip([one, other], Enum.chunk_every(names, 12)),
          caller <- ActorLoad.add(peer, "ledger", its),
          do: caller

    begun? = &match?({:ok, <<digit, _rest::binary>>} when digit > ?0, sum(one, &1))
    for name <- names, do: eventually(fn -> begun?.(name) end, @patience)
    assert {200, %{"members" => [_one, _other]}} = change(one, "remove", third)
    left = Enum.sort([to_string(one.node), to_string(other.node)])
    for peer <- [one, other], do: eventually(fn -> assert Enum.sort(placed(peer)) == left end, @patience)
    Enum.each([one, other], &ActorLoad.enough/1)

    for {sums, errors} <- Task.await_many(callers, :infinity) do
      assert errors == []
      assert sums == Enum.to_list(1..length(sums))
    end
  end

  test "a node that leads and is stopped has another lead, and no call of the others fails", %{
    peers: [one | _others] = peers
  } do
    leader = eventually(fn -> leader(one) end, @patience)
    {[stopped], others} = Enum.split_with(peers, &(to_string(&1.node) == leader))
    names = Enum.map(1..24, &"actor-#{&1}")

    callers =
      for {peer, its} <- Enum.zip(others, Enum.chunk_every(names, 12)),
          caller <- ActorLoad.add(peer, "ledger", its),
          do: caller

    begun? = &match?({:ok, <<digit, _rest::binary>>} when digit > ?0, sum(hd(others), &1))
    for name <- names, do: eventually(fn -> begun?.(name) end, @patience)
    # First what gives the lead up: its voter is there on, so that the others miss none.
    :ok = Peer.call(stopped, Supervisor, :terminate_child, [Tidepool.Actor.Supervisor, LeaseHolder])
    for peer <- others, do: eventually(fn -> leader(peer) not in [nil, leader] end)
    :ok = Peer.stop_application(stopped)
    for peer <- others, do: eventually(fn -> leader(peer) not in [nil, leader] end, @patience)
    Enum.each(others, &ActorLoad.enough/1)
    for {_sums, errors} <- Task.await_many(callers, :infinity), do: assert(errors == [])
  end

  test "a node that has handed its actors over and stays a member has no lease meanwhile, and its share again afterwards",
       %{peers: [one, other, third]} do
    name = eventually(fn -> Enum.find(Enum.map(1..500, &"actor-#{&1}"), &here?(third, &1)) end, @patience)
    assert {:ok, "1"} = Peer.call(other, Actor, :call, ["ledger", name, "add", "1"])
    assert {[], false} = Peer.call(one, ActorLoad, :handed_over, [to_string(third.node)])
    assert {:ok, "1"} = sum(third, name)
    own_some(third)
    eventually(fn -> here?(third, name) end, @patience)
    assert {:ok, "1"} = sum(one, name)
  end

  defp problem(peer, of) do
    {200, _headers, %{"members" => members}} = curl_url(Peer.url(peer, "/members"))
    %{"problem" => problem} = Enum.find(members, &(&1["node"] == to_string(of.node)))
    problem || "none"
  end

  defp leader(peer) do
    {200, _headers, %{"members" => members}} = curl_url(Peer.url(peer, "/members"))
    Enum.find_value(members, &if(&1["leads"], do: &1["node"]))
  end

  defp known(peer) do
    {200, _headers, %{"members" => known}} = curl_url(Peer.url(peer, "/cluster"))
    known
  end

  test "each member is told with what is wrong with it and what to do, and the cluster with those that are members by now",
       %{peers: [one, other, third] = peers, settings: settings} do
    all = peers |> Enum.map(&to_string(&1.node)) |> Enum.sort()
    for peer <- peers, do: eventually(fn -> known(peer) == all end, @patience)
    for peer <- peers, do: eventually(fn -> problem(one, peer) == "none" end, @patience)
    Peer.halt(third)
    eventually(fn -> problem(other, third) =~ "#{third.node} is not to be reached: start it" end, @patience)
    table = capture_io(fn -> Members.run(["--url", Peer.url(one, "")]) end)
    assert table =~ ~r/^#{third.node} +a voter +no /m
    assert table =~ ~r/^#{third.node}: #{third.node} is not to be reached: start it/m

    [folder] = Path.wildcard(Path.join([third.data, "**/actors/replicated"]))
    File.rm_rf!(folder)
    back = TestCluster.restart!(third, [one.node, other.node], settings)
    eventually(fn -> problem(one, third) =~ "have #{third.node} replaced as a member" end, @patience)
    assert known(back) == []
    assert {200, _members} = change(one, "replace", back)
    eventually(fn -> problem(back, back) == "none" end, @patience)
    assert {200, _members} = change(one, "remove", back)
    eventually(fn -> known(other) == all -- [to_string(back.node)] end, @patience)
  end

  @tag skip: @disk != :any && @disk
  test "a member that makes its state again on a full disk says so, and goes on by itself when there is room",
       %{peers: [one, other, third], settings: settings} do
    assert {:ok, "1"} = Peer.call(one, Actor, :call, ["ledger", "actor", "add", "1"])
    Peer.halt(third)
    [folder] = Path.wildcard(Path.join([third.data, "**/actors/replicated"]))
    before = folder <> ".before"
    File.rename!(folder, before)
    SmallDisk.mount!(folder, 65_536)
    # Not the state, which is made again of the log.
    for file <- Path.wildcard(Path.join(before, "log.db*")), do: File.cp!(file, Path.join(folder, Path.basename(file)))
    SmallDisk.fill!(folder)
    back = TestCluster.restart!(third, [one.node, other.node], settings)
    eventually(fn -> health(back) == {503, "store_stopped"} end, @patience)
    eventually(fn -> problem(other, third) =~ "no room on the disk of #{third.node}" end, @patience)
    assert answer(other, "actor", "add", "1", request_id: "2") == "2"
    SmallDisk.free!(folder)
    eventually(fn -> health(back) == {200, "ok"} end, @patience)
    eventually(fn -> problem(other, third) == "none" end, @patience)
    own_some(back)
    assert answer(back, "actor", "sum", "") == "2"
  end

  test "nothing is exported from a member that was removed, unless it is all that is left", %{
    peers: [one, other, third]
  } do
    assert {:ok, "1"} = Peer.call(one, Actor, :call, ["ledger", "actor", "add", "1"])
    file = Path.join(tmp_folder!(), "actors")
    folder = Peer.folder(third)
    export = fn -> Archive.export({:voter, folder, to_string(third.node)}, file, nil, true) end
    eventually(fn -> assert {:ok, %{actors: 1}} = export.() end, @patience)
    assert {200, _members} = change(one, "remove", third)
    eventually(fn -> match?({:error, %Error{reason: :no_store}}, export.()) end, @patience)
    assert {:error, %Error{message: message}} = export.()
    assert message =~ "Export from another node"
    refused = folder |> Voter.folder() |> Voter.refused()
    assert message =~ refused

    # One that is added again has all.
    assert {200, _members} = eventually(fn -> assert {200, _members} = change(other, "add", third) end, @patience)
    eventually(fn -> assert {:ok, %{actors: 1}} = export.() end, @patience)
    refute File.exists?(refused)
    assert {200, _members} = change(one, "remove", third)
    eventually(fn -> File.exists?(refused) end, @patience)
    Peer.halt(third)
    assert {:error, %Error{reason: :no_store}} = export.()
    File.rm!(refused)
    assert {:ok, %{actors: 1}} = export.()
  end

  test "a member that has started is catching up until it has what the others have, and a node that is none is not",
       %{peers: [one, other, third] = peers, settings: settings} do
    for peer <- peers, do: eventually(fn -> health(peer) == {200, "ok"} end, @patience)
    assert {:ok, "1"} = Peer.call(one, Actor, :call, ["ledger", "actor", "add", "1"])
    Enum.each(peers, &Peer.halt/1)
    # Alone it may lack what the others were answered.
    back = TestCluster.restart!(one, [other.node, third.node], settings)
    eventually(fn -> health(back) == {503, "catching_up"} end, @patience)
    assert {:ok, _function} = Peer.call(back, Tidepool, :fetch, ["ledger"])
    again = TestCluster.restart!(other, [one.node, third.node], settings)
    for peer <- [back, again], do: eventually(fn -> health(peer) == {200, "ok"} end, @patience)
    late = TestCluster.start_node!(Peer.name("d"), one.cookie, [one.node, other.node], settings)
    eventually(fn -> match?({:outside, _why}, standing(late)) end, @patience)
    eventually(fn -> health(late) == {200, "ok"} end, @patience)
  end
end
