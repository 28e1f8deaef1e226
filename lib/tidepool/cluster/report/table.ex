defmodule Tidepool.Cluster.Report.Table do
  @moduledoc """
  The latest report of each node (`Tidepool.Cluster.Report`), and what follows from them: who is reachable.

  There is no failure detector here. A node whose link goes down, as the VM tells it, says so in its report; nodes to which
  no chain of links leads from this one are lost.
  """

  alias Tidepool.Catalog.Digest
  alias Tidepool.Cluster.Report

  # `whole` is the digest of the reports with their marks.
  defstruct rows: %{}, digest: %Digest{}, whole: %Digest{}

  @type t :: %__MODULE__{rows: %{String.t() => Report.t()}, digest: Digest.t(), whole: Digest.t()}

  @doc "Takes in a report; one that was written before `oldest` is expired."
  @spec merge(t, Report.t(), oldest :: integer) :: {:changed | :same | :older | :expired, t}
  def merge(reports, %{node: node, at: at} = report, oldest) do
    old = reports.rows[node]

    cond do
      old == nil and at < oldest -> {:expired, reports}
      old == nil -> {:changed, put(reports, nil, report)}
      Report.rank(report) > Report.rank(old) -> {:changed, put(reports, old, report)}
      Report.rank(report) == Report.rank(old) -> {:same, reports}
      true -> {:older, reports}
    end
  end

  @doc "The nodes whose reports are known, without those that were forgotten."
  @spec nodes(t) :: [String.t()]
  def nodes(reports), do: for({node, %{forgotten: false}} <- reports.rows, do: node)

  @doc "The report by which a node is forgotten whose report is known."
  @spec forget(t, String.t()) :: Report.t()
  def forget(reports, node), do: %{reports.rows[node] | forgotten: true}

  @doc "Without the reports that were written before `oldest`."
  @spec expire(t, oldest :: integer) :: t
  def expire(reports, oldest) do
    for {node, %{at: at} = report} when at < oldest <- reports.rows, reduce: reports do
      reports ->
        %{count(reports, node, report, nil) | rows: Map.delete(reports.rows, node)}
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

  defp put(reports, old, report) do
    %{count(reports, report.node, old, report) | rows: Map.put(reports.rows, report.node, report)}
  end

  defp count(reports, node, old, new) do
    {old_hash, new_hash} = {hash(old, &Report.hash/1), hash(new, &Report.hash/1)}
    digest = Digest.put(reports.digest, node, old_hash, new_hash)

    # Mostly there is no mark, and both are one term.
    whole =
      if reports.whole == reports.digest and not marked?(old) and not marked?(new),
        do: digest,
        else: Digest.put(reports.whole, node, hash(old, &Report.whole_hash/1), hash(new, &Report.whole_hash/1))

    %{reports | digest: digest, whole: whole}
  end

  defp hash(nil, _hash), do: 0
  defp hash(report, hash), do: hash.(report)

  defp marked?(report), do: report != nil and report.forgotten
end
