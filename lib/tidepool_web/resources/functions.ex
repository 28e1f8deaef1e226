defmodule TidepoolWeb.Resources.Functions do
  @moduledoc "What is deployed: the list, each function, its module and its versions; removal and rollback."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Catalog, Options, Rollback}
  alias Tidepool.Function.{Fields, Labels, Spec}
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.{Deploys, Reply}
  alias TidepoolWeb.Resource.{Namespace, Parameters}

  # Each has a module as it was uploaded.
  @fetched 16

  @impl true
  def routes do
    [
      {"GET", "/functions", scope: :read, selects: true, query: true},
      {"GET", "/functions/:function", scope: :read},
      # Modules are nobody's but theirs who may change them.
      {"GET", "/functions/:function/wasm", scope: :read, guarded: true, places: @fetched},
      {"GET", "/functions/:function/versions", scope: :read},
      {"POST", "/functions/:function/rollback", scope: :deploy, query: true, deploys: true},
      {"DELETE", "/functions/:function", scope: :deploy}
    ]
  end

  @impl true
  def serve("GET", ["functions"], %{query: query, origin: origin}) do
    known = [{"label", {{:each, :text}, []}}, Namespace.parameter()]

    with {:ok, %{"label" => labels, "namespace" => namespace}} <- Parameters.read(query, known),
         {:ok, selectors} <- Labels.select(labels) do
      [functions, unavailable] =
        for deployed <- [Catalog.briefs(), Catalog.unavailable()] do
          for %{name: name, labels: labels} = one <- deployed,
              Namespace.within?(name, namespace) and Access.sees?(origin, name),
              Labels.selected?(labels, selectors),
              do: one
        end

      unavailable = for entry <- unavailable, do: Map.take(entry, [:name, :version, :sha256])
      Reply.json(200, %{functions: Enum.map(functions, &Reply.brief/1), unavailable: unavailable})
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

  def serve("GET", ["functions", name, "versions"], _request) do
    case Rollback.versions(name) do
      {:ok, versions} -> Reply.json(200, %{name: name, versions: Enum.map(versions, &Fields.json/1)})
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("POST", ["functions", name, "rollback"], %{query: query, origin: origin}) do
    with {:ok, version, waits} <- goal(query),
         rollback = fn -> Rollback.run(name, version, waits, origin) end,
         {:ok, function, change, spread} <- Deploys.within(name, origin, rollback) do
      Reply.json(if(change == :created, do: 201, else: 200), Map.merge(Reply.function(function), spread || %{}))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("DELETE", ["functions", name], %{origin: origin}) do
    case Catalog.remove(name, origin) do
      :ok -> Reply.json(200, %{removed: name})
      {:error, error} -> Reply.error(error)
    end
  end

  # A version, if one is named, and how long other nodes are waited for.
  defp goal(query) do
    {versions, waits} = Enum.split_with(query, &match?({"version", _text}, &1))

    with {:ok, %{"version" => version}} <- Parameters.read(versions, [{"version", {{:integer, 1, :infinity}, nil}}]),
         {:ok, waits} <- Fields.read(waits, Spec.of_request()),
         {:ok, _checked} <- Options.check(waits, Spec.of_request(), &Fields.subject/1),
         do: {:ok, version, waits}
  end
end
