defmodule TidepoolWeb.Resources.Actors do
  @moduledoc "Actors of this node: called, looked at, put to sleep, deleted, and listed by class."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Actor, Error, Log}
  alias Tidepool.Function.Fields
  alias TidepoolWeb.Reply

  # The largest payload that a function takes unless its deploy says otherwise.
  @max_body 8_388_608
  @listed 1_000

  @impl true
  def routes do
    [
      {"GET", "/actors/:class", scope: :read, query: true},
      {"GET", "/actors/:class/:name", scope: :read},
      {"DELETE", "/actors/:class/:name", scope: :deploy},
      {"POST", "/actors/:class/:name/:operation",
       scope: :call, body: {:whole, @max_body}, headers: ["idempotency-key"], query: true}
    ]
  end

  @impl true
  def serve("GET", ["actors", class], %{query: query}) do
    with {:ok, %{"from" => from}} <- parameters(query, %{"from" => nil}),
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
    with :ok <- Actor.delete(class, name) do
      Log.changed(:actor_deleted, "#{class}/#{name}", origin)
      Reply.json(200, %{deleted: %{class: class, name: name}})
    else
      {:error, error} -> Reply.error(error)
    end
  end

  def serve("POST", ["actors", class, name, operation], %{body: body, headers: headers, query: query}) do
    with {:ok, %{"create" => create}} <- parameters(query, %{"create" => "true"}),
         {:ok, create} <- boolean(create),
         {:ok, id} <- request_id(headers),
         {:ok, reply} <- Actor.call(class, name, operation, body, create: create, request_id: id) do
      Reply.bytes(reply)
    else
      {:error, error} -> Reply.error(error)
    end
  end

  # Who misspells what is wanted should not get something else.
  defp parameters(query, known) do
    names = Enum.map(query, &elem(&1, 0))

    case {Enum.reject(names, &is_map_key(known, &1)), names -- Map.keys(known)} do
      {[parameter | _others], _twice} -> Fields.unknown("parameter", parameter, Map.keys(known))
      {[], [parameter | _others]} -> twice(parameter)
      {[], []} -> {:ok, Map.merge(known, Map.new(query))}
    end
  end

  defp twice(parameter),
    do: {:error, Error.new(:duplicate_field, "give the parameter `#{parameter}` once", nil, %{field: parameter})}

  defp boolean("true"), do: {:ok, true}
  defp boolean("false"), do: {:ok, false}
  defp boolean(_other), do: wrong("the parameter `create` has to be `true` or `false`")

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
