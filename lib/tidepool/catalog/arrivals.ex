defmodule Tidepool.Catalog.Arrivals do
  @moduledoc """
  What is deployed elsewhere and can't be called here yet, and the calls that wait for it.

  Whoever learns from other nodes says so here: that it is still *joining*, so that any name may be on its way, and which names
  are coming. Looking is reading a table; waiting is asking this process. It is older than the cluster's processes, so that who
  waits goes on waiting while those are restarted.
  """

  use GenServer

  alias Tidepool.Error

  @max_waiting 10_000
  # How often those whose time is over are looked for, at most.
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
      [{_name, time}] -> wait(name, min(timeout, time))
      [] -> if joining?(), do: await_joined(name, timeout), else: :unknown
    end
  end

  defp await_joined(name, timeout) do
    begun = now()

    with joined when joined != :overloaded <- wait_joined(timeout, :call) do
      case :ets.lookup(@table, name) do
        # An atom is greater than any number, so `:infinity` is the largest of times.
        [{_name, time}] -> wait(name, max(min(timeout, time) - (now() - begun), 0))
        [] -> :unknown
      end
    end
  end

  defp wait(name, timeout, who \\ :call) do
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
    # Whoever waits: for a name, or the end of joining, and until when.
    {:ok, %{waiters: %{}, filtered_at: now() - @filter_ms}}
  end

  @impl true
  def handle_call({:await, name, deadline, who}, from, state) do
    cond do
      not :ets.member(@table, name) ->
        {:reply, :over, state}

      map_size(state.waiters) < @max_waiting or who == :change ->
        {:noreply, put_in(state.waiters[from], {name, deadline})}

      # Looking through them takes time, which those who are refused must not take from everybody else.
      now() < state.filtered_at + @filter_ms ->
        {:reply, :overloaded, state}

      true ->
        now = now()
        waiters = Map.filter(state.waiters, fn {_from, {_name, until}} -> until > now end)
        handle_call({:await, name, deadline, who}, from, %{state | waiters: waiters, filtered_at: now})
    end
  end

  @impl true
  def handle_cast({:over, name}, state) do
    {answered, waiters} = Enum.split_with(state.waiters, fn {_from, {waits_for, _until}} -> waits_for == name end)
    for {from, _waiter} <- answered, do: GenServer.reply(from, :over)
    {:noreply, %{state | waiters: Map.new(waiters)}}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
