defmodule TidepoolWeb.Resources.Functions do
  @moduledoc "What is deployed: the list, each function, its module and its versions; removal and rollback."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Catalog, Error, Options, Rollback}
  alias Tidepool.Function.{Fields, Labels, Spec}
  alias TidepoolWeb.Reply

  @impl true
  def routes do
    [
      {"GET", "/functions", scope: :read, query: true},
      {"GET", "/functions/:function", scope: :read},
      # Modules are nobody's but theirs who may change them.
      {"GET", "/functions/:function/wasm", scope: :read, guarded: true},
      {"GET", "/functions/:function/versions", scope: :read},
      {"POST", "/functions/:function/rollback", scope: :deploy, query: true},
      {"DELETE", "/functions/:function", scope: :deploy}
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

  def serve("GET", ["functions", name, "versions"], _request) do
    case Rollback.versions(name) do
      {:ok, versions} -> Reply.json(200, %{name: name, versions: Enum.map(versions, &Fields.json/1)})
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("POST", ["functions", name, "rollback"], %{query: query, origin: origin}) do
    with {:ok, version, waits} <- goal(query),
         {:ok, function, change, spread} <- Rollback.run(name, version, waits, origin) do
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

    with {:ok, version} <- version(versions),
         {:ok, waits} <- Fields.read(waits, Spec.of_request()),
         {:ok, _checked} <- Options.check(waits, Spec.of_request(), &Fields.subject/1),
         do: {:ok, version, waits}
  end

  defp version([]), do: {:ok, nil}

  defp version([{_version, text}]) do
    with :error <- Options.read(text, {:integer, 1, :infinity}),
         do: {:error, Error.new(:invalid_option, "the parameter `version` has to be the number of a version")}
  end

  defp version(_twice),
    do: {:error, Error.new(:duplicate_field, "give the parameter `version` once", nil, %{field: "version"})}

  # Who misspells what to list should not be told of everything.
  defp known(query) do
    case Enum.find(query, fn {parameter, _text} -> parameter != "label" end) do
      nil -> :ok
      {parameter, _text} -> Fields.unknown("parameter", parameter, ["label"])
    end
  end
end
