defmodule Tidepool.Ordeal do
  @moduledoc """
  Clients that change what is deployed in a cluster while all kinds of things befall its nodes.

  `Tidepool.Ordeal.Troubles` are what befalls them, `Tidepool.Ordeal.Liar` is a member that lies, and
  `Tidepool.Ordeal.History` knows what was answered and what has to hold for that.
  """

  alias Tidepool.{Catalog, FaultVersion, Peer}
  alias Tidepool.Ordeal.History

  @clients 4
  @names_of_a_client 3

  @doc """
  Starts clients, each of which changes a few names of its own, one after another on nodes as they come. `peers` returns
  the nodes that there are. They end when they get `:stop`.
  """
  @spec start_clients((() -> [Peer.t()]), seed :: integer) :: [Task.t()]
  def start_clients(peers, seed) do
    for client <- 1..@clients do
      Task.async(fn ->
        :rand.seed(:exsss, {seed, client, 0})
        names = for index <- 1..@names_of_a_client, do: "f#{client}_#{index}"
        changes(peers, names, 1)
      end)
    end
  end

  defp changes(peers, names, turn) do
    name = Enum.random(names)
    version = rem(turn, 10_000)
    module = FaultVersion.module(version)
    change = if :rand.uniform(4) == 1, do: :removed, else: {:deployed, sha256(module)}

    History.add(name, change, on(Enum.random(peers.()), [name, change, module]))

    receive do
      :stop -> turn
    after
      # Others have to get a turn as well.
      :rand.uniform(100) -> changes(peers, names, turn + 1)
    end
  end

  @doc "The name of a module's bytes."
  @spec sha256(binary) :: String.t()
  def sha256(module), do: Base.encode16(:crypto.hash(:sha256, module), case: :lower)

  # The answer may get lost with the node.
  defp on(peer, arguments) do
    Peer.call(peer, __MODULE__, :change, arguments)
  catch
    :exit, _gone -> :unknown
  end

  @doc "Makes a change on the node where this is called."
  @spec change(String.t(), History.change(), module :: binary) :: History.outcome()
  def change(name, change, module) do
    case make(name, change, module) do
      :made -> made(name, change)
      refused -> refused
    end
  end

  defp make(name, :removed, _module) do
    case Tidepool.remove(name) do
      :ok -> :made
      {:error, %{reason: reason}} when reason in [:not_deployed, :storage] -> :refused
    end
  end

  defp make(name, {:deployed, _sha256}, module) do
    case Tidepool.deploy(module, name: name) do
      {:ok, _function} -> :made
      {:error, %{reason: :storage}} -> :refused
    end
  end

  # Another node's change may have come meanwhile that is later by its stamp.
  defp made(name, change) do
    {_context, entries} = Catalog.known()

    case Enum.find(entries, &(&1.name == name)) do
      nil -> :overtaken
      entry -> if History.change(entry) == change, do: {:made, entry.stamp}, else: :overtaken
    end
  end
end
