defmodule Tidepool.Instance do
  @start_schema [
    name: [
      type: {:check, &__MODULE__.name?/1, "a name as a GenServer has it, or nil"},
      default: nil,
      doc: "what the process is registered as, as for a `GenServer`."
    ]
  ]
  @call_schema [
    timeout: [
      type: {:check, &__MODULE__.timeout?/1, "a number of ms from 0 up, or :infinity"},
      default: :infinity,
      doc:
        "how long the caller waits, in ms: for those before it, and for its own call. The function's limits hold as well."
    ],
    context: [
      type: :any,
      default: nil,
      doc: "whatever handlers are to know of the caller: they find it in their `Tidepool.Host.Call`."
    ]
  ]

  @moduledoc """
  A process that keeps one instance of a deployed function, with all that its calls leave in memory and globals.

      {:ok, _function} = Tidepool.deploy(wasm, name: "numbers")
      {:ok, instance} = Tidepool.Instance.start_link("numbers")
      {:ok, 1} = Tidepool.Instance.call(instance, :count)
      {:ok, 2} = Tidepool.Instance.call(instance, :count)
      {:ok, 2} = Tidepool.Instance.get_global(instance, "calls")
      :ok = Tidepool.Instance.write_memory(instance, 16, "low tide")
      {:ok, "tide"} = Tidepool.Instance.read_memory(instance, 20, 4)

  Under a supervisor it is `{Tidepool.Instance, function: "numbers", name: MyApp.Numbers}`.

  Calls run one after the other, in the process; between them its caller may look into the instance, and change it. The instance is
  made at the start, from the version that is deployed then, and stays with that. It has a place among the live instances of its
  function, of its namespace and of the node until the process ends, and nothing takes that from it: `instances` has to have room
  for it beside those that calls take.

  A call that traps, or is stopped by a limit, is the end of the instance, and so of the process: the caller gets the error, and then
  it ends with `{:shutdown, {:spent, error}}`. A call with wrong arguments, or of an export that there is not, changes nothing.

  A component's resources live here. A call that returns one returns a `Tidepool.Resource`, which others take:

      {:ok, counter} = Tidepool.Instance.new(instance, {"docs:counter/counters", "counter"}, [40])
      {:ok, 42} = Tidepool.Instance.call(instance, {counter, :increment}, [2])
      {:ok, sum} = Tidepool.Instance.call(instance, :"counter.merge", [counter, other])
      :ok = Tidepool.Instance.drop(instance, sum)

  An export that borrows a resource leaves it with its caller; one that takes it for its own has it from then on, and the caller's handle
  is good no more. A resource whose handle no process has any more is dropped before the next call. Callers may have 16,384 at once.

  What is kept here is in memory alone, on this node. What is to outlive it is an actor's (`Tidepool.Actor`).

  Functions whose instances serve one call each, programs of WASI and commands, can't be kept, and those of handlers of HTTP have no
  export to call: the reason is `:invalid_config`, and the message says what to use. A process that is not there is `:unavailable`,
  one that ends in the middle of the call `:unknown_outcome`, and one that is called by what it has itself called in its own process
  `:deadlock`.
  """

  use GenServer

  alias Tidepool.{Catalog, Engine, Error, Execution, Native, Options, Resource}
  alias Tidepool.Host.Nesting
  alias Tidepool.Instance.Export

  # What is copied on a normal scheduler: 100 µs.
  @small_bytes 1_048_576
  @longest_ms Tidepool.Limits.schema()[:time][:type] |> elem(2)
  @longest_offset 0xFFFF_FFFF_FFFF_FFFF

  @type start_option :: unquote(Options.pair(@start_schema))
  @type call_option :: unquote(Options.pair(@call_schema))

  @typedoc "A resource in a component's export, by its name, or by that of its interface as well."
  @type resource_type :: String.t() | atom | {interface :: String.t(), String.t() | atom}

  @typedoc "A number of a guest's. Integers come back signed."
  @type value :: number | :nan | :infinity | :neg_infinity

  @doc false
  def child_spec(options) do
    {function, options} = Keyword.pop!(options, :function)
    %{id: Keyword.get(options, :name) || {__MODULE__, function}, start: {__MODULE__, :start_link, [function, options]}}
  end

  @doc """
  Makes an instance of a function, in a process that is linked to the caller. When that fails the error says why.

  ## Options

  #{Options.docs(@start_schema)}
  """
  @spec start_link(String.t(), [start_option]) :: GenServer.on_start() | {:error, Error.t()}
  def start_link(function, options \\ []), do: start(&GenServer.start_link/3, "start_link/2", function, options)

  @doc "The same without the link."
  @spec start(String.t(), [start_option]) :: GenServer.on_start() | {:error, Error.t()}
  def start(function, options \\ []), do: start(&GenServer.start/3, "start/2", function, options)

  defp start(start, what, function, options) do
    is_binary(function) || wrong!(what, "the function's name", "a string", function)
    %{name: name} = Options.check!(options, @start_schema, "Tidepool.Instance.#{what}: the option")

    with {:error, {:shutdown, %Error{} = error}} <-
           start.(__MODULE__, function, if(name == nil, do: [], else: [name: name])),
         do: {:error, error}
  end

  @doc """
  Calls an export as `Tidepool.call/4` does, with the list of its arguments; or any operation, a string, with a payload: see
  `Tidepool.call/4`. A method of a resource is `{resource, name}`, where `_` stands for `-`; a static function of one
  `{interface, "counter.merge"}`, or `:"counter.merge"`.

  ## Options

  #{Options.docs(@call_schema)}
  """
  @spec call(
          GenServer.server(),
          Tidepool.operation() | {Resource.t(), method :: atom | String.t()},
          iodata | [term] | map,
          [call_option]
        ) :: {:ok, term} | {:error, Error.t()}
  def call(instance, operation, payload \\ "", options \\ []) do
    {operation, payload} = asked!(operation, payload)
    %{timeout: timeout} = checked = Options.check!(options, @call_schema, "Tidepool.Instance.call/4: the option")
    {depth, left, outer} = nested()
    timeout = if timeout > @longest_ms, do: left, else: min(timeout, left)
    context = if Keyword.has_key?(options, :context), do: checked.context, else: outer
    ask(instance, {:call, operation, payload, depth, deadline(timeout), context}, timeout)
  end

  @doc """
  Makes a resource: calls its constructor. Options are those of `call/4`.
  """
  @spec new(GenServer.server(), resource_type, [term] | map, [call_option]) :: {:ok, Resource.t()} | {:error, Error.t()}
  def new(instance, resource, arguments \\ [], options \\ []),
    do: call(instance, constructor!(resource), arguments, options)

  @doc """
  Drops a resource: its destructor runs, in the guest. One that was dropped before, or given away, is `:invalid_arguments`. Options are
  those of `call/4`.
  """
  @spec drop(GenServer.server(), Resource.t(), [call_option]) :: :ok | {:error, Error.t()}
  def drop(instance, resource, options \\ [])

  def drop(instance, %Resource{} = resource, options) do
    with {:ok, nil} <- call(instance, :"[resource-drop]", [resource], options), do: :ok
  end

  def drop(_instance, other, _options), do: wrong!("drop/3", "what to drop", "a Tidepool.Resource", other)

  # How deep the call is, the time that is left for it, and the context of what it is nested in.
  defp nested do
    case Nesting.get() do
      nil -> {1, :infinity, nil}
      {depth, deadline, context} -> {depth + 1, max(deadline - now(), 0), context}
    end
  end

  defp asked!({:constructor, name}, arguments), do: {"[constructor]#{name}", arguments!(arguments)}

  defp asked!({%Resource{type: type} = resource, method}, arguments)
       when is_binary(type) and ((is_atom(method) and method != nil) or is_binary(method)) do
    method = method |> to_string() |> String.replace("_", "-")

    case arguments!(arguments) do
      list when is_list(list) -> {"#{type}.#{method}", [resource | list]}
      map -> {"#{type}.#{method}", Map.put(map, "self", resource)}
    end
  end

  defp asked!({interface, export}, arguments) when is_binary(interface) and (is_binary(export) or is_atom(export)),
    do: {Execution.operation(interface, export), arguments!(arguments)}

  defp asked!(export, arguments) when is_atom(export) and export != nil,
    do: {Atom.to_string(export), arguments!(arguments)}

  defp asked!(operation, payload) when is_binary(operation) do
    {operation, IO.iodata_to_binary(payload)}
  rescue
    ArgumentError -> wrong!("call/4", "the payload", "a binary or iodata", payload)
  end

  defp asked!(operation, _payload),
    do: wrong!("call/4", "the operation", "a string, an atom or {interface, name}, or {resource, method}", operation)

  defp constructor!({interface, name}) when is_binary(interface) and (is_binary(name) or is_atom(name)),
    do: {interface, "[constructor]#{name}"}

  defp constructor!(name) when is_binary(name) or (is_atom(name) and name != nil), do: {:constructor, name}

  defp constructor!(other), do: wrong!("new/4", "the resource", "a string, an atom or {interface, name}", other)

  defp arguments!(""), do: []
  defp arguments!(arguments) when is_list(arguments) or is_map(arguments), do: arguments

  defp arguments!(arguments),
    do: wrong!("call/4", "what an export is called with", "a list or a map of arguments", arguments)

  @doc "What the module exports, in its order; of a component the functions, those of its resources included."
  @spec exports(GenServer.server()) :: {:ok, [Export.t()]} | {:error, Error.t()}
  def exports(instance), do: ask(instance, :exports)

  @doc "The size of the memory that is exported as `memory`, in bytes; `:no_export` when there is none, as for all that follow."
  @spec memory_size(GenServer.server()) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def memory_size(instance), do: ask(instance, :memory_size)

  @doc "Bytes of the memory. `:invalid_arguments` is the reason when they are not all within it."
  @spec read_memory(GenServer.server(), non_neg_integer, non_neg_integer) :: {:ok, binary} | {:error, Error.t()}
  def read_memory(instance, offset, length) do
    natural!("read_memory/3", "the offset", offset)
    natural!("read_memory/3", "the length", length)
    ask(instance, {:read_memory, offset, length})
  end

  @doc "Puts bytes into the memory: all of them, or `:invalid_arguments` is the reason, and nothing has changed."
  @spec write_memory(GenServer.server(), non_neg_integer, binary) :: :ok | {:error, Error.t()}
  def write_memory(instance, offset, bytes) do
    natural!("write_memory/3", "the offset", offset)
    is_binary(bytes) || wrong!("write_memory/3", "what to write", "a binary", bytes)
    ask(instance, {:write_memory, offset, bytes})
  end

  @doc """
  Has the memory grow by so many pages of 64 KiB, and returns how many it had. `{:limit, :memory}` is the reason when the function's
  limit is below that, `:invalid_arguments` when the module's own is; the instance goes on.
  """
  @spec grow_memory(GenServer.server(), non_neg_integer) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def grow_memory(instance, pages) do
    natural!("grow_memory/2", "the number of pages", pages)
    ask(instance, {:grow_memory, pages})
  end

  @doc "A number that is exported as a global."
  @spec get_global(GenServer.server(), String.t()) :: {:ok, value} | {:error, Error.t()}
  def get_global(instance, name) do
    is_binary(name) || wrong!("get_global/2", "the global's name", "a string", name)
    ask(instance, {:get_global, name})
  end

  @doc "Sets it. `:invalid_arguments` is the reason when it is a constant, or the value not of its type."
  @spec set_global(GenServer.server(), String.t(), value) :: :ok | {:error, Error.t()}
  def set_global(instance, name, value) do
    is_binary(name) || wrong!("set_global/3", "the global's name", "a string", name)
    ask(instance, {:set_global, name, value})
  end

  # A late answer is dropped by the VM: the caller's mailbox has nothing of it.
  defp ask(instance, request, timeout \\ :infinity) do
    if whereis(instance) == self(),
      do: {:error, Error.new(:deadlock, "the call came from what the instance has called itself")},
      else: GenServer.call(instance, request, timeout)
  catch
    :exit, {:timeout, _call} -> {:error, Error.new(:timeout, "the call's time was over before its answer came")}
    :exit, {:noproc, _call} -> {:error, gone(instance)}
    :exit, {{:nodedown, _node}, _call} -> {:error, gone(instance)}
    :exit, {reason, {GenServer, :call, _arguments}} -> {:error, ended(reason)}
  end

  # What waited for its turn behind a call that was the instance's end has not run.
  defp ended({:shutdown, {:spent, _error}}),
    do: Error.new(:unavailable, "the instance was ended by a call before this one, which has not run")

  defp ended(_reason), do: Error.new(:unknown_outcome, "the instance's process ended while it had the call")

  defp gone(instance), do: Error.new(:unavailable, "no instance is running as #{inspect(instance)}")

  defp whereis(pid) when is_pid(pid), do: pid
  defp whereis(name), do: GenServer.whereis(name)

  @impl true
  def init(function) do
    # So that an instance that others wait for is not gone before its answer.
    Process.flag(:message_queue_data, :off_heap)

    with {:ok, native} <- published(function),
         {:ok, owned} <- outcome(Native.own_for_good(native), function),
         {:ok, _empty} <-
           Execution.go_on(Native.make_owned(owned, :infinity), function, nil, {1, nil, false}) do
      {:ok, %{function: function, owned: owned}}
    else
      {:error, error} -> {:stop, {:shutdown, error}}
    end
  end

  defp published(function) do
    case Native.published(Engine.runtime(), function) do
      {_version, native} -> {:ok, native}
      nil -> Catalog.not_callable(function)
    end
  end

  @impl true
  def handle_call({:call, operation, payload, depth, deadline, context}, from, %{function: function} = state) do
    case left(deadline) do
      0 ->
        {:reply, {:error, Error.new(:timeout, "the call's time was over before its turn came", function)}, state}

      left ->
        step = Native.call_owned(state.owned, operation, payload, depth, left)
        outcome = Execution.go_on(step, function, operation, {depth, context, left != :infinity})
        called(outcome, from, state)
    end
  end

  def handle_call(:exports, _from, state),
    do: {:reply, {:ok, state.owned |> Native.owned_exports() |> Enum.map(&Export.of/1)}, state}

  def handle_call(request, _from, state), do: {:reply, request |> look(state.owned) |> outcome(state.function), state}

  # Of another's name, or nobody's.
  @impl true
  def handle_info(_other, state), do: {:noreply, state}

  defp called(outcome, from, state) do
    if Native.owned_spent?(state.owned) do
      GenServer.reply(from, outcome)
      {:error, error} = outcome
      {:stop, {:shutdown, {:spent, error}}, state}
    else
      {:reply, outcome, state}
    end
  end

  defp look(:memory_size, owned), do: Native.memory_size(owned)

  defp look({:read_memory, offset, length}, owned) when length <= @small_bytes,
    do: Native.read_memory(owned, offset, length)

  defp look({:read_memory, offset, length}, owned), do: Native.read_memory_large(owned, offset, length)

  defp look({:write_memory, offset, bytes}, owned) when byte_size(bytes) <= @small_bytes,
    do: Native.write_memory(owned, offset, bytes)

  defp look({:write_memory, offset, bytes}, owned), do: Native.write_memory_large(owned, offset, bytes)
  defp look({:grow_memory, pages}, owned), do: Native.grow_memory(owned, pages)
  defp look({:get_global, name}, owned), do: Native.get_global(owned, name)
  defp look({:set_global, name, value}, owned), do: Native.set_global(owned, name, value)

  defp outcome({:error, reason, message, details}, function),
    do: {:error, Error.new(reason, message, function, details)}

  defp outcome(done, _function), do: done

  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: now() + timeout

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)

  @doc false
  def timeout?(value), do: value == :infinity or (is_integer(value) and value >= 0)

  @doc false
  def name?(nil), do: true
  def name?(name) when is_atom(name), do: true
  def name?({:global, _name}), do: true
  def name?({:via, module, _name}) when is_atom(module), do: true
  def name?(_other), do: false

  # What is larger is not within any memory, and no number of the native library's.
  defp natural!(function, what, number) do
    (is_integer(number) and number in 0..@longest_offset) ||
      wrong!(function, what, "a number from 0 to 2^64 - 1", number)
  end

  @spec wrong!(String.t(), String.t(), String.t(), term) :: no_return
  defp wrong!(function, what, expectation, value) do
    Options.wrong!("Tidepool.Instance.#{function}: #{what}", expectation, value)
  end
end
