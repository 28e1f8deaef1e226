defmodule Tidepool.Catalog.Arrivals do
  @moduledoc """
  What is deployed elsewhere and can't be called here yet, and the calls that wait for it.

  Whoever learns from other nodes says so here: that it is still *joining*, so that any name may be on its way, and which names
  are coming. Looking is reading a table; waiting is asking this process. It is older than the cluster's processes, so that who
  waits goes on waiting while those are restarted.

  So many calls may wait for names, and as many for the end of joining, of which those of a namespace's functions are no more than they leave
  to others. While this node joins, a name need not exist, and so neither need its namespace: those who wait for such ones have no place of
  those who wait for names that are coming. Who was killed meanwhile, as a request is whose client hangs up, is none of them once its place
  is wanted.
  """

  use GenServer

  alias Tidepool.Error
  alias Tidepool.Namespaces.{Name, Places}

  @max_waiting 10_000
  # How often those are looked for whose time is over, or who are gone, at most.
  @filter_ms 100

  # {name, time limit of a call in ms} for each that is coming; {:joining, until} while that is so, which is waited for as names are.
  @table __MODULE__

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "From now on this node is joining, for `ms` at most."
  @spec joining(ms :: pos_integer) :: :ok
  def joining(ms) do
    :ets.insert(@table, {:joining, now() + ms})
    :ok
  end

  @doc "Whatever others had deployed is known now."
  @spec joined :: :ok
  def joined, do: over(:joining)

  @doc "Is this node still to learn what others have deployed?"
  @spec joining? :: boolean
  def joining?, do: joining_ms() > 0

  @doc "Waits until it is not. However many calls wait, who changes what is deployed does, too."
  @spec await_joined :: :ok
  def await_joined do
    _over_or_not = wait_joined(:infinity, :change)
    :ok
  end

  defp wait_joined(timeout, who) do
    left = joining_ms()
    # An atom is greater than any number.
    if left > 0, do: wait(:joining, min(left, timeout), who), else: :over
  end

  @doc "These names, with the time limits of their calls in ms, are coming, and nothing else is."
  @spec expect([{name :: String.t(), time :: pos_integer}]) :: :ok
  def expect(names) do
    gone = names() -- Enum.map(names, &elem(&1, 0))
    :ets.insert(@table, names)
    Enum.each(gone, &over/1)
  end

  @doc "A name is coming, too."
  @spec coming(String.t(), time :: pos_integer) :: :ok
  def coming(name, time) do
    :ets.insert(@table, {name, time})
    :ok
  end

  @doc "A name is here, or will not come."
  @spec over(String.t() | :joining) :: :ok
  def over(name) do
    # First, so that nobody begins to wait when those who do are told.
    :ets.delete(@table, name)
    GenServer.cast(__MODULE__, {:over, name})
  end

  @doc "How many are coming."
  @spec count :: non_neg_integer
  def count, do: length(names())

  @doc """
  Waits until a name that is coming is here, or `timeout` is over, or a call of it would be.

  `:unknown` says that the name is not coming.
  """
  @spec await(String.t(), timeout) :: :over | :unknown | :timeout | :overloaded
  def await(name, timeout) do
    case :ets.lookup(@table, name) do
      [{_name, time}] -> wait(name, min(timeout, time), name)
      [] -> if joining?(), do: await_joined(name, timeout), else: :unknown
    end
  end

  defp await_joined(name, timeout) do
    begun = now()

    with joined when joined != :overloaded <- wait_joined(timeout, name) do
      case :ets.lookup(@table, name) do
        # An atom is greater than any number, so `:infinity` is the largest of times.
        [{_name, time}] -> wait(name, max(min(timeout, time) - (now() - begun), 0), name)
        [] -> :unknown
      end
    end
  end

  # Who waits is a call of a function, or a change.
  defp wait(name, timeout, who) do
    GenServer.call(__MODULE__, {:await, name, now() + timeout, who}, timeout)
  catch
    :exit, {:timeout, _call} -> :timeout
    :exit, _gone -> :unknown
  end

  @doc "What a call is told that can't wait here, for so many do."
  @spec overloaded(String.t()) :: Error.t()
  def overloaded(name),
    do: Error.new(:overloaded, "too many calls wait for modules that are on their way here", name)

  defp joining_ms do
    case :ets.lookup(@table, :joining) do
      [{:joining, until}] -> max(until - now(), 0)
      [] -> 0
    end
  end

  defp names, do: for({name, _time} <- :ets.tab2list(@table), name != :joining, do: name)

  @impl true
  def init(nil) do
    :ets.new(@table, [:named_table, :public, read_concurrency: true])
    places = Map.new([:joining, :name], &{&1, Places.new(@max_waiting, 0)})
    # Whoever waits: for a name, or the end of joining, until when, and who that is.
    {:ok, %{waiters: %{}, places: places, filtered_at: now() - @filter_ms}}
  end

  @impl true
  def handle_call({:await, name, deadline, who} = asked, from, state) do
    with true <- :ets.member(@table, name),
         {:ok, places} <- take(state.places, name, who) do
      {:noreply, %{put_in(state.waiters[from], {name, deadline, who}) | places: places}}
    else
      false ->
        {:reply, :over, state}

      # Looking through them takes time, which those who are refused must not take from everybody else.
      :full ->
        if now() < state.filtered_at + @filter_ms, do: {:reply, :overloaded, state}, else: again(asked, from, state)
    end
  end

  defp again(asked, from, state) do
    now = now()
    gone? = fn {{pid, _tag}, {_name, until, _who}} -> until <= now or not Process.alive?(pid) end
    {_gone, state} = without(state, gone?)
    handle_call(asked, from, %{state | filtered_at: now})
  end

  @impl true
  def handle_cast({:over, name}, state) do
    {answered, state} = without(state, fn {_from, {waits_for, _until, _who}} -> waits_for == name end)
    for {from, _waiter} <- answered, do: GenServer.reply(from, :over)
    {:noreply, state}
  end

  defp without(state, gone?) do
    {gone, waiters} = Enum.split_with(state.waiters, gone?)
    places = Enum.reduce(gone, state.places, fn {_from, {name, _until, who}}, all -> give_back(all, name, who) end)
    {gone, %{state | waiters: Map.new(waiters), places: places}}
  end

  # However many calls wait, a change does.
  defp take(places, _name, :change), do: {:ok, places}

  defp take(places, name, function) do
    what = what(name)

    with {:ok, taken} <- Places.take(Map.fetch!(places, what), Name.of(function), 0, function),
         do: {:ok, Map.put(places, what, taken)}
  end

  defp give_back(places, _name, :change), do: places

  defp give_back(places, name, function),
    do: Map.update!(places, what(name), &Places.give_back(&1, Name.of(function), 0))

  defp what(:joining), do: :joining
  defp what(_name), do: :name

  defp now, do: System.monotonic_time(:millisecond)
end
