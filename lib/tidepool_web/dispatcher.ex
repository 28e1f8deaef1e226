defmodule TidepoolWeb.Dispatcher do
  @moduledoc """
  Gives every request that the edge does not answer by itself a process, and ends it when its client has hung up.

  There are a few dispatchers, so that none is a bottleneck. They know nothing of their requests: each process
  takes one from the edge, which then knows whom to name when the client hangs up. A request that crashes takes nobody
  along: its responder goes with it, and the edge tells the client.

  One of them has the requests for the node's health, and no others. It and their processes run before guests that wait for their
  turn: who watches a node that is busy is answered. Of all requests that would hold up what they ask for.
  """

  use GenServer

  alias Tidepool.{Log, Native}
  alias TidepoolWeb.Request

  @doc "The registered names of all dispatchers, as `Tidepool.Native.http_start/3` has them: first that of requests for the health."
  @spec names :: [atom, ...]
  def names, do: [Module.concat(__MODULE__, "Health") | Enum.map(1..System.schedulers_online(), &name/1)]

  @doc "The registered name of a dispatcher of all other requests."
  @spec name(pos_integer) :: atom
  def name(index), do: Module.concat(__MODULE__, "N#{index}")

  @doc "The dispatchers, to be supervised."
  @spec children :: [Supervisor.child_spec()]
  def children do
    [health | others] = names()
    for {name, priority} <- [{health, :high} | Enum.map(others, &{&1, :normal})], do: child(name, priority)
  end

  defp child(name, priority),
    do: %{id: name, start: {GenServer, :start_link, [__MODULE__, priority, [name: name]]}}

  @impl true
  def init(priority) do
    Process.flag(:message_queue_data, :off_heap)
    Process.flag(:priority, priority)
    {:ok, priority}
  end

  @impl true
  def handle_info({:tidepool_http, queue}, priority) do
    start(Native.http_unannounced(queue), queue, priority)
    {:noreply, priority}
  end

  def handle_info({:tidepool_hangup, pid}, priority) do
    Process.exit(pid, :kill)
    {:noreply, priority}
  end

  def handle_info({:tidepool_refused, request, reason, peer, left_out}, priority) do
    Log.refused_at_edge(request, reason, peer, left_out)
    {:noreply, priority}
  end

  def handle_info(_message, priority), do: {:noreply, priority}

  defp start(0, _queue, _priority), do: :ok

  defp start(count, queue, priority) do
    Process.spawn(Request, :run, [queue], priority: priority)
    start(count - 1, queue, priority)
  end
end
