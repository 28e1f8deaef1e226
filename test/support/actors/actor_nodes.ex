defmodule Tidepool.ActorNodes do
  @moduledoc "Nodes that keep actors together, as a test asks them."

  import ExUnit.Assertions
  import Tidepool.Case, only: [eventually: 2]

  alias Tidepool.{Actor, Native, Peer}
  alias Tidepool.Actor.Voter

  @patience 60_000

  @doc "The names of the nodes that have shards, as a node knows it."
  @spec placed(struct) :: [String.t()]
  def placed(peer) do
    case Peer.call(peer, Actor, :placement, []) do
      %{nodes: nodes} -> for node <- nodes, node.shards > 0, do: node.name
      nil -> []
    end
  end

  @doc "Waits until a node has some."
  @spec own_some(struct) :: true
  def own_some(peer), do: eventually(fn -> to_string(peer.node) in placed(peer) end, @patience)

  @doc "What a node answers to a call of an actor, of the option `:class` or else of `ledger`."
  @spec call(struct, String.t(), String.t(), binary, keyword) :: term
  def call(peer, name, operation, payload, options) do
    {class, options} = Keyword.pop(options, :class, "ledger")
    Peer.call(peer, Actor, :call, [class, name, operation, payload, options])
  end

  @doc "The answer of an actor, once there is one."
  @spec answer(struct, String.t(), String.t(), binary, keyword) :: binary
  def answer(peer, name, operation, payload, options \\ []) do
    eventually(
      fn ->
        assert {:ok, answer} = call(peer, name, operation, payload, options)
        answer
      end,
      @patience
    )
  end

  @doc "What a node's voter says of itself."
  @spec standing(struct) :: term
  def standing(peer) do
    with {:ok, voter} <- Peer.call(peer, Voter, :voter, []), do: Peer.call(peer, Native, :voter_standing, [voter])
  end
end
