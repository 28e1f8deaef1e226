defmodule Tidepool.Application do
  @moduledoc false
  # Supervision tree, rest_for_one: later children use what earlier ones own.
  #
  #   Data.Temporary     where no data folder is set: one that is removed at the end
  #   Engine             the native runtime
  #   Trace.Exporter     spans on their way to a collector, where there are traces
  #   Telemetry          whether anybody listens to events
  #   Console            what guests print, to Logger
  #   Namespaces.Turns   whose turn it is to have what namespaces share
  #   Keyvalue           the store of keys and values, where it needs processes
  #   Host.Registry      who answers which host call
  #   Resource.Keeper    terms that guests have handles of
  #   Catalog.Arrivals   what is still to come from other nodes, and the calls that wait for it
  #   Events             who is told of what changes
  #   Catalog            what is deployed; loads it all before the next child starts
  #   Audit              what was changed, and by whom
  #   Data               looks once whose data lies beside a catalog that is empty
  #   Process.Runners    who drives processes that were woken
  #   Process.Programs   the programs that run, and their ends
  #   Tokens             who may do what beside the node's own token
  #   Oci.Places         how many modules are fetched from registries at once
  #   Cluster            other nodes: what crashes there stays there, and calls go on
  #   Actor.Supervisor   actors that are awake, and the records of all: a node owns none before it knows what others have deployed,
  #                      and hands its own on while it still has links
  #   Engine.Queues      for how long calls and modules have been waiting, and what there is so much of has been full
  #   TidepoolWeb        the HTTP edge, when it is wanted: last up, first down, so that traffic meets a whole node
  #
  # Calls have no place here: each runs in the process that makes it.

  use Application

  require Logger

  alias Tidepool.{Config, Error, Files, Host, Keyvalue, Log, Trace}
  alias Tidepool.Cluster.Certificates
  alias Tidepool.Data.Temporary

  @forgetful "Tidepool has no data folder, so what is deployed is gone when this node stops: set one with " <>
               "`config :tidepool, data: \"/path\"`, or say `data: :temporary` where that is meant"

  @impl true
  def start(_type, _args) do
    settings = :tidepool |> Application.get_all_env() |> Keyword.delete(:included_applications)

    with :ok <- Config.Variables.check_release(settings),
         {:ok, config} <- Config.Schema.check(settings),
         :ok <- Config.Names.check_own(config, to_string(node()), Config.Names.own_kind()),
         :ok <- Certificates.check_given(config),
         {:ok, config, temporary} <- with_data(config) do
      # Guests ask for what answers for their folders often.
      Config.put(%{
        config
        | files: Files.Setting.read(config.files),
          keyvalue: Keyvalue.Setting.read(config.keyvalue)
      })

      Trace.configure()
      # This process lives as long as the application.
      Log.Budget.new()
      Tidepool.Process.Programs.new()
      Tidepool.Process.UnderWay.new()
      Tidepool.Nodes.new()
      Tidepool.Process.NameServer.new()

      if settings[:cluster] == :auto and not config.cluster and Node.alive?() do
        Logger.info(
          "this node joins no cluster: TIDEPOOL_SEEDS, TIDEPOOL_DNS or TIDEPOOL_CLUSTER=true would have it do so"
        )
      end

      # What processes are started with is in reports and crash dumps: they are told whether there is a token, and of a
      # store's URL, which may have a password, where it is.
      config = %{
        config
        | token: config.token && :set,
          actors: hidden(config.actors),
          keyvalue: :set,
          otlp: config.otlp && :set
      }

      Supervisor.start_link(temporary ++ children(config), strategy: :rest_for_one, name: Tidepool.Supervisor)
    end
    |> explain()
  end

  defp hidden({:postgres, _url}), do: {:postgres, fn -> :actors |> Config.get() |> elem(1) end}
  defp hidden(actors), do: actors

  @impl true
  def prep_stop(state) do
    Config.stop()
    state
  end

  @impl true
  def stop(_state) do
    # Their processes belong to whoever has started them.
    Tidepool.Process.Programs.end_all()
    Tidepool.Telemetry.Listeners.clear()
    Trace.clear()
    Host.Registry.clear()
  end

  defp with_data(%{data: data} = config) when is_binary(data), do: {:ok, config, []}

  defp with_data(%{data: data} = config) do
    if data == nil, do: Logger.warning(@forgetful)
    with {:ok, folder} <- Temporary.make(), do: {:ok, %{config | data: folder}, [{Temporary, folder}]}
  end

  defp children(config) do
    cluster = if config.cluster, do: [{Tidepool.Cluster.Guard, config}], else: []
    edge = if config.server, do: [{TidepoolWeb.Supervisor, config}], else: []
    # What there is so much of, beside what the engine knows.
    of_edge = if config.server, do: [&TidepoolWeb.Listener.held/0], else: []
    held = [&Tidepool.Oci.Places.held/0, &Tidepool.Actor.Journal.held/0] ++ of_edge

    [
      {Tidepool.Engine, config},
      Trace.Exporter,
      Tidepool.Telemetry.Listeners,
      Tidepool.Engine.Console,
      Tidepool.Namespaces.Turns,
      Keyvalue.Supervisor,
      {Host.Registry, Host.Builtin.entries(config.builtins) ++ Keyvalue.Handler.entries()},
      Tidepool.Resource.Keeper,
      Tidepool.Catalog.Arrivals,
      Tidepool.Events,
      {Tidepool.Catalog, config},
      {Tidepool.Audit, Tidepool.Catalog.Store.folder(config.data)},
      {Tidepool.Data, config.data},
      Tidepool.Process.Runners,
      Tidepool.Process.Programs,
      {Tidepool.Tokens, Map.take(config, [:data, :cluster])},
      Tidepool.Oci.Places
    ] ++ cluster ++ [{Tidepool.Actor.Supervisor, config}, {Tidepool.Engine.Queues, held} | edge]
  end

  # Whoever starts the node reads a sentence. Where the VM is there for the node that is all there is to read; elsewhere its
  # owner gets the reason, and decides.
  defp explain({:error, reason} = error) do
    error? = find_error(reason)
    standalone? = Application.get_env(:tidepool, :standalone) == true

    cond do
      error? -> complain(error?.message)
      standalone? -> complain("Tidepool itself failed; the log has the reason")
      true -> :ok
    end

    if standalone? do
      unless error?, do: Logger.error("Tidepool can't start: " <> Exception.format_exit(reason))
      Logger.flush()
      System.halt(1)
    end

    error
  end

  defp explain(started), do: started

  defp complain(message), do: IO.puts(:stderr, "tidepool can't start: " <> String.replace(message, ~r/\s*\n\s*/, " "))

  defp find_error(%Error{} = error), do: error
  defp find_error(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> Enum.find_value(&find_error/1)
  defp find_error(_other), do: nil
end
