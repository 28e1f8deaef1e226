defmodule Tidepool.Actor.Ownership.LeaseHolder do
  @moduledoc """
  Owns shards of actors for this node, in a store that nodes share: holds the node's lease, takes shards that no node has, and hands
  those to other nodes that ought to be theirs.

  - **The lease** is renewed every second and lasts 5 s: another node takes the shards when it has seen for so long, by its own clock,
    that it is not renewed. Counted here it ends earlier (`Lease`), and then nothing is owned any more: no answer leaves, and actors that
    are awake are dropped. Shards that come afterwards come under a new lease, and answers about shards that were asked for under the
    old one are not heeded.
  - **The beginning**: a node that has just started asks for no lease, so that it is given no shard, before it knows what others have
    deployed, and has most of that: actors are of no use where their class is not.
  - **Joining**: with its first lease it asks the nodes that it is linked with whether they have actors elsewhere (`Joining`), and claims
    nothing before it knows that none has. It gives the lease up when one has, and asks again.
  - **Claims**: of shards without an owner, and of nodes whose lease has run out, those that ought to be this node's (`Rendezvous`).
  - **Moves**: a group of shards at a time. New calls of them wait; actors serve who has come, are written and sleep
    (`Drain`); then the store gives the shards to the other node. An actor that takes too long is killed, and the store refuses what
    it has not written.
  - **Another's removal of it** as a member begins with a handover (`Handover`): all of its shards move, and it gives its lease up.

  The store alone decides who owns what. What nodes tell each other, that shards have moved or that a node leaves, has them look sooner.

  A node that is no member of those that keep actors together asks for no lease. Where shards are it is told (`Outside`), as long as it
  has none.
  """

  use GenServer

  require Logger

  alias Tidepool.{Native, Nodes}
  alias Tidepool.Actor.{Alarm, Journal, Voter}
  alias Tidepool.Actor.Ownership.{Drain, Handover, Joining, Lease, OtherStores, Rendezvous, Shards}
  alias Tidepool.Catalog.Arrivals
  alias Tidepool.Nodes.Post

  # What older nodes ask.
  @process :"Elixir.Tidepool.Actor.Owner"
  @renew_ms 1_000
  # How long a node that starts waits for what others have deployed, once it knows what that is; and how often it looks.
  @arrive_ms 15_000
  @look_ms 20
  # How long the store may take to answer.
  @ask_ms 1_200
  # How many shards move at a time, and as a node ends; how long their actors may take.
  @group 64
  @last_group 512
  @drain_ms 2_000
  # How long a node that ends takes for all of its shards.
  @leave_ms 20_000

  defstruct [
    :me,
    :incarnation,
    :lease,
    # Has this start of the node had one?
    leased?: false,
    # Whether it may have actors in its cluster.
    joins: %Joining{},
    records: nil,
    # Questions to the store, by their ids: {what, lease}.
    asked: %{},
    # Names of nodes, which start of each has its lease, and until when by this node's clock.
    nodes: %{},
    # Starts of nodes that leave, and until when: they are given nothing more. One that comes back is another start.
    leaving: %{},
    # Whether it is to have no shard, for it is about to be no member.
    handover: %Handover{},
    # The group that is on its way: {to, shards, the monitor of who drains it, or :handed}.
    move: nil,
    # How often shards were asked for, or given: what the table said before counts no more.
    turn: 0,
    timer: nil,
    # Until when modules are waited for, as long as this node has not begun.
    begins: nil,
    # Since when a shard has had no owner; whether that, and that the store is away, was said.
    unowned_since: nil,
    said: MapSet.new()
  ]

  @doc false
  def child_spec(argument),
    do: %{id: __MODULE__, start: {__MODULE__, :start_link, [argument]}, shutdown: @leave_ms + 15_000}

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: @process)

  @typedoc """
  `lease_ms` is what is left of a node's lease; this node's own is as it counts that itself. `moving` is the group that this node hands
  over at the moment, and `unowned_ms` says for how long some have had no node.
  """
  @type report :: %{
          nodes: [%{name: String.t(), shards: non_neg_integer, lease_ms: non_neg_integer | nil}],
          unowned: non_neg_integer,
          unowned_ms: non_neg_integer | nil,
          moving: %{to: String.t() | nil, shards: pos_integer} | nil
        }

  @doc "The name of the process."
  @spec process :: atom
  def process, do: @process

  @doc "Which node has how many shards, and for how long, as this one knows it; `nil` where nodes share no store."
  @spec report :: report | nil
  def report do
    if Process.whereis(@process), do: GenServer.call(@process, :report, 1_000)
  catch
    :exit, _busy_or_gone -> nil
  end

  @impl true
  def init(nil) do
    # So that shards are handed on at the end.
    Process.flag(:trap_exit, true)
    lease = Lease.new()
    # Those of a process before this one, under a lease that this one does not know.
    Drain.kill(0..(Shards.count() - 1))
    Shards.new(lease)
    OtherStores.put(nil)
    begins = Lease.now() + @arrive_ms
    state = %__MODULE__{me: to_string(node()), incarnation: System.os_time(:millisecond), lease: lease, begins: begins}
    {:ok, state, {:continue, :renew}}
  end

  @impl true
  def handle_continue(:renew, state), do: {:noreply, begin(state)}

  @impl true
  # It has no actors.
  def handle_call(:report, _from, %{joins: %{stage: :refused}} = state), do: {:reply, nil, state}

  def handle_call(:report, _from, state) do
    now = Lease.now()
    shards = Enum.frequencies_by(Shards.all(), &owner(&1, state.me))
    names = Map.keys(state.nodes) ++ Map.keys(shards)

    nodes =
      for name <- names |> Enum.reject(&is_nil/1) |> Enum.uniq() |> Enum.sort() do
        left = if name == state.me, do: Lease.left_ms(state.lease), else: left(state.nodes[name], now)
        %{name: name, shards: Map.get(shards, name, 0), lease_ms: left && max(left, 0)}
      end

    report = %{
      nodes: nodes,
      unowned: Map.get(shards, nil, 0),
      unowned_ms: state.unowned_since && now - state.unowned_since,
      moving: with({to, shards, _monitor} <- state.move, do: %{to: to, shards: length(shards)})
    }

    {:reply, report, state}
  end

  defp left(nil, _now), do: nil
  defp left({_incarnation, until}, now), do: until - now

  defp owner({_shard, {:away, name}}, _me), do: name
  defp owner({_shard, :nobody}, _me), do: nil
  defp owner({_shard, _ours_or_moving}, me), do: me

  @impl true
  def handle_cast({:heard, said}, state) do
    # The table says which actors are to end until they have.
    state = expire(state)
    unless Lease.lasts?(state.lease), do: Shards.heard(said, state.me)
    {:noreply, state}
  end

  @impl true
  def handle_info(:renew, state), do: {:noreply, begin(%{state | timer: nil})}

  def handle_info({:tidepool_lease, id, answer}, state) do
    case Map.pop(state.asked, id) do
      {nil, _asked} -> {:noreply, state}
      {{what, lease}, asked} -> {:noreply, answered(what, lease, answer, %{state | asked: asked})}
    end
  end

  # All of a group sleep, or the process that saw to that has failed.
  def handle_info({:DOWN, monitor, :process, _pid, reason}, %{move: {to, shards, monitor}} = state) do
    if reason != :normal, do: Drain.kill(numbers(shards))
    {:noreply, hand(%{state | move: {to, shards, :handed}})}
  end

  def handle_info({:DOWN, monitor, :process, _pid, reason}, %{joins: %{monitor: monitor}} = state),
    do: {:noreply, state.joins |> Joining.ended(reason) |> found(state)}

  # Another node says what it has done: what it gave away, or that it gives all away.
  def handle_info({:tidepool_shards, from, {:moved, to, shards}}, state)
      when is_binary(from) and is_binary(to) and is_list(shards) do
    moved = for shard <- shards, {:away, ^from} <- [state(shard)], to != state.me, do: Shards.put(shard, {:away, to})
    # One that has come back by the next answer is where it was.
    if moved != [], do: Shards.doubted()
    {:noreply, if(to == state.me, do: look(state), else: state)}
  end

  def handle_info({:tidepool_shards, from, {:leaving, incarnation}}, state)
      when is_binary(from) and is_integer(incarnation),
      do: {:noreply, %{state | leaving: Handover.leaves(state.leaving, {from, incarnation}, Lease.now())}}

  # It was told to be about to leave, and has a lease again.
  def handle_info({:tidepool_shards, from, {:staying, incarnation}}, state)
      when is_binary(from) and is_integer(incarnation),
      do: {:noreply, %{state | leaving: Map.delete(state.leaving, {from, incarnation})}}

  # This node is about to be no member.
  def handle_info({:tidepool_shards, _from, {:hand_over, asker, mark}}, state)
      when is_pid(asker) and is_reference(mark) do
    tell(state, {:leaving, state.incarnation})
    {:noreply, unleased(look(%{state | handover: Handover.asked(state.handover, asker, mark)}))}
  end

  def handle_info({:tidepool_shards, _from, {:go_on, mark}}, state) when is_reference(mark),
    do: {:noreply, gone_on(state, mark)}

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state), do: {:noreply, gone_on(state, monitor)}
  def handle_info(_other, state), do: {:noreply, state}

  defp state(shard) do
    case :ets.lookup(Shards, shard) do
      [{_shard, state}] -> state
      [] -> nil
    end
  end

  # --- The lease ----------------------------------------------------------------------------------

  # Who has a lease is given shards.
  defp begin(%{begins: nil} = state), do: renew(state)

  defp begin(state) do
    if Arrivals.joining?() or ((Arrivals.count() > 0 or unmet?()) and Lease.now() < state.begins),
      do: wake_in(state, @look_ms),
      else: renew(%{state | begins: nil})
  end

  # Is there a node that is not known yet as one of the cluster?
  defp unmet?, do: Nodes.all() == %{} and Node.list(:hidden) != []

  defp renew(state) do
    state = state |> wake_in(@renew_ms) |> expire() |> opened() |> hand() |> unleased()

    # One that is given up is not to be given up after it was renewed.
    gives_up? = asking?(state, :release) or not Handover.may_lease?(state.handover)

    if asking?(state, :renew) or gives_up? or Voter.outside?(),
      do: state,
      else: ask(state, {:renew, Lease.now()}, &Native.lease_renew(&1, Lease.lasts_ms(), @ask_ms))
  end

  defp wake_in(state, ms) do
    if state.timer, do: Process.cancel_timer(state.timer)
    %{state | timer: Process.send_after(self(), :renew, ms)}
  end

  defp opened(%{records: nil} = state) do
    case Journal.open_shared(state.me, state.incarnation) do
      {:ok, records} -> %{state | records: records}
      {:error, error} -> say(state, :away, "actors wait for the store that nodes share: #{error.message}")
    end
  end

  defp opened(state), do: state

  defp ask(%{records: nil} = state, _what, _question), do: state
  defp ask(state, what, question), do: put_in(state.asked[question.(state.records)], {what, state.lease})

  defp asking?(state, kind), do: Enum.any?(state.asked, fn {_id, {what, _lease}} -> kind(what) == kind end)

  defp kind(what), do: elem(what, 0)

  # What was owned, or asked for, counts no more once the lease has run out, whatever the store still says.
  defp expire(state) do
    if Lease.lasts?(state.lease) do
      state
    else
      if Enum.any?(Shards.all(), &match?({_shard, {:ours, _epoch}}, &1)),
        do: Logger.warning("this node's lease of actors has run out: it answers for none until it has another")

      lapse(state)
    end
  end

  defp lapse(state) do
    owned = numbers(owned())
    Lease.finish(state.lease)
    lease = Lease.new()
    Shards.begin(lease)
    Drain.kill(owned)
    %{state | lease: lease, move: unresolved(state.move)}
  end

  # What the store was told to give away it may still give away.
  defp unresolved({_to, shards, :handed} = move) do
    for {shard, epoch} <- shards, do: Shards.put(shard, {:moving, epoch})
    move
  end

  defp unresolved({_to, _shards, monitor}) do
    Process.demonitor(monitor, [:flush])
    nil
  end

  defp unresolved(nil), do: nil

  defp owned, do: for({shard, {owned, epoch}} when owned in [:ours, :moving] <- Shards.all(), do: {shard, epoch})

  # --- The handover -------------------------------------------------------------------------------

  # All that was this node's is another's, as the store says. What is on its way may have it renewed, or give it some.
  defp handed_over(%{move: nil} = state) do
    on_their_way? = Enum.any?([:renew, :claim, :hand], &asking?(state, &1))
    if Handover.hands?(state.handover) and not on_their_way? and owned() == [], do: give_up(state), else: state
  end

  defp handed_over(state), do: state

  # Nothing is asked of the store without a lease, or before it is known whether other nodes have actors elsewhere.
  defp unleased(state) do
    owns_none? = not Lease.lasts?(state.lease) or state.joins.stage != :joined
    if owns_none?, do: handed_over(state), else: state
  end

  # No node gives shards to one without a lease.
  defp give_up(state) do
    state = %{lapse(state) | leased?: false, handover: Handover.gives_up(state.handover)}

    if state.records,
      do: ask(state, {:release}, &Native.lease_release(&1, @ask_ms)),
      else: %{state | handover: Handover.over(state.handover)}
  end

  # A member that stays one has a lease again, and its share; one that does not is refused it.
  defp gone_on(state, reference) do
    handover = Handover.ended(state.handover, reference)
    goes_on? = handover != state.handover and not Handover.under_way?(handover)
    state = %{state | handover: handover}
    if goes_on?, do: wake_in(state, 0), else: state
  end

  # --- Other stores -------------------------------------------------------------------------------

  defp found({:joined, joins}, state), do: look(%{state | joins: joins})
  defp found({:again, joins}, state), do: %{state | joins: joins}

  # No node is to give this one shards.
  defp found({:refused, joins}, state) do
    Shards.begun()
    state = say(lapse(state), :elsewhere, "this node has no actors: #{OtherStores.reason()}")
    if state.records, do: Native.lease_release(state.records, @ask_ms)
    %{state | joins: joins, leased?: false}
  end

  # --- What the store says --------------------------------------------------------------------------

  defp answered({:renew, asked_at}, _lease, {:ok, answer}, state) do
    # It has run out meanwhile, though it is renewed.
    state = expire(state)

    {state, nodes} =
      case answer do
        {:new, nodes} -> {begun(state), nodes}
        nodes -> {state, nodes}
      end

    Lease.renew(state.lease, asked_at)
    Shards.begun()
    now = Lease.now()
    nodes = Map.new(nodes, fn {name, incarnation, left_ms} -> {name, {incarnation, now + left_ms}} end)
    leaving = Handover.leave_still(state.leaving, nodes, now)
    state = known_to_stay(%{state | nodes: nodes, leaving: leaving, said: MapSet.delete(state.said, :away)})
    Shards.put_nodes(leased(state))
    state = sooner(state)
    look(%{state | joins: Joining.ask(state.joins, @process, leased(state))})
  end

  # Another start has this one's name, and its shards: a later one, or one before that may still live.
  defp answered({:renew, _asked_at}, _lease, {:error, :fenced, message}, state) do
    if state.leased?, do: Shards.begun()
    say(lapse(state), :away, "this node owns no actors: #{message}")
  end

  # Whether it is known to be given up or not: it ends by itself.
  defp answered({:release}, _lease, _answer, state), do: %{state | handover: Handover.over(state.handover)}

  # Of what was asked for under a lease that has run out only this counts, that shards were given away.
  defp answered({:hand, to, shards}, lease, {:ok, given}, state) do
    put(
      for {shard, epoch} <- given,
          match?({:moving, _epoch}, state(shard)),
          do: {shard, handed(to, epoch, lease == state.lease, state.me)}
    )

    tell(state, {:moved, to, numbers(given)})
    left = length(shards) - length(given)

    if left > 0,
      do: Logger.warning("#{left} shards of actors could not be given to #{to}: they were this node's no more")

    look(%{state | move: nil, turn: state.turn + 1})
  end

  defp answered(what, lease, {:ok, answer}, state),
    do: if(lease == state.lease, do: said(what, answer, state), else: state)

  # Whether it has given shards away is not known: what it did not, it gives back when it answers again, and with another epoch, so that
  # it gives them away no later.
  defp answered(what, _lease, {:error, _kind, message}, state) do
    state = say(expire(state), :away, "the store that nodes share does not answer: #{message}")
    if kind(what) == :hand, do: %{state | move: put_elem(state.move, 0, state.me)}, else: state
  end

  defp known_to_stay(state) do
    if Handover.under_way?(state.handover), do: tell(state, {:leaving, state.incarnation})
    {news?, handover} = Handover.leased(state.handover)
    if news?, do: tell(state, {:staying, state.incarnation})
    %{state | handover: handover}
  end

  # Nothing that this node has in memory is known to be in the store.
  defp begun(state) do
    if state.leased? do
      Logger.error(
        "the store that nodes share does not have this node's lease as it was renewed last, as when it was restored from a backup: " <>
          "what it has not got is lost, and actors are read anew"
      )
    end

    %{lapse(state) | leased?: true}
  end

  # What was said before shards were given, or taken, counts no more.
  defp said({:shards, turn}, _rows, state) when turn != state.turn, do: look(state)

  defp said({:shards, _turn}, rows, state) do
    gone = for {shard, epoch, owner} <- rows, lost?(shard, epoch, owner, state), do: shard

    put(
      for {shard, epoch, owner} <- rows, new = known(shard, epoch, owner, state), new != state(shard), do: {shard, new}
    )

    Shards.filled()
    Drain.kill(gone)
    state |> unowned(rows) |> plan(rows)
  end

  defp said({:claim, _shards}, given, state) do
    put(for {shard, epoch} <- given, do: {shard, {:ours, epoch}})
    state
  end

  # Whose a shard is that was given to a node. What has come back to this one did so under the lease under which that was asked for.
  defp handed(me, epoch, true, me), do: {:ours, epoch}
  defp handed(me, _epoch, false, me), do: :nobody
  defp handed(nil, _epoch, _same_lease?, _me), do: :nobody
  defp handed(to, _epoch, _same_lease?, _me), do: {:away, to}

  defp put(news) do
    for {shard, new} <- news, do: Shards.put(shard, new)
    # Whatever is due where others had the shard, or none.
    if Enum.any?(news, &match?({_shard, {:ours, _epoch}}, &1)), do: Alarm.owned()
  end

  # A shard that moves does so until the store has said what came of it.
  defp known(shard, epoch, owner, state) do
    cond do
      state.move != nil and match?({:moving, _epoch}, state(shard)) -> nil
      owner == state.me -> {:ours, epoch}
      owner == nil -> :nobody
      true -> {:away, owner}
    end
  end

  defp lost?(shard, epoch, owner, state) do
    case state(shard) do
      {:ours, held} -> {owner, epoch} != {state.me, held}
      _other -> false
    end
  end

  defp plan(state, rows) do
    live = live(state)

    # As at the end of a node, they go in large groups: no other node would give them back.
    group = if Handover.under_way?(state.handover), do: @last_group, else: @group

    case Rendezvous.claims(rows, state.me, live, leased(state)) do
      [] -> state |> move(Rendezvous.move(rows, state.me, live, group)) |> handed_over()
      claims -> ask(turned(state), {:claim, claims}, &Native.shards_claim(&1, claims, @ask_ms))
    end
  end

  defp turned(state), do: %{state | turn: state.turn + 1}

  defp leased(state) do
    now = Lease.now()
    for {name, {_incarnation, until}} <- state.nodes, until > now, do: name
  end

  defp live(state) do
    leaves? = Handover.under_way?(state.handover)

    for name <- leased(state),
        {start, _until} = state.nodes[name],
        not is_map_key(state.leaving, {name, start}),
        not (leaves? and name == state.me),
        do: name
  end

  # What is asked for once is asked for again when that has failed.
  defp hand(%{move: {to, shards, :handed}} = state) do
    if asking?(state, :hand),
      do: state,
      else: ask(turned(state), {:hand, to, shards}, &Native.shards_hand(&1, shards, to, @ask_ms))
  end

  defp hand(state), do: state

  defp move(%{move: nil} = state, {to, shards}) do
    for {shard, epoch} <- shards, do: Shards.put(shard, {:moving, epoch})
    numbers = numbers(shards)
    {_pid, monitor} = spawn_monitor(fn -> Drain.drain(numbers, @drain_ms) end)
    %{state | move: {to, shards, monitor}}
  end

  defp move(state, _none_or_one_is_under_way), do: state

  defp numbers(shards), do: for({shard, _epoch} <- shards, do: shard)

  # As long as it is not known whether other nodes have them elsewhere.
  defp look(%{joins: %{stage: stage}} = state) when stage != :joined, do: state

  # What the table says is asked for after each lease, and whenever it is known to have changed; one question at a time.
  defp look(state) do
    if Enum.any?([:shards, :claim, :hand], &asking?(state, &1)) or not Lease.lasts?(state.lease),
      do: state,
      else: ask(state, {:shards, state.turn}, &Native.shards(&1, @ask_ms))
  end

  # At the end of a lease that was not renewed, and not up to a second later.
  defp sooner(state) do
    now = Lease.now()

    ends =
      for {name, {_start, until}} <- state.nodes,
          name != state.me,
          until > now,
          until < now + @renew_ms,
          do: until - now

    if ends == [], do: state, else: wake_in(state, Enum.min(ends) + 10)
  end

  defp unowned(state, rows) do
    now = Lease.now()
    leased = leased(state)
    count = Enum.count(rows, fn {_shard, _epoch, owner} -> owner not in leased end)

    cond do
      count == 0 ->
        %{state | unowned_since: nil, said: MapSet.delete(state.said, :unowned)}

      state.unowned_since == nil ->
        %{state | unowned_since: now}

      now - state.unowned_since > 2 * Lease.lasts_ms() ->
        say(state, :unowned, "#{count} shards of actors have had no node for #{now - state.unowned_since} ms")

      true ->
        state
    end
  end

  defp say(state, what, text) do
    unless what in state.said, do: Logger.warning(text)
    %{state | said: MapSet.put(state.said, what)}
  end

  defp tell(state, what) do
    for {name, _until} <- state.nodes, name != state.me do
      Post.deliver({@process, String.to_atom(name)}, {:tidepool_shards, state.me, what})
    end
  end

  # --- The end of the node --------------------------------------------------------------------------

  @impl true
  def terminate(_reason, state) do
    if state.records, do: give_all_up(state)
    # Only now: until then the one that leads is asked for each step.
    Voter.give_up_lead()
  end

  defp give_all_up(state) do
    tell(state, {:leaving, state.incarnation})
    if Lease.lasts?(state.lease), do: leave(state, Lease.now() + @leave_ms)
    # Here it ends before another may have one.
    Lease.finish(state.lease)
    Native.lease_release(state.records, @ask_ms) |> wait()
  end

  # All that is this node's goes to those that ought to have it now: as ever, but in larger groups.
  defp leave(state, deadline) do
    live = List.delete(live(state), state.me)
    rows = for {shard, epoch} <- owned(), do: {shard, epoch, state.me}

    with true <- Lease.now() < deadline and Lease.lasts?(state.lease),
         {to, shards} <- Rendezvous.move(rows, state.me, live, @last_group) do
      for {shard, epoch} <- shards, do: Shards.put(shard, {:moving, epoch})
      Drain.drain(numbers(shards), @drain_ms)
      asked_at = Lease.now()
      _ = state.records |> Native.lease_renew(Lease.lasts_ms(), @ask_ms) |> wait() |> kept(state.lease, asked_at)

      case state.records |> Native.shards_hand(shards, to, @ask_ms) |> wait() do
        {:ok, given} ->
          for {shard, _epoch} <- shards, do: Shards.put(shard, if(to, do: {:away, to}, else: :nobody))
          tell(state, {:moved, to, numbers(given)})
          leave(state, deadline)

        {:error, _kind, message} ->
          Logger.warning("shards of actors could not be handed on, and are left to be claimed: #{message}")
      end
    end
  end

  # One that has run out meanwhile is over: others may have what was owned under it.
  defp kept({:ok, nodes}, lease, asked_at) when is_list(nodes),
    do: if(Lease.lasts?(lease), do: Lease.renew(lease, asked_at))

  defp kept(_new_or_error, _lease, _asked_at), do: :ok

  defp wait(id) do
    receive do
      {:tidepool_lease, ^id, answer} -> answer
    after
      2 * @ask_ms -> {:error, :no_store, "it does not answer"}
    end
  end
end
