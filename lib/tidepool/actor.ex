defmodule Tidepool.Actor do
  @call_schema [
    timeout: [
      type: {:check, &__MODULE__.timeout?/1, "a number of ms from 0 up, or :infinity"},
      default: 30_000,
      doc:
        "how long the caller waits, in ms: for those before it, for its own call, and until what that did is written."
    ],
    create: [
      type: :boolean,
      default: true,
      doc: "whether an actor that there has not been yet is made for the call."
    ],
    request_id: [
      type: {:check, &__MODULE__.request_id?/1, "a string of 1 to 128 bytes"},
      default: nil,
      doc:
        "what tells this call from others: an actor that has answered it, as one of its last 64 with an id, gives that " <>
          "answer again and does nothing."
    ],
    context: [
      type: :any,
      default: nil,
      doc: "whatever handlers are to know of the caller: they find it in their `Tidepool.Host.Call`."
    ]
  ]

  @moduledoc """
  Named instances that keep what they have in memory: `counter/alice` is one of the function `counter`, deployed with
  `actor: true`. Calls of it run one after the other, and each finds what the one before has left.

      {:ok, _function} = Tidepool.deploy(wasm, name: "counter", actor: true)
      {:ok, "1"} = Tidepool.Actor.call("counter", "alice", "add", "1")
      {:ok, "3"} = Tidepool.Actor.call("counter", "alice", "add", "2")

  The first call makes the actor. A call is answered when what it did is on disk, so an answer survives the node that gave it;
  a call that traps, or is stopped by a limit, leaves the actor as it was before. An actor that nobody calls goes to sleep,
  without a process and without memory, and the next call wakes it. What a deploy can say of actors is in
  `Tidepool.Function.Actors`; docs/actors.md has what is promised, and what is not.

  Calls of one caller are served in their order. A call is made once at most: when its actor ends in the middle of it, by a kill
  for instance, the reason is `:unknown_outcome`, and a `:request_id` is what makes it safe to ask again.
  """

  alias Tidepool.{Config, Error, Native, Options}
  alias Tidepool.Actor.{Line, Modules, Record, Server, State, Store}
  alias Tidepool.Function.{Actors, Spec}
  alias Tidepool.Host.Nesting

  @registry Tidepool.Actor.Registry
  @servers Tidepool.Actor.Servers

  # What a call without options has is not worked out for each.
  @defaults Map.new(@call_schema, fn {option, spec} -> {option, spec[:default]} end)

  @name_bytes 512
  # Longer than this is for ever, as in `Tidepool.call/4`.
  @longest_ms Tidepool.Limits.schema()[:time][:type] |> elem(2)
  @page 1_000
  # An actor that is about to be gone is gone after a moment.
  @again_ms 1

  @type call_option :: unquote(Options.pair(@call_schema))

  @typedoc """
  What is known of an actor. `tier` says where its memory is; `bytes` are those of its record, as it was last written, and
  `value_bytes` those of its values with their keys. An alarm is due `at` what its guest has said; `tries` of them have failed, the next is
  `due` then, or there is none when it has `failed`. `stayed` says to which version it could not go
  over, and why. `last_error` is, of one that is asleep, of before its last write. Of one that is awake
  also how many calls are `waiting` for it, and how many it has served since it woke. Times in ms since 1970.
  """
  @type info :: %{
          optional(:waiting) => non_neg_integer,
          optional(:calls) => non_neg_integer,
          class: String.t(),
          name: String.t(),
          node: node,
          awake: boolean,
          tier: :live | :disk,
          stayed: %{version: pos_integer, why: String.t()} | nil,
          bytes: non_neg_integer,
          alarm:
            %{at: integer, operation: String.t(), due: integer | nil, tries: non_neg_integer, failed: boolean} | nil,
          last_error: %{reason: String.t(), message: String.t(), at: integer} | nil,
          version: pos_integer,
          sha256: String.t(),
          created_at: integer,
          writes: non_neg_integer,
          value_bytes: non_neg_integer
        }

  @typedoc "An actor in a list: how often it was written, and the bytes of its record."
  @type listed :: %{name: String.t(), writes: non_neg_integer, bytes: non_neg_integer, awake: boolean}

  @doc """
  Calls an actor, and returns its reply.

  Raises `ArgumentError` for an argument of the wrong type, or an option that there is not.

  ## Options

  #{Options.docs(@call_schema)}
  """
  @spec call(String.t(), String.t(), String.t(), iodata, [call_option]) :: {:ok, binary} | {:error, Error.t()}
  def call(class, name, operation, payload \\ "", options \\ []) do
    options = check!(operation, options)
    payload = IO.iodata_to_binary(payload)

    with :ok <- available(class), :ok <- unwaited(class, name), :ok <- callable(operation, class) do
      {call, timeout} = prepare(operation, payload, options)
      ask(class, name, call, timeout)
    end
  end

  @doc "The same, without waiting: `:ok` says that the call has a place in the actor's queue. What it fails with is in the log."
  @spec cast(String.t(), String.t(), String.t(), iodata, [call_option]) :: :ok | {:error, Error.t()}
  def cast(class, name, operation, payload \\ "", options \\ []) do
    options = check!(operation, options)
    payload = IO.iodata_to_binary(payload)

    with :ok <- available(class),
         :ok <- callable(operation, class),
         {call, _timeout} = prepare(operation, payload, options),
         # Nobody waits, so nobody waits for each other.
         call = %{call | depth: 1, actors: []},
         {:ok, pid} <- enter(class, name, call) do
      GenServer.cast(pid, {:cast, call})
    end
  end

  @doc """
  Wakes an actor, or makes it, and calls nothing of it: `:ok` when it is on disk. With `create: false` only one that there is.

  Its start functions run in its first call.
  """
  @spec start(String.t(), String.t(), create: boolean) :: :ok | {:error, Error.t()}
  def start(class, name, options \\ []) do
    create = Options.check!(options, Keyword.take(@call_schema, [:create]), "Tidepool.Actor: the option").create

    with :ok <- available(class), :ok <- unwaited(class, name), {:ok, pid, _line, _options} <- server(class, name) do
      case request(pid, {:start, create}, :again) do
        :again -> start(class, name, options)
        {:ok, _nothing} -> :ok
        {:error, error} -> {:error, error}
      end
    end
  end

  @doc "Puts an actor to sleep once its queue is done. What it knows is kept."
  @spec stop(String.t(), String.t()) :: :ok | {:error, Error.t()}
  def stop(class, name) do
    with :ok <- addressed(class, name), :ok <- unwaited(class, name), {:ok, pid} <- awake(class, name) do
      request(pid, :stop, :ok)
    else
      :asleep -> :ok
      {:error, error} -> {:error, error}
    end
  end

  @doc "Ends an actor, and all that is kept of it. The next call of its name makes a new one."
  @spec delete(String.t(), String.t()) :: :ok | {:error, Error.t()}
  def delete(class, name) do
    with :ok <- addressed(class, name), :ok <- unwaited(class, name), {:ok, pid} <- awake(class, name) do
      with :again <- request(pid, :delete, :again), do: delete(class, name)
    else
      :asleep -> erase(class, name)
      {:error, error} -> {:error, error}
    end
  end

  # An actor that sleeps needs no waking for it, and its class need not be there any more.
  defp erase(class, name) do
    with {:ok, %{awake: false, writes: seq}} <- written(class, name), {:ok, records} <- Store.records() do
      case Store.commit(records, class, name, {:delete, State.epoch(), seq}) do
        # It woke meanwhile.
        {:error, :out_of_order, _message} -> delete(class, name)
        {:error, kind, message} -> {:error, Store.error(kind, message, class)}
        :ok -> :ok
      end
    end
  end

  @doc false
  # Calls what its alarm says that is due then: for `Tidepool.Actor.Alarms`.
  @spec ring(String.t(), String.t(), due :: integer) :: {:ok, binary} | {:error, Error.t()}
  def ring(class, name, due) do
    with :ok <- available(class), {:ok, pid, _line, _options} <- server(class, name) do
      with :again <- request(pid, {:ring, due}, :again), do: ring(class, name, due)
    end
  end

  @doc "The process of an actor; `nil` when it sleeps, or there is none."
  @spec where(String.t(), String.t()) :: pid | nil
  def where(class, name) do
    with {:ok, pid} <- awake(class, name), do: pid, else: (:asleep -> nil)
  end

  @doc "How many actors are awake on this node."
  @spec awake :: non_neg_integer
  def awake do
    Registry.count(@registry)
  rescue
    ArgumentError -> 0
  end

  @doc "What is known of an actor. It sleeps on if it does."
  @spec info(String.t(), String.t()) :: {:ok, info} | {:error, Error.t()}
  def info(class, name) do
    with :ok <- addressed(class, name), :ok <- unwaited(class, name), {:ok, pid} <- awake(class, name) do
      with :again <- request(pid, :info, :again), do: info(class, name)
    else
      :asleep -> written(class, name)
      {:error, error} -> {:error, error}
    end
  end

  @doc """
  Actors of a class that are written, in no order that means anything: `limit` at most, from where a list before ended, and
  where the next one begins; `nil` after the last one.
  """
  @spec list(String.t(), from :: String.t() | nil, limit :: pos_integer) ::
          {:ok, [listed], next :: String.t() | nil} | {:error, Error.t()}
  def list(class, from \\ nil, limit \\ @page) do
    with {:ok, rows, next} <- rows(class, from, limit), do: {:ok, Enum.map(rows, &listed(class, &1)), next}
  end

  defp rows(class, from, limit) do
    with :ok <- available(class),
         true <- Spec.name?(class),
         {:ok, records} <- Store.existing(),
         {:ok, rows, next} <- Native.list_records(records, class, from, limit) do
      {:ok, rows, next}
    else
      none when none in [false, :none] -> {:ok, [], nil}
      {:error, error} -> {:error, error}
      {:error, kind, message} -> {:error, Store.error(kind, message, class)}
    end
  end

  @doc """
  How many actors of a class are written, when they are no more than `most`; or else `:more`. For who deploys it: each is looked at.
  """
  @spec count(String.t(), most :: pos_integer) :: {:ok, non_neg_integer | :more} | {:error, Error.t()}
  def count(class, most) do
    with {:ok, actors, next} <- rows(class, nil, most), do: {:ok, if(next, do: :more, else: length(actors))}
  end

  defp listed(class, {name, writes, _alarm_at, bytes}),
    do: %{name: name, writes: writes, bytes: bytes, awake: where(class, name) != nil}

  @doc """
  Can an actor have this name?

      iex> Enum.map(["alice", "room 5/é", "", "a\\n", String.duplicate("a", 513)], &Tidepool.Actor.name?/1)
      [true, true, false, false, false]
  """
  @spec name?(term) :: boolean
  def name?(name), do: is_binary(name) and byte_size(name) in 1..@name_bytes and Options.line?(name)

  @doc false
  def timeout?(timeout), do: timeout == :infinity or (is_integer(timeout) and timeout >= 0)

  @doc false
  def request_id?(id), do: is_binary(id) and byte_size(id) in 1..128 and Options.line?(id)

  defp check!(operation, options) do
    is_binary(operation) || Options.wrong!("Tidepool.Actor: the operation", "a string", operation)
    if options == [], do: @defaults, else: Options.check!(options, @call_schema, "Tidepool.Actor: the option")
  end

  defp callable(operation, class) do
    if Actors.handover?(operation),
      do:
        {:error, Error.new(:invalid_option, "#{operation} is called when versions hand over, and not otherwise", class)},
      else: :ok
  end

  defp addressed(class, name) do
    with :ok <- available(class) do
      cond do
        not Spec.name?(class) ->
          {:error, Error.new(:not_deployed, "no function is deployed as #{Options.show(class)}")}

        name?(name) ->
          :ok

        true ->
          message =
            "an actor's name has 1 to #{@name_bytes} bytes of UTF-8 without control characters, unlike #{Options.show(name)}"

          {:error, Error.new(:invalid_option, message, class)}
      end
    end
  end

  # Each node of a cluster would have an actor of its own of the same name.
  defp available(class) do
    is_binary(class) || Options.wrong!("Tidepool.Actor: the class", "a string", class)

    if Config.get(:cluster) and Node.alive?() do
      message =
        "actors live on a node of its own, and this one may be in a cluster: start it without a name, or with the " <>
          "setting cluster: false (TIDEPOOL_CLUSTER=false)"

      {:error, Error.new(:no_store, message, class)}
    else
      :ok
    end
  end

  defp prepare(operation, payload, options) do
    {depth, context, timeout} = nested(Nesting.get(), options)

    call = %{
      operation: operation,
      payload: payload,
      deadline: if(timeout == :infinity, do: :infinity, else: now() + timeout),
      depth: depth,
      context: context,
      actors: Nesting.actors(),
      request_id: options.request_id,
      create: options.create,
      alarm: nil
    }

    {call, timeout}
  end

  # An actor answers nothing to those that it waits for itself.
  defp unwaited(class, name) do
    actors = Nesting.actors()

    if {class, name} in actors do
      chain = actors |> Enum.reverse([]) |> Enum.map(fn {class, name} -> "#{class}/#{name}" end)

      message =
        "#{class}/#{name} waits for this call, so it can't serve it: #{Enum.join(chain ++ ["#{class}/#{name}"], " → ")}"

      {:error, Error.new(:deadlock, message, class, %{chain: chain})}
    else
      :ok
    end
  end

  # As calls of functions: `Tidepool.Execution.call/5`.
  defp nested(nil, %{timeout: timeout} = options),
    do: {1, options.context, if(timeout <= @longest_ms, do: timeout, else: :infinity)}

  defp nested({depth, deadline, outer}, options),
    do: {depth + 1, options.context || outer, min(options.timeout, max(deadline - now(), 0))}

  defp ask(class, name, call, timeout) do
    with {:ok, pid} <- enter(class, name, call) do
      try do
        GenServer.call(pid, {:call, call}, timeout)
      catch
        :exit, {:timeout, _call} ->
          {:error, Error.new(:timeout, "the actor did not answer within #{timeout} ms", class)}

        # It closed its line before, so that the call was not taken.
        :exit, {reason, _call} when reason in [:noproc, {:shutdown, :asleep}] ->
          again(call, timeout, &ask(class, name, call, &1))

        :exit, {_reason, _call} ->
          message = "#{class}/#{name} ended while it had the call: what that did may be kept, or not"
          {:error, Error.new(:unknown_outcome, message, class)}
      end
    end
  end

  defp again(%{deadline: :infinity}, timeout, ask), do: ask.(timeout)
  defp again(%{deadline: deadline}, _timeout, ask), do: ask.(max(deadline - now(), 0))

  # A place in the line of an actor, which is woken for it.
  defp enter(class, name, call) do
    with {:ok, pid, line, options} <- server(class, name) do
      case Line.enter(line, byte_size(call.payload), options.queue, options.queue_bytes) do
        :ok ->
          {:ok, pid}

        :full ->
          message = "#{class}/#{name} has all the calls waiting that it may have (queue, queue_bytes)"
          {:error, Error.new(:overloaded, message, class)}

        :closed ->
          gone(pid)
          enter(class, name, call)
      end
    end
  end

  # Waits for the end of a process that has said that it ends.
  defp gone(pid) do
    monitor = Process.monitor(pid)

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    after
      1_000 -> Process.demonitor(monitor, [:flush])
    end
  end

  defp server(class, name) do
    case Registry.lookup(@registry, {class, name}) do
      [{pid, {line, options}}] ->
        {:ok, pid, line, options}

      [] ->
        # Of one that is awake the name has been looked at.
        with :ok <- addressed(class, name), {:ok, _pid} <- ensure(class, name), do: server(class, name)
    end
  rescue
    ArgumentError -> {:error, Store.restarting(class)}
  catch
    :exit, _reason -> {:error, Store.restarting(class)}
  end

  defp ensure(class, name) do
    with {:ok, function} <- Modules.class(class) do
      supervisor = {:via, PartitionSupervisor, {@servers, {class, name}}}

      case DynamicSupervisor.start_child(supervisor, {Server, {class, name, function.actor}}) do
        {:ok, pid} -> {:ok, pid}
        {:error, {:already_started, pid}} -> {:ok, pid}
        {:error, :max_children} -> {:error, Error.new(:overloaded, "no more actors can be awake", class)}
        {:error, _reason} -> {:error, Store.restarting(class)}
      end
    end
  end

  defp awake(class, name) do
    case Registry.lookup(@registry, {class, name}) do
      [{pid, _value}] -> {:ok, pid}
      [] -> :asleep
    end
  rescue
    ArgumentError -> :asleep
  end

  defp request(pid, request, asleep) do
    GenServer.call(pid, request, :infinity)
  catch
    :exit, {reason, _call} when reason in [:noproc, {:shutdown, :asleep}] ->
      receive do
      after
        @again_ms -> asleep
      end

    :exit, {reason, _call} ->
      {:error, Error.new(:unknown_outcome, "the actor ended meanwhile: #{inspect(reason)}")}
  end

  defp written(class, name) do
    with {:ok, records} <- Store.existing(),
         {:ok, {_epoch, seq, _alarm_at, head, image}} <- Store.read(records, class, name, class),
         {:ok, record} <- Record.read(head, class, name) do
      known = %{class: class, name: name, node: node(), awake: false, tier: :disk, writes: seq}
      {:ok, record |> Record.shown() |> Map.merge(known) |> Map.put(:bytes, byte_size(head) + byte_size(image || ""))}
    else
      none when none in [:none, {:ok, nil}] ->
        {:error, Error.new(:unknown_actor, "no actor is called #{class}/#{name}", class)}

      {:error, error} ->
        {:error, error}
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
