defmodule TidepoolWeb.Figures do
  @moduledoc """
  What each function's calls have come to in the last ten minutes, for whoever looks.

  Calls count as ever and know nothing of this: the library's counters are read every two seconds, and what has been added to them
  since the time before is kept for functions that were called. So a function that nobody calls has no history and costs none, and
  one that is called costs the same whoever looks. There is history of the 500 functions that were called last.

  Latencies are counted in buckets whose bounds are up to 2.5 times apart; quantiles are interpolated within them.
  """

  use GenServer

  alias Tidepool.{Engine, Native}

  @tick_ms 2_000
  # Ticks that are kept, those that rates and quantiles are of, and those in a list of functions.
  @kept 300
  @recent 5
  @minute 30
  @functions 500

  @typedoc """
  What was added within a tick: its number, calls, those of them that failed, the guests' CPU time, and how many calls were in
  which of the buckets of latencies, numbered from 0.
  """
  @type sample ::
          {tick :: integer, calls :: pos_integer, errors :: non_neg_integer, cpu_us :: non_neg_integer,
           [{bucket :: non_neg_integer, calls :: pos_integer}]}

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

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

    for {name, total} <- totals, into: %{} do
      {name, total |> shown() |> Map.merge(late(Map.get(samples, name, []), tick, bounds))}
    end
  end

  @doc "The same of one function, with its calls by reason, and with its history; `nil` when it has not been called."
  @spec one(GenServer.server(), name :: String.t()) :: map | nil
  def one(figures \\ __MODULE__, name) do
    with {tick, reasons, bounds, total, samples} <- GenServer.call(figures, {:one, name}) do
      history =
        for {at, calls, errors, cpu_us, latencies} <- Enum.reverse(samples), at > tick - @kept do
          latencies = for {bucket, count} <- latencies, do: [bucket, count]
          %{ticks_ago: tick - at, calls: calls, errors: errors, cpu_us: cpu_us, latencies: latencies}
        end

      total
      |> shown()
      |> Map.merge(late(samples, tick, bounds))
      |> Map.merge(%{
        reasons: reasons |> Enum.zip(total.outcomes) |> Map.new(),
        bounds_us: bounds,
        history: history,
        kept_ticks: @kept
      })
    end
  end

  @doc """
  The latency in µs that a share of calls keeps, by their buckets; `nil` without calls. Beyond the last bound it is that bound.

      iex> TidepoolWeb.Figures.quantile([{0, 1}, {1, 1}], [10, 20], 0.5)
      10
      iex> TidepoolWeb.Figures.quantile([{1, 4}], [10, 20], 0.75)
      18
      iex> TidepoolWeb.Figures.quantile([{2, 1}], [10, 20], 0.99)
      20
      iex> TidepoolWeb.Figures.quantile([], [10, 20], 0.99)
      nil
  """
  @spec quantile([{bucket :: non_neg_integer, calls :: pos_integer}], [pos_integer], float) :: non_neg_integer | nil
  def quantile(latencies, bounds, share) do
    calls = latencies |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    if calls > 0, do: latencies |> Enum.sort() |> within(calls * share, [0 | bounds])
  end

  defp within([{bucket, calls} | others], rank, bounds) when rank > calls and others != [],
    do: within(others, rank - calls, bounds) |> max(Enum.at(bounds, bucket))

  defp within([{bucket, calls} | _others], rank, bounds) do
    lower = Enum.at(bounds, bucket)
    upper = Enum.at(bounds, bucket + 1, lower)
    round(lower + (upper - lower) * min(rank / calls, 1))
  end

  defp shown(%{calls: calls, errors: errors} = total),
    do: total.others |> Map.merge(%{calls: calls, errors: errors})

  defp late(samples, tick, bounds) do
    minute = Enum.take_while(samples, &(elem(&1, 0) > tick - @minute))
    calls = sum(minute, 1)
    recent = Enum.take_while(minute, &(elem(&1, 0) > tick - @recent))
    latencies = Enum.flat_map(minute, &elem(&1, 4)) |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
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

  defp sum(samples, element), do: samples |> Enum.map(&elem(&1, element)) |> Enum.sum()

  @impl true
  def init(nil) do
    {_reasons, _bounds, totals} = read()
    schedule()
    {:ok, %{tick: 0, totals: totals, samples: %{}}}
  end

  @impl true
  def handle_call(:all, _from, state) do
    # What is asked for in between is of the moment, but for what is told by ticks.
    {_reasons, bounds, totals} = read()
    {:reply, {state.tick, bounds, totals, state.samples}, state}
  end

  def handle_call({:one, name}, _from, state) do
    {reasons, bounds, totals} = read()

    case totals do
      %{^name => total} -> {:reply, {state.tick, reasons, bounds, total, Map.get(state.samples, name, [])}, state}
      %{} -> {:reply, nil, state}
    end
  end

  @impl true
  def handle_info(:tick, %{tick: tick} = state) do
    schedule()
    {_reasons, _bounds, totals} = read()
    tick = tick + 1

    samples =
      for {name, total} <- totals,
          samples = samples(state.samples[name], sample(total, state.totals[name], tick), tick),
          samples != [],
          into: %{},
          do: {name, samples}

    {:noreply, %{state | tick: tick, totals: totals, samples: bounded(samples)}}
  end

  def handle_info(_message, state), do: {:noreply, state}

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
      latencies =
        for {{count, before}, bucket} <-
              total.latencies
              |> Enum.zip((before && before.latencies) || List.duplicate(0, length(total.latencies)))
              |> Enum.with_index(),
            count > before,
            do: {bucket, count - before}

      cpu_us = total.others.cpu_us - if(before, do: before.others.cpu_us, else: 0)
      {tick, added.(:calls), max(added.(:errors), 0), max(cpu_us, 0), latencies}
    end
  end

  defp read do
    {reasons, bounds, functions} = Native.figures(Engine.runtime())

    totals =
      for {name, outcomes, latencies, others} <- functions, into: %{} do
        calls = Enum.sum(outcomes)
        total = %{calls: calls, errors: calls - hd(outcomes), outcomes: outcomes, latencies: latencies, others: others}
        {name, total}
      end

    {reasons, bounds, totals}
  end

  defp schedule, do: Process.send_after(self(), :tick, @tick_ms)
end
