defmodule Tidepool.Telemetry.Handlers do
  @moduledoc """
  Handlers of events in an application without `:telemetry`, with as much of its interface as is needed here.

  They are a persistent term, which `Tidepool.Telemetry.Listeners` alone writes; events are executed where they happen.
  """

  require Logger

  alias Tidepool.Telemetry

  @doc "Adds a handler."
  @spec attach_many(term, [Telemetry.event()], Telemetry.handler(), term) :: :ok | {:error, :already_exists}
  def attach_many(id, events, handler, config) do
    if Enum.any?(all(), &(&1.id == id)) do
      {:error, :already_exists}
    else
      put(all() ++ for(event <- Enum.uniq(events), do: %{id: id, event_name: event, function: handler, config: config}))
    end
  end

  @doc "Removes a handler."
  @spec detach(term) :: :ok | {:error, :not_found}
  def detach(id) do
    case Enum.split_with(all(), &(&1.id == id)) do
      {[], _others} -> {:error, :not_found}
      {_found, others} -> put(others)
    end
  end

  @doc "The handlers of events that begin with `prefix`."
  @spec list_handlers([atom]) :: [map]
  def list_handlers(prefix), do: Enum.filter(all(), &List.starts_with?(&1.event_name, prefix))

  @doc "Calls the handlers of an event. Those that fail are to be detached by the caller."
  @spec execute(Telemetry.event(), map, map) :: :ok | {:failed, ids :: [term, ...]}
  def execute(event, measurements, metadata) do
    case for(%{event_name: ^event} = handler <- all(), not well?(handler, measurements, metadata), do: handler.id) do
      [] -> :ok
      failed -> {:failed, failed}
    end
  end

  defp well?(handler, measurements, metadata) do
    handler.function.(handler.event_name, measurements, metadata, handler.config)
    true
  catch
    kind, reason ->
      Logger.error(
        "the telemetry handler #{inspect(handler.id)} failed and is detached: " <>
          Exception.format(kind, reason, __STACKTRACE__)
      )

      false
  end

  @doc false
  # For the application's end.
  @spec clear :: :ok
  def clear do
    :persistent_term.erase(__MODULE__)
    :ok
  end

  defp all, do: :persistent_term.get(__MODULE__, [])
  defp put(handlers), do: :persistent_term.put(__MODULE__, handlers)
end
