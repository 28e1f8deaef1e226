defmodule Tidepool.Ordeal.Liar do
  @moduledoc """
  A member of the cluster that does what none should: a node with the cookie, and this process where others have
  `Tidepool.Cluster.Server` and `Tidepool.Cluster.Transfer.BlobServer`.

  It takes part in handshakes, and then repeats what it heard long ago, sends damaged and cut messages, bytes that are none,
  large ones, floods of them, and reports of its own that are wrong. It asks for modules and takes none of their pieces,
  and whoever asks it for one gets other bytes, too many, or none. It forges no change: who has the cookie may make changes.
  """

  use GenServer

  alias Tidepool.Cluster.{Report, Server, Wire}
  alias Tidepool.Cluster.Transfer.BlobServer

  @heard 2_000
  @tick_ms 20

  @doc "Starts it in the node where this is called, linked with `nodes`."
  @spec start([node], seed :: integer) :: {:ok, pid}
  def start(nodes, seed), do: GenServer.start(__MODULE__, {nodes, seed}, name: Server)

  @doc "How many messages of which kind were sent and heard."
  @spec count :: %{atom => pos_integer}
  def count, do: GenServer.call(Server, :count)

  @impl true
  def init({nodes, seed}) do
    :rand.seed(:exsss, seed)
    {:ok, _blobs} = GenServer.start_link(__MODULE__.Shelf, nil, name: BlobServer.name())
    send(self(), :tick)
    {:ok, %{nodes: nodes, peers: %{}, heard: [], count: %{}}}
  end

  @impl true
  def handle_call(:count, _from, state), do: {:reply, state.count, state}

  @impl true
  def handle_info(:tick, state) do
    Process.send_after(self(), :tick, @tick_ms)
    for node <- state.nodes, node not in Node.list(:connected), :rand.uniform(50) == 1, do: greet(node)
    peers = Map.to_list(state.peers)
    {:noreply, if(peers == [], do: state, else: lie(state, Enum.random(peers)))}
  end

  def handle_info({:tidepool_hello, pid, ref, %{open: open?}}, state) when is_pid(pid) do
    transmit(pid, {:tidepool_hello, ref, self(), %{open: open?}})
    {:noreply, put_in(state.peers[node(pid)], pid)}
  end

  def handle_info({:tidepool_hello, _ref, pid, _open}, state), do: {:noreply, put_in(state.peers[node(pid)], pid)}

  def handle_info({:tidepool_cluster, _pid, bytes}, state) do
    # Old ones stay among new ones.
    heard = if length(state.heard) < @heard, do: [bytes | state.heard], else: replace(state.heard, bytes)
    {:noreply, counted(%{state | heard: heard}, :heard)}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp replace(heard, bytes), do: List.replace_at(heard, :rand.uniform(@heard) - 1, bytes)

  defp greet(node) do
    :net_kernel.hidden_connect_node(node)
    transmit({Server, node}, {:tidepool_hello, self(), make_ref(), %{open: false}})
  end

  defp lie(%{heard: []} = state, _peer), do: state

  defp lie(state, {node, pid}) do
    bytes = Enum.random(state.heard)

    case Enum.random([:repeat, :flood, :damage, :cut, :noise, :large, :report, :digest, :strange, :hold]) do
      :repeat -> say(state, pid, [bytes], :repeat)
      :flood -> say(state, pid, List.duplicate(bytes, 500), :flood)
      :damage -> say(state, pid, bytes |> damaged() |> unless_forged(), :damage)
      :cut -> say(state, pid, bytes |> binary_part(0, :rand.uniform(byte_size(bytes)) - 1) |> unless_forged(), :cut)
      :noise -> say(state, pid, unless_forged(:rand.bytes(:rand.uniform(200))), :noise)
      :large -> say(state, pid, [<<Wire.version(), 200>> <> :binary.copy("x", 1_000_000)], :large)
      :report -> say(state, pid, [Wire.encode({:reports, [report()]})], :report)
      :digest -> say(state, pid, [Wire.encode({:digest, System.os_time(:millisecond), 1, 2, 3, [{4, 1, 3}]})], :digest)
      :strange -> strange(state, pid)
      :hold -> hold(state, node)
    end
  end

  defp report do
    %Report{node: to_string(node()), at: System.os_time(:millisecond), links: ["nobody@127.0.0.1"], root: 1, ready: [2]}
  end

  defp say(state, pid, messages, kind) do
    for bytes <- messages, do: transmit(pid, {:tidepool_cluster, self(), bytes})
    counted(state, kind)
  end

  defp strange(state, pid) do
    for message <- [
          {:tidepool_cluster, 1, 2},
          {:tidepool_hello, self()},
          {:tidepool_hello, self(), make_ref()},
          make_ref()
        ],
        do: transmit(pid, message)

    counted(state, :strange)
  end

  # Opens a transfer of a module that is there and never asks for its pieces.
  defp hold(state, node) do
    for sha256 <- Enum.take(modules(state.heard), 1),
        do:
          transmit(BlobServer.address(node), {:tidepool_blob, BlobServer.version(), :open, self(), make_ref(), sha256})

    counted(state, :hold)
  end

  defp modules(heard) do
    Stream.flat_map(heard, fn bytes ->
      case Wire.decode(bytes) do
        {:ok, {:push, changes}} -> for {%{sha256: sha256, removed: false}, _before} <- changes, do: sha256
        _other -> []
      end
    end)
  end

  defp damaged(bytes) do
    at = :rand.uniform(byte_size(bytes)) - 1
    <<before::binary-size(at), byte, rest::binary>> = bytes
    <<before::binary, rem(byte + :rand.uniform(255), 256), rest::binary>>
  end

  # What still reads as a change, or as what a node has seen of changes, would be a forged one.
  defp unless_forged(bytes) do
    case Wire.decode(bytes) do
      {:ok, {kind, _what}} when kind in [:push, :gone, :reports] -> []
      {:ok, {:seen, _root, _context}} -> []
      _other -> [bytes]
    end
  end

  defp counted(state, kind), do: %{state | count: Map.update(state.count, kind, 1, &(&1 + 1))}

  defp transmit(to, message), do: :erlang.send(to, message, [:nosuspend, :noconnect])

  defmodule Shelf do
    @moduledoc "Gives wrong modules."
    use GenServer

    @impl true
    def init(nil), do: {:ok, %{}}

    @impl true
    def handle_info({:tidepool_blob, _version, :open, pid, ref, _sha256}, state) do
      case :rand.uniform(4) do
        1 -> send(pid, {:tidepool_blob, ref, :busy})
        2 -> send(pid, {:tidepool_blob, ref, :size, 7, self()})
        3 -> send(pid, {:tidepool_blob, ref, :size, 1_000_000_000_000, self()})
        4 -> :silent
      end

      {:noreply, state}
    end

    def handle_info({:tidepool_blob, _ref, :more, _pieces}, state), do: {:noreply, state}
    def handle_info(_message, state), do: {:noreply, state}
  end
end
