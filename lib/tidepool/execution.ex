defmodule Tidepool.Execution do
  @moduledoc """
  The loop that drives one guest call, in the process that makes it.

  The guest runs for a slice at a time on the caller's scheduler; between slices the VM decides who is next, so a guest
  in an endless loop is a busy process and no more. Host calls are carried out here as well: no thread is held while a
  guest waits, and a guest may call the host which calls a guest, to any depth that the limits allow.

  A function that another node has deployed, and whose module is on its way here, is waited for within the call's time.

  At most one attempt is made per call. When the caller dies the guest is gone within a slice. Nothing of a call stays
  in the caller's mailbox, however it ends.

  From the guest's first host call to the end of the call, the process dictionary holds how deep the call is nested and
  until when it has time; calls that a handler makes in this process count as nested in it and end with it.
  """

  alias Tidepool.{Catalog, Engine, Error, Host, Native, Telemetry, Timer}
  alias Tidepool.Cluster.Loads

  @key __MODULE__

  @doc "Calls a function; see `Tidepool.call/4`."
  @spec call(String.t(), String.t() | nil, binary, timeout) :: {:ok, binary} | {:error, Error.t()}
  def call(name, operation, payload, timeout) do
    case Process.get(@key) do
      nil -> start(name, operation, payload, 1, timeout)
      # An atom is greater than any number, so `:infinity` is the largest of times.
      {depth, deadline} -> start(name, operation, payload, depth + 1, min(timeout, max(deadline - now(), 0)))
    end
  end

  defp start(name, operation, payload, depth, timeout) do
    if Telemetry.listening?() do
      observed(name, operation, payload, depth, timeout)
    else
      case Native.call(Engine.runtime(), name, operation, payload, depth, timeout) do
        {:error, :not_deployed, _message, _details} ->
          with {:ok, left} <- await(name, timeout) do
            Engine.runtime() |> Native.call(name, operation, payload, depth, left) |> drive(name, depth)
          end

        step ->
          drive(step, name, depth)
      end
    end
  end

  # Another node may have deployed it, and the module be on its way here: the time that is left once it has come.
  defp await(name, timeout) do
    begun = now()

    case Loads.await(name, timeout) do
      :overloaded ->
        {:error, Error.new(:overloaded, "too many calls wait for modules that are on their way here", name)}

      :timeout ->
        with {:error, %Error{reason: :not_deployed}} <- Catalog.not_callable(name) do
          {:error, Error.new(:not_ready, "deployed on another node, and its module has not arrived here yet", name)}
        end

      _settled_or_unknown ->
        # It may have come between the call and the question.
        with {:ok, _function} <- Catalog.fetch(name) do
          {:ok, if(timeout == :infinity, do: :infinity, else: max(begun + timeout - now(), 0))}
        end
    end
  end

  # The same, with an account of the call.
  defp observed(name, operation, payload, depth, timeout) do
    metadata = %{function: name, operation: operation, depth: depth}

    Telemetry.span(:call, %{payload_bytes: byte_size(payload)}, metadata, fn metadata ->
      {result, used} =
        case Native.call_observed(Engine.runtime(), name, operation, payload, depth, timeout) do
          {nil, {:error, :not_deployed, _message, _details}} ->
            with {:ok, left} <- await(name, timeout) do
              Engine.runtime() |> Native.call_observed(name, operation, payload, depth, left) |> account(name, depth)
            else
              refused -> {refused, used(nil)}
            end

          started ->
            account(started, name, depth)
        end

      if used.queue_time > 0, do: emit_queue(used.queue_time, result, metadata)
      {result, reply_bytes(used, result), %{}}
    end)
  end

  defp account({task, step}, name, depth) do
    result = drive(step, name, depth)
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
    admitted? = not match?({:error, %Error{reason: :overloaded}}, result)
    Telemetry.emit([:tidepool, :queue, :stop], %{duration: duration}, Map.put(metadata, :admitted, admitted?))
  end

  defp reply_bytes(measurements, {:ok, reply}), do: Map.put(measurements, :reply_bytes, byte_size(reply))
  defp reply_bytes(measurements, {:error, _error}), do: measurements

  @doc "Goes on with a call that the HTTP edge began and this process has taken."
  @spec take_over(Native.step(), String.t()) :: {:ok, binary} | {:error, Error.t()}
  def take_over(step, name), do: drive(step, name, 1)

  @doc "Drives a trial of a function: an instance is made and dropped."
  @spec trial(Native.function_ref(), String.t()) :: {:ok, binary} | {:error, Error.t()}
  def trial(function, name), do: function |> Native.start_trial() |> drive(name, 1)

  @spec drive(Native.step(), String.t(), pos_integer) :: {:ok, binary} | {:error, Error.t()}
  defp drive({:host, _task, _binding, _namespace, _operation, _payload, remaining_us} = step, name, depth) do
    # Set once for a call, however often its guest asks.
    outer = Process.put(@key, {depth, now() + Timer.ceil_ms(remaining_us)})

    try do
      advance(step, name)
    after
      if outer, do: Process.put(@key, outer), else: Process.delete(@key)
    end
    |> result(name)
  end

  defp drive({:yield, task}, name, depth), do: task |> next_slice() |> drive(name, depth)
  defp drive({:wait, task, id, remaining_us}, name, depth), do: task |> wait(id, remaining_us) |> drive(name, depth)
  defp drive(outcome, name, _depth), do: result(outcome, name)

  # On to the end of a call whose guest has asked the host.
  defp advance({:host, task, binding, namespace, operation, payload, remaining_us}, name) do
    call = %Host.Call{
      binding: binding,
      namespace: namespace,
      operation: operation,
      payload: payload,
      function: name
    }

    task |> Native.answer(ask_host(call, remaining_us)) |> advance(name)
  end

  defp advance({:yield, task}, name), do: task |> next_slice() |> advance(name)
  defp advance({:wait, task, id, remaining_us}, name), do: task |> wait(id, remaining_us) |> advance(name)
  defp advance(outcome, _name), do: outcome

  defp result({:ok, _reply} = ok, _name), do: ok
  defp result({:error, :not_deployed, _message, _details}, name), do: Catalog.not_callable(name)
  defp result({:error, reason, message, details}, name), do: {:error, Error.new(reason, message, name, details)}

  # The VM has put this process in line again before it looked for timers that have gone off: whoever was woken by one
  # comes after it, unless it goes to the end of the line once more.
  defp next_slice(task) do
    :erlang.yield()
    Native.resume(task)
  end

  defp wait(task, id, remaining_us) do
    receive do
      {:tidepool_wake, ^id} -> Native.resume(task)
    after
      Timer.ms(remaining_us) -> cancel(task, id)
    end
  end

  defp ask_host(call, remaining_us) do
    if Telemetry.listening?() do
      metadata = Map.take(call, [:function, :binding, :namespace, :operation])

      Telemetry.span(:host_call, %{payload_bytes: byte_size(call.payload)}, metadata, fn _metadata ->
        {result, bytes} = reply = Host.dispatch(call, remaining_us)
        {reply, %{reply_bytes: byte_size(bytes)}, %{result: result}}
      end)
    else
      Host.dispatch(call, remaining_us)
    end
  end

  # Sent or not, no wake message is left behind.
  defp cancel(task, id) do
    {failure, sent?} = Native.cancel(task, :timeout)

    if sent? do
      receive do
        {:tidepool_wake, ^id} -> :ok
      end
    end

    failure
  end

  defp now, do: System.monotonic_time(:millisecond)
end
