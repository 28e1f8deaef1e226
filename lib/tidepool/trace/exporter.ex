defmodule Tidepool.Trace.Exporter do
  @moduledoc """
  Keeps spans until they are sent, and has them sent in batches, one after the other, each by a process of its own.

  Whoever has a span counts it in before it is sent here, so that the mailbox has its bound, too; over that it is dropped and
  counted. A batch that the collector does not take is tried again, ever later, and dropped after the fifth time. When the node
  stops, what is left has a moment to be sent.
  """

  use GenServer, shutdown: 10_000

  require Logger

  alias Tidepool.Config
  alias Tidepool.Trace.{Sender, Span}

  @batch 512
  @tries 5
  # Before the second try; twice as long before each further one.
  @retry_ms 1_000
  # How long the last spans have when the node stops.
  @last_ms 3_000

  # What is counted, by its place.
  @waiting 1
  @sent 2
  @dropped 3

  @counters {__MODULE__, :counters}

  defstruct [:interval, spans: [], count: 0, batch: nil, sending: nil, timer: nil, complained?: false]

  @doc false
  def start_link(_argument) do
    if Config.get(:otlp), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__), else: :ignore
  end

  @doc "Takes a span, or drops it. Returns at once."
  @spec take(Span.t()) :: :ok
  def take(span) do
    with {counters, most} <- :persistent_term.get(@counters, nil) do
      if :atomics.add_get(counters, @waiting, 1) > most do
        :atomics.sub(counters, @waiting, 1)
        :atomics.add(counters, @dropped, 1)
      else
        GenServer.cast(__MODULE__, {:span, span})
      end
    end

    :ok
  end

  @doc "How many spans were sent and dropped since the start, and how many wait."
  @spec counts :: %{sent: non_neg_integer, dropped: non_neg_integer, waiting: non_neg_integer}
  def counts do
    case :persistent_term.get(@counters, nil) do
      nil ->
        %{sent: 0, dropped: 0, waiting: 0}

      {counters, _most} ->
        %{
          sent: :atomics.get(counters, @sent),
          dropped: :atomics.get(counters, @dropped),
          waiting: :atomics.get(counters, @waiting)
        }
    end
  end

  @impl true
  def init(nil) do
    Process.flag(:trap_exit, true)
    settings = Config.get(:otlp)
    :persistent_term.put(@counters, {:atomics.new(3, []), settings.queue})
    {:ok, %__MODULE__{interval: settings.interval}}
  end

  @impl true
  def handle_cast({:span, span}, state) do
    state = %{state | spans: [span | state.spans], count: state.count + 1}
    {:noreply, if(state.count >= @batch, do: send_batch(state), else: schedule(state))}
  end

  @impl true
  def handle_info({:timeout, timer, :send}, %{timer: timer} = state), do: {:noreply, send_batch(%{state | timer: nil})}

  def handle_info({:timeout, _timer, :again}, %{batch: {_spans, _tries}, sending: nil} = state),
    do: {:noreply, try_batch(state)}

  def handle_info({:DOWN, monitor, :process, _pid, reason}, %{sending: monitor} = state),
    do: {:noreply, sent(reason, %{state | sending: nil})}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    until = System.monotonic_time(:millisecond) + @last_ms
    finish(state, until)
    :persistent_term.erase(@counters)
  end

  # What is being sent, then what is left, for as long as there is time.
  defp finish(%{sending: monitor} = state, until) when monitor != nil do
    receive do
      {:DOWN, ^monitor, :process, _pid, reason} -> finish(sent(reason, %{state | sending: nil}), until)
    after
      max(until - System.monotonic_time(:millisecond), 0) -> :ok
    end
  end

  # A collector that is away is not waited for.
  defp finish(%{batch: nil, count: count} = state, until) when count > 0, do: state |> send_batch() |> finish(until)
  defp finish(_state, _until), do: :ok

  # Its timer runs from the first span that waits.
  defp schedule(%{timer: nil, count: count} = state) when count > 0,
    do: %{state | timer: :erlang.start_timer(state.interval, self(), :send)}

  defp schedule(state), do: state

  defp send_batch(%{batch: nil, count: count} = state) when count > 0 do
    # The oldest are last.
    {rest, batch} = Enum.split(state.spans, max(count - @batch, 0))
    try_batch(%{state | spans: rest, count: max(count - @batch, 0), batch: {batch, 0}})
  end

  # One at a time.
  defp send_batch(state), do: state

  defp try_batch(%{batch: {spans, tries}} = state) do
    {_pid, monitor} = spawn_monitor(__MODULE__, :deliver, [spans])
    %{state | sending: monitor, batch: {spans, tries + 1}}
  end

  @doc false
  @spec deliver([term]) :: no_return
  def deliver(spans), do: exit(Sender.send(spans))

  defp sent(:sent, state) do
    state |> over(@sent) |> Map.put(:complained?, false) |> next()
  end

  defp sent({:again, why}, %{batch: {_spans, tries}} = state) when tries < @tries do
    :erlang.start_timer(@retry_ms * Integer.pow(2, tries - 1), self(), :again)
    complain(state, why)
  end

  defp sent({_never, why}, state), do: state |> complain(why) |> over(@dropped) |> next()
  defp sent(killed, state), do: sent({:never, killed}, state)

  defp over(%{batch: {spans, _tries}} = state, what) do
    {counters, _most} = :persistent_term.get(@counters)
    count = length(spans)
    :atomics.add(counters, what, count)
    :atomics.sub(counters, @waiting, count)
    %{state | batch: nil}
  end

  # Without a timer they have waited for long enough.
  defp next(%{count: count, timer: timer} = state) when count >= @batch or timer == nil, do: send_batch(state)
  defp next(state), do: state

  # Once, until it is well again.
  defp complain(%{complained?: true} = state, _why), do: state

  defp complain(state, why) do
    Logger.warning(
      "spans can't be sent to #{Config.get(:otlp).endpoint}: #{inspect(why, limit: 10, printable_limit: 200)}"
    )

    %{state | complained?: true}
  end
end
