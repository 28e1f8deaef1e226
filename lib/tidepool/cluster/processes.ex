defmodule Tidepool.Cluster.Processes do
  @moduledoc """
  Starts processes of programs that began on other nodes, says which process has which number, and tells this node's programs
  which nodes there are.

  `Tidepool.Process.Remote` has the questions. What is started is a module that is deployed here, by the hash that the program
  has it by: where another version is still on its way it is waited for. All else is decided here, by the limits and grants that
  the function has on this node. A question from a node that is not of the cluster has no answer, and one that is none is logged once.

  A module that is waited for takes the place of a process that is made, for seconds: what is made for programs of a namespace leaves as many
  places to those of others (`Tidepool.Nodes.Requests`).
  """

  use GenServer

  alias Tidepool.{Catalog, Events, Function, Native, Nodes}
  alias Tidepool.Catalog.{Arrivals, BlobStore}
  alias Tidepool.Cluster.{Links, Server}
  alias Tidepool.Namespaces.Name
  alias Tidepool.Nodes.Requests
  alias Tidepool.Process.{Loop, Programs, Remote}

  # How long a module that is on its way may take until it is here; and until it is heard of.
  @module_ms 15_000
  @unheard_ms 1_000
  # Between two questions to a process that does not answer.
  @again_ms 1_000
  @failed 1
  @no_module 2
  @max_number 0xFFFF_FFFF_FFFF_FFFF

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: Remote.protocol().server)

  @impl true
  def init(nil) do
    :ok = Events.subscribe()
    {:ok, Requests.new(Remote.protocol(), &Links.linked/0), {:continue, :look}}
  end

  @impl true
  def handle_continue(:look, state), do: {:noreply, look(state)}

  @impl true
  def handle_info({:tidepool_event, %{event: event}}, state) when event in [:node_joined, :node_left],
    do: {:noreply, look(state)}

  def handle_info(:look, state), do: {:noreply, look(state)}

  def handle_info({:DOWN, _monitor, :process, pid, reason}, requests),
    do: {:noreply, Requests.ended(requests, pid, reason)}

  def handle_info(message, requests) do
    case Requests.take(requests, message) do
      {:ok, request, requests} ->
        Nodes.hold(Requests.asker(request))
        {:noreply, serve(request.question, request, requests)}

      {:ignored, requests} ->
        {:noreply, requests}

      :other ->
        {:noreply, requests}
    end
  end

  defp look(state) do
    case Server.joined() do
      # As of the events by which it is looked: one that is out of reach at this moment, and back in the next, makes none.
      {:ok, joined} -> Nodes.set(joined)
      :alone -> Nodes.set([])
    end

    state
  catch
    # It has much to do, or is about to be restarted, and this process with it. What is being made goes on.
    :exit, _timeout_or_gone ->
      Process.send_after(self(), :look, @again_ms)
      state
  end

  defp serve({:find, first, id}, request, requests) when is_pid(first) and id in 0..@max_number do
    found = with {reference, _running} <- Programs.part(first), do: Native.process_locate(reference, id)
    Requests.answer(requests, request, found)
    requests
  end

  defp serve({:spawn, what}, request, requests) do
    if request?(what),
      do: Requests.begin(requests, request, {Name.of(what.name), 0, nil}, fn -> made(what, request) end),
      else: Requests.unreadable(requests, request)
  end

  defp serve(_other, request, requests), do: Requests.unreadable(requests, request)

  # Its driver answers when it has been made.
  defp made(what, request) do
    answer = &Requests.answer(Remote.protocol(), request, &1)
    with {:error, code, text} <- begin(what, answer), do: answer.({:error, code, text})
  end

  defp begin(%{first: first, parent: parent, process: process} = request, answer) do
    with {:ok, part, native} <- part(first, request),
         {:ok, child} <- arrive(native, part, process) do
      spawn(Loop, :arrived, [child, first, parent, answer])
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
    with {:ok, %Function{sha256: ^sha256, version: here}} <- Catalog.fetch_brief(name),
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
      Arrivals.await(name, left) in [:unknown, :overloaded] -> hear_of(request, deadline, min(left, @unheard_ms))
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
