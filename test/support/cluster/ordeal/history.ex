defmodule Tidepool.Ordeal.History do
  @moduledoc """
  What a cluster has answered to changes, and what has to hold of its catalog for that.

  Of each change that was made there is the stamp that it got. The change with the latest stamp of a name is the one that
  holds, whatever happened to nodes, links and clocks: an earlier one there means that something was lost or came back.
  A change whose answer got lost with its node may hold or not; one that was refused must not.
  """

  use Agent

  alias Tidepool.Catalog.{Clock, Entry}

  @type change :: {:deployed, sha256 :: String.t()} | :removed
  @type outcome :: {:made, Clock.stamp()} | :overtaken | :refused | :unknown

  @doc "An empty history."
  def start_link(_argument), do: Agent.start_link(fn -> %{} end, name: __MODULE__)

  @doc "Adds a change of a name, and what was answered."
  @spec add(String.t(), change, outcome) :: :ok
  def add(name, change, outcome) do
    Agent.update(__MODULE__, &Map.update(&1, name, [{change, outcome}], fn rest -> [{change, outcome} | rest] end))
  end

  @doc "How many changes had which outcome."
  @spec count :: %{atom => pos_integer}
  def count do
    Agent.get(__MODULE__, fn history ->
      for({_name, changes} <- history, {_change, outcome} <- changes, do: kind(outcome)) |> Enum.frequencies()
    end)
  end

  @doc "Sentences about names of which these entries are not what was answered."
  @spec violations([Entry.t()]) :: [String.t()]
  def violations(entries) do
    held = Map.new(entries, &{&1.name, &1})
    Agent.get(__MODULE__, & &1) |> Enum.flat_map(fn {name, changes} -> violation(name, changes, held[name]) end)
  end

  defp violation(name, changes, entry) do
    made = for {change, {:made, stamp}} <- changes, do: {stamp, change}
    latest = Enum.max(made, fn -> nil end)

    cond do
      latest == nil and entry == nil -> []
      entry == nil -> ["#{name} is gone: #{inspect(latest)} was answered"]
      latest != nil and {entry.stamp, change(entry)} == latest -> []
      later?(entry, latest) and {change(entry), :unknown} in changes -> []
      true -> ["#{name} is #{inspect({entry.stamp, change(entry)})}, and the latest answer was #{inspect(latest)}"]
    end
  end

  defp later?(_entry, nil), do: true
  defp later?(entry, {stamp, _change}), do: entry.stamp > stamp

  @doc "The change that an entry stands for."
  @spec change(Entry.t()) :: change
  def change(%Entry{removed: true}), do: :removed
  def change(%Entry{sha256: sha256}), do: {:deployed, sha256}

  defp kind({:made, _stamp}), do: :made
  defp kind(outcome), do: outcome
end
