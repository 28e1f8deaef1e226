defmodule Tidepool.TestCluster do
  @moduledoc """
  Nodes that make a cluster, and what has to hold of them in the end.

  Functions are those of `Tidepool.FaultVersion`, whose replies tell which version answered. What a cluster should hold is
  a map from name to the versions that are allowed there; `:removed` is one of them.
  """

  import ExUnit.Assertions
  import Tidepool.Case, only: [eventually: 2]

  alias Tidepool.{Catalog, FaultVersion, Peer}
  alias Tidepool.Cluster.Reconciler

  @converge_ms 60_000

  @doc "Starts nodes with Tidepool on them, each of which knows the names of all."
  def start!(count, settings \\ []) do
    cookie = Peer.cookie()
    names = for index <- 1..count, do: Peer.name("n#{index}")
    for name <- names, do: start_node!(name, cookie, names -- [name], settings)
  end

  @doc "Starts one node that looks for `seeds`."
  def start_node!(name, cookie, seeds, settings \\ [], options \\ []) do
    Peer.start!([cluster: true, seeds: seeds] ++ settings, [name: name, cookie: cookie] ++ options)
  end

  @doc "Starts a node again that has ended, with its data and settings."
  def restart!(%Peer{} = peer, seeds, settings \\ []) do
    start_node!(peer.node, peer.cookie, seeds, [data: peer.data] ++ settings)
  end

  @doc "Deploys version `version` of `name` on a node."
  def deploy(peer, name, version, options \\ []) do
    Peer.call(peer, Tidepool, :deploy, [FaultVersion.module(version), [name: name] ++ options])
  end

  @doc "Removes `name` on a node."
  def remove(peer, name), do: Peer.call(peer, Tidepool, :remove, [name])

  @doc "What a node answers for `name`: a version, `:removed` when it isn't deployed there, or the error's reason."
  def version(peer, name) do
    case Peer.call(peer, Tidepool, :call, [name, "any", "", [timeout: 20_000]]) do
      {:ok, reply} -> FaultVersion.of(reply)
      {:error, %{reason: :not_deployed}} -> :removed
      {:error, %{reason: reason}} -> reason
    end
  end

  @doc "What is deployed on a node, as far as it has to be the same on all of them."
  def catalog(peer) do
    for function <- Peer.call(peer, Tidepool, :list, []) do
      Map.take(function, [:name, :version, :sha256, :instances, :limits, :operation])
    end
  end

  @doc "Waits until all catalogs are equal and every function of `expected` answers on every node as it is allowed to."
  def assert_converged(peers, expected) do
    eventually(
      fn ->
        catalogs = Enum.map(peers, &catalog/1)
        assert length(Enum.uniq(catalogs)) == 1, "nodes differ:\n" <> Enum.map_join(peers, "\n", &state/1)
      end,
      @converge_ms
    )

    deployed = MapSet.new(catalog(hd(peers)), & &1.name)

    for {name, allowed} <- expected do
      assert [version] = peers |> Enum.map(&version(&1, name)) |> Enum.uniq(), "nodes differ over #{name}"
      assert version in allowed, "#{name} is #{inspect(version)}, and should be one of #{inspect(allowed)}"
      assert version == :removed != MapSet.member?(deployed, name)
    end

    :ok
  end

  # What a node has, and what became of what it has not.
  defp state(peer) do
    {_context, entries} = Peer.call(peer, Catalog, :known, [])
    known = for entry <- entries, do: {entry.name, entry.version, Peer.call(peer, Catalog, :loaded, [entry.name])}
    inspect({peer.node, known, Peer.call(peer, Reconciler, :list, [])}, limit: :infinity, printable_limit: :infinity)
  end

  @doc "Waits until a node answers `version` for `name`."
  def await(peer, name, version) do
    eventually(fn -> version(peer, name) == version end, @converge_ms)
  end

  @doc "Cuts every node of one group from every node of the other."
  def part(ones, others), do: for(one <- ones, other <- others, do: Peer.cut(one, other))

  @doc "Ends what `part/2` did."
  def heal(ones, others), do: for(one <- ones, other <- others, do: Peer.heal(one, other))
end
