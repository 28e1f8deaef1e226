defmodule TidepoolWeb.Resources.Actors do
  @moduledoc "Actors of this node: called, looked at, put to sleep, deleted, and listed by class."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Actor, Error, Log, Trace}
  alias Tidepool.Log.Change
  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resource.Parameters

  @listed 1_000
  # Who deletes actors has the records read meanwhile, or waits for a call of the actor.
  @places 64

  @impl true
  def routes do
    [
      {"GET", "/actors/:class", scope: :read, query: true},
      {"GET", "/actors/:class/:name", scope: :read},
      {"DELETE", "/actors/:class/:name", scope: :deploy, places: @places},
      {"POST", "/actors/:class/:name/:operation",
       scope: :call, body: :payload, headers: ["idempotency-key", "traceparent"], query: true}
    ]
  end

  @impl true
  def serve("GET", ["actors", class], %{query: query}) do
    with {:ok, %{"from" => from}} <- Parameters.read(query, [{"from", {:text, nil}}]),
         {:ok, actors, next} <- Actor.list(class, from, @listed) do
      Reply.json(200, %{actors: actors, next: next})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("GET", ["actors", class, name], _request) do
    case Actor.info(class, name) do
      {:ok, info} -> Reply.json(200, info)
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("DELETE", ["actors", class, name], %{origin: origin}) do
    deleted =
      Change.make(fn ->
        with :ok <- Actor.delete(class, name), do: Log.changed(:actor_deleted, "#{class} #{name}", origin)
      end)

    case deleted do
      :ok -> Reply.json(200, %{deleted: %{class: class, name: name}})
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("POST", ["actors", class, name, operation], %{body: body, headers: headers, query: query}) do
    with {:ok, %{"create" => create}} <- Parameters.read(query, [{"create", {:boolean, true}}]),
         {:ok, id} <- request_id(headers),
         options = [create: create, request_id: id],
         {:ok, reply} <- traced(headers, fn -> Actor.call(class, name, operation, body, options) end) do
      Reply.bytes(reply)
    else
      {:error, error} -> Reply.error(error)
    end
  end

  defp traced(headers, fun) do
    case List.keyfind(headers, "traceparent", 0) do
      {_header, traceparent} -> Trace.within(traceparent, fun)
      nil -> fun.()
    end
  end

  defp request_id(headers) do
    case List.keyfind(headers, "idempotency-key", 0) do
      nil ->
        {:ok, nil}

      {_header, id} ->
        if Actor.request_id?(id),
          do: {:ok, id},
          else: wrong("the header `idempotency-key` has to be 1 to 128 bytes of text")
    end
  end

  defp wrong(message), do: {:error, Error.new(:invalid_option, message)}
end
