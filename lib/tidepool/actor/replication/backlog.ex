defmodule Tidepool.Actor.Replication.Backlog do
  @moduledoc """
  Actors of which other nodes do not have what they should, each until these have said that they do.

  A process that finds that a node lacks something notes the actor, and `Tidepool.Actor.Replication.AntiEntropy` offers it to all that should have it. When
  nodes have come or gone, or so many were noted that the table would grow too large, all actors are owed until a round has ended that
  all nodes have answered.
  """

  alias Tidepool.Actor.Table

  # {{class, name}, since, times, new}: `times` tells what was noted since from what a round has begun with, and `new` is 1 until it was
  # offered in vain. {:all, since, times, 1} is that more were noted than have place.
  # {:owed, since, left, turn, counted}: rounds that are owed, of how many actors at the moment, and the turn for which those were counted.
  @table __MODULE__
  # More than these are not noted one by one.
  @most 100_000

  @type actor :: {class :: String.t(), name :: String.t()}
  @typedoc "An actor, or all, as it was noted."
  @type noted :: {actor | :all, times :: pos_integer}

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@table)

  @doc "Notes an actor of which another node has not what it should have."
  @spec note(String.t(), String.t()) :: :ok
  def note(class, name) do
    key = if :ets.info(@table, :size) < @most, do: {class, name}, else: :all
    :ets.update_counter(@table, key, [{3, 1}, {4, 1, 1, 1}], {key, now(), 0, 0})
    :ok
  end

  @doc "Notes one that a node can't take: it is offered now and then."
  @spec stuck(String.t(), String.t()) :: :ok
  def stuck(class, name) do
    if :ets.info(@table, :size) < @most, do: :ets.insert_new(@table, {{class, name}, now(), 1, 0})
    :ok
  end

  @doc "Those that are to be offered: `:new` ones, or with `:all` those as well that were offered in vain."
  @spec list(:new | :all) :: [actor] | :all
  def list(which) do
    if :ets.member(@table, :all) do
      :all
    else
      new = if which == :new, do: 1, else: :_
      for [class, name] <- :ets.match(@table, {{:"$1", :"$2"}, :_, :_, new}), do: {class, name}
    end
  end

  @doc "Those of some actors that are noted, as they are now: for `copied/1`."
  @spec noted([actor | :all]) :: [noted]
  def noted(actors),
    do: for(actor <- actors, [{_actor, _since, times, _new}] <- [:ets.lookup(@table, actor)], do: {actor, times})

  @doc "All of them, as they are now; those that are noted later are not made up for by a round that begins now."
  @spec noted :: %{actor => times :: pos_integer}
  def noted do
    noted = :ets.match(@table, {{:"$1", :"$2"}, :_, :"$3", :_})
    for [class, name, times] <- noted, into: %{}, do: {{class, name}, times}
  end

  @doc "Other nodes have said that they have these as they were when they were noted."
  @spec copied([noted]) :: :ok
  def copied(noted), do: Enum.each(noted, fn {actor, times} -> :ets.match_delete(@table, {actor, :_, times, :_}) end)

  @doc "These were offered in vain."
  @spec in_vain([actor]) :: :ok
  def in_vain(actors), do: Enum.each(actors, &:ets.update_element(@table, &1, {4, 0}))

  @doc "Other nodes are to be offered all actors."
  @spec owe :: :ok
  def owe do
    :ets.update_counter(@table, :owed, {4, 1}, {:owed, now(), 0, 0, 0})
    :ok
  end

  @typedoc "A round: what it makes up for, and whether what is left is counted while it goes on."
  @opaque turn :: {pos_integer | nil, counts? :: boolean, [noted]}

  @doc "A round begins, of so many actors."
  @spec begin(count :: (() -> non_neg_integer)) :: turn
  def begin(count) do
    all = noted([:all])

    case :ets.lookup(@table, :owed) do
      [{:owed, _since, _left, turn, turn}] ->
        {turn, false, all}

      [{:owed, _since, _left, turn, _counted}] ->
        :ets.update_element(@table, :owed, [{3, count.()}, {5, turn}])
        {turn, true, all}

      [] ->
        {nil, false, all}
    end
  end

  @doc "A round, or what is none, has found that other nodes have so many more, or has sent them."
  @spec less(turn | nil, non_neg_integer) :: :ok
  def less(nil, _count), do: :ok
  def less({_turn, false, _all}, _count), do: :ok

  def less({turn, true, _all}, count) do
    with [{:owed, _since, left, ^turn, _counted}] <- :ets.lookup(@table, :owed),
         do: :ets.update_element(@table, :owed, {3, max(left - count, 0)})

    :ok
  end

  @doc "A round has ended, and so many actors are left that others lack; `:none` when all nodes have answered."
  @spec finish(turn, left :: :none | non_neg_integer) :: :ok
  def finish({turn, _counts?, all}, :none) do
    copied(all)
    # Unless nodes have come or gone since it began.
    if turn, do: :ets.match_delete(@table, {:owed, :_, :_, turn, :_})
    :ok
  end

  def finish(_turn, left) do
    unless :ets.update_element(@table, :owed, {3, left}), do: :ets.insert_new(@table, {:owed, now(), left, 1, 1})
    :ok
  end

  @doc "How many there are at least, and for how many ms the first of them has been one."
  @spec figures :: {count :: non_neg_integer, ms :: non_neg_integer}
  def figures do
    noted = :ets.select(@table, [{{:_, :"$1", :_, :_}, [], [:"$1"]}])

    {left, since} =
      case :ets.lookup(@table, :owed) do
        [{:owed, since, left, _turn, _counted}] -> {left, [since]}
        [] -> {0, []}
      end

    # What is owed may be what was noted.
    if since ++ noted == [], do: {0, 0}, else: {max(left, length(noted)), now() - Enum.min(since ++ noted)}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
