defmodule TidepoolWeb.Resources.Figures do
  @moduledoc "What the calls of functions come to on this node: see `TidepoolWeb.Figures`."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Catalog
  alias TidepoolWeb.{Figures, Reply}

  @impl true
  def routes, do: [{"GET", "/figures", scope: :read}, {"GET", "/figures/:function", scope: :read}]

  @impl true
  def serve("GET", ["figures"], _request) do
    figures = Figures.all()

    functions =
      for {name, version, _at} <- Catalog.versions() do
        figures |> Map.get(name, %{}) |> Map.merge(%{name: name, version: version})
      end

    Reply.json(200, %{tick_ms: Figures.tick_ms(), functions: Enum.sort_by(functions, & &1.name)})
  end

  def serve("GET", ["figures", name], _request) do
    with {:ok, function} <- Catalog.fetch(name) do
      figures = Figures.one(name) || %{}
      Reply.json(200, Map.merge(figures, %{name: name, version: function.version, tick_ms: Figures.tick_ms()}))
    else
      {:error, error} -> Reply.error(error)
    end
  end
end
