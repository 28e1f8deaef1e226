defmodule Tidepool.Actor.Ownership.Shards do
  @moduledoc """
  Whose actors are whose: a table of shards, which one process writes and all others read. Where nodes share a store that is
  `Tidepool.Actor.Ownership.LeaseHolder`.

  An actor's shard follows from its class and name. A node that is in no cluster has no table, and all actors are here. One of a cluster
  whose nodes share no store has no table either, and no call reaches its actors (`unavailable/0`).

  A node without a lease owns none. It may know all the same where they are, by what a node with a lease has said
  (`Tidepool.Actor.Ownership.Outside`), and passes calls on to there.
  """

  alias Tidepool.{Config, Native}
  alias Tidepool.Actor.Ownership.{Lease, Waiters}

  # {shard, {:ours, epoch} | {:moving, epoch} | {:away, node's name} | :nobody}; {:lease, lease}, {:nodes, names}, {:changes, number},
  # {:begins, until} of a node that has just started, and {:heard, stamp, until} of one without a lease that others tell where shards are.
  @table __MODULE__
  @count 4_096
  # How long a node that has just started takes for its first lease, in ms: what others have deployed comes before.
  @begins_ms 20_000
  # For how long counts what others have said: a shard without a node has one soon.
  @heard_ms 15_000

  @type shard :: 0..4_095

  @typedoc "Under what this node owns an actor."
  @type title :: {epoch :: pos_integer, Lease.t()}

  @typedoc "Where an actor is; `:moving` while it is on its way to another node."
  @type place :: {:here, title} | {:away, node :: String.t()} | :moving | :nobody | :no_lease

  @typedoc """
  What a node with a lease says of all shards: the node of each, and by which stamp that is known; or that it is as by the stamp which it was
  asked with.
  """
  @type said :: {stamp :: binary, [{shard, node :: String.t() | nil}]} | :same

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
      _nobody -> if Lease.lasts?(lease()) or begins?() or heard?(), do: :nobody, else: :no_lease
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

  defp heard? do
    case :ets.lookup(@table, :heard) do
      [{:heard, _stamp, until}] -> Lease.now() < until
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

  @doc "Has this node no lease, and have others told it lately where all shards are?"
  @spec told? :: boolean
  def told? do
    not leased?() and heard?()
  rescue
    ArgumentError -> false
  end

  @doc "The stamp of what others have told last; `nil` where this node has a lease, or has been told nothing since it had one."
  @spec stamp :: binary | nil
  def stamp do
    :ets.lookup_element(@table, :heard, 2)
  rescue
    ArgumentError -> nil
  end

  @doc "A number that is another one after each change of where a shard is."
  @spec changes :: integer
  def changes do
    :ets.lookup_element(@table, :changes, 2)
  rescue
    ArgumentError -> 0
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
    # Of no table before this one the number is the same.
    :ets.insert(@table, [{:begins, Lease.now() + @begins_ms}, {:changes, System.monotonic_time()}])
    begin(lease)
  end

  @doc false
  # The node has had a lease, or knows that it gets none.
  @spec begun :: :ok
  def begun do
    :ets.delete(@table, :begins)
    # What this node has in its table is not what others have told by that stamp any more.
    :ets.delete(@table, :heard)
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
    :ets.update_counter(@table, :changes, 1)
    Waiters.tell({:shard, shard})
  end

  @doc false
  # The store has said once who has each shard.
  @spec filled :: :ok
  def filled do
    :ets.insert(@table, {:filled, true})
    :ok
  end

  @doc "Does this node know by the store itself who has each shard? Before that a shard that another node has may seem to have no owner."
  @spec filled? :: boolean
  def filled?, do: :ets.member(@table, :filled)

  @doc false
  # The table is not as others have told by their stamp: they are to tell all of it again, and not that it is as it was.
  @spec doubted :: :ok
  def doubted do
    _there_or_not = :ets.update_element(@table, :heard, {2, nil})
    :ok
  end

  @doc false
  # What a node with a lease has said, to one that has none: nothing of it is this node's.
  @spec heard(said, me :: String.t()) :: :ok
  def heard(:same, _me) do
    _there_or_not = :ets.update_element(@table, :heard, {3, Lease.now() + @heard_ms})
    :ok
  end

  def heard({stamp, places}, me) do
    for {shard, name} <- places,
        state = if(name in [nil, me], do: :nobody, else: {:away, name}),
        :ets.lookup(@table, shard) != [{shard, state}],
        do: put(shard, state)

    put_nodes(places |> Enum.map(&elem(&1, 1)) |> Enum.uniq() |> Enum.reject(&(&1 in [nil, me])))
    :ets.insert(@table, {:heard, stamp, Lease.now() + @heard_ms})
    :ok
  end
end
