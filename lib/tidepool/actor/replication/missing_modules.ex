defmodule Tidepool.Actor.Replication.MissingModules do
  @moduledoc """
  Modules that this node has actors on, and does not have: an actor may stay on an older module than its class is deployed with. Other nodes
  are asked for them, when a copy comes, when an actor is woken, and now and then (`Tidepool.Actor.Replication.Ring`) until one had it.
  """

  alias Tidepool.Actor.Table
  alias Tidepool.{Catalog, Error, Native}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Replication.{PeerHealth, Queries, Replica}
  alias Tidepool.Catalog.BlobStore

  # {sha256, class, when nodes are asked again}
  @table __MODULE__
  # Others are found to be wanted when their actors are woken.
  @most 1_000
  @again_ms 3_000
  @ask_ms 30_000

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@table, read_concurrency: true)

  @doc "Has nodes asked for a module, if it is not here."
  @spec want(Native.records(), class :: String.t(), sha256 :: String.t()) :: :ok
  def want(records, class, sha256) do
    unless Replica.module(records, sha256), do: note(class, sha256, now())
    :ok
  end

  defp note(class, sha256, at),
    do: if(:ets.info(@table, :size) < @most, do: :ets.insert_new(@table, {sha256, class, at}), else: false)

  @doc "Has nodes asked at once for all that is wanted: others are there."
  @spec hurry :: :ok
  def hurry do
    for {sha256, _class, _at} <- :ets.tab2list(@table), do: :ets.update_element(@table, sha256, {3, now()})
    :ok
  end

  @doc "Is there a module that nodes are to be asked for now?"
  @spec due? :: boolean
  def due?, do: :ets.info(@table, :size) > 0 and Enum.any?(:ets.tab2list(@table), &due?(&1, now()))

  defp due?({_sha256, _class, at}, now), do: at <= now

  @doc "Asks nodes for those that they are to be asked for now."
  @spec bring(nodes :: [String.t()]) :: :ok
  def bring(nodes) do
    for {sha256, class, _at} = wanted <- :ets.tab2list(@table), due?(wanted, now()), do: brought(class, sha256, nodes)
    :ok
  end

  @doc "The module of this hash, which is kept with the records from now on: this node's own, or another's. Later ones are asked again if none has it."
  @spec brought(class :: String.t(), sha256 :: String.t(), nodes :: [String.t()]) :: {:ok, binary} | {:error, Error.t()}
  def brought(class, sha256, nodes) do
    with {:ok, records} <- Journal.records() do
      case Replica.module(records, sha256) || found(sha256, nodes) do
        nil ->
          note(class, sha256, 0)
          :ets.update_element(@table, sha256, {3, now() + @again_ms})
          {:error, missing(class, sha256)}

        wasm ->
          :ets.delete(@table, sha256)
          # Another may have been first.
          with {:error, error} <- Replica.put_module(records, class, sha256, wasm),
               do: if(Replica.module(records, sha256), do: {:ok, wasm}, else: {:error, error}),
               else: (:ok -> {:ok, wasm})
      end
    end
  end

  defp found(sha256, nodes) do
    with true <- BlobStore.sha256?(sha256), {:error, _none} <- BlobStore.fetch(Catalog.blobs(), sha256) do
      Enum.find_value(nodes, &asked(&1, sha256))
    else
      false -> nil
      {:ok, wasm} -> wasm
    end
  end

  # No process waits twice for one that stands still.
  defp asked(node, sha256) do
    deadline = now() + @ask_ms

    with false <- node == to_string(node()) or PeerHealth.silent?(node),
         {:ok, wasm} when is_binary(wasm) <- Queries.ask(node, {:module, sha256}, @ask_ms),
         ^sha256 <- BlobStore.sha256(wasm) do
      wasm
    else
      _none ->
        if now() >= deadline, do: PeerHealth.silent(node)
        nil
    end
  end

  defp missing(class, sha256) do
    message =
      "the actor runs an older module of #{class}, #{sha256}, which is on no node that can be reached: it can be called when one " <>
        "that has it is there again"

    Error.new(:unavailable, message, class)
  end

  defp now, do: System.monotonic_time(:millisecond)
end
