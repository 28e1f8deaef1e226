defmodule Tidepool.TestEdge do
  @moduledoc """
  An edge of the test's own, on a port of its own, with whatever resources the test has. It stops with the test.
  """

  alias Tidepool.{Engine, FaultNative, Native}
  alias TidepoolWeb.{Dispatcher, Router}

  @doc "Starts it: its server and its port. `settings` are those of the native edge that are to be other than usual."
  def start!(resources, settings \\ %{}) do
    child = %{id: make_ref(), start: {GenServer, :start_link, [Dispatcher, :normal]}}
    dispatcher = ExUnit.Callbacks.start_supervised!(child)

    roomy = %{max_connections: 1_000, max_requests: 1_000, endpoints: Router.endpoints(resources)}
    settings = FaultNative.edge() |> Map.merge(roomy) |> Map.merge(settings)
    {:ok, server, port} = Native.http_start(Engine.runtime(), settings, [dispatcher])
    # It lives as long as its term.
    Process.put({__MODULE__, port}, server)
    {server, port}
  end

  @doc "Stops it in order, within `limit` ms: how many requests finished, and how many were cut."
  def drain(server, limit) do
    :ok = Native.http_drain(server, limit)
    receive(do: ({:tidepool_drained, finished, cut} -> {finished, cut}))
  end
end
