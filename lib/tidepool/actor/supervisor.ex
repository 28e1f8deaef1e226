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
  #   Owner.Door         answers other nodes about those that are here; only in a cluster, as
  #   Owner              which shards are this node's: last up, first down, so that it hands them on while all else is there
  #
  # Where nodes of a cluster share no store, in place of Owner:
  #
  #   Copies.Keeper      keeps copies of other nodes' actors
  #   Copies.Answers     tells other nodes what there is of actors here
  #   Owner.Ring         which shards are this node's

  use Supervisor

  alias Tidepool.Actor.{Copies, Owner}
  alias Tidepool.Actor.Owner.{Door, Ring}

  @registry Tidepool.Actor.Registry
  @servers Tidepool.Actor.Servers

  @doc false
  def start_link(config), do: Supervisor.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(config) do
    Tidepool.Actor.Guest.register(config.builtins)
    Copies.new()

    children = [
      {Tidepool.Actor.Store, config},
      {Tidepool.Actor.Quota, config.namespaces},
      Tidepool.Actor.Store.Frozen,
      Tidepool.Actor.Modules,
      {Registry, keys: :unique, name: @registry, partitions: System.schedulers_online()},
      {PartitionSupervisor, child_spec: DynamicSupervisor, name: @servers},
      Tidepool.Actor.Alarms
      | owners(config)
    ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  defp owners(%{actors: :local, cluster: true}),
    do: [Door] ++ Copies.Keeper.children() ++ [{Copies.Answers, Ring}, {Ring, Owner}]

  defp owners(%{actors: actors}), do: if(actors != :local and Node.alive?(), do: [Door, Owner], else: [])
end
