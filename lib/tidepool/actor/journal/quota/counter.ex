defmodule Tidepool.Actor.Journal.Quota.Counter do
  @moduledoc "What there is of one namespace's actors, and who may make more of it: `Tidepool.Actor.Journal.Quota`."

  use GenServer

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.Journal

  @again_ms 60_000
  # Counting takes one part in so many of the time.
  @part 10
  # The slot of the counter.
  @bytes 1
  # Of what was not counted yet: a process that wants more has to ask.
  @uncounted 0x0FFF_FFFF_FFFF_FFFF

  @doc false
  def start_link(options), do: GenServer.start_link(__MODULE__, Map.new(options))

  @doc "So many bytes more are kept, or fewer: how many that are then."
  @spec add(:counters.counters_ref(), bytes :: integer) :: integer
  def add(counter, bytes) do
    :counters.add(counter, @bytes, bytes)
    :counters.get(counter, @bytes)
  end

  @impl true
  def init(%{table: table, namespace: namespace, most: most}) do
    counter = :counters.new(1, [])
    :counters.put(counter, @bytes, @uncounted)
    :ets.insert(table, {namespace, self(), counter, most.disk})
    Process.send_after(self(), :again, @again_ms)

    {:ok,
     %{
       namespace: namespace,
       most: most,
       counter: counter,
       actors: 0,
       begun: %{},
       counted: nil,
       waiting: []
     }}
  end

  @impl true
  def handle_call({:begin, class}, {pid, _tag} = from, it) do
    if is_map_key(it.begun, pid), do: {:reply, :ok, it}, else: {:noreply, decide(it, {from, class, :actors, 1})}
  end

  # Its own are not among those that are counted.
  def handle_call({:grow, class, bytes}, from, it) do
    :counters.sub(it.counter, @bytes, bytes)
    {:noreply, decide(it, {from, class, :disk, bytes})}
  end

  def handle_call(:written, {pid, _tag}, it) do
    {monitor, begun} = Map.pop(it.begun, pid)
    if monitor, do: Process.demonitor(monitor, [:flush])
    {:reply, :ok, %{it | begun: begun}}
  end

  # How many bytes it had is found out when that is asked for.
  def handle_call(:deleted, _from, it),
    do: {:reply, :ok, %{it | actors: max(it.actors - 1, 0), counted: stale(it.counted)}}

  defp stale(nil), do: nil
  defp stale(counted), do: %{counted | free_at: now()}

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, it),
    do: {:noreply, %{it | actors: it.actors - 1, begun: Map.delete(it.begun, pid)}}

  def handle_info(:count, it),
    do: {:noreply, it.waiting |> Enum.reverse() |> Enum.reduce(%{it | waiting: []}, &decide(&2, &1))}

  def handle_info(:again, it) do
    Process.send_after(self(), :again, @again_ms)

    with true <- changed?(it) and free?(it),
         {:ok, counted} <- count(it),
         do: {:noreply, counted},
         else: (_no -> {:noreply, it})
  end

  # Answers who asks for more, now or when it may be counted again.
  defp decide(it, {from, class, quota, more} = question) do
    case room(it, quota, more) do
      {:room, it} ->
        GenServer.reply(from, :ok)
        take(it, quota, more, from)

      {:full, it} ->
        GenServer.reply(from, refused(quota, class, it.namespace, it.most[quota]))
        it

      :later ->
        if it.waiting == [], do: Process.send_after(self(), :count, max(it.counted.free_at - now(), 0))
        %{it | waiting: [question | it.waiting]}

      {:error, kind, message} ->
        GenServer.reply(from, {:error, Journal.error(kind, message, class)})
        it
    end
  end

  # Is there room by what is known? If not, by what there is.
  defp room(it, quota, more) do
    most = it.most[quota]

    cond do
      it.counted != nil and known(it, quota) + more <= most ->
        {:room, it}

      free?(it) ->
        with {:ok, it} <- count(it), do: {if(known(it, quota) + more <= most, do: :room, else: :full), it}

      it.counted[quota] + more > most ->
        {:full, it}

      true ->
        :later
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

  defp count(it) do
    begun_at = now()

    with {:ok, actors, bytes} <- stored(it.namespace, it.most.disk != nil) do
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

  defp refused(quota, class, namespace, most),
    do:
      {:error,
       Error.new({:quota, quota}, message(quota, namespace, most), class, %{namespace: namespace, allowed: most})}

  defp message(:actors, namespace, most),
    do: "the namespace #{namespace} may have #{most} actors, and has them: delete one first"

  defp message(:disk, namespace, most),
    do:
      "the namespace #{namespace} may keep #{most} bytes of actors, and this would be more: delete actors or values first"

  defp now, do: System.monotonic_time(:millisecond)
end
