defmodule Tidepool.Actor.Replication.AntiEntropy do
  @moduledoc """
  Has all nodes have the copies that they should: goes through what this node has, offers it to its owner and to those who have
  copies (`Tidepool.Actor.Replication.Queries`), and sends what they lack. It is done whenever nodes have come or gone, and what was
  missed meanwhile is done after a moment.
  """

  alias Tidepool.{Catalog, Native}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.VersionVector
  alias Tidepool.Actor.Ownership.{Rendezvous}
  alias Tidepool.Actor.Replication.{Backlog, Merge, MissingModules, PeerHealth, Queries, Replica, ReplicaWriter}

  # Actors that are offered at once, and of which all is on its way at once.
  @offered 128
  @sent 8
  # Actors that are counted at once.
  @counted 10_000
  @ask_ms 5_000

  @doc """
  Offers all that this node has of actors to others of `nodes`, and returns those that have it by then. With `tidy?` what is not this
  node's to have any more, and others have, is gone from here.
  """
  @spec run(nodes :: [String.t()], tidy? :: boolean) :: [String.t()]
  def run(nodes, tidy?) do
    others = List.delete(nodes, me())

    with true <- others != [], {:ok, records} <- Journal.existing() do
      classes = classes()
      tombstones = Enum.group_by(Replica.tombstones(records), &elem(&1, 0), fn {_class, name, _mark} -> name end)

      round = %{
        records: records,
        class: nil,
        copies: nil,
        nodes: nodes,
        tidy?: tidy?,
        turn: nil,
        noted: Backlog.noted()
      }

      turn = Backlog.begin(fn -> Enum.sum(for {class, _copies} <- classes, do: count(records, class, tombstones)) end)

      round = %{round | turn: turn}

      done =
        for {class, copies} <- classes, reduce: begun() do
          done ->
            round = %{round | class: class, copies: copies}

            done =
              tombstones |> Map.get(class, []) |> Enum.chunk_every(@offered) |> Enum.reduce(done, &named(round, &1, &2))

            pages(round, nil, done)
        end

      Backlog.finish(turn, if(Enum.empty?(done.failed), do: :none, else: done.lacking))
      for node <- others, node not in done.failed, do: node
    else
      # It may have some.
      {:error, _error} ->
        []

      _nobody_or_nothing ->
        fn -> 0 end |> Backlog.begin() |> Backlog.finish(:none)
        others
    end
  end

  # Which nodes failed, how many actors nodes lack, and which modules were looked for.
  defp begun, do: %{failed: MapSet.new(), lacking: 0, modules: MapSet.new()}

  defp count(records, class, tombstones), do: length(Map.get(tombstones, class, [])) + count(records, class, nil, 0)

  defp count(records, class, from, counted) do
    case Native.list_records(records, class, from, @counted) do
      {:ok, rows, next} when next != nil -> count(records, class, next, counted + length(rows))
      {:ok, rows, nil} -> counted + length(rows)
      {:error, _kind, _message} -> counted
    end
  end

  @doc "Offers some actors."
  @spec catch_up(nodes :: [String.t()], [Backlog.actor()]) :: :ok
  def catch_up(nodes, actors) do
    with {:ok, records} <- Journal.existing() do
      classes = classes()

      for {class, names} <- Enum.group_by(actors, &elem(&1, 0), &elem(&1, 1)), reduce: begun() do
        done ->
          round = %{records: records, class: class, copies: classes[class], nodes: nodes, tidy?: false, turn: nil}
          names |> Enum.chunk_every(@offered) |> Enum.reduce(done, &named(round, &1, &2))
      end
    end

    :ok
  end

  @doc "Has what is kept of deleted actors for long enough gone."
  @spec purge :: :ok
  def purge do
    with {:ok, records} <- Journal.existing(), do: Replica.purge(records)
    :ok
  end

  @doc "Classes whose actors have copies, and how many."
  @spec classes :: %{(class :: String.t()) => 0..4}
  def classes do
    for %{name: name, actor: %{consistency: :available, copies: copies}} <- Catalog.briefs(),
        into: %{},
        do: {name, copies}
  end

  @doc "Is it one of them?"
  @spec class?(String.t()) :: boolean
  def class?(name), do: match?({:ok, %{actor: %{consistency: :available}}}, Catalog.fetch(name))

  defp pages(round, from, done) do
    case Replica.heads(round.records, round.class, from, @offered) do
      {:ok, kept, next} ->
        noted = for {name, _kept} <- kept, actor = {round.class, name}, times = round.noted[actor], do: {actor, times}
        done = offer(round, kept, noted, done)
        if next, do: pages(round, next, done), else: done

      :error ->
        %{done | failed: MapSet.new(round.nodes)}
    end
  end

  # The class is gone, or no such class any more.
  defp named(%{copies: nil, class: class}, names, done) do
    for(name <- names, do: {class, name}) |> Backlog.noted() |> Backlog.copied()
    done
  end

  defp named(round, names, done) do
    noted = Backlog.noted(for name <- names, do: {round.class, name})

    offer(
      round,
      for(name <- names, {:ok, %{} = kept} <- [Replica.head(round.records, round.class, name)], do: {name, kept}),
      noted,
      done
    )
  end

  # Of actors that were noted before they were read.
  defp offer(round, kept, noted, done) do
    done = modules(round, kept, done)
    offers = for {name, %{vector: vector}} <- kept, do: {name, vector, holders(round, name)}

    {lacking, failed} =
      for node <- round.nodes,
          node != me(),
          offered = for({name, vector, holders} <- offers, node in holders, do: {name, vector}),
          offered != [],
          reduce: {MapSet.new(), done.failed} do
        {lacking, failed} ->
          # One that stands still is waited for once, and one that has no room is not sent all of it again and again.
          {names, failed?} =
            if node in failed or PeerHealth.full?(node), do: {names(offered), true}, else: give(round, node, offered)

          {MapSet.union(lacking, MapSet.new(names)), if(failed?, do: MapSet.put(failed, node), else: failed)}
      end

    if round.tidy?,
      do:
        for({name, vector, holders} <- offers, me() not in holders, name not in lacking, do: tidy(round, name, vector))

    noted |> Enum.reject(&lacking?(&1, lacking)) |> Backlog.copied()
    Backlog.in_vain(for name <- lacking, do: {round.class, name})
    Backlog.less(round.turn, length(offers) - MapSet.size(lacking))
    %{done | failed: failed, lacking: done.lacking + MapSet.size(lacking)}
  end

  defp lacking?({{_class, name}, _times}, lacking), do: name in lacking

  # Those that its actors run, each looked for once.
  defp modules(round, kept, done) do
    for {_name, %{module: module}} when module != nil <- kept, module not in done.modules, reduce: done do
      done ->
        MissingModules.want(round.records, round.class, module)
        %{done | modules: MapSet.put(done.modules, module)}
    end
  end

  defp holders(round, name),
    do: Native.record_shard(round.class, name) |> Rendezvous.order(round.nodes) |> Enum.take(1 + round.copies)

  # Those that the node lacks afterwards, and whether it failed in something.
  defp give(round, node, offered) do
    with {:ok, answers} when length(answers) == length(offered) <-
           Queries.ask(node, {:offer, round.class, offered}, @ask_ms) do
      for {{name, _mark}, {:gone, vector}} <- Enum.zip(offered, answers),
          VersionVector.valid?(vector),
          do: Merge.merge(round.class, name, vector, :gone)

      wanted = for {{name, _mark}, :want} <- Enum.zip(offered, answers), do: name
      damaged = for {{name, _mark}, :damaged} <- Enum.zip(offered, answers), do: name
      for name <- damaged, do: Backlog.stuck(round.class, name)
      unsent = wanted |> Enum.chunk_every(@sent) |> Enum.flat_map(&sent(round, node, &1))
      {damaged ++ unsent, unsent != []}
    else
      _no_answer -> {names(offered), true}
    end
  end

  defp names(offered), do: for({name, _mark} <- offered, do: name)

  defp sent(round, node, names) do
    ref = :erlang.alias()
    turn = make_ref()
    deadline = now() + @ask_ms

    waits =
      for name <- names,
          {:ok, {vector, whole}} <- [Replica.whole(round.records, round.class, name)],
          do: {name, ReplicaWriter.send(node, {ref, {turn, name}}, {:whole, round.class, name, vector, whole})}

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
          if why == :failed, do: PeerHealth.full(node)
          [name | names |> MapSet.delete(name) |> await(turn, deadline)]
      after
        max(deadline - now(), 0) -> MapSet.to_list(names)
      end
    end
  end

  # Unless it was written here meanwhile.
  defp tidy(round, name, vector) do
    Merge.settled(round.class, name, fn ->
      with {:ok, %{vector: ^vector, kind: :there} = kept} <- Replica.read(round.records, round.class, name),
           do: Replica.drop(round.records, round.class, name, kept)
    end)
  end

  defp me, do: to_string(node())
  defp now, do: System.monotonic_time(:millisecond)
end
