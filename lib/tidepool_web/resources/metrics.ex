defmodule TidepoolWeb.Resources.Metrics do
  @moduledoc "Figures for Prometheus, as OpenMetrics text."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Actor, Catalog, Cluster, Engine, Error, Native, Trace}
  alias Tidepool.Engine.Queues
  alias TidepoolWeb.{Listener, Reply}
  alias TidepoolWeb.Resources.Metrics.Text

  @text "application/openmetrics-text; version=1.0.0; charset=utf-8"

  @impl true
  def routes, do: [{"GET", "/metrics", scope: :read, observes: true, query: :ignored}]

  @impl true
  def serve("GET", ["metrics"], _request) do
    case Text.fetch() do
      {:ok, text} -> {200, @text, [], text}
      :error -> Reply.error(Error.new(:internal, "the metrics could not be read"))
    end
  end

  @doc "All metrics of this moment."
  @spec read :: String.t()
  def read do
    functions = Catalog.versions()
    {recorded, unrecorded} = Native.recording_counts(Engine.runtime())

    gauges = [
      {"tidepool_functions", "Deployed functions", length(functions)},
      {"tidepool_functions_unavailable", "Functions that are deployed, and whose modules could not be loaded here",
       length(Catalog.unavailable())},
      {"tidepool_actors_awake", "Actors that are awake", Actor.awake()},
      {"tidepool_actors_store_stopped", "1 while no record of an actor is written here, for the disk has failed, or 0",
       if(Actor.Journal.stopped?(), do: 1, else: 0)},
      {"tidepool_recordings_kept", "Calls that were recorded since the node started", recorded},
      {"tidepool_recordings_dropped", "Calls that were to be recorded and could not be, since the node started",
       unrecorded},
      {"beam_memory_bytes", "Memory that the Erlang VM has allocated, guests not included", :erlang.memory(:total)},
      {"beam_processes", "Erlang processes", :erlang.system_info(:process_count)},
      {"beam_run_queue", "Erlang processes that are ready to run", :erlang.statistics(:total_run_queue_lengths)}
    ]

    by_label = [
      {"tidepool_function_version", "Version that is deployed", "function",
       for({name, version, _at} <- functions, do: {name, version})},
      {"tidepool_function_deployed_timestamp_seconds", "When it was deployed, since 1970", "function",
       for({name, _version, at} <- functions, do: {name, at})},
      {"tidepool_waiting_seconds", "For how long the queue has not been empty, or 0", "queue",
       for({queue, seconds} <- Queues.seconds(:waiting), do: {to_string(queue), seconds})},
      {"tidepool_full_seconds", "For how long nearly all of the resource has been taken, or 0", "resource",
       Map.to_list(Queues.seconds(:full))}
    ]

    edge = for {name, value} <- Listener.stats(), do: {"tidepool_http_#{name}", "HTTP edge: #{name}", value}

    Native.metrics(Engine.runtime(), gauges ++ edge ++ Trace.metrics() ++ Cluster.metrics(), by_label)
  end
end
