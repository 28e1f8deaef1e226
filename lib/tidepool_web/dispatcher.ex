defmodule TidepoolWeb.Dispatcher do
  @moduledoc """
  Gives every request that the edge does not answer by itself a process, and ends it when its client has hung up.

  There are a few dispatchers, so that none is a bottleneck. They know nothing of their requests: each process
  takes one from the edge, which then knows whom to name when the client hangs up. A request that crashes takes nobody
  along: its responder goes with it, and the edge tells the client.
  """

  use GenServer

  alias Tidepool.{Log, Native}
  alias TidepoolWeb.Request

  @doc "The registered name of a dispatcher."
  @spec name(pos_integer) :: atom
  def name(index), do: Module.concat(__MODULE__, "N#{index}")

  @doc false
  def start_link(name), do: GenServer.start_link(__MODULE__, nil, name: name)

  @impl true
  def init(nil) do
    Process.flag(:message_queue_data, :off_heap)
    {:ok, nil}
  end

  @impl true
  def handle_info({:tidepool_http, queue}, nil) do
    start(Native.http_unannounced(queue), queue)
    {:noreply, nil}
  end

  def handle_info({:tidepool_hangup, pid}, nil) do
    Process.exit(pid, :kill)
    {:noreply, nil}
  end

  def handle_info({:tidepool_refused, request, reason, peer, left_out}, nil) do
    Log.refused_at_edge(request, reason, peer, left_out)
    {:noreply, nil}
  end

  def handle_info(_message, nil), do: {:noreply, nil}

  defp start(0, _queue), do: :ok

  defp start(count, queue) do
    spawn(Request, :run, [queue])
    start(count - 1, queue)
  end
end
