defmodule Tidepool.Cluster.Report.Own do
  @moduledoc """
  The report that a node writes of itself (`Tidepool.Cluster.Report`), and what the next one will say.

  It is written anew when something in it has changed, but in a large cluster not all the time, and now and then anyway, so
  that it does not expire.
  """

  alias Tidepool.Catalog.{Digest, Entry}
  alias Tidepool.Cluster.Report

  @enforce_keys [:report]
  defstruct [:report, ready: [], pending: %{}, dirty: true, due: 0]

  @type t :: %__MODULE__{
          report: Report.t(),
          ready: [Digest.hash()],
          pending: %{String.t() => Digest.hash()},
          dirty: boolean,
          due: tick :: non_neg_integer
        }

  @doc "Nothing to report yet but the root of the catalog's digest."
  @spec new(String.t(), now :: non_neg_integer, Digest.hash()) :: t
  def new(node, now, root), do: %__MODULE__{report: %Report{node: node, at: now, root: root}}

  @doc "These entries can be served now."
  @spec ready(t, [Entry.t()]) :: t
  def ready(own, entries) do
    hashes = Enum.map(entries, &Entry.hash/1)
    ready = Enum.take(Enum.reverse(hashes) ++ (own.ready -- hashes), Report.sizes().ready)
    %{own | ready: ready, pending: Map.drop(own.pending, Enum.map(entries, & &1.name)), dirty: true}
  end

  @doc "These entries can't be served yet."
  @spec pending(t, [Entry.t()]) :: t
  def pending(own, entries) do
    %{own | pending: Enum.reduce(entries, own.pending, &Map.put(&2, &1.name, Entry.hash(&1))), dirty: true}
  end

  @doc "These names are not in the catalog any more."
  @spec forget(t, [String.t()]) :: t
  def forget(own, names) do
    pending = Map.drop(own.pending, names)
    %{own | pending: pending, dirty: own.dirty or pending != own.pending}
  end

  @doc "Something else that is reported has changed."
  @spec changed(t) :: t
  def changed(own), do: %{own | dirty: true}

  @doc "A report of this node's that was written before a restart, or by a clock that was ahead: the next one is later."
  @spec follow(t, Report.t()) :: t
  def follow(own, earlier), do: %{own | report: %{own.report | at: earlier.at}}

  @doc "Has it to be written anew?"
  @spec due?(t, tick :: non_neg_integer, now :: non_neg_integer, age_ms :: pos_integer) :: boolean
  def due?(own, tick, now, age_ms), do: (own.dirty and tick >= own.due) or now - own.report.at > div(age_ms, 4)

  @doc "Writes it anew; not before the tick `due` again, unless it expires."
  @spec write(t, now :: non_neg_integer, links :: [String.t()], Digest.hash(), due :: non_neg_integer) :: t
  def write(own, now, links, root, due) do
    sizes = Report.sizes()

    report = %Report{
      node: own.report.node,
      at: max(now, own.report.at + 1),
      links: Enum.take(links, sizes.links),
      root: root,
      ready: own.ready,
      pending: own.pending |> Map.values() |> Enum.take(sizes.pending)
    }

    %{own | report: report, dirty: false, due: due}
  end
end
