defmodule Tidepool.Actor.Journal.VersionVector do
  @moduledoc """
  Of whose writes a state of an actor is made: of each node that has written it, by its start (`Clock.writer/0`), the time of its last
  write, in µs since 1970. That is
  a version vector and a hybrid logical clock in one. A time is later than all times before it in the same actor, whatever the clocks
  say, so a write never loses against one that it follows; of two that know nothing of each other the one with the later time is
  the later.

  A version vector has 16 entries at most. Over that, the two oldest of the node that has the most become one, under the node's name alone: it says
  that what any start of that node wrote until then has been seen. That is so, since a node goes on from what it wrote before its start.
  Only one that has lost its disk does not: then a copy of what it lost, if that is on a node which has seen none of some later starts,
  is taken for an older state. Of more than 16 nodes those are forgotten whose last write was first; what is left of one of them elsewhere
  is a conflict, and never lost.
  """

  alias Tidepool.Catalog.Clock

  @most 16

  @type us :: non_neg_integer
  @typedoc "Starts of nodes, or the names of nodes alone."
  @type t :: %{optional(writer :: String.t()) => us}

  @doc "Of what was never written."
  @spec none :: t
  def none, do: %{}

  @doc """
  The vector of a write by a node, at a time of its clock.

      iex> alias Tidepool.Actor.Journal.VersionVector
      iex> first = VersionVector.next(VersionVector.none(), "a@host", 1_000)
      iex> second = VersionVector.next(first, "b@host", 10)
      %{"a@host" => 1_000, "b@host" => 1_001}
      iex> VersionVector.compare(second, first)
      :after
  """
  @spec next(t, node :: String.t(), us) :: t
  def next(vector, node, now), do: vector |> Map.put(node, max(now, last(vector) + 1)) |> bounded()

  @doc "The time of its last write; 0 when there is none."
  @spec last(t) :: us
  def last(vector), do: vector |> Map.values() |> Enum.max(fn -> 0 end)

  @doc """
  What a version vector is to another.

      iex> alias Tidepool.Actor.Journal.VersionVector
      iex> {ancestor, left, right} = {%{"a" => 5}, %{"a" => 7}, %{"a" => 5, "b" => 6}}
      iex> for other <- [ancestor, left, right], do: VersionVector.compare(left, other)
      [:after, :same, :apart]
      iex> VersionVector.compare(ancestor, right)
      :before
  """
  @spec compare(t, t) :: :same | :before | :after | :apart
  def compare(same, same), do: :same

  def compare(one, other) do
    case {within?(one, other), within?(other, one)} do
      {true, false} -> :before
      {false, true} -> :after
      # With entries that have become one here, and not there.
      {true, true} -> :same
      {false, false} -> :apart
    end
  end

  defp within?(one, other), do: Enum.all?(one, fn {writer, at} -> seen?(other, writer, at) end)

  defp seen?(vector, writer, at) do
    at <= Map.get(vector, writer, -1) or
      case Clock.node_of(writer) do
        # All of its starts are meant: what one has written later follows from it.
        ^writer -> Enum.any?(vector, fn {other, seen} -> at <= seen and Clock.node_of(other) == writer end)
        node -> at <= Map.get(vector, node, -1)
      end
  end

  @doc """
  Is what was written last under the other among what one has seen? Then all that a state of the other holds went into one, whatever
  else the other has heard of.

      iex> alias Tidepool.Actor.Journal.VersionVector
      iex> heard = %{"a" => 5, "b" => 6}
      iex> {VersionVector.compare(%{"b" => 7}, heard), VersionVector.follows?(%{"b" => 7}, heard), VersionVector.follows?(%{"a" => 7}, heard)}
      {:apart, true, false}
  """
  @spec follows?(t, t) :: boolean
  def follows?(one, other) do
    case rank(other) do
      [{at, writer} | _earlier] -> seen?(one, writer, at)
      [] -> true
    end
  end

  @doc """
  Is one later than the other, of two that are apart? By the time of the last write, and then by the name of its node.

      iex> Tidepool.Actor.Journal.VersionVector.later?(%{"a" => 7}, %{"a" => 5, "b" => 6})
      true
      iex> Tidepool.Actor.Journal.VersionVector.later?(%{"a" => 7}, %{"b" => 7})
      false
  """
  @spec later?(t, t) :: boolean
  def later?(one, other), do: rank(one) > rank(other)

  # Those of the same last write are told apart by the rest.
  defp rank(vector), do: vector |> Enum.map(fn {node, at} -> {at, node} end) |> Enum.sort(:desc)

  @doc """
  Of what has seen both.

      iex> Tidepool.Actor.Journal.VersionVector.join(%{"a" => 7}, %{"a" => 5, "b" => 6})
      %{"a" => 7, "b" => 6}
  """
  @spec join(t, t) :: t
  def join(one, other), do: one |> Map.merge(other, fn _node, at, or_at -> max(at, or_at) end) |> bounded()

  defp bounded(vector) when map_size(vector) <= @most, do: vector

  defp bounded(vector) do
    {node, starts} =
      vector
      |> Enum.group_by(fn {writer, _at} -> Clock.node_of(writer) end)
      |> Enum.max_by(fn {node, starts} -> {length(starts), node} end)

    case starts |> Enum.map(fn {writer, at} -> {at, writer} end) |> Enum.sort() do
      [{_at, first}, {at, second} | _later] ->
        # The node's own may be of later ones, where two vectors were joined.
        vector |> Map.drop([first, second]) |> Map.update(node, at, &max(&1, at)) |> bounded()

      [_only] ->
        vector |> Enum.sort_by(fn {writer, at} -> {at, writer} end, :desc) |> Enum.take(@most) |> Map.new()
    end
  end

  @doc "Is it one, whatever another node has sent?"
  @spec valid?(term) :: boolean
  def valid?(vector) do
    is_map(vector) and map_size(vector) <= @most and
      Enum.all?(vector, fn {node, at} -> is_binary(node) and is_integer(at) and at >= 0 end)
  end
end
