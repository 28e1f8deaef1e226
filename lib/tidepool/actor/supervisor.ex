defmodule Tidepool.Actor.Supervisor do
  @moduledoc false
  # rest_for_one: with the records end those who write them.
  #
  #   Store              the file of records
  #   Quota              what namespaces have of them
  #   Frozen             actors that sleep in memory: what is here is what the store has
  #   Modules            the modules that actors run
  #   Registry           actors that are awake, by class and name
  #   PartitionSupervisor of DynamicSupervisors: their processes
  #   Alarms             what wakes them
  #   Owner.Door         answers other nodes about those that are here; only where nodes share a store, as
  #   Owner              which shards are this node's: last up, first down, so that it hands them on while all else is there

  use Supervisor

  @registry Tidepool.Actor.Registry
  @servers Tidepool.Actor.Servers

  @doc false
  def start_link(config), do: Supervisor.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(config) do
    Tidepool.Actor.Guest.register(config.builtins)

    children = [
      {Tidepool.Actor.Store, config},
      {Tidepool.Actor.Quota, config.namespaces},
      Tidepool.Actor.Store.Frozen,
      Tidepool.Actor.Modules,
      {Registry, keys: :unique, name: @registry, partitions: System.schedulers_online()},
      {PartitionSupervisor, child_spec: DynamicSupervisor, name: @servers},
      Tidepool.Actor.Alarms
      | if(config.actors != :local and Node.alive?(), do: [Tidepool.Actor.Owner.Door, Tidepool.Actor.Owner], else: [])
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end
end
