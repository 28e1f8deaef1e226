defmodule Tidepool.Keyvalue.Turns do
  @moduledoc """
  Whose turn it is to ask the store of the setting `keyvalue`: each namespace has some requests under way at a time, some more wait,
  and what comes beyond these is told so at once. So no namespace takes the store from the others, however many callers it has.

  A turn is over when the process that took it has ended.
  """

  use GenServer

  alias Tidepool.Namespaces.Name

  @most_running 4
  @most_waiting 240

  @doc "How many requests of a namespace are under way at a time, and how many wait for that."
  @spec bounds :: {running :: pos_integer, waiting :: pos_integer}
  def bounds, do: {@most_running, @most_waiting}

  @doc "What a guest is told whose namespace has too many requests under way."
  @spec busy :: String.t()
  def busy, do: "busy: the namespace has #{@most_running + @most_waiting} requests under way: ask again later"

  @doc false
  def start_link(_none), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc """
  Takes a turn of a function's namespace for the process that calls it, for as long as that lives, when there is one. Functions without a
  namespace have theirs together.
  """
  @spec take(function :: String.t()) :: :ok | {:error, String.t()}
  def take(function), do: GenServer.call(__MODULE__, {:take, Name.of(function)}, :infinity)

  @impl true
  # By namespace: how many have a turn, and the monitors of those who wait. By monitor: whose it is, and whom to tell.
  def init(_none), do: {:ok, %{owners: %{}, monitors: %{}}}

  @impl true
  def handle_call({:take, owner}, {pid, _tag} = from, state) do
    {running, waiting} = Map.get(state.owners, owner, {0, :queue.new()})

    cond do
      running < @most_running ->
        {:reply, :ok, put(state, owner, {running + 1, waiting}, Process.monitor(pid), :running)}

      :queue.len(waiting) < @most_waiting ->
        monitor = Process.monitor(pid)
        {:noreply, put(state, owner, {running, :queue.in(monitor, waiting)}, monitor, from)}

      true ->
        {:reply, {:error, busy()}, state}
    end
  end

  defp put(state, owner, turns, monitor, from) do
    %{state | owners: Map.put(state.owners, owner, turns), monitors: Map.put(state.monitors, monitor, {owner, from})}
  end

  @impl true
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    {{owner, from}, monitors} = Map.pop!(state.monitors, monitor)
    {running, waiting} = Map.fetch!(state.owners, owner)
    state = %{state | monitors: monitors}

    if from == :running,
      do: {:noreply, next(state, owner, running, :queue.out(waiting))},
      else: {:noreply, put_in(state.owners[owner], {running, :queue.delete(monitor, waiting)})}
  end

  # A turn is over: it is the next one's, who waits for the longest time.
  defp next(state, owner, running, {{:value, monitor}, waiting}) do
    {^owner, from} = Map.fetch!(state.monitors, monitor)
    GenServer.reply(from, :ok)
    put(state, owner, {running, waiting}, monitor, :running)
  end

  defp next(state, owner, 1, {:empty, _waiting}), do: %{state | owners: Map.delete(state.owners, owner)}

  defp next(state, owner, running, {:empty, waiting}),
    do: put_in(state.owners[owner], {running - 1, waiting})
end
