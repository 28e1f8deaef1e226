defmodule Tidepool.Process.Loop do
  @moduledoc """
  The loop that drives one guest process, in the process of the VM that it is.

  The guest runs for a slice at a time, as calls do (`Tidepool.Execution`), and its messages are in the native library. What
  only the VM can do is done here: processes are made, linked, watched and killed, and what the VM tells of others is passed
  on. A process that dies with its links needs nothing for that; one that doesn't traps exits, and is told with the link's tag.
  """

  alias Tidepool.{Catalog, Engine, Error, Function, Log, Native, Nodes}
  alias Tidepool.Error.Reason
  alias Tidepool.Function.Loader
  alias Tidepool.Host.Timer
  alias Tidepool.Process.{Files, HostCalls, Links, Names, Programs, Remote}

  # The VM's timers have an end; whoever waits for longer than ten days looks again then. Who waits for years has no deadline, and
  # needs no timer.
  @longest_us 864_000_000_000
  @year_us 31_536_000_000_000
  # Comparing with numbers of one word is quicker.
  @short_tags -0x0800_0000_0000_0000..0x07FF_FFFF_FFFF_FFFF
  @tags -0x8000_0000_0000_0000..0x7FFF_FFFF_FFFF_FFFF

  # What monitors watch: guests by their number, linked processes of the host's by their pid, and monitors by those; whether deaths
  # are told.
  @typep state :: {Links.t(), watched :: map, told? :: boolean}

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
        fail(error, options.entry)

      {:ok, _nothing} ->
        send(starter, {tag, :started})
        exit(:normal)

      step ->
        reference = step |> elem(1) |> Native.process_ref()
        Process.put(__MODULE__, reference)
        %{program: number, version: version} = Native.process_info(reference)
        Remote.begin(reference, self())
        true = Programs.add(self(), reference, number, running(name, version))
        send(starter, {tag, :started})
        run(step, {%{}, %{}, false})
    end
  end

  @doc "The version of a function, to start processes of, unless another has taken its place."
  @spec running(String.t(), pos_integer) :: Programs.running()
  def running(name, version) do
    with {:ok, %{version: ^version} = function} <- Catalog.fetch(name),
         {^version, native} <- Native.published(Engine.runtime(), name) do
      {function, native}
    else
      _other -> nil
    end
  end

  # The module that guests on other nodes ask for; what is started without being known there stays on this one.
  defp module(name) do
    with {:ok, function} <- Catalog.fetch(name), do: module_number(function.sha256), else: (_none -> 0)
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
    links = if parent, do: %{parent => 0}, else: %{}

    case Native.process_begin(reference) do
      # The parent may be the first process, which has a reason of its own to end for, and is about to.
      :ended ->
        if parent, do: Process.unlink(parent)
        exit(:killed)

      step ->
        run(step, {links, %{}, false})
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
    run(step, {%{}, %{}, false})
  end

  defp arrive({:error, _reason, message, _details}, _reference, tell) do
    tell.({:error, 1, message})
    exit(:normal)
  end

  defp arrive(_killed_or_ended, _reference, tell) do
    tell.({:error, 1, "the program has ended"})
    exit(:killed)
  end

  @spec run(Native.step() | :killed, state) :: no_return
  defp run({:wait, task, _id, remaining_us}, state) do
    Remote.tell_room(task)

    receive do
      message -> told(message, task, state)
    after
      timeout(remaining_us) -> task |> Native.resume() |> run(state)
    end
  end

  defp run({:yield, task}, state) do
    Remote.tell_room(task)
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
    case HostCalls.answer(request, remaining_us, Process.get(__MODULE__)) do
      # The library ends it: its time is over.
      :timeout -> go_on(task, state)
      answer -> task |> Native.answer_value(answer) |> run(state)
    end
  end

  defp run({:host, task, request, _remaining_us, _version}, state), do: serve(request, task, state)
  defp run({:ok, _nothing}, _state), do: exit(:normal)
  defp run(:killed, _state), do: exit(:killed)

  defp run({:error, reason, message, details}, _state) do
    %{function: function, entry: entry} = __MODULE__ |> Process.get() |> Native.process_info()
    fail(Error.new(reason, message, function, details), entry)
  end

  @spec fail(Error.t(), String.t()) :: no_return
  defp fail(error, entry) do
    # Whoever is linked is told now, however long a busy log takes.
    spawn(fn -> Log.failed(error, entry, &Catalog.fetch/1) end)
    exit({error, []})
  end

  defp timeout(remaining_us) when remaining_us > @year_us, do: :infinity
  defp timeout(remaining_us), do: remaining_us |> min(@longest_us) |> Timer.ms()

  defp told({:tidepool_wake, _id}, task, state), do: task |> Native.resume() |> run(state)

  defp told({:tidepool, tag, bytes}, task, state) when (tag in @short_tags or tag in @tags) and is_binary(bytes),
    do: task |> Native.process_signal({:message, tag, bytes}) |> run(state)

  # Those of processes of other nodes.
  defp told({:tidepool_post, tag, bytes}, task, state) when tag in @tags and is_binary(bytes),
    do: task |> Native.process_signal({:post, tag, bytes}) |> run(state)

  defp told({:tidepool_taken?, from, ref, tag}, task, state) when is_pid(from) and is_reference(ref) do
    Remote.taken(task, from, ref, tag)
    go_on(task, state)
  end

  defp told({:EXIT, pid, reason}, task, {links, watched, told?}) do
    case Map.pop(links, pid) do
      # A supervisor, for instance.
      {nil, _links} when reason != :normal -> exit(reason)
      {tag, links} when reason == :normal or tag == nil -> go_on(task, {links, watched, told?})
      {tag, links} -> task |> Native.process_signal({:link_died, tag, local(pid)}) |> run({links, watched, told?})
    end
  end

  defp told({:DOWN, monitor, :process, pid, reason}, task, {links, watched, told?}) do
    case Map.pop(watched, monitor) do
      {{:link, _tag}, watched} when reason == :normal ->
        go_on(task, {links, Map.delete(watched, pid), told?})

      {{:link, tag}, watched} when told? ->
        task |> Native.process_signal({:link_died, tag, local(pid)}) |> run({links, Map.delete(watched, pid), told?})

      {{:link, _tag}, _watched} ->
        exit(reason)

      {nil, _watched} ->
        go_on(task, {links, watched, told?})

      {id, watched} ->
        task |> Native.process_signal({:process_died, id}) |> run({links, Map.delete(watched, id), told?})
    end
  end

  # What another guest says of a link that it has made, or removed.
  defp told({:tidepool_linked, pid, tag}, task, {links, watched, told?}),
    do: go_on(task, {Links.put(links, pid, tag), watched, told?})

  defp told({:tidepool_unlinked, pid}, task, {links, watched, told?}),
    do: go_on(task, {Map.delete(links, pid), watched, told?})

  # Somebody looks where it is.
  defp told({:tidepool_look, alias}, task, state) when is_reference(alias) do
    {step, stack} = Native.process_look(task)
    send(alias, {:tidepool_seen, alias, self(), stack})
    run(step, state)
  end

  # Anybody may send anything. What is not for the guest is counted, and gone.
  defp told(_other, task, state) do
    Process.put(:tidepool_dropped, Process.get(:tidepool_dropped, 0) + 1)
    go_on(task, state)
  end

  # The library knows processes of this node alone by their pids.
  defp local(pid), do: if(node(pid) == node(), do: pid)

  defp go_on(task, state), do: task |> Native.resume() |> run(state)

  defp answer(task, state), do: task |> Native.answer({:ok, ""}) |> run(state)

  defp serve({:spawn, child, id, nil}, task, state) do
    pid = :erlang.spawn(__MODULE__, :born, [child, nil])
    task |> Native.process_spawned(id, pid) |> run(state)
  end

  defp serve({:spawn, child, id, tag}, task, {links, watched, told?}) do
    pid = :erlang.spawn_link(__MODULE__, :born, [child, self()])
    task |> Native.process_spawned(id, pid) |> run({Links.put(links, pid, tag), watched, told?})
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
    reply = if Remote.send(task, id, tag, bytes), do: {:ok, ""}, else: {:error, ""}
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

  defp serve({:link, pid, _guest?, _tag}, task, state) when pid == self(), do: answer(task, state)

  defp serve({:link, nil, _guest?, tag}, task, {_links, _watched, true} = state) do
    Native.process_tell(task, {:link_died, tag, nil})
    answer(task, state)
  end

  defp serve({:link, nil, _guest?, _tag}, _task, _state), do: exit(:noproc)

  defp serve({:link, pid, true, tag}, task, {links, watched, told?}) do
    send(pid, {:tidepool_linked, self(), tag})

    try do
      Process.link(pid)
    rescue
      # It has ended, and this process dies with its links.
      ErlangError -> exit(:noproc)
      ArgumentError -> exit(:noproc)
    end

    Remote.linked(task, pid)
    answer(task, {Links.put(links, pid, tag), watched, told?})
  end

  # No guest takes a process of the host's along.
  defp serve({:link, pid, false, tag}, task, {links, watched, told?}) do
    monitor = Process.monitor(pid)
    watched = watched |> unwatch(pid) |> Map.merge(%{monitor => {:link, tag}, pid => monitor})
    answer(task, {links, watched, told?})
  end

  defp serve({:unlink, nil, _guest?}, task, state), do: answer(task, state)

  defp serve({:unlink, pid, false}, task, {links, watched, told?}),
    do: answer(task, {links, unwatch(watched, pid), told?})

  defp serve({:unlink, pid, true}, task, {links, watched, told?}) do
    Process.unlink(pid)
    send(pid, {:tidepool_unlinked, self()})

    # A death that was under way is told of.
    receive do
      {:EXIT, ^pid, reason} when reason != :normal ->
        Native.process_tell(task, {:link_died, Map.get(links, pid, 0), local(pid)})
    after
      0 -> :ok
    end

    Remote.linked(task, pid)
    answer(task, {Map.delete(links, pid), watched, told?})
  end

  defp serve({:die_when_link_dies, dies?}, task, {links, watched, _told?}) do
    Process.flag(:trap_exit, not dies?)
    answer(task, {links, watched, not dies?})
  end

  defp serve({:monitor, pid, id}, task, {links, watched, told?} = state) do
    cond do
      is_map_key(watched, id) ->
        answer(task, state)

      pid == nil ->
        Native.process_tell(task, {:process_died, id})
        answer(task, state)

      true ->
        monitor = Process.monitor(pid)
        answer(task, {links, Map.merge(watched, %{monitor => id, id => monitor}), told?})
    end
  end

  defp serve({:stop_monitoring, id}, task, {links, watched, told?}),
    do: answer(task, {links, unwatch(watched, id), told?})

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
    %{program: number} = __MODULE__ |> Process.get() |> Native.process_info()

    with %Function{} = function <- Programs.function(number),
         :ok <- Loader.check_brought(wasm, function),
         {:ok, compiled} <- Loader.beside(wasm, function) do
      task |> Native.process_compiled(compiled) |> run(state)
    else
      {:error, error} -> task |> Native.answer({:error, Exception.message(error)}) |> run(state)
      nil -> task |> Native.answer({:error, "the program's function was replaced while it started"}) |> run(state)
    end
  end

  # The process of another node that has this number; those that can't be reached are as good as dead.
  defp away(id), do: with(none when is_atom(none) <- Remote.find(id), do: {nil, true})

  # Without the monitor of a guest's number, or of a linked process of the host's.
  defp unwatch(watched, whom) do
    case Map.pop(watched, whom) do
      {nil, watched} ->
        watched

      {monitor, watched} ->
        Process.demonitor(monitor, [:flush])
        Map.delete(watched, monitor)
    end
  end
end
