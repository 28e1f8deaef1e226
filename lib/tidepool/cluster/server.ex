defmodule Tidepool.Cluster.Server do
  @moduledoc """
  The process that drives `Tidepool.Cluster.Gossip`: it owns the links to other nodes (`Tidepool.Cluster.Links`), carries
  messages over them, and does what gossip decides.

  A node that has just started is *joining* until its catalog equals that of a peer, or nobody is there to ask, or a few
  seconds have passed: what it does not know by then is not deployed.

  While the VM is not distributed this process sleeps, and looks now and then whether it has become so.
  """

  use GenServer

  require Logger

  alias Tidepool.{Catalog, Config, Events, Log, Nodes}
  alias Tidepool.Catalog.{Arrivals, Clock, Digest, Entry, State}
  alias Tidepool.Cluster.{Gossip, Links, Notices, Reconciler, Traffic, Waiters, Wire}
  alias Tidepool.Cluster.Links.Discovery
  alias Tidepool.Cluster.Report.Spread
  alias Tidepool.Log.Once

  @tick_ms 250
  # Loads that end within so long of each other are told to others together.
  @ready_ms 25
  # How long an answer may take that is due at once.
  @answer_ms 5_000
  # How long a node that starts waits for its first exchange.
  @joining_ms 3_000

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @doc "What this node knows of the cluster; `:alone` while the VM is not distributed."
  @spec view ::
          {:ok,
           %{
             node: String.t(),
             live: %{String.t() => Tidepool.Cluster.Report.t() | nil},
             lost: [String.t()],
             apart: [String.t()],
             skews: %{String.t() => integer},
             root: Digest.hash(),
             functions: [{name :: String.t(), Digest.hash(), State.listed() | Clock.stamp()}]
           }}
          | :alone
  def view, do: GenServer.call(__MODULE__, :view)

  @doc "The nodes that have joined, as events tell of them."
  @spec joined :: {:ok, [String.t()]} | :alone
  def joined, do: GenServer.call(__MODULE__, :joined)

  @doc """
  Figures: nodes that are linked with this one, can be reached (this one included) and are lost; functions that it can't
  serve yet; messages and their bytes since its process has started.
  """
  @spec figures :: {:ok, keyword(non_neg_integer)} | :alone
  def figures, do: GenServer.call(__MODULE__, :figures)

  @doc "Has all nodes forget one that is lost."
  @spec forget(String.t()) :: :ok | :reachable | :unknown | :alone
  def forget(name), do: GenServer.call(__MODULE__, {:forget, name})

  @doc """
  Waits until the nodes of `extent` can serve the entry of this name, if it still is the one with this stamp, or `timeout` ms are
  over.
  """
  @spec await(String.t(), Clock.stamp(), Tidepool.Cluster.extent(), timeout :: non_neg_integer) ::
          {:ok | :timeout | :superseded, Tidepool.Cluster.spread()} | :alone
  def await(name, stamp, extent, timeout) do
    # It answers in time by itself.
    GenServer.call(__MODULE__, {:await, name, stamp, extent, timeout}, timeout + @answer_ms)
  end

  @impl true
  def init(config) do
    links = Links.new(__MODULE__, Config.open?(config), Wire.version())
    # What was read to begin with is much.
    {:ok, begin(%{config: config, name: nil, gossip: nil, links: links}), :hibernate}
  end

  defp begin(state) do
    if Node.alive?() do
      Logger.info("Tidepool looks for other nodes by #{Discovery.describe(state.config)}")
      :ok = :net_kernel.monitor_nodes(true, node_type: :all)
      # Before: a change that is made now is known, told, or both, which does no harm.
      Events.subscribe_to_changes()
      {context, entries} = Catalog.known()
      name = to_string(node())
      open? = state.links.open?
      {withheld, shared} = Enum.split_with(entries, &Entry.withheld?(&1, open?))
      if withheld != [], do: Logger.warning(Notices.withheld(Enum.map(withheld, & &1.name)))
      options = [max_skew_ms: state.config.max_skew, open?: open?]
      gossip = Gossip.new(name, State.new(context, shared, &Catalog.entry/1), now(), options)
      Process.send_after(self(), :tick, @tick_ms)
      Process.send_after(self(), :joined, @joining_ms)
      Arrivals.joining(@joining_ms)
      Process.send_after(self(), :discover, jitter(state.config.discovery_interval))

      state =
        Map.merge(state, %{
          name: name,
          gossip: gossip,
          # The task that looks for nodes, and what the last one has found.
          looking: nil,
          origins: nil,
          joined?: false,
          waiters: Waiters.new(),
          # What can be called since it was last told; `nil` when that may be told at once.
          ready: nil,
          # Nodes that were met and are not to be linked with.
          apart: MapSet.new(),
          traffic: Traffic.new(),
          logged: Once.new()
        })

      %{look(state) | links: Enum.reduce(Node.list(:connected), state.links, &Links.handshake(&2, &1))}
    else
      Process.send_after(self(), :distributed?, state.config.discovery_interval)
      state
    end
  end

  @impl true
  def handle_call(_question, _from, %{gossip: nil} = state), do: {:reply, :alone, state}

  def handle_call(:view, _from, state) do
    gossip = state.gossip

    # The catalog's state is megabytes for each ten thousand names, those that were removed among them.
    view = %{
      node: state.name,
      live: Gossip.live(gossip),
      lost: Gossip.lost(gossip),
      apart: Enum.sort(state.apart),
      skews: Gossip.skews(gossip),
      root: gossip.catalog.digest.root,
      functions: State.live(gossip.catalog)
    }

    {:reply, {:ok, view}, state}
  end

  def handle_call(:joined, _from, state), do: {:reply, {:ok, Gossip.joined(state.gossip)}, state}

  def handle_call(:figures, _from, %{gossip: gossip} = state) do
    figures = [
      nodes_linked: Links.count(state.links),
      nodes_alive: map_size(Gossip.live(gossip)),
      nodes_lost: length(Gossip.lost(gossip)),
      functions_pending: Gossip.pending(gossip)
    ]

    {:reply, {:ok, figures ++ Map.to_list(state.traffic)}, state}
  end

  def handle_call({:forget, name}, _from, state) do
    cond do
      is_map_key(Gossip.live(state.gossip), name) -> {:reply, :reachable, state}
      name not in Gossip.lost(state.gossip) -> {:reply, :unknown, state}
      true -> {:reply, :ok, state |> feed({:forget, name}) |> log(:info, name, Notices.forgotten(name))}
    end
  end

  def handle_call({:await, name, stamp, extent, timeout}, from, state) do
    version = %{name: name, stamp: stamp, extent: extent}
    {:noreply, %{state | waiters: Waiters.add(state.waiters, from, version, timeout, &standing(state, &1))}}
  end

  @impl true
  def handle_cast(_event, %{gossip: nil} = state), do: {:noreply, state}

  def handle_cast({:pending, entries}, state), do: {:noreply, feed(state, {:pending, entries})}

  def handle_cast({:ready, entries}, %{ready: nil} = state) do
    Process.send_after(self(), :ready, @ready_ms)
    {:noreply, tell_ready(state, entries)}
  end

  def handle_cast({:ready, entries}, state), do: {:noreply, %{state | ready: entries ++ state.ready}}

  # A change that was made on this node.
  @impl true
  def handle_info({:tidepool_change, %Entry{} = entry}, state) do
    state = feed(state, {:local, [entry]})

    # While the catalog wrote it down, something later may have come from elsewhere: that is still to be loaded.
    if current?(state, entry) do
      Reconciler.cancel([entry.name])
      {:noreply, feed(state, {:ready, [entry]})}
    else
      {:noreply, state}
    end
  end

  def handle_info(:distributed?, state) do
    state = begin(state)
    if state.gossip, do: Reconciler.report()
    {:noreply, state}
  end

  # Distribution was stopped, or started under another name.
  def handle_info(:tick, %{name: name} = state) do
    if to_string(node()) == name do
      Process.send_after(self(), :tick, @tick_ms)
      {:noreply, feed(state, :tick)}
    else
      {:stop, {:shutdown, :renamed}, state}
    end
  end

  def handle_info(:joined, state) do
    unless state.joined?, do: Arrivals.joined()
    {:noreply, look_again(%{state | joined?: true})}
  end

  def handle_info(:ready, %{ready: []} = state), do: {:noreply, %{state | ready: nil}}

  def handle_info(:ready, state) do
    Process.send_after(self(), :ready, @ready_ms)
    {:noreply, tell_ready(state, Enum.reverse(state.ready))}
  end

  def handle_info(:discover, state) do
    Process.send_after(self(), :discover, jitter(state.config.discovery_interval))
    # Where an answer takes longer than the interval there is one question at a time all the same.
    {:noreply, if(Process.alive?(state.looking), do: state, else: look(state))}
  end

  def handle_info({:found, origins}, state) do
    {:noreply, %{state | origins: origins} |> feed({:found, Map.keys(origins)}) |> look_joined()}
  end

  def handle_info({:connected, name, outcome}, state) do
    {:noreply, state |> linked(Links.connected(state.links, name, outcome, origin(state, name))) |> look_joined()}
  end

  def handle_info({:nodeup, node, _info}, state), do: {:noreply, %{state | links: Links.handshake(state.links, node)}}
  # The monitor of a peer says that it is gone.
  def handle_info({:nodedown, _node, _info}, state), do: {:noreply, state}

  def handle_info({:tidepool_hello, pid, ref, %{open: open?} = hello}, state)
      when is_pid(pid) and is_reference(ref) and is_boolean(open?) and node(pid) != node() do
    {:noreply, state |> met(pid, open?) |> linked(Links.accept(state.links, pid, ref, hello)) |> look_joined()}
  end

  def handle_info({:tidepool_hello, ref, pid, %{open: open?} = hello}, state)
      when is_pid(pid) and is_reference(ref) and is_boolean(open?) do
    {:noreply, state |> met(pid, open?) |> linked(Links.answered(state.links, pid, ref, hello)) |> look_joined()}
  end

  # The hello of nodes from before they said whether their edges are open.
  def handle_info({:tidepool_hello, pid, ref}, state)
      when is_pid(pid) and is_reference(ref) and node(pid) != node() do
    {:noreply, %{state | links: Links.ask(state.links, pid, ref)}}
  end

  def handle_info({:told, pid, ref, answer}, state) do
    state =
      case answer do
        {:ok, open?} -> met(state, pid, open?)
        :error -> refuse(state, to_string(node(pid)), {:version, 1})
      end

    {:noreply, state |> linked(Links.told(state.links, pid, ref, answer)) |> look_joined()}
  end

  def handle_info({:unanswered, name, ref}, state) do
    {_links, events} = unanswered = Links.unanswered(state.links, name, ref)
    silent? = {:failed, name} in events and origin(state, name) == :configured
    state = if silent?, do: log_once(state, name, {:silent, name}, Notices.silent(name)), else: state
    {:noreply, state |> linked(unanswered) |> look_joined()}
  end

  # The VM says where a pid is from.
  def handle_info({:tidepool_cluster, pid, bytes}, state) when is_pid(pid) and is_binary(bytes) do
    name = to_string(node(pid))

    state = %{state | traffic: Traffic.received(state.traffic, bytes)}

    case Links.peer?(state.links, name) && Wire.decode(bytes) do
      {:ok, message} -> {:noreply, state |> feed({:message, name, message}) |> look_joined()}
      {:error, reason} -> {:noreply, refuse(state, name, reason)}
      # Not linked yet: gossip sends it again.
      false -> {:noreply, state}
    end
  end

  def handle_info(:look, state), do: {:noreply, %{state | waiters: Waiters.look(state.waiters, &standing(state, &1))}}

  def handle_info({:late, monitor}, state) do
    if Waiters.waits?(state.waiters, monitor),
      do: {:noreply, %{state | waiters: Waiters.late(state.waiters, monitor, &standing(state, &1))}},
      else: {:noreply, state}
  end

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    if Waiters.waits?(state.waiters, monitor),
      do: {:noreply, %{state | waiters: Waiters.leave(state.waiters, monitor)}},
      else: {:noreply, linked(state, Links.down(state.links, monitor, pid, reason))}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp look(%{config: config} = state) do
    server = self()

    {:ok, task} =
      Task.Supervisor.start_child(Tidepool.Cluster.Tasks, fn -> send(server, {:found, Discovery.find(config)}) end)

    %{state | looking: task}
  end

  defp origin(state, name), do: Map.get(state.origins || %{}, name, :guessed)

  # Has this node joined, or found nobody to join? Whoever waits for that looks next whether a function is on its way, which
  # `Reconciler` has to know by then.
  defp look_joined(state) do
    if not state.joined? and (agrees?(state) or alone?(state)), do: Reconciler.echo(:joined)
    state
  end

  defp agrees?(%{gossip: gossip} = state) do
    Enum.any?(Gossip.live(gossip), fn {name, report} ->
      name != state.name and report != nil and report.root == gossip.catalog.digest.root
    end)
  end

  defp alone?(%{origins: nil}), do: false
  defp alone?(state), do: Links.alone?(state.links, Map.keys(state.origins))

  # Of what was superseded since, something later may be on its way.
  defp tell_ready(state, entries) do
    feed(%{state | ready: []}, {:ready, Enum.filter(entries, &current?(state, &1))})
  end

  defp current?(state, %{name: name, stamp: stamp}) do
    match?(%{^name => %{stamp: ^stamp}}, state.gossip.catalog.index)
  end

  # What became of the links, and what follows from that.
  defp linked(state, {links, []}), do: %{state | links: links}

  defp linked(state, {links, events}) do
    for {:up, name} <- events, do: Reconciler.up(Links.node_of(links, name))
    feed(%{state | links: links}, events)
  end

  # Gossip decides, and its effects are done in order; some lead to events at once.
  defp feed(state, event) do
    {gossip, effects} = Gossip.handle(state.gossip, event, now())
    {state, _sent} = Enum.reduce(effects, {%{state | gossip: gossip}, nil}, &effect/2)
    look_again(state)
  end

  defp look_again(state), do: %{state | waiters: Waiters.look_again(state.waiters)}

  # What became of a version that somebody waits for.
  defp standing(state, %{name: name, stamp: stamp, extent: extent}) do
    case state.gossip.catalog.index do
      %{^name => %{stamp: ^stamp, hash: hash}} ->
        # Whoever asks has it.
        spread = state.gossip |> Gossip.progress(hash) |> Map.put(state.name, :ready) |> Spread.of()
        known = if state.joined?, do: :ok, else: :joining
        {if(Spread.enough?(extent, known, spread), do: :ok, else: :waiting), spread}

      _other ->
        {:superseded, Spread.nowhere()}
    end
  end

  defp effect({:send, name, message}, {state, last}) do
    if Links.peer?(state.links, name) do
      version = Links.version(state.links, name)
      # The same message goes to several peers in turn.
      parts = with {^message, ^version, parts} <- last, do: parts, else: (_other -> Wire.encode(message, version))
      sent = Enum.filter(parts, &Links.send_to(state.links, name, &1))
      {%{state | traffic: Enum.reduce(sent, state.traffic, &Traffic.sent(&2, &1))}, {message, version, parts}}
    else
      {state, last}
    end
  end

  defp effect({:connect, name}, {state, last}), do: {linked(state, Links.connect(state.links, name)), last}

  defp effect({:disconnect, name}, {state, last}) do
    # With the connection their processes would end.
    unless Nodes.held?(name), do: Links.disconnect(state.links, name)
    {state, last}
  end

  defp effect({:accepted, entries, from}, {state, last}) do
    Catalog.accept(entries)
    Log.received(Enum.map(entries, &{Entry.node(&1), &1}), from)
    {removed, deployed} = Enum.split_with(entries, & &1.removed)
    if removed != [], do: Reconciler.cancel(Enum.map(removed, & &1.name))
    if deployed != [], do: Reconciler.load(deployed, Links.node_of(state.links, from))
    {feed(state, [{:pending, deployed}, {:ready, removed}]), last}
  end

  # What there is of them goes on, or is on its way.
  defp effect({:completed, entries}, {state, last}) do
    Catalog.accept(entries)
    {state, last}
  end

  defp effect({:collected, stamps, context}, {state, last}) do
    Catalog.forget(stamps, context)
    Reconciler.cancel(for {name, _stamp} <- stamps, do: name)
    {state, last}
  end

  defp effect({:joined, names}, {state, last}) do
    count = map_size(Gossip.live(state.gossip))
    Enum.each(names, &Events.node_joined/1)
    {Enum.reduce(names, state, &log(&2, :info, &1, Notices.joined(&1, count))), last}
  end

  defp effect({:lost, names}, {state, last}) do
    count = map_size(Gossip.live(state.gossip))
    Enum.each(names, &Events.node_left/1)
    {Enum.reduce(names, state, &log(&2, :warning, &1, Notices.lost(&1, count))), last}
  end

  defp effect({:refused, node, {:no_token, replica}}, {state, last}),
    do: {log_once(state, node, {:no_token, replica}, Notices.no_token(node, replica)), last}

  defp effect({:refused, node, {:ahead, ms, replica}}, {state, last}),
    do: {log_once(state, node, {:ahead, replica}, Notices.ahead(node, replica, ms, state.config.max_skew)), last}

  # A hello or its answer has come: is it one to be linked with?
  defp met(state, pid, open?) do
    name = to_string(node(pid))

    if open? == state.links.open?,
      do: %{state | apart: MapSet.delete(state.apart, name)},
      else: log_once(%{state | apart: MapSet.put(state.apart, name)}, name, {:apart, name}, Notices.apart(name, open?))
  end

  defp refuse(state, name, reason), do: log_once(state, name, {reason, name}, Notices.unread(name, reason))

  defp log(state, level, name, text) do
    Logger.log(level, text, tidepool_node: name)
    state
  end

  defp log_once(state, name, what, text), do: %{state | logged: Once.warn(state.logged, name, what, text)}

  defp jitter(ms), do: div(ms, 2) + :rand.uniform(ms)

  defp now, do: System.os_time(:millisecond)
end
