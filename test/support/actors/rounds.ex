defmodule Tidepool.Rounds do
  @moduledoc """
  Rounds of clients that ask actors on five nodes, beside what befalls these: what the clients see has to be what actors would answer that
  are there once, and never fail. `TIDEPOOL_CHAOS_S=600` goes on for ten minutes, with a thousand actors.

  A node is a map with its `peer`, its `name`, its `clock`, the `cable` that links all, and whatever else `nodes!/1` was given for it.
  """

  import ExUnit.{Assertions, Callbacks}
  import Tidepool.Case, only: [eventually: 2]

  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.{Actor, FalseClock, Histories, Peer, SlowLink, TestCluster}

  @chaos_s String.to_integer(System.get_env("TIDEPOOL_CHAOS_S", "0"))
  @nodes 5
  @clients 10
  # Actors of each kind in a round, of which half of the calls are, and all that there are.
  @busy 4
  @actors if @chaos_s > 0, do: 334, else: 20
  # By how much a clock is wrong.
  @jumps_s [-3_600, -60, -5, 0, 5, 60, 3_600]
  # Longer than a lease lasts.
  @lapse_ms 6_500
  @patience 60_000

  @doc "Does it go on for longer than one round?"
  def long?, do: @chaos_s > 0

  @doc "How long a test may take."
  def timeout_ms, do: 900_000 + 2_000 * @chaos_s

  @doc "How many ms something lasts that is to be longer than a lease."
  def lapse_ms, do: @lapse_ms

  @doc "How many ms all may take to be well again."
  def patience_ms, do: @patience

  @doc """
  Starts nodes. `of`, of all names, says what each has besides: the setting `actors` among that, by a name which no other start of a node
  has.
  """
  def nodes!(of) do
    cookie = Peer.cookie()
    names = for number <- 1..@nodes, do: Peer.name("n#{number}")
    cable = start_supervised!({SlowLink, nodes: names, delay_ms: 0, bytes_per_s: 1_000_000_000})

    nodes =
      for name <- names do
        node = %{name: name, clock: FalseClock.new!(), cable: cable, cookie: cookie, starts: 0, data: nil}
        node |> Map.put(:seeds, names -- [name]) |> Map.merge(of.(names)) |> start()
      end

    Peer.deploy!(hd(nodes).peer, "rust", "ledger", name: "ledger", actor: true)
    nodes
  end

  @doc "Starts a node, again with its data when it has some."
  def start(node) do
    starts = node.starts + 1
    data = if node.data, do: [data: node.data], else: []
    options = [args: SlowLink.arguments(node.cable), env: FalseClock.environment(node.clock)]
    settings = [actors: node.actors.("#{node.name}-#{starts}")] ++ data
    peer = TestCluster.start_node!(node.name, node.cookie, node.seeds, settings, options)
    os_pid = Peer.call(peer, System, :pid, [])
    Map.merge(node, %{starts: starts, peer: peer, data: peer.data, os_pid: os_pid})
  end

  @doc "Kills a node that clients ask, and starts it again, after something was done with what it has left."
  def restart(node, there, between \\ fn _node -> :ok end) do
    Agent.update(there, &List.delete(&1, node.peer))
    Peer.halt(node.peer)
    between.(node)
    node = start(node)
    Agent.update(there, &[node.peer | &1])
    node
  end

  @doc """
  Goes through rounds until the time is over. `faults`, of the nodes and of the agent that has those that clients ask, has them go through
  what they have to; and returns them.
  """
  def run(nodes, faults, clients \\ @clients) do
    round(1, nodes, {faults, clients}, System.monotonic_time(:second) + @chaos_s)
  end

  defp round(number, nodes, {faults, count} = how, until) do
    actors = for kind <- ~w(counter register list), actor <- 1..@actors, do: "#{kind} #{number}.#{actor}"
    busy = for kind <- ~w(counter register list), actor <- 1..@busy, do: "#{kind} #{number}.#{actor}"
    {:ok, there} = Agent.start_link(fn -> Enum.map(nodes, & &1.peer) end)
    choose = fn -> Enum.random(Enum.random([busy, actors])) end
    clients = Histories.start(count, "ledger", choose, fn -> Agent.get(there, & &1) end)
    nodes = faults.(Enum.shuffle(nodes), there)
    answered(nodes, actors)
    {seen, unexpected} = Histories.stop(clients)
    assert unexpected == []
    {linearizable?, said} = Histories.check(seen)
    assert linearizable?, said
    asked = seen |> Enum.map(& &1.actor) |> Enum.uniq() |> length()

    said =
      "round #{number}: #{String.trim(said)}, of #{asked} actors; the longest wait for an answer #{longest_ms(seen)} ms"

    if @chaos_s > 0, do: IO.puts(said)
    assert Enum.count(seen, & &1.answered) > 50
    assert Enum.all?(nodes, & &1.peer)

    if System.monotonic_time(:second) < until,
      do: round(number + 1, nodes, how, until),
      else: nodes
  end

  # Of those that had one, in however many tries with one id.
  defp longest_ms(seen),
    do: for(%{answered: at} = one when at != nil <- seen, do: div(at - one.called, 1_000)) |> Enum.max()

  # All nodes answer for all actors again.
  defp answered(nodes, actors) do
    for node <- nodes do
      Task.async(fn ->
        for actor <- actors do
          eventually(
            fn ->
              answer = Peer.call(node.peer, Actor, :call, ["ledger", actor, "sum", "", [timeout: 5_000]])

              assert match?({:ok, _sum}, answer),
                     "#{node.name}: #{inspect(answer)}; it is where #{inspect(places(nodes, actor))}"
            end,
            @patience
          )
        end
      end)
    end
    |> Task.await_many(:infinity)
  end

  # Where each node has an actor, and whom it reaches.
  defp places(nodes, actor) do
    for %{name: name, peer: peer} <- nodes do
      {name, Peer.call(peer, Shards, :place, ["ledger", actor]), Peer.call(peer, Node, :list, [:connected])}
    end
  end

  @doc "By how many seconds a clock is to be wrong next."
  def jump_s, do: Enum.random(@jumps_s)

  @doc "Sets clocks of nodes, each by another jump. It is over once they say so."
  def set_clocks(nodes) do
    for %{peer: peer, clock: clock} <- nodes, seconds = jump_s() do
      FalseClock.set(clock, seconds)
      eventually(fn -> ahead?(Peer.call(peer, :os, :system_time, [:second]), seconds) end, @patience)
    end
  end

  @doc "Is what a clock says by so many seconds ahead of what it should?"
  def ahead?(said, seconds), do: abs(said - seconds - System.os_time(:second)) <= 2

  @doc "Sends a signal to a node's process."
  def signal(node, signal), do: {_output, 0} = System.cmd("kill", ["-#{signal}", node.os_pid])

  @doc "How long a fault lasts."
  def pause(ms) do
    receive do
    after
      ms -> :ok
    end
  end
end
