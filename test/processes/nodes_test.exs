defmodule Tidepool.Processes.NodesTest do
  # Programs on several nodes, which are real ones; each test has its own.
  use Tidepool.Case, async: true

  alias Tidepool.{Peer, Puppets, Stage, TestCluster}
  alias Tidepool.Process.Nodes

  @moduletag :lunatic
  @patience 30_000
  @failure 0x8000_0000_0000_0000

  # Nodes with puppets on them, and a stage on the first.
  defp cluster!(count, options \\ []) do
    peers = [first | _others] = TestCluster.start!(count, discovery_interval: 100)
    for peer <- peers, do: eventually(fn -> map_size(Peer.call(peer, Nodes, :all, [])) == count - 1 end, @patience)
    Peer.deploy!(first, "lunatic", "puppet", [wait: :all] ++ options)
    {peers, Stage.start(first)}
  end

  defp number(peer), do: Nodes.number(peer.node)
  defp begin!(stage, options \\ []), do: Stage.run(stage, Puppets, :begin, ["puppet", options])
  defp spawn_on!(stage, puppet, peer), do: Stage.run(stage, Puppets, :spawn_on, [puppet, number(peer)])

  defp tell!(stage, puppet, command, id \\ 0, tag \\ 0),
    do: Stage.run(stage, Puppets, :tell, [puppet, command, id, tag])

  defp ask!(stage, puppet, command, id \\ 0, tag \\ 0), do: Stage.run(stage, Puppets, :ask, [puppet, command, id, tag])
  defp hear!(stage), do: Stage.run(stage, Puppets, :hear, [])

  test "each node has one number on all of them, also alone, and a program knows which there are" do
    {[a, b] = peers, stage} = cluster!(2)
    first = begin!(stage)
    assert tell!(stage, first, ?I) == number(a)
    assert tell!(stage, first, ?Q) == 2
    {_id, child} = spawn_on!(stage, first, b)
    assert node(child) == b.node
    assert tell!(stage, child, ?I) == number(b)
    assert tell!(stage, child, ?Q) == 2
    assert [module] = Enum.uniq(for(pid <- [first, child], do: tell!(stage, pid, ?O)))
    assert module > 0
    assert length(Enum.uniq(Enum.map(peers, &number/1))) == 2
    assert Nodes.number() > 0
  end

  test "a program of the crate has all nodes compute for it" do
    {[a, b], stage} = cluster!(2)
    Peer.deploy!(a, "lunatic", "everywhere", wait: :all)

    for {peer, options} <- [{a, []}, {b, [node: b.node]}] do
      watch = Stage.start(peer)
      options = [output: watch.pid] ++ options
      assert {:ok, program} = Stage.run(stage, Tidepool.Process, :start, ["everywhere", ["everywhere"], options])
      assert node(program) == peer.node
      line = "1229 primes below 10000, counted on 2 nodes"
      assert {:tidepool_output, ^program, :stdout, ^line} = Stage.run(watch, Stage, :next, [])
    end
  end

  test "processes on three nodes send to each other, and stay in order" do
    {[_a, b, c], stage} = cluster!(3)
    first = begin!(stage)
    {on_b, pid_b} = spawn_on!(stage, first, b)
    # It is asked for by one that is itself a guest elsewhere.
    {on_c, pid_c} = spawn_on!(stage, pid_b, c)
    {back, pid_back} = spawn_on!(stage, pid_c, hd([stage.peer]))
    assert {node(pid_c), node(pid_back)} == {c.node, stage.peer.node}
    all = [{1, first}, {on_b, pid_b}, {on_c, pid_c}, {back, pid_back}]

    for {_from, sender} <- all, {to, receiver} <- all do
      for number <- 1..20, do: ask!(stage, sender, ?Y, to, number)
      heard = for _ <- 1..40, do: hear!(stage)
      assert for({^receiver, {:done, number}} when number > 0 <- heard, do: number) == Enum.to_list(1..20)
    end
  end

  test "what can't be started says why, and what can't be reached is not sent to" do
    {[a, b], stage} = cluster!(2)
    first = begin!(stage)
    assert tell!(stage, first, ?G, 77) == @failure + 1
    assert tell!(stage, first, ?J, number(b), 12_345) == @failure + 2
    {id, child} = spawn_on!(stage, first, b)
    assert tell!(stage, first, ?V, id, number(b)) == 0
    assert hear!(stage) == {child, {:done, 1}}
    # A node that has it not, and one that is none.
    assert tell!(stage, first, ?V, id, number(a)) == 2
    assert tell!(stage, first, ?V, id, 77) == 2
    # The export is not looked for until it runs.
    assert tell!(stage, first, ?H, number(b)) > 0
  end

  test "links, monitors, kills, timers and what lives mean on other nodes what they mean here" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    tell!(stage, first, ?D, 0)
    {one, pid} = spawn_on!(stage, first, b)
    assert tell!(stage, first, ?E, one) == 1
    tell!(stage, first, ?L, one, 7)
    tell!(stage, first, ?M, one)
    tell!(stage, first, ?Z, one, 5)
    assert hear!(stage) == {pid, {:done, 5}}
    tell!(stage, first, ?K, one)
    assert Enum.sort([hear!(stage), hear!(stage)]) == [{first, {:link_died, 7}}, {first, {:process_died, one}}]
    assert tell!(stage, first, ?E, one) == 0

    # The other way round, and the dead.
    {two, pid} = spawn_on!(stage, first, b)
    {other, other_pid} = Stage.run(stage, Puppets, :spawn, [first])
    tell!(stage, pid, ?L, other, 8)
    tell!(stage, first, ?M, two)
    ask!(stage, other_pid, ?C)
    assert hear!(stage) == {other_pid, {:done, 0}}
    assert hear!(stage) == {first, {:process_died, two}}
    tell!(stage, first, ?M, other)
    assert hear!(stage) == {first, {:process_died, other}}

    # A link that is removed.
    {three, pid} = spawn_on!(stage, first, b)
    tell!(stage, first, ?L, three, 9)
    tell!(stage, first, ?U, three)
    tell!(stage, first, ?M, three)
    ask!(stage, pid, ?C)
    assert hear!(stage) == {pid, {:done, 0}}
    assert hear!(stage) == {first, {:process_died, three}}
  end

  test "with a program's first process all others end, on whatever node" do
    {[_a, b, c], stage} = cluster!(3)
    first = begin!(stage)
    {_id, pid_b} = spawn_on!(stage, first, b)
    {_id, _pid_c} = spawn_on!(stage, pid_b, c)
    assert [%{function: "puppet"}] = Peer.call(c, Tidepool.Process, :list, [])
    ask!(stage, first, ?R)
    for peer <- [b, c], do: eventually(fn -> Peer.call(peer, Tidepool.Process, :list, []) == [] end, @patience)
    for peer <- [b, c], do: eventually(fn -> Peer.call(peer, Tidepool.Process.Programs, :all, []) == [] end, @patience)
  end

  test "a node that vanishes ends its processes for those that are left, and a program ends elsewhere with the node where it began" do
    {[a, b, c], stage} = cluster!(3)
    first = begin!(stage)
    tell!(stage, first, ?D, 0)
    {on_b, _pid_b} = spawn_on!(stage, first, b)
    {_on_c, _pid_c} = spawn_on!(stage, first, c)
    tell!(stage, first, ?L, on_b, 7)
    tell!(stage, first, ?M, on_b)
    Peer.halt(b)
    assert Enum.sort([hear!(stage), hear!(stage)]) == [{first, {:link_died, 7}}, {first, {:process_died, on_b}}]
    assert tell!(stage, first, ?E, on_b) == 0
    assert tell!(stage, first, ?G, number(b)) == @failure + 1
    assert [_on_c] = Peer.call(c, Tidepool.Process, :list, [])
    Peer.halt(a)
    eventually(fn -> Peer.call(c, Tidepool.Process, :list, []) == [] end, @patience)
  end

  test "a cut leaves no process that its program has lost, and what comes after it is a new part" do
    {[a, b], stage} = cluster!(2)
    first = begin!(stage)
    {before, _pid} = spawn_on!(stage, first, b)
    tell!(stage, first, ?M, before)
    Peer.cut(a, b)
    assert hear!(stage) == {first, {:process_died, before}}
    eventually(fn -> Peer.call(b, Tidepool.Process, :list, []) == [] end, @patience)
    Peer.heal(a, b)
    eventually(fn -> map_size(Peer.call(a, Nodes, :all, [])) == 1 end, @patience)
    {later, pid} = spawn_on!(stage, first, b)
    assert later > before
    assert tell!(stage, first, ?E, before) == 0
    assert tell!(stage, pid, ?P, 3) == 3
  end
end
