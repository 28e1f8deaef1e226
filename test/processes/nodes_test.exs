defmodule Tidepool.Processes.NodesTest do
  # Programs on several nodes, which are real ones; each test has its own.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.PuppetCluster

  alias Tidepool.{Error, LogWatch, Peer, PuppetChaos, Puppets, Stage}
  alias Tidepool.Nodes

  @moduletag :lunatic
  @patience 30_000
  @failure 0x8000_0000_0000_0000
  # TIDEPOOL_CHAOS_S=60 has more processes die, on one cluster after the other, for a minute.
  @chaos_s String.to_integer(System.get_env("TIDEPOOL_CHAOS_S", "0"))
  @workers if @chaos_s == 0, do: 60, else: 3_334

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

  test "the crate's own example of that runs as it is" do
    {[a, b], stage} = cluster!(2)
    Peer.deploy!(a, "lunatic", "example_distributed", wait: :all)
    Peer.call(b, Logger, :configure, [[level: :info]])
    Peer.call(b, LogWatch, :collect, [])

    hi = "Hi from #{number(b)}"
    nodes = "Nodes #{inspect([number(a), number(b)])}"

    # It gives its processes 200 µs of CPU time, which isn't enough for them on a machine that is busy; and then it may wait for
    # one that has ended so.
    assert Enum.any?(1..10, fn _attempt ->
             options = [output: stage.pid]
             {:ok, program} = Stage.run(stage, Tidepool.Process, :start, ["example_distributed", [], options])
             said? = fn -> Enum.any?(Peer.call(b, LogWatch, :collected, []), &(elem(&1, 1) =~ hi)) end
             deadline = System.monotonic_time(:millisecond) + div(@patience, 6)

             eventually(
               fn ->
                 late? = System.monotonic_time(:millisecond) > deadline
                 if late?, do: Peer.call(a, Process, :exit, [program, :kill])
                 said?.() or not Peer.call(a, Process, :alive?, [program])
               end,
               @patience
             )

             said?.()
           end)

    assert {:tidepool_output, _pid, :stdout, ^nodes} = Stage.run(stage, Stage, :next, [])
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
    # An attempt from before may fail once more; what begins after that has a link.
    eventually(fn -> known_and_linked?(a, b) and known_and_linked?(b, a) end, @patience)
    {later, pid} = spawn_on!(stage, first, b)
    assert later > before
    assert tell!(stage, first, ?E, before) == 0
    assert tell!(stage, pid, ?P, 3) == 3
  end

  defp known_and_linked?(here, there) do
    map_size(Peer.call(here, Nodes, :all, [])) == 1 and Peer.call(here, Nodes, :linked?, [there.node])
  end

  test "whoever floods a process of another node waits for room there, and goes on when it has died" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, receiver} = spawn_on!(stage, first, b)
    ask!(stage, receiver, ?W, 3_600_000)
    {other, pid} = spawn_on!(stage, first, b)
    # 170 MB for a mailbox of 64 MiB.
    ask!(stage, first, ?X, id, 40_000)
    waits? = fn -> Stage.run(stage, Tidepool.Process, :info, [first]).state == :waiting end
    bytes = fn -> Peer.call(b, Tidepool.Process, :info, [receiver]).message_bytes end
    eventually(fn -> bytes.() > 64 * 1_048_576 - 131_072 and waits?.() end, @patience)
    assert bytes.() < 65 * 1_048_576
    # Who waits hears others.
    tell!(stage, pid, ?Y, 1, 5)
    Peer.call(b, Process, :exit, [receiver, :kill])
    assert hear!(stage) == {first, {:done, 0}}
    assert hear!(stage) == {first, {:done, 5}}
    assert tell!(stage, first, ?E, other) == 1
  end

  test "what a program is sent on another node is on its account there, also by the first message to each process" do
    {[_a, b], stage} = cluster!(2, limits: [total_memory: 128 * 1_048_576])
    first = begin!(stage)
    receivers = for _number <- 1..20, do: spawn_on!(stage, first, b)
    for {_id, receiver} <- receivers, do: ask!(stage, receiver, ?W, 3_600_000)
    # One that is awake takes what it is sent; one that sleeps leaves it where it is.
    for {_id, receiver} <- receivers, do: ask!(stage, receiver, ?I)
    known = fn -> Peer.call(b, Tidepool.Process, :list, []) end
    eventually(fn -> Enum.all?(known.(), &match?(%{state: :waiting, message_queue: 1}, &1)) end, @patience)
    # 320 MiB in all.
    for {id, _receiver} <- receivers, do: ask!(stage, first, ?h, id, 16 * 1_048_576)
    bytes = fn -> Enum.sum(for process <- known.(), do: process.message_bytes) end
    asks? = fn -> Stage.run(stage, Process, :info, [first, :current_function]) |> inspect() =~ "await_answers" end
    eventually(fn -> bytes.() > 64 * 1_048_576 and asks?.() end, @patience)
    # What is there, and the message that was under way.
    assert bytes.() <= (128 + 17) * 1_048_576
  end

  # A process on `b` whose mailbox is full; `command` is what it waits with.
  defp full!(stage, first, b, command) do
    {id, receiver} = spawn_on!(stage, first, b)
    {_id, flooder} = spawn_on!(stage, first, b)
    {what, number, tag} = command
    ask!(stage, receiver, what, number, tag)
    ask!(stage, flooder, ?X, id, 40_000)
    bytes = fn -> Peer.call(b, Tidepool.Process, :info, [receiver]).message_bytes end
    eventually(fn -> bytes.() > 64 * 1_048_576 - 8_192 end, @patience)
    Peer.call(b, Process, :exit, [flooder, :kill])
    {id, receiver}
  end

  defp send_many!(stage, from, to, count, tag), do: ask!(stage, from, ?!, to, Bitwise.bsl(count, 32) + tag)

  test "what a receiver on another node waits for gets in, however full its mailbox is, and those of others" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {full, _sleeper} = full!(stage, first, b, {?W, 3_600_000, 0})
    sleepers = for _ <- 1..4, do: spawn_on!(stage, first, b)
    for {_id, sleeper} <- sleepers, do: ask!(stage, sleeper, ?W, 3_600_000)

    # Each of them has less on its way to it than holds a sender, and together they have more.
    for id <- [full | Enum.map(sleepers, &elem(&1, 0))] do
      send_many!(stage, first, id, 14, 9)
      assert hear!(stage) == {first, {:done, 0}}
    end

    {id, receiver} = full!(stage, first, b, {?=, 201, 5})
    send_many!(stage, first, id, 200, 5)
    assert hear!(stage) == {first, {:done, 0}}
    # What it does not wait for does not.
    send_many!(stage, first, id, 100, 6)
    eventually(fn -> Stage.run(stage, Tidepool.Process, :info, [first]).state == :waiting end, @patience)
    assert Peer.call(b, Tidepool.Process, :info, [receiver]).message_bytes < 65 * 1_048_576
  end

  test "who waits for room on another node is told of it, whoever drives the receiver meanwhile" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {_id, waker} = spawn_on!(stage, first, b)
    {id, receiver} = full!(stage, first, b, {?*, 40, 7})
    send_many!(stage, first, id, 25, 9)
    eventually(fn -> Stage.run(stage, Tidepool.Process, :info, [first]).state == :waiting end, @patience)
    # It is driven by whom it was woken by, and waits again.
    send_many!(stage, waker, id, 1, 7)
    heard = for _ <- 1..2, do: hear!(stage)
    assert Enum.sort(heard) == Enum.sort([{waker, {:done, 0}}, {first, {:done, 0}}])
    assert Peer.call(b, Process, :alive?, [receiver])
  end

  test "two that flood each other from two nodes both go on" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, pid} = spawn_on!(stage, first, b)
    ask!(stage, first, ?X, id, 2_000)
    ask!(stage, pid, ?X, 1, 2_000)
    heard = for _ <- 1..4_002, do: hear!(stage)
    for sender <- [first, pid], do: assert(for({^sender, {:done, n}} <- heard, do: n) |> length() == 2_001)
  end

  test "what is no question of this protocol is not answered, and does no harm" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, _pid} = spawn_on!(stage, first, b)
    %{server: server, version: version} = Tidepool.Process.Remote.protocol()
    right = {:find, first, id}

    spawn = %{
      first: first,
      name: "puppet",
      version: 1,
      sha256: String.duplicate("0", 64),
      parent: {1, first},
      process: %{
        entry: "puppet",
        params: "",
        max_memory: 1,
        max_fuel: nil,
        may: {true, true, true},
        args: [],
        env: []
      }
    }

    wrong =
      for {key, values} <- [
            first: [nil, 1],
            name: [nil, :puppet],
            sha256: ["", "x"],
            parent: [nil, {-1, first}, {1, 1}],
            process: [nil, %{}]
          ],
          value <- values,
          do: Map.put(spawn, key, value)

    wrong =
      wrong ++
        for {key, value} <- [
              entry: 1,
              entry: <<255>>,
              params: 1,
              max_memory: -1,
              max_fuel: 1.5,
              may: true,
              args: [1 | 2],
              args: [<<255>>],
              env: [{"a", 1}]
            ],
            do: put_in(spawn.process[key], value)

    others = [nil, {:find, 1, 1}, {:find, first, -1}, {:find, first, 2 ** 64}, {:stop, first}]
    questions = for(request <- wrong, do: {:spawn, request}) ++ others
    pid = Peer.call(b, Process, :whereis, [server])

    for question <- questions do
      message = {:tidepool_process, version, stage.pid, make_ref(), question}
      Stage.run(stage, :erlang, :send, [{server, b.node}, message])
    end

    # Parameters that are none, of a program that is there.
    request = put_in(spawn.process.params, "none")

    assert {:ok, {:error, 1, _text}} =
             Stage.run(stage, Tidepool.Process.Remote, :ask, [b.node, {:spawn, request}, 5_000])

    assert {:ok, {found, true}} = Stage.run(stage, Tidepool.Process.Remote, :ask, [b.node, right, 5_000])
    assert node(found) == b.node
    assert Peer.call(b, Process, :whereis, [server]) == pid
  end

  @tag timeout: 300_000 + @chaos_s * 1_000
  test "links and monitors fire once each as processes on three nodes die at random, and one node with them" do
    until = System.monotonic_time(:second) + @chaos_s

    over? = fn round -> chaos!(round) && System.monotonic_time(:second) >= until end
    rounds = 1 |> Stream.iterate(&(&1 + 1)) |> Enum.find(over?)

    if @chaos_s > 0, do: IO.puts("#{rounds} clusters of 3 nodes with #{3 * @workers} processes")
  end

  defp chaos!(round) do
    {[a, b, c], stage} = cluster!(3)
    before = for peer <- [a, c], do: left(peer)
    first = begin!(stage)
    nodes = Enum.map([a, b, c], &number/1)
    chaos = Stage.run(stage, PuppetChaos, :prepare, [first, 10, nodes, @workers])
    Stage.run(stage, PuppetChaos, :orders, [chaos, 10 * @workers, round])
    # While all of that is under way.
    Peer.halt(b)
    Stage.run(stage, PuppetChaos, :orders, [chaos, 5 * @workers, -round])
    audits = Stage.run(stage, PuppetChaos, :finish, [chaos])
    assert length(audits) == 6 * @workers

    for {node, reason, [links, monitors]} <- audits do
      assert {reason, monitors} == {reason, 1}
      # A node may have ended between telling one and telling the next.
      unless node == b.node, do: assert({reason, links} == {reason, if(reason == :normal, do: 0, else: 1)})
      assert links <= 1
    end

    assert Enum.any?(audits, fn {_node, reason, told} -> {reason, told} == {:noconnection, [1, 1]} end)
    Stage.run(stage, Process, :exit, [first, :kill])

    # Nothing is left of it.
    for {peer, {processes, live}} <- Enum.zip([a, c], before) do
      eventually(fn -> Peer.call(peer, Tidepool.Process.Programs, :all, []) == [] end, @patience)
      eventually(fn -> match?({now, ^live} when now <= processes + 5, left(peer)) end, @patience)
    end

    Peer.halt(a)
    Peer.halt(c)
  end

  # Processes of the VM, and instances that are used.
  defp left(peer) do
    %{live: live, idle: idle} = Peer.call(peer, Tidepool.Engine, :instances, [])
    {Peer.call(peer, :erlang, :system_info, [:process_count]), live - idle}
  end

  test "a name is known on its node alone, and may be that of a process elsewhere" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, pid} = spawn_on!(stage, first, b)
    tell!(stage, first, ?+, 1, number(stage.peer))
    assert tell!(stage, first, ??) == 1
    assert tell!(stage, pid, ??) == 0
    tell!(stage, first, ?+, id, number(b))
    assert tell!(stage, first, ??) == id
    tell!(stage, pid, ?+, 1, number(stage.peer))
    assert tell!(stage, pid, ??) == 1
  end

  test "from Elixir they are linked, watched, killed and asked about by their pids, wherever they are" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, one} = spawn_on!(stage, first, b)
    {_id, two} = spawn_on!(stage, first, b)
    assert %{id: ^id, function: "puppet", node: node} = Stage.run(stage, Tidepool.Process, :info, [one])
    assert node == b.node
    monitor = Stage.run(stage, Process, :monitor, [one])
    Stage.run(stage, Process, :exit, [one, :kill])
    assert Stage.run(stage, Stage, :next, []) == {:DOWN, monitor, :process, one, :killed}
    Stage.run(stage, Process, :flag, [:trap_exit, true])
    Stage.run(stage, Process, :link, [two])
    ask!(stage, two, ?C)
    assert hear!(stage) == {two, {:done, 0}}
    assert {:EXIT, ^two, {%Error{reason: {:trap, _}}, []}} = Stage.run(stage, Stage, :next, [])
    assert Stage.run(stage, Tidepool.Process, :info, [one]) == nil

    start = &Stage.run(stage, Tidepool.Process, :start, ["puppet", [], [node: &1]])
    assert {:ok, pid} = start.(b.node)
    assert node(pid) == b.node
    assert {:error, %Error{reason: :unavailable}} = start.(:nobody@nowhere)
    assert {:error, %Error{reason: :invalid_option}} = start.("text")
  end

  test "each node bounds what a program has there, and the next start says so" do
    {[_a, b], stage} = cluster!(2, limits: [instances: 3])
    first = begin!(stage)
    for _ <- 1..3, do: spawn_on!(stage, first, b)
    assert tell!(stage, first, ?G, number(b)) == @failure + 1
    for _ <- 1..2, do: Stage.run(stage, Puppets, :spawn, [first])
    assert %{message_queue: 0} = Stage.run(stage, Tidepool.Process, :info, [first])
  end

  test "the CPU time of all of a program's processes is bounded on each of its nodes" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage, total_cpu_time: 500)
    {_id, child} = spawn_on!(stage, first, b)
    monitor = Stage.run(stage, Process, :monitor, [child])
    ask!(stage, child, ?@)
    assert {:DOWN, ^monitor, :process, ^child, {%Error{} = error, []}} = Stage.run(stage, Stage, :next, [])
    assert %{reason: {:limit, :total_cpu_time}, details: %{allowed: 500}} = error
    # Here it has computed little.
    assert tell!(stage, first, ?P, 4) == 4
  end

  test "a program whose function is replaced goes on where it is, and starts no other version elsewhere" do
    {[a, b, c], stage} = cluster!(3)
    first = begin!(stage)
    {_id, _pid} = spawn_on!(stage, first, b)
    Peer.deploy!(a, "lunatic", "sum", name: "puppet", wait: :all)
    assert tell!(stage, first, ?G, number(c)) == @failure + 2
    # There it has been.
    assert {_id, pid} = spawn_on!(stage, first, b)
    assert tell!(stage, pid, ?P, 4) == 4
    # And here it is.
    assert {_id, _pid} = spawn_on!(stage, pid, a)
  end
end
