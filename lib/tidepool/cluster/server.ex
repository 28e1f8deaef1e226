defmodule Tidepool.Cluster.Server do
  @moduledoc """
  The process that drives `Tidepool.Cluster.Gossip`: it owns the links to other nodes and carries messages over them.

  A link is one of distributed Erlang, made as a hidden one: `global` looks at visible links only, so it neither completes
  the mesh nor cuts it, whatever flags the VM was started with. Links that the application has made are used as well, and
  never cut.

  A node counts as a peer when its `Server` has answered a greeting, until that process or the link is gone, as the VM's
  monitor tells. Messages are sent so that they neither wait for a slow link nor make a new one; what is lost that way
  is repaired by gossip. Connecting, which may take seconds, is done in tasks.

  A node that has just started is *joining* until its catalog equals that of a peer, or nobody is there to ask, or a few
  seconds have passed: what it does not know by then is not deployed.

  While the VM is not distributed this process sleeps, and looks now and then whether it has become so.
  """

  use GenServer

  require Logger

  alias Tidepool.{Catalog, Config}
  alias Tidepool.Catalog.{Entry, State}
  alias Tidepool.Cluster.{Backoff, Discovery, Gossip, Loads, LogOnce, Wire}

  @tick_ms 250
  # A link whose other side answers none of these leads to a node that does not run Tidepool.
  @greetings 3
  @greeting_ms 1_000
  @max_connecting 8
  # Loads that end within so long of each other are told to others together.
  @ready_ms 25
  # How long a node that starts waits for its first exchange, and how many may wait for that.
  @joining_ms 3_000
  @max_waiting 10_000
  # Atoms are never freed, and names of nodes come from peers.
  @max_names 10_000

  # {node}: the peers. {:joining, until}: only while it is.
  @table __MODULE__

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @doc "The nodes that this one is linked with now and that run Tidepool."
  @spec links :: [node]
  def links do
    for {node} <- :ets.tab2list(@table), do: node
  rescue
    ArgumentError -> []
  end

  @doc "Is this node still to learn what others have deployed?"
  @spec joining? :: boolean
  def joining?, do: joining_ms() > 0

  @doc "Waits until it is not, `timeout` ms at most."
  @spec await_joined(timeout) :: :ok
  def await_joined(timeout \\ :infinity) do
    left = joining_ms()
    # An atom is greater than any number.
    if left > 0, do: GenServer.call(__MODULE__, :await_joined, min(left, timeout))
    :ok
  catch
    :exit, _timeout_or_gone -> :ok
  end

  defp joining_ms do
    case :ets.lookup(@table, :joining) do
      [{:joining, until}] -> max(until - monotonic(), 0)
      [] -> 0
    end
  rescue
    # There is no cluster.
    ArgumentError -> 0
  end

  @doc "What this node knows of the cluster; `:alone` while the VM is not distributed."
  @spec view ::
          {:ok,
           %{
             node: String.t(),
             live: %{String.t() => Tidepool.Cluster.Report.t() | nil},
             lost: [String.t()],
             skews: %{String.t() => integer},
             root: Tidepool.Catalog.Digest.hash(),
             entries: [Entry.t()]
           }}
          | :alone
  def view, do: GenServer.call(__MODULE__, :view)

  @doc """
  How far each reachable node is with the entry of this name, if it still is the one with this stamp. `:joining`: there may
  be more nodes, of which this one has still to hear.
  """
  @spec progress(String.t(), Tidepool.Catalog.Clock.stamp()) ::
          {:ok | :joining, %{String.t() => :ready | :pending | :unknown}} | :superseded | :alone
  def progress(name, stamp), do: GenServer.call(__MODULE__, {:progress, name, stamp})

  @doc "Entries that can't be called here yet."
  @spec pending([Entry.t()]) :: :ok
  def pending(entries), do: GenServer.cast(__MODULE__, {:pending, entries})

  @doc "Entries that can be called here now."
  @spec ready([Entry.t()]) :: :ok
  def ready(entries), do: GenServer.cast(__MODULE__, {:ready, entries})

  @impl true
  def init(config) do
    :ets.new(@table, [:named_table, :protected, read_concurrency: true])
    {:ok, begin(%{config: config, name: nil, gossip: nil})}
  end

  defp begin(state) do
    if Node.alive?() do
      Logger.info("Tidepool looks for other nodes by #{Discovery.describe(state.config)}")
      :ok = :net_kernel.monitor_nodes(true, node_type: :all)
      {context, entries} = Catalog.known()
      name = to_string(node())
      gossip = Gossip.new(name, State.new(context, entries), now(), max_skew_ms: state.config.max_skew)
      Process.send_after(self(), :tick, @tick_ms)
      Process.send_after(self(), :joined, @joining_ms)
      :ets.insert(@table, {:joining, monotonic() + @joining_ms})
      Process.send_after(self(), :discover, jitter(state.config.discovery_interval))

      state =
        Map.merge(state, %{
          name: name,
          gossip: gossip,
          # Names of nodes as atoms; monitors of peers; greetings without an answer yet; connection attempts.
          nodes: %{},
          peers: %{},
          greetings: %{},
          connecting: MapSet.new(),
          backoff: Backoff.new(),
          # The task that looks for nodes, and what the last one has found.
          looking: nil,
          origins: nil,
          # Calls that wait until this node has joined; `nil` from then on.
          waiting: [],
          # What can be called since it was last told; `nil` when that may be told at once.
          ready: nil,
          logged: LogOnce.new()
        })

      Enum.reduce(Node.list(:connected), look(state), &greet(&2, &1, false))
    else
      Process.send_after(self(), :distributed?, state.config.discovery_interval)
      state
    end
  end

  @impl true
  def handle_call(_question, _from, %{gossip: nil} = state), do: {:reply, :alone, state}

  def handle_call(:view, _from, state) do
    gossip = state.gossip

    view = %{
      node: state.name,
      live: Gossip.live(gossip),
      lost: Gossip.lost(gossip),
      skews: Gossip.skews(gossip),
      root: gossip.catalog.digest.root,
      entries: Map.values(gossip.catalog.entries)
    }

    {:reply, {:ok, view}, state}
  end

  def handle_call(:await_joined, from, %{waiting: waiting} = state) do
    if waiting == nil or length(waiting) >= @max_waiting,
      do: {:reply, :ok, state},
      else: {:noreply, %{state | waiting: [from | waiting]}}
  end

  def handle_call({:progress, name, stamp}, _from, state) do
    case state.gossip.catalog.entries do
      %{^name => %{stamp: ^stamp} = entry} ->
        {:reply, {if(state.waiting, do: :joining, else: :ok), Gossip.progress(state.gossip, entry)}, state}

      _other ->
        {:reply, :superseded, state}
    end
  end

  @impl true
  def handle_cast(_event, %{gossip: nil} = state), do: {:noreply, state}

  def handle_cast({:local, %Entry{} = entry}, state) do
    state = feed(state, {:local, [entry]})

    # While the catalog wrote it down, something later may have come from elsewhere: that is still to be loaded.
    if current?(state, entry) do
      Loads.cancel([entry.name])
      {:noreply, feed(state, {:ready, [entry]})}
    else
      {:noreply, state}
    end
  end

  def handle_cast({:pending, entries}, state), do: {:noreply, feed(state, {:pending, entries})}

  def handle_cast({:ready, entries}, %{ready: nil} = state) do
    Process.send_after(self(), :ready, @ready_ms)
    {:noreply, tell_ready(state, entries)}
  end

  def handle_cast({:ready, entries}, state), do: {:noreply, %{state | ready: entries ++ state.ready}}

  @impl true
  def handle_info(:distributed?, state) do
    state = begin(state)
    if state.gossip, do: Loads.report()
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

  def handle_info(:joined, state), do: {:noreply, joined(state)}

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
    {:noreply, %{state | origins: origins} |> feed({:found, Map.keys(origins)}) |> settle()}
  end

  def handle_info({:connected, name, connected?}, state) do
    state = %{state | connecting: MapSet.delete(state.connecting, name)}

    cond do
      is_map_key(state.peers, name) -> {:noreply, state}
      connected? -> {:noreply, greet(state, state.nodes[name], true)}
      true -> {:noreply, state |> failed(name, Map.get(state.origins || %{}, name, :guessed)) |> settle()}
    end
  end

  def handle_info({:nodeup, node, _info}, state), do: {:noreply, greet(state, node, false)}
  # The monitor of a peer says that it is gone.
  def handle_info({:nodedown, _node, _info}, state), do: {:noreply, state}

  def handle_info({:tidepool_hello, pid, ref}, state) when is_pid(pid) and is_reference(ref) and node(pid) != node() do
    transmit(pid, {:tidepool_hello, ref, self()})
    {:noreply, welcome(state, pid)}
  end

  def handle_info({:tidepool_hello, ref, pid}, state) when is_pid(pid) and is_reference(ref) do
    case state.greetings[to_string(node(pid))] do
      %{ref: ^ref} -> {:noreply, welcome(state, pid)}
      _late -> {:noreply, state}
    end
  end

  def handle_info({:unanswered, name, ref}, state) do
    case state.greetings do
      %{^name => %{ref: ^ref, left: 0} = greeting} ->
        state = %{state | greetings: Map.delete(state.greetings, name)}
        # A link that was not made here is left alone: a shell's, say.
        if greeting.ours, do: part(state, name)
        {:noreply, settle(if(greeting.ours, do: failed(state, name, :stranger), else: state))}

      %{^name => %{ref: ^ref} = greeting} ->
        {:noreply, send_greeting(state, name, %{greeting | left: greeting.left - 1})}

      _answered ->
        {:noreply, state}
    end
  end

  # The VM says where a pid is from.
  def handle_info({:tidepool_cluster, pid, bytes}, state) when is_pid(pid) and is_binary(bytes) do
    name = to_string(node(pid))

    case is_map_key(state.peers, name) && Wire.decode(bytes) do
      {:ok, message} -> {:noreply, state |> feed({:message, name, message}) |> settle()}
      {:error, reason} -> {:noreply, refuse(state, name, reason)}
      # Not greeted yet: gossip sends it again.
      false -> {:noreply, state}
    end
  end

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    name = to_string(node(pid))

    case state.peers do
      %{^name => ^monitor} ->
        :ets.delete(@table, node(pid))
        Logger.info("the link to #{name} is gone (#{inspect(reason)})")
        state = feed(%{state | peers: Map.delete(state.peers, name)}, {:down, name})
        # Its process has ended and the link has not: it may come back.
        {:noreply, if(reason == :noconnection, do: state, else: greet(state, node(pid), false))}

      _other ->
        {:noreply, state}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp look(%{config: config} = state) do
    server = self()
    {:ok, task} = task(fn -> send(server, {:found, Discovery.find(config)}) end)
    %{state | looking: task}
  end

  # Has this node joined, or found nobody to join?
  defp settle(%{waiting: nil} = state), do: state
  defp settle(state), do: if(agrees?(state) or alone?(state), do: joined(state), else: state)

  defp agrees?(%{gossip: gossip} = state) do
    Enum.any?(Gossip.live(gossip), fn {name, report} ->
      name != state.name and report != nil and report.root == gossip.catalog.digest.root
    end)
  end

  defp alone?(state) do
    state.origins != nil and state.peers == %{} and state.greetings == %{} and MapSet.size(state.connecting) == 0 and
      Enum.all?(Map.keys(state.origins), &Backoff.failed?(state.backoff, &1))
  end

  defp joined(%{waiting: nil} = state), do: state

  defp joined(state) do
    :ets.delete(@table, :joining)
    Enum.each(state.waiting, &GenServer.reply(&1, :ok))
    %{state | waiting: nil}
  end

  # Of what was superseded since, something later may be on its way.
  defp tell_ready(state, entries) do
    feed(%{state | ready: []}, {:ready, Enum.filter(entries, &current?(state, &1))})
  end

  defp current?(state, %{name: name, stamp: stamp}) do
    match?(%{^name => %{stamp: ^stamp}}, state.gossip.catalog.entries)
  end

  # Gossip decides, and its effects are done in order; some lead to events at once.
  defp feed(state, event) do
    {gossip, effects} = Gossip.handle(state.gossip, event, now())
    {state, _sent} = Enum.reduce(effects, {%{state | gossip: gossip}, nil}, &effect/2)
    state
  end

  defp effect({:send, name, message}, {state, last}) do
    # The same message goes to several peers in turn.
    bytes = with {^message, bytes} <- last, do: bytes, else: (_other -> Wire.encode(message))

    if is_map_key(state.peers, name),
      do: transmit({__MODULE__, state.nodes[name]}, {:tidepool_cluster, self(), bytes})

    {state, {message, bytes}}
  end

  defp effect({:connect, name}, {state, last}), do: {connect(state, name), last}

  defp effect({:disconnect, name}, {state, last}) do
    part(state, name)
    {state, last}
  end

  defp effect({:accepted, entries, from}, {state, last}) do
    Catalog.accept(entries)
    {removed, deployed} = Enum.split_with(entries, & &1.removed)
    if removed != [], do: Loads.cancel(Enum.map(removed, & &1.name))
    if deployed != [], do: Loads.load(deployed, state.nodes[from])
    {feed(state, [{:pending, deployed}, {:ready, removed}]), last}
  end

  defp effect({:collected, stamps, context}, {state, last}) do
    Catalog.forget(stamps, context)
    Loads.cancel(for {name, _stamp} <- stamps, do: name)
    {state, last}
  end

  defp effect({:refused, node, {:ahead, ms, replica}}, {state, last}) do
    text =
      "changes of #{replica} are refused, which #{node} passed on: its clock is #{ms} ms ahead of this node's, and " <>
        "#{state.config.max_skew} are allowed (setting :max_skew)"

    {log_once(state, {:ahead, replica}, text), last}
  end

  defp connect(state, name) do
    cond do
      is_map_key(state.peers, name) or MapSet.member?(state.connecting, name) ->
        state

      MapSet.size(state.connecting) >= @max_connecting or not Backoff.due?(state.backoff, name, monotonic()) ->
        feed(state, {:failed, name})

      true ->
        case node_named(state, name) do
          {:ok, node, state} ->
            server = self()
            task(fn -> send(server, {:connected, name, :net_kernel.hidden_connect_node(node) == true}) end)
            %{state | connecting: MapSet.put(state.connecting, name)}

          :error ->
            feed(state, {:failed, name})
        end
    end
  end

  defp failed(state, name, why) do
    feed(%{state | backoff: Backoff.failed(state.backoff, name, why, monotonic())}, {:failed, name})
  end

  # Ends a link, if it is one of those that are made here.
  defp part(state, name) do
    with {:ok, node} <- Map.fetch(state.nodes, name), true <- node in Node.list(:hidden), do: Node.disconnect(node)
  end

  # `ours`: was the link made here?
  defp greet(state, node, ours) do
    name = to_string(node)

    cond do
      is_map_key(state.peers, name) ->
        state

      is_map_key(state.greetings, name) ->
        if ours, do: put_in(state.greetings[name].ours, true), else: state

      true ->
        state = %{state | nodes: Map.put(state.nodes, name, node)}
        send_greeting(state, name, %{ref: make_ref(), left: @greetings - 1, ours: ours})
    end
  end

  defp send_greeting(state, name, greeting) do
    transmit({__MODULE__, state.nodes[name]}, {:tidepool_hello, self(), greeting.ref})
    Process.send_after(self(), {:unanswered, name, greeting.ref}, @greeting_ms)
    put_in(state.greetings[name], greeting)
  end

  defp welcome(state, pid) do
    node = node(pid)
    name = to_string(node)

    if is_map_key(state.peers, name) do
      state
    else
      :ets.insert(@table, {node})
      Logger.info("linked with #{name}")
      Loads.up(node)

      feed(
        %{
          state
          | peers: Map.put(state.peers, name, Process.monitor(pid)),
            nodes: Map.put(state.nodes, name, node),
            greetings: Map.delete(state.greetings, name),
            backoff: Backoff.met(state.backoff, name)
        },
        {:up, name}
      )
    end
  end

  defp refuse(state, name, {:version, version}) do
    text = "#{name} speaks version #{version} of the cluster's protocol, and this node #{Wire.version()}: it is ignored"
    log_once(state, {:version, name, version}, text)
  end

  defp refuse(state, name, :malformed) do
    log_once(state, {:malformed, name}, "#{name} sends what is no message of the cluster's protocol: it is ignored")
  end

  defp log_once(state, what, text), do: %{state | logged: LogOnce.warn(state.logged, what, text)}

  defp node_named(%{nodes: nodes} = state, name) do
    case nodes do
      %{^name => node} ->
        {:ok, node, state}

      _new ->
        if map_size(nodes) < @max_names and Config.node_name?(name) do
          node = String.to_atom(name)
          {:ok, node, %{state | nodes: Map.put(nodes, name, node)}}
        else
          :error
        end
    end
  end

  defp transmit(to, message), do: :erlang.send(to, message, [:nosuspend, :noconnect])

  defp task(fun), do: Task.Supervisor.start_child(Tidepool.Cluster.Tasks, fun)

  defp jitter(ms), do: div(ms, 2) + :rand.uniform(ms)

  defp now, do: System.os_time(:millisecond)
  defp monotonic, do: System.monotonic_time(:millisecond)
end
