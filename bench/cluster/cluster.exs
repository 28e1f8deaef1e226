# Measures: clusters of real nodes on this machine: deploys, joins, what they cost
Code.require_file("node.exs", __DIR__)

defmodule Bench.Cluster do
  @moduledoc "How soon the nodes of a cluster have what one of them has, and what that costs them."

  alias Bench.Cluster.Node, as: Peer

  @functions 50

  def run(smoke?) do
    System.at_exit(fn _status -> File.rm_rf!(Peer.folder()) end)
    cookie = :"bench_#{System.pid()}"
    scale = if smoke?, do: 1, else: 10

    rows = deploys(cookie, 5 * scale) ++ join_and_heal(cookie) ++ large(cookie) ++ throughput(cookie, scale)
    Bench.report("cluster", rows)
  end

  # A WASI program of 86 KB, with a section that makes each version another module.
  defp module(number) do
    padding = String.pad_leading(Integer.to_string(number), 14_000, "-")
    name = "version"
    content = <<byte_size(name), name::binary, padding::binary>>
    File.read!("guests/build/rust/upper.wasm") <> <<0>> <> leb(byte_size(content)) <> content
  end

  defp leb(number) when number < 128, do: <<number>>
  defp leb(number), do: <<1::1, rem(number, 128)::7>> <> leb(div(number, 128))

  defp cluster(cookie, count) do
    names = for index <- 1..count, do: Peer.unique("bench#{index}")
    nodes = for name <- names, do: Peer.boot!(Peer.start!(name, cookie, names -- [name]))
    for node <- nodes, do: linked(node, names -- [node.name])
    nodes
  end

  defp linked(node, names) do
    Enum.each(names, &Peer.probe(node, :until, [:linked?, [&1], true]))
  end

  defp deploys(cookie, count) do
    [first | others] = nodes = cluster(cookie, 3)

    times =
      for number <- 1..count do
        waiting = for node <- others, do: Task.async(fn -> Peer.probe(node, :callable, ["f", number, "x"]) end)

        {answered, ^number} = Peer.probe(first, :deploy, [module(number), [name: "f"]])
        last = waiting |> Task.await_many(:infinity) |> Enum.max()
        # It may be there before the deploy is answered.
        max(last - answered, 0) / 1_000
      end

    Enum.each(nodes, &Peer.stop/1)

    [
      {"deploy of 100 KB answered → callable on all of 3 nodes, median", Bench.percentile(times, 50), "ms",
       {:at_most, 150}},
      {"deploy of 100 KB answered → callable on all of 3 nodes, p99", Bench.percentile(times, 99), "ms",
       {:at_most, 150}}
    ]
  end

  defp join_and_heal(cookie) do
    [a, b] = nodes = cluster(cookie, 2)
    for number <- 1..@functions, do: Peer.probe(a, :deploy, [module(number), [name: "f#{number}"]])
    joining = Peer.start!(Peer.unique("joining"), cookie, [b.name])
    began = System.os_time(:microsecond)
    Peer.boot!(joining)
    joined = for number <- 1..@functions, do: Peer.probe(joining, :callable, ["f#{number}", 1, "x"])
    Peer.stop(joining)

    cut(a, b)

    for {node, number} <- [{a, 101}, {b, 102}],
        do: Peer.probe(node, :deploy, [module(number), [name: "part#{number}"]])

    healing = System.os_time(:microsecond)
    heal(a, b, cookie)
    all = Enum.sort(for(number <- 1..@functions, do: "f#{number}") ++ ["part101", "part102"])
    healed = for node <- nodes, do: Peer.probe(node, :until, [:names, [], all])
    Enum.each(nodes, &Peer.stop/1)

    [
      {"new node joins #{@functions} functions of 100 KB: all callable", (Enum.max(joined) - began) / 1_000_000, "s",
       {:at_most, 5}},
      {"partition healed → equal catalogs", (Enum.max(healed) - healing) / 1_000_000, "s", {:at_most, 2}}
    ]
  end

  # 50 MB of a custom section: what is measured is the way, not the compiler.
  defp large(cookie) do
    [a, b] = nodes = cluster(cookie, 2)
    Peer.probe(a, :deploy, [File.read!("guests/build/rust/hello_world.wasm"), [name: "warm", instances: {:warm, 4}]])
    for node <- nodes, do: Peer.probe(node, :until, [:names, [], ["warm"]])
    quiet = Peer.probe(b, :round_trips, [a.name, "warm", 1_000])

    padding = :binary.copy("-", 50_000_000)
    content = <<1, "-", padding::binary>>
    wasm = File.read!("guests/build/wat/returns_1_silent.wasm") <> <<0>> <> leb(byte_size(content)) <> content
    meanwhile = Task.async(fn -> Peer.probe(b, :round_trips_until, [a.name, "warm", "large"]) end)
    {answered, 1} = Peer.probe(a, :deploy, [wasm, [name: "large"]])
    arrived = Peer.probe(b, :callable, ["large", 1, ""])
    {links, calls} = Task.await(meanwhile, :infinity)
    {quiet_links, quiet_calls} = quiet
    Enum.each(nodes, &Peer.stop/1)

    [
      {"50 MB module answered → callable on the other node", (arrived - answered) / 1_000_000, "s", nil},
      {"message over the link and back, p99", Bench.percentile(quiet_links, 99), "ms", nil},
      {"message over the link and back while 50 MB cross it, p99", Bench.percentile(links, 99), "ms", nil},
      {"longest of them", Enum.max(links), "ms", {:at_most, 1_000}},
      {"call on the node that receives, p99", Bench.percentile(quiet_calls, 99), "ms", nil},
      {"call on the node that receives meanwhile, p99", Bench.percentile(calls, 99), "ms", nil}
    ]
  end

  # Each expects a cookie of the other that this one does not have: what links them is gone, and nothing new comes about.
  defp cut(a, b) do
    for {node, other} <- [{a, b}, {b, a}] do
      true = Peer.on(node, :erlang, :set_cookie, [other.name, :"cut_by_#{node.name}"])
    end

    Peer.on(a, :erlang, :disconnect_node, [b.name])
  end

  defp heal(a, b, cookie) do
    for {node, other} <- [{a, b}, {b, a}], do: true = Peer.on(node, :erlang, :set_cookie, [other.name, cookie])
  end

  defp throughput(cookie, scale) do
    alone = Peer.boot!(Peer.start!(Peer.unique("alone"), cookie, []))
    [first | _others] = nodes = cluster(:"#{cookie}_5", 5)
    warm = [name: "warm", instances: {:warm, 100}]
    wasm = File.read!("guests/build/rust/hello_world.wasm")
    for node <- [alone, first], do: Peer.probe(node, :deploy, [wasm, warm])
    for node <- nodes, do: Peer.probe(node, :until, [:names, [], ["warm"]])

    rounds =
      for _round <- 1..(2 * scale) do
        [lone, linked] = for node <- [alone, first], do: Peer.probe(node, :throughput, ["warm", 8, 250])
        {lone, linked}
      end

    Enum.each([alone | nodes], &Peer.stop/1)
    lone = Bench.percentile(Enum.map(rounds, &elem(&1, 0)), 50)
    ratio = Bench.percentile(Enum.map(rounds, fn {lone, linked} -> linked / lone end), 50)

    [
      {"calls of a lone node", lone, "/s", nil},
      {"calls of a node with 4 peers / of a lone node", ratio, "×", {:at_least, 0.97}}
    ]
  end
end

Bench.Cluster.run(Bench.smoke?())
