defmodule Tidepool.Cluster.Processes do
  @moduledoc """
  Starts processes of programs that began on other nodes, says which process has which number, and tells this node's programs
  which nodes there are.

  `Tidepool.Process.Remote` has the questions. What is started is a module that is deployed here, by the hash that the program
  has it by: where another version is still on its way it is waited for. All else is decided here, by the limits and grants that
  the function has on this node. A question from a node that is not of the cluster has no answer, and one that is none is logged once.
  """

  use GenServer

  alias Tidepool.{Catalog, Events, Function, Native}
  alias Tidepool.Catalog.{Arrivals, BlobStore}
  alias Tidepool.Cluster.{Links, Server}
  alias Tidepool.Process.{Asked, Loop, Nodes, Programs, Remote}

  # Processes that are being made at once, and that wait for that.
  @most 32
  @most_waiting 512
  # How long a module that is on its way may take until it is here; and until it is heard of.
  @module_ms 15_000
  @unheard_ms 1_000
  # Between two questions to a process that does not answer.
  @again_ms 1_000
  @failed 1
  @no_module 2
  @max_number 0xFFFF_FFFF_FFFF_FFFF

  @server elem(Remote.protocol(), 0)
  @version elem(Remote.protocol(), 1)

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: @server)

  @impl true
  def init(nil) do
    :ok = Events.subscribe()
    {:ok, %{making: MapSet.new(), waiting: :queue.new(), asked: Asked.new("processes", @version)}, {:continue, :look}}
  end

  @impl true
  def handle_continue(:look, state), do: {:noreply, look(state)}

  @impl true
  def handle_info({:tidepool_event, %{event: event}}, state) when event in [:node_joined, :node_left],
    do: {:noreply, look(state)}

  def handle_info(:look, state), do: {:noreply, look(state)}

  def handle_info({:tidepool_process, version, from, ref, question}, state) when is_pid(from) and is_reference(ref) do
    case Asked.admit(state.asked, node(from), version, &Links.linked/0) do
      {:ok, asked} ->
        Nodes.hold(node(from))
        {:noreply, serve(question, from, ref, %{state | asked: asked})}

      {:ignore, asked} ->
        {:noreply, %{state | asked: asked}}
    end
  end

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, %{making: making} = state) do
    {:noreply, next(%{state | making: MapSet.delete(making, monitor)})}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp look(state) do
    case Server.view() do
      {:ok, view} -> view.live |> Map.keys() |> List.delete(view.node) |> Nodes.set()
      :alone -> Nodes.set([])
    end

    state
  catch
    # It has much to do, or is about to be restarted, and this process with it. What is being made goes on.
    :exit, _timeout_or_gone ->
      Process.send_after(self(), :look, @again_ms)
      state
  end

  defp serve({:find, first, id}, from, ref, state) when is_pid(first) and id in 0..@max_number do
    found = with {reference, _running} <- Programs.part(first), do: Native.process_locate(reference, id)
    answer(from, ref, found)
    state
  end

  defp serve({:spawn, request}, from, ref, %{making: making, waiting: waiting} = state) do
    cond do
      not request?(request) -> malformed(state, from)
      MapSet.size(making) < @most -> make(state, {request, from, ref})
      :queue.len(waiting) < @most_waiting -> %{state | waiting: :queue.in({request, from, ref}, waiting)}
      true -> busy(state, from, ref)
    end
  end

  defp serve(_other, from, _ref, state), do: malformed(state, from)

  defp malformed(state, from), do: %{state | asked: Asked.unreadable(state.asked, node(from))}

  defp busy(state, from, ref) do
    answer(from, ref, {:error, @failed, "#{node()} is asked for more processes at once than it makes"})
    state
  end

  # A link that is busy has nobody wait but the one who answers.
  defp answer(to, ref, answer) do
    message = {:tidepool_process, ref, answer}

    with :nosuspend <- :erlang.send(to, message, [:nosuspend, :noconnect]),
         do: spawn(fn -> :erlang.send(to, message, [:noconnect]) end)
  end

  defp next(%{waiting: waiting} = state) do
    case :queue.out(waiting) do
      {{:value, asked}, waiting} -> make(%{state | waiting: waiting}, asked)
      {:empty, _waiting} -> state
    end
  end

  defp make(state, {request, from, ref}) do
    {_pid, monitor} = spawn_monitor(fn -> answer_unless(begin(request, from, ref), from, ref) end)
    %{state | making: MapSet.put(state.making, monitor)}
  end

  # Its driver answers when it has been made.
  defp answer_unless(:ok, _from, _ref), do: :ok
  defp answer_unless({:error, code, text}, from, ref), do: answer(from, ref, {:error, code, text})

  defp begin(%{first: first, parent: parent, process: process} = request, from, ref) do
    with {:ok, part, native} <- part(first, request),
         {:ok, child} <- arrive(native, part, process) do
      spawn(Loop, :arrived, [child, first, parent, &answer(from, ref, &1)])
      :ok
    end
  end

  defp arrive(native, part, process) do
    process = Map.put_new(process, :total_cpu_us, nil)
    with {:error, text} <- Native.process_arrive(native, part, process), do: {:error, @failed, text}
  end

  # The program's part on this node. The node where it began has that already.
  defp part(first, request) do
    case Programs.part(first) do
      {part, {_function, native}} -> {:ok, part, native}
      {_part, nil} -> {:error, @no_module, "the program's function was replaced while it started"}
      nil when node(first) == node() -> {:error, @failed, "the program has ended"}
      nil -> with :ok <- reach(node(first)), {:ok, running} <- module(request), do: new_part(first, request, running)
    end
  end

  # The part ends with its program, of which the link tells.
  defp reach(origin) do
    if origin |> Nodes.number() |> Nodes.reach() == origin,
      do: :ok,
      else: {:error, @failed, "#{node()} can't reach #{origin}, where the program began"}
  end

  defp new_part(first, request, {function, native} = running) do
    # Numbers go on: in the ms since an earlier part was made here it has not made as many processes.
    place = %{
      node: Nodes.number(),
      origin: Nodes.number(node(first)),
      module: Loop.module_number(function.sha256),
      first: System.os_time(:millisecond)
    }

    part = Native.process_part(native, place)
    Programs.add(first, part, Native.process_info(part).program, running)
    # Another may have been quicker.
    part(first, request)
  end

  # The version of the function that the program runs: as it is deployed here, or is about to be.
  defp module(request) do
    :ok = Events.subscribe()
    module(request, now() + @module_ms)
  end

  defp module(%{name: name, sha256: sha256, version: version} = request, deadline) do
    with {:ok, %Function{sha256: ^sha256, version: here}} <- Catalog.fetch(name),
         {_function, _native} = running <- Loop.running(name, here) do
      {:ok, running}
    else
      {:ok, %Function{version: later}} when later > version ->
        {:error, @no_module, "#{name} was replaced since the program was started: its module is on #{node()} no more"}

      _not_yet ->
        await(request, deadline)
    end
  end

  defp await(%{name: name} = request, deadline) do
    left = deadline - now()

    cond do
      left <= 0 -> not_deployed(request)
      Arrivals.await(name, left) == :unknown -> hear_of(request, deadline, min(left, @unheard_ms))
      # It is here, or will not come.
      true -> module(request, now())
    end
  end

  defp hear_of(%{name: name} = request, deadline, ms) do
    receive do
      {:tidepool_event, %{event: :deployed, name: ^name}} -> module(request, deadline)
    after
      ms -> not_deployed(request)
    end
  end

  defp not_deployed(request),
    do: {:error, @no_module, "#{request.name} with the hash #{request.sha256} is not deployed on #{node()}"}

  defp now, do: System.monotonic_time(:millisecond)

  # Nodes of before know of no CPU time of all together.
  defp total_cpu?(process) do
    total = process[:total_cpu_us]
    total == nil or total in 0..@max_number
  end

  # Whatever a node may send: what is used of it is of its type, and within its range.
  defp request?(%{
         first: first,
         name: name,
         version: version,
         sha256: sha256,
         parent: {id, pid},
         process:
           %{
             entry: entry,
             params: params,
             max_memory: memory,
             max_fuel: fuel,
             may: {compile?, configure?, spawn?},
             args: args,
             env: env
           } = process
       }) do
    is_pid(first) and is_binary(name) and is_integer(version) and BlobStore.sha256?(sha256) and id in 0..@max_number and
      is_pid(pid) and text?(entry) and is_binary(params) and memory in 0..@max_number and
      (fuel == nil or fuel in 0..@max_number) and total_cpu?(process) and
      Enum.all?([compile?, configure?, spawn?], &is_boolean/1) and
      all?(args, &text?/1) and all?(env, &pair?/1)
  end

  defp request?(_other), do: false

  defp all?(list, right?) when is_list(list), do: List.improper?(list) == false and Enum.all?(list, right?)
  defp all?(_other, _right?), do: false

  defp pair?({name, value}), do: text?(name) and text?(value)
  defp pair?(_other), do: false

  defp text?(text), do: is_binary(text) and String.valid?(text)
end
