defmodule Tidepool.Process.Programs do
  @moduledoc """
  The programs that run on this node, or have a part here, and their ends: a program ends with its first process, on whatever
  node that is, or with the link to that node; so all others of it are killed then.

  The table belongs to the application, so that a restart here loses none.
  """

  use GenServer

  require Logger

  alias Tidepool.{Function, Native, Nodes}
  alias Tidepool.Process.UnderWay

  # Processes that end at a time. Each has its turn on a scheduler, in which it tells those that it is linked to and watched by, before
  # whoever else waits for one has theirs.
  @piece 10

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Makes the table of programs, for as long as the caller lives."
  @spec new :: :ok
  def new do
    if :ets.whereis(__MODULE__) == :undefined do
      :ets.new(__MODULE__, [:named_table, :public, write_concurrency: true])
    end

    :ok
  end

  @typedoc "A function, as it was when the program started, and how it is called; `nil` where it was replaced meanwhile."
  @type running :: {Function.t(), Native.function_ref()} | nil

  @doc "Notes a program by its first process, or its part here, with its number and what it runs; `false` when it is there."
  @spec add(pid, Native.process_ref(), pos_integer, running) :: boolean
  def add(first, reference, number, running) do
    new? = :ets.insert_new(__MODULE__, {first, reference, number, running})
    if new?, do: GenServer.cast(__MODULE__, {:watch, first})
    new?
  end

  @doc "A process of the program with this first process, and what it runs; `nil` when it is not on this node."
  @spec part(pid) :: {Native.process_ref(), running} | nil
  def part(first) do
    case :ets.lookup(__MODULE__, first) do
      [{^first, reference, _number, running}] -> {reference, running}
      [] -> nil
    end
  end

  @doc "The first process of the program with this number."
  @spec first(pos_integer) :: pid | nil
  def first(number), do: __MODULE__ |> :ets.match({:"$1", :_, number, :_}) |> List.flatten() |> List.first()

  @doc "Notes that a program, which this process is the first of, runs another version of its function from now on."
  @spec replace(pid, running) :: :ok
  def replace(first, running) do
    :ets.update_element(__MODULE__, first, {4, running})
    :ok
  end

  @doc "A process of each program."
  @spec all :: [Native.process_ref()]
  def all, do: :ets.select(__MODULE__, [{{:_, :"$1", :_, :_}, [], [:"$1"]}])

  @doc "A process of the program with this number; `nil` when none runs."
  @spec find(pos_integer) :: Native.process_ref() | nil
  def find(number), do: number |> of(:"$1", :_) |> List.first()

  @doc "The function that the program with this number runs, whatever has become of its name; `nil` when that is not known."
  @spec function(pos_integer) :: Function.t() | nil
  def function(number) do
    with [{function, _native}] <- of(number, :_, :"$1"), do: function, else: (_unknown -> nil)
  end

  defp of(number, reference, function),
    do: :ets.select(__MODULE__, [{{:_, reference, number, function}, [], [:"$1"]}])

  @doc "Ends all of this node's, and returns when none of their processes lives: nothing of the application is left for them."
  @spec end_all :: :ok
  def end_all do
    for {first, reference, number, _running} <- :ets.tab2list(__MODULE__) do
      finish(reference, MapSet.new())
      UnderWay.forget(number)
      :ets.delete(__MODULE__, first)
    end

    :ok
  end

  @impl true
  def init(nil) do
    :ok = Nodes.clear()
    for [first] <- :ets.match(__MODULE__, {:"$1", :_, :_, :_}), do: Process.monitor(first)
    {:ok, nil}
  end

  @impl true
  def handle_cast({:watch, first}, state) do
    Process.monitor(first)
    {:noreply, state}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, first, reason}, state) do
    # Each in a process of its own: a long one holds up no other, and no handle of a program stays on the heap of this one.
    spawn_link(fn -> ended(first, reason) end)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # Its entry goes last: it is for the next of these processes, if this one ends before.
  defp ended(first, reason) do
    for {_first, reference, number, _running} <- :ets.lookup(__MODULE__, first) do
      if reason == :noconnection, do: lost(node(first), reference)
      finish(reference, MapSet.new([first]))
      UnderWay.forget(number)
      :ets.delete(__MODULE__, first)
    end
  end

  defp lost(node, reference) do
    %{function: function} = Native.process_info(reference)
    text = "the processes of a program of #{function} end, for #{node}, where it began, can't be reached"
    Logger.warning(text, tidepool_node: to_string(node), tidepool_function: function)
  end

  # No process is made from now on; but the driver of one may have been starting.
  defp finish(reference, ended) do
    case reference |> Native.process_end() |> Enum.reject(&(&1 in ended)) do
      [] ->
        :ok

      pids ->
        for piece <- Enum.chunk_every(pids, @piece), do: kill(piece)
        finish(reference, MapSet.union(ended, MapSet.new(pids)))
    end
  end

  defp kill(pids) do
    monitors = for pid <- pids, do: {pid, Process.monitor(pid)}
    for pid <- pids, do: Process.exit(pid, :kill)
    for {pid, monitor} <- monitors, do: await(pid, monitor)
  end

  defp await(pid, monitor) do
    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    end
  end
end
