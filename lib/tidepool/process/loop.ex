defmodule Tidepool.Process.Loop do
  @moduledoc """
  The loop that drives one guest process, in the process of the VM that it is.

  The guest runs for a slice at a time, as calls do (`Tidepool.Execution`), and its messages are in the native library. What
  only the VM can do is done here: processes are made, linked, watched and killed, and what the VM tells of others is passed
  on. A process that dies with its links needs nothing for that; one that doesn't traps exits, and is told with the link's tag.
  """

  alias Tidepool.{Catalog, Engine, Error, Function, Log, Native, Nodes}
  alias Tidepool.Error.{Reason, Short}
  alias Tidepool.Function.Loader
  alias Tidepool.Host.Timer
  alias Tidepool.Process.{Files, HostCalls, Inbox, Names, Programs, Remote, Ties}

  # The VM's timers have an end; whoever waits for longer than ten days looks again then. Who waits for years has no deadline, and
  # needs no timer.
  @longest_us 864_000_000_000
  @year_us 31_536_000_000_000
  # Of those that wait for room so many are looked at between two slices of a guest that computes: it has its run slot meanwhile, and that is
  # nobody's CPU time.
  @told 16
  # Is it the first process of its program?
  @first {__MODULE__, :first}
  # What the guest asks of links and monitors.
  @tying [:link, :unlink, :monitor, :stop_monitoring, :die_when_link_dies]

  @doc "The first process of a program; tells its starter when it has begun, or why it can't."
  @spec first(String.t(), map, pid, reference) :: no_return
  def first(name, options, starter, tag) do
    if node(starter) != node(), do: from_afar(starter)
    # A starter on another node may have a version that has no such option.
    options = Map.merge(%{total_cpu_time: nil}, Map.merge(options, %{node: Nodes.number(), module: module(name)}))

    case Native.start_process(Engine.runtime(), name, options) do
      {:error, :not_deployed, _message, _details} ->
        {:error, error} = Catalog.not_callable(name)
        refuse(starter, tag, error)

      {:error, reason, message, details} ->
        error = Error.new(reason, message, name, details)
        # Otherwise what failed is the program.
        if Reason.is?(reason, :unbegun), do: refuse(starter, tag, error)
        send(starter, {tag, :started})
        fail(error, options.entry, error)

      {:ok, _nothing} ->
        send(starter, {tag, :started})
        exit(:normal)

      step ->
        reference = step |> elem(1) |> Native.process_ref()
        Process.put(__MODULE__, reference)
        Process.put(@first, true)
        %{program: number, version: version} = Native.process_info(reference)
        Remote.begin(reference, self())
        true = Programs.add(self(), reference, number, running(name, version))
        send(starter, {tag, :started})
        start(step)
    end
  end

  # The VM collects nothing of a process that waits, and what this one was started with may be megabytes.
  @spec start(Native.step()) :: no_return
  defp start(step) do
    :erlang.garbage_collect()
    run(step, Ties.new(nil))
  end

  @doc "The version of a function, to start processes of, unless another has taken its place."
  @spec running(String.t(), pos_integer) :: Programs.running()
  def running(name, version) do
    with {:ok, %{version: ^version} = function} <- Catalog.fetch_brief(name),
         {^version, native} <- Native.published(Engine.runtime(), name) do
      {function, native}
    else
      _other -> nil
    end
  end

  # The module that guests on other nodes ask for; what is started without being known there stays on this one.
  defp module(name) do
    with {:ok, function} <- Catalog.fetch_brief(name), do: module_number(function.sha256), else: (_none -> 0)
  end

  @doc "A module by a number: the first 63 bits of its hash, never 0."
  @spec module_number(String.t()) :: pos_integer
  def module_number(sha256), do: sha256 |> binary_part(0, 16) |> String.to_integer(16) |> Bitwise.bsr(1) |> max(1)

  # What a process logs is said where its leader is, which would be there.
  defp from_afar(starter) do
    Nodes.hold(node(starter))
    Process.group_leader(self(), Process.whereis(:init))
  end

  # Nobody is to be told of the end of what has not begun.
  @spec refuse(pid, reference, Error.t()) :: no_return
  defp refuse(starter, tag, why) do
    Process.unlink(starter)
    send(starter, {tag, {:error, why}})
    exit(:normal)
  end

  @doc "A process that a guest has made, and is linked to if it is the parent."
  @spec born(Native.process_ref(), pid | nil) :: no_return
  def born(reference, parent) do
    Process.put(__MODULE__, reference)
    Remote.begin(reference, nil)

    case Native.process_begin(reference) do
      # The parent may be the first process, which has a reason of its own to end for, and is about to.
      :ended ->
        if parent, do: Process.unlink(parent)
        exit(:killed)

      step ->
        run(step, Ties.new(parent))
    end
  end

  @doc "A process that a guest of another node has had made, of the program with this first process; `tell` is told of it."
  @spec arrived(Native.process_ref(), pid, {non_neg_integer, pid}, (term -> term)) :: no_return
  def arrived(reference, first, {parent, parent_pid}, tell) do
    Process.put(__MODULE__, reference)
    Remote.begin(reference, first)
    Remote.learn(parent, {parent_pid, true})
    reference |> Native.process_begin() |> arrive(reference, tell)
  end

  defp arrive({:yield, task}, reference, tell), do: task |> Native.resume() |> arrive(reference, tell)

  # It has been made.
  defp arrive({:wait, _task, _id, _us} = step, reference, tell) do
    tell.({:ok, Native.process_info(reference).id, self()})
    Native.process_release(reference)
    run(step, Ties.new(nil))
  end

  defp arrive({:error, _reason, message, _details}, _reference, tell) do
    tell.({:error, 1, message})
    exit(:normal)
  end

  defp arrive(_killed_or_ended, _reference, tell) do
    tell.({:error, 1, "the program has ended"})
    exit(:killed)
  end

  @spec run(Native.step() | :killed | :ended, Ties.t()) :: no_return
  defp run({:wait, task, _id, remaining_us}, state) do
    Inbox.tell_room(task)

    receive do
      message -> told(message, task, state)
    after
      timeout(remaining_us) -> task |> Native.resume() |> run(state)
    end
  end

  defp run({:yield, task}, state) do
    Inbox.tell_room(task, @told)
    # As for calls: processes that a timer has woken run first.
    :erlang.yield()

    receive do
      message -> told(message, task, state)
    after
      0 -> task |> Native.resume() |> run(state)
    end
  end

  defp run({:host, task, {kind, _, _, _, _} = request, remaining_us, _version}, state)
       when kind in [:import, :exchange] do
    state = Inbox.at_step(task, state)

    case HostCalls.answer(request, remaining_us, Process.get(__MODULE__)) do
      # The library ends it: its time is over.
      :timeout -> go_on(task, state)
      answer -> task |> Native.answer_value(answer) |> run(state)
    end
  end

  defp run({:host, task, request, _remaining_us, _version}, state),
    do: serve(request, task, Inbox.at_step(task, state))

  defp run({:ok, _nothing}, _state), do: exit(:normal)
  defp run(:killed, _state), do: exit(:killed)

  # It is about to be killed, and so are those of whose deaths it is told meanwhile.
  defp run(:ended, _state), do: Process.sleep(:infinity)

  defp run({:error, reason, message, details}, ties) do
    %{function: function, entry: entry} = __MODULE__ |> Process.get() |> Native.process_info()
    error = Error.new(reason, message, function, details)

    # What has started a program of one process is told all.
    told = if Process.get(@first) && not Ties.linked?(ties), do: error, else: Short.of(error)
    fail(error, entry, told)
  end

  @spec fail(Error.t(), String.t(), told :: Error.t()) :: no_return
  defp fail(error, entry, told) do
    # Whoever is linked is told now, however long a busy log takes.
    spawn(fn -> Log.failed(error, entry, &Catalog.fetch/1) end)
    exit({told, []})
  end

  defp timeout(remaining_us) when remaining_us > @year_us, do: :infinity
  defp timeout(remaining_us), do: remaining_us |> min(@longest_us) |> Timer.ms()

  # Somebody looks where it is.
  defp told({:tidepool_look, alias}, task, state) when is_reference(alias) do
    {step, stack} = Native.process_look(task)
    send(alias, {:tidepool_seen, alias, self(), stack})
    run(step, state)
  end

  defp told(message, task, ties) do
    case Inbox.hear(message, task, ties) do
      {nil, ties} -> go_on(task, ties)
      {signal, ties} -> task |> Native.process_signal(signal) |> run(ties)
    end
  end

  defp go_on(task, state), do: task |> Native.resume() |> run(state)

  defp answer(task, state), do: task |> Native.answer({:ok, ""}) |> run(state)

  defp serve({:spawn, child, id, nil}, task, state) do
    pid = :erlang.spawn(__MODULE__, :born, [child, nil])
    task |> Native.process_spawned(id, pid) |> run(state)
  end

  defp serve({:spawn, child, id, tag}, task, ties) do
    case Ties.room_for_child(task, ties) do
      {:ok, ties} ->
        pid = :erlang.spawn_link(__MODULE__, :born, [child, self()])
        task |> Native.process_spawned(id, pid) |> run(Ties.put(ties, pid, tag))

      {:full, ties} ->
        text =
          "the process has as many links and monitors as one may have, or its program no room for more on the host (limit total_memory)"

        task |> Native.answer({:error, text}) |> run(ties)
    end
  end

  # Processes of other nodes are asked for by their numbers.
  defp serve({:link, id, _guest?, tag}, task, state) when is_integer(id) do
    {pid, guest?} = away(id)
    serve({:link, pid, guest?, tag}, task, state)
  end

  defp serve({what, id, _guest?}, task, state) when what in [:unlink, :kill] and is_integer(id) do
    {pid, guest?} = away(id)
    serve({what, pid, guest?}, task, state)
  end

  defp serve({:monitor, away, id}, task, state) when is_integer(away) do
    {pid, _guest?} = away(id)
    serve({:monitor, pid, id}, task, state)
  end

  defp serve({:exists, id}, task, state) do
    alive = if Remote.alive?(id), do: 1, else: 0
    task |> Native.answer({:ok, <<alive>>}) |> run(state)
  end

  defp serve({:send, id, tag, bytes}, task, state) do
    {reached?, state} = Remote.send(task, id, tag, bytes, state)
    reply = if reached?, do: {:ok, ""}, else: {:error, ""}
    task |> Native.answer(reply) |> run(state)
  end

  defp serve({:spawn_away, node, away}, task, state) do
    reply =
      case Remote.spawn(node, away) do
        {:ok, id} -> {:ok, <<id::little-64>>}
        {:error, code, text} -> {:error, <<code::little-32, text::binary>>}
      end

    task |> Native.answer(reply) |> run(state)
  end

  defp serve({:name, operation, name, id}, task, state) do
    {first, reference} = Remote.program()
    {code, id} = Names.run(first, reference, operation, name, id)
    task |> Native.answer({:ok, <<code::little-32, id::little-64>>}) |> run(state)
  end

  defp serve({:link, pid, true, _tag} = request, task, ties) when is_pid(pid) and pid != self(),
    do: tie(request, pid, task, ties)

  defp serve({:unlink, pid, true} = request, task, ties) when is_pid(pid) and pid != self(),
    do: tie(request, pid, task, ties)

  defp serve(request, task, ties) when elem(request, 0) in @tying, do: answer(task, Ties.serve(request, task, ties))

  defp serve({:kill, pid, true}, task, state) when is_pid(pid) do
    Process.exit(pid, :kill)
    answer(task, state)
  end

  # No guest kills a process of the host's.
  defp serve({:kill, _pid, _guest?}, task, state), do: answer(task, state)

  defp serve(:upgrade, task, state) do
    reference = Process.get(__MODULE__)
    %{version: before} = Native.process_info(reference)
    step = Native.process_upgrade(Engine.runtime(), task)
    # It may have come to its end meanwhile, as another version.
    %{function: name, version: version} = Native.process_info(reference)
    if version != before, do: Programs.replace(self(), running(name, version))
    run(step, state)
  end

  defp serve({:file, folder, path, operation}, task, state) do
    answer = Files.answer(folder, path, operation, Process.get(__MODULE__))
    task |> Native.answer(answer) |> run(state)
  end

  defp serve({:compile, wasm}, task, state) do
    process = Process.get(__MODULE__)
    %{program: number} = Native.process_info(process)

    {compiled, cpu_us} =
      with %Function{} = function <- Programs.function(number),
           :ok <- Loader.check_brought(wasm, function) do
        Loader.brought(wasm, function, process)
      else
        {:error, error} -> {{:error, error}, 0}
        nil -> {{:error, "the program's function was replaced while it started"}, 0}
      end

    compiled = with {:error, %Tidepool.Error{} = error} <- compiled, do: {:error, Exception.message(error)}
    give(task, compiled, cpu_us) |> run(state)
  end

  # The other driver is told of it.
  defp tie(request, pid, task, ties) do
    ties = Remote.announce(task, pid, ties)
    answer(task, Ties.serve(request, task, ties))
  end

  # The code is the guest's from now on: the VM does not know how large what it has a reference to is.
  defp give(task, compiled, cpu_us) do
    step = Native.process_compiled(task, compiled, cpu_us)
    :erlang.garbage_collect()
    step
  end

  # The process of another node that has this number; those that can't be reached are as good as dead.
  defp away(id), do: with(none when is_atom(none) <- Remote.find(id), do: {nil, true})
end
