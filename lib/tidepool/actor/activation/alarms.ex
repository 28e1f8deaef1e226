defmodule Tidepool.Actor.Activation.Alarms do
  @moduledoc """
  Calls what alarms of this node's actors say, when they are due. It sleeps until the next one, or for a minute, for the machine's clock
  may be set; the process that sets one tells it (`Tidepool.Actor.Alarm.told/1`).

  No more than 32 are called at once: those that were missed while the node was down are no herd. Of those a namespace has no more than it
  leaves to others, and among namespaces whose alarms are due the one is next that has the fewest: those that take long, or are many,
  hold up no alarm of another namespace.

  What an alarm comes to is written by its actor, and that alone has it called again. What can't be written is tried again here, and so
  is what can't be read, each time after twice the time.
  """

  use GenServer

  require Logger

  alias Tidepool.{Actor, Error, Native}
  alias Tidepool.Actor.Activation.LocalDispatch
  alias Tidepool.Actor.{Alarm, Journal}
  alias Tidepool.Actor.Journal.{Frozen, Record}
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Error.Reason
  alias Tidepool.Namespaces.Name

  @at_once 32
  # What one namespace leaves to others when it is alone.
  @share div(@at_once, 2)
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
  # More than that of a namespace are not looked past, and all wait for the shortest of these times.
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

  defp hold(state, key, _failed) do
    if not is_map_key(state.held, key) and count(Map.keys(state.held), namespace(key)) >= @held,
      do: look_in(state, @hold_ms.first),
      else: hold_on(state, key)
  end

  defp hold_on(state, key) do
    ms =
      case state.held do
        %{^key => {_until, before}} -> min(2 * before, @hold_ms.last)
        _first -> @hold_ms.first
      end

    look_in(put_in(state.held[key], {now() + ms, ms}), ms)
  end

  # A node without a lease has no alarms, whatever its disk still says.
  defp look(state), do: if(Shards.leased?(), do: ring_due(state), else: look_again(state))

  defp ring_due(state) do
    with {:ok, records} <- Journal.existing(),
         busy = busy(state),
         {:ok, alarms} <- Native.record_alarms(records, @ever, @share + 1, passed(busy)) do
      now = Alarm.now()
      state = %{state | unread_ms: @unread_ms}
      alarms = Enum.reject(alarms, fn {_due, class, name} -> {class, name} in busy end)
      {due, later} = Enum.split_while(alarms, fn {due, _class, _name} -> due <= now end)
      {now_due, left} = turns(due, namespaces(Map.values(state.ringing)))
      state = Enum.reduce(now_due, state, &ring/2)

      # Those that are left wait for one to end, and those that are due later, which may be another namespace's, for none.
      ms = with [{due, _class, _name} | _later] <- later, do: due - now, else: ([] -> @longest_ms)
      look_in(%{state | more?: left != []}, min(ms, @longest_ms))
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

  # How many are looked past, of each namespace.
  defp passed(busy), do: for({namespace, count} <- namespaces(busy), do: {namespace || "", count})

  defp namespace({class, _name}), do: Name.of(class)
  defp namespaces(keys), do: Enum.frequencies_by(keys, &namespace/1)
  defp count(keys, namespace), do: Enum.count(keys, &(namespace(&1) == namespace))

  @doc """
  Which of the alarms that are due are called now, where so many of each namespace are being called: one after the other of the
  namespace that has the fewest, and then the earliest, for as long as it has no more than it leaves to others. And those that are left.

      iex> due = for at <- 1..40, do: {at, "shop/cart", "\#{at}"}
      iex> {now, left} = Tidepool.Actor.Activation.Alarms.turns(due ++ [{90, "blog/post", "a"}, {91, "room", "b"}], %{})
      iex> {length(now), length(left), Enum.map(Enum.take(now, 4), &elem(&1, 0))}
      {17, 25, [1, 90, 91, 2]}
      iex> {now, _left} = Tidepool.Actor.Activation.Alarms.turns(due ++ [{90, "blog/post", "a"}], %{"shop" => 16})
      iex> now
      [{90, "blog/post", "a"}]
  """
  @spec turns([due], %{(namespace :: String.t() | nil) => pos_integer}) :: {now :: [due], left :: [due]}
        when due: {at :: integer, class :: String.t(), name :: String.t()}
  def turns(due, ringing) do
    lines = Enum.group_by(due, fn {_at, class, _name} -> Name.of(class) end)
    turns(lines, ringing, @at_once - Enum.sum(Map.values(ringing)), [])
  end

  defp turns(lines, ringing, free, now_due) do
    waiting = for {namespace, [first | _others]} <- lines, do: {Map.get(ringing, namespace, 0), first, namespace}

    with [_one | _others] <- waiting, {has, first, namespace} when has < free <- Enum.min(waiting) do
      turns(Map.update!(lines, namespace, &tl/1), Map.put(ringing, namespace, has + 1), free - 1, [first | now_due])
    else
      _none -> {Enum.reverse(now_due), lines |> Map.values() |> Enum.concat()}
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
    look_again(state)
  end

  defp look_again(state), do: look_in(%{state | unread_ms: min(2 * state.unread_ms, @longest_ms)}, state.unread_ms)

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
      {:error, %Error{reason: :unknown_actor}} -> :rung
      {:error, error} -> if Reason.retry(error.reason) == :deploy, do: postpone(class, name, due), else: error
    end
  end

  # It can't be called, and is not to be in the way of others: as long again as it has been due. No process of its own writes.
  defp postpone(class, name, due) do
    with nil <- LocalDispatch.serve({:where, class, name, nil}),
         {:here, {epoch, _lease}} <- Shards.place(class, name),
         {:ok, records} <- Journal.records(),
         {:ok, {seq, ^due, _bytes, head}} <- Journal.head(records, class, name, class),
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
