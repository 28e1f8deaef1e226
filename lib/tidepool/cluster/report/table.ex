defmodule Tidepool.Cluster.Report.Table do
  @moduledoc """
  The latest report of each node (`Tidepool.Cluster.Report`), and what follows from them: who is reachable.

  There is no failure detector here. A node whose link goes down, as the VM tells it, says so in its report; nodes to which
  no chain of links leads from this one are lost.
  """

  alias Tidepool.Catalog.Digest
  alias Tidepool.Cluster.Report

  defstruct rows: %{}, digest: %Digest{}

  @type t :: %__MODULE__{rows: %{String.t() => Report.t()}, digest: Digest.t()}

  @doc "Takes in a report; one that was written before `oldest` is expired."
  @spec merge(t, Report.t(), oldest :: integer) :: {:changed | :same | :older | :expired, t}
  def merge(reports, %{node: node, at: at} = report, oldest) do
    old = reports.rows[node]

    cond do
      old == nil and at < oldest -> {:expired, reports}
      old == nil -> {:changed, put(reports, report, 0)}
      Report.rank(report) > Report.rank(old) -> {:changed, put(reports, report, Report.hash(old))}
      Report.rank(report) == Report.rank(old) -> {:same, reports}
      true -> {:older, reports}
    end
  end

  @doc "The nodes whose reports are known, without those that were forgotten."
  @spec nodes(t) :: [String.t()]
  def nodes(reports), do: for({node, %{forgotten: false}} <- reports.rows, do: node)

  @doc "The report by which a node is forgotten whose report is known."
  @spec forget(t, String.t()) :: Report.t()
  def forget(reports, node), do: %Report{node: node, at: reports.rows[node].at + 1, forgotten: true}

  @doc "Without the reports that were written before `oldest`."
  @spec expire(t, oldest :: integer) :: t
  def expire(reports, oldest) do
    for {node, %{at: at} = report} when at < oldest <- reports.rows, reduce: reports do
      reports ->
        digest = Digest.put(reports.digest, node, Report.hash(report), 0)
        %{reports | rows: Map.delete(reports.rows, node), digest: digest}
    end
  end

  @doc "The nodes to which a chain of links leads from `node`, itself included."
  @spec reachable(t, String.t()) :: MapSet.t(String.t())
  def reachable(reports, node), do: reachable(reports.rows, [node], MapSet.new([node]))

  defp reachable(_rows, [], found), do: found

  defp reachable(rows, [node | rest], found) do
    links = if report = rows[node], do: report.links, else: []

    {rest, found} =
      Enum.reduce(links, {rest, found}, fn link, {rest, found} ->
        if MapSet.member?(found, link), do: {rest, found}, else: {[link | rest], MapSet.put(found, link)}
      end)

    reachable(rows, rest, found)
  end

  defp put(reports, report, old_hash) do
    digest = Digest.put(reports.digest, report.node, old_hash, Report.hash(report))
    %{reports | rows: Map.put(reports.rows, report.node, report), digest: digest}
  end
end
