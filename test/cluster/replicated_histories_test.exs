defmodule Tidepool.ReplicatedHistoriesTest do
  # What clients see of actors that five nodes keep on their own disks, while nodes are killed, stand still and are cut off, and clocks are
  # set: `Tidepool.Rounds`.
  use Tidepool.Case, async: false

  alias Tidepool.Actor.{Members, Voter}
  alias Tidepool.{Native, Peer, Rounds, SlowLink}

  @moduletag :slow
  @moduletag timeout: Rounds.timeout_ms()

  # Nodes that are killed in a round, beside so many clients.
  @killed if Rounds.long?(), do: 10, else: 2
  @clients 24

  test "what clients see of actors is linearizable, whatever fails", do: Rounds.run(nodes!(), &faults/2)

  test "it is so while members are removed, added, and replaced for their folders are lost",
    do: Rounds.run(nodes!(), &members/2)

  test "it is so while nodes are killed one after the other, each second time the one that leads",
    do: Rounds.run(nodes!(), &kills/2, @clients)

  defp nodes!, do: Rounds.nodes!(fn names -> %{actors: fn _who -> {:replicated, Enum.map(names, &to_string/1)} end} end)

  # Each is over at another time: a node stands still for longer than its lease, one is killed and comes back, and is cut off from another;
  # one is not heard by another; clocks are set. Then two are cut off from the others, and the voter that leads may be one of them.
  defp faults([still, killed, one, two, other], there) do
    Rounds.signal(still, "STOP")
    Rounds.pause(500)
    killed = Rounds.restart(killed, there)
    Peer.cut(killed.peer, other.peer)
    Rounds.set_clocks([killed, one, two, other])
    Rounds.pause(Rounds.lapse_ms())
    Rounds.signal(still, "CONT")
    SlowLink.hold(other.cable, one.name, two.name)
    Rounds.pause(1_500)
    Peer.heal(killed.peer, other.peer)
    SlowLink.release(other.cable)
    parted = for few <- [one, two], many <- [still, killed, other], do: {few.peer, many.peer}
    for {few, many} <- parted, do: Peer.cut(few, many)
    Rounds.pause(Rounds.lapse_ms())
    for {few, many} <- parted, do: Peer.heal(few, many)
    [still, killed, one, two, other]
  end

  # Members are four while one is killed, and then one that has lost its folder is taken back as another.
  defp members([removed, killed, lost, one, two], there) do
    change(:remove, removed, one)
    killed = Rounds.restart(killed, there)
    Rounds.pause(1_000)
    change(:add, removed, two)

    lost =
      Rounds.restart(lost, there, fn lost ->
        [folder] = Path.wildcard(Path.join([lost.data, "**/actors/replicated"]))
        File.rm_rf!(folder)
      end)

    change(:replace, lost, removed)
    Rounds.pause(1_000)
    [removed, killed, lost, one, two]
  end

  # Asks until it is so: whoever leads may not have a link with the node yet, and one that is asked again may find it done.
  defp change(how, node, by) do
    name = to_string(node.name)

    eventually(
      fn ->
        changed = Peer.call(by.peer, Members, :change, [how, name])
        assert match?({:ok, _members}, changed) or changed?(how, node, by), inspect(changed)
      end,
      Rounds.patience_ms()
    )
  end

  defp changed?(:remove, node, by) do
    {:ok, members} = Peer.call(by.peer, Members, :list, [])
    to_string(node.name) not in Enum.map(members, & &1.node)
  end

  defp changed?(_to_have, node, _by) do
    with {:ok, voter} <- Peer.call(node.peer, Voter, :voter, []),
         do: Peer.call(node.peer, Native, :voter_standing, [voter]) == :member,
         else: (_none -> false)
  end

  defp kills(nodes, there), do: Enum.reduce(1..@killed, nodes, &kill(&2, there, rem(&1, 2) == 0))

  defp kill([first, second | _others] = nodes, there, leader?) do
    node = if leader?, do: leader(nodes, first), else: second
    # Whoever was killed last is the last of them.
    (nodes -- [node]) ++ [Rounds.restart(node, there)]
  end

  defp leader(nodes, by) do
    eventually(
      fn ->
        {:ok, members} = Peer.call(by.peer, Members, :list, [])
        %{node: leads} = Enum.find(members, & &1.leads)
        Enum.find(nodes, &(to_string(&1.name) == leads))
      end,
      Rounds.patience_ms()
    )
  end
end
