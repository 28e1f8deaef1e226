defmodule Tidepool.Catalog.Entry do
  @moduledoc """
  What the catalog knows of one name: its newest version, or that it was removed.

  A removed name keeps its entry, a tombstone, until that is collected (see `Tidepool.Catalog.State`), so that its version
  numbers go on when it is deployed again before then.

  Of two entries of a name the later one wins, by stamp; `compare/2` is a total order, so that all nodes choose alike. Both
  sides of a partition may have made the same version number of different deploys: the winner keeps its number, and the
  next deploy gets the highest seen and one more.
  """

  alias Tidepool.Catalog.{Clock, Digest}
  alias Tidepool.Function.Spec

  @type t :: %__MODULE__{
          unquote_splicing(Spec.types()),
          version: pos_integer,
          removed: boolean,
          sha256: String.t(),
          size: non_neg_integer,
          deployed_at: integer,
          admitted: Tidepool.Catalog.Origin.admitted(),
          stamp: Clock.stamp() | nil
        }

  @enforce_keys [:name, :version, :sha256, :size, :operation, :instances, :limits, :deployed_at]
  defstruct @enforce_keys ++
              Keyword.drop(Spec.defaults(), @enforce_keys) ++ [removed: false, stamp: nil, admitted: :unknown]

  @doc """
  Do two entries describe the same deploy, apart from version, time, stamp and who made it?

  One that anybody could make is not the same when somebody makes it again who had to be let in.
  """
  @spec same_deploy?(t | nil, t) :: boolean
  def same_deploy?(nil, _entry), do: false

  def same_deploy?(old, new) do
    not old.removed and (old.admitted != :no_token or new.admitted == :no_token) and
      %{old | version: new.version, deployed_at: new.deployed_at, stamp: new.stamp, admitted: new.admitted} == new
  end

  @doc """
  Is this a change that anybody could make, on a node that takes none of that kind? It counts on such a node alone that has
  it from the time when its own edge was `open?`, and is not told to others.
  """
  @spec withheld?(t | Tidepool.Function.t(), open? :: boolean) :: boolean
  def withheld?(%{admitted: admitted}, open?), do: admitted == :no_token and not open?

  @doc """
  An entry as it was written before there were stamps, with one: the second of its deploy, by the replica that has it.

  A stamped entry keeps its stamp.
  """
  @spec stamped(t | map, replica :: String.t()) :: t
  def stamped(%{stamp: {_, _, _}} = entry, _replica), do: entry
  def stamped(entry, replica), do: Map.put(entry, :stamp, {max(entry.deployed_at, 0) * 1_000, 0, replica})

  @doc """
  Which of two entries of a name is the later one. Stamps are unique but for broken clocks; then the content decides, which
  is arbitrary and the same everywhere.
  """
  @spec compare(t, t) :: :lt | :eq | :gt
  def compare(entry, entry), do: :eq
  def compare(%{stamp: stamp} = a, %{stamp: stamp} = b), do: if(content(a) < content(b), do: :lt, else: :gt)
  def compare(a, b), do: if(a.stamp < b.stamp, do: :lt, else: :gt)

  @doc "The node that has made this change."
  @spec node(t) :: String.t()
  def node(%{stamp: {_wall_ms, _counter, replica}}), do: Clock.node_of(replica)

  @doc "A hash of what distinguishes a stamped entry, the same on every node."
  @spec hash(t) :: Digest.hash()
  def hash(%{stamp: {wall_ms, counter, replica}} = entry) do
    removed = if entry.removed, do: 1, else: 0
    head = <<wall_ms::48, counter::32, removed, entry.version::64, byte_size(replica), byte_size(entry.name)>>
    Digest.hash([head, replica, entry.name, entry.sha256])
  end

  defp content(entry) do
    options = for {key, _spec} <- Spec.kept(), key != :name, do: Map.fetch!(entry, key)
    {entry.removed, entry.version, entry.sha256, entry.size, options, entry.deployed_at, entry.admitted}
  end
end
