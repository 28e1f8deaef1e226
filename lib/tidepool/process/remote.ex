defmodule Tidepool.Process.Remote do
  @moduledoc """
  What the driver of a guest does with processes of other nodes: finds them by their numbers, sends to them, has them started.

  State of the driver, in its dictionary. Messages go from driver to driver, so that those between any two processes stay in order
  with the exits of either. None is sent to a process that has more than 64 KiB on its way to it from this one, or with
  256 KiB on their way to others: the sender asks first whether they have arrived and there is room for more, and waits for
  that. Meanwhile it takes what comes from others, who may be waiting for it in the same way.

  Questions go to the process that is registered as this module on a node, as plain terms:

  | | |
  | --- | --- |
  | `{:tidepool_process, version, pid, ref, {:find, first, id}}` | `{:tidepool_process, ref, {pid, guest?}}`, or `nil` instead of the pair |
  | `{:tidepool_process, version, pid, ref, {:spawn, request}}` | `{:tidepool_process, ref, {:ok, id, pid}}` or `{:error, code, text}` |

  A program is named by the pid of its first process.
  """

  alias Tidepool.{Function, Native}
  alias Tidepool.Process.{Nodes, Programs}

  # A part of the protocol: nodes of other versions know it by this name.
  @server __MODULE__
  @version 1
  @find_ms 10_000
  @spawn_ms 30_000
  # Bytes under way to one process, and to all; what a message takes beside its own.
  @window 65_536
  @windows 262_144
  @overhead 96
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
  @known {__MODULE__, :known}
  @under_way {__MODULE__, :under_way}
  @waiting {__MODULE__, :waiting}

  @typedoc "A process and whether it is a guest; or there is none, or no node that could have it."
  @type found :: {pid, guest? :: boolean} | :dead | :nowhere

  @typedoc "A process that is to be started on another node."
  @type away :: map

  @doc "Who is asked on each node, and the version of the protocol."
  @spec protocol :: {name :: atom, version :: pos_integer}
  def protocol, do: {@server, @version}

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
    with node when node != nil <- node_of(id), {:ok, answer} <- ask(node, {:find, first(), id}, @find_ms) do
      case answer do
        {pid, guest?} when node(pid) == node and is_boolean(guest?) ->
          learn(id, {pid, guest?})
          {pid, guest?}

        _none ->
          :dead
      end
    else
      _nobody -> :nowhere
    end
  end

  defp node_of(id) do
    case {Nodes.of(id), node(first())} do
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

  defp own, do: @own |> Process.get() |> Native.process_info()

  @doc """
  Sends to the process with this number, and waits when there is too much under way. `false` says that its node is not there.
  """
  @spec send(Native.task(), non_neg_integer, integer, binary) :: boolean
  def send(task, id, tag, bytes) do
    case find(id) do
      {pid, true} ->
        # The VM has a sender wait whose link is busy.
        if :erlang.send(pid, {:tidepool_post, tag, bytes}, [:noconnect]) == :ok,
          do: spend(task, pid, byte_size(bytes) + @overhead)

        true

      {pid, false} ->
        :erlang.send(pid, {:tidepool, self(), tag, bytes}, [:noconnect])
        true

      none ->
        none == :dead
    end
  end

  defp spend(task, pid, bytes) do
    {all, under_way} = Process.get(@under_way, {0, %{}})
    {all, own} = {all + bytes, Map.get(under_way, pid, 0) + bytes}

    cond do
      all >= @windows or map_size(under_way) >= @most ->
        Process.delete(@under_way)
        settle(task, [pid | Map.keys(under_way)])

      own >= @window ->
        {before, under_way} = Map.pop(under_way, pid, 0)
        Process.put(@under_way, {all - bytes - before, under_way})
        settle(task, [pid])

      true ->
        Process.put(@under_way, {all, Map.put(under_way, pid, own)})
    end
  end

  # Waits until all that was sent to them has arrived, and there is room for more.
  defp settle(task, pids) do
    pids
    |> Enum.uniq()
    |> Map.new(fn pid ->
      monitor = Process.monitor(pid)
      :erlang.send(pid, {:tidepool_taken?, self(), monitor}, [:noconnect])
      {monitor, pid}
    end)
    |> await_room(task)
  end

  defp await_room(asked, _task) when asked == %{}, do: :ok

  defp await_room(asked, task) do
    receive do
      {:tidepool_taken, monitor} when is_map_key(asked, monitor) ->
        Process.demonitor(monitor, [:flush])
        asked |> Map.delete(monitor) |> await_room(task)

      {:DOWN, monitor, :process, _pid, _reason} when is_map_key(asked, monitor) ->
        asked |> Map.delete(monitor) |> await_room(task)

      {:tidepool_post, tag, bytes} when is_integer(tag) and is_binary(bytes) ->
        tell(task, tag, bytes)
        await_room(asked, task)

      {:tidepool_taken?, from, ref} when is_pid(from) and is_reference(ref) ->
        taken(task, from, ref)
        await_room(asked, task)
    end
  end

  defp tell(task, tag, bytes) do
    Native.process_tell(task, {:post, tag, bytes})
  rescue
    # No tag has so many bits: nobody's message.
    ArgumentError -> :ok
  end

  @doc "Another process asks whether what it has sent has arrived, and there is room for more: it is answered as soon as there is."
  @spec taken(Native.task(), pid, reference) :: :ok
  def taken(task, from, ref) do
    Process.put(@waiting, [{from, ref} | Process.get(@waiting, [])])
    tell_room(task)
  end

  @doc "Answers those who wait for room, if there is some."
  @spec tell_room(Native.task()) :: :ok
  def tell_room(task) do
    waiting = Process.get(@waiting)

    if waiting != nil and Native.process_has_room(task) == true do
      Process.delete(@waiting)
      for {from, ref} <- waiting, do: :erlang.send(from, {:tidepool_taken, ref}, [:noconnect])
    end

    :ok
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
      nil -> {:error, @failed, "there is no node #{number}, or it can't be reached"}
      :replaced -> {:error, @no_module, "the program's function was replaced while it started"}
      :timeout -> {:error, @timed_out, "the node has not answered in time"}
      :gone -> {:error, @failed, "the node can't be reached, or its version of Tidepool starts no processes for others"}
    end
  end

  @doc "A question to a node that there is a link with."
  @spec ask(node, term, timeout) :: {:ok, term} | :timeout | :gone
  def ask(node, question, timeout) do
    ref = Process.monitor({@server, node})
    :erlang.send({@server, node}, {:tidepool_process, @version, self(), ref, question}, [:noconnect])

    receive do
      {:tidepool_process, ^ref, answer} ->
        Process.demonitor(ref, [:flush])
        {:ok, answer}

      {:DOWN, ^ref, :process, _server, _reason} ->
        :gone
    after
      timeout ->
        Process.demonitor(ref, [:flush])
        :timeout
    end
  end
end
