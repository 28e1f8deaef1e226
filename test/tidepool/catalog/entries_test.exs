defmodule Tidepool.Catalog.EntriesTest do
  use ExUnit.Case, async: true

  alias Tidepool.Catalog.{BlobStore, Entries, Entry, Previous}
  alias Tidepool.Function.Routes
  alias Tidepool.Namespaces.Name

  @names for space <- ["", "shop/", "blog/"], name <- ["a", "b", "c"], do: space <> name
  @routes ["/all", "shop.EXAMPLE/all", "/none"] ++ for(name <- @names, do: "/" <> name)
  @modules for number <- 1..6, do: BlobStore.sha256("module #{number}")

  defp entry(name, last) do
    %Entry{
      name: name,
      version: if(last, do: last.version + 1, else: 1),
      removed: :rand.uniform(4) == 1,
      sha256: Enum.random(@modules),
      size: :rand.uniform(1_000),
      operation: "any",
      instances: :fresh,
      limits: Tidepool.Limits.complete(%{}),
      deployed_at: 0,
      routes: Enum.random([[], ["/" <> name], ["/" <> name, "/all"], ["Shop.example/all"]]),
      previous: Previous.push(last),
      stamp: {1, 0, "a@host#1"}
    }
  end

  # All that there is, looked through.
  defp counted(entries) do
    {removed, here} = entries |> Entries.list() |> Enum.split_with(& &1.removed)

    %{
      needed: here |> Enum.flat_map(&Entry.modules/1) |> Enum.uniq() |> Enum.sort(),
      routed:
        for route <- @routes do
          same? = &(Routes.canonical(&1) == Routes.canonical(route))
          Enum.sort(for entry <- here, Enum.any?(entry.routes, same?), do: entry.name)
        end,
      removed: for(space <- [nil, "shop", "blog"], do: Enum.count(removed, &(Name.of(&1.name) == space))),
      others:
        for name <- @names, into: %{} do
          others = for entry <- here, entry.name != name, Name.of(entry.name) == Name.of(name), do: entry
          newest = others |> Enum.map(& &1.size) |> Enum.sum()
          previous = others |> Enum.map(&Previous.bytes(&1.previous)) |> Enum.sum()
          {name, %{functions: length(others), newest: newest, previous: previous}}
        end
    }
  end

  defp told(entries) do
    %{
      needed: @modules |> Enum.filter(&Entries.needs?(entries, &1)) |> Enum.sort(),
      routed: for(route <- @routes, do: Enum.sort(for entry <- Entries.routed(entries, [route]), do: entry.name)),
      removed: for(space <- [nil, "shop", "blog"], do: Entries.count_removed(entries, space)),
      others: Map.new(@names, &{&1, Entries.others(entries, &1)})
    }
  end

  test "sums are those of all entries, whatever was put in and dropped" do
    entries = Entries.new([entry("a", nil), entry("shop/a", nil)])

    for _step <- 1..300 do
      names = Enum.take_random(@names, :rand.uniform(3))

      if :rand.uniform(5) == 1 do
        :ok = Entries.drop(entries, names)
      else
        new = for name <- names, do: entry(name, Entries.get(entries, name))
        # Of two of a name the last one counts.
        true = Entries.put(entries, new ++ for(one <- new, do: entry(one.name, one)))
      end

      assert told(entries) == counted(entries)
    end
  end

  test "who names several routes of one function is told of it once, and of none that has others" do
    entries =
      Entries.new(for name <- ~w(a b), do: %{entry(name, nil) | removed: false, routes: ["/#{name}", "/#{name}/x"]})

    assert [%{name: "a"}] = Entries.routed(entries, ["/a", "/a/x", "/c"])
    assert Entries.routed(entries, ["/c"]) == []
  end
end
