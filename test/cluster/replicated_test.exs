defmodule Tidepool.ReplicatedActorsTest do
  # Actors that nodes keep together on their own disks: who has them, and what becomes of them when nodes end, are cut off or come back.
  use Tidepool.Case, async: true

  @moduletag :slow

  import ExUnit.CaptureIO
  import Tidepool.ActorNodes

  alias Mix.Tasks.Tidepool.Members
  alias Tidepool.{Actor, Error, Host, Keyvalue, Peer, Release, TestCluster}
  alias Tidepool.Actor.Bucket
  alias Tidepool.Actor.Journal.Archive
  alias Tidepool.Actor.Ownership.{Lease, Outside, Shards}
  alias Tidepool.Actor.Voter
  alias Tidepool.Catalog.Store

  @patience 60_000

  setup do
    names = for stem <- ~w(a b c), do: Peer.name(stem)
    cookie = Peer.cookie()
    actors = {:replicated, Enum.map(names, &to_string/1)}
    settings = [actors: actors, builtins: [:actor], server: true, keyvalue: :actors]
    peers = for name <- names, do: TestCluster.start_node!(name, cookie, names -- [name], settings)
    Peer.deploy!(hd(peers), "rust", "ledger", name: "ledger", actor: true)
    for peer <- peers, do: own_some(peer)
    {:ok, peers: peers, settings: settings}
  end

  # What the store of keys and values answers, once there is an answer.
  defp ask(peer, name, arguments) do
    eventually(fn -> with({:error, _not_yet} <- asked(peer, name, arguments ++ [[]]), do: false) end, @patience)
  end

  # It raises what is not for guests.
  defp asked(peer, name, arguments) do
    Peer.call(peer, Keyvalue.Actors, name, arguments)
  rescue
    error in Error -> {:error, error}
  end

  # What a guest on that node is answered.
  defp guest(peer, bucket, operation, arguments) do
    deadline = Peer.call(peer, System, :monotonic_time, [:millisecond]) + @patience
    call = %Host.Call{binding: "wasi", namespace: "keyvalue", operation: operation, payload: "", function: "guest"}
    Peer.call(peer, Keyvalue.Handler, :answer, [%{call | args: [bucket | arguments], deadline: deadline}])
  end

  # A name whose actor is on that node.
  defp on(peer, class \\ "ledger") do
    eventually(
      fn ->
        names = Enum.map(1..500, &"actor-#{&1}")
        assert name = Enum.find(names, &match?({:here, _title}, Peer.call(peer, Shards, :place, [class, &1])))
        name
      end,
      @patience
    )
  end

  defp change(peer, how, of), do: post(peer, ~s({"#{how}":"#{of.node}"}))

  defp post(peer, body) do
    {status, _headers, answer} = curl_url(Peer.url(peer, "/members"), ["--data-binary", body])
    {status, answer}
  end

  test "every node calls every actor, and there is one of each", %{peers: [one, other, third] = peers} do
    for number <- 1..20 do
      assert answer(one, "actor-#{number}", "add", "1", request_id: "1") == "1"
      assert answer(other, "actor-#{number}", "add", "2", request_id: "2") == "3"
      assert answer(third, "actor-#{number}", "sum", "") == "3"
    end

    for peer <- peers do
      # Two of them ask the one that leads.
      assert {:ok, listed, nil} = Peer.call(peer, Actor, :list, ["ledger"])
      assert length(listed) == 20
      eventually(fn -> standing(peer) == :member end, @patience)
      refute Peer.call(peer, Actor.Journal, :stopped?, [])
      # `global` cuts those that it takes to be parted: what nodes ask each other makes no links that it knows.
      assert Peer.call(peer, Node, :list, [:visible]) -- [node()] == []
    end
  end

  test "what was answered is there after its node was killed, and that one has it when it is back",
       %{peers: peers, settings: settings} do
    Enum.reduce(0..2, peers, fn turn, peers ->
      {killed, others} = List.pop_at(peers, turn)
      other = hd(others)
      name = on(killed)
      before = answer(other, name, "add", "7", request_id: "seven #{turn}")
      Peer.halt(killed)
      assert answer(other, name, "add", "7", request_id: "seven #{turn}") == before
      sum = answer(other, name, "add", "1", request_id: "one #{turn}")
      back = TestCluster.restart!(killed, Enum.map(others, & &1.node), settings)
      # Who asks it at once waits until it knows who has the actor.
      assert Peer.call(back, Actor, :call, ["ledger", name, "sum", "", [timeout: 60_000]]) == {:ok, sum}
      own_some(back)
      List.insert_at(others, turn, back)
    end)
  end

  test "an actor of a component goes on with its memory on another node when its own was killed", %{peers: peers} do
    [one, other, third] = peers
    Peer.deploy!(one, "rust", "tally", name: "tally", actor: true, wait: :all)
    name = on(one, "tally")
    assert answer(third, name, "add", "[3]", class: "tally", request_id: "three") == "3"
    assert answer(third, name, "note", ~s(["ebb"]), class: "tally", request_id: "ebb") == "1"
    Peer.halt(one)
    assert answer(other, name, "add", "[4]", class: "tally", request_id: "four") == "7"
    # The same request, and no other one.
    assert answer(third, name, "add", "[4]", class: "tally", request_id: "four") == "7"
    assert answer(third, name, "notes", "[]", class: "tally") == ~s(["ebb"])
  end

  test "a bucket of keys and values is one for all nodes, and what was set is there after its node was killed",
       %{peers: peers, settings: settings} do
    [one, other, third] = peers
    for {peer, key} <- Enum.zip(peers, ~w(a b c)), do: assert(ask(peer, :set, ["visits", key, key]) == :ok)
    for peer <- peers, do: assert(ask(peer, :get_many, ["visits", ~w(a b c d)]) == {:ok, ["a", "b", "c", nil]})
    add = fn peer -> for _turn <- 1..10, do: ask(peer, :increment, ["visits", "sum", 1]) end
    sums = peers |> Enum.map(&Task.async(fn -> add.(&1) end)) |> Enum.flat_map(&Task.await(&1, :infinity))
    assert length(sums) == 30 and Enum.uniq(sums) == sums

    bucket = on(one, Bucket.class(nil))
    assert ask(other, :set, [bucket, "tide", "low"]) == :ok
    # The process that drives a guest asks no other node, and the guest is answered all the same.
    here = Keyvalue.Actors.here([])

    for {name, arguments} <- [
          set: ["tide", "ebb"],
          get: ["tide"],
          exists: ["tide"],
          delete: ["tide"],
          increment: ["n", 1]
        ],
        do: assert(Peer.call(other, Keyvalue.Actors, name, [bucket | arguments] ++ [here]) == :elsewhere)

    for peer <- [one, other] do
      assert guest(peer, bucket, "swap", ["tide", "low", "slack"]) == {:ok, :swapped}
      assert guest(peer, bucket, "get", ["tide"]) == {:ok, "slack"}
      assert guest(peer, bucket, "set", ["tide", "low"]) == {:ok, nil}
    end

    Peer.halt(one)
    assert ask(third, :get, [bucket, "tide"]) == {:ok, "low"}
    assert ask(other, :set, [bucket, "tide", "high"]) == :ok
    back = TestCluster.restart!(one, [other.node, third.node], settings)
    own_some(back)
    assert ask(back, :get, [bucket, "tide"]) == {:ok, "high"}
    eventually(fn -> assert {:ok, %{^bucket => _, "visits" => _}} = asked(back, :buckets, []) end, @patience)
  end

  test "a node that is cut off from the others answers for no actor, and they do for all", %{peers: [one | others]} do
    name = on(one)
    assert answer(one, name, "add", "1", request_id: "1") == "1"
    TestCluster.part([one], others)

    eventually(
      fn -> match?({:error, %{reason: :no_store}}, call(one, name, "add", "10", request_id: "3")) end,
      @patience
    )

    assert answer(hd(others), name, "add", "2", request_id: "2") == "3"
    for _call <- 1..20, do: assert({:error, %{reason: :no_store}} = call(one, name, "add", "10", timeout: 1_000))
    TestCluster.heal([one], others)
    assert answer(one, name, "sum", "") == "3"
    assert answer(one, name, "add", "10", request_id: "3") == "13"
  end

  test "a node that loses its lease beside the others fails no call before it has asked them", %{peers: [one | _others]} do
    # Within a second it has another, unless the machine is busy.
    lose = "#{inspect(Lease)}.finish(:ets.lookup_element(#{inspect(Shards)}, :lease, 2))"

    for turn <- 1..5 do
      # Shards may move while all begin.
      name = on(one)
      sum = answer(one, name, "add", "1", request_id: "#{turn}")
      eventually(fn -> not Peer.call(one, :ets, :member, [Outside, :silent]) end, @patience)
      began = System.monotonic_time(:millisecond)
      assert {:ok, []} = Peer.call(one, Code, :eval_string, [lose])

      case call(one, name, "sum", "", timeout: 30_000) do
        {:ok, answer} -> assert answer == sum
        # Others have had their time to answer.
        {:error, %Error{reason: :no_store}} -> assert System.monotonic_time(:millisecond) - began >= 2_000
      end
    end
  end

  test "without a majority no actor is called, and all are again when there is one", %{peers: peers, settings: settings} do
    [one | others] = peers
    assert answer(one, "actor", "add", "1", request_id: "1") == "1"
    for other <- others, do: Peer.halt(other)

    eventually(
      fn -> match?({:error, %{reason: :no_store}}, call(one, "actor", "add", "2", request_id: "2")) end,
      @patience
    )

    Peer.halt(one)
    names = for peer <- peers, do: peer.node
    again = for peer <- peers, do: TestCluster.restart!(peer, names -- [peer.node], settings)
    assert answer(hd(again), "actor", "add", "2", request_id: "2") == "3"
  end

  test "a node whose folder is lost has no actors, says so, and is in the way of no others",
       %{peers: peers} = context do
    [one, other, lost] = peers
    assert answer(one, "actor", "add", "1", request_id: "1") == "1"
    Peer.halt(lost)
    [folder] = Path.wildcard(Path.join([lost.data, "**/actors/replicated"]))
    File.rm_rf!(folder)
    back = TestCluster.restart!(lost, [one.node, other.node], context.settings)

    eventually(
      fn -> with({:refused, why} <- standing(back), do: why =~ "another folder", else: (_waits -> false)) end,
      @patience
    )

    eventually(fn -> Peer.call(back, Actor.Journal, :stopped?, []) end, @patience)
    assert answer(other, "actor", "add", "2", request_id: "2") == "3"
    # It has none itself, and passes calls on.
    assert answer(back, "actor", "sum", "") == "3"
    refute to_string(back.node) in placed(back)

    # Replaced, it is one of them again.
    assert {409, %{"error" => %{"reason" => "members_unchanged", "message" => why}}} = change(one, "add", back)
    assert why =~ "replace"
    assert {200, %{"members" => members}} = change(one, "replace", back)
    assert Enum.map(members, & &1["node"]) == Enum.sort(Enum.map(peers, &to_string(&1.node)))
    own_some(back)
    assert answer(back, "actor", "sum", "") == "3"
  end

  test "a node is added and another removed while actors are called, and none is lost", %{peers: peers} = context do
    [one, other, third] = peers
    late = TestCluster.start_node!(Peer.name("d"), one.cookie, Enum.map(peers, & &1.node), context.settings)
    caller = Task.async(fn -> for number <- 1..60, do: answer(one, "actor", "add", "1", request_id: "#{number}") end)
    eventually(fn -> match?({:outside, _why}, standing(late)) end, @patience)
    # Whichever leads is to have a link with it.
    eventually(fn -> assert {200, %{"members" => [_, _, _, _]}} = change(other, "add", late) end, @patience)
    # It is told that it is one of them in a moment.
    {200, %{"members" => members}} = eventually(fn -> {200, _members} = change(late, "remove", third) end, @patience)
    assert Enum.all?(members, &(&1["votes"] and &1["answers"]))
    refute to_string(third.node) in Enum.map(members, & &1["node"])
    assert Task.await(caller, :infinity) == Enum.map(1..60, &to_string/1)
    own_some(late)
    eventually(fn -> match?({:outside, _why}, standing(third)) end, @patience)
    assert answer(late, "actor", "sum", "") == "60"
    # It is a member, whoever is named, and notes that when the one that leads has told it.
    refute to_string(late.node) in elem(context.settings[:actors], 1)
    eventually(fn -> late |> Peer.folder() |> Voter.folder() |> Voter.refusal() == nil end, @patience)
    file = Path.join(tmp_folder!(), "actors")

    export =
      "Process.group_leader(self(), elem(StringIO.open(\"\"), 1)); #{inspect(Release)}.export_actors(#{inspect(file)})"

    assert {:ok, _binding} = Peer.call(late, Code, :eval_string, [export])
    place = {:folder, tmp_folder!()}
    assert {:ok, %{actors: 1, modules: 1}} = Archive.import(place, file, false)

    url = Peer.url(one, "")
    table = capture_io(fn -> Members.run(["--url", url]) end)

    for peer <- [one, other, late],
        do: assert(table =~ ~r/^#{peer.node} +(a voter|the leader) +yes +(nothing|\?|\d+ entries)$/m)

    table = capture_io(fn -> Members.run(["remove", to_string(third.node), "--url", url]) end)
    refute table =~ to_string(third.node)
    assert_raise Mix.Error, ~r/members_unchanged/, fn -> Members.run(["add", "nobody@127.0.0.1", "--url", url]) end

    for body <- ["", "{}", ~s({"add":1}), ~s({"make":"a@b"}), ~s({"add":"a@b","remove":"a@b"})],
        do: assert({400, %{"error" => %{"reason" => "invalid_option"}}} = post(one, body))
  end

  test "a backup is of any node while all go on, and what is restored from it is kept by all that are added", %{
    peers: [one, two, three],
    settings: settings
  } do
    file = Path.join(tmp_folder!(), "actors")
    for number <- 1..20, do: assert("1" == answer(one, "actor-#{number}", "add", "1", request_id: "1"))

    for peer <- [one, two, three] do
      place = {:voter, Peer.folder(peer), to_string(peer.node)}

      eventually(
        fn -> assert {:ok, %{actors: 20, modules: 1}} = Archive.export(place, file, nil, true) end,
        @patience
      )

      assert {:error, %Error{reason: :data_in_use}} = Archive.import(place, file, false)
      assert {:error, %Error{reason: :no_store, message: message}} = Archive.accept(place)
      assert message =~ "replaced as a member"
    end

    # Into a group of one, which others come to.
    names = [first, second, _not_up] = for stem <- ~w(d e f), do: Peer.name(stem)
    cookie = Peer.cookie()
    settings = Keyword.put(settings, :actors, {:replicated, Enum.map(names, &to_string/1)})
    data = tmp_folder!()
    place = {:voter, Store.folder(data, to_string(first)), to_string(first)}
    assert {:ok, %{actors: 20, modules: 1}} = Archive.import(place, file, false)
    assert {:error, %Error{reason: :no_store, message: message}} = Archive.import(place, file, true)
    assert message =~ "move this folder away"
    restored = TestCluster.start_node!(first, cookie, [second], [data: data] ++ settings)
    Peer.deploy!(restored, "rust", "ledger", name: "ledger", actor: true)
    assert "1" == answer(restored, "actor-7", "sum", "")
    added = TestCluster.start_node!(second, cookie, [first], settings)

    eventually(
      fn -> {:ok, _members} = Peer.call(restored, Actor.Members, :change, [:add, to_string(second)]) end,
      @patience
    )

    for number <- 1..20, do: assert("2" == answer(added, "actor-#{number}", "add", "1", request_id: "2"))
  end
end
