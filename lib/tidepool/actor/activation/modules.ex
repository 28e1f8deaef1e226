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
  alias Tidepool.Namespaces.{Name, Places}

  # Records of modules are of no class.
  @class ""
  # Functions that no actor has asked for are dropped: awake actors have their own hold of them.
  @look_ms 60_000
  @unused_ms 600_000
  # Where there is no room for another one, much sooner.
  @rested_ms 1_000
  # Modules that are read and compiled at a time: each waits for a compiler with all of its bytes.
  @loads 4
  # Modules that are written at a time: each is in memory twice for a moment.
  @keeps 2
  # How many wait for each of that, of which a namespace has half.
  @waiting 8_192
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
         :ok <- GenServer.call(__MODULE__, {:keep, name, function.sha256}, :infinity) do
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
        # Its limits are those of the class.
        _another -> GenServer.call(__MODULE__, {:load, name, sha256, version}, :infinity)
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

    # Hashes of modules that are kept; functions by what was asked for, with when that was last; who waits for what, and what has a place;
    # what processes were given that asked for modules that are kept.
    places = %{keep: Places.new(@keeps, @waiting), load: Places.new(@loads, @waiting)}
    {:ok, %{kept: %{}, loaded: %{}, waiting: %{}, places: places, users: %{}, sweeping: nil}}
  end

  @impl true
  def handle_call({:keep, _name, sha256} = asked, {pid, _tag} = from, state) do
    case used(state, pid, sha256) do
      %{kept: %{^sha256 => true}} = state ->
        {:reply, :ok, state}

      # When it is gone it is written anew.
      %{sweeping: %{dropping: %{^sha256 => later}}} = state ->
        {:noreply, put_in(state.sweeping.dropping[sha256], [{asked, from} | later])}

      state ->
        {:noreply, wait(state, asked, from)}
    end
  end

  def handle_call({:load, _name, _sha256, _version} = asked, from, state) do
    case state.loaded do
      %{^asked => {loaded, _used}} -> {:reply, {:ok, loaded}, put_in(state.loaded[asked], {loaded, now()})}
      _unknown -> {:noreply, wait(state, asked, from)}
    end
  end

  def handle_call(:sweep, from, state), do: {:noreply, begin_sweep(state, from)}

  # Some of what a look has found, of which the answer may be dropped. The process that looks does so: there may be very much of it.
  def handle_call({:drop, unnamed}, _from, state) do
    state = dropped(state)
    keeping = for {:keep, _name, sha256} <- Map.keys(state.waiting), do: sha256
    droppable = Enum.reject(unnamed -- keeping, &(&1 in state.sweeping.asked))
    state = put_in(state.sweeping.dropping, Map.new(droppable, &{&1, []}))
    {:reply, droppable, %{state | kept: Map.drop(state.kept, droppable)}}
  end

  # One that comes while a module is written, or read, waits for the same.
  defp wait(%{waiting: waiting} = state, asked, from) when is_map_key(waiting, asked),
    do: put_in(state.waiting[asked], [from | waiting[asked]])

  defp wait(state, asked, from) do
    {kind, namespace} = place(asked)
    asking = put_in(state.waiting[asked], [from])

    case Places.take(state.places[kind], namespace, 0, asked) do
      {:ok, places} ->
        begin(put_in(asking.places[kind], places), asked)

      {:waits, places} ->
        put_in(asking.places[kind], places)

      :full ->
        name = elem(asked, 1)
        message = "too many modules of the namespace's actors wait to be read, or to be kept"
        GenServer.reply(from, {:error, Error.new(:overloaded, message, name)})
        state
    end
  end

  # Functions without a namespace are one more.
  defp place(asked), do: {elem(asked, 0), Name.of(elem(asked, 1)) || ""}

  # Others go on meanwhile.
  defp begin(state, asked) do
    owner = self()
    spawn_link(fn -> send(owner, {:over, asked, work(asked)}) end)
    state
  end

  defp work({:keep, name, sha256}), do: keep(name, sha256)
  defp work({:load, name, sha256, _version}), do: load(name, sha256)

  defp next(state, kind) do
    case Places.next(state.places[kind]) do
      {asked, places} -> put_in(state.places[kind], places) |> begin(asked) |> next(kind)
      :none -> state
    end
  end

  @impl true
  def handle_info({:over, asked, outcome}, state) do
    {waiting, state} = pop_in(state.waiting[asked])
    for from <- waiting, do: GenServer.reply(from, outcome)
    {kind, namespace} = place(asked)
    state = next(update_in(state.places[kind], &Places.give_back(&1, namespace, 0)), kind)

    case {kind, outcome} do
      {:keep, :ok} -> {:noreply, put_in(state.kept[elem(asked, 2)], true)}
      {:load, {:ok, loaded}} -> {:noreply, put_in(state.loaded[asked], {loaded, now()})}
      # Actors that are awake have their own hold of theirs.
      {:load, {:error, %{reason: :overloaded}}} -> {:noreply, unused_since(state, now() - @rested_ms), :hibernate}
      _failed -> {:noreply, state}
    end
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
    Enum.reduce(later, state, fn {asked, from}, state -> wait(state, asked, from) end)
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

  defp keep(name, sha256) do
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

  defp load(name, sha256) do
    with {:ok, class} <- class(name),
         function = %{class | sha256: sha256},
         {:ok, records} <- Journal.records(),
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
  defp wasm(nil, %{name: name, sha256: sha256}) do
    with {:ok, wasm} <- BlobStore.fetch(Catalog.blobs(), sha256),
         :ok <- keep(name, sha256) do
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
