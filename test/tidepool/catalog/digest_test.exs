defmodule Tidepool.Catalog.DigestTest do
  use ExUnit.Case, async: true

  import Tidepool.Property

  alias Tidepool.Catalog.Digest

  doctest Digest

  defp sets, do: map(types().list(types().tuple([types().integer(1, 200), types().integer(1, 9)])), &Map.new/1)

  defp digest(set) do
    Enum.reduce(set, %Digest{}, fn {key, value}, digest -> Digest.put(digest, "k#{key}", 0, hash(key, value)) end)
  end

  defp hash(key, value), do: Digest.hash([<<key::16, value>>])

  test "sets that differ differ in their roots, and only in the leaves of the keys that differ" do
    assert_holds(types().tuple([sets(), sets()]), fn {a, b} ->
      {one, other} = {digest(a), digest(b)}
      keys = for key <- Enum.uniq(Map.keys(a) ++ Map.keys(b)), a[key] != b[key], do: "k#{key}"

      found =
        for group <- Digest.differing_groups(one, Digest.groups(other)),
            {leaf, sum} <- Digest.differing_leaves(one, group, Digest.leaves(other, group)) do
          assert sum == 0 == (Digest.keys(other, leaf) == [])
          leaf
        end

      one.root == other.root == (a == b) and
        Enum.sort(found) == keys |> Enum.map(&Digest.leaf/1) |> Enum.uniq() |> Enum.sort()
    end)
  end

  test "a digest does not tell in which order it grew" do
    assert_holds(sets(), fn set ->
      forward = digest(set)

      backward =
        set
        |> Enum.reverse()
        |> Enum.reduce(%Digest{}, fn {key, value}, digest ->
          digest |> Digest.put("k#{key}", 0, 7) |> Digest.put("k#{key}", 7, hash(key, value))
        end)

      {forward.root, forward.groups} == {backward.root, backward.groups} and
        Map.new(forward.leaves, fn {leaf, {sum, keys}} -> {leaf, {sum, Enum.sort(keys)}} end) ==
          Map.new(backward.leaves, fn {leaf, {sum, keys}} -> {leaf, {sum, Enum.sort(keys)}} end)
    end)
  end
end
