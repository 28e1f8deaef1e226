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
  a call that traps, or is stopped by a limit, leaves the actor as it was before. An actor that is not called goes to sleep,
  without a process and without an instance, and after a while without memory; the next call wakes it. What a deploy can say of actors is in
  `Tidepool.Function.Actors`; docs/actors.md has what is promised, and what is not.

  Calls of one caller are served in their order. A call is made once at most: when its actor ends in the middle of it, by a kill
  for instance, the reason is `:unknown_outcome`, and a `:request_id` is what makes it safe to ask again.
  """

  alias Tidepool.{Error, Options, Trace}
  alias Tidepool.Actor.Activation.{LocalDispatch, ReadCache, RemoteDispatch}
  alias Tidepool.Actor.{Bucket, Name}
  alias Tidepool.Actor.Journal.Listing
  alias Tidepool.Actor.Ownership.{Directory, LeaseHolder, OtherStores, Shards}
  alias Tidepool.Function.{Actors, Spec}
  alias Tidepool.Host.Nesting

  @registry Tidepool.Actor.Registry

  # What a call without options has is not worked out for each.
  @defaults Map.new(@call_schema, fn {option, spec} -> {option, spec[:default]} end)

  # Longer than this is for ever, as in `Tidepool.call/4`.
  @longest_ms Tidepool.Limits.schema()[:time][:type] |> elem(2)
  @page 1_000
  # How long a node may take to say which actors are awake.
  @look_ms 1_000

  @type call_option :: unquote(Options.pair(@call_schema))

  @typedoc """
  What is known of an actor. `tier` says where its memory is: in an instance, compressed, or on disk alone; `bytes` are those of its record, as it was last written, and
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
          tier: :live | :frozen | :disk,
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

    # The name is looked at where no actor of that name is awake.
    with :ok <- available(class), :ok <- unwaited(class, name), :ok <- callable(operation, class) do
      traced(class, name, operation, fn ->
        call = prepare(operation, payload, options)
        serve({:call, class, name, call}, call.deadline)
      end)
    end
  end

  @doc "The same, without waiting: `:ok` says that the call has a place in the actor's queue. What it fails with is in the log."
  @spec cast(String.t(), String.t(), String.t(), iodata, [call_option]) :: :ok | {:error, Error.t()}
  def cast(class, name, operation, payload \\ "", options \\ []) do
    options = check!(operation, options)
    payload = IO.iodata_to_binary(payload)

    with :ok <- available(class), :ok <- callable(operation, class) do
      # No caller waits, so no two wait for each other.
      traced(class, name, operation, fn ->
        call = %{prepare(operation, payload, options) | depth: 1, actors: []}
        serve({:cast, class, name, call}, patience())
      end)
    end
  end

  @doc """
  Wakes an actor, or makes it, and calls nothing of it: `:ok` when it is on disk. With `create: false` only one that there is.

  Its start functions run in its first call.
  """
  @spec start(String.t(), String.t(), create: boolean) :: :ok | {:error, Error.t()}
  def start(class, name, options \\ []) do
    create = Options.check!(options, Keyword.take(@call_schema, [:create]), "Tidepool.Actor: the option").create

    about(:start, class, name, create)
  end

  @doc "Puts an actor to sleep once its queue is done. What it knows is kept on disk, and nothing of it in memory."
  @spec stop(String.t(), String.t()) :: :ok | {:error, Error.t()}
  def stop(class, name), do: about(:stop, class, name)

  @doc "Ends an actor, and all that is kept of it, be it damaged. The next call of its name makes a new one."
  @spec delete(String.t(), String.t()) :: :ok | {:error, Error.t()}
  def delete(class, name), do: about(:delete, class, name)

  @doc false
  # Calls what its alarm says that is due then: for `Tidepool.Actor.Activation.Alarms`. One that has another node by now is called there.
  @spec ring(String.t(), String.t(), due :: integer) :: {:ok, binary} | {:error, Error.t()}
  def ring(class, name, due) do
    with :ok <- available(class), {:elsewhere, _place} <- LocalDispatch.serve({:ring, class, name, due}), do: {:ok, ""}
  end

  @doc false
  # Asks a bucket, by `Tidepool.Actor.Bucket`: for `Tidepool.Keyvalue.Actors` alone, as all of buckets here. No other node is asked if it
  # is to be here.
  @spec ask_bucket(
          String.t(),
          String.t(),
          question :: binary,
          timeout_ms :: pos_integer,
          create :: boolean,
          here? :: boolean
        ) ::
          {:ok, binary} | {:elsewhere, Shards.place()} | {:error, Error.t()}
  def ask_bucket(class, name, question, timeout_ms, create, here?) do
    with :ok <- stored(class) do
      call = prepare("keyvalue", question, %{@defaults | timeout: timeout_ms, create: create})
      question = {:call, class, name, call}
      if here?, do: LocalDispatch.serve(question), else: serve(question, call.deadline)
    end
  end

  @doc false
  # What is under a key of a bucket, where this node has that in memory; `:none` when the bucket is to be asked.
  @spec read_bucket(class :: String.t(), String.t(), key :: binary) :: {:ok, binary | nil} | :none
  def read_bucket(class, name, key),
    do: with(:ok <- stored(class), do: ReadCache.read(class, name, key), else: ({:error, _why} -> :none))

  @doc false
  @spec delete_bucket(class :: String.t(), String.t()) :: :ok | {:error, Error.t()}
  def delete_bucket(class, name), do: with(:ok <- stored(class), do: serve({:delete, class, name, nil}, patience()))

  @doc false
  @spec buckets(class :: String.t()) :: {:ok, %{String.t() => non_neg_integer | :damaged}} | {:error, Error.t()}
  def buckets(class), do: with(:ok <- stored(class), do: buckets(class, nil, %{}))

  defp buckets(class, from, known) do
    with {:ok, found, next} <- looked({:buckets, class, from}) do
      known = Enum.into(found, known)
      if next, do: buckets(class, next, known), else: {:ok, known}
    end
  end

  @doc "The process of an actor; `nil` when it sleeps, or there is none."
  @spec where(String.t(), String.t()) :: pid | nil
  def where(class, name) do
    with :ok <- available(class), :ok <- Name.check(class, name) do
      with {:error, _error} <- serve({:where, class, name, nil}, patience()), do: nil
    else
      {:error, _error} -> nil
    end
  end

  @doc """
  Which node has how many shards of actors, and for how long, as this one knows it; `nil` where nodes share no store.
  """
  @spec placement :: LeaseHolder.report() | nil
  def placement, do: LeaseHolder.report()

  @doc "How many actors are awake on this node."
  @spec awake :: non_neg_integer
  def awake do
    Registry.count(@registry)
  rescue
    ArgumentError -> 0
  end

  @doc "What is known of an actor. It sleeps on if it does."
  @spec info(String.t(), String.t()) :: {:ok, info} | {:error, Error.t()}
  def info(class, name), do: about(:info, class, name)

  @doc """
  Actors of a class that are written, in no order that means anything: `limit` at most, from where a list before ended, and
  where the next one begins; `nil` after the last one.
  """
  @spec list(String.t(), from :: String.t() | nil, limit :: pos_integer) ::
          {:ok, [listed], next :: String.t() | nil} | {:error, Error.t()}
  def list(class, from \\ nil, limit \\ @page) do
    with {:ok, rows, next} <- written(class, {:list, class, from, limit}, {:ok, [], nil}),
         do: {:ok, listed(class, rows), next}
  end

  @doc """
  How many actors of a class are written, when they are no more than `most`; or else `:more`. For who deploys it: each is looked at.
  """
  @spec count(String.t(), most :: pos_integer) :: {:ok, non_neg_integer | :more} | {:error, Error.t()}
  def count(class, most), do: written(class, {:count, class, most}, {:ok, 0})

  # Where there can be no class of that name there is none of its actors.
  defp written(class, question, none) do
    with :ok <- available(class), do: if(Spec.name?(class), do: looked(question), else: none)
  end

  # In the records here; of a node that keeps none another node looks.
  defp looked(question),
    do: with(:own <- Directory.read(question, patience()), do: Listing.read(question, :infinity))

  # Of one whose node does not say, it is not known that it is awake.
  defp listed(class, rows) do
    names = for {name, _writes, _alarm_at, _bytes} <- rows, do: name
    awake = names |> Enum.group_by(&Shards.place(class, &1)) |> Enum.flat_map(&awake(class, &1)) |> MapSet.new()

    for {name, writes, _alarm_at, bytes} <- rows,
        do: %{name: name, writes: writes, bytes: bytes, awake: name in awake}
  end

  defp awake(class, {place, names}) do
    question = {:awake, class, "", names}

    answer =
      case place do
        {:here, _title} -> LocalDispatch.serve(question)
        {:away, _node} -> RemoteDispatch.ask(place, question, now() + @look_ms)
        _nobody -> []
      end

    if is_list(answer), do: answer, else: []
  end

  @doc """
  Can an actor have this name?

      iex> Enum.map(["alice", "room 5/é", "", "a\\n", String.duplicate("a", 513)], &Tidepool.Actor.name?/1)
      [true, true, false, false, false]
  """
  @spec name?(term) :: boolean
  defdelegate name?(name), to: Name, as: :valid?

  @doc false
  def timeout?(timeout), do: timeout == :infinity or (is_integer(timeout) and timeout >= 0)

  @doc false
  def request_id?(id), do: is_binary(id) and byte_size(id) in 1..128 and Options.line?(id)

  defp check!(operation, options) do
    is_binary(operation) || Options.wrong!("Tidepool.Actor: the operation", "a string", operation)
    if options == [], do: @defaults, else: Options.check!(options, @call_schema, "Tidepool.Actor: the option")
  end

  defp traced(class, name, operation, fun),
    do: Trace.span(:actor, %{function: class, actor: name, operation: operation}, fun)

  defp callable(operation, class) do
    if Actors.handover?(operation),
      do:
        {:error, Error.new(:invalid_option, "#{operation} is called when versions hand over, and not otherwise", class)},
      else: :ok
  end

  # Each node of a cluster without a shared store would have an actor of its own of the same name.
  defp available(class) do
    is_binary(class) || Options.wrong!("Tidepool.Actor: the class", "a string", class)

    # What is asked of buckets is bytes that the host has made.
    if Bucket.class?(class),
      do: {:error, Error.new(:not_deployed, "no function is deployed as #{Options.show(class)}", class)},
      else: stored(class)
  end

  defp stored(class) do
    message = Shards.unavailable() || if(Shards.shared?(), do: OtherStores.reason())
    if message, do: {:error, Error.new(:no_store, message, class)}, else: :ok
  end

  defp about(what, class, name, argument \\ nil) do
    with :ok <- available(class),
         :ok <- Name.check(class, name),
         :ok <- unwaited(class, name),
         do: serve({what, class, name, argument}, patience())
  end

  # Here, or on the node that has the actor; again, when that has it no more.
  defp serve(question, deadline) do
    with {:elsewhere, place} <- LocalDispatch.serve(question),
         :again <- RemoteDispatch.ask(place, question, deadline),
         do: serve(question, deadline)
  end

  # Until when a node is looked for by those who have said nothing of time.
  defp patience, do: now() + @defaults.timeout

  defp prepare(operation, payload, options) do
    {depth, context, timeout} = nested(Nesting.get(), options)

    %{
      operation: operation,
      payload: payload,
      deadline: if(timeout == :infinity, do: :infinity, else: now() + timeout),
      depth: depth,
      context: context,
      actors: Nesting.actors(),
      traceparent: Trace.traceparent(),
      request_id: options.request_id,
      create: options.create,
      alarm: nil
    }
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

  defp now, do: System.monotonic_time(:millisecond)
end
