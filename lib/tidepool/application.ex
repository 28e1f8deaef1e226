defmodule Tidepool.Application do
  @moduledoc false
  # Supervision tree, rest_for_one: later children use what earlier ones own.
  #
  #   Engine             the native runtime
  #   Telemetry          whether anybody listens to events
  #   Console            what guests print, to Logger
  #   Host.Registry      who answers which host call
  #   Catalog            what is deployed; loads it all before the next child starts
  #   Cluster            other nodes: what crashes there stays there, and calls go on
  #   TidepoolWeb        the HTTP edge, when it is wanted: last up, first down, so that traffic meets a whole node
  #
  # Calls have no place here: each runs in the process that makes it.

  use Application

  alias Tidepool.{Config, Error}

  @impl true
  def start(_type, _args) do
    settings = :tidepool |> Application.get_all_env() |> Keyword.delete(:included_applications)

    with {:ok, config} <- Config.check(settings) do
      Config.put(config)
      Supervisor.start_link(children(config), strategy: :rest_for_one, name: Tidepool.Supervisor)
    end
    |> explain()
  end

  @impl true
  def stop(_state) do
    Tidepool.Telemetry.Listeners.clear()
    Tidepool.Host.Registry.clear()
  end

  defp children(config) do
    cluster = if config.cluster, do: [{Tidepool.Cluster.Guard, config}], else: []
    edge = if config.server, do: [{TidepoolWeb.Supervisor, config}], else: []

    [
      {Tidepool.Engine, config},
      Tidepool.Telemetry.Listeners,
      Tidepool.Console,
      {Tidepool.Host.Registry, config.builtins},
      {Tidepool.Catalog, config}
    ] ++ cluster ++ edge
  end

  # Whoever starts the node reads a sentence first, and the supervisor's report after it.
  defp explain({:error, reason} = error) do
    with %Error{message: message} <- find_error(reason) do
      IO.puts(:stderr, "tidepool can't start: #{message}")
    end

    error
  end

  defp explain(started), do: started

  defp find_error(%Error{} = error), do: error
  defp find_error(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> Enum.find_value(&find_error/1)
  defp find_error(_other), do: nil
end
