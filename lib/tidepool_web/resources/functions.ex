defmodule TidepoolWeb.Resources.Functions do
  @moduledoc "What is deployed: the list, each function, its module; and removal."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Catalog
  alias TidepoolWeb.Reply

  @impl true
  def routes do
    [
      {"GET", "/functions", []},
      {"GET", "/functions/:function", []},
      # Modules are nobody's but theirs who may change them.
      {"GET", "/functions/:function/wasm", guarded: true},
      {"DELETE", "/functions/:function", []}
    ]
  end

  @impl true
  def serve("GET", ["functions"], _request) do
    Reply.json(200, %{functions: Enum.map(Catalog.list(), &Reply.brief/1)})
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
end
