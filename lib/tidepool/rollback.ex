defmodule Tidepool.Rollback do
  @moduledoc """
  Back to a version that was replaced: the next version, of the bytes and the options of that one.

  It is a deploy like any other. It goes to all nodes, changes nothing if it fails, and until it has come no call does: the version
  before it answers. A module that this node does not have comes from another one that can be reached.
  """

  alias Tidepool.{Catalog, Deploy, Error, Log}
  alias Tidepool.Catalog.{Arrivals, BlobStore, Entry, Origin, Previous}
  alias Tidepool.Cluster.Links
  alias Tidepool.Cluster.Transfer.BlobClient
  alias Tidepool.Function.{Fields, Spec}

  # Nodes hand out a few modules at once, and say so when they are busy: how often all are asked, and when again.
  @rounds 5
  @again_ms 200

  @typedoc "A version that is kept: which one, whether it is the newest, whether its module is on this node, and its options."
  @type version :: %{
          :version => pos_integer,
          :newest => boolean,
          :here => boolean,
          :sha256 => String.t(),
          :size => non_neg_integer,
          :deployed_at => integer,
          :admitted => Origin.admitted(),
          optional(atom) => term
        }

  @doc "The versions of a name that are kept, newest first."
  @spec versions(String.t()) :: {:ok, [version, ...]} | {:error, Error.t()}
  def versions(name) do
    with {:ok, entry} <- known(name) do
      before =
        for version <- Previous.list(entry.previous), do: version |> Map.merge(described(version)) |> shown(false)

      {:ok, [entry |> Map.from_struct() |> shown(true) | before]}
    end
  end

  # Options that this node can't read are left out.
  defp described(version) do
    with {:ok, options} <- Previous.options(version),
         {:ok, checked} <- Spec.check(options, Spec.kept(), &Fields.subject/1) do
      checked
    else
      {:error, _error} -> %{}
    end
  end

  defp shown(version, newest?) do
    version
    |> Map.take([:version, :sha256, :size, :deployed_at, :admitted | Keyword.keys(Spec.kept())])
    |> Map.drop([:name])
    |> Map.merge(%{newest: newest?, here: BlobStore.exists?(Catalog.blobs(), version.sha256)})
  end

  @doc """
  Makes `version` of a name the newest one again, `nil` for the one before the newest. `waits` are options of a deploy that say how
  long to wait for other nodes.
  """
  @spec run(String.t(), pos_integer | nil, keyword, Origin.t()) :: Deploy.outcome()
  def run(name, version, waits \\ [], origin \\ :elixir) do
    # A node that has just started is still to learn of what there is.
    Arrivals.await_joined()

    with {:ok, entry} <- known(name),
         {:ok, wanted} <- wanted(entry, version),
         {:ok, wasm} <- module(wanted) do
      Deploy.again(wasm, wanted.options ++ waits, origin)
    else
      {:error, error} ->
        error = %{error | function: name}
        Log.refused(error, origin)
        {:error, error}
    end
  end

  defp known(name) do
    case Catalog.entry(name) do
      %Entry{removed: false} = entry -> {:ok, entry}
      _none -> Catalog.not_callable(name)
    end
  end

  # What is the newest already changes nothing, as the same deploy does.
  defp wanted(%{version: version} = entry, version) do
    options = for {key, _spec} <- Spec.kept(), do: {key, Map.fetch!(entry, key)}
    {:ok, %{sha256: entry.sha256, size: entry.size, options: options}}
  end

  defp wanted(entry, version) do
    previous = Previous.list(entry.previous)

    case if(version, do: Enum.find(previous, &(&1.version == version)), else: List.first(previous)) do
      nil ->
        unknown(entry, version, previous)

      found ->
        with {:ok, options} <- Previous.options(found), do: {:ok, %{found | options: [{:name, entry.name} | options]}}
    end
  end

  defp unknown(entry, version, previous) do
    kept = [entry.version | Enum.map(previous, & &1.version)]

    message =
      if version,
        do: "version #{version} of #{entry.name} is not kept: known are #{Enum.join(kept, ", ")}",
        else: "#{entry.name} has no version before #{entry.version}: there is nothing to go back to"

    {:error, Error.new(:unknown_version, message, entry.name, %{version: version, kept: kept})}
  end

  # One that is damaged has been set aside by then, and comes anew as well.
  defp module(%{sha256: sha256} = wanted) do
    with {:error, _missing} <- BlobStore.fetch(Catalog.blobs(), sha256),
         # Messages of the transfer are none of the caller's.
         :ok <- Task.await(Task.async(fn -> get(wanted, @rounds, []) end), :infinity) do
      BlobStore.fetch(Catalog.blobs(), sha256)
    end
  end

  defp get(%{sha256: sha256, size: size} = wanted, rounds, wrong) do
    sources = Enum.shuffle(Links.linked()) -- wrong

    case BlobClient.run(sha256, size, sources) do
      {:nowhere, more} when rounds > 1 and sources != more ->
        Process.sleep(@again_ms)
        get(wanted, rounds - 1, more ++ wrong)

      {:nowhere, _wrong} ->
        {:error, Error.new(:unavailable, "no node that can be reached has the module of that version: deploy it again")}

      done ->
        done
    end
  end
end
