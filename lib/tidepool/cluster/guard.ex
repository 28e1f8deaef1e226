defmodule Tidepool.Cluster.Guard do
  @moduledoc """
  Keeps what goes wrong with the cluster away from the rest of the node.

  When the cluster's processes fail again and again their supervisor gives up. A supervisor above it would give up next, and
  take functions that work along. This process starts it again instead, after a pause: until then the node is
  on its own.
  """

  use GenServer, shutdown: :infinity

  require Logger

  @pause_ms 2_000

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(config) do
    Process.flag(:trap_exit, true)

    case Tidepool.Cluster.Supervisor.start_link(config) do
      {:ok, supervisor} -> {:ok, %{config: config, supervisor: supervisor}}
      {:error, reason} -> {:stop, reason}
    end
  end

  @impl true
  def handle_info({:EXIT, supervisor, reason}, %{supervisor: supervisor} = state) do
    {:noreply, pause(state, reason)}
  end

  def handle_info(:start, state) do
    case Tidepool.Cluster.Supervisor.start_link(state.config) do
      {:ok, supervisor} -> {:noreply, %{state | supervisor: supervisor}}
      {:error, reason} -> {:noreply, pause(state, reason)}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{supervisor: nil}), do: :ok

  def terminate(reason, %{supervisor: supervisor}) do
    monitor = Process.monitor(supervisor)
    Process.exit(supervisor, if(reason == :normal, do: :shutdown, else: reason))

    receive do
      {:DOWN, ^monitor, :process, ^supervisor, _reason} -> :ok
    end
  end

  defp pause(state, reason) do
    Logger.error(
      "the cluster's processes keep failing (#{inspect(reason)}): this node is on its own for #{@pause_ms} ms, its functions go on"
    )

    Process.send_after(self(), :start, @pause_ms)
    %{state | supervisor: nil}
  end
end
