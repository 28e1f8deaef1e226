defmodule Tidepool.Execution do
  @moduledoc """
  The loop that drives one guest call, in the process that makes it.

  The guest runs for a slice at a time on the caller's scheduler; between slices the VM decides who is next, so a guest
  in an endless loop is a busy process and no more. Host calls are carried out here as well: no thread is held while a
  guest waits, and a guest may call the host which calls a guest, to any depth that the limits allow.

  A function that another node has deployed, and whose module is on its way here, is waited for within the call's time.

  At most one attempt is made per call. When the caller dies the guest is gone within a slice. Nothing of a call stays
  in the caller's mailbox, however it ends.

  Calls that a handler makes in this process count as nested in the guest's, inherit its caller's context and end with it:
  see `Tidepool.Host.Nesting`.
  """

  alias Tidepool.{Catalog, Engine, Error, Host, Log, Native, Telemetry, Trace}
  alias Tidepool.Catalog.Arrivals
  alias Tidepool.Error.Reason
  alias Tidepool.Host.{Nesting, Timer}

  # How deep a call is nested, its caller's context, and whether the caller gave it a time of its own: then handlers are
  # not to take longer either.
  @typep origin :: {depth :: pos_integer, context :: term, timed? :: boolean}

  @outside {1, nil, false}

  # Each call is made from this one: all of them have one table of keys then, and are quicker made.
  @host_call %Host.Call{binding: "", namespace: "", operation: "", payload: "", function: ""}

  @doc """
  The operation that calls an export of an interface of WIT.

      iex> Tidepool.Execution.operation("docs:adder/add@0.1.0", :add)
      "docs:adder/add@0.1.0#add"
  """
  @spec operation(interface :: String.t(), export :: String.t() | atom) :: String.t()
  # Written in one go: what is appended to is a binary that the VM has to settle when the library looks at it, a tenth of a call.
  def operation(interface, export), do: :erlang.iolist_to_binary([interface, ?#, to_string(export)])

  @doc "Calls a function without options; see `Tidepool.call/4`."
  @spec call(String.t(), String.t() | nil, Native.payload()) :: {:ok, term} | {:error, Error.t()}
  def call(name, operation, payload) do
    case Nesting.get() do
      nil -> name |> start(operation, payload, @outside, :infinity) |> logged(operation)
      _nested -> call(name, operation, payload, :infinity, :inherited)
    end
  end

  @doc "Calls a function; see `Tidepool.call/4`. Without a context that was given the one of the call around it holds."
  @spec call(String.t(), String.t() | nil, Native.payload(), timeout, :inherited | {:given, term}) ::
          {:ok, term} | {:error, Error.t()}
  def call(name, operation, payload, timeout, context \\ :inherited) do
    case Nesting.get() do
      nil ->
        start(name, operation, payload, {1, context(context, nil), timeout != :infinity}, timeout)

      {depth, deadline, outer} ->
        # An atom is greater than any number, so `:infinity` is the largest of times.
        left = min(timeout, max(deadline - now(), 0))
        start(name, operation, payload, {depth + 1, context(context, outer), timeout != :infinity}, left)
    end
    |> logged(operation)
  end

  @doc """
  Calls a function without options, from outside of all calls. What its guest prints last can be seen by others meanwhile, with
  `Tidepool.Native.last_line/1`.
  """
  @spec call_watched(String.t(), String.t() | nil, Native.payload(), Native.last_line()) ::
          {:ok, term} | {:error, Error.t()}
  def call_watched(name, operation, payload, last_line),
    do: name |> observed(operation, payload, @outside, :infinity, last_line) |> logged(operation)

  defp context(:inherited, outer), do: outer
  defp context({:given, context}, _outer), do: context

  defp start(name, operation, payload, {depth, _context, _timed?} = origin, timeout) do
    if Telemetry.listening?() do
      observed(name, operation, payload, origin, timeout, nil)
    else
      case Native.call(Engine.runtime(), name, operation, payload, depth, timeout) do
        # Most calls are over in their first slice.
        {:ok, _reply} = ok ->
          ok

        {:error, :not_deployed, _message, _details} ->
          with {:ok, left} <- await(name, timeout) do
            Engine.runtime() |> Native.call(name, operation, payload, depth, left) |> drive(name, origin)
          end

        step ->
          drive(step, name, origin)
      end
    end
  end

  # Another node may have deployed it, and the module be on its way here: the time that is left once it has come.
  defp await(name, timeout) do
    begun = now()

    case Arrivals.await(name, timeout) do
      :overloaded ->
        {:error, Arrivals.overloaded(name)}

      :timeout ->
        with {:error, %Error{reason: :not_deployed}} <- Catalog.not_callable(name) do
          {:error, Error.new(:not_ready, "deployed on another node, and its module has not arrived here yet", name)}
        end

      _over_or_unknown ->
        # It may have come between the call and the question.
        with {:ok, _function} <- Catalog.fetch(name) do
          {:ok, if(timeout == :infinity, do: :infinity, else: max(begun + timeout - now(), 0))}
        end
    end
  end

  # The same, with an account of the call.
  defp observed(name, operation, payload, {depth, _context, _timed?} = origin, timeout, last_line) do
    metadata = %{function: name, operation: operation, depth: depth}

    Telemetry.span(:call, %{payload_bytes: size(payload)}, metadata, fn metadata ->
      # What its guest's own requests are part of.
      trace = Trace.traceparent()
      if trace && is_reference(payload), do: Native.exchange_trace(payload, trace)
      call = &Native.call_observed(Engine.runtime(), name, operation, payload, depth, &1, last_line, trace)

      {result, used} =
        case call.(timeout) do
          {nil, {:error, :not_deployed, _message, _details}} ->
            with {:ok, left} <- await(name, timeout) do
              account(call.(left), name, origin)
            else
              refused -> {refused, used(nil)}
            end

          started ->
            account(started, name, origin)
        end

      if used.queue_time > 0, do: emit_queue(used.queue_time, result, metadata)
      {result, reply_bytes(used, result), %{}}
    end)
  end

  defp account({task, step}, name, origin) do
    result = drive(step, name, origin)
    {result, used(task)}
  end

  # A call that was refused at once has no task.
  defp used(nil), do: %{cpu_time: 0, queue_time: 0, peak_memory_bytes: 0}

  defp used(task) do
    {cpu_ns, queue_ns, peak_memory_bytes} = Native.usage(task)
    %{cpu_time: native(cpu_ns), queue_time: native(queue_ns), peak_memory_bytes: peak_memory_bytes}
  end

  defp native(nanoseconds), do: System.convert_time_unit(nanoseconds, :nanosecond, :native)

  defp emit_queue(duration, result, metadata) do
    Telemetry.emit([:tidepool, :queue, :stop], %{duration: duration}, Map.put(metadata, :admitted, admitted?(result)))
  end

  defp admitted?({:error, %Error{reason: reason}}), do: not Reason.is?(reason, :no_room)
  defp admitted?(_done), do: true

  defp reply_bytes(measurements, {:ok, reply}), do: Map.put(measurements, :reply_bytes, size(reply))
  defp reply_bytes(measurements, {:error, _error}), do: measurements

  @doc """
  Waits until a function that this node doesn't have yet can be called, as a call does: for the HTTP edge, which
  reads a call's body when it is known that it is wanted.
  """
  @spec admit(String.t()) :: :ok | {:error, Error.t()}
  def admit(name) do
    with {:error, _error} = refused <- await(name, :infinity) do
      if Telemetry.listening?(), do: tell(refused, name), else: refused
    else
      {:ok, _left} -> :ok
    end
  end

  # A call that was refused before its body came is a call.
  defp tell(refused, name) do
    metadata = %{function: name, operation: nil, depth: 1}
    Telemetry.span(:call, %{payload_bytes: 0}, metadata, fn _metadata -> {refused, used(nil), %{}} end)
  end

  @doc "Goes on with a call that the HTTP edge began and this process has taken."
  @spec take_over(Native.step(), String.t(), String.t() | nil) :: {:ok, term} | {:error, Error.t()}
  def take_over(step, name, operation), do: step |> drive(name, @outside) |> logged(operation)

  defp logged({:error, error} = failed, operation) do
    Log.failed(error, operation, &Catalog.fetch/1)
    failed
  end

  defp logged(ok, _operation), do: ok

  @doc """
  Goes on with a call of an instance that this process owns, nested in what its caller gives: how deep that is, and a context for
  handlers. `timed?` says whether the caller gave it a time of its own.
  """
  @spec go_on(Native.step(), String.t(), String.t() | nil, origin) :: {:ok, term} | {:error, Error.t()}
  def go_on(step, name, operation, {_depth, _context, _timed?} = origin),
    do: step |> drive(name, origin) |> logged(operation)

  @doc """
  The same, where the caller keeps something from one host call of the guest to the next: a handler that is registered for that
  (`Tidepool.Host.register_kept/2`) gets it and returns what is kept from then on. Guests that handlers call have no part in it.
  """
  @spec go_on(Native.step(), String.t(), String.t() | nil, origin, kept) :: {{:ok, term} | {:error, Error.t()}, kept}
        when kept: term
  def go_on(step, name, operation, {_depth, _context, _timed?} = origin, kept) do
    {outcome, kept} = drive(step, name, origin, kept)
    {logged(outcome, operation), kept}
  end

  @doc "Ends a call that is not over."
  @spec call_off(Native.step()) :: :ok
  def call_off({:wait, task, id, _remaining_us}), do: with(_failure <- cancel(task, id, :aborted), do: :ok)
  def call_off(step), do: with(_failure <- step |> elem(1) |> Native.cancel(:aborted), do: :ok)

  @doc """
  Sees whether there is room for a function's code, makes one instance of it and drops that again: start functions have to come through. Trials have a few instances and some memory
  of their own, so that calls which have all others keep no version from being deployed.
  """
  @spec trial(Native.function_ref(), String.t()) :: :ok | {:error, Error.t()}
  def trial(function, name) do
    case Native.code_fits(Engine.runtime(), function) do
      :ok -> tried(function, name)
      refused -> result(refused, name)
    end
  end

  defp tried(function, name),
    do: with({:ok, _empty} <- function |> Native.start_trial() |> drive(name, @outside), do: :ok)

  @doc """
  The same of a version whose trial was passed before, here or on another node, whatever its code takes: when other trials have all room there is now, that is
  no reason not to have it.
  """
  @spec trial_again(Native.function_ref(), String.t()) :: :ok | {:error, Error.t()}
  def trial_again(function, name) do
    with {:error, %Error{reason: reason}} = failed <- tried(function, name),
         do: if(Reason.is?(reason, :no_room), do: :ok, else: failed)
  end

  @spec drive(Native.step(), String.t(), origin) :: {:ok, term} | {:error, Error.t()}
  defp drive(step, name, origin), do: step |> drive(name, origin, nil) |> elem(0)

  defp drive(step, name, {depth, context, timed?}, kept) do
    case run(step) do
      {:host, _task, _request, remaining_us, _version} = asked ->
        nesting = {depth, now() + Timer.ceil_ms(remaining_us), context}
        # Set once for a call, however often its guest asks.
        outer = Nesting.put(nesting)

        try do
          {outcome, kept} = serve(asked, name, nesting, timed?, kept)
          {result(outcome, name), kept}
        after
          Nesting.put(outer)
        end

      outcome ->
        {result(outcome, name), kept}
    end
  end

  # On to the end of the call, or to where its guest asks the host.
  defp run({:yield, task}), do: task |> next_slice() |> run()
  defp run({:wait, task, id, remaining_us}), do: task |> wait(id, remaining_us) |> run()
  defp run(asked_or_over), do: asked_or_over

  # On to the end of a call whose guest has asked the host.
  defp serve({:host, task, request, remaining_us, version}, name, {depth, deadline, context} = nesting, timed?, kept) do
    {kind, binding, namespace, operation, payload} = request
    {payload, args} = if kind == :wapc, do: {payload, nil}, else: {"", payload}

    call = %{
      @host_call
      | binding: binding,
        namespace: namespace,
        operation: operation,
        payload: payload,
        args: args,
        function: name,
        version: version,
        depth: depth,
        deadline: deadline,
        context: context
    }

    case ask_host(call, remaining_us, timed?, kept) do
      # The guest is not told: on the clock that it is measured by, a moment may be left.
      {:timeout, kept} -> {task |> Native.cancel(:timeout) |> elem(0), kept}
      {reply, kept} when args == nil -> task |> Native.answer(reply) |> run() |> serve(name, nesting, timed?, kept)
      {reply, kept} -> task |> Native.answer_value(reply) |> run() |> serve(name, nesting, timed?, kept)
    end
  end

  defp serve(outcome, _name, _nesting, _timed?, kept), do: {outcome, kept}

  defp result({:ok, _reply} = ok, _name), do: ok
  defp result({:error, :not_deployed, _message, _details}, name), do: Catalog.not_callable(name)
  defp result({:error, reason, message, details}, name), do: {:error, Error.new(reason, message, name, details)}

  # The scheduler requeues a process that leaves a NIF *before* it fires expired timers. Yielding once more lets the processes
  # that those timers woke run first.
  defp next_slice(task) do
    :erlang.yield()
    Native.resume(task)
  end

  defp wait(task, id, remaining_us) do
    receive do
      {:tidepool_wake, ^id} -> Native.resume(task)
    after
      Timer.ms(remaining_us) -> cancel(task, id, :timeout)
    end
  end

  defp ask_host(call, remaining_us, timed?, kept) do
    if Telemetry.listening?() do
      metadata = Map.take(call, [:function, :binding, :namespace, :operation])

      Telemetry.span(:host_call, %{payload_bytes: size(call.args || call.payload)}, metadata, fn _metadata ->
        case Host.dispatch(%{call | traceparent: Trace.traceparent()}, remaining_us, timed?, kept) do
          {{result, bytes}, _kept} = answered -> {answered, %{reply_bytes: size(bytes)}, %{result: result}}
          {:timeout, _kept} = answered -> {answered, %{reply_bytes: 0}, %{result: :timeout}}
        end
      end)
    else
      Host.dispatch(call, remaining_us, timed?, kept)
    end
  end

  # Sent or not, no wake message is left behind.
  defp cancel(task, id, why) do
    {failure, sent?} = Native.cancel(task, why)

    if sent? do
      receive do
        {:tidepool_wake, ^id} -> :ok
      end
    end

    failure
  end

  # Values have no size of their own: it is what they would take between nodes.
  defp size(bytes) when is_binary(bytes), do: byte_size(bytes)
  defp size(value), do: :erlang.external_size(value)

  defp now, do: System.monotonic_time(:millisecond)
end
