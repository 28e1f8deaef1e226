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

  alias Tidepool.{Catalog, Engine, Error, Host, Native}

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
    Engine.runtime() |> Native.call(name, operation, payload, depth, timeout) |> drive(name, depth)
  end

  @doc "Drives a trial of a function: an instance is made and dropped."
  @spec trial(Native.function_ref(), String.t()) :: {:ok, binary} | {:error, Error.t()}
  def trial(function, name), do: function |> Native.start_trial() |> drive(name, 1)

  @spec drive(Native.step(), String.t(), pos_integer) :: {:ok, binary} | {:error, Error.t()}
  defp drive({:ok, _reply} = ok, _name, _depth), do: ok

  defp drive({:error, :not_deployed, _message, _details}, name, _depth), do: Catalog.not_callable(name)

  defp drive({:error, reason, message, details}, name, _depth) do
    {:error, Error.new(reason, message, name, details)}
  end

  defp drive({:yield, task}, name, depth), do: task |> Native.resume() |> drive(name, depth)

  defp drive({:host, task, binding, namespace, operation, payload, remaining_ms}, name, depth) do
    call = %Host.Call{
      binding: binding,
      namespace: namespace,
      operation: operation,
      payload: payload,
      function: name
    }

    reply = Host.dispatch(call, remaining_ms, &nested(&1, depth, now() + remaining_ms))
    task |> Native.answer(reply) |> drive(name, depth)
  end

  defp drive({:wait, task, id, remaining_ms}, name, depth) do
    receive do
      {:tidepool_wake, ^id} -> task |> Native.resume() |> drive(name, depth)
    after
      remaining_ms -> task |> cancel(id) |> drive(name, depth)
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
