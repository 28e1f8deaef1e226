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

      forward == backward
    end)
  end

  test "sums are those of the nodes of every release" do
    names = for number <- 1..10, do: "f#{number}"
    digest = Enum.reduce(names, %Digest{}, &Digest.put(&2, &1, 0, Digest.hash(&1)))
    assert digest.root == 71_790_928_867_053_927
    groups = for {sum, group} <- Enum.with_index(Digest.groups(digest)), sum != 0, do: {group, sum}

    assert groups == [
             {0, 30_997_214_650_509_485},
             {1, 24_800_790_707_270_403},
             {4, 15_313_957_699_548_304},
             {5, 28_436_601_457_820_577},
             {6, 6_607_855_413_431_361},
             {7, 36_791_817_289_298_555},
             {17, 28_399_069_501_800_254},
             {18, 53_226_822_872_818_369},
             {21, 32_877_794_703_281_967},
             {29, 30_511_786_685_058_460}
           ]

    leaves = for {group, _sum} <- groups, sum <- Digest.leaves(digest, group), sum != 0, do: sum
    assert Enum.sort(leaves) == names |> Enum.map(&Digest.hash/1) |> Enum.sort()
    assert Enum.sort(for leaf <- 0..1_023, key <- Digest.keys(digest, leaf), do: key) == Enum.sort(names)
  end

  test "a key goes from its leaf in as few steps whatever others are in there" do
    [crowded, spread] = for keys <- [keys_of(7, 2_000), for(number <- 1..2_000, do: "k#{number}")], do: steps(keys)
    assert crowded < 3 * spread, "#{crowded} steps, and #{spread} where they are in all leaves"
  end

  defp keys_of(leaf, count) do
    Stream.iterate(0, &(&1 + 1))
    |> Stream.map(&"k#{&1}")
    |> Stream.filter(&(Digest.leaf(&1) == leaf))
    |> Enum.take(count)
  end

  # In the order in which they came.
  defp steps(keys) do
    full = Enum.reduce(keys, %Digest{}, &Digest.put(&2, &1, 0, 5))
    {:reductions, before} = Process.info(self(), :reductions)
    assert Enum.reduce(keys, full, &Digest.put(&2, &1, 5, 0)) == %Digest{}
    {:reductions, later} = Process.info(self(), :reductions)
    later - before
  end
end
