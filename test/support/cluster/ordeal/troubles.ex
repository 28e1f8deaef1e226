defmodule Tidepool.Ordeal.Troubles do
  @moduledoc """
  Nodes and what befalls them: troubles begin one after another, each lasts for a while, and several go on at any time.

  Its functions are called by the process of a test, with which the nodes end.
  """

  alias Tidepool.{FalseClock, FullDisk, Peer, TestCluster}
  alias Tidepool.Ordeal.Liar

  @kinds [:kill, :stop, :part, :clock, :disk]
  # One begins in so many ms, and none lasts longer than that many.
  @pause_ms 400
  @longest_ms 4_000
  # Of a node that was killed.
  @gone_ms 30_000
  # Ahead by less than `max_skew`, so that nodes take each other's changes all the time; back as far as it may be.
  @jumps_s [0, 5, 20, -20, -3_600]

  @enforce_keys [:names, :cookie, :clocks, :peers, :liar]
  # Processes of the operating system by node; what goes on, each with the time of its end; how many there were of each.
  defstruct @enforce_keys ++ [pids: %{}, going: [], count: %{}]

  @doc "Starts `count` nodes that know each other, and one that lies to all."
  def start!(count, seed) do
    cookie = Peer.cookie()
    names = for index <- 1..count, do: Peer.name("n#{index}")
    clocks = Map.new(names, &{&1, FalseClock.new!()})
    {:ok, peers} = Agent.start_link(fn -> %{} end)
    liar = Peer.boot!([], name: Peer.name("liar"), cookie: cookie)

    state = %__MODULE__{names: names, cookie: cookie, clocks: clocks, peers: peers, liar: liar}
    state = put_in(state.pids[liar.node], Peer.call(liar, System, :pid, []))
    state = Enum.reduce(names, state, &start_node(&2, &1, []))
    {:ok, _pid} = Peer.call(liar, Liar, :start, [names, seed])
    state
  end

  @doc "The nodes as they are now, from any process."
  def peers(%{peers: peers}), do: Agent.get(peers, &Map.values/1)

  @doc "Lets things happen for some seconds; then all is well again, and `count` says what there was."
  def run(state, seconds) do
    until = monotonic() + seconds * 1_000
    state |> go_on(until) |> end_all()
  end

  defp go_on(state, until) do
    now = monotonic()

    if now >= until do
      state
    else
      state = state |> end_those(&(&1 <= now)) |> begin_one(now)

      receive do
      after
        @pause_ms -> go_on(state, until)
      end
    end
  end

  defp end_all(state) do
    state = end_those(state, fn _until -> true end)
    for {_name, clock} <- state.clocks, do: FalseClock.set(clock, 0)
    state
  end

  # Those that are stopped go on first: of a node that is stopped nothing can be asked.
  defp end_those(state, over?) do
    state = end_all_of(state, fn {until, trouble} -> over?.(until) and match?({:stop, _name}, trouble) end)
    stopped = stopped(state)
    end_all_of(state, fn {until, trouble} -> over?.(until) and Enum.all?(stopped, &(not concerns?(trouble, &1))) end)
  end

  defp end_all_of(state, over?) do
    {over, going} = Enum.split_with(state.going, over?)
    Enum.reduce(over, %{state | going: going}, fn {_until, trouble}, state -> finish(state, trouble) end)
  end

  defp concerns?(trouble, name), do: is_tuple(trouble) and name in Tuple.to_list(trouble)

  defp begin_one(state, now) do
    kind = Enum.random(@kinds)
    names = Enum.shuffle(state.names -- stopped(state))
    trouble = choose(kind, names, state)
    state = begin(state, trouble)
    count = Map.update(state.count, kind, 1, &(&1 + 1))
    %{state | going: [{now + :rand.uniform(@longest_ms), trouble} | state.going], count: count}
  end

  # The liar may be stopped as well: whoever sends to it finds a link that takes nothing.
  defp choose(:stop, names, state), do: {:stop, Enum.random([state.liar.node | names])}
  defp choose(:part, [one, other | _names], _state), do: {:part, one, other}
  defp choose(kind, [name | _names], _state) when kind != :part, do: {kind, name}
  defp choose(_kind, _names, _state), do: :nothing

  defp stopped(state), do: for({_until, {:stop, name}} <- state.going, do: name)

  defp begin(state, {:kill, name}) do
    peer = peer(state, name)
    monitor = Process.monitor(peer.pid)
    signal(state, name, "KILL")

    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> start_node(state, name, data: peer.data)
    after
      @gone_ms -> raise "#{name} lives on after SIGKILL"
    end
  end

  # Were it never told to go on, it would outlive the test.
  defp begin(state, {:stop, name}) do
    script = "kill -STOP $0; (sleep 20; kill -CONT $0) >/dev/null 2>&1 &"
    {_output, 0} = System.cmd("sh", ["-c", script, state.pids[name]])
    state
  end

  defp begin(state, {:part, one, other}), do: both(state, one, other, &Peer.cut/2)
  defp begin(state, {:disk, name}), do: at(state, name, FullDisk, :fill)

  defp begin(state, {:clock, name}) do
    FalseClock.set(state.clocks[name], Enum.random(@jumps_s))
    state
  end

  defp begin(state, :nothing), do: state

  defp finish(state, {:stop, name}), do: signal(state, name, "CONT")
  defp finish(state, {:part, one, other}), do: both(state, one, other, &Peer.heal/2)
  defp finish(state, {:disk, name}), do: at(state, name, FullDisk, :free)
  defp finish(state, _over_at_once_or_kept), do: state

  defp start_node(state, name, settings) do
    env = FalseClock.environment(state.clocks[name])
    peer = TestCluster.start_node!(name, state.cookie, state.names -- [name], settings, env: env)
    Agent.update(state.peers, &Map.put(&1, name, peer))
    put_in(state.pids[name], Peer.call(peer, System, :pid, []))
  end

  defp peer(state, name), do: Agent.get(state.peers, &Map.fetch!(&1, name))

  defp signal(state, name, signal) do
    {_output, 0} = System.cmd("kill", ["-" <> signal, state.pids[name]])
    state
  end

  defp both(state, one, other, change) do
    change.(peer(state, one), peer(state, other))
    state
  end

  defp at(state, name, module, function) do
    Peer.call(peer(state, name), module, function, [])
    state
  end

  defp monotonic, do: System.monotonic_time(:millisecond)
end
