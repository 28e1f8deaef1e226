# Measures: actors of three nodes that share a database: how long a node that comes, leaves or is killed holds up their calls
# bench/all runs it with: --rounds 1
#
# `--rounds N` has each of that happen so often (3). Each actor is called every 20 ms from a node that stays, by a call that is
# answered when it is written.
Code.require_file("../cluster/node.exs", __DIR__)

defmodule Bench.Moves do
  @moduledoc "The slowest call of each actor that has another node afterwards."

  alias Bench.Cluster.Node, as: Peer

  @apart_ms 20

  def run do
    options = Bench.options(smoke: :boolean, rounds: :integer)
    smoke? = options[:smoke] == true
    actors = if smoke?, do: 16, else: 48
    System.at_exit(fn _status -> File.rm_rf!(Peer.folder()) end)
    {server, url} = Bench.postgres()
    settings = [actors: {:postgres, url}]
    cookie = :"bench_#{System.pid()}"
    names = for index <- 1..2, do: Peer.unique("bench#{index}")
    [first, second] = for name <- names, do: Peer.boot!(Peer.start!(name, cookie, names -- [name], settings))
    Peer.probe(first, :until, [:linked?, [second.name], true])
    Peer.probe(first, :deploy, [File.read!("guests/build/rust/ledger.wasm"), [name: "ledger", actor: [idle: 600_000]]])
    for actor <- 1..actors, do: Peer.probe(first, :until, [:added?, ["ledger", "#{actor}"], true])

    rounds =
      for round <- 1..if(smoke?, do: 1, else: options[:rounds] || 3) do
        third = Peer.unique("bench3_#{round}")

        {third, came} =
          during(first, actors, fn ->
            node = Peer.boot!(Peer.start!(third, cookie, names, settings))
            balanced(first, node, true)
            node
          end)

        {_left, left} =
          during(first, actors, fn ->
            :ok = Peer.on(third, Application, :stop, [:tidepool])
            balanced(first, third, false)
          end)

        again = Peer.boot!(third)
        balanced(first, again, true)
        owned = owned(first, actors, third)

        {killed_at, killed} =
          during(first, actors, fn ->
            killed_at = System.os_time(:microsecond)
            {_output, 0} = System.cmd("kill", ["-KILL", Peer.on(third, System, :pid, [])])
            for actor <- owned, do: Peer.probe(first, :until, [:added?, ["ledger", "#{actor}"], true])
            killed_at
          end)

        {came, left, failover(killed, owned, killed_at)}
      end

    {came, left, killed} =
      Enum.reduce(rounds, {[], [], []}, fn {a, b, c}, {as, bs, cs} -> {a ++ as, b ++ bs, c ++ cs} end)

    Bench.report("moves", rows("a node comes", came) ++ rows("a node leaves", left) ++ failover_rows(killed))
    for node <- [first, second], do: Peer.stop(node)
    Port.close(server)
  end

  # What the calls came to that were made meanwhile: `{actor, moved?, calls}`.
  defp during(node, actors, fun) do
    before = owners(node, actors)
    :ok = Peer.probe(node, :begin_calls, ["ledger", actors, @apart_ms])
    result = fun.()
    calls = Peer.probe(node, :end_calls, [])
    now = owners(node, actors)
    {result, for({actor, calls} <- calls, do: {actor, before[actor] != now[actor], calls})}
  end

  defp owners(node, actors), do: Map.new(1..actors, &{&1, Peer.probe(node, :owner, ["ledger", "#{&1}"])})
  defp owned(node, actors, third), do: for({actor, owner} <- owners(node, actors), owner == third.name, do: actor)

  # Until nothing moves any more, and the third node has a share, or none.
  defp balanced(node, third, share?), do: Peer.probe(node, :until, [:balanced, [to_string(third.name)], share?])

  defp rows(what, actors) do
    slowest = fn moved? -> for {_actor, ^moved?, calls} <- actors, do: calls |> Enum.map(&took/1) |> Enum.max() end
    failed = for {_actor, _moved?, calls} <- actors, {_began, _ended, outcome} <- calls, outcome != :ok, do: outcome
    {moved, stayed} = {slowest.(true), slowest.(false)}

    [{"#{what}: actors that move", length(moved), "", nil}] ++
      times("… the slowest call of one", moved, {:at_most, 20}) ++
      times("… the slowest call of one that stays", stayed, nil) ++
      [{"… calls that failed", length(failed), "", {:at_most, 0}}]
  end

  # It is chance which actors have which node: of few, none may.
  defp times(_what, [], _target), do: []

  defp times(what, values, target) do
    [
      {what <> ", median", Bench.percentile(values, 50), "ms", nil},
      {"… p99", Bench.percentile(values, 99), "ms", target}
    ]
  end

  defp took({began, ended, _outcome}), do: (ended - began) / 1_000

  # From the kill to the first answer that was written after it.
  defp failover(actors, owned, killed_at) do
    for {actor, _moved?, calls} <- actors, actor in owned do
      ended = for {_began, ended, :ok} <- calls, ended > killed_at, do: ended
      (Enum.min(ended) - killed_at) / 1_000
    end
  end

  defp failover_rows(waits) do
    [{"a node is killed: its actors", length(waits), "", nil}] ++
      times("… answered elsewhere after", waits, {:at_most, 8_000})
  end
end

Bench.Moves.run()
