defmodule Tidepool.Actor.Server do
  @moduledoc """
  An actor that is awake: its instance, and a process that serves one call after the other.

  A call is answered when what it did is on disk, and meanwhile the next one runs: answers wait in the gate, in the order of their
  calls, each for the write with its number. When a write fails, all that was computed on it is dropped with the instance, and
  callers that wait in the gate are told; the next call finds the actor as it was last written. So it is when a call is stopped.

  It goes to sleep after `idle` ms without a call, or when others want the place of its instance, which is its end with
  `{:shutdown, :asleep}`: no call that came is lost then (`Tidepool.Actor.Line`). What is written of it stays in memory for a while
  (`Tidepool.Actor.Store.Frozen`).
  """

  use GenServer, restart: :temporary

  alias Tidepool.Actor.{Copies, Line, Quota, Record, Serving, State, Store, Waking}
  alias Tidepool.Actor.Copies.Hold
  alias Tidepool.Actor.Owner.{Draining, Shards}

  # Garbage is collected after so many bytes that are beside the heap.
  @collected_bytes 262_144
  # How long somebody is waited for who has stepped into the line and sent nothing.
  @lingering_ms 5_000
  # How often an actor that is to leave looks whether it can.
  @leaving_ms 1

  @doc false
  def start_link({class, name, options, title}) do
    line = Line.new(options)
    via = {:via, Registry, {Tidepool.Actor.Registry, {class, name}, line}}
    GenServer.start_link(__MODULE__, {class, name, line, options, title}, name: via)
  end

  @impl true
  def init({class, name, line, options, title}) do
    # Whoever takes its shard away looks for it in the registry, where it is by now.
    if Shards.owned?(class, name, title),
      do: begin(%State{class: class, name: name, line: line, options: options, title: title, called_at: now()}),
      else: {:stop, {:shutdown, :elsewhere}}
  end

  defp begin(state) do
    Process.flag(:message_queue_data, :off_heap)
    # So that what is not written yet is, when the node is stopped in order.
    Process.flag(:trap_exit, true)
    {:ok, state, state.options.idle}
  end

  @impl true
  def handle_call({:call, call}, from, state) do
    Line.leave(state.line, byte_size(call.payload))
    {answer, state} = Serving.serve(call, state)
    state |> State.answer(from, answer) |> called()
  end

  # It has no place in the line: there is one at most.
  def handle_call({:ring, due}, from, state) do
    {answer, state} = Serving.ring(due, state)
    state |> State.answer(from, answer) |> called()
  end

  def handle_call({:start, create}, from, state) do
    {answer, state} = Serving.start(create, state)
    state |> State.answer(from, answer) |> called()
  end

  def handle_call(:info, _from, state) do
    case Waking.loaded(state, false) do
      {:ok, state} -> {:reply, {:ok, info(state)}, state, left(state)}
      {:error, error, state} -> {:reply, {:error, error}, state, left(state)}
    end
  end

  def handle_call(:stop, _from, state) do
    case State.written(state) do
      {:ok, state} -> ended(state)
      {:error, error, state} -> {:reply, {:error, error}, state, state.options.idle}
    end
  end

  # Whoever waits has been answered by then.
  def handle_call(:delete, _from, state) do
    state = State.await_writes(state)

    with {:ok, records} <- Store.records(),
         :ok <- Copies.delete(records, state.class, state.name, State.epoch(state)) do
      Quota.deleted(state.class)
      ended(state)
    else
      # Nobody else writes it as long as this node has it.
      :again ->
        error = Store.error(:out_of_order, "#{state.class}/#{state.name} was written by another meanwhile", state.class)
        {:reply, {:error, error}, State.forget(state), state.options.idle}

      {:error, error} ->
        {:reply, {:error, error}, State.forget(state), state.options.idle}
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
    Line.leave(state.line, byte_size(call.payload))
    {answer, state} = Serving.serve(call, state)
    state |> State.answer(nil, answer) |> called()
  end

  @impl true
  def handle_info({:tidepool_committed, id, outcome}, state), do: state |> State.committed(id, outcome) |> go_on()
  def handle_info({:tidepool_copied, node, id, answer}, state), do: state |> State.copied(id, node, answer) |> go_on()
  def handle_info({:tidepool_late, id}, state), do: state |> State.late(id) |> go_on()

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

  # Its shard is about to be another node's: nobody comes any more, and it sleeps as soon as it has served those who are here.
  def handle_info(:leave, %{leaving?: true} = state), do: go_on(state)

  def handle_info(:leave, state) do
    # It is found by those who end it all the time.
    Draining.leaving(state.class, state.name)
    Registry.unregister(Tidepool.Actor.Registry, {state.class, state.name})
    go_on(%{state | leaving?: true})
  end

  # A call finds no room for its instance. This one has one, and its call may be over for a moment only.
  def handle_info(:tidepool_wanted, %{owned: owned} = state) when owned != nil do
    case State.written(state) do
      {:ok, state} -> if Line.close(state.line, false), do: sleep(state), else: go_on(state)
      {:error, error, state} -> state |> unwritten(error) |> go_on()
    end
  end

  def handle_info(:timeout, state) do
    case State.written(state) do
      {:ok, state} ->
        if Line.close(state.line, lingered?(state)),
          do: sleep(state),
          else: {:noreply, %{state | lingers_since: state.lingers_since || now()}, pause(state)}

      {:error, error, state} ->
        {:noreply, unwritten(state, error), pause(state)}
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

  # A process that waits collects no garbage of its own accord, and an actor may wait for long.
  defp go_on(state), do: go_on(state, left(state))

  defp go_on(%{seen: seen, pending: 0} = state, _left) when seen > @collected_bytes,
    do: {:noreply, %{state | seen: 0}, {:continue, :collect}}

  defp go_on(state, left), do: {:noreply, state, left}

  # It goes on after a call.
  defp called(state), do: go_on(%{state | called_at: now(), lingers_since: nil}, pause(state))

  # Until it has not been called for its idle time: whoever looks at it, or what it has written, keeps it awake no longer.
  defp left(%{leaving?: true}), do: @leaving_ms
  defp left(state), do: max(state.called_at + state.options.idle - now(), 0)

  defp pause(state), do: if(state.leaving?, do: @leaving_ms, else: state.options.idle)

  # Whoever was killed on the way never comes.
  defp lingered?(%{lingers_since: nil}), do: false
  defp lingered?(%{lingers_since: since}), do: now() - since > @lingering_ms

  # Whoever has come meanwhile is served here, by what is written.
  defp ended(state) do
    if Line.close(state.line, false),
      do: {:stop, asleep(state), :ok, state},
      else: {:reply, :ok, State.forget(state), state.options.idle}
  end

  # Nobody is in its line any more.
  defp sleep(state) do
    Waking.freeze(state)
    {:stop, asleep(state), state}
  end

  defp unwritten(state, error) do
    State.warn(state, "could not be written before it goes to sleep: #{error.message}")
    state
  end

  # Those who come from now on look for it anew.
  defp asleep(state) do
    if state.leaving?, do: Hold.left(state.class, state.name)
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
      waiting: Line.waiting(state.line),
      calls: state.calls
    })
  end

  defp now, do: System.monotonic_time(:millisecond)
end
