defmodule Tidepool.Resource.Keeper do
  @moduledoc """
  Has the terms of the host's resources, and tells of their ends.

  A term is here from the moment that its handle is made to the resource's end. The native library says when that is: it knows which
  guest has it, and how that ended. The message comes once for each. What is told of ends are functions of the application's, which may
  be slow, or not return: each is told of so many at a time, and other ends of its own wait; one that takes too long is killed.
  """

  use GenServer

  require Logger

  alias Tidepool.{Engine, Native, Resource}
  alias Tidepool.Log.Budget

  @table __MODULE__
  # Of one function: how many times it is told something at the same time, and how long each may take.
  @most_running 32
  @longest_ms 10_000
  # Ends that may wait for their turn with one function, before it is given no more resources to be told of.
  @most_waiting 10_000

  @doc false
  @spec start_link(term) :: GenServer.on_start()
  def start_link(_none), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc """
  Keeps a term, and what is told of its end: its handle. Raises when too many ends wait to be told: guests that make resources without
  end are stopped by that.
  """
  @spec keep(term, (term -> term) | nil) :: Resource.t()
  def keep(term, ended) do
    keeper = Process.whereis(__MODULE__) || raise ArgumentError, "Tidepool is not running, and keeps no resource"
    told = told(ended)

    waiting(told) < @most_waiting ||
      raise "#{inspect(told)} has more than #{@most_waiting} ends of resources to be told of"

    id = System.unique_integer([:positive])
    # The handle first: a process that is killed in between leaves nothing.
    resource = Native.resource_new(Engine.runtime(), keeper, id)
    :ets.insert(@table, {id, term, ended, nil})
    resource
  end

  # By what ends are told apart: functions, whatever is bound in them.
  defp told(nil), do: nil
  defp told(ended), do: for(item <- [:module, :name, :arity], do: ended |> Function.info(item) |> elem(1))

  @doc "Notes what a resource was made for, unless that is known."
  @spec made(Resource.t(), made_for) :: :ok
  def made(resource, made_for) do
    id = Native.resource_id(resource)
    with [{^id, _term, _ended, nil}] <- :ets.lookup(@table, id), do: :ets.update_element(@table, id, {4, made_for})
    :ok
  end

  @doc "What a resource was made for, by its number; `nil` when that is not known."
  @spec made_for(pos_integer | nil) :: made_for | nil
  def made_for(id) do
    case :ets.lookup(@table, id) do
      [{^id, _term, _ended, made_for}] -> made_for
      [] -> nil
    end
  end

  @typedoc "A type of an interface, or an interface alone, whose functions have made it."
  @type made_for :: {:type, String.t()} | {:interface, String.t()}

  @doc "The term under this number."
  @spec find(pos_integer) :: {:ok, term} | :error
  def find(id) do
    case :ets.lookup(@table, id) do
      [{^id, term, _ended, _made_for}] -> {:ok, term}
      [] -> :error
    end
  rescue
    # There is no table while the application is not running.
    ArgumentError -> :error
  end

  @doc "How many there are, those included whose ends wait to be told."
  @spec count :: non_neg_integer
  def count, do: :ets.select_count(@table, [{{:"$1", :_, :_, :_}, [], [true]}])

  @doc "How many ends wait to be told."
  @spec waiting :: non_neg_integer
  def waiting, do: @table |> :ets.match({{:waiting, :_}, :"$1"}) |> Enum.concat() |> Enum.sum()

  defp waiting(told) do
    case :ets.lookup(@table, {:waiting, told}) do
      [{_key, count}] -> count
      [] -> 0
    end
  end

  @impl true
  def init(_none) do
    :ets.new(@table, [:named_table, :public, read_concurrency: true, write_concurrency: true])
    {:ok, %{queues: %{}, running: %{}}}
  end

  @impl true
  def handle_info({:tidepool_resource_end, id}, state), do: {:noreply, ended(id, state)}

  def handle_info({:DOWN, ref, :process, pid, reason}, state) do
    {{told, timer}, running} = Map.pop!(state.running, ref)
    Process.cancel_timer(timer)

    if reason == :killed,
      do: Logger.error("#{inspect(told)} was told of a resource's end in #{inspect(pid)}, and killed")

    {:noreply, next(told, %{state | running: running})}
  end

  def handle_info({:too_long, pid}, state) do
    Process.exit(pid, :kill)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp ended(id, state) do
    case :ets.lookup(@table, id) do
      [{^id, _term, nil, _made_for}] ->
        :ets.delete(@table, id)
        state

      [{^id, _term, ended, _made_for}] ->
        told = told(ended)
        {running, queue} = Map.get(state.queues, told, {0, :queue.new()})
        :ets.update_counter(@table, {:waiting, told}, 1, {{:waiting, told}, 0})
        start(told, {running, :queue.in(id, queue)}, state)

      [] ->
        state
    end
  end

  defp next(told, state) do
    {running, queue} = Map.fetch!(state.queues, told)
    start(told, {running - 1, queue}, state)
  end

  # A function that is slow has its own ends wait.
  defp start(told, {running, queue}, state) when running >= @most_running,
    do: put_in(state.queues[told], {running, queue})

  defp start(told, {running, queue}, state) do
    case :queue.out(queue) do
      {{:value, id}, queue} ->
        [{^id, term, ended, _made_for}] = :ets.take(@table, id)
        :ets.update_counter(@table, {:waiting, told}, -1)
        {pid, ref} = spawn_monitor(fn -> tell(ended, term) end)
        timer = Process.send_after(self(), {:too_long, pid}, @longest_ms)
        state = put_in(state.running[ref], {told, timer})
        put_in(state.queues[told], {running + 1, queue})

      {:empty, _queue} when running == 0 ->
        :ets.delete(@table, {:waiting, told})
        %{state | queues: Map.delete(state.queues, told)}

      {:empty, queue} ->
        put_in(state.queues[told], {running, queue})
    end
  end

  defp tell(ended, term) do
    ended.(term)
  catch
    kind, reason ->
      # A guest that makes and drops resources without end fills no log.
      with {:ok, left_out} <- Budget.take(__MODULE__) do
        more = if left_out > 0, do: " (#{left_out} more before this were not logged)", else: ""

        Logger.error(
          "what a resource's end was told to failed: #{Exception.format(kind, reason, __STACKTRACE__)}#{more}",
          crash_reason: {if(kind == :throw, do: {:nocatch, reason}, else: reason), __STACKTRACE__}
        )
      end
  end
end
