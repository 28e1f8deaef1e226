defmodule Tidepool.Actor.Activation.Alarms do
  @moduledoc """
  Calls what alarms of this node's actors say, when they are due. It sleeps until the next one, or for a minute, for the machine's clock
  may be set; the process that sets one tells it (`Tidepool.Actor.Alarm.told/1`).

  No more than 16 are called at once: those that were missed while the node was down are no herd. What an alarm comes to is written by
  its actor, and that alone has it called again. What can't be written is tried again here, and so is what can't be read, each time
  after twice the time.
  """

  use GenServer

  require Logger

  alias Tidepool.{Actor, Error, Native}
  alias Tidepool.Actor.Activation.LocalDispatch
  alias Tidepool.Actor.{Alarm, Journal}
  alias Tidepool.Actor.Journal.{Frozen, Record}
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Error.Reason

  @at_once 16
  # The application that has started the node may have handlers to register that guests ask.
  @first_look_ms 1_000
  @longest_ms 60_000
  # How soon the records are looked at again that could not be read, at first.
  @unread_ms 250
  # Those that end at about the same time have the records looked through once.
  @together_ms 5
  @ever 9_223_372_036_854_775_807
  # For how long one is left alone that could not be called, or not be written.
  @hold_ms 2_000..3_600_000
  # More than that are not looked past, and all wait for the shortest of these times.
  @held 1_000

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: Alarm.process())

  @impl true
  def init(nil) do
    state = %{timer: nil, look_at: nil, ringing: %{}, held: %{}, more?: false, unread_ms: @unread_ms}
    {:ok, look_in(state, @first_look_ms)}
  end

  @impl true
  def handle_cast({:set, due}, state), do: {:noreply, look_in(state, due - Alarm.now())}

  # What others had, and could not be called here, may be this node's.
  def handle_cast(:owned, state), do: {:noreply, look_in(%{state | held: %{}}, 0)}

  @impl true
  def handle_info(:look, state) do
    # As long again, for those that are held once more.
    held = Map.filter(state.held, fn {_key, {until, ms}} -> until + 2 * ms > now() end)
    {:noreply, %{state | timer: nil, look_at: nil, held: held} |> look() |> look_at_held()}
  end

  def handle_info({:DOWN, monitor, :process, _pid, outcome}, state) do
    {key, ringing} = Map.pop!(state.ringing, monitor)
    state = hold(%{state | ringing: ringing}, key, outcome)
    {:noreply, if(state.more?, do: look_in(state, @together_ms), else: state)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp hold(state, key, :rung), do: %{state | held: Map.delete(state.held, key)}

  defp hold(state, key, _failed) when map_size(state.held) >= @held and not is_map_key(state.held, key),
    do: look_in(state, @hold_ms.first)

  defp hold(state, key, outcome) do
    ms =
      case state.held do
        # Another node has it, and is about to call it; that this one was in time says nothing.
        _held when outcome == :elsewhere -> @hold_ms.first
        %{^key => {_until, before}} -> min(2 * before, @hold_ms.last)
        _first -> @hold_ms.first
      end

    look_in(put_in(state.held[key], {now() + ms, ms}), ms)
  end

  defp look(state) do
    with {:ok, records} <- Journal.existing(),
         busy = busy(state),
         {:ok, alarms} <- Native.record_alarms(records, @ever, @at_once + MapSet.size(busy) + 1) do
      now = Alarm.now()
      state = %{state | unread_ms: @unread_ms}
      alarms = Enum.reject(alarms, fn {_due, class, name} -> {class, name} in busy end)
      {due, later} = Enum.split_while(alarms, fn {due, _class, _name} -> due <= now end)
      {now_due, left} = Enum.split(due, @at_once - map_size(state.ringing))
      state = Enum.reduce(now_due, state, &ring/2)

      case {left, later} do
        {[], [{due, _class, _name} | _later]} -> look_in(%{state | more?: false}, min(due - now, @longest_ms))
        {left, _later} -> look_in(%{state | more?: left != []}, @longest_ms)
      end
    else
      # The process that makes the first record tells of its alarm.
      :none ->
        state

      {:error, _kind, message} ->
        unread(state, message)

      {:error, error} ->
        unread(state, error.message)
    end
  end

  # When the first of them is to be tried again.
  defp look_at_held(state) do
    case for {_key, {until, _ms}} <- state.held, until > now(), do: until do
      [] -> state
      times -> look_in(state, Enum.min(times) - now())
    end
  end

  defp busy(state) do
    held = for {key, {until, _ms}} <- state.held, until > now(), do: key
    MapSet.new(held ++ Map.values(state.ringing))
  end

  defp unread(state, message) do
    Logger.warning("the alarms of actors can't be read, and wait: #{message}")
    look_in(%{state | unread_ms: min(2 * state.unread_ms, @longest_ms)}, state.unread_ms)
  end

  # One that says what it came to by its end.
  defp ring({due, class, name}, state) do
    {_pid, monitor} = spawn_monitor(__MODULE__, :ringing, [class, name, due])
    put_in(state.ringing[monitor], {class, name})
  end

  @doc false
  @spec ringing(String.t(), String.t(), integer) :: no_return
  def ringing(class, name, due), do: exit(rung(class, name, due))

  defp rung(class, name, due) do
    case Actor.ring(class, name, due) do
      {:ok, _reply} -> :rung
      :elsewhere -> :elsewhere
      {:error, %Error{reason: :unknown_actor}} -> :rung
      {:error, error} -> if Reason.retry(error.reason) == :deploy, do: postpone(class, name, due), else: error
    end
  end

  # It can't be called, and is not to be in the way of others: as long again as it has been due. No process of its own writes.
  defp postpone(class, name, due) do
    with nil <- LocalDispatch.serve({:where, class, name, nil}),
         {:here, {epoch, _lease}} <- Shards.place(class, name),
         {:ok, records} <- Journal.records(),
         {:ok, {_epoch, seq, ^due, head, _image}} <- Journal.read(records, class, name, class),
         {:ok, %{alarm: alarm} = record} when alarm != nil <- Record.read(head, class, name) do
      now = Alarm.now()
      due = now + max(min(now - due, @hold_ms.last), @hold_ms.first)
      head = Record.write(%{record | alarm: %{alarm | due: due}})

      with :ok <- Journal.commit(records, class, name, {:put, epoch, seq + 1, due, head, nil, []}) do
        Frozen.drop(class, name)
        Alarm.told(due)
        :rung
      end
    end
  end

  # No later than before.
  defp look_in(state, ms) do
    at = now() + max(ms, 0)

    if state.look_at == nil or at < state.look_at do
      if state.timer, do: Process.cancel_timer(state.timer)
      %{state | timer: Process.send_after(self(), :look, min(max(ms, 0), @longest_ms)), look_at: at}
    else
      state
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
