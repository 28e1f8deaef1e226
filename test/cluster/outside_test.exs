defmodule Tidepool.OutsideTest do
  # Nodes that are no members of those that keep actors together: they have none, and call those of the others; and nodes that would have
  # actors of their own beside others.
  use Tidepool.Case, async: true

  import Tidepool.ActorNodes

  alias Tidepool.{Actor, Error, Keyvalue, LogWatch, Peer, TestCluster}
  alias Tidepool.Actor.Ownership.{Meetings, Outside, Shards, Waiters}
  alias Tidepool.Actor.Voter
  alias Tidepool.Actor.Voter.Company

  @moduletag :slow

  @patience 60_000

  # Three members, and one more node that names them.
  defp begun! do
    names = for stem <- ~w(a b c), do: Peer.name(stem)
    cookie = Peer.cookie()
    actors = {:replicated, Enum.map(names, &to_string/1)}
    settings = [actors: actors, builtins: [:actor], server: true, keyvalue: :actors]
    members = for name <- names, do: TestCluster.start_node!(name, cookie, names -- [name], settings)
    Peer.deploy!(hd(members), "rust", "ledger", name: "ledger", actor: true)
    for peer <- members, do: own_some(peer)
    # By the members that are named it finds the cluster.
    outside = TestCluster.start_node!(Peer.name("outside"), cookie, [], settings)
    {members, outside, settings}
  end

  # The answers to so many requests, one after the other, each of which is asked until it is answered.
  defp counting(peer, numbers),
    do: Task.async(fn -> for number <- numbers, do: answer(peer, "counted", "add", "1", request_id: "#{number}") end)

  # Has a node no shards?
  defp none?(peer), do: to_string(peer.node) not in placed(peer)

  defp outside?(peer), do: match?({:outside, _why}, standing(peer))

  # What a bucket answers, once it does.
  defp ask(peer, name, arguments) do
    eventually(
      fn ->
        try do
          with {:error, _not_yet} <- Peer.call(peer, Keyvalue.Actors, name, arguments ++ [[]]), do: false
        rescue
          _away in Error -> false
        end
      end,
      @patience
    )
  end

  defp change(by, how, peer) do
    eventually(
      fn ->
        assert {:ok, members} = Peer.call(by, Actor.Members, :change, [how, to_string(peer.node)])
        members
      end,
      @patience
    )
  end

  test "a node that is no member calls actors, lists them and sets keys, and has none itself" do
    {[one, other | _third] = members, outside, _settings} = begun!()
    for number <- 1..20, do: assert(answer(outside, "actor-#{number}", "add", "1", request_id: "1") == "1")
    for number <- 1..20, do: assert(answer(one, "actor-#{number}", "add", "1", request_id: "2") == "2")
    eventually(fn -> outside?(outside) end, @patience)
    assert none?(outside)
    assert Peer.call(outside, Actor, :awake, []) == 0
    refute Peer.call(outside, Actor.Journal, :stopped?, [])
    assert {200, _headers, _body} = curl_url(Peer.url(outside, "/health"))

    # What is written, as the members have it.
    eventually(
      fn ->
        assert {:ok, listed, nil} = Peer.call(outside, Actor, :list, ["ledger"])
        assert length(listed) == 20 and Enum.all?(listed, & &1.awake)
      end,
      @patience
    )

    assert Peer.call(outside, Actor, :count, ["ledger", 100]) == {:ok, 20}
    assert Peer.call(outside, Actor, :count, ["ledger", 5]) == {:ok, :more}
    assert Peer.call(outside, Actor, :list, ["another"]) == {:ok, [], nil}

    # And each of them.
    assert {:ok, %{node: node}} = Peer.call(outside, Actor, :info, ["ledger", "actor-7"])
    assert node in Enum.map(members, & &1.node)
    assert Peer.call(outside, Actor, :start, ["ledger", "started"]) == :ok
    assert Peer.call(outside, Actor, :stop, ["ledger", "actor-7"]) == :ok
    assert Peer.call(outside, Actor, :delete, ["ledger", "actor-7"]) == :ok
    assert {:error, %{reason: :unknown_actor}} = Peer.call(other, Actor, :info, ["ledger", "actor-7"])
    assert Peer.call(outside, Actor, :cast, ["ledger", "cast", "add", "5", []]) == :ok
    eventually(fn -> answer(one, "cast", "sum", "") == "5" end, @patience)

    assert ask(outside, :set, ["visits", "tide", "low"]) == :ok
    assert ask(other, :get, ["visits", "tide"]) == {:ok, "low"}
    assert ask(other, :set, ["visits", "tide", "high"]) == :ok
    # It keeps nothing in memory of what others have.
    assert ask(outside, :get, ["visits", "tide"]) == {:ok, "high"}
    assert {:ok, %{"visits" => _bytes}} = Peer.call(outside, Keyvalue.Actors, :buckets, [])

    # Of one that waited and was killed it keeps nothing either.
    waiting = fn -> Peer.call(outside, :ets, :match, [Waiters, {{:killed, :"$1"}, :_}]) end
    killed = Peer.call(outside, :erlang, :spawn, [Waiters, :await, [:killed, :infinity, &:erlang.node/0]])
    eventually(fn -> length(waiting.()) == 1 end, @patience)
    Peer.call(outside, Process, :exit, [killed, :kill])
    eventually(fn -> waiting.() == [] end, @patience)
  end

  test "a node that is no member goes on when the one that it asks is killed, and no call is done twice" do
    {members, outside, _settings} = begun!()
    assert answer(outside, "counted", "add", "1", request_id: "first") == "1"
    asked = Peer.call(outside, :sys, :get_state, [Outside]).from
    caller = counting(outside, 1..60)
    members |> Enum.find(&(to_string(&1.node) == asked)) |> Peer.halt()
    assert Task.await(caller, :infinity) == Enum.map(2..61, &to_string/1)
    eventually(fn -> Peer.call(outside, :sys, :get_state, [Outside]).from != asked end, @patience)
    eventually(fn -> assert {:ok, [_one], nil} = Peer.call(outside, Actor, :list, ["ledger"]) end, @patience)
  end

  test "a node becomes a member, and is none again, without a stop, and no call that is made there is lost" do
    {[one | _others], late, _settings} = begun!()
    caller = counting(late, 1..60)
    assert Enum.all?(change(one, :add, late), & &1.votes)
    own_some(late)
    assert standing(late) == :member
    assert Task.await(caller, :infinity) == Enum.map(1..60, &to_string/1)
    caller = counting(late, 61..120)
    refute to_string(late.node) in Enum.map(change(one, :remove, late), & &1.node)
    eventually(fn -> outside?(late) and none?(late) end, @patience)
    assert Task.await(caller, :infinity) == Enum.map(61..120, &to_string/1)
    # It does not answer by what is left on its disk.
    assert answer(one, "counted", "add", "1", request_id: "last") == "121"
    assert answer(late, "counted", "sum", "") == "121"
    refute Peer.call(late, Actor.Journal, :stopped?, [])
  end

  test "while the members have no majority a node that is none is told so in time, and goes on when there is one" do
    {[one | others] = members, outside, settings} = begun!()
    assert answer(outside, "counted", "add", "1", request_id: "1") == "1"
    for other <- others, do: Peer.halt(other)

    eventually(
      fn ->
        began = System.monotonic_time(:millisecond)
        answer = call(outside, "counted", "add", "1", request_id: "2", timeout: 1_000)
        assert match?({:error, %{reason: :no_store}}, answer), inspect(answer)
        assert System.monotonic_time(:millisecond) - began < 20_000
      end,
      @patience
    )

    Peer.halt(one)
    names = Enum.map(members, & &1.node)
    for member <- members, do: TestCluster.restart!(member, names -- [member.node], settings)
    assert answer(outside, "counted", "add", "1", request_id: "2") == "2"
  end

  test "a node that was one of several, names itself alone and has lost its folder makes no group of its own" do
    names = [first, second, third] = for stem <- ~w(a b c), do: Peer.name(stem)
    cookie = Peer.cookie()
    alone = [actors: {:replicated, [to_string(first)]}, builtins: [:actor]]
    settings = [actors: {:replicated, Enum.map(names, &to_string/1)}, builtins: [:actor]]
    one = TestCluster.start_node!(first, cookie, [], alone)
    Peer.deploy!(one, "rust", "ledger", name: "ledger", actor: true)
    assert answer(one, "counted", "add", "1", request_id: "1") == "1"
    others = for name <- [second, third], do: TestCluster.start_node!(name, cookie, [first], settings)
    for other <- others, do: change(one, :add, other)
    for other <- others, do: own_some(other)
    folder = Voter.folder(Peer.folder(one))
    eventually(fn -> match?({:ok, _members}, File.read(Company.file(folder))) end, @patience)

    Peer.halt(one)
    File.rm_rf!(folder)
    back = TestCluster.restart!(one, [second, third], alone)

    eventually(
      fn -> with({:refused, why} <- standing(back), do: why =~ "replaced as a member", else: (_waits -> false)) end,
      @patience
    )

    assert answer(hd(others), "counted", "add", "1", request_id: "2") == "2"
    assert none?(back)
    change(hd(others), :replace, back)
    own_some(back)
    assert answer(back, "counted", "sum", "") == "2"
  end

  test "two groups that meet while both have actors are told so on each side, and what to do" do
    cookie = Peer.cookie()

    [one, other] =
      peers =
      for stem <- ~w(a b) do
        name = Peer.name(stem)
        peer = TestCluster.start_node!(name, cookie, [], actors: {:replicated, [to_string(name)]}, builtins: [:actor])
        own_some(peer)
        :ok = Peer.call(peer, LogWatch, :collect, [])
        peer
      end

    Peer.link(one, other)

    for {peer, met} <- Enum.zip(peers, [other, one]) do
      eventually(
        fn ->
          logged = for {:error, text} <- Peer.call(peer, LogWatch, :collected, []), text =~ "another store", do: text
          assert [text] = logged
          assert text =~ to_string(met.node) and text =~ "TIDEPOOL_ACTORS"
        end,
        @patience
      )

      assert Peer.call(peer, Shards, :leased?, [])
      assert Peer.call(peer, :sys, :get_state, [Meetings]).found[to_string(met.node)] >= 3
    end
  end
end
