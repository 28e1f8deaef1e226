defmodule Tidepool.Actor.Ownership.Shards do
  @moduledoc """
  Whose actors are whose: a table of shards, which one process writes and all others read. Where nodes share a store that is
  `Tidepool.Actor.Ownership.LeaseHolder`.

  An actor's shard follows from its class and name. A node that is in no cluster has no table, and all actors are here. One of a cluster
  whose nodes share no store has no table either, and no call reaches its actors (`unavailable/0`).
  """

  alias Tidepool.{Config, Native}
  alias Tidepool.Actor.Ownership.{Lease, Waiters}

  # {shard, {:ours, epoch} | {:moving, epoch} | {:away, node's name} | :nobody}; {:lease, lease}, {:nodes, names}, and {:begins, until} of a
  # node that has just started.
  @table __MODULE__
  @count 4_096
  # How long a node that has just started takes for its first lease, in ms: what others have deployed comes before.
  @begins_ms 20_000

  @type shard :: 0..4_095

  @typedoc "Under what this node owns an actor."
  @type title :: {epoch :: pos_integer, Lease.t()}

  @typedoc "Where an actor is; `:moving` while it is on its way to another node."
  @type place :: {:here, title} | {:away, node :: String.t()} | :moving | :nobody | :no_lease

  @typedoc "What the table has of a shard."
  @type state :: {:ours, epoch :: pos_integer} | {:moving, epoch :: pos_integer} | {:away, String.t()} | :nobody

  # This node's actors have no other owner.
  @own {1, nil}

  @doc "Is the store one that nodes share?"
  @spec shared? :: boolean
  def shared?, do: Config.get(:actors) != :local

  @doc "Why this node can have no actors, if it can't."
  @spec unavailable :: String.t() | nil
  def unavailable do
    cluster? = Config.get(:cluster) and Node.alive?()

    cond do
      shared?() and not cluster? ->
        "actors in a store that nodes share are for nodes of a cluster: start this one with a name, and without " <>
          "cluster: false; or have its actors to itself, with the setting actors: :local (TIDEPOOL_ACTORS=local)"

      cluster? and not shared?() ->
        "nodes of a cluster need a store that they share for actors, of which there is never more than one: start all with the " <>
          "setting actors: {:replicated, nodes} or {:postgres, url} (TIDEPOOL_ACTORS=replicated:a@host1,b@host2,c@host3 or " <>
          "postgres://…); or start this node without a cluster: cluster: false (TIDEPOOL_CLUSTER=false)"

      true ->
        nil
    end
  end

  @doc "How many shards there are."
  @spec count :: pos_integer
  def count, do: @count

  @doc "Where an actor is."
  @spec place(class :: String.t(), name :: String.t()) :: place
  def place(class, name), do: if(shared?(), do: find(Native.record_shard(class, name)), else: {:here, @own})

  defp find(shard) do
    case :ets.lookup(@table, shard) do
      [{_shard, {:ours, epoch}}] -> title(epoch)
      [{_shard, {:moving, _epoch}}] -> :moving
      [{_shard, {:away, node}}] -> {:away, node}
      _nobody -> if Lease.lasts?(lease()) or begins?(), do: :nobody, else: :no_lease
    end
  rescue
    # The process that has the table is being restarted.
    ArgumentError -> :no_lease
  end

  # Who asks for an actor then waits until it is known where that is, as while no node has it.
  defp begins? do
    case :ets.lookup(@table, :begins) do
      [{:begins, until}] -> Lease.now() < until
      [] -> false
    end
  end

  @doc "Waits for `ms` at most until an actor is elsewhere than it was."
  @spec await(class :: String.t(), name :: String.t(), place, ms :: non_neg_integer) :: :ok
  def await(class, name, place, ms),
    do: Waiters.await({:shard, Native.record_shard(class, name)}, ms, fn -> place(class, name) == place end)

  defp title(epoch) do
    lease = lease()
    if Lease.lasts?(lease), do: {:here, {epoch, lease}}, else: :no_lease
  end

  @doc "Does this node still own an actor as it did?"
  @spec owned?(class :: String.t(), name :: String.t(), title) :: boolean
  def owned?(class, name, title), do: place(class, name) == {:here, title}

  @doc "Is this node's lease good, or does it need none?"
  @spec leased? :: boolean
  def leased? do
    not shared?() or Lease.lasts?(lease())
  rescue
    # The process that has the table is being restarted.
    ArgumentError -> false
  end

  defp lease, do: :ets.lookup_element(@table, :lease, 2)

  @doc "The names of the nodes that have a lease, as this one last heard."
  @spec nodes :: [String.t()]
  def nodes do
    :ets.lookup_element(@table, :nodes, 2)
  rescue
    ArgumentError -> []
  end

  @doc "What is known of all shards; nothing where there are none."
  @spec all :: [{shard, state}]
  def all do
    for {shard, state} when is_integer(shard) <- :ets.tab2list(@table), do: {shard, state}
  rescue
    ArgumentError -> []
  end

  # --- For the owner alone --------------------------------------------------------------------------

  @doc false
  @spec new(Lease.t()) :: :ok
  def new(lease) do
    :ets.new(@table, [:named_table, :protected, read_concurrency: true])
    :ets.insert(@table, {:begins, Lease.now() + @begins_ms})
    begin(lease)
  end

  @doc false
  # The node has had a lease, or knows that it gets none.
  @spec begun :: :ok
  def begun do
    :ets.delete(@table, :begins)
    :ok
  end

  @doc false
  # Under a new lease nothing is owned.
  @spec begin(Lease.t()) :: :ok
  def begin(lease) do
    for {shard, {owned, _epoch}} when owned in [:ours, :moving] <- all(), do: put(shard, :nobody)
    :ets.insert(@table, {:lease, lease})
    :ok
  end

  @doc false
  @spec put_nodes([String.t()]) :: :ok
  def put_nodes(names) do
    :ets.insert(@table, {:nodes, names})
    :ok
  end

  @doc false
  @spec put(shard, state) :: :ok
  def put(shard, state) do
    :ets.insert(@table, {shard, state})
    Waiters.tell({:shard, shard})
  end
end
