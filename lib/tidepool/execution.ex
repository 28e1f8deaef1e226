defmodule Tidepool.Execution do
  @moduledoc """
  The loop that drives one guest call, in the process that makes it.

  The guest runs for a slice at a time on the caller's scheduler; between slices the VM decides who is next, so a guest
  in an endless loop is a busy process and no more. Host calls are carried out here as well: no thread is held while a
  guest waits, and a guest may call the host which calls a guest, to any depth that the limits allow.

  At most one attempt is made per call. When the caller dies the guest is gone within a slice. Nothing of a call stays
  in the caller's mailbox, however it ends.

  While a handler runs in this process, the process dictionary holds how deep the call is nested and until when it has
  time; calls that the handler makes count as nested in it and end with it.
  """

  alias Tidepool.{Catalog, Error, Host, Native}

  @key __MODULE__

  @doc "Calls a function; see `Tidepool.call/4`."
  @spec call(String.t(), String.t() | nil, binary, timeout) :: {:ok, binary} | {:error, Error.t()}
  def call(name, operation, payload, timeout) do
    with {:ok, {function, default_operation, time_ms}} <- Catalog.callable(name) do
      now = now()
      {depth, outer_deadline} = Process.get(@key, {0, :infinity})
      # An atom is greater than any number, so `:infinity` is the largest of times.
      time_ms = min(time_ms, timeout)
      deadline = min(now + time_ms, outer_deadline)
      context = {name, depth + 1, deadline}

      function
      |> Native.start(operation || default_operation, payload, depth + 1, max(deadline - now, 0))
      |> drive(context)
    end
  end

  @doc "Drives a trial of a function: an instance is made and dropped."
  @spec trial(Native.function_ref(), String.t(), pos_integer) :: {:ok, binary} | {:error, Error.t()}
  def trial(function, name, time_ms), do: function |> Native.start_trial() |> drive({name, 1, now() + time_ms})

  @spec drive(Native.step(), {String.t(), pos_integer, integer}) :: {:ok, binary} | {:error, Error.t()}
  defp drive({:ok, reply}, _context), do: {:ok, reply}

  defp drive({:error, reason, message, details}, {name, _depth, _deadline}) do
    {:error, Error.new(reason, message, name, details)}
  end

  defp drive({:yield, task}, context), do: task |> Native.resume() |> drive(context)

  defp drive({:host, task, binding, namespace, operation, payload}, {name, depth, deadline} = context) do
    call = %Host.Call{
      binding: binding,
      namespace: namespace,
      operation: operation,
      payload: payload,
      function: name
    }

    task |> Native.answer(Host.dispatch(call, deadline, &nested(&1, depth, deadline))) |> drive(context)
  end

  defp drive({:wait, task, id}, {_name, _depth, deadline} = context) do
    receive do
      {:tidepool_wake, ^id} -> task |> Native.resume() |> drive(context)
    after
      max(deadline - now(), 0) -> task |> cancel(id) |> drive(context)
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

  defp nested(fun, depth, deadline) do
    outer = Process.put(@key, {depth, deadline})

    try do
      fun.()
    after
      if outer, do: Process.put(@key, outer), else: Process.delete(@key)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
