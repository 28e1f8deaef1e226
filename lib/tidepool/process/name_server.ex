defmodule Tidepool.Process.NameServer do
  @moduledoc """
  Keeps the names that hold on all nodes of the programs that began on this one, for the processes of others.

  The names themselves are the native library's, with those that guests of this node give to one another. Here is what only the VM
  knows: which processes of other nodes have died. Their names are free from then on, and are swept, some at a time: what is asked meanwhile
  waits for a piece of that and no more. Those that have had names are in a table of the application's, so that a restart here forgets none.

  The question is `{:name, first, operation, name, id, owner}`, and the answer `{code, id}`, as those of `Tidepool.Process.Remote`. The operation is `:put`, `:claim`, `:get`, `:remove` or `:free`; `first` is the first process of the program, and `owner` the pid with
  the number `id`, or `nil`.
  """

  use GenServer

  alias Tidepool.{Native, Nodes}
  alias Tidepool.Nodes.{Ask, Protocol, Requests}
  alias Tidepool.Process.Programs

  @table __MODULE__
  @protocol %Protocol{server: __MODULE__, tag: :tidepool_process, version: 1, what: "names", form: :from}
  @sweep_ms 1_000
  @max_bytes 65_536
  @max_number 0xFFFF_FFFF_FFFF_FFFF
  @operations [:put, :claim, :get, :remove, :free]
  @done 0
  @taken 1
  @no_process 2
  @full 3

  @doc "`more` are the names of further nodes that are known: see `Tidepool.Nodes.Requests.new/2`."
  @spec start_link((() -> [String.t() | node])) :: GenServer.on_start()
  def start_link(more), do: GenServer.start_link(__MODULE__, more, name: __MODULE__)

  @doc "What the node answers where a program began, within `ms`."
  @spec ask(node, question :: tuple, ms :: non_neg_integer) :: {:ok, term} | {:error, Ask.reason()}
  def ask(node, question, ms), do: Ask.ask(@protocol, node, question, ms)

  @doc "Makes the table of processes that have had names, for as long as the caller lives."
  @spec new :: :ok
  def new do
    # {pid, first process of its program, number}
    if :ets.whereis(@table) == :undefined, do: :ets.new(@table, [:named_table, :public])
    :ok
  end

  # `gone` are the processes of other nodes that have died and may have names yet: their pids by program and number.
  @impl true
  def init(more) do
    for {owner, _first, _id} <- :ets.tab2list(@table), do: Process.monitor(owner)
    {:ok, %{requests: Requests.new(@protocol, more), gone: %{}, sweeps?: false}}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, %{gone: gone} = state) do
    case :ets.lookup(@table, pid) do
      [{^pid, first, id}] ->
        unless state.sweeps?, do: Process.send_after(self(), :sweep, @sweep_ms)
        {:noreply, %{state | gone: Map.update(gone, first, %{id => pid}, &Map.put(&1, id, pid)), sweeps?: true}}

      [] ->
        {:noreply, state}
    end
  end

  def handle_info(:sweep, state), do: {:noreply, sweep(state)}

  def handle_info(message, state) do
    Requests.handle(state, message, fn request, state ->
      Nodes.hold(Requests.asker(request))
      serve(request.question, request, state)
    end)
  end

  defp serve({:name, first, operation, name, id, owner}, request, state)
       when is_pid(first) and node(first) == node() and operation in @operations and is_binary(name) and
              byte_size(name) <= @max_bytes and id in 0..@max_number do
    if String.valid?(name) and owner?(operation, id, owner) do
      {answer, state} = named(Programs.part(first), {first, operation, name, id, owner}, state)
      Requests.answer(@protocol, request, answer)
      state
    else
      malformed(state, request)
    end
  end

  defp serve(_other, request, state), do: malformed(state, request)

  # The number holds the node that the process is on.
  defp owner?(operation, id, owner) when operation in [:put, :claim] do
    is_pid(owner) and
      if(node(owner) == node(), do: Nodes.of(id) == 0, else: Nodes.number(node(owner)) == Nodes.of(id))
  end

  defp owner?(_operation, _id, owner), do: owner == nil

  defp malformed(state, request), do: %{state | requests: Requests.unreadable(state.requests, request)}

  defp named(nil, {_first, _operation, _name, _id, _owner}, state), do: {{@no_process, 0}, state}

  defp named({reference, _running} = part, {first, operation, name, id, owner} = asked, state) do
    gone = Map.get(state.gone, first, %{})

    case Native.process_name(reference, operation, name, id) do
      {@done, id} when operation in [:put, :claim] ->
        watch(first, id, owner)
        {{@done, id}, state}

      {@done, id} when operation == :get ->
        {if(is_map_key(gone, id), do: {@taken, 0}, else: {@done, id}), state}

      # This name alone: the others of that process are swept.
      {@taken, other} when operation == :claim and is_map_key(gone, other) ->
        Native.process_name(reference, :free, name, other)
        named(part, asked, state)

      # Names of the program's own dead make room.
      {@full, _} when gone != %{} ->
        named(part, asked, forget(state, first))

      result ->
        {result, state}
    end
  end

  defp watch(first, id, owner) do
    if node(owner) != node() and :ets.insert_new(@table, {owner, first, id}), do: Process.monitor(owner)
  end

  # A piece, and the next one behind what was asked meanwhile.
  defp sweep(%{gone: gone} = state) do
    case gone |> :maps.iterator() |> :maps.next() do
      {first, _ids, _more} ->
        send(self(), :sweep)
        forget(state, first)

      :none ->
        %{state | sweeps?: false}
    end
  end

  # Some names of one of a program's dead.
  defp forget(%{gone: gone} = state, first) do
    %{^first => ids} = gone
    {id, _pid, _more} = ids |> :maps.iterator() |> :maps.next()

    case Programs.part(first) do
      {reference, _running} ->
        if Native.process_forget_names(reference, id), do: forgotten(state, first, id), else: state

      nil ->
        forgotten(state, first, id)
    end
  end

  # Only now its row goes: who comes after this process, if it ends before, finds it dead once more.
  defp forgotten(%{gone: gone} = state, first, id) do
    {pid, ids} = Map.pop!(Map.fetch!(gone, first), id)
    :ets.delete(@table, pid)
    %{state | gone: if(ids == %{}, do: Map.delete(gone, first), else: Map.put(gone, first, ids))}
  end
end
