defmodule Tidepool.Catalog.Digest do
  @moduledoc """
  A summary of a set of keyed hashes, by which two nodes find where their sets differ without sending them.

  Keys fall into #{32 * 32} leaves by their own hash, leaves into 32 groups, groups into one root. Each of these is the
  sum of what it holds, so that a change costs one subtraction and one addition on each level, however many keys there
  are, and equal sets have equal sums in whatever order they grew. Sums have 56 bits. A leaf's own keys are found without a look at
  the others: whoever chooses names may choose them for one leaf.
  """

  @groups 32
  @leaves @groups * @groups
  @range Bitwise.bsl(1, 56)

  defstruct root: 0, groups: Tuple.duplicate(0, @groups), leaves: %{}

  @type hash :: 0..0xFF_FFFF_FFFF_FFFF
  @type group :: 0..31
  @type leaf :: 0..1023
  @type t :: %__MODULE__{root: hash, groups: tuple, leaves: %{leaf => {hash, keys}}}
  @typep keys :: %{String.t() => true}

  @doc "How many groups there are, and how many leaves in all."
  @spec sizes :: {pos_integer, pos_integer}
  def sizes, do: {@groups, @leaves}

  @doc "The hash of some bytes, the same on every node."
  @spec hash(iodata) :: hash
  def hash(data) do
    <<hash::56, _rest::binary>> = :erlang.md5(data)
    hash
  end

  @doc "The leaf of a key. Leaf L is in group `div(L, 32)`."
  @spec leaf(String.t()) :: leaf
  def leaf(key), do: :erlang.phash2(key, @leaves)

  @doc """
  Replaces the hash of a key: `old` is what `key` had, `new` what it has now, 0 for none.

      iex> alias Tidepool.Catalog.Digest
      iex> digest = %Digest{} |> Digest.put("a", 0, 5) |> Digest.put("b", 0, 7)
      iex> digest == %Digest{} |> Digest.put("b", 0, 7) |> Digest.put("a", 0, 3) |> Digest.put("a", 3, 5)
      true
      iex> digest |> Digest.put("a", 5, 0) |> Digest.put("b", 7, 0) |> Digest.put("c", 0, 0)
      %Digest{}
  """
  @spec put(t, String.t(), hash, hash) :: t
  def put(digest, _key, 0, 0), do: digest

  def put(digest, key, old, new) do
    leaf = leaf(key)
    group = div(leaf, @groups)

    %{
      digest
      | root: add(digest.root, old, new),
        groups: put_elem(digest.groups, group, add(elem(digest.groups, group), old, new)),
        leaves: put_leaf(digest.leaves, leaf, key, old, new)
    }
  end

  defp put_leaf(leaves, leaf, key, old, new) do
    {sum, keys} = Map.get(leaves, leaf, {0, %{}})

    keys =
      cond do
        old == 0 -> Map.put(keys, key, true)
        new == 0 -> Map.delete(keys, key)
        true -> keys
      end

    if keys == %{}, do: Map.delete(leaves, leaf), else: Map.put(leaves, leaf, {add(sum, old, new), keys})
  end

  @doc "The sums of all groups."
  @spec groups(t) :: [hash]
  def groups(digest), do: Tuple.to_list(digest.groups)

  @doc "The sums of a group's leaves."
  @spec leaves(t, group) :: [hash]
  def leaves(digest, group), do: leaves(digest.leaves, group * @groups, (group + 1) * @groups)

  defp leaves(_leaves, last, last), do: []

  defp leaves(leaves, leaf, last) do
    case leaves do
      %{^leaf => {sum, _keys}} -> [sum | leaves(leaves, leaf + 1, last)]
      _empty -> [0 | leaves(leaves, leaf + 1, last)]
    end
  end

  @doc "The groups in which another digest, by its list of groups, differs from this one."
  @spec differing_groups(t, [hash]) :: [group]
  def differing_groups(digest, others), do: for({group, _other} <- differing(groups(digest), others, 0), do: group)

  @doc "The leaves of a group in which another digest, by its list of them, differs from this one, with the other's sums."
  @spec differing_leaves(t, group, [hash]) :: [{leaf, hash}]
  def differing_leaves(digest, group, others), do: differing(leaves(digest, group), others, group * @groups)

  @doc "The keys of one leaf."
  @spec keys(t, leaf) :: [String.t()]
  def keys(digest, leaf) do
    case digest.leaves do
      %{^leaf => {_sum, keys}} -> Map.keys(keys)
      _empty -> []
    end
  end

  defp differing([same | ours], [same | others], index), do: differing(ours, others, index + 1)
  defp differing([_our | ours], [other | others], index), do: [{index, other} | differing(ours, others, index + 1)]
  defp differing(_ours, _others, _index), do: []

  @doc "A sum with one of its parts replaced."
  @spec add(hash, old :: hash, new :: hash) :: hash
  def add(sum, old, new), do: rem(sum - old + new + @range, @range)
end
