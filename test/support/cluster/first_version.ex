defmodule Tidepool.FirstVersion do
  @moduledoc """
  A node of the first version of the cluster's protocol, as far as others see it: a process where those have
  `Tidepool.Cluster.Server`, which says hello as they do, takes no other hellos, and keeps what it is sent.
  """

  use GenServer

  # By this name nodes of all versions know it.
  @name Tidepool.Cluster.Server

  @doc "Starts it in the node where this is called, with an edge and this token."
  @spec start(token :: String.t() | nil) :: {:ok, pid}
  def start(token) do
    Tidepool.Config.put(%{server: true, token: token})
    GenServer.start(__MODULE__, nil, name: @name)
  end

  @doc "Greets a node."
  @spec greet(node) :: :ok
  def greet(node), do: GenServer.call(@name, {:greet, node})

  @doc "Sends bytes to the nodes that have answered."
  @spec tell(binary) :: :ok
  def tell(bytes), do: GenServer.call(@name, {:tell, bytes})

  @doc "All bytes that it was sent, oldest first."
  @spec heard :: [binary]
  def heard, do: GenServer.call(@name, :heard)

  @impl true
  def init(nil), do: {:ok, %{ref: make_ref(), peers: [], heard: []}}

  @impl true
  def handle_call({:greet, node}, _from, state) do
    send({@name, node}, {:tidepool_hello, self(), state.ref})
    {:reply, :ok, state}
  end

  def handle_call({:tell, bytes}, _from, state) do
    for pid <- state.peers, do: send(pid, {:tidepool_cluster, self(), bytes})
    {:reply, :ok, state}
  end

  def handle_call(:heard, _from, state), do: {:reply, Enum.reverse(state.heard), state}

  @impl true
  def handle_info({:tidepool_hello, ref, pid}, %{ref: ref} = state),
    do: {:noreply, %{state | peers: [pid | state.peers]}}

  def handle_info({:tidepool_cluster, _pid, bytes}, state), do: {:noreply, %{state | heard: [bytes | state.heard]}}
  def handle_info(_message, state), do: {:noreply, state}
end
