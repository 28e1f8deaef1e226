defmodule Tidepool.ClusterMessages do
  @moduledoc "Generators of catalog entries and of all messages between nodes."

  import Tidepool.Property, only: [map: 2, types: 0]

  alias Tidepool.Catalog.{Entry, Previous}
  alias Tidepool.Cluster.Report
  alias Tidepool.Function.Spec

  @doc "An entry of which nothing matters but name, stamp and the given fields."
  def entry(name, stamp, fields \\ []) do
    struct!(
      %Entry{
        name: name,
        version: 1,
        sha256: String.duplicate("00", 32),
        size: 1,
        operation: name,
        instances: :fresh,
        limits: Tidepool.Limits.complete(%{}),
        deployed_at: 1,
        stamp: stamp
      },
      fields
    )
  end

  @doc "An entry of one of a few names, with one of few stamps, so that all kinds of conflicts come up."
  def entry do
    fields = [
      types().integer(1, 4),
      types().integer(1, 3),
      types().integer(0, 1),
      types().integer(1, 3),
      types().integer(1, 3),
      types().boolean(),
      options(),
      types().union(Tidepool.Catalog.Origin.kinds()),
      types().integer(0, 2)
    ]

    map(types().fixed_list(fields), fn [name, wall_ms, counter, replica, version, removed, options, admitted, before] ->
      fields = [
        version: version,
        removed: removed,
        sha256: String.duplicate("a#{version}", 32),
        size: version * 100,
        admitted: admitted,
        limits: Tidepool.Limits.complete(%{}),
        deployed_at: wall_ms
      ]

      entry = entry("f#{name}", {wall_ms, counter, "n#{replica}@host#1"}, fields ++ options)
      %{entry | previous: previous(entry, before)}
    end)
  end

  defp previous(_entry, 0), do: ""
  defp previous(entry, count), do: Previous.push(%{entry | removed: false, previous: previous(entry, count - 1)})

  # Options of a type with few values, and others by name: what is not here is as it is in all entries.
  defp options do
    options = for {key, spec} <- Spec.kept(), values = values(key, spec[:type]), do: tuple([key, values])
    types().fixed_list(options)
  end

  defp values(:instances, _type), do: types().union([:fresh, map(types().integer(1, 16_000), &{:warm, &1})])
  defp values(:description, _type), do: types().union(["", "é" |> String.duplicate(200)])

  defp values(:labels, _type) do
    label = tuple([types().union(["team", "a.b"]), types().union(["", "shop", "é:b"])])
    map(list(label, 2), &Map.new/1)
  end

  defp values(:net, _type), do: types().union([[], ["dns", "tcp:connect:*:443"]])
  defp values(:host, _type), do: types().union([["*"], ["none"], ["shop/prices/*", "redis/*/GET"]])
  defp values(:signature, _type), do: types().union([nil, Base.encode64(<<7::512>>)])
  defp values(:files, _type), do: types().union([[], ["/data=memory", "/etc/app=host:config"]])

  defp values(_key, :boolean), do: types().boolean()
  defp values(_key, {:one_of, values}), do: types().union(values)
  defp values(_key, _type), do: nil

  @doc "Any message."
  def message do
    types().union([
      tuple([:push, list(tuple([entry(), maybe(moment())]))]),
      tuple([:reports, list(report())]),
      tuple([:digest, number(48), sum(), sum(), sum(), levels()]),
      tuple([:groups, table(), list(sum(), 32)]),
      tuple([:leaves, table(), list(tuple([types().integer(0, 31), list(sum(), 32)]), 32)]),
      tuple([:keys, table(:entries), list(tuple([types().integer(0, 1023), list(tuple([name(), stamp()]))]))]),
      tuple([:keys, table(:reports), list(tuple([types().integer(0, 1023), list(tuple([peer(), number(48)]))]))]),
      tuple([:want, table(:entries), list(name())]),
      tuple([:want, table(:reports), list(peer())]),
      tuple([:gone, list(tuple([name(), stamp()]))]),
      tuple([:seen, sum(), context()]),
      :join,
      tuple([:forward_join, peer(), types().integer(0, 16)]),
      tuple([:neighbor, types().union([:high, :low])]),
      tuple([:neighbor_reply, types().boolean()]),
      :disconnect,
      tuple([
        :shuffle,
        map(tuple([peer(), list(peer(), 15)]), fn {a, path} -> [a | path] end),
        types().integer(0, 16),
        list(peer())
      ]),
      tuple([:shuffle_reply, list(peer(), 16), list(peer())])
    ])
  end

  defp report do
    fields = [peer(), number(48), list(peer()), sum(), list(sum()), list(sum()), types().boolean()]

    map(types().fixed_list(fields), fn [node, at, links, root, ready, pending, forgotten] ->
      %Report{node: node, at: at, links: links, root: root, ready: ready, pending: pending, forgotten: forgotten}
    end)
  end

  defp context do
    seen = map(list(tuple([replica(), moment()])), &Map.new/1)
    moments = map(list(moment()), fn moments -> Map.new(moments, &{&1, true}) end)
    beyond = map(list(tuple([replica(), moments])), &Map.new/1)

    map(tuple([seen, beyond, maybe(stamp())]), fn {seen, beyond, horizon} ->
      %{seen: seen, beyond: beyond, horizon: horizon}
    end)
  end

  defp peer, do: map(types().integer(1, 9), &"n#{&1}@host")
  defp replica, do: map(types().integer(1, 9), &"n#{&1}@host#1")
  defp name, do: map(types().integer(1, 9), &"f#{&1}")
  defp stamp, do: tuple([number(48), number(32), replica()])
  defp moment, do: tuple([number(48), number(32)])
  defp sum, do: number(56)
  defp table, do: types().union([table(:entries), table(:reports)])
  defp table(kind), do: types().union([kind | for(level <- Spec.levels(), do: {kind, level})])
  defp levels, do: types().union([[] | for(level <- Spec.levels(), do: list(tuple([level, sum(), sum()]), 1))])
  defp number(bits), do: types().integer(0, Bitwise.bsl(1, bits) - 1)
  defp maybe(type), do: types().union([nil, type])
  defp tuple(fields), do: types().tuple(fields)
  defp list(type, max \\ 20), do: map(types().list(type), &Enum.take(&1, max))
end
