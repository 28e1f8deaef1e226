defmodule Tidepool.Actor.Activation.Modules.Sweep do
  @moduledoc """
  Which modules among the records of a node no stored actor names. All heads of actors are read for that, in parts, and nothing of their
  images.

  Releases before have left tombstones of actors that were deleted where nodes had copies of each other's actors: `gone/CLASS`, a line break
  and the name. They are among the records without a class, as modules are, and are of no use any more.

  There may be very many of both, and each is dropped by a change of its own: that is done by a process that no actor waits for.
  """

  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.Record
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.{Catalog, Native}
  alias Tidepool.Catalog.BlobStore

  # Records of modules are of no class.
  @class ""
  @tombstone "gone/"
  @page 1_000
  # Modules that are dropped before others are asked about.
  @piece 100

  @doc """
  Drops what nothing names any more, on a node that shares its actors with no other, and ends with the hashes of that. Which modules have not
  been asked for meanwhile `owner` knows, who is asked about some at a time.
  """
  @spec run(owner :: pid) :: no_return
  def run(owner) do
    # Calls of actors go first.
    Process.flag(:priority, :low)

    with false <- Shards.shared?(),
         {:ok, records} <- Journal.existing(),
         {:ok, kept} <- kept(records),
         {tombstones, modules} = Enum.split_with(kept, &tombstone?/1),
         :ok = Enum.each(tombstones, &drop/1),
         {:ok, unnamed} <- unnamed(records, Enum.reject(modules, &version?/1)) do
      exit({:dropped, drop(unnamed, owner)})
    else
      _none_or_unknown -> exit({:dropped, []})
    end
  end

  # Is a version of a function made of it, which may be deployed, or gone back to?
  defp version?(sha256), do: BlobStore.exists?(Catalog.blobs(), sha256)

  defp drop(unnamed, owner) do
    for some <- Enum.chunk_every(unnamed, @piece),
        sha256 <- GenServer.call(owner, {:drop, some}, :infinity),
        # One that has its place by now knows nothing of these.
        Process.alive?(owner) and drop(sha256),
        do: sha256
  end

  defp drop(name) do
    with {:ok, records} <- Journal.existing(),
         do: Journal.delete(records, @class, name, 1) == :ok,
         else: (_none -> false)
  end

  @doc "Is what is kept by this name a tombstone? It is a module otherwise."
  @spec tombstone?(kept :: String.t()) :: boolean
  def tombstone?(kept), do: String.starts_with?(kept, @tombstone)

  @doc "The hashes of all modules that are kept, and the names of tombstones."
  @spec kept(Native.records()) :: {:ok, [String.t()]} | Native.record_failure()
  def kept(records), do: pages(&Native.list_records(records, @class, &1, @page), [], &[elem(&1, 0) | &2])

  @doc """
  Those of `modules` that no stored actor names. What was handed to the records before this is asked for is among them. One record that
  can't be read may name any module.
  """
  @spec unnamed(Native.records(), [String.t()]) :: {:ok, [String.t()]} | :unknown | Native.record_failure()
  def unnamed(_records, []), do: {:ok, []}

  def unnamed(records, modules) do
    # Changes are made in their order: when this one, of a record that there is not, is over, those before it are.
    with false <- match?({:error, :overloaded, _message}, Journal.commit(records, @class, "", {:erase, 1})),
         {:ok, left} <- classes(records, "", MapSet.new(modules)) do
      {:ok, MapSet.to_list(left)}
    else
      # What others have handed in may not be done.
      true -> :unknown
      failure -> failure
    end
  catch
    :unknown -> :unknown
  end

  defp classes(records, last, left) do
    with {:ok, [_one | _others] = classes} <- Native.record_classes(records, last, @page),
         {:ok, left} <- each(classes, left, &unnamed_by(records, &1, &2)) do
      classes(records, List.last(classes), left)
    else
      {:ok, []} -> {:ok, left}
      failure -> failure
    end
  end

  defp each(classes, left, look) do
    Enum.reduce_while(classes, {:ok, left}, fn class, {:ok, left} ->
      with {:ok, left} <- look.(class, left), do: {:cont, {:ok, left}}, else: (failure -> {:halt, failure})
    end)
  end

  defp unnamed_by(records, class, left),
    do: pages(&Native.record_heads(records, class, &1, @page), left, &named(&1, class, &2))

  defp named({_name, nil}, _class, _left), do: throw(:unknown)

  defp named({name, head}, class, left) do
    case Record.read(head, class, name) do
      {:ok, %{sha256: sha256}} -> MapSet.delete(left, sha256)
      {:error, _later_version} -> throw(:unknown)
    end
  end

  defp pages(page, sum, add, from \\ nil) do
    with {:ok, found, next} <- page.(from) do
      sum = Enum.reduce(found, sum, add)
      if next, do: pages(page, sum, add, next), else: {:ok, sum}
    end
  end
end
