defmodule TidepoolWeb.Resources.Events do
  @moduledoc """
  What happens on this node and around it, as server-sent events: what changes (`TidepoolWeb.EventStream`), or the topics that the query
  names (`TidepoolWeb.Topics.Stream`).
  """

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Error, Options}
  alias Tidepool.Engine.Recent
  alias Tidepool.Function.Fields
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.{EventStream, Reply, Topics}
  alias TidepoolWeb.Resource.Shares

  @clients 64
  @ping_ms 10_000
  @parameters ["topics", "last"]

  @impl true
  def routes,
    do: [{"GET", "/events", scope: :read, selects: true, query: true, headers: ["last-event-id"], places: @clients}]

  @impl true
  def serve("GET", ["events"], request), do: answer(request, @ping_ms)

  @doc "The answer to a request, with a comment each `ping_ms`."
  @spec answer(TidepoolWeb.Resource.request(), pos_integer) :: TidepoolWeb.Resource.answer()
  def answer(%{headers: headers, query: query, origin: origin}, ping_ms) do
    last_id = with {_name, id} <- List.keyfind(headers, "last-event-id", 0), do: id
    sees? = &Access.sees?(origin, &1)

    case with({:ok, topics, last} <- asked(query), :ok <- place(origin), do: {:ok, topics, last}) do
      {:ok, nil, _last} ->
        EventStream.answer(
          &EventStream.run(&1, last_id, ping_ms, %{sees?: sees?, permit: fn -> Topics.permit([], origin) end})
        )

      {:ok, topics, last} ->
        permit = fn -> Topics.permit(topics, origin) end
        options = %{last_id: last_id, last: last, ping_ms: ping_ms, permit: permit, sees?: sees?}

        with :ok <- permit.(),
             do: EventStream.answer(&Topics.Stream.run(&1, topics, options)),
             else: ({:error, reply} -> reply)

      {:error, error} ->
        Reply.error(error)
    end
  end

  defp place(origin), do: Shares.place(:events, origin, @clients, "streams")

  defp asked(query) do
    case Enum.map(query, &elem(&1, 0)) -- @parameters do
      [] -> asked(Map.new(query), query)
      [name | _others] when name in @parameters -> twice(name)
      [name | _others] -> Fields.unknown("parameter", name, @parameters)
    end
  end

  defp asked(%{"topics" => topics} = query, _all) do
    most = Recent.most(:lines)

    with {:ok, topics} <- Topics.read(topics),
         {:ok, last} <- Options.read(Map.get(query, "last", "0"), {:integer, 0, most}) do
      {:ok, topics, last}
    else
      :error -> {:error, Error.new(:invalid_option, "the parameter `last` has to be a number from 0 to #{most}")}
      {:error, error} -> {:error, error}
    end
  end

  defp asked(_none, []), do: {:ok, nil, 0}

  defp asked(_none, _last),
    do: {:error, Error.new(:invalid_option, "the parameter `last` is for streams with `topics`")}

  defp twice(name),
    do: {:error, Error.new(:duplicate_field, "give the parameter `#{name}` once", nil, %{field: name})}
end
