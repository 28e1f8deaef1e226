defmodule Tidepool.Actor.Activation.Server do
  @moduledoc """
  An actor that is awake: its instance, and a process that serves one call after the other.

  A call is answered when what it did is on disk, and meanwhile the next one runs: answers wait in the gate, in the order of their
  calls, each for the write with its number. When a write fails, all that was computed on it is dropped with the instance, and
  callers that wait in the gate are told; the next call finds the actor as it was last written. So it is when a call is stopped.

  It goes to sleep after `idle` ms without a call, or when others want the place of its instance, which is its end with
  `{:shutdown, :asleep}`: no call that came is lost then (`Tidepool.Actor.Activation.AdmissionQueue`). What is written of it stays in memory for a while
  (`Tidepool.Actor.Journal.Frozen`).

  Without an instance the process waits for a second at most, in which it tells of the last error, and where there is no actor it ends
  with the call.
  """

  use GenServer, restart: :temporary

  import Tidepool.Actor.Activation.State, only: [is_write_message: 1]

  alias Tidepool.Actor.{Activation, Journal}
  alias Tidepool.Actor.Activation.{Activity, AdmissionQueue, Invocation, OutputGate, ReadCache, State}
  alias Tidepool.Actor.Journal.{Frozen, Quota, Record}
  alias Tidepool.Actor.Ownership.{Drain, Shards}

  # After which time one that is to leave tries again to write what could not be written.
  @rewrite_ms 100
  # How long one waits at most for its turn to leave a copy in memory.
  @copy_ms 1_000
  # How long one waits at most that has no instance: no limit bounds how many there are.
  @bare_ms 1_000

  @doc false
  def start_link({class, name, options, title}) do
    queue = AdmissionQueue.new(class, options)
    via = {:via, Registry, {Tidepool.Actor.Registry, {class, name}, queue}}
    GenServer.start_link(__MODULE__, {class, name, queue, options, title}, name: via)
  end

  @impl true
  def init({class, name, queue, options, title}) do
    # A process that takes its shard away looks for it in the registry, where it is by now.
    if Shards.owned?(class, name, title),
      do:
        begin(%State{class: class, name: name, queue: queue, options: options, title: title, activity: Activity.new()}),
      else: {:stop, {:shutdown, :elsewhere}}
  end

  defp begin(state) do
    Process.flag(:message_queue_data, :off_heap)
    # So that what is not written yet is, when the node is stopped in order.
    Process.flag(:trap_exit, true)
    # Who has started it is about to call it.
    {:ok, state, bare(state)}
  end

  @impl true
  def handle_call({:call, call}, from, state) do
    AdmissionQueue.leave(state.queue, byte_size(call.payload))
    {answer, state} = Invocation.serve(call, state)
    state |> State.answer(from, answer) |> called()
  end

  # It has no place in the queue: there is one at most.
  def handle_call({:ring, due}, from, state) do
    {answer, state} = Invocation.ring(due, state)
    state |> State.answer(from, answer) |> called()
  end

  def handle_call({:start, create}, from, state) do
    {answer, state} = Invocation.start(create, state)
    state |> State.answer(from, answer) |> called()
  end

  # Without an instance it is as it is written. No image is read for who looks at it.
  def handle_call(:info, _from, %{owned: nil} = state),
    do: {:reply, {:written, state.title, state.last_error}, state, left(state)}

  def handle_call(:info, _from, state) do
    case Activation.loaded(state, false) do
      {:ok, state} -> {:reply, {:ok, info(state)}, State.rested(state), left(state)}
      {:error, error, state} -> {:reply, {:error, error}, state, left(state)}
    end
  end

  def handle_call(:stop, _from, state) do
    case State.written(state) do
      {:ok, state} -> ended(state)
      {:error, error, state} -> {:reply, {:error, error}, state, idle(state)}
    end
  end

  # Callers that wait have been answered by then.
  def handle_call(:delete, _from, state) do
    state = State.await_writes(state)

    with {:ok, records} <- Journal.records(),
         :ok <- Journal.delete(records, state.class, state.name, State.epoch(state)) do
      Quota.deleted(state.class)
      ended(state)
    else
      # No other node writes it as long as this one has it.
      :again ->
        error =
          Journal.error(:out_of_order, "#{state.class}/#{state.name} was written by another meanwhile", state.class)

        {:reply, {:error, error}, State.forget(state), bare(state)}

      {:error, error} ->
        {:reply, {:error, error}, State.forget(state), bare(state)}
    end
  end

  # It was deleted, perhaps after this has woken.
  def handle_call(:forget, _from, state) do
    state =
      case State.written(state) do
        {:ok, state} -> state
        {:error, _deleted, state} -> state
      end

    {:reply, :ok, State.forget(state), left(state)}
  end

  @impl true
  def handle_cast({:cast, call}, state) do
    AdmissionQueue.leave(state.queue, byte_size(call.payload))
    {answer, state} = Invocation.serve(call, state)
    state |> State.answer(nil, answer) |> called()
  end

  @impl true
  def handle_info(message, state) when is_write_message(message), do: state |> State.heard(message) |> go_on()

  # What there was to write is gone.
  def handle_info(:flush, %{owned: nil} = state), do: go_on(%{state | flush: nil})

  def handle_info(:flush, state) do
    case State.write(%{state | flush: nil}, []) do
      {:ok, state} ->
        go_on(state)

      {{:error, error}, state} ->
        State.warn(state, "was not written, and is as it was before: #{error.message}")
        go_on(state)
    end
  end

  # Its shard is about to be another node's: no call comes any more, and it sleeps as soon as it has served those that are here.
  def handle_info(:leave, %{activity: %{leaving?: true}} = state), do: go_on(state)

  def handle_info(:leave, state) do
    # What others read without it is its own no longer than its name is.
    cache = ReadCache.close(state.cache)
    # It is found by those who end it all the time.
    Drain.leaving(state.class, state.name, state.queue)
    Registry.unregister(Tidepool.Actor.Registry, {state.class, state.name})
    go_on(%{state | activity: Activity.leaves(state.activity), cache: cache})
  end

  # A call finds no room for its instance. This one has one, and its call may be over for a moment only.
  def handle_info(:tidepool_wanted, %{owned: owned} = state) when owned != nil do
    case State.written(state) do
      # Who wants its place waits for no turn of others.
      {:ok, state} -> with :awake <- sleep(state, false, :now), do: go_on(state)
      {:error, error, state} -> state |> unwritten(error) |> go_on()
    end
  end

  def handle_info(:timeout, state) do
    case State.written(state) do
      {:ok, state} ->
        until = System.monotonic_time(:millisecond) + @copy_ms

        with :awake <- sleep(state, Activity.lingered?(state.activity), until),
             do: wait(%{state | activity: Activity.lingers(state.activity)})

      {:error, error, state} ->
        {:noreply, unwritten(state, error), if(state.activity.leaving?, do: @rewrite_ms, else: pause(state))}
    end
  end

  def handle_info(_other, state), do: go_on(state)

  @impl true
  def handle_continue(:collect, state) do
    :erlang.garbage_collect()
    go_on(state)
  end

  @impl true
  def terminate({:shutdown, :asleep}, _state), do: :ok

  # In a crash the state is the one before, and writes that it waits for may have been told of already.
  def terminate(reason, _state) when reason != :shutdown, do: :ok

  def terminate(:shutdown, state) do
    with {:error, error, state} <- State.written(state),
         do: State.warn(state, "could not be written at its end: #{error.message}")
  end

  defp go_on(state), do: go_on(state, left(state))

  defp go_on(%{activity: activity} = state, left) do
    if Activity.collect?(activity) and OutputGate.idle?(state.gate),
      do: {:noreply, %{state | activity: Activity.collected(activity)}, {:continue, :collect}},
      else: {:noreply, state, left}
  end

  # It goes on after a call.
  defp called(state) do
    state = %{state | activity: Activity.called(state.activity)}
    go_on(state, pause(state))
  end

  defp wait(state), do: {:noreply, state, pause(state)}
  defp left(state), do: Activity.left(state.activity, idle(state))
  defp pause(state), do: Activity.pause(state.activity, idle(state))

  # Nothing is known of an actor.
  defp idle(%{owned: nil, seq: 0}), do: 0
  defp idle(%{owned: nil} = state), do: bare(state)
  defp idle(state), do: state.options.idle
  defp bare(state), do: min(state.options.idle, @bare_ms)

  # A call that has come meanwhile is served here, by what is written.
  defp ended(state) do
    if AdmissionQueue.close(state.queue, false),
      do: {:stop, asleep(state), :ok, state},
      else: {:reply, :ok, State.forget(state), bare(state)}
  end

  # It sleeps, unless a call waits. What is left in memory is copied before that is known, for it may take its time: a call that comes
  # meanwhile is served here.
  defp sleep(state, forced, until) do
    copy = if forced or AdmissionQueue.waiting(state.queue) == 0, do: Activation.copy(state, until)

    if AdmissionQueue.close(state.queue, forced) do
      if copy, do: Frozen.put(state.class, state.name, copy, state.options.frozen)
      ended = asleep(state)
      # The next process can begin by then: it does not wait until others are gone.
      Frozen.make_room()
      {:stop, ended, state}
    else
      :awake
    end
  end

  defp unwritten(state, error) do
    State.warn(state, "could not be written before it goes to sleep: #{error.message}")
    state
  end

  # Those who come from now on look for it anew, and find nothing of this one.
  defp asleep(state) do
    ReadCache.close(state.cache)
    Registry.unregister(Tidepool.Actor.Registry, {state.class, state.name})
    {:shutdown, :asleep}
  end

  defp info(state) do
    record = %{state.record | last_error: state.last_error}

    Map.merge(Record.shown(record), %{
      class: state.class,
      name: state.name,
      node: node(),
      awake: true,
      tier: :live,
      bytes: state.image_bytes + byte_size(Record.write(record)),
      writes: state.seq,
      waiting: AdmissionQueue.waiting(state.queue),
      calls: state.activity.calls
    })
  end
end
