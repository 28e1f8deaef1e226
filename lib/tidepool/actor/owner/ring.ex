defmodule Tidepool.Actor.Owner.Ring do
  @moduledoc """
  Which node of a cluster without a shared store has which actors: of the nodes that are there, as this one knows it, each shard is the
  first's in its order (`Tidepool.Actor.Owner.Balance`). So both sides of a network that is parted have all actors, and nodes that meet
  again, or come, take their share at once.

  Nothing is done before there is such a class, here or on another node. Then nodes are there that have said hello, until that process
  or the link is gone; all of them are linked with each other. A node that starts says hello when it knows what is deployed and has most
  of that, and owns nothing before the nodes that it knows have answered:

      {:tidepool_ring, version, pid, :hello | {:synced, with} | :leaving}, with the pids of those that it has sent to, its own included

  A node is *synced* when it has sent all that it has of actors (`Tidepool.Actor.Copies.Rounds`) to the nodes that are there, and to no
  other; until then whoever wakes an actor asks it first. So when a node is lost, the one that has its actors next asks all others for
  those, for its own copies may be behind theirs. One that ends says that it leaves, has its actors sleep, and sends what the others
  should have.
  """

  use GenServer

  require Logger

  alias Tidepool.Events
  alias Tidepool.Actor.Alarm
  alias Tidepool.Actor.Copies.{Behind, Hold, Rounds, Wanted}
  alias Tidepool.Actor.Owner.{Balance, Draining, Elsewhere, Shards}
  alias Tidepool.Catalog.Arrivals
  alias Tidepool.Process.{Asked, Nodes}

  # A part of the protocol.
  @version 1
  @tick_ms 200
  # How long a node that starts waits for what others have deployed, and then for them.
  @arrive_ms 15_000
  @meet_ms 2_000
  # After a round in which a node could not be told, and in which one had no room; and after which time nobody comes or goes for what is
  # not this node's any more.
  @again_ms 3_000
  @full_ms 30_000
  @tidy_ms 60_000
  # How often tombstones are looked through for old ones, whatever else happens.
  @purge_ms 3_600_000
  # How long actors may take that are another's by now; and a node that ends, for all.
  @drain_ms 5_000
  @leave_ms 20_000
  # There is one epoch, and no lease.
  @ours {:ours, 1}

  defstruct [
    :me,
    # Who is there in place of this one on nodes that share a store.
    :owner,
    # :starts, {:meets, until}, {:asks, the monitor of who asks}, :there
    stage: :starts,
    begins: nil,
    # Is there a class, or another node that has one?
    wanted?: false,
    # Other nodes, by their names: %{pid, monitor, synced, leaving?}; `synced` are the pids of those with whom it was, the last time.
    peers: %{},
    # Monitors of those who link with nodes, by the nodes' names.
    linking: %{},
    # Who goes round: {pid, monitor, :round | :missed, pids of those with whom}; when the next round is due, and whether it tidies up.
    round: nil,
    due: nil,
    changed_at: 0,
    # When what was missed is looked at next, and when what was offered in vain.
    catches_up_at: nil,
    retries_at: nil,
    tidied?: false,
    purged_at: nil,
    admitted: nil
  ]

  @doc false
  def child_spec(argument),
    do: %{id: __MODULE__, start: {__MODULE__, :start_link, [argument]}, shutdown: @leave_ms + 5_000}

  @doc false
  def start_link(owner), do: GenServer.start_link(__MODULE__, owner, name: __MODULE__)

  @doc "Which node has how many shards, and whether it has sent this one all of its actors; `nil` where no class wants that."
  @spec report ::
          %{
            nodes: [%{name: String.t(), shards: non_neg_integer, lease_ms: nil, synced: boolean}],
            unowned: non_neg_integer,
            unowned_ms: nil,
            moving: nil
          }
          | nil
  def report do
    if Shards.ring?() and Rounds.classes() != %{} do
      me = to_string(node())
      shards = Enum.frequencies_by(Shards.all(), &owner(&1, me))
      unsynced = Shards.unsynced()

      nodes =
        for name <- Enum.sort(Enum.uniq([me | Shards.nodes()])),
            do: %{name: name, shards: Map.get(shards, name, 0), lease_ms: nil, synced: name not in unsynced}

      %{
        nodes: nodes,
        unowned: Shards.count() - (shards |> Map.delete(nil) |> Map.values() |> Enum.sum()),
        unowned_ms: nil,
        moving: nil
      }
    end
  end

  defp owner({_shard, {:ours, _epoch}}, me), do: me
  defp owner({_shard, {:away, name}}, _me), do: name
  defp owner(_unowned, _me), do: nil

  @doc "Another node asks as one that is there: it is from now on, if it is one of the cluster."
  @spec know(node) :: :ok
  def know(node) do
    if to_string(node) in Shards.nodes(), do: :ok, else: GenServer.call(__MODULE__, {:know, node}, 1_000)
  catch
    :exit, _busy_or_gone -> :ok
  end

  @impl true
  def init(owner) do
    # So that actors are handed on at the end.
    Process.flag(:trap_exit, true)
    # Those of a process before this one.
    Draining.kill(0..(Shards.count() - 1))
    Shards.new(nil)
    Elsewhere.put([])
    Events.subscribe()
    send(self(), :tick)

    {:ok,
     %__MODULE__{
       me: to_string(node()),
       owner: owner,
       begins: now() + @arrive_ms,
       wanted?: Rounds.classes() != %{},
       admitted: Asked.new("shards of actors", @version)
     }}
  end

  @impl true
  def handle_call({:know, node}, _from, state) do
    name = to_string(node)

    with true <- Nodes.known?(node) and state.stage != :starts and not is_map_key(state.peers, name),
         do: hello(node)

    {:reply, :ok, state}
  end

  @impl true
  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, @tick_ms)
    {:noreply, state |> renamed() |> begun() |> meet() |> go_round()}
  end

  # It may have more copies than before.
  def handle_info({:tidepool_event, %{event: :deployed, name: name}}, state) do
    if Rounds.class?(name),
      do: {:noreply, %{state | wanted?: true} |> owing() |> begun() |> meet()},
      else: {:noreply, state}
  end

  def handle_info({:tidepool_ring, version, pid, what}, state) when is_pid(pid) do
    {admitted, asked} = Asked.admit(state.admitted, node(pid), version, fn -> Map.keys(state.peers) end)
    state = %{state | admitted: asked, wanted?: state.wanted? or admitted == :ok}

    {:noreply,
     if(admitted == :ok and state.stage != :starts, do: told(what, pid, to_string(node(pid)), state), else: state)}
  end

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    name = to_string(node(pid))

    case state do
      %{peers: %{^name => %{monitor: ^monitor}}} -> {:noreply, changed(%{state | peers: Map.delete(state.peers, name)})}
      %{round: {^pid, ^monitor, what, pids}} -> {:noreply, gone_round(what, reason, pids, %{state | round: nil})}
      %{stage: {:asks, ^monitor}} -> {:noreply, asked(reason, state)}
      _linking -> {:noreply, %{state | linking: Map.reject(state.linking, fn {_name, one} -> one == monitor end)}}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  # --- Who is there ---------------------------------------------------------------------------------

  defp told(:hello, pid, name, state) do
    case state.peers do
      %{^name => %{pid: ^pid}} ->
        state

      peers ->
        with %{^name => %{monitor: before}} <- peers, do: Process.demonitor(before, [:flush])
        hello(node(pid))
        peer = %{pid: pid, monitor: Process.monitor(pid), synced: nil, leaving?: false}
        changed(%{state | peers: Map.put(peers, name, peer)})
    end
  end

  defp told({:synced, [_ | _] = pids}, pid, name, state) do
    with %{peers: %{^name => %{pid: ^pid}}} <- state do
      state = put_in(state.peers[name].synced, pids)
      Shards.put_unsynced(unsynced(state))
      state
    end
  end

  # Nobody else has the last of its actors until it has sent them.
  defp told(:leaving, pid, name, state) do
    with %{peers: %{^name => %{pid: ^pid} = peer}} <- state,
         do: changed(put_in(state.peers[name], %{peer | leaving?: true, synced: nil}))
  end

  defp told(_of_a_later_version, _pid, _name, state), do: state

  defp hello(node), do: tell(node, :hello)

  defp tell(node, what),
    do: :erlang.send({__MODULE__, node}, {:tidepool_ring, @version, self(), what}, [:noconnect, :nosuspend])

  defp renamed(%{me: me} = state) do
    case to_string(node()) do
      ^me -> state
      name -> changed(%{state | me: name, stage: :starts, begins: now() + @arrive_ms})
    end
  end

  defp begun(%{wanted?: false} = state), do: state

  defp begun(%{stage: :starts} = state) do
    if not Node.alive?() or Arrivals.joining?() or (Arrivals.count() > 0 and now() < state.begins),
      do: state,
      else: %{state | stage: {:meets, now() + @meet_ms}}
  end

  defp begun(%{stage: {:meets, until}} = state) do
    missing = Enum.reject(Map.values(Nodes.all()), &is_map_key(state.peers, &1))
    linked? = Nodes.all() != %{} or Node.list(:hidden) == []

    cond do
      missing == [] and linked? -> arrived(state)
      now() <= until -> state
      state.peers != %{} -> arrived(state)
      true -> ask(missing, state)
    end
  end

  defp begun(state), do: state

  defp arrived(state) do
    Elsewhere.put([])
    changed(%{state | stage: :there})
  end

  # Nobody answers: others may have actors in a store that they share.
  defp ask(names, state) do
    owner = state.owner
    {_pid, monitor} = spawn_monitor(__MODULE__, :going, [fn -> Elsewhere.ask(owner, names) end])
    %{state | stage: {:asks, monitor}}
  end

  defp asked({:done, [_one | _more] = names}, state) do
    Elsewhere.put(names)
    if Hold.tell?(:sharing), do: Logger.warning("this node has no actors: #{Elsewhere.reason()}")
    %{state | stage: {:meets, now() + @meet_ms}}
  end

  defp asked(_none_or_failed, state), do: arrived(state)

  # All that are known and have not answered.
  defp meet(%{stage: :starts} = state), do: state

  defp meet(state) do
    for {number, name} <- Nodes.all(), not is_map_key(state.peers, name), reduce: state do
      state ->
        node = String.to_atom(name)

        cond do
          Nodes.linked?(node) ->
            Nodes.hold(node)
            hello(node)
            state

          is_map_key(state.linking, name) ->
            state

          true ->
            {_pid, monitor} = spawn_monitor(fn -> Nodes.reach(number) end)
            put_in(state.linking[name], monitor)
        end
    end
  end

  # --- Whose shards are whose -----------------------------------------------------------------------

  defp changed(state) do
    Shards.put_unsynced(unsynced(state))
    Shards.put_nodes(there(state))
    own(state)
    with {pid, _monitor, :missed, _pids} <- state.round, do: Process.exit(pid, :kill)
    Wanted.hurry()
    owing(state)
  end

  defp owing(state) do
    if state.wanted?, do: Behind.owe()
    %{state | due: now(), changed_at: now(), tidied?: false}
  end

  # One that is lost may have been sent what this node has not: whoever counted on it then has to send to the others again.
  defp unsynced(state) do
    pids = pids(state)
    for {name, %{synced: synced}} <- state.peers, synced == nil or synced -- pids != [], do: name
  end

  defp there(state), do: [state.me | for({name, %{leaving?: false}} <- state.peers, do: name)]
  defp pids(state), do: [self() | for({_name, %{leaving?: false, pid: pid}} <- state.peers, do: pid)]

  defp own(%{stage: :there} = state), do: own(state, there(state))
  defp own(_state), do: :ok

  defp own(state, nodes) do
    before = Map.new(Shards.all())

    news =
      for shard <- 0..(Shards.count() - 1),
          owner = Balance.owner(shard, nodes),
          new = if(owner == state.me, do: @ours, else: {:away, owner}),
          before[shard] != new,
          do: {shard, new}

    for {shard, new} <- news, do: Shards.put(shard, new)
    lost = for {shard, {:away, _node}} <- news, before[shard] == @ours, do: shard
    if lost != [], do: spawn(fn -> Draining.drain(lost, @drain_ms) end)
    # Whatever is due where others had the shard.
    if Enum.any?(news, &match?({_shard, @ours}, &1)), do: Alarm.owned()
    :ok
  end

  # --- Rounds ---------------------------------------------------------------------------------------

  defp go_round(%{stage: :there, round: nil} = state) do
    now = now()

    cond do
      map_size(state.peers) > 0 and Wanted.due?() ->
        nodes = there(state)
        begin_round(state, :modules, fn -> Wanted.bring(nodes) end)

      state.due != nil and now >= state.due ->
        nodes = there(state)
        begin_round(%{state | due: nil}, :round, fn -> Rounds.run(nodes, false) end)

      map_size(state.peers) > 0 and not state.tidied? and now - state.changed_at > @tidy_ms ->
        nodes = there(state)
        begin_round(%{state | tidied?: true}, :tidy, fn -> Rounds.run(nodes, true) end)

      now - (state.purged_at || state.changed_at) > @purge_ms ->
        begin_round(%{state | purged_at: now}, :purge, fn -> Rounds.purge() end)

      map_size(state.peers) > 0 and now >= (state.catches_up_at || now) ->
        # What a node has no room for stays missed, and is not offered all the time.
        at = if full?(state), do: now + @again_ms, else: now
        again? = now >= (state.retries_at || now)
        state = if again?, do: %{state | retries_at: now + @again_ms}, else: state
        catch_up(%{state | catches_up_at: at}, Behind.list(if(again?, do: :all, else: :new)))

      true ->
        state
    end
  end

  defp go_round(state), do: state

  defp catch_up(state, []), do: state
  defp catch_up(state, :all), do: %{state | due: state.due || now()}

  defp catch_up(state, missed) do
    nodes = there(state)
    begin_round(state, :missed, fn -> Rounds.catch_up(nodes, missed) end)
  end

  defp begin_round(state, what, fun) do
    {pid, monitor} = spawn_monitor(__MODULE__, :going, [fun])
    %{state | round: {pid, monitor, what, pids(state)}}
  end

  @doc false
  @spec going((() -> term)) :: no_return
  def going(fun), do: exit({:done, fun.()})

  # Those who have all of it need not be asked again who wakes an actor.
  defp gone_round(what, {:done, synced}, pids, state) when what in [:round, :tidy] do
    # A node that has started again since then was sent nothing.
    for name <- synced, %{pid: pid} <- [state.peers[name]], pid in pids, do: tell(node(pid), {:synced, pids})
    all? = Enum.all?(there(state), &(&1 == state.me or &1 in synced))
    if all?, do: state, else: again(state)
  end

  defp gone_round(what, {:done, _outcome}, _pids, state) when what in [:missed, :purge, :modules], do: state
  # All are looked through instead.
  defp gone_round(:missed, :killed, _pids, state), do: %{state | due: now()}

  defp gone_round(_what, reason, _pids, state) do
    Logger.warning("copies of actors could not be looked through, which is done again: #{inspect(reason)}")
    again(state)
  end

  defp again(state) do
    at = now() + if(full?(state), do: @full_ms, else: @again_ms)
    %{state | due: min(state.due || at, at)}
  end

  defp full?(state), do: Enum.any?(Map.keys(state.peers), &Hold.full?/1)

  # --- The end of the node --------------------------------------------------------------------------

  @impl true
  def terminate(_reason, state) do
    pids = for {_name, %{pid: pid, leaving?: false}} <- state.peers, do: pid
    others = there(state) -- [state.me]
    for pid <- pids, do: tell(node(pid), :leaving)

    if others != [] and state.stage == :there do
      # Calls that come from now on are the others'.
      for shard <- 0..(Shards.count() - 1), do: Shards.put(shard, {:away, Balance.owner(shard, others)})
      Draining.drain(0..(Shards.count() - 1), @drain_ms)
      {pid, monitor} = spawn_monitor(fn -> Rounds.run(others, false) end)

      receive do
        {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
      after
        @leave_ms - @drain_ms -> Process.exit(pid, :kill)
      end

      for pid <- pids, do: tell(node(pid), {:synced, pids})
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
