defmodule TidepoolWeb.Request do
  @moduledoc """
  One HTTP request, in a process of its own. Routes are decided by the edge; what they mean is here. A call that gets
  its reply within its first slice never comes here.
  """

  require Logger

  alias Tidepool.{Catalog, Cluster, Deploy, Engine, Error, Execution, Native}
  alias TidepoolWeb.{Form, Listener, Reply}

  @doc "Serves the next request of a lane and answers it; none when all clients have hung up."
  @spec run(Native.lane()) :: :ok
  def run(lane) do
    with {responder, route, step} <- Native.http_take(lane) do
      {status, type, headers, body} = serve(route, step)
      Native.http_answer(responder, status, type, headers, body)
    end

    :ok
  end

  # The edge has driven the call for its first slice, and it was not over with a reply then.
  defp serve({:begun, name, operation}, step), do: step |> Execution.take_over(name, operation) |> outcome()

  defp serve(:health, nil) do
    if Cluster.joining?(), do: Reply.json(503, %{status: "joining", node: node()}), else: serve(:health)
  end

  defp serve(route, nil), do: serve(route)

  # Called straight, not through the façade: the name and payload are known to be binaries.
  defp serve({:call, name, operation, payload}) do
    name |> Execution.call(operation, payload, :infinity) |> outcome()
  end

  # A body waits to be read; the status lets it in.
  defp serve({:admit, name}) do
    case Execution.admit(name) do
      :ok -> {100, :text, [], ""}
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve({:deploy, form, origin}) do
    with {:ok, options} <- form |> Form.options() |> admissible(origin),
         {:ok, function, change, spread} <- Deploy.run(form.wasm, options, origin) do
      Reply.json(if(change == :created, do: 201, else: 200), Map.merge(Reply.function(function), spread || %{}))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve(:list), do: Reply.json(200, %{functions: Enum.map(Catalog.list(), &Reply.brief/1)})

  defp serve({:show, name}) do
    case Catalog.fetch(name) do
      {:ok, function} -> Reply.json(200, Reply.function(function))
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve({:wasm, name}) do
    case Catalog.wasm(name) do
      {:ok, function, wasm} -> Reply.wasm(function, wasm)
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve({:remove, name, origin}) do
    case Catalog.remove(name, origin) do
      :ok -> Reply.json(200, %{removed: name})
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve({:forget, node}) do
    case Cluster.forget(node) do
      :ok -> Reply.json(200, %{forgotten: node})
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve(:cluster), do: Reply.json(200, Cluster.status())

  defp serve(:health) do
    instances = Engine.instances()

    body = %{
      status: "ok",
      node: node(),
      functions: Catalog.count(),
      instances: instances,
      engines: Engine.engines()
    }

    Reply.json(200, body)
  end

  defp serve(:metrics) do
    functions = Catalog.versions()

    gauges = [
      {"tidepool_functions", "Deployed functions", length(functions)},
      {"beam_memory_bytes", "Memory that the Erlang VM has allocated, guests not included", :erlang.memory(:total)},
      {"beam_processes", "Erlang processes", :erlang.system_info(:process_count)},
      {"beam_run_queue", "Erlang processes that are ready to run", :erlang.statistics(:total_run_queue_lengths)}
    ]

    by_function = [
      {"tidepool_function_version", "Version that is deployed",
       for({name, version, _at} <- functions, do: {name, version})},
      {"tidepool_function_deployed_timestamp_seconds", "When it was deployed, since 1970",
       for({name, _version, at} <- functions, do: {name, at})}
    ]

    edge = for {name, value} <- Listener.stats(), do: {"tidepool_http_#{name}", "HTTP edge: #{name}", value}
    {200, :openmetrics, [], Native.metrics(Engine.runtime(), gauges ++ edge ++ Cluster.metrics(), by_function)}
  rescue
    exception ->
      Logger.error("the metrics could not be read: " <> Exception.format(:error, exception, __STACKTRACE__))
      Reply.error(Error.new(:internal, "the metrics could not be read"))
  end

  defp admissible({:error, error}, origin), do: Deploy.refuse(error, origin)
  defp admissible(options, _origin), do: options

  defp outcome({:ok, reply}), do: Reply.bytes(reply)
  defp outcome({:error, error}), do: Reply.error(error)
end
