defmodule TidepoolWeb.Resources.Events do
  @moduledoc "What changes on this node and around it, as server-sent events: see `TidepoolWeb.EventStream`."

  @behaviour TidepoolWeb.Resource

  alias TidepoolWeb.EventStream

  @clients 64
  @ping_ms 10_000

  @impl true
  def routes, do: [{"GET", "/events", scope: :read, headers: ["last-event-id"], places: @clients}]

  @impl true
  def serve("GET", ["events"], request), do: answer(request, @ping_ms)

  @doc "The answer to a request, with a comment each `ping_ms`."
  @spec answer(TidepoolWeb.Resource.request(), pos_integer) :: TidepoolWeb.Resource.answer()
  def answer(%{headers: headers}, ping_ms) do
    last = with {_name, id} <- List.keyfind(headers, "last-event-id", 0), do: id
    # Proxies that would rather have it whole are told not to.
    headers = [{"cache-control", "no-store"}, {"x-accel-buffering", "no"}]
    {:stream, 200, "text/event-stream", headers, &EventStream.run(&1, last, ping_ms)}
  end
end
