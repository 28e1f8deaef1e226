defmodule Tidepool.Process.Inbox do
  @moduledoc """
  What the driver of a guest is sent: messages for the guest, notices of links and monitors, and questions of senders on other nodes.

  All of that waits in the VM's mailbox of the driver until the driver takes it, in the order in which it came. The driver does so when it
  waits for anything, also for other drivers; between two slices; and at each step to the host, for a guest that asks its host for something
  all the time ends no slice. A question where the guest is waits for a slice.

  A sender on another node asks whether what it has sent has arrived, and there is room for a message with a tag. It is answered as soon as
  there is. A sender that is about to send none, by the tag `:none`, is answered at once. Those who wait are in the driver's dictionary,
  until they end.
  """

  alias Tidepool.{Native, Nodes}
  alias Tidepool.Process.Ties

  # Comparing with numbers of one word is quicker.
  @short_tags -0x0800_0000_0000_0000..0x07FF_FFFF_FFFF_FFFF
  @tags -0x8000_0000_0000_0000..0x7FFF_FFFF_FFFF_FFFF
  # What is taken at one step to the host.
  @at_once 16

  # Who waits for room: how many monitors of these are in the queue, the queue, and what is known of each. So many of those in the queue that
  # have ended are no matter.
  @waiting {__MODULE__, :waiting}
  @ended 16

  @doc "Is it a question where the guest is? Who is about to drive it answers that."
  defguard is_look(message) when is_tuple(message) and tuple_size(message) > 0 and elem(message, 0) == :tidepool_look

  @doc "What the guest is told by what has come, if anything. One that dies of it exits."
  @spec hear(term, Native.task(), Ties.t()) :: {Native.signal() | nil, Ties.t()} | no_return
  def hear({:tidepool_wake, _id}, _task, ties), do: {nil, ties}

  def hear({:tidepool, tag, bytes}, _task, ties) when (tag in @short_tags or tag in @tags) and is_binary(bytes),
    do: {{:message, tag, bytes}, ties}

  # Those of processes of other nodes.
  def hear({:tidepool_post, tag, bytes}, _task, ties) when tag in @tags and is_binary(bytes),
    do: {{:post, tag, bytes}, ties}

  def hear({:tidepool_taken?, from, ref, tag}, task, ties) when is_pid(from) and is_reference(ref) do
    taken(task, from, ref, tag)
    {nil, ties}
  end

  def hear({:EXIT, _pid, _reason} = notice, task, ties), do: Ties.told(notice, task, ties)

  def hear({:DOWN, monitor, :process, _pid, _reason} = notice, task, ties),
    do: if(left?(monitor), do: {nil, ties}, else: Ties.told(notice, task, ties))

  # What another guest says of a link that it has made, or removed.
  def hear({:tidepool_linked, pid, tag} = notice, task, ties) when is_pid(pid) and tag in @tags,
    do: Ties.told(notice, task, ties)

  def hear({:tidepool_unlinked, pid} = notice, task, ties) when is_pid(pid), do: Ties.told(notice, task, ties)

  # Anybody may send anything. What is not for the guest is counted, and gone.
  def hear(_other, _task, ties) do
    Process.put(:tidepool_dropped, Process.get(:tidepool_dropped, 0) + 1)
    {nil, ties}
  end

  @doc "Takes what has come for a guest that is not driven now: it finds that when it is."
  @spec take(term, Native.task(), Ties.t()) :: Ties.t() | no_return
  def take(message, task, ties) do
    case hear(message, task, ties) do
      {nil, ties} ->
        ties

      {signal, ties} ->
        Native.process_tell(task, signal)
        ties
    end
  end

  @doc "At a step to the host: takes some of what has come, and looks whether one of those who wait for room has it."
  @spec at_step(Native.task(), Ties.t()) :: Ties.t() | no_return
  def at_step(task, ties) do
    tell_room(task, 1)
    take_some(task, ties, @at_once)
  end

  defp take_some(_task, ties, 0), do: ties

  defp take_some(task, ties, most) do
    receive do
      message when not is_look(message) -> take_some(task, take(message, task, ties), most - 1)
    after
      0 -> ties
    end
  end

  # Those that have waited before have no more room because another asks. Who waits on a node that is gone is not there any more, and a
  # monitor would link that node again.
  defp taken(task, from, ref, tag) do
    unless told_room?(task, from, ref, tag) or not Nodes.linked?(node(from)) do
      {count, queue, waits} = Process.get(@waiting, {0, :queue.new(), %{}})
      monitor = Process.monitor(from)
      keep({count + 1, :queue.in(monitor, queue), Map.put(waits, monitor, {from, ref, tag})})
    end
  end

  # Whether the process has ended that waited for room with this monitor: it does so no more.
  defp left?(monitor) do
    with {count, queue, %{^monitor => _waits} = waits} <- Process.get(@waiting) do
      keep({count, queue, Map.delete(waits, monitor)})
      true
    else
      _no_such_one -> false
    end
  end

  @doc """
  Answers those who wait for room, if there is some. So many of them are looked at, those first who have not been for the longest time: each is a
  question to the library.
  """
  @spec tell_room(Native.task(), most :: pos_integer | :infinity) :: :ok
  def tell_room(task, most \\ :infinity) do
    # A number is less than `:infinity`.
    with {count, _queue, _waits} = waiting <- Process.get(@waiting),
         do: most |> min(count) |> told_room(waiting, task) |> keep()

    :ok
  end

  # Those in the queue that have ended are left out before they are more than the others.
  defp keep({_count, _queue, waits}) when waits == %{}, do: Process.delete(@waiting)

  defp keep({count, queue, waits}) when count > 2 * map_size(waits) + @ended,
    do: Process.put(@waiting, {map_size(waits), :queue.filter(&is_map_key(waits, &1), queue), waits})

  defp keep(waiting), do: Process.put(@waiting, waiting)

  defp told_room(0, waiting, _task), do: waiting

  defp told_room(looks, {count, queue, waits}, task) do
    {{:value, monitor}, queue} = :queue.out(queue)

    case waits do
      %{^monitor => {from, ref, tag}} ->
        if told_room?(task, from, ref, tag) do
          Process.demonitor(monitor, [:flush])
          told_room(looks - 1, {count - 1, queue, Map.delete(waits, monitor)}, task)
        else
          told_room(looks - 1, {count, :queue.in(monitor, queue), waits}, task)
        end

      _others ->
        told_room(looks - 1, {count - 1, queue, waits}, task)
    end
  end

  defp told_room?(task, from, ref, tag) do
    room = Native.process_room(task, if(tag in @tags, do: tag, else: 0))
    told? = room != :full or tag not in @tags
    if told?, do: :erlang.send(from, {:tidepool_taken, ref, room == :free}, [:noconnect])
    told?
  end
end
