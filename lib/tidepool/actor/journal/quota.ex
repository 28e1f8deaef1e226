defmodule Tidepool.Actor.Journal.Quota do
  @moduledoc """
  How many actors a namespace may have, awake and asleep, and how many bytes of them may be kept (`Tidepool.Namespaces.Setting`:
  `actors` and `disk`).

  What there is is counted when it is first asked for, and from then on what comes on this node is added, and what goes as far as it is
  known. No write is refused by that alone: what would go over is measured against the records themselves, which are counted anew, for a
  tenth of the time at most; who comes in between waits. Where nodes share a store each of them counts anew once in a minute in which it
  has written something, so that together they may go over by what they write in that.

  Where nodes have copies a mark is left of an actor that is deleted, for a week: `Tidepool.Actor.Journal.Marks`. A namespace that has many of
  them makes no more actors. They are counted once, for they are listed for that, and from then on those that come and go.

  A namespace for which neither is set is never counted.
  """

  use GenServer

  alias Tidepool.{Error, Namespaces, Native}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.Marks
  alias Tidepool.Namespaces.Name

  @again_ms 60_000
  # Counting takes one part in so many of the time.
  @part 10
  # Actors and marks together: so many times the quota, or so many if that is more.
  @times 10
  @least 10_000
  # The slot of a namespace's counter.
  @bytes 1
  # Of what was not counted yet: a process that wants more has to ask.
  @uncounted 0x0FFF_FFFF_FFFF_FFFF

  @doc false
  def start_link(namespaces), do: GenServer.start_link(__MODULE__, namespaces, name: __MODULE__)

  @doc """
  Begins an actor that there has not been, for the calling process: it is one of its namespace from now on, until that process ends
  without having said that it is `written/1`.
  """
  @spec begin(class :: String.t()) :: :ok | {:error, Error.t()}
  def begin(class), do: if(namespace = quota(class, :actors), do: ask({:begin, namespace, class}), else: :ok)

  @doc "The calling process's actor, which it began, is on disk."
  @spec written(class :: String.t()) :: :ok
  def written(class), do: if(namespace = quota(class, :actors), do: tell({:written, namespace}), else: :ok)

  @doc "An actor is gone, with all that was kept of it."
  @spec deleted(class :: String.t()) :: :ok
  def deleted(class) do
    if namespace = quota(class, :actors) || quota(class, :disk), do: tell({:deleted, namespace}), else: :ok
  end

  @doc "So many marks of deleted actors more are on disk, or fewer."
  @spec marked(class :: String.t(), -1 | 1) :: :ok
  def marked(class, more) do
    if namespace = quota(class, :actors), do: GenServer.cast(__MODULE__, {:marked, namespace, more})
    :ok
  end

  @doc "May so many bytes more be kept, which can be fewer than none?"
  @spec grow(class :: String.t(), bytes :: integer) :: :ok | {:error, Error.t()}
  def grow(class, bytes) do
    with namespace when namespace != nil <- quota(class, :disk),
         [{_namespace, counter, most}] <- lookup(namespace) do
      :counters.add(counter, @bytes, bytes)
      if bytes > 0 and :counters.get(counter, @bytes) > most, do: ask({:grow, namespace, class, bytes}), else: :ok
    else
      _no_quota -> :ok
    end
  end

  # The class's namespace, if it has that quota.
  defp quota(class, quota) do
    case Namespaces.settings(class) do
      %{^quota => most} when most != nil -> Name.of(class)
      _none -> nil
    end
  end

  defp lookup(namespace) do
    :ets.lookup(__MODULE__, namespace)
  rescue
    ArgumentError -> []
  end

  # Without it no records are written either.
  defp ask(question) do
    GenServer.call(__MODULE__, question, :infinity)
  catch
    :exit, _reason -> {:error, Journal.restarting(nil)}
  end

  # Once it is back, it counts anew.
  defp tell(news), do: with({:error, _restarting} <- ask(news), do: :ok)

  @impl true
  def init(namespaces) do
    :ets.new(__MODULE__, [:named_table, :protected, read_concurrency: true])

    kept =
      for {namespace, %{actors: actors, disk: disk}} <- namespaces, actors != nil or disk != nil, into: %{} do
        counter = :counters.new(1, [])
        :counters.put(counter, @bytes, @uncounted)
        :ets.insert(__MODULE__, {namespace, counter, disk})

        {namespace,
         %{
           most: %{actors: actors, disk: disk},
           counter: counter,
           actors: 0,
           # `nil` until they were counted.
           marks: nil,
           begun: %{},
           counted: nil,
           waiting: []
         }}
      end

    if kept != %{}, do: Process.send_after(self(), :again, @again_ms)
    {:ok, kept}
  end

  @impl true
  def handle_call({:begin, namespace, class}, {pid, _tag} = from, state) do
    if is_map_key(state[namespace].begun, pid),
      do: {:reply, :ok, state},
      else: {:noreply, decide(state, namespace, {from, class, :actors, 1})}
  end

  # Its own are not among those that are counted.
  def handle_call({:grow, namespace, class, bytes}, from, state) do
    :counters.sub(state[namespace].counter, @bytes, bytes)
    {:noreply, decide(state, namespace, {from, class, :disk, bytes})}
  end

  def handle_call({:written, namespace}, {pid, _tag}, state) do
    {monitor, begun} = Map.pop(state[namespace].begun, pid)
    if monitor, do: Process.demonitor(monitor, [:flush])
    {:reply, :ok, put_in(state[namespace].begun, begun)}
  end

  # How many bytes it had is found out when that is asked for.
  def handle_call({:deleted, namespace}, _from, state) do
    it = state[namespace]
    {:reply, :ok, %{state | namespace => %{it | actors: max(it.actors - 1, 0), counted: stale(it.counted)}}}
  end

  @impl true
  def handle_cast({:marked, namespace, more}, state) do
    it = state[namespace]
    {:noreply, %{state | namespace => %{it | marks: it.marks && max(it.marks + more, 0)}}}
  end

  defp stale(nil), do: nil
  defp stale(counted), do: %{counted | free_at: now()}

  @impl true
  def handle_info({:DOWN, monitor, :process, pid, _reason}, state) do
    {namespace, it} = Enum.find(state, fn {_namespace, it} -> it.begun[pid] == monitor end)
    {:noreply, %{state | namespace => %{it | actors: it.actors - 1, begun: Map.delete(it.begun, pid)}}}
  end

  def handle_info({:count, namespace}, state) do
    {waiting, state} = get_and_update_in(state[namespace].waiting, &{Enum.reverse(&1), []})
    {:noreply, Enum.reduce(waiting, state, &decide(&2, namespace, &1))}
  end

  def handle_info(:again, state) do
    Process.send_after(self(), :again, @again_ms)
    {:noreply, Map.new(state, fn {namespace, it} -> {namespace, again(it, namespace)} end)}
  end

  defp again(it, namespace) do
    with true <- changed?(it) and free?(it), {:ok, counted} <- count(it, namespace), do: counted, else: (_no -> it)
  end

  # Answers who asks for more, now or when it may be counted again.
  defp decide(state, namespace, {from, class, quota, more} = question) do
    state = if quota == :actors and state[namespace].marks == nil, do: marks(state), else: state
    it = state[namespace]

    case room(it, namespace, quota, more) do
      {:room, it} ->
        if quota == :actors and it.actors + (it.marks || 0) >= most_marked(it) do
          GenServer.reply(from, refused(:marks, class, namespace, most_marked(it)))
          %{state | namespace => it}
        else
          GenServer.reply(from, :ok)
          %{state | namespace => take(it, quota, more, from)}
        end

      {:full, it} ->
        GenServer.reply(from, refused(quota, class, namespace, it.most[quota]))
        %{state | namespace => it}

      :later ->
        if it.waiting == [], do: Process.send_after(self(), {:count, namespace}, max(it.counted.free_at - now(), 0))
        %{state | namespace => %{it | waiting: [question | it.waiting]}}

      {:error, kind, message} ->
        GenServer.reply(from, {:error, Journal.error(kind, message, class)})
        state
    end
  end

  # Is there room by what is known? If not, by what there is.
  defp room(it, namespace, quota, more) do
    most = it.most[quota]

    cond do
      it.counted != nil and known(it, quota) + more <= most ->
        {:room, it}

      free?(it) ->
        with {:ok, it} <- count(it, namespace), do: {if(known(it, quota) + more <= most, do: :room, else: :full), it}

      it.counted[quota] + more > most ->
        {:full, it}

      true ->
        :later
    end
  end

  defp most_marked(it), do: max(@times * it.most.actors, @least)

  # Of all namespaces at once. When they can't be listed, no actor is begun without the count for long: the next one lists them.
  defp marks(state) do
    with {:ok, records} <- Journal.existing(),
         {:ok, counts} <- Marks.count(records) do
      Map.new(state, fn {namespace, it} -> {namespace, %{it | marks: Map.get(counts, namespace, 0)}} end)
    else
      _none_or_failure -> state
    end
  end

  defp known(it, :actors), do: it.actors
  defp known(it, :disk), do: :counters.get(it.counter, @bytes)

  defp take(it, :actors, 1, {pid, _tag}),
    do: %{it | actors: it.actors + 1, begun: Map.put(it.begun, pid, Process.monitor(pid))}

  defp take(it, :disk, bytes, _from) do
    :counters.add(it.counter, @bytes, bytes)
    it
  end

  defp free?(%{counted: nil}), do: true
  defp free?(%{counted: %{free_at: at}}), do: now() >= at

  defp changed?(%{counted: nil}), do: false
  defp changed?(%{counted: counted} = it), do: {known(it, :actors), known(it, :disk)} != {counted.actors, counted.disk}

  defp count(it, namespace) do
    begun_at = now()

    with {:ok, actors, bytes} <- stored(namespace, it.most.disk != nil) do
      ended_at = now()
      :counters.put(it.counter, @bytes, bytes)
      actors = actors + map_size(it.begun)
      counted = %{actors: actors, disk: bytes, free_at: ended_at + @part * (ended_at - begun_at)}
      {:ok, %{it | actors: actors, counted: counted}}
    end
  end

  defp stored(namespace, with_bytes?) do
    case Journal.existing() do
      {:ok, records} -> Native.records_usage(records, namespace, with_bytes?)
      :none -> {:ok, 0, 0}
      {:error, error} -> {:error, :failed, error.message}
    end
  end

  # Marks are of the quota of actors.
  defp refused(kind, class, namespace, most) do
    quota = if kind == :marks, do: :actors, else: kind
    {:error, Error.new({:quota, quota}, message(kind, namespace, most), class, %{namespace: namespace, allowed: most})}
  end

  defp message(:marks, namespace, most),
    do: "the namespace #{namespace} has made #{most} actors, with those deleted within a week: delete none, or wait"

  defp message(:actors, namespace, most),
    do: "the namespace #{namespace} may have #{most} actors, and has them: delete one first"

  defp message(:disk, namespace, most),
    do:
      "the namespace #{namespace} may keep #{most} bytes of actors, and this would be more: delete actors or values first"

  defp now, do: System.monotonic_time(:millisecond)
end
