defmodule Tidepool.OwnStore do
  @moduledoc "Has a node answer as one of a release before that has actors in a store of its own, beside other nodes."

  @behaviour Tidepool.Nodes.Server

  alias Tidepool.Actor.Ownership.OtherStores
  alias Tidepool.Nodes.Server

  @doc "Begins, and goes on until the node ends."
  def start do
    {:ok, _pid} = GenServer.start(Server, {__MODULE__, nil}, name: protocol().server)
    :ok
  end

  @impl true
  defdelegate protocol, to: OtherStores

  @impl true
  def more, do: []

  @impl true
  def question?(question), do: question == :own

  @impl true
  def answer(:own, _asker, _deadline, nil), do: true
end
