defmodule Tidepool.Actor.Copies.Rounds do
  @moduledoc """
  Has all nodes have the copies that they should: goes through what this node has, offers it to its owner and to those who have
  copies (`Tidepool.Actor.Copies.Answers`), and sends what they lack. It is done whenever nodes have come or gone, and what was
  missed meanwhile is done after a moment.
  """

  alias Tidepool.{Catalog, Native}
  alias Tidepool.Actor.Store
  alias Tidepool.Actor.Copies.{Answers, Hold, Keeper, Kept, Mark, Merge}
  alias Tidepool.Actor.Owner.Balance

  # Actors that are offered at once, and of which all is on its way at once.
  @offered 128
  @sent 8
  @ask_ms 5_000

  @doc """
  Offers all that this node has of actors to others of `nodes`, and returns those that have it by then. With `tidy?` what is not this
  node's to have any more, and others have, is gone from here.
  """
  @spec run(nodes :: [String.t()], tidy? :: boolean) :: [String.t()]
  def run(nodes, tidy?) do
    failed =
      with {:ok, records} <- Store.existing() do
        classes = classes()
        buried = Enum.group_by(Kept.graves(records), &elem(&1, 0), fn {_class, name, _mark} -> name end)

        for {class, copies} <- classes, reduce: MapSet.new() do
          failed ->
            round = %{records: records, class: class, copies: copies, nodes: nodes, tidy?: tidy?}

            failed =
              buried |> Map.get(class, []) |> Enum.chunk_every(@offered) |> Enum.reduce(failed, &offer(round, &1, &2))

            pages(round, nil, failed)
        end
      else
        _none -> MapSet.new()
      end

    for node <- nodes, node != me(), node not in failed, do: node
  end

  @doc "Offers some actors, and returns the nodes that could not be asked, or did not take them."
  @spec catch_up(nodes :: [String.t()], [{class :: String.t(), name :: String.t()}]) :: failed :: [String.t()]
  def catch_up(nodes, missed) do
    with {:ok, records} <- Store.existing() do
      classes = classes()

      failed =
        for {class, names} <- Enum.group_by(missed, &elem(&1, 0), &elem(&1, 1)),
            copies = classes[class],
            names <- Enum.chunk_every(names, @offered),
            reduce: MapSet.new() do
          failed ->
            offer(%{records: records, class: class, copies: copies, nodes: nodes, tidy?: false}, names, failed)
        end

      MapSet.to_list(failed)
    else
      _none -> []
    end
  end

  @doc "Has what is kept of deleted actors for long enough gone."
  @spec purge :: :ok
  def purge do
    with {:ok, records} <- Store.existing(), do: Kept.purge(records)
    :ok
  end

  @doc "Classes whose actors have copies, and how many."
  @spec classes :: %{(class :: String.t()) => 0..4}
  def classes do
    for %{name: name, actor: %{consistency: :available, copies: copies}} <- Catalog.list(),
        into: %{},
        do: {name, copies}
  end

  @doc "Is it one of them?"
  @spec class?(String.t()) :: boolean
  def class?(name), do: match?({:ok, %{actor: %{consistency: :available}}}, Catalog.fetch(name))

  defp pages(round, from, failed) do
    case Native.list_records(round.records, round.class, from, @offered) do
      {:ok, rows, next} ->
        failed = offer(round, for({name, _seq, _alarm_at, _bytes} <- rows, do: name), failed)
        if next, do: pages(round, next, failed), else: failed

      {:error, _kind, _message} ->
        MapSet.new(round.nodes)
    end
  end

  defp offer(round, names, failed) do
    kept =
      for name <- names, {:ok, %{mark: mark}} <- [Kept.read(round.records, round.class, name)] do
        {name, mark, holders(round, name)}
      end

    {lacking, failed} =
      for node <- round.nodes,
          node != me(),
          offered = for({name, mark, holders} <- kept, node in holders, do: {name, mark}),
          offered != [],
          reduce: {MapSet.new(), failed} do
        {lacking, failed} ->
          # One that stands still is waited for once, and one that has no room is not sent all of it again and again.
          {names, failed?} =
            if node in failed or Hold.full?(node), do: {named(offered), true}, else: give(round, node, offered)

          {MapSet.union(lacking, MapSet.new(names)), if(failed?, do: MapSet.put(failed, node), else: failed)}
      end

    if round.tidy?,
      do: for({name, mark, holders} <- kept, me() not in holders, name not in lacking, do: tidy(round, name, mark))

    failed
  end

  defp holders(round, name),
    do: Native.record_shard(round.class, name) |> Balance.order(round.nodes) |> Enum.take(1 + round.copies)

  # Those that the node lacks afterwards, and whether it failed in something.
  defp give(round, node, offered) do
    with {:ok, answers} when length(answers) == length(offered) <-
           Answers.ask(node, {:offer, round.class, offered}, @ask_ms) do
      for {{name, _mark}, {:gone, mark}} <- Enum.zip(offered, answers),
          Mark.valid?(mark),
          do: Merge.merge(round.class, name, mark, :gone)

      wanted = for {{name, _mark}, :want} <- Enum.zip(offered, answers), do: name
      damaged = for {{name, _mark}, :damaged} <- Enum.zip(offered, answers), do: name
      unsent = wanted |> Enum.chunk_every(@sent) |> Enum.flat_map(&sent(round, node, &1))
      {damaged ++ unsent, unsent != []}
    else
      _no_answer -> {named(offered), true}
    end
  end

  defp named(offered), do: for({name, _mark} <- offered, do: name)

  defp sent(round, node, names) do
    ref = :erlang.alias()
    turn = make_ref()
    deadline = now() + @ask_ms

    waits =
      for name <- names,
          {:ok, {mark, whole}} <- [Kept.whole(round.records, round.class, name)],
          do: {name, Keeper.send(node, {ref, {turn, name}}, {:whole, round.class, name, mark, whole})}

    unsent = for {name, false} <- waits, do: name
    late = await(MapSet.new(for {name, true} <- waits, do: name), turn, deadline)
    :erlang.unalias(ref)
    unsent ++ late
  end

  defp await(names, turn, deadline) do
    if MapSet.size(names) == 0 do
      []
    else
      receive do
        {:tidepool_copied, _node, {^turn, name}, :ok} ->
          names |> MapSet.delete(name) |> await(turn, deadline)

        {:tidepool_copied, node, {^turn, name}, why} ->
          if why == :failed, do: Hold.full(node)
          [name | names |> MapSet.delete(name) |> await(turn, deadline)]
      after
        max(deadline - now(), 0) -> MapSet.to_list(names)
      end
    end
  end

  # Unless it was written here meanwhile.
  defp tidy(round, name, mark) do
    Merge.settled(round.class, name, fn ->
      with {:ok, %{mark: ^mark, kind: :there} = kept} <- Kept.read(round.records, round.class, name),
           do: Kept.drop(round.records, round.class, name, kept)
    end)
  end

  defp me, do: to_string(node())
  defp now, do: System.monotonic_time(:millisecond)
end
