defmodule TidepoolWeb.Request do
  @moduledoc """
  One HTTP request, in a process of its own: a call, a deploy and health here, all else by its resource. A call that gets its
  reply within its first slice never comes here.
  """

  alias Tidepool.{Actor, Catalog, Cluster, Deploy, Engine, Execution, Native, Trace}
  alias Tidepool.Actor.{Journal, Voter}
  alias Tidepool.Engine.Queues
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.{Deploys, Form, Reply, Router, Stream}

  # Actors of a class.
  @counted 10_000

  @doc "Serves the next request of a queue and answers it; none when all clients have hung up."
  @spec run(Native.request_queue()) :: :ok
  def run(queue) do
    with {responder, route, step} <- Native.http_take(queue) do
      case serve(route, step) do
        :responded -> :ok
        {status, type, headers, body} -> Native.http_answer(responder, status, type, headers, body)
        {:stream, status, type, headers, fun} -> Stream.run(responder, status, type, headers, fun)
      end
    end

    :ok
  end

  # The edge has driven the call for its first slice, and it was not over with a reply then.
  defp serve({:begun, name, operation, trace}, step) do
    Trace.enter(trace)
    step |> Execution.take_over(name, operation) |> outcome(name)
  end

  defp serve(:health, nil) do
    if Cluster.joining?(), do: Reply.json(503, %{status: "joining", node: node()}), else: serve(:health)
  end

  defp serve(route, nil), do: serve(route)

  # Called straight, not through the façade: the name and payload are known to be binaries.
  defp serve({:call, name, operation, payload, trace}) do
    Trace.enter(trace)
    name |> Execution.call(operation, payload) |> outcome(name)
  end

  defp serve({:exchange, name, operation, exchange, trace}) do
    Trace.enter(trace)
    name |> Execution.call(operation, exchange) |> outcome(name)
  end

  # A body waits to be read; the status lets it in.
  defp serve({:admit, name}) do
    case Execution.admit(name) do
      :ok -> {100, :text, [], ""}
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve({:deploy, form, origin, trace}) do
    Trace.enter(trace)

    with {:ok, options} <- form |> Form.options() |> permitted(origin) |> admissible(origin),
         deploy = fn -> Deploy.run(form.wasm, options, origin) end,
         {:ok, function, change, spread} <- Deploys.within(options[:name], origin, deploy) do
      told = Reply.function(function) |> Map.merge(spread || %{}) |> Map.merge(actors(function))
      Reply.json(if(change == :created, do: 201, else: 200), told)
    else
      {:error, error} -> Reply.error(error)
    end
  end

  defp serve({:resource, resource, request}), do: Router.serve(resource, request)

  defp serve(:health) do
    instances = Engine.instances()

    # What needs no actors is served all the same; a balancer that has a node whose disk is well asks that.
    status =
      cond do
        Journal.stopped?() -> "store_stopped"
        Voter.catching_up?() -> "catching_up"
        true -> "ok"
      end

    body = %{
      status: status,
      node: node(),
      functions: Catalog.count(),
      functions_unavailable: length(Catalog.unavailable()),
      instances: instances,
      engines: Engine.engines(),
      compiles: Engine.compiles(),
      waiting: Queues.waiting(),
      shared: Queues.shared(),
      full: Queues.full()
    }

    Reply.json(if(status == "ok", do: 200, else: 503), body)
  end

  # What becomes of those that there are, and how many they are; more than these are not counted.
  defp actors(%{actor: nil}), do: %{}

  defp actors(%{name: name, actor: %{versions: versions}}) do
    case Actor.count(name, @counted) do
      {:ok, :more} -> %{actors: %{versions: versions, more_than: @counted}}
      {:ok, count} -> %{actors: %{versions: versions, count: count}}
      # The deploy stands.
      {:error, _error} -> %{}
    end
  end

  # The form has the name of what a token has to be for.
  defp permitted({:ok, options}, origin), do: with(:ok <- Access.permit(origin, options[:name]), do: {:ok, options})
  defp permitted(error, _origin), do: error

  defp admissible({:error, error}, origin), do: Deploy.refuse(error, origin)
  defp admissible(options, _origin), do: options

  # The guest has responded by itself.
  defp outcome({:ok, :responded}, _name), do: :responded

  defp outcome({:ok, reply}, name),
    do: if(Native.typed?(Engine.runtime(), name), do: Reply.encoded(reply), else: Reply.bytes(reply))

  defp outcome({:error, error}, _name), do: Reply.error(error)
end
