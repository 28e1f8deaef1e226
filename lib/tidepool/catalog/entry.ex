defmodule Tidepool.Catalog.Entry do
  @moduledoc """
  What the catalog knows of one name: its newest version, or that it was removed.

  A removed name keeps its entry, a tombstone, until that is collected (see `Tidepool.Catalog.State`), so that its version
  numbers go on when it is deployed again before then.

  Of two entries of a name the later one wins, by stamp; `compare/2` is a total order, so that all nodes choose alike. Both
  sides of a partition may have made the same version number of different deploys: the winner keeps its number, and the
  next deploy gets the highest seen and one more.

  ## Details

  Nodes of earlier versions don't know all fields: what admitted the change, the options that are told by name
  (`Tidepool.Function.Spec`), and the versions before (`Tidepool.Catalog.Previous`). An entry that went through such a node has the defaults of those. It is the same change, and
  less than one that still has them. All nodes agree on `hash/1`, and those that know the fields on `hash/2` as well, by
  which they find who lacks some.
  """

  alias Tidepool.Catalog.{Clock, Digest}
  alias Tidepool.Function.{Fields, Spec}
  alias Tidepool.Catalog.{BlobStore, Origin, Previous}

  @type t :: %__MODULE__{
          unquote_splicing(Spec.types()),
          version: pos_integer,
          removed: boolean,
          sha256: String.t(),
          size: non_neg_integer,
          deployed_at: integer,
          admitted: Tidepool.Catalog.Origin.admitted(),
          previous: Previous.t(),
          stamp: Clock.stamp() | nil
        }

  @enforce_keys [:name, :version, :sha256, :size, :operation, :instances, :limits, :deployed_at]
  defstruct @enforce_keys ++
              Keyword.drop(Spec.defaults(), @enforce_keys) ++
              [removed: false, stamp: nil, admitted: :unknown, previous: ""]

  @details [admitted: :unknown, previous: ""] ++
             for({key, spec} <- Spec.kept() -- Spec.placed(), do: {key, spec[:default]})

  @doc "The modules that are needed because of an entry: those of its versions."
  @spec modules(t) :: [BlobStore.sha256()]
  def modules(%{removed: true}), do: []
  def modules(entry), do: [entry.sha256 | Previous.modules(entry.previous)]

  @doc "What is left of an entry that is removed."
  @spec bare(t) :: t
  def bare(entry), do: %{Spec.bare(entry) | previous: ""}

  @doc "The first version of the cluster's protocol that can say all of an entry."
  @spec version(t) :: pos_integer
  def version(%{previous: ""} = entry), do: Spec.version(entry)
  def version(entry), do: max(Spec.version(entry), Spec.history())

  @doc """
  Do two entries describe the same deploy, apart from version, time, stamp, who made it and the versions before?

  One that anybody could make is not the same when somebody makes it again who had to be let in.
  """
  @spec same_deploy?(t | nil, t) :: boolean
  def same_deploy?(nil, _entry), do: false

  def same_deploy?(old, new) do
    not old.removed and (old.admitted != :no_token or new.admitted == :no_token) and
      Map.merge(old, Map.take(new, [:version, :deployed_at, :stamp, :admitted, :previous])) == new
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
  is arbitrary and the same everywhere. Of one change the entry with more details is later.
  """
  @spec compare(t, t) :: :lt | :eq | :gt
  def compare(entry, entry), do: :eq

  def compare(%{stamp: stamp} = a, %{stamp: stamp} = b) do
    known = &for({key, default} <- @details, value = Map.fetch!(&1, key), do: {value != default, value})
    if {content(a), known.(a)} < {content(b), known.(b)}, do: :lt, else: :gt
  end

  def compare(a, b), do: if(a.stamp < b.stamp, do: :lt, else: :gt)

  @doc "The node that has made this change."
  @spec node(t) :: String.t()
  def node(%{stamp: {_wall_ms, _counter, replica}}), do: Clock.node_of(replica)

  @doc "Do two entries tell of the same change, whatever details the one or the other lacks?"
  @spec same_change?(t | nil, t) :: boolean
  def same_change?(%{name: name, stamp: stamp} = a, %{name: name, stamp: stamp} = b), do: content(a) == content(b)
  def same_change?(_other, _entry), do: false

  @doc "What nodes of earlier versions don't know of an entry."
  @spec details(t) :: map
  def details(entry), do: Map.take(entry, Keyword.keys(@details))

  @doc "What nodes of a version of the cluster's protocol can be told of an entry."
  @spec told(t, version :: pos_integer) :: t
  def told(entry, 1), do: %{Spec.bare(entry, 1) | admitted: :unknown, previous: ""}

  def told(entry, version) do
    entry = Spec.bare(entry, version)
    if version < Spec.history(), do: %{entry | previous: ""}, else: entry
  end

  @doc "A hash of what distinguishes a stamped entry, the same on every node."
  @spec hash(t) :: Digest.hash()
  def hash(%{stamp: {wall_ms, counter, replica}} = entry) do
    removed = if entry.removed, do: 1, else: 0
    head = <<wall_ms::48, counter::32, removed, entry.version::64, byte_size(replica), byte_size(entry.name)>>
    Digest.hash([head, replica, entry.name, entry.sha256])
  end

  @doc """
  A hash of an entry with its details, the same on all nodes that know those of a version of the cluster's protocol; 0 of one
  that nodes of that version ignore.
  """
  @spec hash(t, version :: pos_integer) :: Digest.hash()
  def hash(entry, version), do: entry |> hashes([version]) |> hd()

  @doc "The same for each of some versions."
  @spec hashes(t, [version :: pos_integer]) :: [Digest.hash()]
  def hashes(entry, versions) do
    {callable_from, told} = {Spec.callable_from(entry), Spec.told(entry)}
    for version <- versions, do: if(version < callable_from, do: 0, else: detailed(entry, told, version))
  end

  defp detailed(entry, told, version) do
    options = for option <- told, Spec.since(entry, option) <= version, do: option

    previous = if version < Spec.history(), do: "", else: entry.previous

    case {options, entry.admitted, previous} do
      {[], :unknown, ""} ->
        hash(entry)

      {options, admitted, previous} ->
        head = <<hash(entry)::56, Enum.find_index(Origin.kinds(), &(&1 == admitted))>>

        fields =
          for {name, text} <- Enum.sort(Fields.write(options, entry)),
              do: [byte_size(name), name, <<byte_size(text)::16>>, text]

        Digest.hash([head, fields, previous])
    end
  end

  # In the order in which nodes of the protocol's first version compare it.
  defp content(entry) do
    options = for {key, _spec} <- Spec.placed(), key != :name, do: Map.fetch!(entry, key)
    {entry.removed, entry.version, entry.sha256, entry.size, options, entry.deployed_at}
  end
end
