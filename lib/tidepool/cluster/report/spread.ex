defmodule Tidepool.Cluster.Report.Spread do
  @moduledoc "On which nodes a version can be called, and whether that is enough for whoever waits for it."

  alias Tidepool.Cluster

  @doc "From how far each node is."
  @spec of(%{String.t() => :ready | :pending | :unknown}) :: Cluster.spread()
  def of(progress) do
    {ready, pending} = Enum.split_with(progress, fn {_node, state} -> state == :ready end)
    %{ready: Enum.map(ready, &elem(&1, 0)), pending: Enum.map(pending, &elem(&1, 0))}
  end

  @doc "Nobody has it: it was superseded or removed."
  @spec nowhere :: Cluster.spread()
  def nowhere, do: %{ready: [], pending: []}

  @doc "Is that enough? While there may be more nodes than are known, as on one that is joining, only this node's own is."
  @spec enough?(Cluster.extent(), :ok | :joining, Cluster.spread()) :: boolean
  def enough?(:local, _known, _spread), do: true
  def enough?(_extent, :joining, _spread), do: false
  def enough?(:all, :ok, spread), do: spread.pending == []
  def enough?(:majority, :ok, spread), do: length(spread.ready) > length(spread.pending)
end
