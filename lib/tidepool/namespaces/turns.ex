defmodule Tidepool.Namespaces.Turns do
  @moduledoc """
  Whose turn it is to have what all namespaces of a node share: a namespace has some turns of each kind at a time, who comes beyond these
  waits, first come, first served, and what would be too many that wait is told so. So no namespace takes all of it, however many callers
  it has. Functions without a namespace have their turns together.

    * `:keyvalue`: a request to the store of the setting `keyvalue`
    * `:records`: a read of actors' records, on one of the VM's dirty IO schedulers; a namespace has four of ten
    * `:images`: an image of an actor with much memory, or a look at all of a module that is deployed, on one of the dirty CPU schedulers; a
      namespace has all but one, or the only one
    * `:recordings`: a look at the files of recordings, on one of the dirty IO schedulers; a namespace has one
    * `:replays`: a replay of a recording, with what is read of it in memory; a namespace has two
    * `{:links, node}`: a message of more than 64 KiB to another node, until its link has taken it; a namespace has four to each
    * `:names`: a name that is looked up by one of the VM's four threads for that; a namespace has one
    * `:files`: what a program asks of a folder of the machine, on one of the dirty IO schedulers; a namespace has two of ten

  A turn that is free costs no question to a process: it is a row of a table, which who takes it inserts and deletes, and each time it is looked
  whether others of the namespace wait. Those four operations take one to two microseconds, and what a turn is for is handed to another
  thread or goes to a store, which takes longer by itself.

  Who finds none free asks the process, and so does who comes while others wait: two messages for each turn, in a namespace that wants more of them
  than it may have. A turn whose process has ended is free: who comes next sees
  that, and for those who wait the process watches who has the turns.

  That process is one for all namespaces. So a line has a bound, unless something else bounds those who come, and who leaves it, be it late or
  dead, is found by its number: however many leave a long line at once, none of them has the others looked at.

  A function of the library on a dirty scheduler goes on when its process is killed, as that of a request is whose client hangs up. So turns of
  all kinds but `:keyvalue` and `:links` are had by another process, which does the work and which nobody kills: what has begun is over before its turn is
  somebody else's. To start that process and to hand on what it returns takes some ten microseconds more.

  Who has a turn waits for no other one of its kind, and for nothing that one who waits for a turn has. So all turns come to an end.
  """

  use GenServer

  alias Tidepool.Namespaces.Name

  # {turn, pid} of each that is taken, and {key} of those that are waited for.
  @turns __MODULE__

  # What goes on when its process is killed.
  @outlasting [:records, :images, :recordings, :replays, :names, :files]

  @typedoc "What it is a turn of."
  @type kind :: :keyvalue | :records | :images | :recordings | :replays | :names | {:links, node} | :files

  @typedoc "Until when it is waited, in ms of the VM's monotonic time; `:now` waits for nothing."
  @type until :: integer | :infinity | :now

  @typedoc """
  Whether one that would be too many is told so. Who has begun on what can't be done again waits in any case (`:always`): what bounds its number
  is what it has, an instance for example.
  """
  @type waits :: :bounded | :always

  @doc "How many turns of a kind a namespace has at a time, and how many may wait for one."
  @spec bounds(kind) :: {running :: pos_integer, waiting :: pos_integer | :infinity}
  def bounds(:keyvalue), do: {4, 240}

  # A call of an actor that is yet to wake has a process, and keeps it when its caller hangs up: nothing else bounds their number. As many may
  # wait as instances of theirs would have room, so that a node which has just started wakes all of its actors.
  def bounds(:records), do: {max(div(2 * :erlang.system_info(:dirty_io_schedulers), 5), 1), 4_096}

  # An actor waits here with its only process and its instance, which bound the number, and what its call has done would be thrown away. Of
  # deploys there are some at a time.
  def bounds(:images), do: {max(:erlang.system_info(:dirty_cpu_schedulers_online) - 1, 1), :infinity}

  # All files of a node may be looked at. Deploys ask, of which there are some at a time, and who reads lists.
  def bounds(:recordings), do: {1, 64}
  def bounds(:replays), do: {2, 64}

  # All that is sent to a node goes by one link, 64 KiB of each sender at a time. Replies wait here that count among bytes, and callers with payloads
  # that do.
  def bounds({:links, _node}), do: {4, :infinity}

  # Of fetches there are some at a time.
  def bounds(:names), do: {1, 64}

  # Processes of programs wait here, which are as many as instances. A disk that is far away, and does not answer, keeps the schedulers that it
  # has: reads of actors have others.
  def bounds(:files), do: {max(div(:erlang.system_info(:dirty_io_schedulers), 5), 1), :infinity}

  @doc false
  def start_link(_none), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc """
  What `work` returns, which is done in a turn of a function's namespace; or `:late` when none has come until then, and `:busy` when too many
  wait for one. Work of all kinds but `:keyvalue` and `:links` is done by another process than the caller's: it is ended by nothing that ends the caller,
  and what it knows of the caller is copied.
  """
  @spec run(kind, function :: String.t(), until, work :: (() -> result), waits) :: {:ok, result} | :late | :busy
        when result: term
  def run(kind, function, until, work, waits \\ :bounded) do
    with {:ok, turn} <- take({kind, Name.of(function)}, until, waits),
         do: {:ok, if(kind in @outlasting, do: outlasting(turn, work), else: done(turn, work))}
  end

  defp done(turn, work) do
    work.()
  after
    give(turn)
  end

  defp outlasting(turn, work) do
    caller = self()

    # A caller that was killed before the turn was the other's has given it up.
    {pid, monitor} =
      spawn_monitor(fn -> if hand(turn, caller) or Process.alive?(caller), do: exit({@turns, outcome(turn, work)}) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, {@turns, {:ok, result}}} ->
        result

      {:DOWN, ^monitor, :process, ^pid, {@turns, {kind, reason, stack}}} ->
        :erlang.raise(kind, reason, stack)

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        give_up(turn)
        exit(reason)
    end
  end

  defp outcome(turn, work) do
    {:ok, done(turn, work)}
  catch
    kind, reason -> {kind, reason, __STACKTRACE__}
  end

  # Makes a turn of another process's the calling one's; `false` when it is that one's no more.
  defp hand(nil, _from), do: true

  defp hand(turn, from) do
    :ets.select_replace(@turns, [{{turn, from}, [], [{:const, {turn, self()}}]}]) == 1
  rescue
    ArgumentError -> false
  end

  @doc "How many have a turn of a function's namespace now, and how many wait for one."
  @spec count(kind, function :: String.t()) :: {running :: non_neg_integer, waiting :: non_neg_integer}
  def count(kind, function) do
    key = {kind, Name.of(function)}
    {key |> holders() |> Enum.count(&Process.alive?/1), GenServer.call(__MODULE__, {:waiting, key}, :infinity)}
  end

  defp take(key, until, waits) do
    turn = unless waited_for?(key), do: free(key, self())

    cond do
      turn != nil -> {:ok, turn}
      until == :now -> :late
      true -> GenServer.call(__MODULE__, {:take, key, until, waits}, :infinity)
    end
  rescue
    # The table is being made anew: nothing is known of turns, and work goes on.
    ArgumentError -> {:ok, nil}
  catch
    :exit, _restarting -> {:ok, nil}
  end

  defp give(nil), do: :ok

  defp give(turn) do
    :ets.delete_object(@turns, {turn, self()})
    waited(turn)
  rescue
    # The table is being made anew.
    ArgumentError -> :ok
  end

  # Of a process that was killed.
  defp give_up(turn) do
    waited(turn)
  rescue
    ArgumentError -> :ok
  end

  # It is nobody's any more.
  defp waited(nil), do: :ok
  defp waited({key, _number}), do: if(waited_for?(key), do: GenServer.cast(__MODULE__, {:given, key}))

  defp waited_for?(key), do: :ets.member(@turns, key)

  # A turn that was free, and is the process's now; `nil` when none was.
  defp free({kind, _namespace} = key, pid), do: free(key, pid, kind |> bounds() |> elem(0))

  defp free(_key, _pid, 0), do: nil

  defp free(key, pid, number) do
    turn = {key, number}
    mine = {turn, pid}

    if :ets.insert_new(@turns, mine) or (given?(turn) and :ets.insert_new(@turns, mine)),
      do: turn,
      else: free(key, pid, number - 1)
  end

  # Another may have seen that too, and have it by now.
  defp given?(turn) do
    case :ets.lookup(@turns, turn) do
      [{_turn, pid} = taken] -> not Process.alive?(pid) and :ets.delete_object(@turns, taken)
      [] -> true
    end
  end

  defp holders({kind, _namespace} = key) do
    {most, _waiting} = bounds(kind)
    for number <- 1..most, {_turn, pid} <- :ets.lookup(@turns, {key, number}), do: pid
  end

  @impl true
  # By key: those who wait, by numbers of which the first to come has the smallest, and the monitors of those who have the turns.
  def init(_none) do
    :ets.new(@turns, [:named_table, :public, read_concurrency: true, write_concurrency: true])
    {:ok, %{}}
  end

  @impl true
  def handle_call({:take, {kind, _namespace} = key, until, waits}, from, state) do
    {_running, most} = bounds(kind)
    line = Map.get(state, key, %{waiting: :gb_trees.empty(), holders: %{}})

    # A number is less than `:infinity`.
    if waits == :always or :gb_trees.size(line.waiting) < most do
      # Before it is looked for a turn: who gives one back from now on says so.
      :ets.insert(@turns, {key})
      line = %{line | waiting: enter(line.waiting, key, from, until)}
      {:noreply, next(Map.put(state, key, line), key)}
    else
      {:reply, :busy, state}
    end
  end

  def handle_call({:waiting, key}, _from, state) do
    case state do
      %{^key => %{waiting: waiting}} -> {:reply, :gb_trees.size(waiting), state}
      _nobody -> {:reply, 0, state}
    end
  end

  @impl true
  def handle_cast({:given, key}, state), do: {:noreply, next(state, key)}

  @impl true
  # Who has waited is gone, or it is too late for it.
  def handle_info({{:waiting, key, number}, _monitor, :process, _pid, _reason}, state),
    do: {:noreply, leave(state, key, number)}

  def handle_info({:late, key, number}, state), do: {:noreply, leave(state, key, number)}
  # Who had a turn is gone.
  def handle_info({{:holding, key}, _monitor, :process, _pid, _reason}, state), do: {:noreply, next(state, key)}

  defp enter(waiting, key, {pid, _tag} = from, until) do
    number = System.unique_integer([:monotonic])
    monitor = :erlang.monitor(:process, pid, tag: {:waiting, key, number})
    :gb_trees.insert(number, {monitor, from, timer(key, number, until)}, waiting)
  end

  # Those who have waited for the longest time get the turns that are free.
  defp next(state, key) when is_map_key(state, key) do
    %{waiting: waiting} = line = state[key]

    with false <- :gb_trees.is_empty(waiting),
         {_number, {monitor, {pid, _tag} = from, timer}, left} = :gb_trees.take_smallest(waiting),
         turn when turn != nil <- free(key, pid) do
      forget(monitor, timer)
      GenServer.reply(from, {:ok, turn})
      next(%{state | key => %{line | waiting: left}}, key)
    else
      nil -> %{state | key => %{line | holders: watch(key, line.holders)}}
      true -> over(state, key)
    end
  end

  # It was given back by the last of those who had a turn, after nobody waited any more.
  defp next(state, _key), do: state

  # Nobody waits.
  defp over(state, key) do
    :ets.delete(@turns, key)
    {%{holders: holders}, state} = Map.pop!(state, key)
    for {_pid, monitor} <- holders, do: Process.demonitor(monitor)
    state
  end

  defp watch(key, watched) do
    now =
      key
      |> holders()
      |> Enum.uniq()
      |> Map.new(&{&1, watched[&1] || :erlang.monitor(:process, &1, tag: {:holding, key})})

    for {pid, monitor} <- watched, not is_map_key(now, pid), do: Process.demonitor(monitor)
    now
  end

  # Whoever leaves makes no turn free: the others wait on, and are not looked at.
  defp leave(state, key, number) when is_map_key(state, key) do
    %{waiting: waiting} = line = state[key]

    case :gb_trees.take_any(number, waiting) do
      {{monitor, from, timer}, left} ->
        forget(monitor, timer)
        # Who is dead hears nothing.
        GenServer.reply(from, :late)
        if :gb_trees.is_empty(left), do: over(state, key), else: %{state | key => %{line | waiting: left}}

      # It had its turn at the same time, or was late and died.
      :error ->
        state
    end
  end

  defp leave(state, _key, _number), do: state

  # What they have sent by now is not looked for in the mailbox, which may be as long as the line: nobody has that number any more.
  defp forget(monitor, timer) do
    Process.demonitor(monitor)
    if timer, do: Process.cancel_timer(timer, async: true, info: false)
  end

  defp timer(_key, _number, :infinity), do: nil

  defp timer(key, number, until) do
    left = max(until - System.monotonic_time(:millisecond), 0)
    Process.send_after(self(), {:late, key, number}, left)
  end
end
