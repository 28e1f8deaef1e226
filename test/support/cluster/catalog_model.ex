defmodule Tidepool.CatalogModel do
  @moduledoc """
  What `Tidepool.Catalog` does for gossip, as a value: it takes note of what was decided, one after another and some time later, and has
  what it has taken note of read.
  """

  alias Tidepool.Catalog.{Entry, State}
  alias Tidepool.Cluster.Gossip

  defstruct entries: %{}, waiting: []

  @doc "Gossip that finds the entries as they are here now."
  def readable(model, %Gossip{catalog: catalog} = gossip),
    do: %{gossip | catalog: %State{catalog | read: &Map.get(model.entries, &1)}}

  @doc "What gossip knows now, by name."
  def known(model, gossip) do
    %{catalog: catalog} = readable(model, gossip)
    for {name, _mark} <- catalog.index, entry = State.entry(catalog, name), into: %{}, do: {name, entry}
  end

  @doc "Effects that are to be taken note of from `due` on."
  def await(model, effects, due) do
    noted = for effect <- effects, elem(effect, 0) in [:accepted, :completed, :collected], do: {due, effect}
    %{model | waiting: model.waiting ++ noted}
  end

  @doc "Takes note of what is due by `now`; `:all` is later than any time."
  def note(%{waiting: [{due, effect} | waiting]} = model, now) when due <= now,
    do: note(%{model | entries: noted(effect, model.entries), waiting: waiting}, now)

  def note(model, _now), do: model

  @doc "A change that is made here, after all that is waiting."
  def change(model, entry) do
    model = note(model, :all)
    %{model | entries: Map.put(model.entries, entry.name, entry)}
  end

  defp noted({:accepted, entries, _from}, known), do: Enum.reduce(entries, known, &accept/2)
  defp noted({:completed, entries}, known), do: Enum.reduce(entries, known, &accept/2)

  defp noted({:collected, stamps, _context}, known) do
    Map.drop(known, for({name, stamp} <- stamps, match?(%{^name => %{stamp: ^stamp}}, known), do: name))
  end

  defp accept(entry, known) do
    Map.update(known, entry.name, entry, &if(Entry.compare(&1, entry) == :lt, do: entry, else: &1))
  end
end
