# Measures: actors on the disks of three nodes, beside those of one node's file and of three with PostgreSQL; nodes that end
# bench/all runs it with: --short
#
# All nodes are on this machine, and share its cores and its disk, of which they take some 5 GiB. `--short` has fewer rounds, and no
# node that is away.
Code.require_file("../cluster/node.exs", __DIR__)

defmodule Bench.Replicated do
  @moduledoc "What actors cost that nodes keep together, and what callers notice when a node ends."

  alias Bench.Cluster.Node, as: Peer
  alias Bench.Replicated.Probe

  @code Code.require_file("probe.exs", __DIR__) || []

  # What a voter that is away lacks: changes of which the others have the entries; and MiB of values of which they do not, for they keep
  # 512 of entries. It gets a copy of all, then: a value of each of so many keys of each actor.
  @changes 200_000
  @mib 675
  @keys 64
  # How long callers are watched at a time.
  @slice_ms 500

  def run do
    # Nodes are killed, and their controlling processes end with them.
    Process.flag(:trap_exit, true)
    switches = Bench.switches([:smoke, :short])
    {smoke?, short?} = {switches.smoke, switches.smoke or switches.short}
    System.at_exit(fn _status -> File.rm_rf!(Peer.folder()) end)
    {server, url} = Bench.postgres()
    {own, _again} = cluster(1, fn _names -> :local end)
    {shared, _again} = cluster(3, fn _names -> {:postgres, url} end)
    {replicated, again} = cluster(3, fn names -> {:replicated, Enum.map(names, &to_string/1)} end)
    stores = [own: own, shared: shared, replicated: replicated]
    rows = beside(stores, smoke?, short?)
    for nodes <- [own, shared], node <- nodes, do: Peer.stop(node)
    Port.close(server)
    Bench.report("replicated", rows ++ ends(replicated, again, smoke?, short?))
  end

  # Nodes, and what starts one of a name, again with its data.
  defp cluster(count, actors) do
    cookie = :"bench_#{System.unique_integer([:positive])}"
    names = for index <- 1..count, do: Peer.unique("bench#{index}")
    settings = [actors: actors.(names), builtins: [:actor], cluster: count > 1]

    start = fn name ->
      node = Peer.start!(name, cookie, names -- [name], settings)
      for {module, binary} <- @code, do: Peer.on(node, :code, :load_binary, [module, ~c"bench", binary])
      Peer.boot!(node)
    end

    nodes = Enum.map(names, start)
    wasm = File.read!("guests/build/rust/ledger.wasm")
    Peer.probe(hd(nodes), :deploy, [wasm, [name: "ledger", actor: [idle: 600_000]]])
    for node <- nodes, do: Peer.probe(node, :until, [:names, [], ["ledger"]])
    # Each has its share.
    if count > 1, do: for(node <- nodes, do: Peer.probe(node, :until, [:balanced, [to_string(node.name)], true]))
    {nodes, start}
  end

  defp probe(node, function, arguments), do: Peer.on(node, Probe, function, arguments)

  # Calls of actors where they are, in turns of the stores.
  defp beside(stores, smoke?, short?) do
    rounds = if short?, do: 3, else: 10
    calls = if smoke?, do: 20, else: 1_000
    ms = if smoke?, do: 200, else: 2_000

    names =
      for {store, nodes} <- stores, into: %{} do
        {store, for(node <- nodes, do: {node, probe(node, :names, [div(64, length(nodes))])})}
      end

    for {_store, shares} <- names, {node, own} <- shares, do: probe(node, :many, [own, 200])

    measured =
      for _round <- 1..rounds, {store, _nodes} <- stores do
        [{node, [name | _others] = own} | _more] = shares = names[store]
        one = probe(node, :one, [name, calls])
        many = shares |> Enum.map(fn {node, own} -> Task.async(fn -> probe(node, :many, [own, ms]) end) end)
        {store, one, Enum.sum(Task.await_many(many, :infinity)) * 1_000 / ms, probe(node, :woken, [own])}
      end

    of = fn store, at ->
      Bench.percentile(for(row <- measured, elem(row, 0) == store, value <- List.wrap(elem(row, at)), do: value), 50)
    end

    [
      {"durable call of one actor", of.(:replicated, 1) / 1_000, "µs", nil},
      {"… beside the node's own file", of.(:replicated, 1) / of.(:own, 1), "×", {:at_most, 2.5}},
      {"durable calls of 64 actors", of.(:replicated, 2), "/s", nil},
      {"… beside the node's own file", of.(:replicated, 2) / of.(:own, 2), "×", {:at_least, 0.4}},
      {"… beside PostgreSQL", of.(:replicated, 2) / of.(:shared, 2), "×", {:at_least, 1.5}},
      {"call that wakes one, beside the node's own file", of.(:replicated, 3) / of.(:own, 3), "×", {:at_most, 1.1}}
    ]
  end

  # The node that leads is killed, and later is there again.
  defp ends(nodes, again, smoke?, short?) do
    ms = if smoke?, do: 8_000, else: 15_000
    leader = probe(hd(nodes), :leader, [])
    {[leads], [one, other]} = Enum.split_with(nodes, &(to_string(&1.name) == leader))
    its_own = probe(leads, :names, [8])
    shares = for node <- [one, other], do: {node, probe(node, :names, [8])}
    waits = for {node, own} <- shares, do: Task.async(fn -> probe(node, :longest, [own, ms]) end)
    taken = Task.async(fn -> probe(one, :longest, [its_own, ms]) end)
    # Callers are at it by then.
    Process.sleep(2_000)
    kill!(leads)
    longest = waits |> Task.await_many(:infinity) |> Enum.max()

    [
      {"leader killed: longest wait of a call elsewhere", longest / 1_000, "s", {:at_most, 1}},
      {"owner killed: longest wait of a call of its actors", Task.await(taken, :infinity) / 1_000, "s", {:at_most, 2}}
    ] ++ if(short?, do: [], else: away(leads.name, one, again))
  end

  defp kill!(node), do: {_output, 0} = System.cmd("kill", ["-KILL", Peer.on(node, System, :pid, [])])

  # Callers go on, of one owner, while a voter that was away gets what it lacks: first by entries, and then by a copy of all.
  defp away(name, other, again) do
    own = probe(other, :names, [64])
    written = written(other, own, 0)
    {node, _copied?, rows} = back("a voter that lacks #{written} changes", {name, other, own}, again)
    Peer.probe(node, :until, [:balanced, [to_string(name)], true])
    kill!(node)
    own = probe(other, :names, [64])
    for round <- 1..div(@mib * 1_024, 64 * Probe.value_kib()), do: probe(other, :put, [own, rem(round, @keys)])
    {_node, copied?, more} = back("a voter that lacks #{@mib} MiB, more than is kept,", {name, other, own}, again)
    rows ++ more ++ [{"… by a copy of all (1), or by entries (0)", if(copied?, do: 1, else: 0), "", {:at_least, 1}}]
  end

  # A voter is started again: how long it takes until it has all, and what callers wait for meanwhile, beside what they did before.
  defp back(who, {name, other, own}, again) do
    before = for _slice <- 1..20, do: probe(other, :waits, [own, @slice_ms])
    began = System.monotonic_time(:millisecond)
    watched = Task.async(fn -> caught_up(other, own, name, began, {[], false}) end)
    node = again.(name)
    {meanwhile, copied?, took} = Task.await(watched, :infinity)
    calls = fn slices -> Enum.sum(Enum.map(slices, &length/1)) / length(slices) end
    less = 1 - calls.(meanwhile) / calls.(before)
    wait = fn slices, percent -> slices |> Enum.concat() |> Bench.percentile(percent) end

    rows = [
      {"#{who} is started, and has all after", took / 1_000, "s", {:at_most, 60}},
      {"… and others have so much less of their calls meanwhile", less * 100, "%", {:at_most, 20}},
      {"… p99 of a call meanwhile, beside before", wait.(meanwhile, 99) / wait.(before, 99), "×", nil},
      {"… longest wait of a call meanwhile", wait.(meanwhile, 100) / 1_000, "ms", nil},
      {"… beside before", wait.(meanwhile, 100) / wait.(before, 100), "×", nil}
    ]

    {node, copied?, rows}
  end

  # What each call has waited in each half of a second until it lacks nothing; whether a copy of all has come; and how long that has taken.
  defp caught_up(other, own, name, began, {slices, copied?}) do
    slices = [probe(other, :waits, [own, @slice_ms]) | slices]
    took = System.monotonic_time(:millisecond) - began
    copied? = copied? or Path.wildcard(Path.join([Peer.folder(), "#{name}", "**", "snapshot.received*"])) != []
    lacks = probe(other, :lacks, [to_string(name)])
    if took > 300_000, do: raise("it still lacks #{inspect(lacks)} entries")
    # It never lacks nothing while others write: no more than is on its way.
    if is_integer(lacks) and lacks <= 8,
      do: {slices, copied?, took},
      else: caught_up(other, own, name, began, {slices, copied?})
  end

  # How many changes, when they are enough.
  defp written(_node, _own, written) when written >= @changes, do: written
  defp written(node, own, written), do: written(node, own, written + probe(node, :many, [own, @slice_ms]))
end

Bench.Replicated.run()
