defmodule Tidepool.Catalog.Callable do
  @moduledoc """
  What can be called on this node, and what could not be loaded: a table that anybody may read, and the functions that write it and the
  native runtime, for `Tidepool.Catalog` alone, whose process owns the table.

  Calls don't look here: they go by the directory of the runtime.
  """

  require Logger

  alias Tidepool.{Engine, Error, Events, Function, Native}
  alias Tidepool.Catalog.{BlobStore, Clock, Entry}
  alias Tidepool.Function.Loader

  # {name, %Function{}, stamp, more}, or {name, %Error{}, stamp, nil} for one that could not be loaded. What a module imports may be a
  # hundred times as much as all else that is told of it: the function has the first of that, as lists do, and `more` has all.
  @table __MODULE__
  @imports_in_lists 16

  @doc "The table, of the calling process."
  @spec new :: :ok
  def new do
    :ets.new(@table, [:named_table, :protected, read_concurrency: true])
    :ok
  end

  @doc "What there is for a name: a function, or why it can't be called, and the stamp of its entry."
  @spec look(String.t()) :: {Function.t() | Error.t(), Clock.stamp()} | nil
  def look(name) do
    case :ets.lookup(@table, name) do
      [{_name, found, stamp, more}] -> {whole(found, more), stamp}
      [] -> nil
    end
  end

  defp whole(error, nil), do: error
  defp whole(function, more), do: struct(function, more)

  defp row(name, function, stamp) do
    {shown, omitted} = Enum.split(function.imports, @imports_in_lists)
    brief = %{function | imports: shown, imports_omitted: function.imports_omitted + length(omitted), asks: []}
    {name, brief, stamp, Map.take(function, [:imports, :imports_omitted, :asks])}
  end

  @doc "A function with the tier that it is on by now: the runtime moves functions to their optimised code by itself."
  @spec tiered(Function.t()) :: Function.t()
  def tiered(%Function{tier: :optimised} = function), do: function
  def tiered(function), do: %{function | tier: Native.tier(Engine.runtime(), function.name) || function.tier}

  @doc "All functions."
  @spec list :: [Function.t()]
  def list, do: for({_name, %Function{} = function, _stamp, more} <- :ets.tab2list(@table), do: whole(function, more))

  @doc "All functions as lists have them: with 16 of their imports, and without what handlers are asked for."
  @spec briefs :: [Function.t()]
  def briefs, do: :ets.select(@table, [{{:_, :"$1", :_, :_}, [function?(:"$1")], [:"$1"]}])

  @doc "A function as lists have it; `nil` when none of the name can be called."
  @spec brief(String.t()) :: Function.t() | nil
  def brief(name), do: List.first(:ets.select(@table, [{{name, :"$1", :_, :_}, [function?(:"$1")], [:"$1"]}]))

  @doc "The stamp of the entry of a function; `nil` when that is not what can be called by its name."
  @spec stamp(Function.t()) :: Clock.stamp() | nil
  def stamp(%Function{name: name, version: version, sha256: sha256}) do
    same = for {key, value} <- [version: version, sha256: sha256], do: {:==, {:map_get, key, :"$1"}, value}
    List.first(:ets.select(@table, [{{name, :"$1", :"$2", :_}, [function?(:"$1") | same], [:"$2"]}]))
  end

  @doc "Names of functions that have tools, in their order."
  @spec tool_names :: [String.t()]
  def tool_names do
    tools? = {:andalso, function?(:"$2"), {:"/=", {:map_get, :tools, :"$2"}, []}}
    Enum.sort(:ets.select(@table, [{{:"$1", :"$2", :_, :_}, [tools?], [:"$1"]}]))
  end

  # Of what a row has, where the row is.
  defp function?(variable), do: {:==, {:map_get, :__struct__, variable}, Function}

  @doc "Names that are deployed, and the stamps of their entries, whose modules could not be loaded."
  @spec failed :: [{name :: String.t(), Clock.stamp()}]
  def failed do
    error? = {:==, {:map_get, :__struct__, :"$2"}, Error}
    :ets.select(@table, [{{:"$1", :"$2", :"$3", :_}, [error?], [{{:"$1", :"$3"}}]}])
  end

  @doc "How many functions there are."
  @spec count :: non_neg_integer
  def count do
    # Counted where they are: a table with all of its imports is megabytes.
    :ets.select_count(@table, [{{:_, :"$1", :_, :_}, [function?(:"$1")], [true]}])
  end

  @doc "Name, version and time of deploy of each function."
  @spec versions :: [{name :: String.t(), version :: pos_integer, deployed_at :: integer}]
  def versions do
    facts = for key <- [:name, :version, :deployed_at], do: {:map_get, key, :"$1"}
    Enum.sort(:ets.select(@table, [{{:_, :"$1", :_, :_}, [function?(:"$1")], [{List.to_tuple(facts)}]}]))
  end

  @doc "Loads these entries, whose modules are in the folder `blobs`."
  @spec load([Entry.t()], blobs :: Path.t()) :: :ok
  def load(entries, blobs) do
    entries
    |> Task.async_stream(&{&1, load_entry(&1, blobs)}, timeout: :infinity, ordered: false)
    |> Enum.flat_map(fn
      {:ok, {entry, {:ok, loaded, native}}} -> [{entry, describe(entry, loaded), native}]
      {:ok, {entry, {:error, error}}} -> set_aside(entry, error)
    end)
    |> publish()
  end

  defp load_entry(entry, blobs) do
    with {:ok, wasm} <- BlobStore.fetch(blobs, entry.sha256),
         {:ok, loaded} <- Loader.compile_deployed(wasm, entry),
         {:ok, native} <- Loader.function(loaded, entry) do
      {:ok, loaded, native}
    end
  end

  @doc "Makes a loaded entry callable: its function."
  @spec put(Entry.t(), Loader.t(), Native.function_ref()) :: Function.t()
  def put(entry, loaded, native) do
    function = describe(entry, loaded)
    tools? = entry.tools != [] or tools?(look(entry.name))
    publish([{entry, function, native}])
    Events.deployed(entry.name, entry.version, tools?)
    function
  end

  defp tools?({%Function{tools: [_tool | _tools]}, _stamp}), do: true
  defp tools?(_none), do: false

  @doc "From now on the name of an entry can't be called, for its module could not be loaded."
  @spec fail(Entry.t(), Error.t()) :: :ok
  def fail(entry, error) do
    routed? = routed?(look(entry.name))
    Native.unpublish(Engine.runtime(), entry.name)
    set_aside(entry, error)
    if routed?, do: route()
    :ok
  end

  @doc "What can be called already is told of in full."
  @spec complete([Entry.t()]) :: :ok
  def complete(entries) do
    for %{name: name, stamp: stamp} = entry <- entries, {%Function{} = function, ^stamp} <- [look(name)] do
      :ets.insert(@table, row(name, struct(function, Entry.details(entry)), stamp))
    end

    :ok
  end

  @doc "These names can't be called any more."
  @spec withdraw([String.t()]) :: :ok
  def withdraw(names) do
    routed? = Enum.any?(names, &routed?(look(&1)))

    for name <- names do
      Native.unpublish(Engine.runtime(), name)

      with [{_name, %Function{version: version, tools: tools}, _stamp, _more}] <- :ets.take(@table, name),
           do: Events.removed(name, version, tools != [])
    end

    if routed?, do: route()
    :ok
  end

  defp set_aside(entry, error) do
    Logger.error("the function #{entry.name} (version #{entry.version}) could not be loaded: #{error.message}",
      tidepool_function: entry.name,
      tidepool_version: entry.version
    )

    # Callers may be anybody: where this node keeps what is not told them.
    text = "its module could not be loaded on this node, whose log says why: deploy it again"
    unavailable = Error.new(:unavailable, text, entry.name)
    :ets.insert(@table, {entry.name, unavailable, entry.stamp, nil})
    []
  end

  # From the runtime's step on calls get the new version; the table follows for those who ask about it.
  defp publish(functions) do
    native = for {entry, _function, native} <- functions, do: {entry.name, entry.operation, native}

    routed? =
      Enum.any?(functions, fn {entry, _function, _native} -> entry.routes != [] or routed?(look(entry.name)) end)

    :ok = Native.publish(Engine.runtime(), native)
    :ets.insert(@table, for({entry, function, _native} <- functions, do: row(entry.name, function, entry.stamp)))
    if routed?, do: route()
    :ok
  end

  defp routed?({%Function{routes: [_route | _routes]}, _stamp}), do: true
  defp routed?(_none), do: false

  # Of two functions with a route the one that was deployed first has it, on every node.
  defp route do
    routed? = {:andalso, function?(:"$2"), {:"/=", {:map_get, :routes, :"$2"}, []}}
    found = {{:"$3", :"$1", {:map_get, :routes, :"$2"}}}
    functions = :ets.select(@table, [{{:"$1", :"$2", :"$3", :_}, [routed?], [found]}])
    routes = for {_stamp, name, routes} <- Enum.sort(functions), route <- routes, do: {route, name}
    Native.set_routes(Engine.runtime(), routes)
  end

  defp describe(entry, loaded), do: struct(Function, entry |> Map.from_struct() |> Map.merge(loaded))
end
