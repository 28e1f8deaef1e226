defmodule Tidepool.Actor.Ownership.Meetings do
  @moduledoc """
  Says in the log that nodes with which this one is linked share another store of actors, where both sides have had their actors before they
  met: a seed was added, or a network is whole again. Each side has an actor of its own of each name then. A node that starts beside such nodes
  is refused instead (`Tidepool.Actor.Ownership.Joining`).

  It looks at each new link, and each minute. Nodes that have got a lease just now are no nodes of another store: one counts when it was
  found three times in a row, which takes longer than a lease lasts. It is told once for as long as it is found.
  """

  use GenServer

  require Logger

  alias Tidepool.Actor.Ownership.{LeaseHolder, OtherStores, Shards}
  alias Tidepool.Nodes

  @every_ms 60_000
  @again_ms 3_000
  @times 3

  # Who looks, and how often each node was found in a row.
  defstruct [:timer, :looking, found: %{}]

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    :ok = :net_kernel.monitor_nodes(true, node_type: :all)
    {:ok, look_in(%__MODULE__{}, @every_ms)}
  end

  @impl true
  def handle_info(:look, %{looking: nil} = state) do
    {_pid, looking} = spawn_monitor(__MODULE__, :look, [])
    {:noreply, %{state | timer: nil, looking: looking}}
  end

  def handle_info({:DOWN, monitor, :process, _pid, outcome}, %{looking: monitor} = state) do
    state = if match?({:found, _found}, outcome), do: note(elem(outcome, 1), state), else: state
    doubted? = Enum.any?(state.found, fn {_name, times} -> times < @times end)
    {:noreply, look_in(%{state | looking: nil}, if(doubted?, do: @again_ms, else: @every_ms))}
  end

  def handle_info({:nodeup, _node, _how}, %{looking: nil} = state), do: {:noreply, soon(state)}
  def handle_info(_other, state), do: {:noreply, state}

  @doc false
  @spec look :: no_return
  def look do
    # A node without a lease has no actors, and where the nodes that have them differ is for these to say.
    leased = if Shards.leased?(), do: Shards.nodes(), else: []
    names = if leased == [], do: [], else: Map.values(Nodes.all()) -- leased
    exit({:found, OtherStores.apart(LeaseHolder.process(), names, leased)})
  end

  defp note(nil, state), do: %{state | found: forgotten(state.found, [])}

  defp note({how, names}, state) do
    found = for name <- names, into: forgotten(state.found, names), do: {name, Map.get(state.found, name, 0) + 1}
    met = for name <- names, found[name] == @times, do: name
    if met != [], do: Logger.error(OtherStores.met({how, Enum.sort(met)}))
    %{state | found: found}
  end

  # A node that was told of may be slow to answer once: it is forgotten when its link is gone.
  defp forgotten(found, names) do
    linked = MapSet.new(Node.list(:connected), &to_string/1)
    Map.filter(found, fn {name, times} -> name in names or (times >= @times and name in linked) end)
  end

  # Links that come one after the other do not put it off.
  defp soon(state) do
    left = state.timer && Process.read_timer(state.timer)
    if is_integer(left) and left <= @again_ms, do: state, else: look_in(state, @again_ms)
  end

  defp look_in(state, ms) do
    if state.timer, do: Process.cancel_timer(state.timer)
    %{state | timer: Process.send_after(self(), :look, ms)}
  end
end
