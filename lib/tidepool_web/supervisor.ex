defmodule TidepoolWeb.Supervisor do
  @moduledoc """
  The HTTP edge: the ring of events, figures of functions, the text of metrics, shares of streams and deploys, calls of models
  that may be cancelled, what was made of large interfaces, whoever looks at the certificate, dispatchers, which run each request in a process of its own, and the listener in front of them.

  The listener starts last and stops first: it drains before its dispatchers go. When a dispatcher dies the listener is
  restarted with it, because it holds the dispatchers' pids.
  """

  use Supervisor

  alias TidepoolWeb.{Dispatcher, EventRing, Figures, Listener, Renewal, Router}
  alias TidepoolWeb.Resource.{Files, Shares}
  alias TidepoolWeb.Resources.Metrics
  alias TidepoolWeb.Resources.Mcp.{Kept, Running}
  alias TidepoolWeb.Resources.OpenApi.Document

  @doc false
  def start_link(config), do: Supervisor.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(config) do
    endpoints = Router.endpoints()
    Document.publish(endpoints)
    Kept.new()
    Files.new()
    metrics = {Metrics.Text, &Metrics.read/0}
    listener = {Listener, {config, Dispatcher.names(), endpoints}}
    # Before the listener, so that no change of the files is missed between the two.
    Supervisor.init(
      [EventRing, Figures, metrics, Shares, Running, {Renewal, config} | Dispatcher.children()] ++ [listener],
      strategy: :one_for_all
    )
  end
end
