defmodule Tidepool.ReplicatedHistoriesTest do
  # What clients see of actors that five nodes keep on their own disks, while nodes are killed, stand still and are cut off, and clocks are
  # set: `Tidepool.Rounds`.
  use Tidepool.Case, async: false

  alias Tidepool.{Peer, Rounds, SlowLink}

  @moduletag :slow
  @moduletag timeout: Rounds.timeout_ms()

  test "what clients see of actors is linearizable, whatever fails" do
    nodes = Rounds.nodes!(fn names -> %{actors: fn _who -> {:replicated, Enum.map(names, &to_string/1)} end} end)
    Rounds.run(nodes, &faults/2)
  end

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
end
