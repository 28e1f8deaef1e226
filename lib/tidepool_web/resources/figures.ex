defmodule TidepoolWeb.Resources.Figures do
  @moduledoc "What the calls of functions come to on this node: see `TidepoolWeb.Figures`."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Catalog
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.{Figures, Reply}
  alias TidepoolWeb.Resource.{Namespace, Parameters}

  # Each has a copy of the figures of all functions that it sees, which one process makes.
  @places 16

  @impl true
  def routes do
    [
      {"GET", "/figures", scope: :read, selects: true, query: true, places: @places},
      {"GET", "/figures/:function", scope: :read}
    ]
  end

  @impl true
  def serve("GET", ["figures"], %{query: query, origin: origin}) do
    case Parameters.read(query, [Namespace.parameter()]) do
      {:ok, %{"namespace" => namespace}} ->
        if namespace == nil and Access.sees?(origin, nil),
          do: {200, :json, [], Figures.text()},
          else: Reply.json(200, %{tick_ms: Figures.tick_ms(), functions: seen(namespace, origin)})

      {:error, error} ->
        Reply.error(error)
    end
  end

  def serve("GET", ["figures", name], _request) do
    with {:ok, function} <- Catalog.fetch(name) do
      figures = Figures.one(name) || %{}
      Reply.json(200, Map.merge(figures, %{name: name, version: function.version, tick_ms: Figures.tick_ms()}))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  defp seen(namespace, origin),
    do: Figures.listed(&(Namespace.within?(&1, namespace) and Access.sees?(origin, &1)))
end
