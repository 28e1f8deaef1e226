defmodule TidepoolWeb.Request do
  @moduledoc """
  One HTTP request, in a process of its own. Routes are decided by the edge; what they mean is here.
  """

  alias Tidepool.{Catalog, Deploy, Engine, Error, Execution, Native}
  alias TidepoolWeb.{Form, Listener, Reply}

  @doc "Serves a request and answers it."
  @spec run(Native.responder(), term) :: :ok
  def run(responder, route) do
    {status, type, headers, body} = serve(route)
    Native.http_answer(responder, status, type, headers, body)
  end

  # Called straight, not through the façade: the name and payload are known to be binaries.
  defp serve({:call, name, operation, payload}) do
    case Execution.call(name, operation, payload, :infinity) do
      {:ok, reply} -> Reply.bytes(reply)
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve({:deploy, form}) do
    with {:ok, options} <- Form.options(form),
         {:ok, function, change} <- Deploy.run(form.wasm, options) do
      Reply.json(if(change == :created, do: 201, else: 200), Reply.function(function))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve(:list), do: Reply.json(200, %{functions: Enum.map(Catalog.list(), &Reply.function/1)})

  defp serve({:show, name}) do
    case Catalog.fetch(name) do
      {:ok, function} -> Reply.json(200, Reply.function(function))
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve({:remove, name}) do
    case Catalog.remove(name) do
      :ok -> Reply.json(200, %{removed: name})
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve(:health) do
    instances = Engine.instances()
    body = %{status: "ok", node: node(), functions: length(Catalog.list()), instances: instances}
    Reply.json(200, body)
  end

  defp serve(:metrics) do
    gauges = [
      {"tidepool_functions", "Deployed functions", length(Catalog.list())},
      {"beam_memory_bytes", "Memory that the Erlang VM has allocated, guests not included", :erlang.memory(:total)},
      {"beam_processes", "Erlang processes", :erlang.system_info(:process_count)},
      {"beam_run_queue", "Erlang processes that are ready to run", :erlang.statistics(:total_run_queue_lengths)}
    ]

    edge = for {name, value} <- Listener.stats(), do: {"tidepool_http_#{name}", "HTTP edge: #{name}", value}
    {200, :openmetrics, [], Native.metrics(Engine.runtime(), gauges ++ edge)}
  rescue
    exception -> Reply.error(Error.new(:internal, Exception.message(exception)))
  end
end
