defmodule Tidepool.Process do
  @moduledoc """
  Programs of many processes: guests written as plain blocking code for Lunatic's interface, each process of them a process of
  the VM.

      {:ok, pid} = Tidepool.Process.start_link("chat", ["chat", "--port", "7000"])

  The pid is the program's first process. `Process.link/1`, `Process.monitor/1`, `Process.exit/2` and supervisors mean with
  it what they mean with any other; the program ends with it. A process that returns, or exits with 0, ends with `:normal`; one that
  traps, exits with another number or runs into a limit, with `{%Tidepool.Error{}, []}`; one that is killed, with `:killed`.

  To a guest goes `send(pid, {:tidepool, tag, bytes})`: a message with a tag of 64 bits, 0 for none. From a guest comes
  `{:tidepool, pid, tag, bytes}`, to those processes that `introduce/2` has given a number in the guest's program.
  """

  alias Tidepool.{Catalog, Engine, Error, Native, Nodes, Options}
  alias Tidepool.Process.{Loop, Names, Programs, Start}

  # A slice of a busy node; who waits is looked at in less.
  @look_ms 100
  @looks 3
  # Messages that one may have waiting that is looked at.
  @unheard 100

  # How long another node may take to say what it knows of a process.
  @there_ms 5_000

  @typedoc """
  - `:entry` is the export that the first process runs, a function without parameters: `"_start"` if nothing is said.
  - `:env` is its environment, a map of strings.
  - `:files` are files that it finds in its folders in memory, a map of absolute paths and what the files hold.
  - `:output` is where lines go that the program's processes print: `:log`, which is Logger, or a pid, which gets
    `{:tidepool_output, pid, :stdout | :stderr, line}`.
  - `:stdio` is a process that has the program's standard input and output, byte for byte. It gets `{:tidepool_input, pid}` when
    the program waits for input, and gives it that by `input/2`; and `{:tidepool_output, pid, :stdout | :stderr, bytes}`, which it
    answers by `written/2`: with 256 KiB unanswered the program waits.
  - `:cpu_time` is how long each of its processes may compute, in ms, and `:total_cpu_time` all of them together on each node;
    without limit, if nothing is said. Whose time is over ends with `{:limit, :cpu_time}` or `{:limit, :total_cpu_time}`.
  - `:node` is where it begins: on this node, if nothing is said. The function is the one that is deployed there.
  """
  @type option ::
          {:entry, String.t()}
          | {:env, %{String.t() => String.t()}}
          | {:files, %{String.t() => binary}}
          | {:output, :log | pid}
          | {:stdio, pid}
          | {:cpu_time, pos_integer}
          | {:total_cpu_time, pos_integer}
          | {:node, node}

  @typedoc """
  What is known of a process: its number in its program, the program's own, the function and its version, the export that it
  runs, the node, what the VM says it does, messages that it has not received and their bytes, its linear memory when it last
  waited in bytes, its CPU time in µs, and what it is linked to. `info/1` tells where it is as well: see `stacks/1`.
  """
  @type info :: %{
          optional(:current_function) => String.t() | nil,
          optional(:stack) => [String.t()] | nil,
          id: pos_integer,
          pid: pid,
          program: pos_integer,
          function: String.t(),
          version: pos_integer,
          entry: String.t(),
          node: node,
          state: atom,
          message_queue: non_neg_integer,
          message_bytes: non_neg_integer,
          memory: non_neg_integer,
          cpu_us: non_neg_integer,
          links: [pid]
        }

  @doc "Starts a program of a deployed function, linked to the caller. The arguments are all, its name among them."
  @spec start_link(String.t(), [String.t()], [option]) :: {:ok, pid} | {:error, Error.t()}
  def start_link(name, args \\ [], options \\ []), do: start(name, args, options, [:link])

  @doc "Starts a program of a deployed function."
  @spec start(String.t(), [String.t()], [option]) :: {:ok, pid} | {:error, Error.t()}
  def start(name, args \\ [], options \\ []), do: start(name, args, options, [])

  @doc "Starts a program of a deployed function, monitored by the caller: one that has ended by then has its `:DOWN` there."
  @spec start_monitor(String.t(), [String.t()], [option]) :: {:ok, {pid, reference}} | {:error, Error.t()}
  def start_monitor(name, args \\ [], options \\ []), do: start_monitor(name, args, options, [])

  defp start(name, args, options, spawn_options) do
    with {:ok, {pid, monitor}} <- start_monitor(name, args, options, spawn_options) do
      Process.demonitor(monitor, [:flush])
      {:ok, pid}
    end
  end

  defp start_monitor(name, args, options, spawn_options) do
    is_binary(name) || Options.wrong!("Tidepool.Process: the function's name", "a string", name)

    with {:ok, options} <- Start.check(name, args, options) do
      {starter, tag} = {self(), make_ref()}
      {on, options} = Map.pop!(options, :on)
      if on != node(), do: Nodes.hold(on)
      {pid, monitor} = :erlang.spawn_opt(on, Loop, :first, [name, options, starter, tag], [:monitor | spawn_options])

      receive do
        {^tag, :started} ->
          {:ok, {pid, monitor}}

        {^tag, {:error, %Error{} = error}} ->
          Process.demonitor(monitor, [:flush])
          {:error, error}

        {:DOWN, ^monitor, :process, ^pid, :noconnection} ->
          {:error,
           Error.new(:unavailable, "there is no link to #{on}, or it has ended: the program may not have begun", name)}

        {:DOWN, ^monitor, :process, ^pid, reason} ->
          {:error, Error.new(:internal, "the process ended before it began: #{inspect(reason)}", name)}
      end
    end
  end

  @doc "For supervisors: of a name, `{name, args}` or `{name, args, options}`."
  @spec child_spec(String.t() | {String.t(), [String.t()]} | {String.t(), [String.t()], [option]}) ::
          Supervisor.child_spec()
  def child_spec({name, args, options}) do
    %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, [name, args, options]}}
  end

  def child_spec({name, args}), do: child_spec({name, args, []})
  def child_spec(name), do: child_spec({name, [], []})

  @doc "What is known of each process of this node's programs."
  @spec list :: [info]
  def list do
    for program <- Programs.all(), info <- Native.process_infos(program), info = complete(info), do: info
  end

  @doc "What is known of a process, and where it is; `nil` when it is no guest's, or has ended."
  @spec info(pid) :: info | nil
  def info(pid) when node(pid) != node(), do: there(pid, :info, [pid], nil)

  def info(pid) do
    with %{} = info <- known(pid) do
      stack = Map.get(stacks([pid]), pid)
      Map.merge(info, %{current_function: List.first(stack || []), stack: stack})
    end
  end

  @doc "As `info/1`, of a process of this node alone, without a look where it is."
  @spec known(pid) :: info | nil
  def known(pid) do
    with reference when reference != nil <- reference(pid),
         do: reference |> Native.process_info() |> complete()
  end

  @doc """
  Where processes are: of each pid the guest's functions that it is in, by their names in its module, the innermost first. One is
  missing that has ended, that waits in a function of WASI, that has more than 100 messages of the VM to take, or that did not show it
  within 100 ms, as one that has not begun yet.

  It costs those processes one look each, and a slice when they compute. Between calls of it they pay nothing.
  """
  @spec stacks([pid]) :: %{pid => [String.t()]}
  def stacks(pids) do
    # What comes too late is nobody's.
    alias = :erlang.alias()
    mine = for pid <- pids, node(pid) == node(), pid != self(), do: pid
    mine = Enum.filter(mine, &listens?/1)
    for pid <- mine, do: send(pid, {:tidepool_look, alias})
    stacks = seen(alias, Map.new(mine, &{&1, @looks}), System.monotonic_time(:millisecond) + @look_ms, %{})
    :erlang.unalias(alias)
    flush(alias)
    stacks
  end

  # One that has this much to hear does not show itself in time, and each look would stay with it.
  defp listens?(pid),
    do: match?({:message_queue_len, waiting} when waiting <= @unheard, Process.info(pid, :message_queue_len))

  # How often each is still to be looked at that has not shown where it is: it may have had no slice.
  defp seen(_alias, left, _deadline, stacks) when left == %{}, do: stacks

  defp seen(alias, left, deadline, stacks) do
    receive do
      {:tidepool_seen, ^alias, pid, nil} ->
        case left do
          %{^pid => 1} ->
            seen(alias, Map.delete(left, pid), deadline, stacks)

          %{^pid => looks} ->
            Process.send_after(pid, {:tidepool_look, alias}, 10)
            seen(alias, %{left | pid => looks - 1}, deadline, stacks)
        end

      {:tidepool_seen, ^alias, pid, stack} ->
        seen(alias, Map.delete(left, pid), deadline, Map.put(stacks, pid, stack))
    after
      max(0, deadline - System.monotonic_time(:millisecond)) -> stacks
    end
  end

  defp flush(alias) do
    receive do
      {:tidepool_seen, ^alias, _pid, _stack} -> flush(alias)
    after
      0 -> :ok
    end
  end

  @doc """
  Asks a program, by its first process, to become the newest version of its function; that version.

  It decides itself: it is asked by a message, with the tag by which it has said that it takes upgrades, and goes on as it is until it
  wants to (docs/processes.md). Errors are `:not_upgradable` for a program that takes none, and for other processes than a program's first;
  `:up_to_date` when there is no newer version; and those of a function that can't be called.
  """
  @spec upgrade(pid) :: {:ok, version :: pos_integer} | {:error, Error.t()}
  def upgrade(pid) do
    with {:ok, reference, name, version} <- upgradable(pid),
         {:ok, newest} <- Catalog.fetch(name),
         :ok <- newer(newest, version),
         :ok <- ask(pid, reference, newest) do
      {:ok, newest.version}
    end
  end

  defp upgradable(pid) do
    with reference when reference != nil <- reference(pid),
         %{function: name, version: version, id: 1} <- Native.process_info(reference) do
      {:ok, reference, name, version}
    else
      nil -> {:error, Error.new(:unknown_process, "#{inspect(pid)} is no process of a program on this node")}
      %{function: name} -> refused(name, "only the first process of a program is upgraded, PROGRAM.1")
    end
  end

  defp newer(%{version: version, name: name}, version),
    do: {:error, Error.new(:up_to_date, "version #{version}, which the program runs, is the newest", name)}

  defp newer(_newest, _version), do: :ok

  defp ask(pid, reference, %{version: version, name: name}) do
    case Native.process_ask_upgrade(Engine.runtime(), reference, version) do
      :asked -> :ok
      :not_a_program -> refused(name, "the newest version is a function to be called, and no program")
      :refused -> refused(name, "the program takes no upgrades: it has to say so by tidepool::accept_upgrades")
      tag -> send(pid, {:tidepool, tag, <<version::little-64>>}) && :ok
    end
  end

  defp refused(name, message), do: {:error, Error.new(:not_upgradable, message, name)}

  @doc "What is known of the process that has this number in the program of that number; `nil` when there is none on this node."
  @spec find(program :: pos_integer, id :: pos_integer) :: info | nil
  def find(program, id) do
    with reference when reference != nil <- Programs.find(program),
         %{} = info <- Native.process_find(reference, id),
         do: complete(info)
  end

  # What the VM knows; nothing of a process that has ended meanwhile, or has yet to begin.
  defp complete(%{pid: nil}), do: nil

  defp complete(info) do
    with [status: state, links: links] <- Process.info(info.pid, [:status, :links]) do
      Map.merge(info, %{node: node(), state: state, links: Enum.filter(links, &is_pid/1)})
    end
  end

  @doc "The process that has a name in the program that `pid` is of, on the node where that is."
  @spec whereis(pid, String.t()) :: pid | nil
  def whereis(pid, name) when node(pid) != node(), do: there(pid, :whereis, [pid, name], nil)

  def whereis(pid, name) do
    with true <- Start.text?(name),
         reference when reference != nil <- reference(pid),
         {_id, found} <- Native.process_whereis(reference, name) do
      found
    else
      _nobody -> nil
    end
  end

  @doc """
  The process that has a name in the program that `pid` is of: on the node where that is (`:node`), as `whereis/2` says, or on all nodes of
  the program (`:program`), by `put_name` and `claim_name` (docs/processes.md).
  """
  @spec whereis(pid, String.t(), :node | :program) :: pid | nil
  def whereis(pid, name, :node), do: whereis(pid, name)
  # In a process of its own, as other nodes are asked.
  def whereis(pid, name, :program), do: there(pid, :whereis_in_program, [pid, name], nil)

  @doc false
  @spec whereis_in_program(pid, String.t()) :: pid | nil
  def whereis_in_program(pid, name) do
    with true <- Start.text?(name),
         reference when reference != nil <- reference(pid),
         first when first != nil <- Programs.first(Native.process_info(reference).program),
         do: Names.whereis(first, reference, name),
         else: (_nobody -> nil)
  end

  @doc """
  The number by which the program that `guest` is of knows `pid`, both processes of this node: guests send to it as they send to one another,
  on whatever node they are, and it gets `{:tidepool, from, tag, bytes}`. Guests can't kill it, and a link from one is one-sided.
  """
  @spec introduce(guest :: pid, pid) :: {:ok, pos_integer} | {:error, Error.t()}
  def introduce(guest, pid) when node(pid) == node() do
    case reference(guest) do
      nil -> {:error, Error.new(:invalid_option, "#{inspect(guest)} is no process of a program on this node")}
      reference -> {:ok, Native.process_introduce(reference, pid)}
    end
  end

  @doc "Gives a program with `:stdio` input, or says that there is no more. By its first process; nothing to one that has ended."
  @spec input(pid, binary | :eof) :: :ok
  def input(pid, input) do
    with reference when reference != nil <- reference(pid), do: Native.process_input(reference, input)
    :ok
  end

  @doc "Says that so many bytes of the output of a program with `:stdio` are where they were to go."
  @spec written(pid, non_neg_integer) :: :ok
  def written(pid, bytes) do
    with reference when reference != nil <- reference(pid), do: Native.process_written(reference, bytes)
    :ok
  end

  @doc "Kills a process."
  @spec kill(pid) :: :ok
  def kill(pid) do
    Process.exit(pid, :kill)
    :ok
  end

  @doc "What a program has reported of itself on the node of this process: counters, gauges, and how many values there were of what, with their sum."
  @spec figures(pid) :: [{String.t(), :counter | :gauge, number} | {String.t(), :histogram, {non_neg_integer, float}}]
  def figures(pid) when node(pid) != node(), do: there(pid, :figures, [pid], [])

  def figures(pid) do
    case reference(pid) do
      nil -> []
      reference -> Native.process_figures(reference)
    end
  end

  # What the process's node says; `none` when it can't be reached.
  defp there(pid, function, arguments, none) do
    :erpc.call(node(pid), __MODULE__, function, arguments, @there_ms)
  rescue
    ErlangError -> none
  end

  # The library has those of this node.
  defp reference(pid) when node(pid) != node(), do: nil

  defp reference(pid) do
    case Process.info(pid, :dictionary) do
      {:dictionary, dictionary} -> List.keyfind(dictionary, Loop, 0, {Loop, nil}) |> elem(1)
      nil -> nil
    end
  end
end
