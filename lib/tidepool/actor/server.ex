defmodule Tidepool.Actor.Server do
  @moduledoc """
  An actor that is awake: its instance, and a process that serves one call after the other.

  A call is answered when what it did is on disk, and meanwhile the next one runs: answers wait in the gate, in the order of their
  calls, each for the write with its number. When a write fails, all that was computed on it is dropped with the instance, and
  whoever waits in the gate is told; the next call finds the actor as it was last written. So it is when a call is stopped.

  It goes to sleep when nobody has called for `idle` ms, which is its end with `{:shutdown, :asleep}`: nobody who came is lost then
  (`Tidepool.Actor.Line`).
  """

  use GenServer, restart: :temporary

  alias Tidepool.{Error, Execution, Native}
  alias Tidepool.Actor.{Line, Record, State, Store, Waking}
  alias Tidepool.Host.Nesting

  # Garbage is collected after so many bytes that are beside the heap.
  @collected_bytes 262_144
  # How long somebody is waited for who has stepped into the line and sent nothing.
  @lingering_ms 5_000

  @typedoc """
  A call: `deadline` in ms of the VM's monotonic time, or `:infinity`; `actors` are those that wait for it.
  """
  @type call :: %{
          operation: String.t(),
          payload: binary,
          deadline: integer | :infinity,
          depth: pos_integer,
          context: term,
          actors: [Nesting.actor()],
          request_id: String.t() | nil,
          create: boolean
        }

  @doc false
  def start_link({class, name, options}) do
    line = Line.new()
    via = {:via, Registry, {Tidepool.Actor.Registry, {class, name}, {line, options}}}
    GenServer.start_link(__MODULE__, {class, name, line, options}, name: via)
  end

  @impl true
  def init({class, name, line, options}) do
    Process.flag(:message_queue_data, :off_heap)
    # So that what is not written yet is, when the node is stopped in order.
    Process.flag(:trap_exit, true)
    {:ok, %State{class: class, name: name, line: line, options: options, called_at: now()}, options.idle}
  end

  @impl true
  def handle_call({:call, call}, from, state) do
    Line.leave(state.line, byte_size(call.payload))
    {answer, state} = serve(call, state)
    state |> State.answer(from, answer) |> called() |> go_on()
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
    state = State.settled(state)

    with {:ok, state} <- Waking.known(state, false),
         {:ok, records} <- Store.records(),
         :ok <- Store.commit(records, state.class, state.name, {:delete, State.epoch(), state.seq}) do
      ended(state)
    else
      {:error, kind, message} when is_atom(kind) ->
        {:reply, {:error, Store.error(kind, message, state.class)}, State.forget(state), state.options.idle}

      {:error, error} ->
        {:reply, {:error, error}, State.forget(state), state.options.idle}

      {:error, error, state} ->
        {:reply, {:error, error}, state, state.options.idle}
    end
  end

  @impl true
  def handle_cast({:cast, call}, state) do
    Line.leave(state.line, byte_size(call.payload))
    {answer, state} = serve(call, state)
    state |> State.answer(nil, answer) |> called() |> go_on()
  end

  @impl true
  def handle_info({:tidepool_committed, id, outcome}, state), do: state |> State.committed(id, outcome) |> go_on()

  # What there was to write is gone.
  def handle_info(:flush, %{owned: nil} = state), do: go_on(%{state | flush: nil})

  def handle_info(:flush, state) do
    {_outcome, state} = State.write(%{state | flush: nil}, [])
    go_on(state)
  end

  def handle_info(:timeout, state) do
    case State.written(state) do
      {:ok, state} ->
        if Line.close(state.line, lingered?(state)),
          do: {:stop, asleep(state), state},
          else: {:noreply, %{state | lingers_since: state.lingers_since || now()}, state.options.idle}

      {:error, error, state} ->
        State.warn(state, "could not be written before it goes to sleep: #{error.message}")
        {:noreply, state, state.options.idle}
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
  defp go_on(%{seen: seen, pending: 0} = state) when seen > @collected_bytes,
    do: {:noreply, %{state | seen: 0}, {:continue, :collect}}

  defp go_on(state), do: {:noreply, state, left(state)}

  defp called(state), do: %{state | called_at: now(), lingers_since: nil}

  # Until it has not been called for its idle time: whoever looks at it, or what it has written, keeps it awake no longer.
  defp left(state), do: max(state.called_at + state.options.idle - now(), 0)

  # Whoever was killed on the way never comes.
  defp lingered?(%{lingers_since: nil}), do: false
  defp lingered?(%{lingers_since: since}), do: now() - since > @lingering_ms

  # Whoever has come meanwhile is served here, by what is written.
  defp ended(state) do
    if Line.close(state.line, false),
      do: {:stop, asleep(state), :ok, state},
      else: {:reply, :ok, State.forget(state), state.options.idle}
  end

  # Those who come from now on look for it anew.
  defp asleep(state) do
    Registry.unregister(Tidepool.Actor.Registry, {state.class, state.name})
    {:shutdown, :asleep}
  end

  # --- A call -------------------------------------------------------------------------------------

  # The answer, for whom it has to wait for the last write when `gated`.
  defp serve(call, state) do
    with :ok <- in_time(call, state), {:ok, state} <- Waking.loaded(state, call.create) do
      case answered(call, state) do
        :new -> run(call, state)
        {:again, reply} -> {{:gated, {:ok, reply}}, state}
        {:error, error} -> {{:now, {:error, error}}, state}
      end
    else
      {:error, error} -> {{:now, {:error, error}}, state}
      {:error, error, state} -> {{:now, {:error, error}}, state}
    end
  end

  defp in_time(%{deadline: :infinity}, _state), do: :ok

  defp in_time(%{deadline: deadline}, state) do
    if now() < deadline,
      do: :ok,
      else: {:error, Error.new(:timeout, "the call's time was over before its turn came", state.class)}
  end

  # The answer to a request that was answered before.
  defp answered(%{request_id: nil}, _state), do: :new

  defp answered(%{request_id: id}, state) do
    cond do
      reply = state.fresh[id] ->
        {:again, reply}

      id not in state.record.requests ->
        :new

      true ->
        with {:ok, records} <- Store.records(),
             {:ok, reply} when reply != nil <-
               Native.record_value(records, state.class, state.name, Record.key(id)) do
          {:again, reply}
        else
          {:ok, nil} ->
            {:error, Error.new(:no_store, "the answer to the request is not among the records", state.class)}

          {:error, kind, message} ->
            {:error, Store.error(kind, message, state.class)}

          {:error, error} ->
            {:error, error}
        end
    end
  end

  defp run(call, %{owned: owned} = state) do
    timeout = if call.deadline == :infinity, do: :infinity, else: max(call.deadline - now(), 0)
    Nesting.put_actors([{state.class, state.name} | call.actors])
    step = Native.call_owned(owned, call.operation, call.payload, call.depth, timeout)
    {outcome, state} = go_on(step, call, settled_before(step, state))
    Nesting.put_actors([])
    state = state |> State.saw(call.payload) |> State.saw(reply(outcome))
    state = %{state | calls: state.calls + 1, last_error: last_error(outcome, state)}

    cond do
      # What it was computed on was not written.
      state.owned == nil -> {{:now, outcome}, state}
      Native.owned_spent?(owned) -> {{:now, outcome}, State.forget(state)}
      match?({:ok, _reply}, outcome) -> keep(outcome, call.request_id, state)
      # The guest itself said that the call failed: what it changed before holds, and the same request may come again.
      match?({:error, %Error{reason: :guest_error}}, outcome) -> keep(outcome, nil, state)
      # It has not run.
      true -> {{:now, outcome}, state}
    end
  end

  # A call that takes longer, or asks its host, goes on when all before it is on disk: their answers don't wait for its end, and
  # nobody hears from it of what may be lost.
  defp settled_before(step, state) when elem(step, 0) in [:ok, :error], do: state
  defp settled_before(_step, state), do: State.settled(state)

  defp go_on(step, _call, %{owned: nil} = state) do
    Execution.call_off(step)
    {{:error, Error.new(:no_store, "what the call had begun on could not be written", state.class)}, state}
  end

  defp go_on(step, call, state) do
    origin = {call.depth, call.context, call.deadline != :infinity}
    {Execution.go_on(step, state.class, call.operation, origin), state}
  end

  defp reply({:ok, reply}), do: reply
  defp reply({:error, _error}), do: ""

  defp last_error({:ok, _reply}, state), do: state.last_error
  defp last_error({:error, error}, _state), do: %{reason: Error.reason(error), message: error.message, at: wall()}

  defp keep({_tag, reply} = outcome, request_id, state) do
    {record, values} = Record.answered(state.record, request_id, if(is_binary(reply), do: reply, else: ""))
    state = %{state | record: record}

    case {state.options.durability, values} do
      {:idle, []} ->
        {{:now, outcome}, later(state)}

      # An answer that is given once only is on disk before it is given.
      {_durability, values} ->
        case State.write(state, values) do
          {:ok, state} -> {{:gated, outcome}, fresh(state, request_id, reply)}
          {{:error, error}, state} -> {{:now, {:error, error}}, state}
        end
    end
  end

  defp fresh(state, nil, _reply), do: state

  defp fresh(state, request_id, reply) do
    %{state | fresh: state.fresh |> Map.put(request_id, reply) |> Map.take(state.record.requests)}
  end

  defp later(%{flush: nil} = state),
    do: %{state | flush: Process.send_after(self(), :flush, state.options.flush)}

  defp later(state), do: state

  defp info(state) do
    %{
      class: state.class,
      name: state.name,
      node: node(),
      awake: true,
      version: state.record.version,
      sha256: state.record.sha256,
      created_at: state.record.created_at,
      writes: state.seq,
      waiting: Line.waiting(state.line),
      calls: state.calls,
      last_error: state.last_error
    }
  end

  defp now, do: System.monotonic_time(:millisecond)
  defp wall, do: System.system_time(:millisecond)
end
