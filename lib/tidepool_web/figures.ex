defmodule TidepoolWeb.Figures do
  @moduledoc """
  What each function's calls have come to in the last ten minutes, and by minutes in the last six hours.

  Calls count as ever and know nothing of this: the library's counters are read every two seconds, and what has been added to them
  since the time before is kept for functions that were called. So a function without calls has no history and costs nothing, and
  one that is called costs the same however many clients look. There is history of the 500 functions that were called last.

  Latencies are counted in eight buckets an octave; quantiles are interpolated within them.
  """

  use GenServer

  alias Tidepool.{Catalog, Engine, Native}
  alias TidepoolWeb.Figures.Minutes
  alias TidepoolWeb.Reply

  @tick_ms 2_000
  # Ticks that are kept, those that rates and quantiles are of, and those in a list of functions.
  @kept 300
  @recent 5
  @minute 30
  @functions 500
  # So many are asked for one by one.
  @one_by_one 100
  # How old the list may be that several are told.
  @shared_ms 500
  # Functions in a piece of what streams tell.
  @piece 100

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, @tick_ms, name: __MODULE__)

  @doc "How long a tick is, in ms."
  @spec tick_ms :: pos_integer
  def tick_ms, do: @tick_ms

  @doc """
  Figures of all functions that the library counts, by name: totals since the start, and of late `per_s`, the share of `errors`,
  quantiles, and how many calls there were in each of the last ticks, the newest last.
  """
  @spec all(GenServer.server()) :: %{(name :: String.t()) => map}
  def all(figures \\ __MODULE__) do
    {tick, bounds, totals, samples} = GenServer.call(figures, :all)
    of_all(totals, late_of(totals, samples, tick, bounds))
  end

  defp of_all(totals, late) do
    for {name, total} <- totals, into: %{}, do: {name, total |> shown() |> Map.merge(Map.fetch!(late, name))}
  end

  defp late_of(totals, samples, tick, bounds),
    do: Map.new(totals, fn {name, _total} -> {name, late(Map.get(samples, name, []), tick, bounds)} end)

  @doc """
  The same of those functions that can be called here, and a reader `sees?`, as a list by name. The process that all ask copies nothing
  of others.
  """
  @spec listed(GenServer.server(), sees? :: (name :: String.t() -> boolean)) :: [map]
  def listed(figures \\ __MODULE__, sees?), do: figures |> some(sees?) |> elem(1)

  @doc "That list of all functions as JSON, made once for all who ask within half a second."
  @spec text(GenServer.server()) :: binary
  def text(figures \\ __MODULE__), do: GenServer.call(figures, :text)

  @doc """
  What streams tell of a tick: its number, and the same list as JSON, in pieces of some functions each; none when the tick is still
  the one that is named. It is made once for all who ask.
  """
  @spec pieces(GenServer.server(), tick :: integer) :: {tick :: non_neg_integer, [binary]}
  def pieces(figures \\ __MODULE__, tick), do: GenServer.call(figures, {:pieces, tick})

  @doc "The same of the functions alone that a reader `sees?`, made for that one."
  @spec pieces_of(GenServer.server(), tick :: integer, sees? :: (name :: String.t() -> boolean)) ::
          {tick :: non_neg_integer, [binary]}
  def pieces_of(figures \\ __MODULE__, tick, sees?) do
    case GenServer.call(figures, :tick) do
      ^tick ->
        {tick, []}

      _newer ->
        {tick, functions} = some(figures, sees?)
        {tick, cut(functions)}
    end
  end

  defp some(figures, sees?) do
    seen = for {name, _version, _at} = function <- Catalog.versions(), sees?.(name), do: function
    names = for {name, _version, _at} <- seen, do: name
    {tick, bounds, totals, samples} = GenServer.call(figures, {:some, names})
    {tick, totals |> of_all(late_of(totals, samples, tick, bounds)) |> versions(seen)}
  end

  defp versions(figures, versions \\ Catalog.versions()) do
    for {name, version, _at} <- Enum.sort(versions) do
      figures |> Map.get(name, %{}) |> Map.merge(%{name: name, version: version})
    end
  end

  @doc """
  The same of one function, with its calls by reason, those of each of its last versions, and with its history; `nil` when it has not
  been called.
  """
  @spec one(GenServer.server(), name :: String.t()) :: map | nil
  def one(figures \\ __MODULE__, name) do
    with {tick, reasons, bounds, total, samples, minutes} <- GenServer.call(figures, {:one, name}) do
      history = for sample <- Enum.reverse(samples), elem(sample, 0) > tick - @kept, do: told(sample, :ticks_ago, tick)

      total
      |> shown()
      |> Map.merge(late(samples, tick, bounds))
      |> Map.merge(%{
        reasons: reasons |> Enum.zip(total.outcomes) |> Map.new(),
        bounds_us: Enum.map(bounds, &(&1 / 1_000)),
        versions: of_versions(name, reasons, bounds),
        history: history,
        kept_ticks: @kept,
        minutes: Enum.map(minutes, &told(&1, :minutes_ago, div(tick, @minute))),
        kept_minutes: Minutes.kept()
      })
    end
  end

  # Since each of them began, the newest first.
  defp of_versions(name, reasons, bounds) do
    for {version, outcomes, latencies, others} <- Native.figures_by_version(Engine.runtime(), name), reduce: [] do
      newer ->
        total = total(outcomes, latencies, others)

        of =
          total
          |> shown()
          |> Map.merge(%{
            version: version,
            reasons: reasons |> Enum.zip(outcomes) |> Map.new(),
            p50_us: quantile(latencies, bounds, 0.5),
            p99_us: quantile(latencies, bounds, 0.99)
          })

        [of | newer]
    end
  end

  defp told({at, calls, errors, cpu_us, latencies}, ago, now) do
    latencies = for {bucket, count} <- Minutes.unpack(latencies), do: [bucket, count]
    %{ago => now - at, calls: calls, errors: errors, cpu_us: cpu_us, latencies: latencies}
  end

  @doc """
  The latency in µs that a share of calls keeps, by their buckets, whose upper bounds are in ns; `nil` without calls. Beyond the last
  bound it is that bound.

      iex> TidepoolWeb.Figures.quantile([{0, 1}, {1, 1}], [1_000, 2_000], 0.5)
      1.0
      iex> TidepoolWeb.Figures.quantile([{1, 4}], [1_000, 2_000], 0.75)
      1.8
      iex> TidepoolWeb.Figures.quantile([{2, 1}], [1_000, 2_000], 0.99)
      2.0
      iex> TidepoolWeb.Figures.quantile([], [1_000, 2_000], 0.99)
      nil
  """
  @spec quantile([{bucket :: non_neg_integer, calls :: pos_integer}], [pos_integer], float) :: float | nil
  def quantile(latencies, bounds, share) do
    calls = latencies |> Enum.map(&elem(&1, 1)) |> Enum.sum()

    if calls > 0,
      do: latencies |> Enum.sort() |> within(calls * share, [0 | bounds]) |> Kernel./(1_000) |> Float.round(1)
  end

  defp within([{bucket, calls} | others], rank, bounds) when rank > calls and others != [],
    do: within(others, rank - calls, bounds) |> max(Enum.at(bounds, bucket))

  defp within([{bucket, calls} | _others], rank, bounds) do
    lower = Enum.at(bounds, bucket)
    upper = Enum.at(bounds, bucket + 1, lower)
    lower + (upper - lower) * min(rank / calls, 1)
  end

  defp shown(%{calls: calls, errors: errors} = total),
    do: total.others |> Map.merge(%{calls: calls, errors: errors})

  defp late(samples, tick, bounds) do
    minute = Enum.take_while(samples, &(elem(&1, 0) > tick - @minute))
    calls = sum(minute, 1)
    recent = Enum.take_while(minute, &(elem(&1, 0) > tick - @recent))
    latencies = Enum.flat_map(minute, &Minutes.unpack(elem(&1, 4))) |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    latencies = for {bucket, counts} <- latencies, do: {bucket, Enum.sum(counts)}
    by_tick = Map.new(minute, &{elem(&1, 0), elem(&1, 1)})

    %{
      per_s: sum(recent, 1) * 1_000 / (@recent * @tick_ms),
      failing: if(calls > 0, do: sum(minute, 2) / calls, else: 0.0),
      p50_us: quantile(latencies, bounds, 0.5),
      p99_us: quantile(latencies, bounds, 0.99),
      ticks: if(minute == [], do: [], else: for(at <- (tick - @minute + 1)..tick, do: Map.get(by_tick, at, 0)))
    }
  end

  defp cut(functions) do
    for piece <- Enum.chunk_every(functions, @piece), do: encoded(piece)
  end

  defp encoded(functions), do: Native.json_encode(%{tick_ms: @tick_ms, functions: functions})

  defp sum(samples, element), do: samples |> Enum.map(&elem(&1, element)) |> Enum.sum()

  @impl true
  def init(tick_ms) do
    {_reasons, _bounds, totals} = read()
    schedule(tick_ms)
    {:ok, %{tick: 0, totals: totals, samples: %{}, minutes: %{}, late: {nil, %{}}, pieces: {nil, []}, text: {nil, ""}}}
  end

  @impl true
  def handle_call(:all, _from, state) do
    # What is asked for in between is of the moment, but for what is told by ticks.
    {_reasons, bounds, totals} = read()
    {:reply, {state.tick, bounds, totals, state.samples}, state}
  end

  def handle_call({:some, names}, _from, state) do
    {_reasons, bounds, totals} = read(names)
    {:reply, {state.tick, bounds, Map.take(totals, names), Map.take(state.samples, names)}, state}
  end

  def handle_call(:tick, _from, state), do: {:reply, state.tick, state}

  def handle_call({:pieces, tick}, _from, %{tick: tick} = state), do: {:reply, {tick, []}, state}

  def handle_call({:pieces, _before}, _from, %{tick: tick, pieces: {tick, pieces}} = state),
    do: {:reply, {tick, pieces}, state}

  def handle_call({:pieces, _before}, _from, %{tick: tick} = state) do
    {figures, state} = shared(state)
    pieces = figures |> versions() |> cut()
    {:reply, {tick, pieces}, %{state | pieces: {tick, pieces}}}
  end

  def handle_call(:text, _from, %{text: {made, text}} = state) do
    now = System.monotonic_time(:millisecond)

    if made && now - made < @shared_ms do
      {:reply, text, state}
    else
      {figures, state} = shared(state)
      {_status, _type, _headers, text} = Reply.json(200, %{tick_ms: @tick_ms, functions: versions(figures)})
      {:reply, text, %{state | text: {now, text}}}
    end
  end

  def handle_call({:one, name}, _from, state) do
    {reasons, bounds, totals} = read_one(name)

    case totals do
      %{^name => total} ->
        minutes = Minutes.of(state.minutes, name, div(state.tick, @minute))
        {:reply, {state.tick, reasons, bounds, total, Map.get(state.samples, name, []), minutes}, state}

      %{} ->
        {:reply, nil, state}
    end
  end

  # A tick that comes from elsewhere begets no others.
  @impl true
  def handle_info({:due, tick_ms}, state) do
    schedule(tick_ms)
    handle_info(:tick, state)
  end

  def handle_info(:tick, %{tick: tick} = state) do
    {_reasons, _bounds, totals} = read()
    tick = tick + 1

    samples =
      for {name, total} <- totals,
          samples = samples(state.samples[name], sample(total, state.totals[name], tick), tick),
          samples != [],
          into: %{},
          do: {name, samples}

    {:noreply, %{state | tick: tick, totals: totals, samples: bounded(samples), minutes: minutes(state, samples, tick)}}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp schedule(:infinity), do: :ok
  defp schedule(tick_ms), do: Process.send_after(self(), {:due, tick_ms}, tick_ms)

  # Figures of all for those who are told the same: what they were of late is worked out once a tick.
  defp shared(%{tick: tick} = state) do
    {_reasons, bounds, totals} = read()

    late =
      case state.late do
        {^tick, late} -> Map.merge(late_of(Map.drop(totals, Map.keys(late)), state.samples, tick, bounds), late)
        _earlier -> late_of(totals, state.samples, tick, bounds)
      end

    {of_all(totals, late), %{state | late: {tick, late}}}
  end

  defp minutes(state, samples, tick) when rem(tick, @minute) == 0,
    do: Minutes.add(state.minutes, samples, div(tick, @minute), tick - @minute, @functions)

  defp minutes(state, _samples, _tick), do: state.minutes

  # Some more than are kept are cut at once, not one at each tick.
  defp samples(before, sample, tick) do
    samples = if sample, do: [sample | before || []], else: before || []

    case samples do
      [{last, _calls, _errors, _cpu_us, _latencies} | _rest] when last <= tick - @kept -> []
      samples when rem(tick, @minute) == 0 -> Enum.take_while(samples, &(elem(&1, 0) > tick - @kept))
      samples -> samples
    end
  end

  defp bounded(samples) when map_size(samples) <= @functions, do: samples

  defp bounded(samples) do
    samples |> Enum.sort_by(fn {_name, [sample | _rest]} -> -elem(sample, 0) end) |> Enum.take(@functions) |> Map.new()
  end

  # Counters begin anew when a function is removed and deployed again.
  defp sample(total, before, tick) do
    before = if before && before.calls <= total.calls, do: before, else: nil
    added = fn key -> total[key] - if(before, do: before[key], else: 0) end

    if added.(:calls) > 0 do
      counted = if before, do: Map.new(before.latencies), else: %{}

      latencies =
        for {bucket, count} <- total.latencies,
            more = count - Map.get(counted, bucket, 0),
            more > 0,
            do: {bucket, more}

      cpu_us = total.others.cpu_us - if(before, do: before.others.cpu_us, else: 0)
      {tick, added.(:calls), max(added.(:errors), 0), max(cpu_us, 0), Minutes.pack(latencies)}
    end
  end

  defp read, do: Engine.runtime() |> Native.figures() |> totals()

  # A function by itself costs a question, and all of them one that is long.
  defp read(names) when length(names) > @one_by_one, do: read()

  defp read(names) do
    {reasons, bounds, none} = read_one("")
    {reasons, bounds, Enum.reduce(names, none, &Map.merge(&2, &1 |> read_one() |> elem(2)))}
  end

  defp read_one(name), do: Engine.runtime() |> Native.figures_of(name) |> totals()

  defp totals({reasons, bounds, functions}) do
    totals =
      for {name, outcomes, latencies, others} <- functions, into: %{}, do: {name, total(outcomes, latencies, others)}

    {reasons, bounds, totals}
  end

  defp total(outcomes, latencies, others) do
    calls = Enum.sum(outcomes)
    %{calls: calls, errors: calls - hd(outcomes), outcomes: outcomes, latencies: latencies, others: others}
  end
end
