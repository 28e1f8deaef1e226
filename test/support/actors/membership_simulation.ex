defmodule Tidepool.MembershipSimulation do
  @moduledoc """
  Nodes of a cluster without a shared store, in one process and in virtual time: the machine that `Tidepool.Actor.Replication.Ring` drives,
  over links that break, nodes that are killed, stop and start again, and rounds that take long, as one seed decides.

  A node's disk has writes, by shards; it outlives the node. A write is sent to the replicas, and answered when they have it, or without them
  after a while. All that is between two nodes comes in order, or not at all. Of what a round was to send, a node that has started again
  meanwhile has nothing.

  `run/1` fails, with the seed and what was done last, when an actor is activated without a write that was answered before, which a node has
  that its owner can ask; and when at last, with all nodes back and nothing lost any more, they do not agree, or lack a write.
  """

  alias Tidepool.Actor.Ownership.Rendezvous

  @names for n <- 1..4, do: "n#{n}@host"
  @shards 0..2
  # Beside the owner's.
  @copies 2
  @late_ms 500

  defstruct [
    :machine,
    now: 0,
    starts: 0,
    nodes: %{},
    links: MapSet.new(),
    side: Map.new(@names, &{&1, 0}),
    wires: %{},
    stalls: %{},
    writes: %{},
    faults?: true,
    steps: 0,
    activated: 0,
    history: []
  ]

  defp node(machine, id, now, disk) do
    %{
      id: id,
      members: machine.new(name(id), id, now, true),
      disk: disk,
      behind: MapSet.new(),
      inbox: :queue.new(),
      watched: MapSet.new(),
      owners: nil,
      unsynced: [],
      awake: MapSet.new(),
      round: nil,
      waiting: %{}
    }
  end

  defp name({name, _start}), do: name

  @doc "Runs so many steps from a seed, and then to a rest. `{:ok, figures}`, or why not."
  @spec run(keyword) :: {:ok, map} | {:error, String.t()}
  def run(options) do
    :rand.seed(:exsss, {options[:seed], 7, 11})
    world = Enum.reduce(@names, %__MODULE__{machine: options[:machine]}, &start(&2, &1))

    try do
      world = 1..options[:steps] |> Enum.reduce(world, fn _step, world -> step(world) end) |> rest()
      {:ok, Map.take(world, [:steps, :activated, :now]) |> Map.put(:writes, map_size(world.writes))}
    catch
      {:broken, what, world} -> {:error, "seed #{options[:seed]}, step #{world.steps}: #{what}\n#{last(world)}"}
    end
  end

  defp last(world), do: world.history |> Enum.take(25) |> Enum.reverse() |> Enum.map_join("\n", &inspect/1)

  # --- Steps ----------------------------------------------------------------------------------------

  defp step(world) do
    world = %{world | steps: world.steps + 1}

    case :rand.uniform(1000) do
      n when n <= 360 -> handle_next(world)
      n when n <= 700 -> deliver(world)
      n when n <= 800 -> tick(pass(world, :rand.uniform(60)), Enum.random(@names))
      n when n <= 950 -> write(world, Enum.random(@shards), Enum.shuffle(@names))
      n when n <= 975 -> Enum.reduce(@names, world, &over(&2, &1))
      n when n <= 976 -> pass(world, 70_000)
      n when n <= 978 -> crash(world, Enum.random(@names))
      n when n <= 980 -> stop(world, Enum.random(@names))
      n when n <= 990 -> start(world, Enum.random(@names))
      n when n <= 991 -> part(world)
      n when n <= 993 -> heal(world)
      n when n <= 994 -> apart(world, Enum.random(@names), Enum.random(@names))
      _stall -> stall(world, Enum.random(@names))
    end
  end

  # All are there, and nothing fails any more.
  defp rest(world), do: @names |> Enum.reduce(heal(%{world | faults?: false}), &start(&2, &1)) |> rest(0)

  defp rest(world, turns) do
    cond do
      rested?(world) -> checked(world)
      turns > 3_000 -> broken(world, "no rest: #{inspect(unrest(world))}")
      true -> world |> turn() |> rest(turns + 1)
    end
  end

  defp turn(world) do
    world = Enum.reduce(@names, pass(world, 100), &(&1 |> then(fn name -> tick(&2, name) end) |> over(&1)))
    Enum.reduce(1..60, world, fn _n, world -> world |> deliver() |> handle_next() |> handle_next() end)
  end

  defp rested?(world) do
    Enum.all?(@names, fn name ->
      node = world.nodes[name]

      world.machine.settled?(node.members) and node.behind == MapSet.new() and node.waiting == %{} and
        node.unsynced == [] and :queue.is_empty(node.inbox) and Enum.sort(node.owners || []) == @names
    end) and Enum.all?(world.wires, fn {_pair, wire} -> :queue.is_empty(wire) end)
  end

  defp unrest(world) do
    for name <- @names, node = world.nodes[name] do
      {name, world.machine.settled?(node.members), node.behind, map_size(node.waiting), node.unsynced,
       :queue.len(node.inbox), node.owners}
    end
  end

  defp checked(world) do
    for shard <- @shards, holder <- holders(shard, @names), {write, %{shard: ^shard}} <- world.writes do
      unless MapSet.member?(disk(world, holder, shard), write),
        do: broken(world, "#{holder} lacks the write #{write} of shard #{shard}: #{inspect(world.writes[write])}")
    end

    world
  end

  defp broken(world, what), do: throw({:broken, what, world})

  defp noted(world, what), do: %{world | history: [{world.now, what} | Enum.take(world.history, 30)]}

  # --- Nodes and links ------------------------------------------------------------------------------

  defp alive?(world, name), do: match?(%{members: members} when members != nil, world.nodes[name])
  defp linked?(world, one, other), do: MapSet.member?(world.links, pair(one, other))
  defp pair(one, other), do: {min(one, other), max(one, other)}

  defp start(world, name) do
    if alive?(world, name) do
      world
    else
      id = {name, world.starts}
      disk = get_in(world.nodes, [name, :disk]) || %{}
      nodes = Map.put(world.nodes, name, node(world.machine, id, world.now, disk))
      noted(%{world | nodes: nodes, starts: world.starts + 1}, {:start, id})
    end
  end

  defp crash(world, name) do
    if alive?(world, name) do
      world =
        for other <- @names, other != name, reduce: noted(world, {:crash, name}), do: (world -> cut(world, name, other))

      put_in(world.nodes[name].members, nil)
    else
      world
    end
  end

  defp stop(world, name) do
    if alive?(world, name),
      do: world |> noted({:stop, name}) |> event(name, :stop) |> empty(name) |> crash(name),
      else: world
  end

  # What it has sent is on its way before the link is gone.
  defp empty(world, name) do
    for {{^name, to}, wire} <- world.wires, message <- :queue.to_list(wire), reduce: world do
      world -> arrive(world, name, to, message)
    end
  end

  defp part(world), do: noted(%{world | side: Map.new(@names, &{&1, :rand.uniform(2)})}, :part) |> cut_sides()

  defp cut_sides(world) do
    for one <- @names, other <- @names, one < other, world.side[one] != world.side[other], reduce: world do
      world -> apart(world, one, other)
    end
  end

  # Each goes on without the other from now on: what one of them has written is not promised to the other any more.
  defp apart(world, one, other) do
    if linked?(world, one, other) do
      {one_id, other_id} = {world.nodes[one].id, world.nodes[other].id}

      writes =
        Map.new(world.writes, fn
          {write, %{by: ^one_id} = about} -> {write, %{about | ids: about.ids -- [other_id]}}
          {write, %{by: ^other_id} = about} -> {write, %{about | ids: about.ids -- [one_id]}}
          other -> other
        end)

      cut(%{world | writes: writes}, one, other)
    else
      world
    end
  end

  defp heal(world), do: noted(%{world | side: Map.new(@names, &{&1, 0})}, :heal)

  defp cut(world, one, other) do
    if linked?(world, one, other) do
      wires = Map.drop(world.wires, [{one, other}, {other, one}])
      world = %{noted(world, {:cut, one, other}) | links: MapSet.delete(world.links, pair(one, other)), wires: wires}
      world |> gone(one, other) |> gone(other, one)
    else
      world
    end
  end

  # Who watches somebody on the other node is told.
  defp gone(world, name, other) do
    for id <- world.nodes[name].watched, name(id) == other, reduce: world do
      world -> world |> put_in_inbox(name, {:down, other, id}) |> unwatch(name, id)
    end
  end

  defp unwatch(world, name, id), do: update_in(world.nodes[name].watched, &MapSet.delete(&1, id))

  defp link(world, name, other) do
    if alive?(world, other) and world.side[name] == world.side[other],
      do: %{world | links: MapSet.put(world.links, pair(name, other))},
      else: world
  end

  # --- What nodes send ------------------------------------------------------------------------------

  defp send_to(world, from, to, message) do
    if linked?(world, from, to),
      do: update_in(world.wires[{from, to}], &:queue.in(message, &1 || :queue.new())),
      else: world
  end

  defp deliver(world) do
    case for {{from, _to}, wire} = one <- world.wires, not :queue.is_empty(wire), not stalled?(world, from), do: one do
      [] ->
        world

      some ->
        {{from, to}, wire} = Enum.random(some)
        {{:value, message}, wire} = :queue.out(wire)
        arrive(put_in(world.wires[{from, to}], wire), from, to, message)
    end
  end

  # What a node sends stands still for a while; and so does the node, half of the times.
  defp stall(world, name) do
    until = world.now + :rand.uniform(2_000)
    noted(%{world | stalls: Map.put(world.stalls, name, {until, :rand.uniform(2) == 1})}, {:stall, name, until})
  end

  defp stalled?(world, name), do: match?(%{^name => {until, _node?}} when until > world.now, world.stalls)
  defp still?(world, name), do: match?(%{^name => {until, true}} when until > world.now, world.stalls)

  defp arrive(world, from, to, message) do
    case message do
      {:tell, id, what} -> put_in_inbox(world, to, {:told, from, id, what})
      {:put, shard, write, writes} -> world |> keep(to, shard, writes) |> send_to(to, from, {:ack, write})
      {:ack, write} -> acked(world, to, from, write)
    end
  end

  defp put_in_inbox(world, name, event) do
    if alive?(world, name), do: update_in(world.nodes[name].inbox, &:queue.in(event, &1)), else: world
  end

  defp handle_next(world) do
    case for name <- @names,
             alive?(world, name),
             not still?(world, name),
             inbox = world.nodes[name].inbox,
             not :queue.is_empty(inbox),
             do: {name, inbox} do
      [] ->
        world

      some ->
        {name, inbox} = Enum.random(some)
        {{:value, event}, inbox} = :queue.out(inbox)
        world |> put_in([Access.key(:nodes), name, :inbox], inbox) |> event(name, event)
    end
  end

  # --- The machine ----------------------------------------------------------------------------------

  defp tick(world, name),
    do: if(alive?(world, name) and not still?(world, name), do: event(world, name, :tick), else: world)

  defp event(world, name, event) do
    {effects, members} = world.machine.handle(world.nodes[name].members, event, view(world, name))
    world = if event == :tick, do: world, else: noted(world, {name, event})
    Enum.reduce(effects, put_in(world.nodes[name].members, members), &act(&2, name, &1))
  end

  defp view(world, name) do
    others = List.delete(@names, name)

    %{
      now: world.now,
      me: name,
      alive?: true,
      joining?: false,
      arriving?: false,
      known: others,
      linked: Enum.filter(others, &linked?(world, name, &1)),
      strangers?: false,
      full: [],
      modules?: false
    }
  end

  defp act(world, name, effect) do
    id = world.nodes[name].id

    case effect do
      {:tell, to, what} -> send_to(world, name, to, {:tell, id, what})
      {:watch, other, id} -> watch(world, name, other, id)
      {:unwatch, _other, id} -> unwatch(world, name, id)
      {:link, other} -> link(world, name, other)
      {:unsynced, names} -> put_in(world.nodes[name].unsynced, names)
      {:own, names} -> own(world, name, names)
      {:ask_stores, _names} -> put_in_inbox(world, name, {:stores, nil})
      {:begin_round, what, names} -> begin_round(world, name, what, names)
      :abort_round -> world |> put_in([Access.key(:nodes), name, :round], nil) |> put_in_inbox(name, {:round, :aborted})
      {:backlog, _which} -> put_in_inbox(world, name, {:behind, MapSet.to_list(world.nodes[name].behind)})
      {:hand_over, names} -> hand_over(world, name, names)
      _of_no_concern -> world
    end
  end

  defp watch(world, name, other, id) do
    if linked?(world, name, other) and match?(%{id: ^id}, world.nodes[other]),
      do: update_in(world.nodes[name].watched, &MapSet.put(&1, id)),
      else: put_in_inbox(world, name, {:down, other, id})
  end

  defp own(world, name, names) do
    awake = for shard <- world.nodes[name].awake, Rendezvous.owner(shard, names) == name, into: MapSet.new(), do: shard
    update_in(world.nodes[name], &%{&1 | owners: names, awake: awake})
  end

  # --- Writes ---------------------------------------------------------------------------------------

  defp holders(shard, names), do: shard |> Rendezvous.order(names) |> Enum.take(1 + @copies)
  defp disk(world, name, shard), do: Map.get(world.nodes[name].disk, shard, MapSet.new())

  defp keep(world, name, shard, writes),
    do: update_in(world.nodes[name].disk, &Map.update(&1, shard, writes, fn had -> MapSet.union(had, writes) end))

  # By the first of these that owns the shard.
  defp write(world, shard, names) do
    case Enum.find(names, &owns?(world, &1, shard)) do
      nil -> world
      name -> world |> activated(name, shard) |> written(name, shard)
    end
  end

  defp owns?(world, name, shard) do
    alive?(world, name) and not still?(world, name) and
      with(names when names != nil <- world.nodes[name].owners, do: Rendezvous.owner(shard, names) == name)
  end

  defp activated(world, name, shard) do
    if MapSet.member?(world.nodes[name].awake, shard) do
      world
    else
      world = Enum.reduce(world.nodes[name].unsynced, world, &fetch(&2, name, shard, &1))
      known!(world, name, shard)
      world = %{noted(world, {:activate, name, shard}) | activated: world.activated + 1}
      update_in(world.nodes[name].awake, &MapSet.put(&1, shard))
    end
  end

  # It puts the actor to sleep there if that node has given it away.
  defp fetch(world, name, shard, from) do
    if linked?(world, name, from) do
      world = keep(world, name, shard, disk(world, from, shard))
      put_in_inbox(world, from, {:asks, name})
    else
      world
    end
  end

  # What was answered while its writer knew this start of the node.
  defp known!(world, name, shard) do
    %{id: me, members: members} = world.nodes[name]
    peers = for peer <- world.machine.peers(members), linked?(world, name, peer), do: peer

    for peer <- peers,
        write <- disk(world, peer, shard),
        %{answered?: true, ids: ids} <- [world.writes[write]],
        me in ids do
      unless MapSet.member?(disk(world, name, shard), write),
        do:
          broken(
            world,
            "#{name} activates shard #{shard} without the write #{write}, which #{peer} has: #{inspect(world.writes[write])}"
          )
    end
  end

  defp written(world, name, shard) do
    write = map_size(world.writes)
    node = world.nodes[name]
    world = keep(world, name, shard, MapSet.new([write]))
    ids = for other <- node.owners, linked?(world, name, other), do: world.nodes[other].id
    others = List.delete(holders(shard, node.owners), name)

    world = %{
      world
      | writes: Map.put(world.writes, write, %{shard: shard, by: node.id, ids: ids, answered?: others == []})
    }

    world = Enum.reduce(others, world, &send_to(&2, name, &1, {:put, shard, write, disk(world, name, shard)}))

    if others == [],
      do: world,
      else: put_in(world.nodes[name].waiting[write], {world.now + @late_ms, shard, others})
  end

  defp acked(world, name, from, write) do
    case world.nodes[name].waiting do
      %{^write => {until, shard, others}} ->
        case List.delete(others, from) do
          [] -> world |> update_in([Access.key(:nodes), name, :waiting], &Map.delete(&1, write)) |> answered(write)
          others -> put_in(world.nodes[name].waiting[write], {until, shard, others})
        end

      _late ->
        world
    end
  end

  defp answered(world, write), do: put_in(world.writes[write].answered?, true)

  defp pass(world, ms) do
    world = %{world | now: world.now + ms}

    for {name, %{members: members, waiting: waiting}} when members != nil <- world.nodes,
        {write, {until, shard, _others}} <- waiting,
        until <= world.now,
        reduce: world do
      world ->
        world = update_in(world.nodes[name].waiting, &Map.delete(&1, write))
        world = world |> update_in([Access.key(:nodes), name, :behind], &MapSet.put(&1, shard)) |> answered(write)
        # What is on some replicas alone is lost most easily.
        if world.faults? and :rand.uniform(4) == 1, do: crash(world, name), else: world
    end
  end

  # --- Rounds ---------------------------------------------------------------------------------------

  defp begin_round(world, name, what, names) do
    ids = for other <- names, %{id: id} <- [world.nodes[other]], linked?(world, name, other), do: id
    put_in(world.nodes[name].round, {what, names, ids, world.nodes[name].disk, world.now + :rand.uniform(400)})
  end

  defp over(world, name) do
    case world.nodes[name] do
      %{members: members, round: {what, names, ids, disk, at}} when members != nil and at <= world.now ->
        world = put_in(world.nodes[name].round, nil)
        there = for id <- ids, linked?(world, name, name(id)), do: id

        world =
          world
          |> given(name, what, names, there, disk)
          |> put_in_inbox(name, {:round, {:done, Enum.map(there, &name/1)}})

        # It was begun for those that it knew then.
        all? = length(there) == length(List.delete(names, name))
        if all?, do: caught_up(world, name, what, names, disk), else: world

      _none ->
        world
    end
  end

  defp given(world, name, what, names, there, disk) do
    for {shard, writes} <- disk,
        of?(what, shard),
        holder <- holders(shard, names),
        id <- there,
        name(id) == holder,
        # One that has started again was sent nothing.
        world.nodes[holder].id == id,
        holder != name,
        reduce: world do
      world -> keep(world, holder, shard, writes)
    end
  end

  defp of?({:missed, shards}, shard), do: shard in shards
  defp of?(what, _shard), do: what in [:all, :tidy]

  # What was missed, or written, meanwhile is not made up for.
  defp caught_up(world, name, {:missed, shards}, _names, disk) do
    made_up = for shard <- shards, disk(world, name, shard) == Map.get(disk, shard, MapSet.new()), do: shard
    update_in(world.nodes[name].behind, &MapSet.difference(&1, MapSet.new(made_up)))
  end

  defp caught_up(world, name, :tidy, names, disk) do
    for {shard, writes} <- disk, name not in holders(shard, names), disk(world, name, shard) == writes, reduce: world do
      world -> update_in(world.nodes[name].disk, &Map.delete(&1, shard))
    end
  end

  defp caught_up(world, _name, _what, _names, _disk), do: world

  defp hand_over(world, name, names) do
    linked = for other <- names, linked?(world, name, other), do: world.nodes[other].id
    given(world, name, :all, names, linked, world.nodes[name].disk)
  end
end
