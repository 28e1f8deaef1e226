defmodule Tidepool.Actor.Supervisor do
  @moduledoc false
  # rest_for_one: with the records end those who write them.
  #
  #   Voter               keeps records with other nodes', and Questions answers those; where nodes keep them together
  #   Journal             the store of records
  #   Journal.Quota       what namespaces have of them
  #   Journal.Frozen      actors that sleep in memory: what is here is what the store has
  #   Modules             the modules that actors run
  #   Registry            actors that are awake, by class and name
  #   PartitionSupervisor of DynamicSupervisors: their processes
  #   Alarms              what wakes them
  #   DispatchServer      answers other nodes about those that are here; only where nodes share a store, as all below
  #   LeaseHolder         which shards are this node's: it hands them on at the end, while what is above is there
  #   Meetings            looks for nodes that share another store
  #   Waiters             drops what is left of those that were killed while they waited for a shard
  #   Directory, Outside  tell nodes that have no lease where shards are, and ask that; where nodes keep records together

  use Supervisor

  alias Tidepool.Actor.Activation.{DispatchServer, ReadCache, WaitingBytes}
  alias Tidepool.Actor.Ownership.{Directory, LeaseHolder, Meetings, Outside, Waiters}

  @registry Tidepool.Actor.Registry
  @servers Tidepool.Actor.Servers

  @doc false
  def start_link(config), do: Supervisor.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(config) do
    Tidepool.Actor.Activation.Guest.register(config.builtins)
    Waiters.new()
    WaitingBytes.new()
    ReadCache.new()
    Directory.new()

    children =
      voter(config) ++
        [
          {Tidepool.Actor.Journal, config},
          {Tidepool.Actor.Journal.Quota, config.namespaces},
          Tidepool.Actor.Journal.Frozen,
          Tidepool.Actor.Activation.Modules,
          {Registry, keys: :unique, name: @registry, partitions: System.schedulers_online()},
          {PartitionSupervisor, child_spec: DynamicSupervisor, name: @servers},
          Tidepool.Actor.Activation.Alarms
          | owners(config)
        ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  defp voter(%{actors: {:replicated, named}, data: data}),
    do: [{Tidepool.Actor.Voter, {named, data}}, {Tidepool.Nodes.Server, {Tidepool.Actor.Voter.Questions, nil}}]

  defp voter(_config), do: []

  defp owners(%{actors: actors}) do
    if actors != :local and Node.alive?(),
      do: [DispatchServer, LeaseHolder, Meetings, Waiters | outside(actors)],
      else: []
  end

  defp outside({:replicated, _named}), do: [{Tidepool.Nodes.Server, {Directory, nil}}, Outside]
  defp outside(_database), do: []
end
