defmodule Tidepool.Catalog do
  @moduledoc """
  What is deployed on this node.

  Readers look into ETS and never wait for anybody. This process is the only writer, of the tables of what is known
  (`Tidepool.Catalog.Entries`) and of what can be called (`Tidepool.Catalog.Callable`), and of the data folder, which it locks.
  A change is on disk before it is visible; a new version replaces the old one in one step, and calls in flight finish on the
  version that they started with.

  On start everything in the catalog is loaded before anything else of the node comes up. A function whose blob is
  missing or damaged is named in the log, answers calls with `:unavailable`, and keeps nobody else from loading.

  What other nodes have deployed comes in two steps, so that this process never waits for a network or a compiler:
  `accept/1` writes the entries down, `Tidepool.Cluster.Reconciler` gets and compiles their modules, and `install/2` makes them
  callable. Until then the version before goes on serving, even over a restart; what was superseded meanwhile is dropped. A
  removal counts at once.
  """

  use GenServer

  require Logger

  alias Tidepool.{Config, Engine, Error, Events, Function, Log, Namespaces, Native, Options}
  alias Tidepool.Catalog.{Arrivals, BlobStore, Callable, Clock, Entries, Entry, Origin, Previous, State, Store}
  alias Tidepool.Function.{Loader, Routes}
  alias Tidepool.Log.Change

  # Where the folder of modules is, and the table of entries.
  @table __MODULE__

  # How long a node in no cluster knows what was removed, as nodes of one do, and how often it looks.
  @removed_ms 7 * 86_400_000
  @collect_ms 3_600_000
  # How often it is looked for modules that are left of what nothing was heard of: a node that goes on has no start that would.
  @sweep_ms 3_600_000
  # Names that a namespace may have removed in that time.
  @most_removed 10_000

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @doc "The function of this name."
  @spec fetch(String.t()) :: {:ok, Function.t()} | {:error, Error.t()}
  def fetch(name) do
    case Callable.look(name) do
      {%Function{} = function, _stamp} -> {:ok, Callable.tiered(function)}
      _none -> not_callable(name)
    end
  end

  @doc """
  The function of this name, and the bytes of its module as they were deployed. A file that is missing or damaged is an
  error with the reason `:unavailable`: the function goes on, on what is in memory.
  """
  @spec wasm(String.t()) :: {:ok, Function.t(), binary} | {:error, Error.t()}
  def wasm(name) do
    with {:ok, %{version: version} = function} <- fetch(name) do
      case {BlobStore.fetch(blobs(), function.sha256), fetch(name)} do
        {{:ok, wasm}, _then} ->
          {:ok, function, wasm}

        {{:error, error}, {:ok, %{version: ^version}}} ->
          {:error, Error.new(:unavailable, "the module can't be read: #{error.message}", name)}

        # What is gone has been replaced or removed meanwhile.
        _changed ->
          wasm(name)
      end
    end
  end

  @doc "A module by its hash, if a version that is kept here has it. Errors have the reason `:not_deployed`, or `:storage`."
  @spec module(BlobStore.sha256()) :: {:ok, binary} | {:error, Error.t()}
  def module(sha256) do
    if BlobStore.sha256?(sha256) and BlobStore.exists?(blobs(), sha256),
      do: BlobStore.fetch(blobs(), sha256),
      else: {:error, Error.new(:not_deployed, "no version here has a module with the SHA-256 #{sha256}")}
  end

  @doc "Why a name that the runtime does not know can't be called."
  @spec not_callable(String.t()) :: {:error, Error.t()}
  def not_callable(name) do
    case Callable.look(name) do
      {%Error{} = error, _stamp} -> {:error, error}
      _none -> not_deployed(name)
    end
  end

  @doc "All functions that can be called, by name."
  @spec list :: [Function.t()]
  def list, do: in_order(Callable.list())

  @doc "All functions that can be called as lists show them, by name: with 16 of their imports, and without what handlers are asked for."
  @spec briefs :: [Function.t()]
  def briefs, do: in_order(Callable.briefs())

  defp in_order(functions), do: functions |> Enum.map(&Callable.tiered/1) |> Enum.sort_by(& &1.name)

  @doc """
  As `fetch/1`, with the function as lists have it: for those that keep it for each program or actor, and need none of its imports.
  """
  @spec fetch_brief(String.t()) :: {:ok, Function.t()} | {:error, Error.t()}
  def fetch_brief(name) do
    case Callable.brief(name) do
      nil -> not_callable(name)
      function -> {:ok, Callable.tiered(function)}
    end
  end

  @doc "The function of this name as lists have it, on whatever tier; `nil` when none can be called."
  @spec brief(String.t()) :: Function.t() | nil
  defdelegate brief(name), to: Callable

  @doc "Names of functions that have tools, in their order."
  @spec tool_names :: [String.t()]
  defdelegate tool_names, to: Callable

  @doc "What is deployed and can't be called on this node, for its module could not be loaded, by name."
  @spec unavailable :: [Entry.t()]
  def unavailable do
    # What has been replaced or removed meanwhile is none of them.
    entries = for {name, stamp} <- Callable.failed(), %Entry{stamp: ^stamp} = entry <- [entry(name)], do: entry
    Enum.sort_by(entries, & &1.name)
  end

  @doc "How many functions can be called."
  @spec count :: non_neg_integer
  defdelegate count, to: Callable

  @doc "Name, version and time of deploy of each function that can be called."
  @spec versions :: [{name :: String.t(), version :: pos_integer, deployed_at :: integer}]
  defdelegate versions, to: Callable

  @doc "What this node has for a name: the stamp of a function that can be called, or why it can't be."
  @spec loaded(String.t()) :: {:ok, Clock.stamp()} | {:error, Error.t(), Clock.stamp()} | :none
  def loaded(name) do
    case Callable.look(name) do
      {%Function{}, stamp} -> {:ok, stamp}
      {error, stamp} -> {:error, error, stamp}
      nil -> :none
    end
  end

  @doc "The stamp of a function as long as it is the version that can be called, or of what can be called as a name."
  @spec stamp(Function.t() | String.t()) :: {:ok, Clock.stamp()} | :none
  def stamp(%Function{} = function) do
    case Callable.stamp(function) do
      nil -> :none
      stamp -> {:ok, stamp}
    end
  end

  def stamp(name), do: with({:error, _error, _stamp} <- loaded(name), do: :none)

  @doc "The folder of modules."
  @spec blobs :: Path.t()
  def blobs, do: :ets.lookup_element(@table, :blobs, 2)

  @doc """
  What a deploy of `entry` would come to now: its version, the function that is this very deploy already, or why it is refused: its
  namespace has no room for it, or another function has its route. `commit/5` has the last word.
  """
  @spec prepare(Entry.t()) :: {:version, pos_integer} | {:unchanged, Function.t()} | {:error, Error.t()}
  def prepare(entry) do
    # The version depends on what other nodes have.
    Arrivals.await_joined()
    plan(entry)
  end

  @doc """
  Makes a loaded module the newest version of its name, unless it is that already: its function, of the version that `prepare/1`
  said, or one linked anew if that was taken meanwhile.

  The calling process writes the module, so that a slow disk holds up no other deploy. It asks this process once, and says beforehand
  that the module is needed: what was deleted before that was heard is written again. `permit` is asked last of all, by this process.
  """
  @spec commit(
          Entry.t(),
          Loader.t(),
          Native.function_ref(),
          wasm :: binary,
          permit :: (() -> :ok | {:error, Error.t()})
        ) ::
          {:ok, Function.t(), :created | :unchanged} | {:error, Error.t()}
  def commit(entry, loaded, native, wasm, permit) do
    beside = blobs() |> BlobStore.path(entry.sha256) |> BlobStore.beside()
    committed(wasm, beside, entry.sha256, {:commit, entry, loaded, native, beside, permit})
  end

  @doc """
  Says that the calling process writes a module, into the file `beside` at first. Should it end before an entry needs the module, neither
  stays.
  """
  @spec reserve(BlobStore.sha256(), beside :: Path.t()) :: :ok
  def reserve(sha256, beside), do: GenServer.cast(__MODULE__, {:reserve, self(), sha256, beside})

  defp committed(wasm, beside, sha256, commit) do
    reserve(sha256, beside)

    case BlobStore.put(blobs(), sha256, wasm, beside) do
      :ok ->
        with :missing <- GenServer.call(__MODULE__, commit, :infinity), do: committed(wasm, beside, sha256, commit)

      {:error, error} ->
        GenServer.cast(__MODULE__, {:abandon, beside})
        {:error, error}
    end
  end

  @doc "Removes a function. Calls in flight finish. The log tells who has asked for it."
  @spec remove(String.t(), Origin.t()) :: :ok | {:error, Error.t()}
  def remove(name, origin \\ :elixir) do
    Arrivals.await_joined()

    Change.make(fn ->
      with {:ok, entry} <- GenServer.call(__MODULE__, {:remove, name, origin}, :infinity) do
        Log.removed(entry.name, entry.version, origin)
      end
    end)
  end

  @doc "All that is known, whether it can be called here yet or not; whatever the caller has had accepted is in it."
  @spec known :: {State.context(), [Entry.t()]}
  def known do
    {context, entries} = GenServer.call(__MODULE__, :known, :infinity)
    {context, Entries.list(entries)}
  end

  @doc "What is known of a name, whether it can be called here yet or not; `nil` as well while this process is being restarted."
  @spec entry(String.t()) :: Entry.t() | nil
  def entry(name) do
    @table |> :ets.lookup_element(:entries, 2) |> Entries.get(name)
  rescue
    ArgumentError -> nil
  end

  @doc "Takes note of other nodes' entries. Those that are older than what is known change nothing."
  @spec accept([Entry.t()]) :: :ok
  def accept(entries), do: GenServer.cast(__MODULE__, {:accept, entries})

  @doc "Drops entries that were removed long ago, and keeps what has to be remembered of that."
  @spec forget([{name :: String.t(), Clock.stamp()}], State.context()) :: :ok
  def forget(stamps, context), do: GenServer.cast(__MODULE__, {:forget, stamps, context})

  @doc """
  Makes an accepted entry callable whose module is in the store, or says why it can't be called here.

  `:missing`: the module was in the store for another version, and has gone with that in the meantime.
  """
  @spec install(Entry.t(), {:ok, Loader.t(), Native.function_ref()} | {:error, Error.t()}) ::
          :ok | :superseded | :missing
  def install(entry, result), do: GenServer.call(__MODULE__, {:install, entry, result}, :infinity)

  @impl true
  def init(config) do
    :ets.new(@table, [:named_table, :protected, read_concurrency: true])
    Callable.new()
    folder = Store.folder(config.data)

    case Store.open(folder, config.max_skew) do
      {:ok, store} ->
        :ets.insert(@table, blobs: store.blobs, entries: store.entries, versions: store.versions)
        open_cache(Path.join(folder, "compiled"), config.compile_cache)
        open_recordings(Path.join(folder, "recordings"), config)
        Callable.load(Store.callable(store), store.blobs)
        clock = observe(Clock.new(store.context.replica), Entries.list(store.entries))
        # What was read to begin with is much.
        :erlang.garbage_collect()
        # In a cluster its process does it, and tells the others.
        unless config.cluster, do: send(self(), :collect)
        # Those of before were looked for as it was opened.
        Process.send_after(self(), :sweep, @sweep_ms)

        # Modules that are being written, by where that is, and the monitors of the processes that do; and what such ones that died
        # may have left.
        {:ok, %{store: store, clock: clock, open?: Config.open?(config), reserved: %{}, remains: []}}

      {:error, error} ->
        {:stop, error}
    end
  end

  @impl true
  # Reserved with a process before this one, which has swept since what it knew nothing of.
  def handle_call({:commit, _entry, _loaded, _native, beside, _permit}, _from, %{reserved: reserved} = state)
      when not is_map_key(reserved, beside),
      do: {:reply, :missing, state}

  def handle_call({:commit, entry, loaded, native, beside, permit}, _from, state) do
    with true <- BlobStore.exists?(state.store.blobs, entry.sha256),
         :ok <- permit.(),
         {:version, version} <- plan(entry),
         {:ok, native} <- numbered(entry, version, loaded, native),
         {entry, state} = stamp(%{entry | version: version, previous: previous(entry)}, state),
         {:ok, state} <- write(state, [entry]) do
      function = Callable.put(entry, loaded, native)
      Events.changed(entry)
      {:reply, {:ok, function, :created}, state |> served(entry.name) |> release(beside)}
    else
      # It was there as it was to be written, and went with what needed it before it was reserved.
      false -> {:reply, :missing, state}
      {:unchanged, function} -> {:reply, {:ok, function, :unchanged}, release(state, beside)}
      {:error, error} -> {:reply, {:error, error}, abandon(state, beside)}
      {:error, error, state} -> {:reply, {:error, error}, abandon(state, beside)}
    end
  end

  def handle_call({:remove, name, origin}, _from, state) do
    with %Entry{removed: false} = entry <- entry(name),
         {entry, state} = stamp(%{Entry.bare(entry) | removed: true, admitted: Origin.admitted(origin)}, state),
         {:ok, state} <- write(state, [entry]) do
      Callable.withdraw([name])
      Events.changed(entry)
      {:reply, {:ok, entry}, clean(state)}
    else
      {:error, error, state} -> {:reply, {:error, error}, state}
      _none -> {:reply, not_deployed(name), state}
    end
  end

  def handle_call(:known, _from, %{store: store} = state), do: {:reply, {store.context, store.entries}, state}

  def handle_call({:install, entry, result}, _from, state) do
    current = entry(entry.name)

    cond do
      # Its module may have come after the change that made it needless.
      not Entry.same_change?(current, entry) ->
        {:reply, :superseded, clean(%{state | store: Store.littered(state.store, [entry.sha256])})}

      # From here on nothing deletes it: this process does, and knows that the entry needs it.
      match?({:ok, _loaded, _native}, result) and not BlobStore.exists?(state.store.blobs, entry.sha256) ->
        {:reply, :missing, state}

      true ->
        # More of it may have become known while it was loaded.
        case result do
          {:ok, loaded, native} -> Callable.put(current, loaded, native)
          {:error, error} -> Callable.fail(current, error)
        end

        {:reply, :ok, state |> served(entry.name) |> clean()}
    end
  end

  @impl true
  def handle_cast({:reserve, _pid, _sha256, beside}, state) when is_map_key(state.reserved, beside),
    do: {:noreply, state}

  def handle_cast({:reserve, pid, sha256, beside}, state) do
    monitor = :erlang.monitor(:process, pid, tag: {:writer, beside})
    {:noreply, put_in(state.reserved[beside], {sha256, monitor})}
  end

  def handle_cast({:accept, entries}, state) do
    later = Enum.filter(entries, &later?(&1, entry(&1.name), state.open?))

    # Whether a stamp is too far ahead was decided where it came in.
    state = %{state | clock: observe(state.clock, later)}
    Callable.withdraw(for entry <- later, entry.removed, do: entry.name)
    Callable.complete(for later <- later, Entry.same_change?(entry(later.name), later), do: later)

    case write(state, later) do
      {:ok, state} ->
        {:noreply, clean(state)}

      # The cluster has decided, so it holds here as well, and is written down when the disk lets it.
      {:error, error, state} ->
        Logger.error("what other nodes have changed could not be written down: #{error.message}")
        {:noreply, %{state | store: Store.owe(state.store, later)}}
    end
  end

  # A name that was deployed or removed again meanwhile stays.
  def handle_cast({:forget, stamps, context}, state) do
    names = for {name, stamp} <- stamps, match?(%{stamp: ^stamp}, entry(name)), do: name
    Callable.withdraw(names)
    {:noreply, clean(%{state | store: Store.forget(state.store, names, context)})}
  end

  def handle_cast({:abandon, beside}, state), do: {:noreply, abandon(state, beside)}

  def handle_cast({:strays, modules}, state),
    do: {:noreply, clean(%{state | store: Store.littered(state.store, modules)})}

  @impl true
  def handle_info(:collect, state) do
    Process.send_after(self(), :collect, @collect_ms)
    {:noreply, collect(state, System.os_time(:millisecond) - @removed_ms)}
  end

  # For tests: what was removed before that moment.
  def handle_info({:collect, before_ms}, state), do: {:noreply, collect(state, before_ms)}

  def handle_info(:sweep, %{store: %{blobs: blobs, entries: entries}} = state) do
    Process.send_after(self(), :sweep, @sweep_ms)
    catalog = self()

    spawn(fn ->
      with [_stray | _strays] = all <- Store.strays(blobs, entries), do: GenServer.cast(catalog, {:strays, all})
    end)

    {:noreply, state}
  end

  def handle_info(:rewrite, state), do: {:noreply, %{state | store: Store.retry(state.store)}}

  def handle_info({:tidepool_cache, message}, state) do
    Logger.warning(message)
    {:noreply, state}
  end

  def handle_info({:tidepool_optimised, name, version, outcome}, state) do
    Loader.optimised(name, version, outcome)
    {:noreply, state}
  end

  # A system call that it was killed in goes on for a moment: what comes of that goes with the next change.
  def handle_info({{:writer, beside}, _monitor, :process, _pid, _reason}, state) do
    BlobStore.delete(beside)
    written = written(state, beside)
    state = abandon(state, beside)
    {:noreply, %{state | store: Store.littered(state.store, written), remains: [beside | state.remains]}}
  end

  def handle_info(_message, state), do: {:noreply, state}

  # A name that was removed was withdrawn then: its store alone has it still.
  defp collect(state, before_ms), do: clean(%{state | store: Store.collect_removed(state.store, before_ms)})

  # What was withheld from the others gives way to theirs.
  defp later?(_entry, nil, _open?), do: true
  defp later?(entry, known, open?), do: Entry.withheld?(known, open?) or Entry.compare(entry, known) == :gt

  defp observe(clock, entries), do: Enum.reduce(entries, clock, &Clock.observe(&2, &1.stamp))

  defp stamp(entry, state) do
    {stamp, clock} = Clock.next(state.clock, System.os_time(:millisecond))
    {%{entry | stamp: stamp}, %{state | clock: clock}}
  end

  # Without it everything is compiled anew at each start: a nuisance, and no reason not to start.
  defp open_cache(_folder, 0), do: :ok

  defp open_cache(folder, max_bytes) do
    with {:error, text} <- Native.open_cache(Engine.runtime(), folder, max_bytes) do
      Logger.warning("compiled code can't be kept: #{folder}: #{text}")
    end
  end

  # Before functions are loaded: these record. A node serves without.
  defp open_recordings(folder, %{recordings: most, function_recordings: most_of_one}) do
    with true <- most > 0,
         {:error, text} <- Native.open_recordings(Engine.runtime(), folder, most, most_of_one) do
      Logger.warning("calls can't be recorded: #{folder}: #{text}")
    end
  end

  defp write(state, entries) do
    case Store.write(state.store, entries) do
      {:ok, store} -> {:ok, %{state | store: store}}
      {:error, error, store} -> {:error, error, %{state | store: store}}
    end
  end

  # The one that was tried, unless its version was taken while it was.
  defp numbered(%{version: version}, version, _loaded, native), do: {:ok, native}
  defp numbered(entry, version, loaded, _native), do: Loader.function(loaded, %{entry | version: version})

  defp release(state, beside) do
    {reservation, reserved} = Map.pop(state.reserved, beside)
    with {_sha256, monitor} <- reservation, do: Process.demonitor(monitor, [:flush])
    clean(%{state | reserved: reserved})
  end

  # What may have been written is needed by no entry.
  defp abandon(state, beside),
    do: release(%{state | store: Store.littered(state.store, written(state, beside))}, beside)

  defp written(state, beside), do: for({sha256, _monitor} <- List.wrap(state.reserved[beside]), do: sha256)

  defp served(state, name), do: %{state | store: Store.served(state.store, name)}

  # The version before lives as long as somebody holds its reference, this process's garbage included.
  defp clean(%{store: %{litter: false}} = state), do: state

  defp clean(state) do
    Enum.each(state.remains, &BlobStore.delete/1)
    store = Store.collect(state.store, for({sha256, _monitor} <- Map.values(state.reserved), do: sha256))
    :erlang.garbage_collect()
    %{state | store: store, remains: []}
  end

  # By the tables, so that who deploys can look, too, before the module is compiled.
  defp plan(%{name: name} = entry) do
    known = Map.new([:entries, :versions], &{&1, :ets.lookup_element(@table, &1, 2)})
    old = Entries.get(known.entries, name)
    stamp = old && old.stamp

    # A function that could not be loaded is not in the table: the same deploy again is what brings it back.
    case Entry.same_deploy?(old, entry) && Callable.look(name) do
      {%Function{} = function, ^stamp} ->
        {:unchanged, Callable.tiered(function)}

      _other ->
        # Another version takes no more room, however many functions there are.
        others = fn -> Entries.others(known.entries, name).functions end
        room = if old && not old.removed, do: :ok, else: Namespaces.room(name, others)

        with :ok <- room,
             :ok <- few_removed(known, old, name),
             :ok <- stored(known, entry),
             :ok <- unclaimed(known, old, entry),
             do: {:version, Store.next_version(known, name)}
    end
  end

  # Each name that was removed is known for days, on all nodes, and is in no quota: another version of it is one more of these.
  defp few_removed(_known, old, _name) when old != nil, do: :ok

  defp few_removed(known, nil, name) do
    namespace = Namespaces.Name.of(name)

    if Entries.count_removed(known.entries, namespace) >= @most_removed do
      message =
        "of #{namespace || "functions without a namespace"} #{@most_removed} names were removed within some days: deploy one of those, or wait"

      {:error, Error.new({:quota, :modules}, message, name, %{namespace: namespace, allowed: @most_removed})}
    else
      :ok
    end
  end

  defp unclaimed(_known, _old, %{routes: []}), do: :ok

  defp unclaimed(known, old, %{name: name, routes: routes}) do
    others = for other <- Entries.routed(known.entries, routes), other.name != name, do: other
    Routes.check(name, routes, if(old && not old.removed, do: old), others)
  end

  # Of the newest versions.
  defp stored(known, %{name: name, size: size}) do
    with %{module_bytes: most} when most != nil <- Namespaces.settings(name),
         true <- Entries.others(known.entries, name).newest + size > most do
      namespace = Namespaces.Name.of(name)

      message =
        "the modules of the namespace #{namespace} may have #{most} bytes, and would have more: remove one first"

      {:error, Error.new({:quota, :module_bytes}, message, name, %{namespace: namespace, allowed: most})}
    else
      _room -> :ok
    end
  end

  # Of the versions before as many as have room beside all others.
  defp previous(%{name: name, size: size}) do
    packed = Previous.push(entry(name))

    case Namespaces.settings(name) do
      %{module_bytes: most} when most != nil ->
        others = @table |> :ets.lookup_element(:entries, 2) |> Entries.others(name)
        Previous.within(packed, most - size - others.newest - others.previous)

      _no_quota ->
        packed
    end
  end

  # No name is longer than what is told of it.
  defp not_deployed(name) do
    {:error, Error.new(:not_deployed, "no function is deployed as #{Options.show(name)}", Options.cut(name, 256))}
  end
end
