defmodule TidepoolWeb.EventRing do
  @moduledoc """
  The last events of this node, as server-sent events, for those who read them as a stream.

  Nothing is sent to who did not ask: a reader asks for what comes after the last event that it has had, and gets up to 64 of
  them in a message, at once or when there are any. So a reader that is slow has one message in its mailbox at most, and this
  process 256 events, whoever reads. What is no longer there then is counted as missed.

  An event's id has the number of the event, behind a mark that each start of a node makes anew: ids of another node, or of this
  one before it was started, are told from its own.
  """

  use GenServer

  alias Tidepool.{Events, Native}

  # Events that are kept, and those that are handed out at once.
  @kept 256
  @batch 64

  @typedoc "The number of the last event that a reader has had."
  @type position :: non_neg_integer

  @typedoc "An event: its position, what it is about, and its text without an id."
  @type event :: {position, about, text :: String.t()}

  @typedoc "The function that an event is of, if it is of one, and whether tools of it come or go."
  @type about :: {name :: String.t() | nil, tools? :: boolean}

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  Where a reader is that has the event with this id: its position, or, with an id that is not from here, or none, the last one there
  is. The mark belongs before each position, to make an id of it.
  """
  @spec locate(GenServer.server(), id :: binary | nil) ::
          {:ok | :unknown, mark :: String.t(), position}
  def locate(ring, id), do: GenServer.call(ring, {:locate, id})

  @doc """
  Asks for what comes after a position. The caller gets `{:tidepool_events, missed, events, position}`: how many events there were
  that are gone, those that are there, and the position after them.
  """
  @spec next(GenServer.server(), position) :: :ok
  def next(ring, position), do: GenServer.cast(ring, {:next, self(), position})

  @doc "The same at once, when there is nothing after it, too: `{missed, events, position}`."
  @spec read(GenServer.server(), position) ::
          {missed :: non_neg_integer, [event], position}
  def read(ring, position), do: GenServer.call(ring, {:read, position})

  @impl true
  def init(nil) do
    Events.subscribe()
    mark = Base.encode32(:crypto.strong_rand_bytes(5))
    {:ok, %{mark: mark, last: 0, events: %{}, waiting: %{}}}
  end

  @impl true
  def handle_call({:locate, id}, _from, %{mark: mark, last: last} = state) do
    with <<^mark::binary-size(8), "-", digits::binary>> when byte_size(digits) < 18 <- id,
         {position, ""} when position in 0..last//1 <- Integer.parse(digits) do
      {:reply, {:ok, mark, position}, state}
    else
      nil -> {:reply, {:ok, mark, last}, state}
      _other -> {:reply, {:unknown, mark, last}, state}
    end
  end

  def handle_call({:read, position}, _from, state), do: {:reply, found(position, state), state}

  @impl true
  def handle_cast({:next, pid, position}, %{last: last} = state) when position < last do
    hand_out(pid, position, state)
    {:noreply, state}
  end

  def handle_cast({:next, pid, position}, state) do
    {:noreply, %{state | waiting: Map.put_new_lazy(state.waiting, pid, fn -> {position, Process.monitor(pid)} end)}}
  end

  @impl true
  def handle_info({:tidepool_event, event}, state) do
    number = state.last + 1
    about = {event[:name], Map.get(event, :tools, false)}
    events = state.events |> Map.put(number, {number, about, text(event)}) |> Map.delete(number - @kept)
    state = %{state | last: number, events: events}

    for {pid, {position, monitor}} <- state.waiting do
      Process.demonitor(monitor, [:flush])
      hand_out(pid, position, state)
    end

    {:noreply, %{state | waiting: %{}}}
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    {:noreply, %{state | waiting: Map.delete(state.waiting, pid)}}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp hand_out(pid, position, state) do
    {missed, events, position} = found(position, state)
    send(pid, {:tidepool_events, missed, events, position})
  end

  defp found(last, %{last: last}), do: {0, [], last}

  defp found(position, %{last: last, events: events}) do
    first = max(position + 1, last - @kept + 1)
    until = min(last, first + @batch - 1)
    {first - position - 1, Enum.map(first..until, &Map.fetch!(events, &1)), until}
  end

  defp text(%{event: event} = members) do
    data = members |> Map.drop([:event, :tools]) |> Native.json_encode()
    "event: #{event}\ndata: #{data}\n\n"
  end
end
