defmodule Tidepool.Actor.Activation.Invocation do
  @moduledoc """
  One call of an actor, from its changes to its answer: the instance that it needs, the guest's run, and the write of what that has
  changed.
  """

  alias Tidepool.{Error, Execution, Native, Trace}
  alias Tidepool.Actor.{Activation, Alarm, Journal}
  alias Tidepool.Actor.Activation.Guest.Changes
  alias Tidepool.Actor.Activation.{Activity, Guest, OutputGate, State, Versions}
  alias Tidepool.Actor.Journal.Record
  alias Tidepool.Actor.Ownership.Lease
  alias Tidepool.Error.Reason
  alias Tidepool.Host.Nesting

  @typedoc """
  A call: `deadline` in ms of the VM's monotonic time, or `:infinity`; `actors` are those that wait for it, and `alarm` is what has made
  it, if no caller did.
  """
  @type call :: %{
          # Nodes of before know none.
          optional(:traceparent) => String.t() | nil,
          operation: String.t(),
          payload: binary,
          deadline: integer | :infinity,
          depth: pos_integer,
          context: term,
          actors: [Nesting.actor()],
          request_id: String.t() | nil,
          create: boolean,
          alarm: Alarm.t() | nil
        }

  @doc "The outcome of a call, for whom that has to wait for the last write when `gated`."
  @spec serve(call, State.t()) :: {State.answer(), State.t()}
  def serve(call, state) do
    # Whether it runs or not.
    state = State.saw(%{state | until: call.deadline}, call.payload)
    {answer, state} = served(call, state)
    {answer, %{state | until: :infinity}}
  end

  defp served(call, state) do
    with {:ok, state} <- in_time(call, State.room(state)), {:ok, state} <- ready(call.create, state) do
      case answered(call, state) do
        :new -> run(call, state)
        {:again, reply} -> {{:gated, {:ok, reply}}, state |> State.saw(reply) |> State.rested()}
        {:error, error} -> refused(error, state)
      end
    end
  end

  # The actor with an instance that may serve. Nothing is begun that another node may be doing by now.
  defp ready(create, %{title: {_epoch, lease}, class: class} = state) do
    if Lease.lasts?(lease) do
      with {:error, error, state} <- Versions.loaded(state, create), do: refused(error, state)
    else
      refused(Error.new(:no_store, "this node's lease of actors has run out: nothing was done", class), state)
    end
  end

  defp refused(error, state), do: {{:now, {:error, error}}, state}

  @doc "Makes an actor that there has not been."
  @spec start(create :: boolean, State.t()) :: {State.answer(), State.t()}
  def start(create, state) do
    with {:ok, state} <- ready(create, state) do
      case made(state) do
        {:ok, state} -> {{:gated, {:ok, ""}}, state}
        {{:error, error}, state} -> refused(error, state)
      end
    end
  end

  defp made(%{seq: 0} = state), do: State.write(state, [])
  defp made(state), do: {:ok, state}

  @doc "Calls what the alarm says that is due then; nothing, when that is another by now. An error says that this is not over."
  @spec ring(due :: integer, State.t()) :: {State.answer(), State.t()}
  def ring(due, state) do
    with {:ok, state} <- ready(false, state) do
      case state.record do
        %{alarm: %{due: ^due} = alarm} -> alarm |> rung() |> run(state) |> recorded()
        _another -> {{:now, {:ok, ""}}, State.rested(state)}
      end
    end
  end

  # What waits for a write says what it came to there.
  defp recorded({{:gated, _outcome}, state}), do: {{:gated, {:ok, ""}}, state}
  defp recorded(not_written), do: not_written

  defp rung(alarm) do
    %{
      operation: alarm.operation,
      payload: "#{alarm.at}",
      deadline: :infinity,
      depth: 1,
      context: nil,
      actors: [],
      request_id: nil,
      create: false,
      alarm: alarm
    }
  end

  defp in_time(%{deadline: :infinity}, state), do: {:ok, state}

  defp in_time(%{deadline: deadline}, state) do
    if now() < deadline,
      do: {:ok, state},
      else: refused(Error.new(:timeout, "the call's time was over before its changes came", state.class), state)
  end

  # The answer to a request that was answered before.
  defp answered(%{request_id: nil}, _state), do: :new

  defp answered(%{request_id: id}, %{class: class, name: name} = state) do
    cond do
      fresh = state.fresh[id] ->
        {:again, elem(fresh, 0)}

      id not in state.record.requests ->
        :new

      true ->
        with {:ok, records} <- Journal.records(),
             read = fn -> Native.record_value(records, class, name, Record.key(id)) end,
             {:ok, reply} when reply != nil <- Journal.reading(class, state.until, read) do
          {:again, reply}
        else
          {:ok, nil} ->
            {:error, Error.new(:no_store, "the answer to the request is not among the records", state.class)}

          {:error, error} ->
            {:error, error}
        end
    end
  end

  defp run(call, %{owned: :bucket} = state), do: Guest.Bucket.run(call.payload, state)

  defp run(call, %{owned: owned} = state) do
    timeout = if call.deadline == :infinity, do: :infinity, else: max(call.deadline - now(), 0)
    Nesting.put_actors([{state.class, state.name} | call.actors])

    {outcome, changes, state} =
      traced(call, state, fn ->
        step = Native.call_owned(owned, call.operation, call.payload, call.depth, timeout)
        go_on(step, call, await_writes_before(step, state))
      end)

    Nesting.put_actors([])
    activity = state.activity |> Activity.ran() |> Activity.saw(byte_size(reply(outcome)))
    state = seen(%{state | activity: activity, last_error: last_error(outcome, state)}, changes)

    cond do
      # What it was computed on was not written.
      state.owned == nil ->
        {{:now, outcome}, state}

      Native.owned_spent?(owned) ->
        failed(outcome, call.alarm, State.forget(state))

      match?({:ok, _reply}, outcome) ->
        keep(outcome, call, changes, state)

      # The guest itself said that the call failed: what it changed before holds, and the same request may come again.
      match?({:error, %Error{reason: :guest_error}}, outcome) ->
        keep(outcome, %{call | request_id: nil}, changes, state)

      # It has not run, for want of an instance it may be: its image is read again for the next call, and no one's memory until then.
      Native.owned_imaged?(owned) ->
        failed(outcome, call.alarm, State.forget(state))

      # It has not run.
      true ->
        failed(outcome, call.alarm, state)
    end
  end

  # Its caller may be on another node.
  defp traced(call, state, fun) do
    Trace.within(call[:traceparent], fn ->
      metadata = %{function: state.class, actor: state.name, operation: call.operation, depth: call.depth}
      span = Trace.begin(:call, metadata)
      {outcome, _turn, _state} = ended = fun.()
      Trace.finish(span, %{payload_bytes: byte_size(call.payload)}, Trace.ended(outcome))
      ended
    end)
  end

  # An alarm that was called is to be called again. When that can't be written the old one stays, and so it is.
  defp failed(outcome, nil, state), do: {{:now, outcome}, state}

  # Nothing was tried. Who has rung waits.
  defp failed({:error, error} = outcome, alarm, state) do
    if Reason.retry(error.reason) in [:soon, :later],
      do: {{:now, outcome}, state},
      else: postponed(outcome, alarm, state)
  end

  defp postponed(outcome, alarm, state) do
    with {:ok, state} <- Activation.known(State.await_writes(state), false),
         state = %{state | record: %{state.record | alarm: again(alarm, outcome, state)}},
         {:ok, state} <- State.write(state, []) do
      {{:gated, outcome}, state}
    else
      {:error, _error, state} -> {{:now, outcome}, state}
      {{:error, _error}, state} -> {{:now, outcome}, state}
    end
  end

  defp again(alarm, {:error, error}, state) do
    alarm = Alarm.failed(alarm, Alarm.now())
    if alarm.due == nil, do: State.warn(state, "failed in its alarm, which is not tried again: #{error.message}")
    alarm
  end

  # A call that takes longer, or asks its host, goes on when all before it is on disk: their answers don't wait for its end, and
  # no host function hears from it of what may be lost.
  defp await_writes_before(step, state), do: if(over?(step), do: state, else: State.await_writes(state))

  # With what the guest has done to its values; `nil` when it has asked for nothing.
  defp go_on(step, _call, %{owned: nil} = state) do
    Execution.call_off(step)
    {{:error, Error.new(:no_store, "what the call had begun on could not be written", state.class)}, nil, state}
  end

  defp go_on(step, call, state) do
    origin = {call.depth, call.context, call.deadline != :infinity}
    # Most calls are over, and have changed nothing beside their memory.
    changes = unless over?(step), do: Changes.new(state, call.alarm)
    {outcome, changes} = Execution.go_on(step, state.class, call.operation, origin, changes)
    {outcome, changes, state}
  end

  defp over?(step), do: elem(step, 0) in [:ok, :error]

  defp seen(state, nil), do: state

  defp seen(state, changes),
    do: %{
      state
      | activity: Activity.saw(state.activity, changes.seen_bytes),
        known: Changes.known(changes, state.known, false)
    }

  defp reply({:ok, reply}), do: reply
  defp reply({:error, _error}), do: ""

  defp last_error({:ok, _reply}, state), do: state.last_error
  defp last_error({:error, error}, _state), do: Record.error(error)

  defp keep({_tag, reply} = outcome, %{request_id: id} = call, changes, state) do
    {record, answers} = Record.answered(state.record, id, if(is_binary(reply), do: reply, else: ""))
    {record, values} = Changes.kept(changes, record)
    state = %{state | known: Changes.known(changes, state.known, true)}
    values = answers ++ values
    alarm = alarm(outcome, call.alarm, changes, state)

    # An answer that is given once only is on disk before it is given; and values and alarms are what is on disk.
    if state.options.durability == :idle and values == [] and alarm == state.record.alarm do
      {{:now, outcome}, later(%{state | record: record})}
    else
      case State.write(%{state | record: %{record | alarm: alarm}}, values) do
        {:ok, state} -> {{:gated, outcome}, fresh(state, id, reply)}
        {{:error, error}, state} -> {{:now, {:error, error}}, state}
      end
    end
  end

  # What the guest has set holds. The one that has made the call is over, or called again.
  defp alarm(_outcome, _rung, %Changes{alarm: {:set, alarm}}, _state), do: alarm
  defp alarm(_outcome, nil, _turn, state), do: state.record.alarm
  defp alarm({:ok, _reply}, _rung, _turn, _state), do: nil
  defp alarm(outcome, rung, _turn, state), do: again(rung, outcome, state)

  defp fresh(state, nil, _reply), do: state

  defp fresh(state, request_id, reply),
    do: %{state | fresh: Map.put(state.fresh, request_id, {reply, OutputGate.last(state.gate)})}

  defp later(%{flush: nil} = state),
    do: %{state | flush: Process.send_after(self(), :flush, state.options.flush)}

  defp later(state), do: state

  defp now, do: System.monotonic_time(:millisecond)
end
