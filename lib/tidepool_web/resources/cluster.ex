defmodule TidepoolWeb.Resources.Cluster do
  @moduledoc "The cluster as this node sees it, and forgetting one of its nodes."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Cluster
  alias TidepoolWeb.Reply

  @impl true
  def routes,
    do: [
      {"GET", "/cluster", scope: :read, observes: true, places: 16},
      {"DELETE", "/cluster/nodes/:node", scope: :admin}
    ]

  @impl true
  def serve("GET", ["cluster"], _request), do: Reply.json(200, Cluster.status())

  def serve("DELETE", ["cluster", "nodes", node], %{origin: origin}) do
    case Cluster.forget(node, origin) do
      :ok -> Reply.json(200, %{forgotten: node})
      {:error, error} -> Reply.error(error)
    end
  end
end
