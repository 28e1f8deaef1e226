defmodule Tidepool.PuppetCluster do
  @moduledoc "Nodes on which a program of puppets runs, and a stage on the first that speaks with these."

  import Tidepool.Case, only: [eventually: 2]

  alias Tidepool.{Peer, Puppets, Stage, TestCluster}
  alias Tidepool.Nodes

  @patience 30_000

  @doc "So many nodes that know each other and have the puppets' module, and the stage on the first."
  def cluster!(count, options \\ []) do
    peers = [first | _others] = TestCluster.start!(count, discovery_interval: 100)
    for peer <- peers, do: eventually(fn -> map_size(Peer.call(peer, Nodes, :all, [])) == count - 1 end, @patience)
    Peer.deploy!(first, "lunatic", "puppet", [wait: :all] ++ options)
    {peers, Stage.start(first)}
  end

  @doc "A node's number."
  def number(peer), do: Nodes.number(peer.node)

  @doc "The first puppet of a program."
  def begin!(stage, options \\ []), do: Stage.run(stage, Puppets, :begin, ["puppet", options])

  @doc "One more, on another node: its id and its process."
  def spawn_on!(stage, puppet, peer), do: Stage.run(stage, Puppets, :spawn_on, [puppet, number(peer)])

  @doc "Has a puppet do something, and returns what it says of that."
  def tell!(stage, puppet, command, id \\ 0, tag \\ 0),
    do: Stage.run(stage, Puppets, :tell, [puppet, command, id, tag])

  @doc "Has a puppet do something, and does not wait for what it says: that is for `hear!/1`."
  def ask!(stage, puppet, command, id \\ 0, tag \\ 0), do: Stage.run(stage, Puppets, :ask, [puppet, command, id, tag])

  @doc "What a puppet says next."
  def hear!(stage), do: Stage.run(stage, Puppets, :hear, [])
end
