defmodule Tidepool.Catalog do
  @moduledoc """
  What is deployed on this node.

  Readers look into ETS and never wait for anybody. This process is the only writer, of the table and of the data
  folder, which it locks. A change is on disk before it is visible; a new version replaces the old one in one step, and
  calls in flight finish on the version that they started with.

  On start everything in the catalog is loaded before anything else of the node comes up. A function whose blob is
  missing or damaged is named in the log, answers calls with `:unavailable`, and keeps nobody else from loading.
  """

  use GenServer

  require Logger

  alias Tidepool.{BlobStore, Engine, Error, Function, Loader, Native}
  alias Tidepool.Catalog.{Entry, Log}

  # {name, %Function{}}, or {name, %Error{}} for one that could not be loaded. Calls don't look here: they go by the
  # directory of the native runtime.
  @table __MODULE__

  # The log is rewritten when it has this many records more than twice the names it holds.
  @slack 1_000

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @doc "The function of this name."
  @spec fetch(String.t()) :: {:ok, Function.t()} | {:error, Error.t()}
  def fetch(name) do
    case :ets.lookup(@table, name) do
      [{_name, %Function{} = function}] -> {:ok, function}
      _none -> not_callable(name)
    end
  end

  @doc "Why a name that the runtime does not know can't be called."
  @spec not_callable(String.t()) :: {:error, Error.t()}
  def not_callable(name) do
    case :ets.lookup(@table, name) do
      [{_name, %Error{} = error}] -> {:error, error}
      _none -> not_deployed(name)
    end
  end

  @doc "All functions that can be called, by name."
  @spec list :: [Function.t()]
  def list do
    functions = for {_name, %Function{} = function} <- :ets.tab2list(@table), do: function
    Enum.sort_by(functions, & &1.name)
  end

  @doc """
  What a deploy of `entry` would come to now: its version, or the function that is this very deploy already.
  """
  @spec prepare(Entry.t()) :: {:version, pos_integer} | {:unchanged, Function.t()}
  def prepare(entry), do: GenServer.call(__MODULE__, {:prepare, entry}, :infinity)

  @doc """
  Makes a loaded module the newest version of its name, unless it is that already. `entry`'s version is set here.
  """
  @spec commit(Entry.t(), Loader.t(), wasm :: binary) ::
          {:ok, Function.t(), :created | :unchanged} | {:error, Error.t()}
  def commit(entry, loaded, wasm), do: GenServer.call(__MODULE__, {:commit, entry, loaded, wasm}, :infinity)

  @doc "Removes a function. Calls in flight finish."
  @spec remove(String.t()) :: :ok | {:error, Error.t()}
  def remove(name), do: GenServer.call(__MODULE__, {:remove, name}, :infinity)

  @doc "Where this node keeps its data: a folder of its own in the one that is configured."
  @spec folder(Path.t()) :: Path.t()
  def folder(data), do: Path.join(data, to_string(node()))

  @impl true
  def init(config) do
    :ets.new(@table, [:named_table, :protected, read_concurrency: true])
    folder = folder(config.data)

    with :ok <- make(folder),
         {:ok, lock} <- lock(folder),
         blobs = Path.join(folder, "blobs"),
         :ok <- BlobStore.prepare(blobs),
         path = Path.join(folder, "catalog.log"),
         {:ok, entries} <- read(path),
         :ok <- Log.rewrite(path, Map.values(entries)),
         {:ok, file} <- Log.open(path) do
      state = %{lock: lock, blobs: blobs, path: path, file: file, entries: entries, records: map_size(entries)}
      sweep(state)
      load(state)
      {:ok, state}
    else
      {:error, error} -> {:stop, error}
    end
  end

  @impl true
  def handle_call({:prepare, entry}, _from, state), do: {:reply, plan(state, entry), state}

  def handle_call({:commit, entry, loaded, wasm}, _from, state) do
    with {:version, version} <- plan(state, entry),
         entry = %{entry | version: version},
         {:ok, native} <- Loader.function(loaded, entry),
         :ok <- BlobStore.put(state.blobs, entry.sha256, wasm),
         {:ok, state} <- persist(state, entry) do
      function = describe(entry, loaded)
      publish([{entry, function, native}])
      sweep(state)
      # The version before lives as long as somebody holds its reference, this process's garbage included.
      :erlang.garbage_collect()
      {:reply, {:ok, function, :created}, state}
    else
      {:unchanged, function} -> {:reply, {:ok, function, :unchanged}, state}
      {:error, error} -> {:reply, {:error, error}, state}
    end
  end

  def handle_call({:remove, name}, _from, state) do
    with %Entry{removed: false} = entry <- state.entries[name],
         {:ok, state} <- persist(state, %{entry | removed: true}) do
      Native.unpublish(Engine.runtime(), name)
      :ets.delete(@table, name)
      sweep(state)
      {:reply, :ok, state}
    else
      {:error, error} -> {:reply, {:error, error}, state}
      _none -> {:reply, not_deployed(name), state}
    end
  end

  defp make(folder) do
    case File.mkdir_p(folder) do
      :ok -> :ok
      {:error, reason} -> {:error, Error.new(:storage, "can't make #{folder}: #{:file.format_error(reason)}")}
    end
  end

  defp lock(folder) do
    path = Path.join(folder, "lock")

    case Native.lock_file(path) do
      {:ok, lock} ->
        {:ok, lock}

      {:error, :locked} ->
        message =
          "another node uses the data folder #{folder}: give this one a folder of its own (TIDEPOOL_DATA), " <>
            "or a node name of its own (iex --name)"

        {:error, Error.new(:data_in_use, message)}

      {:error, text} ->
        {:error, Error.new(:storage, "can't lock #{path}: #{text}")}
    end
  end

  defp read(path) do
    with {:ok, entries, state} <- Log.read(path) do
      if state == :torn do
        aside = "#{path}.torn"
        File.cp(path, aside)
        Logger.warning("the end of #{path} could not be read and was left out; the file as it was is #{aside}")
      end

      {:ok, entries}
    end
  end

  defp load(state) do
    live = for {_name, %Entry{removed: false} = entry} <- state.entries, do: entry

    live
    |> Task.async_stream(&{&1, load_entry(state.blobs, &1)}, timeout: :infinity, ordered: false)
    |> Enum.flat_map(fn
      {:ok, {entry, {:ok, loaded, native}}} -> [{entry, describe(entry, loaded), native}]
      {:ok, {entry, {:error, error}}} -> set_aside(entry, error)
    end)
    |> publish()
  end

  defp set_aside(entry, error) do
    Logger.error("the function #{entry.name} (version #{entry.version}) could not be loaded: #{error.message}")
    unavailable = Error.new(:unavailable, "could not be loaded: #{error.message}; deploy it again", entry.name)
    :ets.insert(@table, {entry.name, unavailable})
    []
  end

  defp load_entry(blobs, entry) do
    with {:ok, wasm} <- BlobStore.fetch(blobs, entry.sha256),
         {:ok, loaded} <- Loader.compile(wasm),
         {:ok, native} <- Loader.function(loaded, entry) do
      {:ok, loaded, native}
    end
  end

  defp persist(state, entry) do
    with :ok <- Log.append(state.file, entry) do
      state = %{state | entries: Map.put(state.entries, entry.name, entry), records: state.records + 1}
      if state.records > 2 * map_size(state.entries) + @slack, do: compact(state), else: {:ok, state}
    end
  end

  # The entry is on disk already: a log that can't be rewritten just stays long.
  defp compact(state) do
    with :ok <- Log.rewrite(state.path, Map.values(state.entries)),
         {:ok, file} <- Log.open(state.path) do
      :file.close(state.file)
      {:ok, %{state | file: file, records: map_size(state.entries)}}
    else
      {:error, error} ->
        Logger.warning("the catalog could not be compacted: #{error.message}")
        {:ok, state}
    end
  end

  # From the runtime's step on calls get the new version; the table follows for those who ask about it.
  defp publish(functions) do
    native = for {entry, _function, native} <- functions, do: {entry.name, entry.operation, native}
    :ok = Native.publish(Engine.runtime(), native)
    :ets.insert(@table, for({entry, function, _native} <- functions, do: {entry.name, function}))
  end

  defp describe(entry, loaded) do
    %Function{
      name: entry.name,
      version: entry.version,
      sha256: entry.sha256,
      size: entry.size,
      abi: loaded.abi,
      imports: loaded.imports,
      operation: entry.operation,
      instances: entry.instances,
      limits: entry.limits,
      compile_us: loaded.compile_us,
      deployed_at: entry.deployed_at
    }
  end

  defp sweep(state) do
    used = for {_name, %Entry{removed: false} = entry} <- state.entries, into: MapSet.new(), do: entry.sha256
    BlobStore.sweep(state.blobs, used)
  end

  # A function that could not be loaded is not in the table: the same deploy again is what brings it back.
  defp plan(state, entry) do
    old = state.entries[entry.name]

    case Entry.same_deploy?(old, entry) && :ets.lookup(@table, entry.name) do
      [{_name, %Function{} = function}] -> {:unchanged, function}
      _other -> {:version, if(old, do: old.version + 1, else: 1)}
    end
  end

  defp not_deployed(name) do
    {:error, Error.new(:not_deployed, "no function is deployed as #{inspect(name)}", name)}
  end
end
