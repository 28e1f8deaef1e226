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

  # {name, %Function{}, stamp}, or {name, %Error{}, stamp} for one that could not be loaded.
  @table __MODULE__

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
      [{_name, found, stamp}] -> {found, stamp}
      [] -> nil
    end
  end

  @doc "A function with the tier that it is on by now: the runtime moves functions to their optimised code by itself."
  @spec tiered(Function.t()) :: Function.t()
  def tiered(%Function{tier: :optimised} = function), do: function
  def tiered(function), do: %{function | tier: Native.tier(Engine.runtime(), function.name) || function.tier}

  @doc "All functions."
  @spec list :: [Function.t()]
  def list, do: for({_name, %Function{} = function, _stamp} <- :ets.tab2list(@table), do: function)

  @doc "Names that are deployed, and the stamps of their entries, whose modules could not be loaded."
  @spec failed :: [{name :: String.t(), Clock.stamp()}]
  def failed do
    error? = {:==, {:map_get, :__struct__, :"$2"}, Error}
    :ets.select(@table, [{{:"$1", :"$2", :"$3"}, [error?], [{{:"$1", :"$3"}}]}])
  end

  @doc "How many functions there are."
  @spec count :: non_neg_integer
  def count do
    # Counted where they are: a table with all of its imports is megabytes.
    function? = {:==, {:map_get, :__struct__, :"$1"}, Function}
    :ets.select_count(@table, [{{:_, :"$1", :_}, [function?], [true]}])
  end

  @doc "Name, version and time of deploy of each function."
  @spec versions :: [{name :: String.t(), version :: pos_integer, deployed_at :: integer}]
  def versions do
    function? = {:==, {:map_get, :__struct__, :"$1"}, Function}
    facts = for key <- [:name, :version, :deployed_at], do: {:map_get, key, :"$1"}
    Enum.sort(:ets.select(@table, [{{:_, :"$1", :_}, [function?], [{List.to_tuple(facts)}]}]))
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
      :ets.insert(@table, {name, struct(function, Entry.details(entry)), stamp})
    end

    :ok
  end

  @doc "These names can't be called any more."
  @spec withdraw([String.t()]) :: :ok
  def withdraw(names) do
    routed? = Enum.any?(names, &routed?(look(&1)))

    for name <- names do
      Native.unpublish(Engine.runtime(), name)

      with [{_name, %Function{version: version, tools: tools}, _stamp}] <- :ets.take(@table, name),
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
    :ets.insert(@table, {entry.name, unavailable, entry.stamp})
    []
  end

  # From the runtime's step on calls get the new version; the table follows for those who ask about it.
  defp publish(functions) do
    native = for {entry, _function, native} <- functions, do: {entry.name, entry.operation, native}

    routed? =
      Enum.any?(functions, fn {entry, _function, _native} -> entry.routes != [] or routed?(look(entry.name)) end)

    :ok = Native.publish(Engine.runtime(), native)
    :ets.insert(@table, for({entry, function, _native} <- functions, do: {entry.name, function, entry.stamp}))
    if routed?, do: route()
    :ok
  end

  defp routed?({%Function{routes: [_route | _routes]}, _stamp}), do: true
  defp routed?(_none), do: false

  # Of two functions with a route the one that was deployed first has it, on every node.
  defp route do
    routed? = {:andalso, {:==, {:map_get, :__struct__, :"$2"}, Function}, {:"/=", {:map_get, :routes, :"$2"}, []}}

    routes =
      for {_stamp, name, routes} <-
            Enum.sort(
              :ets.select(@table, [{{:"$1", :"$2", :"$3"}, [routed?], [{{:"$3", :"$1", {:map_get, :routes, :"$2"}}}]}])
            ),
          route <- routes,
          do: {route, name}

    Native.set_routes(Engine.runtime(), routes)
  end

  defp describe(entry, loaded), do: struct(Function, entry |> Map.from_struct() |> Map.merge(loaded))
end
