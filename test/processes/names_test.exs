defmodule Tidepool.Processes.NamesTest do
  # Names that hold on all nodes of a program; the nodes are real ones, and each test has its own.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.PuppetCluster

  alias Tidepool.{LogWatch, Peer, Stage}
  alias Tidepool.Process.{NameServer, Programs}

  @moduletag :lunatic
  @patience 30_000
  @failure 0x8000_0000_0000_0000
  @no_process 2
  @full 3
  @not_asked 4
  @name "somebody"
  @rounds 200

  defp put!(stage, puppet, id, peer), do: tell!(stage, puppet, ?p, id, number(peer))
  defp get!(stage, puppet), do: tell!(stage, puppet, ?g)
  defp free?(stage, puppets), do: Enum.all?(puppets, &(get!(stage, &1) == 0))

  test "a name that is put on one node is found on all, by guests and from Elixir, and no name of a node" do
    {[a, b, c], stage} = cluster!(3)
    first = begin!(stage)
    {on_b, pid_b} = spawn_on!(stage, first, b)
    {on_c, pid_c} = spawn_on!(stage, first, c)
    all = [first, pid_b, pid_c]
    assert free?(stage, all)

    for {id, pid, peer, by} <- [{1, first, a, pid_c}, {on_b, pid_b, b, pid_b}, {on_c, pid_c, c, first}] do
      assert put!(stage, by, id, peer) == 0
      assert Enum.map(all, &get!(stage, &1)) == [id, id, id]

      for there <- all do
        assert Stage.run(stage, Tidepool.Process, :whereis, [there, @name, :program]) == pid
        assert Peer.call(c, Tidepool.Process, :whereis, [there, @name, :program]) == pid
        assert Stage.run(stage, Tidepool.Process, :whereis, [there, @name, :node]) == nil
      end
    end

    assert tell!(stage, pid_b, ?r) == 0
    assert free?(stage, all)
    assert Stage.run(stage, Tidepool.Process, :whereis, [first, @name, :program]) == nil
    assert put!(stage, pid_b, 99, a) == @no_process
    assert put!(stage, pid_b, on_b, c) == @no_process
    assert put!(stage, first, on_b + 1_000, b) == @no_process
  end

  test "who is sent a message after a name was put finds the name, from whatever node to whichever" do
    {[a, b, c], stage} = cluster!(3)
    first = begin!(stage)
    {on_b, pid_b} = spawn_on!(stage, first, b)
    {on_c, pid_c} = spawn_on!(stage, first, c)
    all = [{1, first, a}, {on_b, pid_b, b}, {on_c, pid_c, c}]

    for _round <- 1..20, {id, pid, peer} <- all, {to, receiver, _peer} <- all, to != id do
      # The puppet puts, and sends what it does next: the receiver looks as soon as it gets that.
      ask!(stage, pid, ?p, id, number(peer))
      ask!(stage, pid, ?l, to)
      heard = for _ <- 1..3, do: hear!(stage)
      assert for({^receiver, {:done, found}} <- heard, do: found) == [id]
    end
  end

  test "a name ends with its process, by a trap, by a kill and with its node, and may be claimed by another then" do
    {[a, b, c], stage} = cluster!(3)
    first = begin!(stage)
    tell!(stage, first, ?D, 0)
    {on_c, pid_c} = spawn_on!(stage, first, c)

    for {command, peer} <- [{?C, b}, {?C, a}, {:kill, b}] do
      {id, pid} = spawn_on!(stage, first, peer)
      assert put!(stage, pid, id, peer) == 0
      tell!(stage, pid_c, ?M, id)
      if command == :kill, do: Stage.run(stage, Process, :exit, [pid, :kill]), else: tell!(stage, pid, command)
      # Who has heard of the death never finds the dead, and gets the name.
      assert hear!(stage) == {pid_c, {:process_died, id}}
      assert free?(stage, [pid_c, first])
      assert tell!(stage, pid_c, ?c) == on_c
      assert tell!(stage, first, ?r) == 0
    end

    {id, pid} = spawn_on!(stage, first, b)
    assert put!(stage, pid, id, b) == 0
    assert get!(stage, pid_c) == id
    Peer.halt(b)
    eventually(fn -> free?(stage, [first, pid_c]) end, @patience)
    eventually(fn -> tell!(stage, pid_c, ?c) == on_c end, @patience)
    # What is known of the dead is swept.
    eventually(fn -> Peer.call(a, :sys, :get_state, [NameServer]).gone == %{} end, @patience)
    assert get!(stage, first) == on_c
  end

  test "of those on three nodes who claim a name at once exactly one gets it, and the others are told which" do
    {[_a, b, c], stage} = cluster!(3)
    first = begin!(stage)
    {on_b, pid_b} = spawn_on!(stage, first, b)
    {on_c, pid_c} = spawn_on!(stage, first, c)
    ids = %{first => 1, pid_b => on_b, pid_c => on_c}

    owners =
      for round <- 1..@rounds do
        for {pid, _id} <- Enum.shuffle(ids), do: ask!(stage, pid, ?c, round)
        told = for _ <- ids, do: hear!(stage)
        assert Enum.sort(for({pid, {:done, _owner}} <- told, do: pid)) == Enum.sort(Map.keys(ids))
        # All say the same, and it is one of them, who says so, too.
        assert [owner] = Enum.uniq(for({_pid, {:done, owner}} <- told, do: owner))
        assert owner in Map.values(ids)
        owner
      end

    assert length(owners) == @rounds
    assert tell!(stage, pid_c, ?g, @rounds) == List.last(owners)
  end

  test "of a program that has ended nothing is left, and another has names of its own" do
    {[a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, pid} = spawn_on!(stage, first, b)
    assert put!(stage, pid, id, b) == 0
    other = begin!(stage)
    assert free?(stage, [other])
    ask!(stage, first, ?R, 0)
    assert hear!(stage) == {first, {:done, 0}}

    for {peer, count} <- [{a, 1}, {b, 0}],
        do: eventually(fn -> length(Peer.call(peer, Programs, :all, [])) == count end, @patience)

    left = fn -> {Peer.call(a, :ets, :tab2list, [NameServer]), Peer.call(a, :sys, :get_state, [NameServer]).gone} end
    eventually(fn -> left.() == {[], %{}} end, @patience)
    assert free?(stage, [other])
  end

  test "a program has as many names as it may, whoever puts them, and those of the dead make room" do
    {[a, b], stage} = cluster!(2, limits: [total_memory: 16 * 1_048_576])
    first = begin!(stage)
    tell!(stage, first, ?D, 0)
    {id, pid} = spawn_on!(stage, first, b)
    # 400 of 60 KB are more than the program may have; some of them are there.
    assert tell!(stage, pid, ?f, 400, 60_000) == @full
    assert put!(stage, first, 1, a) in [0, @full]
    assert tell!(stage, first, ?f, 1, 60_001) == @full
    tell!(stage, first, ?M, id)
    tell!(stage, pid, ?C)
    assert hear!(stage) == {first, {:process_died, id}}
    eventually(fn -> tell!(stage, first, ?f, 1, 60_001) == 0 end, @patience)
    # No name is longer than this, and the guest that gives one is stopped.
    {other, pid} = spawn_on!(stage, first, b)
    tell!(stage, first, ?M, other)
    ask!(stage, pid, ?f, 1, 65_537)
    assert hear!(stage) == {first, {:process_died, other}}
  end

  test "names of those that die are free and make room, whatever became of the process that keeps names" do
    {[a, b], stage} = cluster!(2, limits: [total_memory: 16 * 1_048_576])
    first = begin!(stage)
    tell!(stage, first, ?D, 0)
    {before, dies_before} = spawn_on!(stage, first, b)
    {during, dies_during} = spawn_on!(stage, first, b)
    assert tell!(stage, dies_before, ?f, 1, 60_000) == 0
    assert tell!(stage, dies_during, ?f, 400, 60_000) == @full
    for id <- [before, during], do: tell!(stage, first, ?M, id)
    server = Peer.call(a, Process, :whereis, [NameServer])
    supervisor = Tidepool.Cluster.Supervisor
    tell!(stage, dies_before, ?C)
    assert hear!(stage) == {first, {:process_died, before}}
    # One dies before, and may be known to be gone by whoever is killed; the other while nobody keeps names.
    :ok = Peer.call(a, Supervisor, :terminate_child, [supervisor, NameServer])
    tell!(stage, dies_during, ?C)
    assert hear!(stage) == {first, {:process_died, during}}
    {:ok, again} = Peer.call(a, Supervisor, :restart_child, [supervisor, NameServer])
    assert again != server
    eventually(fn -> tell!(stage, first, ?f, 1, 60_001) == 0 end, @patience)
    eventually(fn -> Peer.call(a, :ets, :tab2list, [NameServer]) == [] end, @patience)
  end

  test "one name of the dead is given away without a look at the others, which go some at a time between what is asked" do
    {[a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, pid} = spawn_on!(stage, first, b)
    assert put!(stage, pid, id, b) == 0
    assert tell!(stage, pid, ?f, 1_000, 100) == 0

    # What it would do is done by another, one after the other, and nothing comes in between.
    :ok = Peer.call(a, :sys, :suspend, [NameServer])
    state = Peer.call(a, :sys, :get_state, [NameServer])
    [server, asker] = for _ <- 1..2, do: Stage.start(a)

    does = fn state, message ->
      {:noreply, state} = Stage.run(server, NameServer, :handle_info, [message, state])
      state
    end

    asks = fn state, operation, owner ->
      {number, owner} = if owner, do: {1, owner}, else: {0, nil}
      question = {:name, first, operation, @name, number, owner}
      state = does.(state, {:tidepool_process, 1, asker.pid, make_ref(), question})
      assert {:tidepool_process, _ref, answer} = Stage.run(asker, Stage, :next, [])
      {answer, state}
    end

    Stage.run(stage, Process, :exit, [pid, :kill])
    state = does.(state, {:DOWN, make_ref(), :process, pid, :killed})
    assert {{1, 0}, state} = asks.(state, :get, nil)
    assert {{0, 1}, state} = asks.(state, :claim, first)
    # All others are to go yet.
    assert %{^first => %{^id => ^pid}} = state.gone

    pieces = state |> Stream.iterate(&does.(&1, :sweep)) |> Enum.take_while(&(&1.gone != %{}))
    assert length(pieces) in 3..20
    assert Peer.call(a, :ets, :tab2list, [NameServer]) == []
    assert {{0, 1}, _state} = asks.(state, :get, nil)
    :ok = Peer.call(a, :sys, :resume, [NameServer])
  end

  test "a node that knows no names, or another version of them, is an error for the guest, and what is none is ignored" do
    {[a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, pid} = spawn_on!(stage, first, b)
    server = Peer.call(a, Process, :whereis, [NameServer])
    Peer.call(a, LogWatch, :collect, [])
    right = {:name, first, :put, "right", id, pid}

    wrong =
      [nil, {:name, first}, {:name, pid, :get, "x", 0, nil}, {:name, first, :stop, "x", 0, nil}] ++
        for {at, value} <- [
              {3, 1},
              {3, <<255>>},
              {3, String.duplicate("x", 65_537)},
              {4, -1},
              {4, 1},
              {5, nil},
              {5, first}
            ],
            do: put_elem(right, at, value)

    far = Stage.start(b)

    send_from =
      &Stage.run(far, :erlang, :send, [{NameServer, a.node}, {:tidepool_process, &1, far.pid, make_ref(), &2}])

    for question <- wrong, do: send_from.(1, question)
    send_from.(2, right)
    assert {:tidepool_process, _ref, :unknown_version} = Stage.run(far, Stage, :next, [])

    assert Stage.run(far, NameServer, :ask, [a.node, {:name, first, :get, "right", 0, nil}, 5_000]) ==
             {:ok, {1, 0}}

    assert Stage.run(far, NameServer, :ask, [a.node, right, 5_000]) == {:ok, {0, id}}
    assert Peer.call(a, Process, :whereis, [NameServer]) == server
    texts = for message <- Peer.call(a, LogWatch, :collected, []), text = elem(message, 1), text =~ "names", do: text
    assert length(texts) == 2

    # As on a node of before there were such names.
    supervisor = Peer.call(a, Process, :whereis, [Tidepool.Cluster.Supervisor])
    :ok = Peer.call(a, Supervisor, :terminate_child, [supervisor, NameServer])
    assert put!(stage, pid, id, b) == @not_asked
    assert get!(stage, pid) == @failure + @not_asked
    assert tell!(stage, pid, ?c) == @failure + @not_asked
    assert tell!(stage, pid, ?r) == @not_asked
    # What is that node's alone goes on.
    assert put!(stage, first, 1, a) == 0
  end

  test "a guest that waits for a name holds nobody up and can be killed" do
    {[a, b], stage} = cluster!(2)
    first = begin!(stage)
    {_id, pid} = spawn_on!(stage, first, b)
    others = for _ <- 1..20, do: spawn_on!(stage, first, b)
    :ok = Peer.call(a, :sys, :suspend, [NameServer])
    for {_id, other} <- [{0, pid} | others], do: ask!(stage, other, ?g, 0)
    # More than may ask wait for those that do.
    queue = fn -> Peer.call(a, Process, :info, [Peer.call(a, Process, :whereis, [NameServer]), :message_queue_len]) end
    eventually(fn -> queue.() == {:message_queue_len, 16} end, @patience)
    {_id, free} = spawn_on!(stage, first, b)
    assert tell!(stage, free, ?P, 7) == 7
    Peer.call(b, Process, :exit, [pid, :kill])
    eventually(fn -> not Peer.call(b, Process, :alive?, [pid]) end, @patience)
    :ok = Peer.call(a, :sys, :resume, [NameServer])
    # An answer, or the word that there was none in time.
    heard = for _ <- others, {other, {:done, _code}} = hear!(stage), do: other
    assert Enum.sort(heard) == Enum.sort(for {_id, other} <- others, do: other)
  end

  test "a program of the crate has one process of several nodes be the one" do
    {[a, b, _c], stage} = cluster!(3)
    Peer.deploy!(a, "lunatic", "singleton", wait: :all)

    for {peer, options} <- [{a, []}, {b, [node: b.node]}] do
      watch = Stage.start(peer)
      options = [output: watch.pid] ++ options
      assert {:ok, program} = Stage.run(stage, Tidepool.Process, :start, ["singleton", ["singleton"], options])
      line = "one of 3 has the name, and all of them know it"
      assert {:tidepool_output, ^program, :stdout, ^line} = Stage.run(watch, Stage, :next, [])
    end
  end
end
