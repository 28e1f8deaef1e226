defmodule TidepoolWeb.Resources.Functions do
  @moduledoc "What is deployed: the list, each function, its module; and removal."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Catalog
  alias Tidepool.Function.{Fields, Labels}
  alias TidepoolWeb.Reply

  @impl true
  def routes do
    [
      {"GET", "/functions", query: true},
      {"GET", "/functions/:function", []},
      # Modules are nobody's but theirs who may change them.
      {"GET", "/functions/:function/wasm", guarded: true},
      {"DELETE", "/functions/:function", []}
    ]
  end

  @impl true
  def serve("GET", ["functions"], %{query: query}) do
    with :ok <- known(query),
         {:ok, selectors} <- Labels.select(for {"label", text} <- query, do: text) do
      functions = Enum.filter(Catalog.list(), &Labels.selected?(&1.labels, selectors))
      Reply.json(200, %{functions: Enum.map(functions, &Reply.brief/1)})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("GET", ["functions", name], _request) do
    case Catalog.fetch(name) do
      {:ok, function} -> Reply.json(200, Reply.function(function))
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("GET", ["functions", name, "wasm"], _request) do
    case Catalog.wasm(name) do
      {:ok, function, wasm} -> Reply.wasm(function, wasm)
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("DELETE", ["functions", name], %{origin: origin}) do
    case Catalog.remove(name, origin) do
      :ok -> Reply.json(200, %{removed: name})
      {:error, error} -> Reply.error(error)
    end
  end

  # Who misspells what to list should not be told of everything.
  defp known(query) do
    case Enum.find(query, fn {parameter, _text} -> parameter != "label" end) do
      nil -> :ok
      {parameter, _text} -> Fields.unknown("parameter", parameter, ["label"])
    end
  end
end
