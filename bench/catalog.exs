# Measures: a catalog of 10,000 functions as the cluster keeps it: merging a change, comparing digests, memory
Code.require_file("support.exs", __DIR__)

defmodule Bench.Catalog do
  @moduledoc "Merging, comparing and encoding a catalog of 10,000 functions."

  alias Tidepool.Catalog.{Entries, Entry, State}
  alias Tidepool.Cluster.{Gossip, Wire}
  alias Tidepool.Cluster.Gossip.AntiEntropy

  @now 1_700_000_000_000

  def run(smoke?) do
    functions = if smoke?, do: 1_000, else: 10_000
    rounds = if smoke?, do: 5, else: 50
    entries = for n <- 1..functions, do: entry(n, 0)
    table = Entries.new(entries)
    %{catalog: state} = gossip = gossip("b@host", entries, table)
    a = gossip("a@host", entries, table)
    # From here on they know of each other what they have seen.
    {a, b, _bytes} = exchange(a, gossip)

    rows =
      merging(gossip, functions, rounds) ++
        comparing(a, b, functions, rounds) ++
        memory(table, state) ++
        [{"node that joins: #{functions} entries, both sides", joining(entries, table), "ms", nil}]

    Bench.report("catalog", rows)
  end

  defp merging(%{catalog: state} = gossip, functions, rounds) do
    # Each is later than what is there, and is merged into the same state: what is measured is one change.
    later = for n <- 1..100, do: entry(rem(n * 97, functions) + 1, n)
    pushes = for entry <- later, do: Wire.encode({:push, [{entry, nil}]})

    merge = times(fn -> Enum.each(later, &State.merge(state, &1)) end, rounds * 10, 100)
    known = times(fn -> Enum.each(later, &State.merge(state, entry(1, 0, &1))) end, rounds * 10, 100)

    whole =
      times(
        fn ->
          Enum.each(pushes, fn bytes ->
            {:ok, message} = Wire.decode(bytes)
            Gossip.handle(gossip, {:message, "a@host", message}, @now)
          end)
        end,
        rounds * 10,
        100
      )

    [
      {"merge of one change, median", Bench.percentile(merge, 50), "µs", {:at_most, 50}},
      {"merge of one change, p99", Bench.percentile(merge, 99), "µs", nil},
      {"merge of one that is known, median", Bench.percentile(known, 50), "µs", nil},
      {"decode, merge and pass on one change, median", Bench.percentile(whole, 50), "µs", {:at_most, 50}},
      {"a change as bytes", byte_size(hd(pushes)) * 1.0, "B", nil}
    ]
  end

  # From the digest to equal catalogs, both sides' work with encoding and decoding.
  defp comparing(a, b, functions, rounds) do
    for {differences, text} <- [{0, "equal"}, {1, "1 entry differs"}, {100, "100 entries differ"}],
        differences < functions do
      entries = for n <- 1..differences//1, do: entry(n, 1)

      changed = %{
        a
        | catalog: Enum.reduce(entries, a.catalog, fn entry, state -> elem(State.merge(state, entry), 1) end)
      }

      {_a, _b, bytes} = exchange(changed, b)
      times = times(fn -> exchange(changed, b) end, rounds, 1)
      target = if differences <= 1, do: {:at_most, 5}

      [
        {"digest exchange, #{text}, median", Bench.percentile(times, 50) / 1_000, "ms", target},
        {"digest exchange, #{text}, p99", Bench.percentile(times, 99) / 1_000, "ms", nil},
        {"digest exchange, #{text}", bytes, "B", nil}
      ]
    end
    |> List.flatten()
  end

  defp joining(entries, table) do
    new = gossip("c@host", [], Entries.new([]))
    [time] = times(fn -> exchange(gossip("a@host", entries, table), new) end, 1, 1)
    time / 1_000
  end

  defp memory(table, state) do
    word = :erlang.system_info(:wordsize)

    words = for table <- Tuple.to_list(table), do: :ets.info(table, :memory)

    [
      {"memory of the entries, in their table, and of sums beside it", Enum.sum(words) * word / 1_048_576, "MiB", nil},
      {"memory of the index and the digests beside it", :erts_debug.size(state) * word / 1_048_576, "MiB", nil}
    ]
  end

  # All messages that two nodes send each other until both are silent.
  defp exchange(a, b) do
    catalog = a.catalog
    {entries, reports} = AntiEntropy.roots(catalog, b.reports)
    digest = {:digest, @now, entries, State.context_hash(catalog), reports, AntiEntropy.levels(catalog, b.reports)}
    deliver([{:b, digest}], %{a: a, b: b}, 0)
  end

  defp deliver([], nodes, bytes), do: {nodes.a, nodes.b, bytes}

  defp deliver([{to, message} | rest], nodes, bytes) do
    encoded = Wire.encode(message)
    {:ok, message} = Wire.decode(encoded)
    from = if to == :a, do: :b, else: :a
    {gossip, effects} = Gossip.handle(nodes[to], {:message, nodes[from].node, message}, @now)
    peer = nodes[from].node

    answers =
      for {:send, ^peer, answer} <- effects,
          kind(answer) in ~w(groups leaves keys want push gone seen)a,
          do: {from, answer}

    deliver(rest ++ answers, %{nodes | to => gossip}, bytes + byte_size(encoded))
  end

  defp kind(message), do: if(is_tuple(message), do: elem(message, 0), else: message)

  defp times(fun, rounds, per_round) do
    fun.()
    for time <- Bench.latencies(fun, rounds), do: time / 1_000 / per_round
  end

  defp gossip(node, entries, table) do
    catalog = State.new(State.new_context(node <> "#1"), entries, &Entries.get(table, &1))
    Gossip.new(node, catalog, @now, seed: 1)
  end

  defp entry(n, later) do
    %Entry{
      name: "function_#{n}",
      version: 1 + later,
      sha256: String.duplicate("5a", 32),
      size: 100_000,
      operation: "function_#{n}",
      instances: :fresh,
      limits: Tidepool.Limits.complete(%{}),
      deployed_at: div(@now, 1_000),
      stamp: {@now - 86_400_000 + later, n, "a@host#1"}
    }
  end

  defp entry(_n, _later, %{name: "function_" <> n}), do: entry(String.to_integer(n), 0)
end

Bench.Catalog.run(Bench.smoke?())
