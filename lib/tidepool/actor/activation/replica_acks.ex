defmodule Tidepool.Actor.Activation.ReplicaAcks do
  @moduledoc """
  Writes of an actor that nodes with copies are to have, too: each is sent once it is on this node's disk, and waits until all have
  acknowledged it, or its time is over. For the actor's process, which gets the acknowledgements.
  """

  alias Tidepool.Actor.Replication
  alias Tidepool.Function.Actors

  # `unsent` has what is to be sent, by the ids of writes; `waiting` the names of nodes that have not acknowledged one; `alias` is what they
  # answer to.
  defstruct unsent: %{}, waiting: %{}, alias: nil

  @opaque t :: %__MODULE__{}
  @typedoc "An actor, and the options of its class."
  @type actor :: %{
          required(:class) => String.t(),
          required(:name) => String.t(),
          required(:options) => Actors.t(),
          optional(atom) => term
        }
  @typedoc "Is a write over, as far as replicas are concerned?"
  @type outcome :: {:over | :waits, t}

  @doc "Without a write."
  @spec new :: t
  def new, do: %__MODULE__{}

  @doc "A write has begun, of an actor that may have copies."
  @spec began(t, actor, id :: pos_integer, sent :: tuple) :: t
  def began(acks, actor, id, sent),
    do: if(Replication.copied?(actor.options), do: put_in(acks.unsent[id], sent), else: acks)

  @doc "A write has failed here: no node gets it."
  @spec failed(t, id :: pos_integer) :: t
  def failed(acks, id), do: %{acks | unsent: Map.delete(acks.unsent, id)}

  @doc "A write is on disk here: it is sent. The calling process gets `{:tidepool_late, id}` when its time is over."
  @spec committed(t, actor, id :: pos_integer) :: outcome
  def committed(%{unsent: unsent} = acks, actor, id) when is_map_key(unsent, id) do
    {sent, unsent} = Map.pop!(unsent, id)
    acks = %{acks | unsent: unsent, alias: acks.alias || :erlang.alias()}

    case Replication.send_put(actor.class, actor.name, actor.options, {acks.alias, id}, sent) do
      [] ->
        {:over, acks}

      nodes ->
        Process.send_after(self(), {:tidepool_late, id}, Replication.wait_ms(elem(sent, 2)))
        {:waits, put_in(acks.waiting[id], MapSet.new(nodes))}
    end
  end

  def committed(acks, _actor, _id), do: {:over, acks}

  @doc "A node says that it has a write; or that it lacks what that was made on, so it is sent all of the actor."
  @spec acked(t, actor, id :: pos_integer, node :: String.t(), :ok | :need | :failed) :: outcome
  def acked(%{waiting: waiting} = acks, actor, id, node, answer) when is_map_key(waiting, id) do
    if answer == :need and Replication.send_whole(actor.class, actor.name, {acks.alias, id}, node) do
      {:waits, acks}
    else
      if answer != :ok, do: Replication.missed(actor.class, actor.name, node, answer)
      nodes = MapSet.delete(waiting[id], node)
      if MapSet.size(nodes) == 0, do: over(acks, id), else: {:waits, put_in(acks.waiting[id], nodes)}
    end
  end

  def acked(acks, _actor, _id, _node, _late), do: {:waits, acks}

  @doc "The time of a write is over. What nodes lack then they get by anti-entropy."
  @spec late(t, actor, id :: pos_integer) :: outcome
  def late(%{waiting: waiting} = acks, actor, id) when is_map_key(waiting, id) do
    Replication.late(actor.class, actor.name, waiting[id])
    over(acks, id)
  end

  def late(acks, _actor, _id), do: {:waits, acks}

  defp over(acks, id), do: {:over, %{acks | waiting: Map.delete(acks.waiting, id)}}
end
