defmodule Tidepool.Host.Failure do
  @moduledoc """
  What is told of a handler that fails: guests get a fixed text with an id, and the log everything else under that id.

  What a handler failed with is the host's own: arguments, states and addresses have no place in a guest, nor in what its
  caller is answered. The log entry, of level error, has the reason and the stacktrace, and the metadata
  `:tidepool_failure` (the id), `:tidepool_function`, `:tidepool_version`, `:tidepool_binding`, `:tidepool_namespace`,
  `:tidepool_operation` and `:crash_reason`.
  """

  require Logger

  alias Tidepool.Host.Call

  @doc "The guest's error for what a handler was ended by, which is logged."
  @spec ended(Call.t(), :error | :exit | :throw, term, Exception.stacktrace()) :: {:error, binary}
  def ended(call, kind, reason, stacktrace) do
    log(call, Exception.format(kind, reason, stacktrace), {crash_reason(kind, reason, stacktrace), stacktrace})
  end

  @doc "The guest's error for an answer that is none, which is logged."
  @spec answered(Call.t(), term) :: {:error, binary}
  def answered(call, answer) do
    text = "it answered #{inspect(answer)} instead of {:ok, bytes} or {:error, bytes}"
    log(call, text, {{:bad_return_value, answer}, []})
  end

  @doc "The guest's error for a process that is not there to answer, which is logged."
  @spec missing(Call.t(), GenServer.name()) :: {:error, binary}
  def missing(call, name), do: log(call, "#{inspect(name)} is not running", {:noproc, []})

  defp log(call, text, crash_reason) do
    id = Base.encode16(:crypto.strong_rand_bytes(8), case: :lower)
    # The guest has chosen these names, with a handler for any of them: what is inspected is one line.
    target = inspect("#{call.binding}/#{call.namespace}/#{call.operation}")

    Logger.error(
      "the host's handler of #{target}, which #{call.function} (version #{call.version}) called, failed (id #{id}): #{text}",
      tidepool_failure: id,
      tidepool_function: call.function,
      tidepool_version: call.version,
      tidepool_binding: call.binding,
      tidepool_namespace: call.namespace,
      tidepool_operation: call.operation,
      crash_reason: crash_reason
    )

    {:error, "the host's handler failed (id #{id})"}
  end

  defp crash_reason(:error, reason, stacktrace), do: Exception.normalize(:error, reason, stacktrace)
  defp crash_reason(:throw, value, _stacktrace), do: {:nocatch, value}
  defp crash_reason(:exit, reason, _stacktrace), do: reason
end
