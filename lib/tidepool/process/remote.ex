defmodule Tidepool.Process.Remote do
  @moduledoc """
  What the driver of a guest does with processes of other nodes: finds them by their numbers, sends to them, has them started.

  State of the driver, in its dictionary. Messages go from driver to driver, so that those between any two processes stay in order
  with the exits of either. A sender of 64 KiB to a process asks it before the next message whether there is room for more, or for
  this one because it is waited for, and waits for that. A message that is as large itself is asked for before it is sent. A sender
  of 256 KiB to several asks all of them, and waits until that has arrived. Who has made or removed 256 links waits likewise until all
  others have taken note of it. All senders of a program wait together while there is too much of theirs under way, whether or not
  those live that have sent it (`Tidepool.Process.UnderWay`). Meanwhile each takes what comes from others, who may be waiting for it in
  the same way.

  Questions go by `Tidepool.Nodes.Ask` to the process that is registered as this module on a node:

  | | |
  | --- | --- |
  | `{:find, first, id}` | `{pid, guest?}` or `nil` |
  | `{:spawn, request}` | `{:ok, id, pid}` or `{:error, code, text}` |

  A program is named by the pid of its first process.
  """

  alias Tidepool.{Function, Native, Nodes}
  alias Tidepool.Nodes.{Ask, Protocol}
  alias Tidepool.Process.{Inbox, Programs, Ties, UnderWay}

  require Inbox

  # Processes that are being made at once, and that wait for that.
  @making 32
  @most_waiting 512
  @find_ms 10_000
  @spawn_ms 30_000
  # Bytes that are sent to one process, and to all, before they are asked; what a message takes beside its own, and as much for a tag.
  @window 65_536
  @windows 262_144
  @overhead 160
  # A message of so many bytes may go in pieces: the VM makes them of 64 KiB, with what else is in it.
  @in_pieces 32_768
  # Links that are made and removed before those that they are with are asked whether they know of them.
  @most_links 256
  # Processes of other nodes that are remembered.
  @most 1_000
  @max_number 0xFFFF_FFFF_FFFF_FFFF
  # Longest text of another node that a guest gets, in bytes.
  @max_text 1_000
  # What guests get: no such node, or any other failure; no such module; no answer in time.
  @failed 1
  @no_module 2
  @timed_out 9027

  @own {__MODULE__, :own}
  @first {__MODULE__, :first}
  @number {__MODULE__, :number}
  @known {__MODULE__, :known}
  @under_way {__MODULE__, :under_way}
  @links {__MODULE__, :links}

  @typedoc "A process and whether it is a guest; or there is none, or no node that could have it."
  @type found :: {pid, guest? :: boolean} | :dead | :nowhere

  @typedoc "A process that is to be started on another node."
  @type away :: map

  @doc "Who is asked on each node, and how."
  @spec protocol :: Protocol.t()
  def protocol do
    %Protocol{
      server: __MODULE__,
      tag: :tidepool_process,
      version: 1,
      what: "processes",
      form: :from,
      at_once: @making,
      waiting: @most_waiting,
      refused: &__MODULE__.refused/1
    }
  end

  @doc false
  def refused(:busy), do: {:error, @failed, "#{node()} is asked for more processes at once than it makes"}
  def refused(_failed), do: {:error, @failed, "#{node()} failed while it made the process"}

  @doc "The caller drives a process, of the program with this first process, where that is known."
  @spec begin(Native.process_ref(), pid | nil) :: :ok
  def begin(reference, first) do
    Process.put(@own, reference)
    if first, do: Process.put(@first, first)
    :ok
  end

  @doc "The caller knows a process by its number."
  @spec learn(non_neg_integer, {pid, boolean}) :: :ok
  def learn(id, found) do
    known = Process.get(@known, %{})
    Process.put(@known, Map.put(if(map_size(known) < @most, do: known, else: %{}), id, found))
    :ok
  end

  @doc "The process with this number."
  @spec find(non_neg_integer) :: found
  def find(id) do
    with %{^id => {pid, _guest?} = found} <- Process.get(@known, %{}), true <- Nodes.linked?(node(pid)) do
      found
    else
      _unknown -> look(id)
    end
  end

  @doc "Does the process with this number live?"
  @spec alive?(non_neg_integer) :: boolean
  def alive?(id), do: is_tuple(look(id))

  defp look(id) do
    with {_pid, _guest?} = found <- look(first(), id) do
      learn(id, found)
      found
    end
  end

  defp look(first, id) do
    with node when node != nil <- node_of(first, id), {:ok, answer} <- ask(node, {:find, first, id}, @find_ms) do
      case answer do
        {pid, guest?} when node(pid) == node and is_boolean(guest?) -> {pid, guest?}
        _none -> :dead
      end
    else
      _nobody -> :nowhere
    end
  end

  @doc "The process with this number, here or elsewhere, of the program with this first process, which `reference` is of. It lives."
  @spec locate(pid, Native.process_ref(), non_neg_integer) :: found
  def locate(first, reference, id) do
    here = if node(first) == node(), do: 0, else: Nodes.number()
    if Nodes.of(id) == here, do: Native.process_locate(reference, id) || :dead, else: look(first, id)
  end

  @doc "The program of the process that the caller drives: its first process, and the one that is driven."
  @spec program :: {pid, Native.process_ref()}
  def program, do: {first(), Process.get(@own)}

  defp node_of(first, id) do
    case {Nodes.of(id), node(first)} do
      {0, origin} when origin != node() -> origin |> Nodes.number() |> Nodes.reach()
      {0, _own} -> nil
      {number, _origin} -> Nodes.reach(number)
    end
  end

  # Children of a guest on this node are told of no program: few of them ask.
  defp first do
    with nil <- Process.get(@first) do
      first = Programs.first(own().program)
      Process.put(@first, first)
      first
    end
  end

  # The program's.
  defp number do
    with nil <- Process.get(@number) do
      number = own().program
      Process.put(@number, number)
      number
    end
  end

  defp own, do: @own |> Process.get() |> Native.process_info()

  @doc """
  Sends to the process with this number, and waits when there is too much under way. `false` says that its node is not there.
  """
  @spec send(Native.task(), non_neg_integer, integer, binary, Ties.t()) :: {boolean, Ties.t()} | no_return
  def send(task, id, tag, bytes, ties) do
    case find(id) do
      {pid, true} ->
        spent = byte_size(bytes) + if(tag == 0, do: @overhead, else: 2 * @overhead)
        {{all, to}, ties} = room(task, pid, tag, byte_size(bytes), spent, ties)

        # The VM has a sender wait whose link is busy.
        if :erlang.send(pid, {:tidepool_post, tag, bytes}, [:noconnect]) == :ok do
          if spent >= @in_pieces, do: UnderWay.count_again(number(), pid, spent)
          Process.put(@under_way, {all + spent, Map.update(to, pid, spent, &(&1 + spent))})
        end

        {true, ties}

      {pid, false} ->
        :erlang.send(pid, {:tidepool, self(), tag, bytes}, [:noconnect])
        {true, ties}

      none ->
        {none == :dead, ties}
    end
  end

  # The same as `await_room`, when what is spent has room beside what all of the program have under way, too.
  defp room(task, pid, tag, bytes, spent, ties) do
    {under_way, ties} = await_room(task, pid, tag, bytes, ties)

    case count(task, pid, spent, ties) do
      {:at_once, ties} -> {under_way, ties}
      # What the receiver has answered was of then.
      {:waited, ties} -> await_room(task, pid, tag, bytes, ties)
    end
  end

  # What is under way, in all and to each, when a message with this tag may be sent as well. Of those that are full the bytes stay
  # on the account, and so they are asked each time.
  defp await_room(task, pid, tag, bytes, ties) do
    {all, to} = Process.get(@under_way, {0, %{}})

    {all, to, ties} =
      if all >= @windows do
        to = Map.filter(to, fn {pid, _bytes} -> Nodes.linked?(node(pid)) end)
        {to, ties} = to |> Map.keys() |> ask_room(:none) |> await_answers(task, to, ties)
        {0, to, ties}
      else
        {all, to, ties}
      end

    if Map.get(to, pid, 0) + bytes >= @window do
      # Who asks may end before it is answered, and the question is under way as a message is.
      {_waited, ties} = count(task, pid, @overhead, ties)
      {to, ties} = [pid] |> ask_room(tag) |> await_answers(task, to, ties)
      {{all, to}, ties}
    else
      {{all, to}, ties}
    end
  end

  # Waits until what is about to be sent has room beside what all of the program here have under way; whether that took any time.
  defp count(task, pid, bytes, waited \\ :at_once, ties) do
    case UnderWay.count(number(), pid, bytes) do
      :ok ->
        {waited, ties}

      {:full, asker} ->
        {_none, ties} = [asker] |> ask_room(pid) |> await_answers(task, %{}, ties)
        count(task, pid, bytes, :waited, ties)
    end
  end

  @doc """
  The caller's guest is about to tell another one of a link that it makes, or removes. One that has told so many others waits until they
  have taken note. On another node that is counted as a message is, and waits for room in the same way; on this one the library has
  counted it.
  """
  @spec announce(Native.task(), pid, Ties.t()) :: Ties.t() | no_return
  def announce(task, pid, ties) do
    {told, pids} = Process.get(@links, {0, %{}})
    full? = told >= @most_links
    asked = if full?, do: for({other, []} <- pids, Nodes.linked?(node(other)), do: other), else: []
    {_none, ties} = asked |> ask_room(:none) |> await_answers(task, %{}, ties)
    Process.put(@links, if(full?, do: {1, %{pid => []}}, else: {told + 1, Map.put(pids, pid, [])}))

    if node(pid) == node() do
      ties
    else
      {_waited, ties} = count(task, pid, @overhead, ties)
      ties
    end
  end

  defp ask_room(pids, tag) do
    Map.new(pids, fn pid ->
      monitor = Process.monitor(pid)
      :erlang.send(pid, {:tidepool_taken?, self(), monitor, tag}, [:noconnect])
      {monitor, pid}
    end)
  end

  # Waits until all have answered, and takes what comes meanwhile, in its order: who asks the caller is answered once it has taken note of
  # what came before. What is under way to each then.
  defp await_answers(asked, _task, to, ties) when asked == %{}, do: {to, ties}

  defp await_answers(asked, task, to, ties) do
    receive do
      {:tidepool_taken, monitor, room?} when is_map_key(asked, monitor) ->
        Process.demonitor(monitor, [:flush])
        {pid, asked} = Map.pop(asked, monitor)
        await_answers(asked, task, if(room? == true, do: Map.delete(to, pid), else: to), ties)

      {:DOWN, monitor, :process, pid, _reason} when is_map_key(asked, monitor) ->
        asked |> Map.delete(monitor) |> await_answers(task, Map.delete(to, pid), ties)

      message when not Inbox.is_look(message) ->
        await_answers(asked, task, to, Inbox.take(message, task, ties))
    end
  end

  @doc "Has the node with this number start a process: its number, or the code that the guest gets, and why."
  @spec spawn(Nodes.id(), away) :: {:ok, non_neg_integer} | {:error, code :: pos_integer, text :: String.t()}
  def spawn(number, away) do
    own = own()

    with %Function{} = function <- Programs.function(own.program) || :replaced,
         node when node != nil <- Nodes.reach(number),
         what = Map.take(function, [:name, :version, :sha256]),
         request = Map.merge(what, %{first: first(), parent: {own.id, self()}, process: away}),
         {:ok, answer} <- ask(node, {:spawn, request}, @spawn_ms) do
      case answer do
        {:ok, id, pid} when id in 1..@max_number and node(pid) == node ->
          learn(id, {pid, true})
          {:ok, id}

        {:error, code, text} when code in [@failed, @no_module] and is_binary(text) ->
          {:error, code, binary_part(text, 0, min(byte_size(text), @max_text))}

        _other ->
          {:error, @failed, "#{node} has answered something else"}
      end
    else
      nil ->
        {:error, @failed, "there is no node #{number}, or it can't be reached"}

      :replaced ->
        {:error, @no_module, "the program's function was replaced while it started"}

      {:error, :timeout} ->
        {:error, @timed_out, "the node has not answered in time"}

      {:error, _gone} ->
        {:error, @failed, "the node can't be reached, or its version of Tidepool starts no processes for others"}
    end
  end

  @doc "A question to a node that there is a link with."
  @spec ask(node, term, timeout) :: {:ok, term} | {:error, Ask.reason()}
  def ask(node, question, timeout), do: Ask.ask(protocol(), node, question, timeout)
end
