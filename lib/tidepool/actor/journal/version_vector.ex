defmodule Tidepool.Actor.Journal.VersionVector do
  @moduledoc """
  Of whose writes a state of an actor is made, where a release before has had nodes keep copies of each other's actors without a store that
  they share: of each node that has written it, by its start (a replica of `Tidepool.Catalog.Clock`), the time of its last write, in µs since
  1970. An import of what several such nodes had goes by it (`Tidepool.Actor.Journal.Differing`).

  It is a version vector and a hybrid logical clock in one. A time is later than all times before it in the same actor, whatever the clocks
  said; of two states that know nothing of each other the one with the later time is the later.

  An entry under a node's name alone says that what any start of that node wrote until then has been seen.
  """

  alias Tidepool.Catalog.Clock

  @most 16

  @type us :: non_neg_integer
  @typedoc "Starts of nodes, or the names of nodes alone."
  @type t :: %{optional(writer :: String.t()) => us}

  @doc "Of what no such node has written."
  @spec none :: t
  def none, do: %{}

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
  Is it one, whatever a file has in its place?

      iex> for term <- [%{"a" => 1}, nil, %{1 => 2}, %{"a" => -1}], do: Tidepool.Actor.Journal.VersionVector.valid?(term)
      [true, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(vector) do
    is_map(vector) and map_size(vector) <= @most and
      Enum.all?(vector, fn {node, at} -> is_binary(node) and is_integer(at) and at >= 0 end)
  end
end
