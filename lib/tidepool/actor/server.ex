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

  require Logger

  alias Tidepool.{Error, Execution, Native}
  alias Tidepool.Actor.{Line, Modules, Record, Store}
  alias Tidepool.Host.Nesting

  # This node's actors have no other owner.
  @epoch 1
  # Garbage is collected after so many bytes that are beside the heap.
  @collected_bytes 262_144

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

  defstruct [
    :class,
    :name,
    :line,
    :options,
    # The instance, and the version of the class that it was last known to be of.
    :owned,
    :deployed,
    # What is written, or about to be; `nil` as long as nothing is. `seq` is its number.
    :record,
    seq: 0,
    # The last write, and answers that wait for theirs: `{id, from, answer}`.
    last: 0,
    pending: 0,
    gate: :queue.new(),
    # Answers to requests with an id that are about to be written.
    fresh: %{},
    # Whether there is something that is not written yet, with the durability `:idle`.
    flush: nil,
    calls: 0,
    last_error: nil,
    # Bytes of payloads, replies and images since garbage was collected.
    seen: 0,
    # Whether nobody has come for an idle time, and yet somebody is in the line.
    lingered: false
  ]

  @doc "The epoch that this node's changes of records have."
  @spec epoch :: pos_integer
  def epoch, do: @epoch

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
    {:ok, %__MODULE__{class: class, name: name, line: line, options: options}, options.idle}
  end

  @impl true
  def handle_call({:call, call}, from, state) do
    Line.leave(state.line, byte_size(call.payload))
    {answer, state} = serve(call, %{state | lingered: false})
    state |> answer(from, answer) |> go_on()
  end

  def handle_call(:info, _from, state) do
    case loaded(state, false) do
      {:ok, state} -> {:reply, {:ok, info(state)}, state, state.options.idle}
      {:error, error, state} -> {:reply, {:error, error}, state, state.options.idle}
    end
  end

  def handle_call(:stop, _from, state) do
    case written(state) do
      {:ok, state} -> ended(state)
      {:error, error, state} -> {:reply, {:error, error}, state, state.options.idle}
    end
  end

  # Whoever waits has been answered by then.
  def handle_call(:delete, _from, state) do
    state = settled(state)

    with {:ok, state} <- known(state, false),
         {:ok, records} <- Store.records(),
         :ok <- Store.commit(records, state.class, state.name, {:delete, @epoch, state.seq}) do
      ended(state)
    else
      {:error, kind, message} when is_atom(kind) ->
        {:reply, {:error, Store.error(kind, message, state.class)}, forget(state), state.options.idle}

      {:error, error} ->
        {:reply, {:error, error}, forget(state), state.options.idle}

      {:error, error, state} ->
        {:reply, {:error, error}, state, state.options.idle}
    end
  end

  @impl true
  def handle_cast({:cast, call}, state) do
    Line.leave(state.line, byte_size(call.payload))
    {answer, state} = serve(call, %{state | lingered: false})
    state |> answer(nil, answer) |> go_on()
  end

  @impl true
  def handle_info({:tidepool_committed, id, outcome}, state), do: state |> committed(id, outcome) |> go_on()

  # What there was to write is gone.
  def handle_info(:flush, %{owned: nil} = state), do: go_on(%{state | flush: nil})

  def handle_info(:flush, state) do
    {_outcome, state} = write(%{state | flush: nil}, [])
    go_on(state)
  end

  def handle_info(:timeout, state) do
    case written(state) do
      {:ok, state} ->
        if Line.close(state.line, state.lingered),
          do: {:stop, asleep(state), state},
          else: {:noreply, %{state | lingered: true}, state.options.idle}

      {:error, error, state} ->
        warn(state, "could not be written before it goes to sleep: #{error.message}")
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
    with {:error, error, state} <- written(state), do: warn(state, "could not be written at its end: #{error.message}")
  end

  # A process that waits collects no garbage of its own accord, and an actor may wait for long.
  defp go_on(%{seen: seen, pending: 0} = state) when seen > @collected_bytes,
    do: {:noreply, %{state | seen: 0}, {:continue, :collect}}

  defp go_on(state), do: {:noreply, state, state.options.idle}

  defp saw(state, bytes), do: %{state | seen: state.seen + byte_size(bytes)}

  # Whoever has come meanwhile is served here, by what is written.
  defp ended(state) do
    if Line.close(state.line, false),
      do: {:stop, asleep(state), :ok, state},
      else: {:reply, :ok, forget(state), state.options.idle}
  end

  # Those who come from now on look for it anew.
  defp asleep(state) do
    Registry.unregister(Tidepool.Actor.Registry, {state.class, state.name})
    {:shutdown, :asleep}
  end

  # --- A call -------------------------------------------------------------------------------------

  # The answer, for whom it has to wait for the last write when `gated`.
  defp serve(call, state) do
    with :ok <- in_time(call, state), {:ok, state} <- loaded(state, call.create) do
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
    state = state |> saw(call.payload) |> saw(reply(outcome))
    state = %{state | calls: state.calls + 1, last_error: last_error(outcome, state)}

    cond do
      # What it was computed on was not written.
      state.owned == nil -> {{:now, outcome}, state}
      Native.owned_spent?(owned) -> {{:now, outcome}, forget(state)}
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
  defp settled_before(_step, state), do: settled(state)

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
        case write(state, values) do
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

  # --- Answers, in the order of their calls -------------------------------------------------------

  defp answer(state, nil, {_when, {:ok, _reply}}), do: state

  defp answer(state, nil, {_when, {:error, error}}) do
    warn(state, "failed in a call that nobody waits for: #{error.message}")
    state
  end

  defp answer(%{pending: 0} = state, from, {_when, answer}) do
    GenServer.reply(from, answer)
    state
  end

  # Those before it are first, even if it waits for nothing itself.
  defp answer(state, from, {:now, answer}), do: %{state | gate: :queue.in({:now, from, answer}, state.gate)}
  defp answer(state, from, {:gated, answer}), do: %{state | gate: :queue.in({state.last, from, answer}, state.gate)}

  # --- What is written ----------------------------------------------------------------------------

  # Has the image written, if it has changed, and values with it. The write's end comes as a message.
  defp write(state, values) do
    with {:ok, records} <- Store.records(),
         {:ok, image} <- image(state.owned) do
      if image == nil and values == [] and state.seq > 0 do
        {:ok, state}
      else
        seq = state.seq + 1
        put = {:put, @epoch, seq, nil, Record.write(state.record), image, values}
        id = Native.commit_record(records, state.class, state.name, put)
        {:ok, saw(%{state | seq: seq, last: id, pending: state.pending + 1}, image || "")}
      end
    else
      {:error, error} ->
        {{:error, error}, forget(state)}

      {:error, reason, message, details} ->
        {{:error, Error.new(reason, message, state.class, details)}, forget(state)}
    end
  end

  defp image(owned) do
    case Native.image(owned) do
      :large -> changed(Native.image_large(owned))
      image -> changed(image)
    end
  end

  defp changed(:unchanged), do: {:ok, nil}
  defp changed(image), do: image

  defp committed(state, id, :ok) do
    state = %{state | pending: state.pending - 1}
    fresh = if state.pending == 0, do: %{}, else: state.fresh
    open(%{state | fresh: fresh}, id)
  end

  # What was computed on it is not kept either: the writes after it are refused, for they don't follow what there is.
  defp committed(state, id, {:error, kind, message}) do
    error = Store.error(kind, message, state.class)
    warn(state, "was not written, and is as it was before: #{message}")
    # One that found no room is told of at once, when those before it may still be on their way.
    failed = fn
      {^id, from, _answer} -> [{:now, from, {:error, error}}]
      _other -> true
    end

    open(forget(%{state | pending: state.pending - 1, fresh: %{}, gate: :queue.filter(failed, state.gate)}), 0)
  end

  # Lets answers out that wait for the write with this number, or one before it, and those between it and the next.
  defp open(state, id) do
    case :queue.peek(state.gate) do
      {:value, {waits, from, answer}} when waits == :now or waits <= id ->
        GenServer.reply(from, answer)
        open(%{state | gate: :queue.drop(state.gate)}, id)

      _later_or_none ->
        state
    end
  end

  # Waits for all writes.
  defp settled(%{pending: 0} = state), do: state

  defp settled(state) do
    receive do
      {:tidepool_committed, id, outcome} -> state |> committed(id, outcome) |> settled()
    end
  end

  # Waits until all is written that there is.
  defp written(state) do
    if state.flush, do: Process.cancel_timer(state.flush)

    with {:dirty, true} <- {:dirty, state.flush != nil and state.owned != nil},
         {:ok, state} <- write(%{state | flush: nil}, []) do
      state = settled(state)
      # A write that failed has dropped the instance.
      if state.owned,
        do: {:ok, state},
        else: {:error, Error.new(:no_store, "the last write failed", state.class), state}
    else
      {:dirty, false} -> {:ok, settled(%{state | flush: nil})}
      {{:error, error}, state} -> {:error, error, state}
    end
  end

  # --- From the record to an instance -------------------------------------------------------------

  # What is in memory is not what is to go on.
  defp forget(state), do: %{state | owned: nil, record: nil}

  defp loaded(%{owned: nil} = state, create) do
    with {:ok, state} <- known(settled(state), create), do: {:ok, state}
  end

  defp loaded(state, create) do
    # The class may have been removed meanwhile, or be none any more. An instance has the limits that it was made with.
    with false <- Modules.deployed?(state.class, state.deployed),
         {:ok, _function} <- Modules.class(state.class),
         {:ok, state} <- written(state) do
      loaded(forget(state), create)
    else
      true -> {:ok, state}
      {:error, error} -> {:error, error, state}
      {:error, error, state} -> {:error, error, state}
    end
  end

  defp known(%{record: nil} = state, create) do
    with {:ok, records} <- Store.records(),
         {:ok, found} <- Native.read_record(records, state.class, state.name) do
      begin(found, create, state)
    else
      {:error, kind, message} -> {:error, Store.error(kind, message, state.class), state}
      {:error, error} -> {:error, error, state}
    end
  end

  defp known(state, _create), do: {:ok, state}

  defp begin(nil, false, state) do
    message = "no actor is called #{state.class}/#{state.name}"
    {:error, Error.new(:unknown_actor, message, state.class), state}
  end

  defp begin(nil, true, state) do
    with {:ok, {function, native}} <- Modules.newest(state.class) do
      record = %Record{sha256: function.sha256, version: function.version, created_at: wall()}
      own(%{state | record: record, seq: 0}, {function, native}, nil)
    else
      {:error, error} -> {:error, error, state}
    end
  end

  defp begin({_epoch, seq, _alarm_at, head, image}, _create, state) do
    with {:ok, record} <- Record.read(head),
         {:ok, loaded} <- Modules.of(state.class, record.sha256) do
      own(%{state | record: record, seq: seq}, loaded, image)
    else
      :error ->
        message = "a later version of Tidepool wrote the record of #{state.class}/#{state.name}: start that one"
        {:error, Error.new(:no_store, message, state.class), state}

      {:error, error} ->
        {:error, error, state}
    end
  end

  defp own(state, {function, native}, image) do
    case Native.own(native, image) do
      {:ok, owned} ->
        if state.options != function.actor, do: told(state, function.actor)
        {:ok, %{state | owned: owned, deployed: function.version, options: function.actor}}

      {:error, reason, message, details} ->
        {:error, Error.new(reason, message, state.class, details), forget(state)}
    end
  end

  # Those who call it look there how many may wait.
  defp told(%{class: class, name: name, line: line}, options),
    do: Registry.update_value(Tidepool.Actor.Registry, {class, name}, fn _before -> {line, options} end)

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

  defp warn(state, what) do
    Logger.warning("the actor #{state.class}/#{state.name} #{what}", tidepool_function: state.class)
  end

  defp now, do: System.monotonic_time(:millisecond)
  defp wall, do: System.system_time(:millisecond)
end
