defmodule TidepoolWeb.Dispatcher do
  @moduledoc """
  Gives every request that the edge does not answer by itself a process, and ends it when its client has hung up.

  There are a few dispatchers, so that none is a bottleneck; all messages of one request come to the same one. A request
  that crashes takes nobody along: its responder is dropped, and the edge tells the client.
  """

  use GenServer

  alias Tidepool.Native
  alias TidepoolWeb.Request

  @doc "The registered name of a dispatcher."
  @spec name(pos_integer) :: atom
  def name(index), do: Module.concat(__MODULE__, "N#{index}")

  @doc false
  def start_link(name), do: GenServer.start_link(__MODULE__, nil, name: name)

  @impl true
  def init(nil) do
    Process.flag(:trap_exit, true)
    Process.flag(:message_queue_data, :off_heap)
    {:ok, %{requests: %{}, ids: %{}}}
  end

  @impl true
  def handle_info({:tidepool_http, id, responder, route}, state) do
    pid = spawn_link(Request, :run, [responder, route])
    {:noreply, %{requests: Map.put(state.requests, id, {pid, responder}), ids: Map.put(state.ids, pid, id)}}
  end

  def handle_info({:tidepool_hangup, id}, state) do
    with {:ok, {pid, responder}} <- Map.fetch(state.requests, id) do
      Process.exit(pid, :kill)
      # Killed before it took its call over, the process leaves that behind.
      Native.http_abandon(responder)
    end

    {:noreply, state}
  end

  def handle_info({:EXIT, pid, reason}, state) do
    {id, ids} = Map.pop(state.ids, pid)
    {request, requests} = Map.pop(state.requests, id)
    with {_pid, responder} when reason != :normal <- request, do: Native.http_abandon(responder)
    {:noreply, %{requests: requests, ids: ids}}
  end

  def handle_info(_message, state), do: {:noreply, state}
end
