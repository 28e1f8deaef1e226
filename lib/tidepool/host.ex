defmodule Tidepool.Host do
  @moduledoc """
  What guests may call: handlers by `{binding, namespace, operation}`.

      Tidepool.Host.register({"host", "redis", "GET"}, fn call -> {:ok, fetch(call.payload)} end)

  A part of the target may be `:_`, which matches anything. The most specific handler is taken: one that names the
  binding before one that doesn't, then namespace, then operation.

  A handler is one of:

  - a function of one argument, or `{module, function}`: it gets a `Tidepool.Host.Call` and returns `{:ok, bytes}` or
    `{:error, bytes}`;
  - a GenServer, by pid or registered name (`name`, `{:global, name}`, `{:via, module, name}`): it gets a message, and
    anybody answers with `reply/2`.

  An import of a plain module is a call to the host as well, of the target `{"import", MODULE, NAME}`: `call.args` has its arguments,
  and the answer is `{:ok, number}`, `{:ok, list}` where it has several results, `{:ok, nil}` where it has none. An error is a
  trap: such a guest has no other way to be told.

      Tidepool.Host.register({"import", "env", "now"}, fn _call -> {:ok, System.os_time(:millisecond)} end)

  Whatever a handler does, its guest gets an answer. What it returns as `{:error, bytes}` is an error in the guest, word for
  word. One that raises, throws, exits, dies, is not running or returns something else fails: the guest's error is
  `the host's handler failed (id …)`, and the log has what it failed with under that id (`Tidepool.Host.Failure`). One that
  stays silent until the call's time is over ends the call.
  """

  @schema [
    run: [
      type: {:one_of, [:timed, :inline, :isolated]},
      default: :timed,
      doc:
        "for functions. `:inline` runs in the process that made the call, which costs nothing, and the call's time " <>
          "can't end it: its caller gets the timeout when it returns. `:isolated` runs in a process of its own, which is " <>
          "killed when the call's time is over, be that the caller's or the function's. `:timed` does so for calls with a " <>
          "`:timeout`, and the first for all others."
    ],
    message: [
      type: {:one_of, [:invoke_callback, :call]},
      default: :invoke_callback,
      doc:
        "for GenServers. `:invoke_callback` sends `{:invoke_callback, binding, namespace, operation, payload, ref}`, " <>
          "`:call` sends `{:host_call, %Tidepool.Host.Call{}, ref}`."
    ],
    namespace: [
      type: {:check, &Tidepool.Namespaces.Name.valid?/1, "what stands before the slash in names of functions"},
      default: nil,
      doc:
        "a namespace whose functions alone find the handler, and find it before any that is for all: others get an error, as if " <>
          "there were none."
    ]
  ]

  alias Tidepool.{Native, Options}
  alias Tidepool.Host.{Call, Failure, Interface, Isolated, Registry, TestHandlers, Timer}

  # First part of the targets of imports of components.
  @wit "wit"

  @type part :: String.t() | :_
  @type target :: {binding :: part, namespace :: part, operation :: part}
  @typedoc "What is answered: bytes to a waPC guest, a value to an import, or an error's text."
  @type result :: {:ok, binary | term} | {:error, binary}
  @type handler :: (Call.t() -> result) | {module, atom} | GenServer.name() | pid
  @typedoc "What a GenServer passes to `reply/2`. Good for one reply."
  @type ref :: reference

  @type option ::
          {:run, :timed | :inline | :isolated} | {:message, :invoke_callback | :call} | {:namespace, String.t()}

  @doc """
  Routes calls to `target` to `handler` from now on, in place of the one before.

  Raises `ArgumentError` for a target, handler or options of another shape.

  ## Options

  #{Options.docs(@schema)}
  """
  @spec register(target, handler, [option]) :: :ok
  def register(target, handler, options \\ []) do
    entry = entry!(target, handler, options)
    Registry.put(target, options[:namespace], entry)
  end

  @doc false
  # What the registry has for a handler. Raises `ArgumentError`.
  @spec entry!(target, handler, [option]) :: Registry.entry()
  def entry!(target, handler, options) do
    check_target!(target)
    entry(handler, options)
  end

  @doc """
  Has a module answer what components import of an interface: each public function of it for the import of its name, where `_` stands
  for `-`. An interface without a version is that of all versions.

      defmodule Prices do
        def price("tea"), do: 3
      end

      Tidepool.Host.register_interface("docs:shop/prices", Prices)

  The arguments are those of the import, and what the function returns is its value: of a `result` that is `{:ok, value}` or
  `{:error, value}`. One that raises fails as any handler does. Options are those of `register/3` for functions, and `:resources`: the
  modules of the interface's resources, by their names in WIT.

      defmodule Cart do
        def new(owner), do: Agent.start_link(fn -> {owner, []} end) |> elem(1)
        def add(cart, item), do: Agent.update(cart, fn {owner, items} -> {owner, [item | items]} end)
        def drop(cart), do: Agent.stop(cart)
      end

      Tidepool.Host.register_interface("docs:shop/carts", Carts, resources: %{"cart" => Cart})

  Of such a module, `new` is the constructor, and what it returns the resource's term, or `{:ok, resource}` or `{:error, value}` where the
  constructor has a `result`. `drop/1`, if there is one, is told of the resource's end. Every other public function is the method of its
  name, with the resource's term before its arguments; callbacks of GenServers and supervisors are none. `{Cart, statics: [:both]}` names
  those that are static functions. Where other arguments have a resource of the host's, they are handles, and
  `Tidepool.Resource.fetch!/2` has the term; where results have one, functions return a `Tidepool.Resource.new/2`. What a guest gives
  away to one of them ends when that has returned, unless the result has it.

  The name is that by which components import the interface: `namespace:package/interface`, with or without a version; the label of one
  that stands in the world itself; or `""` for functions of none. Raises `ArgumentError` for any other name, and for those of WASI
  (`wasi:…`): what components get of these is what their deploy grants.
  """
  @spec register_interface(String.t(), module | nil, [option | {:resources, %{String.t() => Interface.resource()}}]) ::
          :ok
  def register_interface(interface, module, options \\ []) do
    Interface.check_name!(interface)
    {resources, options} = Keyword.pop(options, :resources, %{})

    for {operation, handler} <- Interface.handlers(interface, module, resources) do
      register({@wit, interface, operation}, handler, options)
    end

    :ok
  end

  @doc "Removes the handler of exactly this target, or the one of a namespace that was registered with this option: `:namespace`."
  @spec unregister(target, [{:namespace, String.t()}]) :: :ok
  def unregister(target, options \\ []) do
    check_target!(target)
    Options.check!(options, Keyword.take(@schema, [:namespace]), "Tidepool.Host.unregister/2: the option")
    Registry.delete(target, options[:namespace])
  end

  @doc """
  The targets of what a function imports that nobody answers at this moment, or that its deploy does not grant, of its first 1,000
  imports (64 KiB of their names): calls of it that come to one of them end there. Functions of `wasi:` are among them that this host
  has not.

      {:ok, function} = Tidepool.deploy(wasm, name: "shop")
      Tidepool.Host.unanswered(function)
      #=> [{"wit", "docs:shop/prices@1.0.0", "price"}]
  """
  @spec unanswered(%{:name => String.t(), :asks => [target], optional(atom) => term}) :: [target]
  def unanswered(%{name: name, asks: asks} = function) do
    grants = Map.get(function, :host, ["*"])

    for {binding, namespace, operation} = target <- asks,
        call = %Call{binding: binding, namespace: namespace, operation: operation, payload: "", function: name},
        not (Native.import_granted(grants, target) and answered?(call)),
        do: target
  end

  def unanswered(function),
    do: Options.wrong!("Tidepool.Host.unanswered/1: the function", "one, as Tidepool.fetch/1 has it", function)

  # What components get of these is their deploy's, whoever is registered.
  defp answered?(%Call{binding: @wit, namespace: "wasi:" <> _interface}), do: false

  defp answered?(call) do
    case lookup(call) do
      {:testing, nil} -> TestHandlers.find(call) != nil
      found -> found != nil
    end
  end

  @doc """
  Answers the host call with this `ref`, from any process. A second answer, or one that comes too late, is dropped.
  """
  @spec reply(ref, result) :: :ok
  def reply(ref, {tag, answer} = result)
      when is_reference(ref) and ((tag == :error and is_binary(answer)) or tag == :ok) do
    send(ref, {ref, result})
    :ok
  end

  def reply(ref, result) do
    is_reference(ref) || Options.wrong!("Tidepool.Host.reply/2: the ref", "the one that the host call came with", ref)

    Options.wrong!(
      "Tidepool.Host.reply/2: the answer",
      "{:ok, bytes}, {:ok, value} for an import, or {:error, bytes}",
      result
    )
  end

  @doc false
  # Routes calls to a function of the node's own that gets the call and what its driver keeps from one host call to the next, `nil` where
  # it keeps nothing. The function returns the result, or `:timeout` when the call's time was over, and what is kept from then on.
  @spec register_kept(target, {module, atom}) :: :ok
  def register_kept(target, {_module, _function} = handler), do: Registry.put(target, nil, {:kept, handler})

  @doc false
  # As `dispatch/4`, for a driver that keeps nothing.
  @spec dispatch(Call.t(), remaining_us :: non_neg_integer, timed? :: boolean) :: result | :timeout
  def dispatch(%Call{} = call, remaining_us, timed?), do: call |> dispatch(remaining_us, timed?, nil) |> elem(0)

  @doc false
  # Carries a call out; `timed?` says that its caller gave it a time of its own. `:timeout` when it was not answered within
  # what remained of the call. Never raises. `kept` is as in `register_kept/2`.
  @spec dispatch(Call.t(), remaining_us :: non_neg_integer, timed? :: boolean, kept) :: {result | :timeout, kept}
        when kept: term
  def dispatch(%Call{} = call, remaining_us, timed?, kept) do
    case lookup(call) do
      {:kept, handler} -> run_kept(handler, call, kept)
      {:testing, {:kept, handler}} -> tested(TestHandlers.find(call), handler, call, remaining_us, timed?, kept)
      entry -> {carry_out(entry, call, remaining_us, timed?), kept}
    end
  end

  defp tested(nil, handler, call, _remaining_us, _timed?, kept), do: run_kept(handler, call, kept)

  defp tested(entry, _handler, call, remaining_us, timed?, kept),
    do: {carry_out(entry, call, remaining_us, timed?), kept}

  defp run_kept({module, function}, call, kept) do
    apply(module, function, [call, kept])
  catch
    kind, reason -> {Failure.ended(call, kind, reason, __STACKTRACE__), kept}
  end

  # A handler of an interface without its version is for all versions.
  defp lookup(%Call{binding: @wit, namespace: interface} = call) do
    found = Registry.lookup(call.function, @wit, interface, call.operation)

    # `{:testing, nil}` is that of a test, which may have one.
    with true <- found in [nil, {:testing, nil}],
         [unversioned, _version] <- String.split(interface, "@", parts: 2) do
      Registry.lookup(call.function, @wit, unversioned, call.operation)
    else
      _found_or_unversioned -> found
    end
  end

  defp lookup(call), do: Registry.lookup(call.function, call.binding, call.namespace, call.operation)

  defp carry_out(entry, call, remaining_us, timed?) do
    case entry do
      {:process, name, message} -> ask(name, message, call, remaining_us)
      {function, :inline} -> run(function, call)
      {function, :timed} when not timed? -> run(function, call)
      {:testing, entry} -> carry_out(TestHandlers.find(call) || entry, call, remaining_us, timed?)
      {function, _isolated} -> isolate(function, call, remaining_us)
      nil -> {:error, "no host function #{call.binding}/#{call.namespace}/#{call.operation}"}
    end
  end

  defp run(function, call) do
    case function do
      {module, name} -> module |> apply(name, [call]) |> check(call)
      fun -> call |> fun.() |> check(call)
    end
  catch
    kind, reason -> Failure.ended(call, kind, reason, __STACKTRACE__)
  end

  defp isolate(function, call, remaining_us) do
    case Isolated.run(fn -> run(function, call) end, remaining_us) do
      {:ok, result} -> result
      {:exit, reason} -> Failure.ended(call, :exit, reason, [])
      :timeout -> :timeout
    end
  end

  defp check({tag, bytes} = result, _call) when tag in [:ok, :error] and is_binary(bytes), do: result
  defp check({:ok, _value} = result, %Call{args: args}) when args != nil, do: result
  defp check(other, call), do: Failure.answered(call, other)

  # The monitor's reference is an alias for the reply, dead after the first one: whatever else is sent to it vanishes.
  defp ask(name, message, call, remaining_us) do
    case whereis(name) do
      nil ->
        Failure.missing(call, name)

      process ->
        ref = :erlang.monitor(:process, process, alias: :reply_demonitor)
        send(process, message(message, call, ref))
        await(ref, call, Timer.ms(remaining_us))
    end
  catch
    # A registry of somebody else's looks names up.
    kind, reason -> Failure.ended(call, kind, reason, __STACKTRACE__)
  end

  defp message(:call, call, ref), do: {:host_call, call, ref}

  defp message(:invoke_callback, call, ref) do
    {:invoke_callback, call.binding, call.namespace, call.operation, call.args || call.payload, ref}
  end

  defp await(ref, call, timeout_ms) do
    receive do
      {^ref, result} -> check(result, call)
      {:DOWN, ^ref, :process, _pid, reason} -> Failure.ended(call, :exit, reason, [])
    after
      timeout_ms ->
        Process.demonitor(ref, [:flush])

        # It may have come between the timeout and the end of the alias.
        receive do
          {^ref, result} -> check(result, call)
        after
          0 -> :timeout
        end
    end
  end

  defp whereis(pid) when is_pid(pid), do: pid
  defp whereis(name), do: GenServer.whereis(name)

  defp entry(handler, options) do
    checked = Options.check!(options, @schema, "Tidepool.Host.register/3: the option")

    case classify(handler) do
      {:process, name} -> refuse!(options, :run, "functions") || {:process, name, checked.message}
      function -> refuse!(options, :message, "GenServers") || {function, checked.run}
    end
  end

  defp refuse!(options, option, whose) do
    if Keyword.has_key?(options, option) do
      raise ArgumentError, "Tidepool.Host.register/3: the option #{inspect(option)} is for handlers that are #{whose}"
    end
  end

  defp classify(fun) when is_function(fun, 1), do: fun
  defp classify({:global, _name} = name), do: {:process, name}
  defp classify({module, function}) when is_atom(module) and is_atom(function), do: {module, function}
  defp classify({:via, module, _name} = name) when is_atom(module), do: {:process, name}
  defp classify(name) when is_pid(name) or (is_atom(name) and name not in [nil, true, false]), do: {:process, name}

  defp classify(other) do
    raise ArgumentError,
          "a handler is a function of one argument, {module, function}, or a GenServer's pid or name, " <>
            "not #{Options.show(other)}"
  end

  defp check_target!({binding, namespace, operation} = target) do
    Enum.all?([binding, namespace, operation], &(is_binary(&1) or &1 == :_)) || misshapen!(target)
  end

  defp check_target!(target), do: misshapen!(target)

  @spec misshapen!(term) :: no_return
  defp misshapen!(target) do
    raise ArgumentError, "a target is {binding, namespace, operation}, each a string or :_, not #{Options.show(target)}"
  end
end
