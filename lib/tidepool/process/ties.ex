defmodule Tidepool.Process.Ties do
  @moduledoc """
  What a guest is linked to and watches, for the driver that calls this: links and monitors of the VM's.

  A process that watches a thousand others has a thousand monitors there, and so have a thousand that watch each other a million. So
  all of them are on the account of the guest's program, with what they take of the VM's memory (`process/ties.rs` of the core), from
  before they are made until they are removed, or either side has died. Where there is no room, `spawn_link` fails, and whoever links or
  watches ends as it does for any other want of room on the host.

  The end of a link that others have made can't be refused: those were held to the account for theirs. A guest that has more of these
  than one process may have ends.

  Who makes or removes a link tells the other driver of it. The library has counted that before, as the other process's, until the
  other driver says that it has taken note, or the guest ends before the other driver was told; a guest is stopped that tells more than
  there is room for. What is told on other nodes `Tidepool.Process.Remote` counts.
  """

  alias Tidepool.Native
  alias Tidepool.Process.Links

  # What monitors watch: guests by their number, linked processes of the host's by their pid, and monitors by those; whether deaths
  # are told.
  @type t :: {Links.t(), watched :: map, told? :: boolean}

  @doc "Those of a process that is linked to its parent, if it has one. The library has counted that."
  @spec new(pid | nil) :: t
  def new(parent), do: {if(parent, do: %{parent => 0}, else: %{}), %{}, false}

  @doc "A link to a child that is about to be made has room, or there is none."
  @spec room_for_child(Native.task(), t) :: {:ok | :full, t}
  def room_for_child(task, ties), do: room(task, ties, {1, 0}, :hold)

  @doc "Notes the link to a child for which there is room."
  @spec put(t, pid, integer) :: t
  def put({links, watched, told?}, pid, tag), do: {Links.put(links, pid, tag), watched, told?}

  @doc "Is it linked with other guests?"
  @spec linked?(t) :: boolean
  def linked?({links, _watched, _told?}), do: links != %{}

  @doc "Does what the guest asks for. One that dies of it exits."
  @spec serve(tuple, Native.task(), t) :: t | no_return
  def serve({:link, pid, _guest?, _tag}, _task, ties) when pid == self(), do: ties

  def serve({:link, nil, _guest?, tag}, task, {_links, _watched, true} = ties) do
    Native.process_tell(task, {:link_died, tag, nil})
    ties
  end

  def serve({:link, nil, _guest?, _tag}, _task, _ties), do: exit(:noproc)

  def serve({:link, pid, true, tag}, task, ties) do
    {links, _watched, _told?} = ties = heard(pid, task, ties)

    case room(task, ties, {if(is_map_key(links, pid), do: 0, else: 1), 0}, :need) do
      {:ok, ties} -> link(pid, tag, ties)
      # The guest ends for it, and with that the other one is to be told of nothing.
      {:full, ties} -> ties
    end
  end

  # No guest takes a process of the host's along.
  def serve({:link, pid, false, tag}, task, {_links, watched, _told?} = ties) do
    case room(task, ties, {0, if(is_map_key(watched, pid), do: 0, else: 1)}, :need) do
      {:ok, {links, watched, told?}} ->
        monitor = Process.monitor(pid)
        {links, watched |> unwatch(pid) |> Map.merge(%{monitor => {:link, tag}, pid => monitor}), told?}

      {:full, ties} ->
        ties
    end
  end

  def serve({:unlink, pid, _guest?}, _task, ties) when pid in [nil, self()], do: ties
  def serve({:unlink, pid, false}, task, ties), do: stop_watching(task, ties, pid)

  def serve({:unlink, pid, true}, task, ties) do
    {links, watched, told?} = heard(pid, task, ties)
    Process.unlink(pid)
    send(pid, {:tidepool_unlinked, self()})
    ties = keep(task, {Map.delete(links, pid), watched, told?})

    # A death that was under way is told of.
    receive do
      {:EXIT, ^pid, reason} when reason != :normal ->
        Native.process_tell(task, {:link_died, Map.get(links, pid, 0), local(pid)})
    after
      0 -> :ok
    end

    ties
  end

  def serve({:die_when_link_dies, dies?}, task, {links, watched, told?}) do
    # Those that have ended unseen are told of by nobody later.
    links = if dies? or told?, do: links, else: Links.drop_ended(links)
    Process.flag(:trap_exit, not dies?)
    keep(task, {links, watched, not dies?})
  end

  def serve({:monitor, pid, id}, task, {_links, watched, _told?} = ties) do
    cond do
      is_map_key(watched, id) ->
        ties

      pid == nil ->
        Native.process_tell(task, {:process_died, id})
        ties

      true ->
        watch(pid, id, task, ties)
    end
  end

  def serve({:stop_monitoring, id}, task, ties), do: stop_watching(task, ties, id)

  @doc "What the VM, or another guest, tells of a link or a monitor: what the guest is told of that, if anything. One that dies of it exits."
  @spec told(term, Native.task(), t) :: {Native.signal() | nil, t} | no_return
  def told({:EXIT, pid, reason}, task, {links, watched, told?} = ties) do
    case Map.pop(links, pid) do
      # A supervisor, for instance.
      {nil, _links} when reason != :normal -> exit(reason)
      {nil, _links} -> {nil, ties}
      {_tag, links} when reason == :normal -> {nil, keep(task, {links, watched, told?})}
      {tag, links} -> {{:link_died, tag, local(pid)}, keep(task, {links, watched, told?})}
    end
  end

  def told({:DOWN, monitor, :process, pid, reason}, task, {links, watched, told?} = ties) do
    case Map.pop(watched, monitor) do
      {{:link, _tag}, watched} when reason == :normal ->
        {nil, keep(task, {links, Map.delete(watched, pid), told?})}

      {{:link, tag}, watched} when told? ->
        {{:link_died, tag, local(pid)}, keep(task, {links, Map.delete(watched, pid), told?})}

      {{:link, _tag}, _watched} ->
        exit(reason)

      {nil, _watched} ->
        {nil, ties}

      {id, watched} ->
        {{:process_died, id}, keep(task, {links, Map.delete(watched, id), told?})}
    end
  end

  def told({:tidepool_linked, pid, tag}, task, {links, watched, told?}),
    do: {nil, note(task, pid, {Links.put(links, pid, tag), watched, told?})}

  def told({:tidepool_unlinked, pid}, task, {links, watched, told?}),
    do: {nil, note(task, pid, {Map.delete(links, pid), watched, told?})}

  # With all that is told of links with a process before the one with it that is made, or removed, now: by it, and of its end.
  defp heard(pid, task, {links, _watched, _told?} = ties) do
    receive do
      {:EXIT, ^pid, _reason} = word when is_map_key(links, pid) -> heard(pid, task, word, ties)
      {:tidepool_linked, ^pid, tag} = word when is_integer(tag) -> heard(pid, task, word, ties)
      {:tidepool_unlinked, ^pid} = word -> heard(pid, task, word, ties)
    after
      0 -> ties
    end
  end

  defp heard(pid, task, word, ties) do
    {signal, ties} = told(word, task, ties)
    if signal, do: Native.process_tell(task, signal)
    heard(pid, task, ties)
  end

  # The library knows processes of this node alone by their pids.
  defp local(pid), do: if(node(pid) == node(), do: pid)

  defp link(pid, tag, ties) do
    send(pid, {:tidepool_linked, self(), tag})

    try do
      Process.link(pid)
    rescue
      # It has ended, and this process dies with its links.
      ErlangError -> exit(:noproc)
      ArgumentError -> exit(:noproc)
    end

    put(ties, pid, tag)
  end

  defp watch(pid, id, task, ties) do
    case room(task, ties, {0, 1}, :need) do
      {:ok, {links, watched, told?}} ->
        monitor = Process.monitor(pid)
        {links, Map.merge(watched, %{monitor => id, id => monitor}), told?}

      {:full, ties} ->
        ties
    end
  end

  defp stop_watching(task, {links, watched, told?}, whom), do: keep(task, {links, unwatch(watched, whom), told?})

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

  # Room for so many more, once those are left out that have ended unseen. Where there is none, by `:need` the guest ends when it is
  # driven next.
  defp room(_task, ties, {0, 0}, _how), do: {:ok, ties}

  defp room(task, ties, more, how) do
    if count(task, ties, more, :hold) do
      {:ok, ties}
    else
      {links, watched, told?} = ties
      ties = {Links.drop_ended(links), watched, told?}
      if count(task, ties, more, how), do: {:ok, ties}, else: {:full, keep(task, ties)}
    end
  end

  # What there is now, fewer for the most part, is counted whatever the account says.
  defp keep(task, ties) do
    count(task, ties, {0, 0}, :keep)
    ties
  end

  # The same once note was taken of what another driver has told. The library has not counted what those of other nodes tell.
  defp note(task, pid, ties) do
    count(task, ties, {0, 0}, if(node(pid) == node(), do: :noted, else: :keep))
    ties
  end

  defp count(task, {links, watched, _told?}, {more_links, more_monitors}, how),
    do: Native.process_ties(task, map_size(links) + more_links, div(map_size(watched), 2) + more_monitors, how) == true
end
