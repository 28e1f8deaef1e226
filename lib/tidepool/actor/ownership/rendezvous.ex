defmodule Tidepool.Actor.Ownership.Rendezvous do
  @moduledoc """
  Which node ought to have which shard: of each node and shard a hash is taken, and the node with the greatest has it. All nodes that
  know of the same nodes decide alike, and a node that comes or goes moves no other shards than its own.
  """

  alias Tidepool.Actor.Ownership.Shards

  @typedoc "A shard as the store has it."
  @type row :: {Shards.shard(), epoch :: non_neg_integer, owner :: String.t() | nil}

  @doc """
  The node that ought to have a shard, among those that are alive.

      iex> nodes = ["a@host", "b@host", "c@host"]
      iex> Enum.frequencies(for shard <- 0..4_095, do: Tidepool.Actor.Ownership.Rendezvous.owner(shard, nodes)) |> map_size()
      3
      iex> Tidepool.Actor.Ownership.Rendezvous.owner(7, [])
      nil
  """
  @spec owner(Shards.shard(), [String.t()]) :: String.t() | nil
  def owner(_shard, []), do: nil
  def owner(shard, nodes), do: Enum.max_by(nodes, &rank(shard, &1))

  defp rank(shard, node), do: {:erlang.phash2({node, shard}), node}

  @doc """
  Those that this node takes: no node has them, or one whose lease has run out, and of those who live they ought to be this one's.
  Of those with a lease who leave do not live.

      iex> rows = for shard <- 0..9, do: {shard, 1, Enum.at(["a@host", "gone@host", nil], rem(shard, 3))}
      iex> Tidepool.Actor.Ownership.Rendezvous.claims(rows, "a@host", ["a@host"], ["a@host"])
      [1, 2, 4, 5, 7, 8]
  """
  @spec claims([row], String.t(), live :: [String.t()], leased :: [String.t()]) :: [Shards.shard()]
  def claims(rows, me, live, leased),
    do: for({shard, _epoch, owner} <- rows, owner not in leased, owner(shard, live) == me, do: shard)

  @doc """
  A group of this node's shards that ought to be another's, and whose; `nil` when all is as it ought to be. When no node lives
  they ought to be no node's.

      iex> {to, group} = Tidepool.Actor.Ownership.Rendezvous.move([{0, 4, "a@host"}, {1, 2, "a@host"}], "a@host", ["b@host"], 64)
      iex> {to, Enum.sort(group)}
      {"b@host", [{0, 4}, {1, 2}]}
  """
  @spec move([row], String.t(), live :: [String.t()], most :: pos_integer) ::
          {to :: String.t() | nil, [{Shards.shard(), epoch :: non_neg_integer}]} | nil
  def move(rows, me, live, most) do
    others = for {shard, epoch, ^me} <- rows, to = owner(shard, live), to != me, do: {to, {shard, epoch}}

    case others do
      [] ->
        nil

      [{to, _first} | _rest] ->
        {to, others |> Enum.filter(&match?({^to, _shard}, &1)) |> Enum.take(most) |> Enum.map(&elem(&1, 1))}
    end
  end
end
