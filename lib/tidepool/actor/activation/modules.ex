defmodule Tidepool.Actor.Activation.Modules do
  @moduledoc """
  The modules that actors run. An actor stays on the module that it began with, whatever its class is deployed as later, so
  each module that an actor's record names is kept with the records, and found by its hash.

  On a node that shares its actors with no other, modules are dropped again that no version of a function is made of and no stored
  actor names: they are looked for now and then (`Tidepool.Actor.Activation.Modules.Sweep`). An actor that was given one may not be stored
  yet, so none is dropped while the process lives that asked for it, nor one that was asked for since the look began. Other nodes, which
  may be about to store an actor, are not asked: with them nothing is dropped.
  """

  use GenServer

  alias Tidepool.Actor.Activation.Modules.Sweep
  alias Tidepool.Actor.{Bucket, Journal}
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.{Catalog, Engine, Error, Function, Native}
  alias Tidepool.Catalog.{Arrivals, BlobStore, Clock}
  alias Tidepool.Function.Loader
  alias Tidepool.Namespaces.Name

  # Records of modules are of no class.
  @class ""
  # Functions that no actor has asked for are dropped: awake actors have their own hold of them.
  @look_ms 60_000
  @unused_ms 600_000
  # Where there is no room for another one, much sooner.
  @rested_ms 1_000
  # Modules that are read and compiled at a time, and those of one namespace: each waits for a compiler with all of its bytes.
  @loads 4
  @loads_of_one 2
  # Modules that are written at a time, and those of one namespace: each is in memory twice for a moment.
  @keeps 2
  @keeps_of_one 1
  # How often modules are looked for that nothing names; at the most a tenth of the time goes into that.
  @sweep_ms 600_000
  @part 10

  @typedoc "A function, and how it is called."
  @type loaded :: {Function.t(), Native.function_ref()}

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The class of this name, as it is deployed."
  @spec class(String.t()) :: {:ok, Function.t()} | {:error, Error.t()}
  def class(name), do: if(Bucket.class?(name), do: {:ok, Bucket.function(name)}, else: deployed_class(name))

  defp deployed_class(name) do
    case Catalog.fetch_brief(name) do
      {:ok, %Function{actor: nil}} ->
        message = "#{name} has no actors: deploy it with `actor: true` (in a form, -F actor=true)"
        {:error, Error.new(:not_a_class, message, name)}

      found_or_not ->
        found_or_not
    end
  end

  @doc "The class of this name; one that other nodes have deployed, and that is on its way here, is waited for."
  @spec arrived(String.t(), timeout) :: {:ok, Function.t()} | {:error, Error.t()}
  def arrived(name, timeout) do
    with {:error, %Error{reason: :not_deployed}} <- class(name) do
      case Arrivals.await(name, timeout) do
        :overloaded -> {:error, Arrivals.overloaded(name)}
        _over_or_not -> class(name)
      end
    end
  end

  @doc "Is a class deployed as this version? Cheaper than to ask for the class."
  @spec deployed?(String.t(), pos_integer) :: boolean
  def deployed?(name, version), do: Native.published_version(Engine.runtime(), name) == version

  @doc "The class of this name, and the stamp of its deploy, by which deploys are ordered alike on all nodes."
  @spec deployed(String.t()) :: {:ok, Function.t(), Clock.stamp()} | {:error, Error.t()}
  def deployed(name) do
    with {:ok, function} <- class(name) do
      case Catalog.stamp(function) do
        {:ok, stamp} -> {:ok, function, stamp}
        # Replaced between one look and the other.
        :none -> deployed(name)
      end
    end
  end

  @doc "What an actor of a class runs that begins now, and the stamp of its deploy; its module is kept from now on."
  @spec newest(String.t()) :: {:ok, loaded, Clock.stamp()} | {:error, Error.t()}
  def newest(name) do
    with {:ok, %{version: version} = function, stamp} <- deployed(name),
         {^version, native} <- Native.published(Engine.runtime(), name),
         :ok <- GenServer.call(__MODULE__, {:keep, function}, :infinity) do
      {:ok, {function, native}, stamp}
    else
      # Replaced, or removed, between one look and the other.
      {_other, _native} -> newest(name)
      nil -> newest(name)
      {:error, error} -> {:error, error}
    end
  end

  @doc "What an actor of a class runs whose record names this module."
  @spec of(String.t(), sha256 :: String.t()) :: {:ok, loaded} | {:error, Error.t()}
  def of(name, sha256) do
    with {:ok, %{version: version} = function} <- class(name) do
      case function.sha256 == sha256 and Native.published(Engine.runtime(), name) do
        {^version, native} -> {:ok, {function, native}}
        _another -> GenServer.call(__MODULE__, {:load, %{function | sha256: sha256}}, :infinity)
      end
    end
  end

  @doc "Drops what nothing names any more, and says which modules those were; none when that is not known."
  @spec sweep :: {:ok, dropped :: [sha256 :: String.t()]}
  def sweep, do: GenServer.call(__MODULE__, :sweep, :infinity)

  @impl true
  def init(nil) do
    Process.send_after(self(), :look, @look_ms)
    Process.send_after(self(), :sweep, @sweep_ms)
    # Of modules that are to be kept: who waits, whose are being written, and which are to come.
    keeping = %{kept: %{}, keeping: %{}, writing: %{}, unkept: []}
    {:ok, Map.merge(keeping, %{loaded: %{}, waiting: %{}, loading: %{}, queued: [], users: %{}, sweeping: nil})}
  end

  @impl true
  def handle_call({:keep, %{sha256: sha256}}, {pid, _tag}, %{kept: kept} = state) when is_map_key(kept, sha256),
    do: {:reply, :ok, used(state, pid, sha256)}

  # Others go on while it is written, and while it is dropped: then it is written anew.
  def handle_call({:keep, %{name: name, sha256: sha256}}, {pid, _tag} = from, state) do
    module = %{name: name, sha256: sha256}

    case used(state, pid, sha256) do
      %{sweeping: %{dropping: %{^sha256 => later}}} = state ->
        {:noreply, put_in(state.sweeping.dropping[sha256], [{module, from} | later])}

      state ->
        {:noreply, keep_later(state, module, from)}
    end
  end

  def handle_call(:sweep, from, state), do: {:noreply, begin_sweep(state, from)}

  # Some of what a look has found, of which the answer may be dropped. The process that looks does so: there may be very much of it.
  def handle_call({:drop, unnamed}, _from, state) do
    state = dropped(state)
    may_go? = &(&1 not in state.sweeping.asked and not is_map_key(state.keeping, &1))
    droppable = Enum.filter(unnamed, may_go?)
    state = put_in(state.sweeping.dropping, Map.new(droppable, &{&1, []}))
    {:reply, droppable, %{state | kept: Map.drop(state.kept, droppable)}}
  end

  # A process that comes while a module is compiled waits for the same.
  def handle_call({:load, function}, from, state) do
    key = key(function)

    case state do
      %{loaded: %{^key => {loaded, _used}}} ->
        {:reply, {:ok, loaded}, put_in(state.loaded[key], {loaded, now()})}

      %{waiting: %{^key => waiting}} ->
        {:noreply, put_in(state.waiting[key], [from | waiting])}

      _unknown ->
        state = put_in(state.waiting[key], [from])
        {:noreply, load_next(%{state | queued: state.queued ++ [function]})}
    end
  end

  defp keep_later(%{keeping: keeping} = state, %{sha256: sha256} = module, from) do
    state = %{state | keeping: Map.update(keeping, sha256, [from], &[from | &1])}
    if is_map_key(keeping, sha256), do: state, else: keep_next(%{state | unkept: state.unkept ++ [module]})
  end

  defp keep_next(%{writing: writing, unkept: unkept} = state) do
    case next(unkept, writing, @keeps, @keeps_of_one) do
      nil ->
        state

      %{name: name, sha256: sha256} = module ->
        owner = self()
        spawn_link(fn -> send(owner, {:kept, sha256, keep(module)}) end)
        keep_next(%{state | writing: Map.put(writing, sha256, Name.of(name)), unkept: List.delete(unkept, module)})
    end
  end

  defp load_next(%{loading: loading, queued: queued} = state) do
    case next(queued, loading, @loads, @loads_of_one) do
      nil ->
        state

      function ->
        {owner, key} = {self(), key(function)}
        spawn_link(fn -> send(owner, {:loaded, key, load(function)}) end)
        loading = Map.put(loading, key, Name.of(function.name))
        load_next(%{state | loading: loading, queued: List.delete(queued, function)})
    end
  end

  # The first that waits, of a namespace that has not its share.
  defp next(_queued, under_way, most, _of_one) when map_size(under_way) >= most, do: nil

  defp next(queued, under_way, _most, of_one) do
    shares = under_way |> Map.values() |> Enum.frequencies()
    Enum.find(queued, &(Map.get(shares, Name.of(&1.name), 0) < of_one))
  end

  @impl true
  def handle_info({:loaded, key, outcome}, state) do
    {waiting, state} = pop_in(state.waiting[key])
    for from <- waiting, do: GenServer.reply(from, outcome)
    state = load_next(%{state | loading: Map.delete(state.loading, key)})

    case outcome do
      {:ok, loaded} -> {:noreply, put_in(state.loaded[key], {loaded, now()})}
      # Actors that are awake have their own hold of theirs.
      {:error, %Error{reason: :overloaded}} -> {:noreply, unused_since(state, now() - @rested_ms), :hibernate}
      {:error, _error} -> {:noreply, state}
    end
  end

  def handle_info({:kept, sha256, outcome}, state) do
    {waiting, state} = pop_in(state.keeping[sha256])
    for from <- waiting, do: GenServer.reply(from, outcome)
    state = keep_next(%{state | writing: Map.delete(state.writing, sha256)})
    {:noreply, if(outcome == :ok, do: put_in(state.kept[sha256], true), else: state)}
  end

  def handle_info(:look, state) do
    Process.send_after(self(), :look, @look_ms)
    {:noreply, unused_since(state, now() - @unused_ms), :hibernate}
  end

  def handle_info(:sweep, state), do: {:noreply, begin_sweep(state, nil)}

  def handle_info({:DOWN, monitor, :process, _pid, outcome}, %{sweeping: %{monitor: monitor} = sweeping} = state) do
    dropped = with {:dropped, dropped} <- outcome, do: dropped, else: (_failed -> [])
    for from <- sweeping.waiting, do: GenServer.reply(from, {:ok, dropped})
    if sweeping.timed?, do: Process.send_after(self(), :sweep, max(@sweep_ms, @part * (now() - sweeping.began)))
    {:noreply, %{dropped(state) | sweeping: nil}}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state),
    do: {:noreply, %{state | users: Map.delete(state.users, pid)}}

  def handle_info(_other, state), do: {:noreply, state}

  defp unused_since(state, since) do
    used = for {key, {loaded, used}} <- state.loaded, used > since, into: %{}, do: {key, {loaded, used}}
    %{state | loaded: used}
  end

  # Its actor may not be stored for as long as the process lives.
  defp used(state, pid, sha256) do
    if Shards.shared?() do
      state
    else
      state = if state.sweeping, do: update_in(state.sweeping.asked, &MapSet.put(&1, sha256)), else: state
      # It may ask again and again.
      unless is_map_key(state.users, pid), do: Process.monitor(pid)
      %{state | users: Map.update(state.users, pid, MapSet.new([sha256]), &MapSet.put(&1, sha256))}
    end
  end

  # Those that were being dropped are gone. Who has asked for one meanwhile is next.
  defp dropped(%{sweeping: %{dropping: dropping}} = state) do
    later = for {_sha256, later} <- dropping, one <- Enum.reverse(later), do: one
    state = put_in(state.sweeping.dropping, %{})
    Enum.reduce(later, state, fn {module, from}, state -> keep_later(state, module, from) end)
  end

  # Of several that ask at once the later ones are told of the look that is under way.
  defp begin_sweep(%{sweeping: nil} = state, from) do
    {_pid, monitor} = spawn_monitor(Sweep, :run, [self()])

    sweeping = %{
      monitor: monitor,
      began: now(),
      # A process that ends while it is looked for has stored its actor behind that.
      asked: state.users |> Map.values() |> Enum.reduce(MapSet.new(), &MapSet.union/2),
      # Those that are being dropped, and who has asked for them since.
      dropping: %{},
      timed?: from == nil,
      waiting: List.wrap(from)
    }

    %{state | sweeping: sweeping}
  end

  defp begin_sweep(%{sweeping: sweeping} = state, nil), do: %{state | sweeping: %{sweeping | timed?: true}}
  defp begin_sweep(state, from), do: update_in(state.sweeping.waiting, &[from | &1])

  # Its limits are those of the class.
  defp key(function), do: {function.name, function.sha256, function.version}

  defp keep(%{name: name, sha256: sha256}) do
    with {:ok, records} <- Journal.records(),
         {:ok, nil} <- Journal.head(records, @class, sha256, name),
         {:ok, wasm} <- BlobStore.fetch(Catalog.blobs(), sha256),
         :ok <- Journal.commit(records, @class, sha256, {:put, 1, 1, nil, name, wasm, []}) do
      :ok
    else
      {:ok, _kept} -> :ok
      # Another node was first; what is kept by its hash is the same.
      {:error, :out_of_order, _message} -> :ok
      # What counts here are modules, and not the actors that run them.
      {:error, :crowded, message} -> {:error, Error.new({:quota, :modules}, message, name)}
      {:error, kind, message} -> {:error, Journal.error(kind, message, name)}
      {:error, error} -> {:error, error}
    end
  end

  defp load(%{name: name, sha256: sha256} = function) do
    with {:ok, records} <- Journal.records(),
         {:ok, found} <- Journal.read(records, @class, sha256, name),
         {:ok, wasm} <- wasm(found, function),
         :ok <- whole(wasm, function),
         {:ok, native} <- Loader.beside(wasm, function),
         :ok <- fits(native, name),
         do: {:ok, {function, native}}
  end

  defp fits(native, name) do
    with {:error, reason, message, details} <- Native.code_fits(Engine.runtime(), native),
         do: {:error, Error.new(reason, message, name, details)}
  end

  defp wasm({_epoch, _seq, _alarm_at, _head, wasm}, _function), do: {:ok, wasm}

  # The copy of an actor that a release before has had here may have come without its module.
  defp wasm(nil, %{name: name, sha256: sha256} = function) do
    with {:ok, wasm} <- BlobStore.fetch(Catalog.blobs(), sha256),
         :ok <- keep(function) do
      {:ok, wasm}
    else
      {:error, _missing} ->
        {:error, Error.new(:no_store, "the module #{sha256} that its actors run is not among the records", name)}
    end
  end

  # What was vouched for at its deploy is what has this hash, whatever was written to the store since.
  defp whole(wasm, %{name: name, sha256: sha256}) do
    if BlobStore.sha256(wasm) == sha256,
      do: :ok,
      else: {:error, Error.new(:no_store, "the module #{sha256} among the records is another one, or damaged", name)}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
