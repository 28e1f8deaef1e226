defmodule Tidepool.Host.Failure do
  @moduledoc """
  What is told of a handler that fails: guests get a fixed text with an id, and the log everything else under that id.

  What a handler failed with is the host's own: arguments, states and addresses have no place in a guest, nor in what its
  caller is answered. The log entry, of level error, has the reason and the stacktrace, and the metadata
  `:tidepool_failure` (the id), `:tidepool_function`, `:tidepool_version`, `:tidepool_binding`, `:tidepool_namespace`,
  `:tidepool_operation` and `:crash_reason`.

  A guest that calls a failing handler again and again fills no log: each function has some entries in some seconds (see
  `Tidepool.Log.Budget`). A failure beyond them is counted, as `:tidepool_left_out` in the next entry, and the guest is told
  the id of the one logged last.
  """

  require Logger

  alias Tidepool.Host.Call
  alias Tidepool.Log.Budget

  @doc "The guest's error for what a handler was ended by, which is logged."
  @spec ended(Call.t(), :error | :exit | :throw, term, Exception.stacktrace()) :: {:error, binary}
  def ended(call, kind, reason, stacktrace) do
    text = fn -> format(kind, reason, stacktrace) end
    log(call, text, {crash_reason(kind, reason, stacktrace), stacktrace})
  end

  @doc "The guest's error for an answer that is none, which is logged."
  @spec answered(Call.t(), term) :: {:error, binary}
  def answered(call, answer) do
    text = fn -> "it answered #{inspect(answer)} instead of {:ok, bytes} or {:error, bytes}" end
    log(call, text, {{:bad_return_value, answer}, []})
  end

  @doc "The guest's error for a process that is not there to answer, which is logged."
  @spec missing(Call.t(), GenServer.name()) :: {:error, binary}
  def missing(call, name), do: log(call, fn -> "#{inspect(name)} is not running" end, {:noproc, []})

  # `text` makes the text when there is to be an entry: terms may be large.
  defp log(call, text, crash_reason) do
    told = Budget.under_id({:handler, call.function}, &log(call, text, crash_reason, &1, &2))
    {:error, "the host's handler failed (#{told})"}
  end

  defp log(call, text, crash_reason, id, left_out) do
    # The guest has chosen these names, with a handler for any of them: what is inspected is one line.
    target = inspect("#{call.binding}/#{call.namespace}/#{call.operation}")
    who = "#{call.function} (version #{call.version})"
    before = if left_out > 0, do: " (#{left_out} more before this were not logged)", else: ""

    Logger.error(
      "the host's handler of #{target}, which #{who} called, failed (id #{id}): #{text.()}#{before}",
      tidepool_failure: id,
      tidepool_function: call.function,
      tidepool_version: call.version,
      tidepool_binding: call.binding,
      tidepool_namespace: call.namespace,
      tidepool_operation: call.operation,
      tidepool_left_out: left_out,
      crash_reason: crash_reason
    )
  end

  # An exception's own `message/1` is the host's code, and may fail in ways of its own.
  defp format(kind, reason, stacktrace) do
    Exception.format(kind, reason, stacktrace)
  catch
    _kind, _reason ->
      "#{kind} #{inspect(reason, structs: false)}, which can't be told\n" <> Exception.format_stacktrace(stacktrace)
  end

  defp crash_reason(:error, reason, stacktrace), do: Exception.normalize(:error, reason, stacktrace)
  defp crash_reason(:throw, value, _stacktrace), do: {:nocatch, value}
  defp crash_reason(:exit, reason, _stacktrace), do: reason
end
