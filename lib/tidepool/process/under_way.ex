defmodule Tidepool.Process.UnderWay do
  @moduledoc """
  What processes of a program on this node have sent to its processes on others, and these have not taken note of.

  It waits there in the VM's mailbox of a driver, which no account has, and outlives who has sent it. So all processes of a program on
  this node have one bound together, and what they have sent stays counted when they end. Each counts a message before it sends that. When
  there is as much as there may be, it waits for the program's asker: a process that asks all receivers whether what was sent to them has
  arrived, by the question that senders ask as well (`Tidepool.Process.Inbox`), and answers who waits as receivers do.

  What was counted before a round begins is asked for in that round, and what is counted meanwhile in the next one. A receiver takes nothing
  while it waits for a handler of its host, which may be for long, and others are not to wait for that: once so much is open of one receiver,
  those who send to it wait for it alone. Only when there is so much open of all does no round begin.

  The VM sends to a process of another node in the order in which processes of this one do. But a large message goes in pieces, between
  which the question may get there: so it is counted a second time when all of it has gone.
  """

  alias Tidepool.Nodes

  # Bytes of a program that may be under way before its receivers are asked for them; those of one receiver, and of all, that may have been
  # asked for before its senders, and those to any, wait.
  @most 1_048_576
  @most_of_one 262_144
  @most_open 16_777_216
  # An asker that is nobody's looks so often whether it is.
  @orphan_ms 60_000

  # {{program, :counted}, bytes}, since the last round began; {{program, receiver}, bytes}, of that; {{program, :open, receiver}, bytes},
  # which that is asked for; {{program, :asker}, pid}.
  @table __MODULE__

  @type program :: pos_integer

  @doc "Makes the table, for as long as the caller lives."
  @spec new :: :ok
  def new do
    if :ets.whereis(@table) == :undefined,
      do: :ets.new(@table, [:named_table, :ordered_set, :public, write_concurrency: true])

    :ok
  end

  @doc "Counts what is about to be sent to a process of another node; or there is no room, and who is to be asked when there is."
  @spec count(program, pid, bytes :: pos_integer) :: :ok | {:full, asker :: pid}
  def count(program, to, bytes) do
    cond do
      bytes({program, :open, to}) >= @most_of_one or bytes({program, :counted}) >= @most ->
        {:full, asker(program)}

      # Others were quicker.
      add({program, :counted}, bytes) - bytes >= @most ->
        uncount(program, bytes)
        {:full, asker(program)}

      true ->
        add({program, to}, bytes)
        :ok
    end
  end

  @doc "Counts it once more, now that all of it has gone."
  @spec count_again(program, pid, bytes :: pos_integer) :: :ok
  def count_again(program, to, bytes) do
    add({program, :counted}, bytes)
    add({program, to}, bytes)
    :ok
  end

  @doc "Forgets a program, none of whose processes lives."
  @spec forget(program) :: :ok
  def forget(program) do
    for [asker] <- :ets.match(@table, {{program, :asker}, :"$1"}) do
      monitor = Process.monitor(asker)
      Process.exit(asker, :kill)
      # Until then it may count.
      receive do: ({:DOWN, ^monitor, :process, ^asker, _reason} -> :ok)
    end

    for key <- [{program, :_}, {program, :open, :_}], do: :ets.match_delete(@table, {key, :_})
    :ok
  end

  defp bytes(key) do
    case :ets.lookup(@table, key) do
      [{_key, bytes}] -> bytes
      [] -> 0
    end
  end

  defp add(key, bytes), do: :ets.update_counter(@table, key, bytes, {key, 0})

  # Two may do so at once.
  defp uncount(program, bytes) do
    key = {program, :counted}
    :ets.update_counter(@table, key, {2, -bytes, 0, 0}, {key, 0})
  end

  defp asker(program) do
    key = {program, :asker}

    case :ets.lookup(@table, key) do
      [{^key, asker} = entry] ->
        if Process.alive?(asker) do
          asker
        else
          :ets.delete_object(@table, entry)
          # Nobody waits for those answers any more.
          :ets.match_delete(@table, {{program, :open, :_}, :_})
          asker(program)
        end

      [] ->
        asker = spawn(fn -> attend(%{program: program, asked: %{}, open: 0, waiting: %{}}) end)
        # Another may have been quicker.
        unless :ets.insert_new(@table, {key, asker}), do: Process.exit(asker, :kill)
        asker(program)
    end
  end

  # `asked` are receivers and bytes by monitors of those, `open` all of these bytes, and `waiting` who is told when there is room for what it
  # is to send to a receiver.
  defp attend(%{program: program, asked: asked, waiting: waiting} = state) do
    receive do
      {:tidepool_taken?, from, ref, to} ->
        waits = {Process.monitor(from), ref, to}
        %{state | waiting: Map.put(waiting, from, waits)} |> look() |> attend()

      {:tidepool_taken, monitor, _room?} when is_map_key(asked, monitor) ->
        Process.demonitor(monitor, [:flush])
        state |> answered(monitor) |> attend()

      {:DOWN, monitor, :process, _pid, _reason} when is_map_key(asked, monitor) ->
        state |> answered(monitor) |> attend()

      {:DOWN, _monitor, :process, from, _reason} ->
        attend(%{state | waiting: Map.delete(waiting, from)})

      _other ->
        attend(state)
    after
      # Who has started it may have been killed before anybody could find it.
      @orphan_ms -> if :ets.lookup(@table, {program, :asker}) == [{{program, :asker}, self()}], do: attend(state)
    end
  end

  defp answered(%{program: program, asked: asked, open: open} = state, monitor) do
    {{to, bytes}, asked} = Map.pop!(asked, monitor)
    if add({program, :open, to}, -bytes) <= 0, do: :ets.delete(@table, {program, :open, to})
    look(%{state | asked: asked, open: open - bytes})
  end

  # Begins a round if that is to be, and tells those who wait if there is room then.
  defp look(%{open: open} = state) when open >= @most_open, do: state

  defp look(%{program: program} = state) do
    state = if bytes({program, :counted}) >= @most, do: ask(state), else: state
    if state.open < @most_open, do: tell(state), else: state
  end

  defp tell(%{program: program, waiting: waiting} = state) do
    {wait, go_on} = Enum.split_with(waiting, fn {_from, {_, _, to}} -> bytes({program, :open, to}) >= @most_of_one end)

    for {from, {monitor, ref, _to}} <- go_on do
      Process.demonitor(monitor, [:flush])
      send(from, {:tidepool_taken, ref, true})
    end

    %{state | waiting: Map.new(wait)}
  end

  # Of those whose node is gone nothing is under way. A monitor would link that node again.
  defp ask(%{program: program} = state) do
    counted = bytes({program, :counted})
    receivers = :ets.select(@table, [{{{program, :"$1"}, :_}, [{:is_pid, :"$1"}], [:"$1"]}])
    sent = for to <- receivers, {_key, bytes} <- :ets.take(@table, {program, to}), do: {to, bytes}
    uncount(program, counted)

    for {to, bytes} <- sent, Nodes.linked?(node(to)), reduce: state do
      %{asked: asked, open: open} = state ->
        monitor = Process.monitor(to)
        :erlang.send(to, {:tidepool_taken?, self(), monitor, :none}, [:noconnect])
        add({program, :open, to}, bytes)
        %{state | asked: Map.put(asked, monitor, {to, bytes}), open: open + bytes}
    end
  end
end
