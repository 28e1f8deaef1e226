defmodule Tidepool.Actor.Replication.Ring do
  @moduledoc """
  The process of `Tidepool.Actor.Replication.Membership`: what it is told, and what it does. It writes the table of shards
  (`Tidepool.Actor.Ownership.Shards`) of a node whose cluster shares no store.
  """

  use GenServer

  require Logger

  alias Tidepool.{Events, Nodes}
  alias Tidepool.Actor.Alarm
  alias Tidepool.Actor.Ownership.{Drain, OtherStores, Rendezvous, Shards}
  alias Tidepool.Actor.Replication.{AntiEntropy, Backlog, Membership, MissingModules, PeerHealth}
  alias Tidepool.Catalog.Arrivals
  alias Tidepool.Nodes.{Ask, Protocol, Requests}

  # What older nodes tell.
  @process :"Elixir.Tidepool.Actor.Owner.Ring"
  @protocol %Protocol{server: @process, tag: :tidepool_ring, version: 1, what: "shards of actors", form: :told}
  @tick_ms 200
  # How long actors may take that are another's by now; and a node that ends, for all.
  @drain_ms 5_000
  @leave_ms 20_000
  # There is one epoch, and no lease.
  @ours {:ours, 1}

  @enforce_keys [:members, :owner, :requests]
  # `owner` is the process in place of this one on nodes that share a store. `watched` has monitors of other nodes' processes, and `linking`
  # those of who links with nodes, by the nodes' names. `round` and `asks` are {pid, monitor} of who goes round, and of who asks.
  defstruct @enforce_keys ++ [watched: %{}, linking: %{}, round: nil, asks: nil]

  @doc false
  def child_spec(argument),
    do: %{id: __MODULE__, start: {__MODULE__, :start_link, [argument]}, shutdown: @leave_ms + 5_000}

  @doc false
  def start_link(owner), do: GenServer.start_link(__MODULE__, owner, name: @process)

  @doc "The name of the process."
  @spec process :: atom
  def process, do: @process

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
    if Shards.ring?() and AntiEntropy.classes() != %{} do
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

  @doc "Has this node actors in a store of its own, beside those of other nodes?"
  @spec own? :: boolean
  def own?, do: Shards.ring?() and Shards.all() != [] and AntiEntropy.classes() != %{}

  @doc "Another node asks as one that is there: it is from now on, if it is one of the cluster."
  @spec know(node) :: :ok
  def know(node) do
    if to_string(node) in Shards.nodes(), do: :ok, else: GenServer.call(@process, {:know, node}, 1_000)
  catch
    :exit, _busy_or_gone -> :ok
  end

  @impl true
  def init(owner) do
    # So that actors are handed on at the end.
    Process.flag(:trap_exit, true)
    # Those of a process before this one.
    Drain.kill(0..(Shards.count() - 1))
    Shards.new(nil)
    OtherStores.put(nil)
    Events.subscribe()
    send(self(), :tick)
    members = Membership.new(to_string(node()), self(), now(), AntiEntropy.classes() != %{})
    {:ok, %__MODULE__{members: members, owner: owner, requests: Requests.new(@protocol, fn -> [] end)}}
  end

  @impl true
  def handle_call({:know, node}, _from, state), do: {:reply, :ok, handle(state, {:asks, to_string(node)})}

  @doc false
  # Is there nothing to be done at the moment? For tests.
  def handle_call(:settled?, _from, state),
    do: {:reply, state.round == nil and Membership.settled?(state.members), state}

  @impl true
  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, @tick_ms)
    {:noreply, handle(state, :tick)}
  end

  def handle_info({:tidepool_event, %{event: :deployed, name: name}}, state),
    do: {:noreply, if(AntiEntropy.class?(name), do: handle(state, :deployed), else: state)}

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    name = to_string(node(pid))

    case state do
      %{round: {^pid, ^monitor}} -> {:noreply, handle(%{state | round: nil}, {:round, outcome(reason)})}
      %{asks: {^pid, ^monitor}} -> {:noreply, handle(%{state | asks: nil}, {:stores, found(reason)})}
      %{watched: %{^pid => ^monitor}} -> {:noreply, handle(unwatch(state, pid), {:down, name, pid})}
      _linking -> {:noreply, %{state | linking: Map.reject(state.linking, fn {_name, one} -> one == monitor end)}}
    end
  end

  def handle_info(message, state) do
    more = fn -> Membership.peers(state.members) end

    Requests.handle(state, message, more, fn %{to: pid, question: what}, state ->
      handle(state, {:told, to_string(node(pid)), pid, what})
    end)
  end

  defp outcome({:done, names}) when is_list(names), do: {:done, names}
  defp outcome({:done, _nothing}), do: {:done, []}
  defp outcome(:killed), do: :aborted
  defp outcome(reason), do: {:failed, reason}

  # Of one that has failed nothing is known, and that is as if there were none.
  defp found({:done, found}), do: found
  defp found(_failed), do: nil

  defp handle(state, event) do
    {effects, members} = Membership.handle(state.members, event, view(state))
    Enum.reduce(effects, %{state | members: members}, &act/2)
  end

  defp view(state) do
    known = Map.values(Nodes.all())

    %{
      now: now(),
      me: to_string(node()),
      alive?: Node.alive?(),
      joining?: Arrivals.joining?(),
      arriving?: Arrivals.count() > 0,
      known: known,
      linked: Enum.filter(known, &Nodes.linked?(String.to_atom(&1))),
      strangers?: Node.list(:hidden) != [],
      full: state.members |> Membership.peers() |> Enum.filter(&PeerHealth.full?/1),
      modules?: MissingModules.due?()
    }
  end

  # --- Effects --------------------------------------------------------------------------------------

  defp act({:tell, name, what}, state) do
    Ask.tell(@protocol, {@process, String.to_atom(name)}, self(), what)
    state
  end

  defp act({:watch, _name, pid}, state), do: put_in(state.watched[pid], Process.monitor(pid))
  defp act({:unwatch, _name, pid}, state), do: unwatch(state, pid)

  defp act({:hold, name}, state) do
    name |> String.to_atom() |> Nodes.hold()
    state
  end

  defp act({:link, name}, state) when is_map_key(state.linking, name), do: state

  defp act({:link, name}, state) do
    number = Nodes.number(name)
    {_pid, monitor} = spawn_monitor(fn -> Nodes.reach(number) end)
    put_in(state.linking[name], monitor)
  end

  defp act({:nodes, names}, state), do: done(Shards.put_nodes(names), state)
  defp act({:unsynced, names}, state), do: done(Shards.put_unsynced(names), state)
  defp act({:own, names}, state), do: done(own(names, to_string(node())), state)

  defp act({:ask_stores, names}, state) do
    owner = state.owner
    %{state | asks: spawn_monitor(__MODULE__, :going, [fn -> OtherStores.sharing(owner, names) end])}
  end

  defp act({:found_stores, found}, state) do
    OtherStores.put(found)

    if found != nil and PeerHealth.tell?(:sharing),
      do: Logger.warning("this node has no actors: #{OtherStores.reason()}")

    state
  end

  defp act({:begin_round, what, names}, state),
    do: %{state | round: spawn_monitor(__MODULE__, :going, [fn -> go_round(what, names) end])}

  defp act(:abort_round, %{round: {pid, _monitor}} = state), do: done(Process.exit(pid, :kill), state)
  defp act(:abort_round, state), do: state
  defp act({:backlog, which}, state), do: handle(state, {:behind, Backlog.list(which)})
  defp act(:owe, state), do: done(Backlog.owe(), state)
  defp act(:hurry, state), do: done(MissingModules.hurry(), state)
  defp act({:hand_over, names}, state), do: done(hand_over(names), state)
  defp act({:warn, text}, state), do: done(Logger.warning(text), state)

  defp done(_done, state), do: state

  defp unwatch(state, pid) do
    {monitor, watched} = Map.pop(state.watched, pid)
    if monitor, do: Process.demonitor(monitor, [:flush])
    %{state | watched: watched}
  end

  defp own(names, me) do
    before = Map.new(Shards.all())

    news =
      for shard <- 0..(Shards.count() - 1),
          owner = Rendezvous.owner(shard, names),
          new = if(owner == me, do: @ours, else: {:away, owner}),
          before[shard] != new,
          do: {shard, new}

    for {shard, new} <- news, do: Shards.put(shard, new)
    lost = for {shard, {:away, _node}} <- news, before[shard] == @ours, do: shard
    if lost != [], do: spawn(fn -> Drain.drain(lost, @drain_ms) end)
    # Whatever is due where others had the shard.
    if Enum.any?(news, &match?({_shard, @ours}, &1)), do: Alarm.owned()
    :ok
  end

  @doc false
  @spec going((() -> term)) :: no_return
  def going(fun), do: exit({:done, fun.()})

  defp go_round(:modules, names), do: MissingModules.bring(names)
  defp go_round(:all, names), do: AntiEntropy.run(names, false)
  defp go_round(:tidy, names), do: AntiEntropy.run(names, true)
  defp go_round(:purge, _names), do: AntiEntropy.purge()
  defp go_round({:missed, actors}, names), do: AntiEntropy.catch_up(names, actors)

  # Calls that come from now on are the others'.
  defp hand_over(others) do
    shards = 0..(Shards.count() - 1)
    for shard <- shards, do: Shards.put(shard, {:away, Rendezvous.owner(shard, others)})
    Drain.drain(shards, @drain_ms)
    {pid, monitor} = spawn_monitor(fn -> AntiEntropy.run(others, false) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    after
      @leave_ms - @drain_ms -> Process.exit(pid, :kill)
    end
  end

  @impl true
  def terminate(_reason, state) do
    handle(state, :stop)
    :ok
  end

  defp now, do: System.monotonic_time(:millisecond)
end
