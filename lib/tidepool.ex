defmodule Tidepool do
  # A node has defaults of its own; these are Tidepool's.
  @deploy_schema Tidepool.Function.Spec.schema()

  @call_schema [
    timeout: [
      type: {:check, &__MODULE__.timeout?/1, "a number of ms from 0 up, or :infinity"},
      default: :infinity,
      doc:
        "time for the call; the function's time limit holds as well. Host handlers that are functions run in processes " <>
          "of their own then, unless they were registered as `run: :inline`: see `Tidepool.Host.register/3`."
    ],
    context: [
      type: :any,
      default: nil,
      doc:
        "whatever handlers are to know of the caller: they find it in their `Tidepool.Host.Call`. Calls that a handler " <>
          "makes inherit it."
    ]
  ]

  @rollback_schema [
                     version: [
                       type: {:check, &__MODULE__.version?/1, "the number of a version"},
                       default: nil,
                       doc: "the version to go back to; without it, the one before the newest."
                     ]
                   ] ++ Tidepool.Function.Spec.of_request()

  @moduledoc """
  WebAssembly functions as ordinary calls of the Erlang VM.

      {:ok, function} = Tidepool.deploy(File.read!("hello_world.wasm"), name: "hello_world")
      {:ok, "Hello, Ada!"} = Tidepool.call("hello_world", "hello", "Ada")

  A call runs in the process that makes it, a millisecond at a time, and ends with it. Every call gets an answer: a
  reply, or a `Tidepool.Error` whose `:reason` says what happened.

  An argument of the wrong type, or an option of a call that there is not, is a mistake in the code that calls, and raises
  an `ArgumentError` which says what to pass instead. What a deploy's options are may be somebody else's choice: a wrong one
  is an error with the reason `:invalid_option`.
  """

  alias Tidepool.{Catalog, Deploy, Engine, Error, Execution, Function, Options, Rollback}

  # No function's time limit is longer.
  @longest_ms Tidepool.Limits.schema()[:time][:type] |> elem(2)

  @type deploy_option :: unquote(Options.pair(@deploy_schema))

  @typedoc "Options of `deploy/2`, which describes them; `:name` is needed."
  @type deploy_options :: [deploy_option]

  @type call_option :: {:timeout, timeout} | {:context, term}

  @typedoc "Options of `call/4`, which describes them."
  @type call_options :: [call_option]

  @doc """
  Deploys a module: it is checked, compiled, started once on trial and stored; then it is the newest version of its name.

  Calls in flight finish on the version before. The same bytes with the same options again change nothing. For `nil` with the option
  `:ref` the node fetches the module from a registry.

  ## Options

  #{Options.docs(@deploy_schema)}

  ## Limits

  What a deploy leaves out is as the node has it: the settings `instances` and `limits`, whose own defaults are those here.

  #{Options.docs(Tidepool.Limits.schema())}
  """
  @spec deploy(binary | nil, deploy_options) :: {:ok, Function.t()} | {:error, Error.t()}
  def deploy(wasm, options) do
    is_binary(wasm) || wasm == nil ||
      wrong!("deploy/2", "the module", "a binary, as File.read!/1 returns, or nil with the option :ref", wasm)

    Keyword.keyword?(options) || Options.check!(options, [], "Tidepool.deploy/2: the option")
    with {:ok, function, _change, _spread} <- Deploy.run(wasm, options), do: {:ok, function}
  end

  @doc "Like `deploy/2`, but returns the function itself and raises the `Tidepool.Error`."
  @spec deploy!(binary | nil, deploy_options) :: Function.t()
  def deploy!(wasm, options), do: wasm |> deploy(options) |> unwrap!(options[:name])

  @typedoc "What a guest is asked to do; of typed exports the name of one."
  @type operation :: String.t() | nil | atom | {interface :: String.t(), export :: String.t() | atom}

  @doc """
  Calls a function and returns the guest's reply. An `operation` of `nil` is the one named at the deploy.

  The payload is bytes: a binary, or a list of them (`t:iodata/0`).

  A function of typed exports is called by the name of one, an atom, or `{interface, name}` of a component's, with the list of its
  arguments, or of a component with a map by their names; what that returns is a value, and `nil` where it returns nothing. With a
  string for the name both are JSON.

      {:ok, 42} = Tidepool.call("calc", :add, [19, 23])
      {:ok, "42"} = Tidepool.call("calc", "add", "[19,23]")

  ## Options

  #{Options.docs(@call_schema)}
  """
  @spec call(String.t(), operation, iodata | [term] | map, call_options) :: {:ok, binary | term} | {:error, Error.t()}
  def call(name, operation, payload \\ "", options \\ [])

  # The usual call has no options, and costs nothing for those that there are.
  def call(name, operation, payload, [])
      when is_binary(name) and (is_binary(operation) or is_nil(operation)) and is_binary(payload) do
    Execution.call(name, operation, payload)
  end

  def call(name, operation, payload, options)
      when is_binary(name) and (is_binary(operation) or is_nil(operation)) and is_binary(payload) do
    Execution.call(name, operation, payload, timeout(options), context(options))
  end

  def call(name, {interface, export}, arguments, options)
      when is_binary(interface) and (is_binary(export) or is_atom(export)) do
    call_export(name, Execution.operation(interface, export), arguments, options)
  end

  def call(name, export, arguments, options) when is_atom(export) and export != nil,
    do: call_export(name, Atom.to_string(export), arguments, options)

  def call(name, operation, payload, options) when is_list(payload) do
    call(name, operation, bytes(payload), options)
  end

  def call(name, operation, payload, _options) do
    is_binary(name) || wrong!("call/4", "the function's name", "a string", name)

    is_binary(operation) || is_nil(operation) ||
      wrong!("call/4", "the operation", "a string, nil, an atom or {interface, name}", operation)

    wrong!("call/4", "the payload", "a binary or iodata", payload)
  end

  @doc false
  # Has a handler of HTTP serve a request of a guest's.
  @spec exchange(String.t(), String.t(), Tidepool.Native.exchange()) :: {:ok, :responded} | {:error, Error.t()}
  def exchange(name, operation, exchange), do: Execution.call(name, operation, exchange)

  defp call_export(name, export, arguments, options) do
    is_binary(name) || wrong!("call/4", "the function's name", "a string", name)
    arguments = if arguments == "", do: [], else: arguments

    is_list(arguments) || is_map(arguments) ||
      wrong!("call/4", "what an export is called with", "a list or a map of arguments", arguments)

    if options == [],
      do: Execution.call(name, export, arguments),
      else: Execution.call(name, export, arguments, timeout(options), context(options))
  end

  @doc """
  Like `call/4`, but returns the reply itself and raises the `Tidepool.Error`, whose message begins with the function and
  the operation.
  """
  @spec call!(String.t(), operation, iodata | [term] | map, call_options) :: binary | term
  def call!(name, operation, payload \\ "", options \\ []) do
    name |> call(operation, payload, options) |> unwrap!(if(operation, do: "#{name}/#{operation}", else: name))
  end

  @doc "All deployed functions, by name."
  @spec list :: [Function.t()]
  def list do
    started!()
    Catalog.list()
  end

  @doc "The newest version of a function."
  @spec fetch(String.t()) :: {:ok, Function.t()} | {:error, Error.t()}
  def fetch(name) do
    is_binary(name) || wrong!("fetch/1", "the function's name", "a string", name)
    started!()
    Catalog.fetch(name)
  end

  @doc "Like `fetch/1`, but returns the function itself and raises the `Tidepool.Error`."
  @spec fetch!(String.t()) :: Function.t()
  def fetch!(name), do: name |> fetch() |> unwrap!(name)

  @doc """
  The bytes of the module that the newest version of a function was deployed from: what to deploy again to go back to it.

  `:unavailable` is the reason when this node's copy is missing or damaged.
  """
  @spec wasm(String.t()) :: {:ok, binary} | {:error, Error.t()}
  def wasm(name) do
    is_binary(name) || wrong!("wasm/1", "the function's name", "a string", name)
    started!()
    with {:ok, _function, wasm} <- Catalog.wasm(name), do: {:ok, wasm}
  end

  @doc """
  The versions of a function that are kept, the newest first: ten at most. Each is a map with what the version was deployed with,
  beside `:version`, `:sha256`, `:size`, `:deployed_at` and `:admitted`, and

  - `:newest`, whether it is the one that is called;
  - `:here`, whether this node has its module; if not, a rollback gets it from another node.

  A function that is removed has none.
  """
  @spec versions(String.t()) :: {:ok, [Rollback.version(), ...]} | {:error, Error.t()}
  def versions(name) do
    is_binary(name) || wrong!("versions/1", "the function's name", "a string", name)
    started!()
    Rollback.versions(name)
  end

  @doc """
  Goes back to a version of a function that was replaced: its module and its options become the next version, on all nodes. Until
  that has come no call fails, and calls in flight finish. A version that is the newest already changes nothing.

  A version that is not kept is an error with the reason `:unknown_version`, whose details say which are; one whose module no node
  has that can be reached, `:unavailable`.

  ## Options

  #{Options.docs(@rollback_schema)}
  """
  @spec rollback(String.t(), keyword) :: {:ok, Function.t()} | {:error, Error.t()}
  def rollback(name, options \\ []) do
    is_binary(name) || wrong!("rollback/2", "the function's name", "a string", name)
    %{version: version} = Options.check!(options, @rollback_schema, "Tidepool.rollback/2: the option")
    started!()
    waits = Keyword.delete(options, :version)
    with {:ok, function, _change, _spread} <- Rollback.run(name, version, waits), do: {:ok, function}
  end

  @doc false
  def version?(version), do: is_integer(version) and version > 0

  @doc "Removes a function. Calls in flight finish; the next ones get `:not_deployed`."
  @spec remove(String.t()) :: :ok | {:error, Error.t()}
  def remove(name) do
    is_binary(name) || wrong!("remove/1", "the function's name", "a string", name)
    started!()
    Catalog.remove(name)
  end

  # The usual ones cost a call next to nothing.
  defp timeout(timeout: :infinity), do: :infinity
  defp timeout(timeout: timeout) when is_integer(timeout) and timeout in 0..@longest_ms, do: timeout

  defp timeout(context: _context), do: :infinity

  defp timeout(options) do
    %{timeout: timeout} = Options.check!(options, @call_schema, "Tidepool.call/4: the option")
    if timeout <= @longest_ms, do: timeout, else: :infinity
  end

  defp context(timeout: _timeout), do: :inherited

  defp context(options) do
    case Keyword.fetch(options, :context) do
      {:ok, context} -> {:given, context}
      :error -> :inherited
    end
  end

  @doc false
  def timeout?(value), do: value == :infinity or (is_integer(value) and value >= 0)

  defp bytes(list) do
    IO.iodata_to_binary(list)
  rescue
    ArgumentError -> wrong!("call/4", "the payload", "a binary or iodata", list)
  end

  # Where calls find it out by themselves, the catalog has no sentence for it.
  defp started!, do: Engine.runtime()

  defp unwrap!({:ok, value}, _what), do: value
  defp unwrap!({:error, error}, what), do: raise(%{error | message: "#{what}: #{error.message}"})

  @spec wrong!(String.t(), String.t(), String.t(), term) :: no_return
  defp wrong!(function, what, expectation, value) do
    Options.wrong!("Tidepool.#{function}: #{what}", expectation, value)
  end
end
