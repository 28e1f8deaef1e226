defmodule Tidepool.Cluster.Report do
  @moduledoc """
  What a node says of itself to all others: its links, and how far it is with loading what is deployed.

  Only the node itself writes its report; the later one (`at`, ms of its clock) replaces the earlier. It is written when
  something in it changes, and otherwise a few times a day, so that a report which is older than a day is of a node that is
  gone for good, and expires.

  `root` is the root of the catalog's digest when the report was written, `ready` the hashes of the entries that it was
  able to serve last, newest first, `pending` the hashes of those that it can't serve yet.

  A lost node can be `forgotten`: another one marks its last report so. It expires as before, and whatever the node itself
  writes later counts again. Nodes of the protocol's first version know the report without the mark, and all agree on
  `hash/1`.
  """

  alias Tidepool.Catalog.Digest

  @max_ready 64
  @max_pending 256
  @max_links 64

  @enforce_keys [:node, :at]
  defstruct [:node, :at, links: [], root: 0, ready: [], pending: [], forgotten: false]

  @type t :: %__MODULE__{
          node: String.t(),
          at: non_neg_integer,
          links: [String.t()],
          root: Digest.hash(),
          ready: [Digest.hash()],
          pending: [Digest.hash()],
          forgotten: boolean
        }

  @doc "How long the lists of a report may be: ready, pending, links."
  @spec sizes :: %{ready: pos_integer, pending: pos_integer, links: pos_integer}
  def sizes, do: %{ready: @max_ready, pending: @max_pending, links: @max_links}

  @doc "The hash of a report, the same on every node: a node writes no two reports at the same time."
  @spec hash(t) :: Digest.hash()
  def hash(report), do: Digest.hash([<<report.at::64>>, report.node])

  @doc "A hash of a report with its mark, the same on all nodes that know those."
  @spec whole_hash(t) :: Digest.hash()
  def whole_hash(%{forgotten: true} = report), do: Digest.hash(["forgotten", <<report.at::64>>, report.node])
  def whole_hash(report), do: hash(report)

  @doc "Of two reports of a node the one with the greater rank counts."
  @spec rank(t) :: term
  def rank(report), do: {report.at, report.forgotten}

  @doc "How far the reporting node is with the catalog entry that has this hash, when the asking node's catalog has `root`."
  @spec progress(t, Digest.hash(), Digest.hash()) :: :ready | :pending | :unknown
  def progress(report, hash, root) do
    cond do
      hash in report.pending -> :pending
      hash in report.ready -> :ready
      report.root == root and length(report.pending) < @max_pending -> :ready
      true -> :unknown
    end
  end
end
