defmodule Tidepool.Deploy do
  @moduledoc """
  A deploy, step by step: options → fetch → size → compile → start → store. A module that fails one changes nothing. It is fetched where
  the option `ref` says where it is.

  If that is asked for, a last step, spread, waits until other nodes can serve the version as well. What fails there has
  happened: the version is deployed.

  Errors carry the step in `details.step`: `:options`, `:fetch`, `:size`, `:compile`, `:start`, `:store` or `:spread`.
  """

  alias Tidepool.{
    Catalog,
    Cluster,
    Config,
    Engine,
    Error,
    Execution,
    Function,
    Log,
    Namespaces,
    Native,
    Oci,
    Options,
    Telemetry
  }

  alias Tidepool.Catalog.{BlobStore, Entry, Origin}
  alias Tidepool.Actor.Owner.Shards
  alias Tidepool.Function.{Actors, Folders, Grants, Loader, Spec}
  alias Tidepool.Tokens.Access
  alias Tidepool.Log.Change

  @type outcome :: {:ok, Function.t(), :created | :unchanged, Cluster.spread() | nil} | {:error, Error.t()}

  @doc "The schema of a deploy's options, with this node's defaults, or those for the namespace of a name."
  @spec schema(name :: term) :: Options.schema()
  def schema(name \\ nil) do
    {limits, host} = Namespaces.defaults(name, Config.get(:limits), Config.get(:host))
    Spec.schema(Config.get(:instances), limits, host)
  end

  @doc """
  Deploys `wasm`, or for `nil` what the option `ref` says where it is. `:unchanged` says that the newest version is the same module with the same options. The last element says
  which nodes can serve it and which can't yet; `nil` when none was waited for. The log tells of what was changed, or
  refused, and by whom.
  """
  @spec run(binary | nil, keyword, Origin.t()) :: outcome
  def run(wasm, options, origin \\ :elixir), do: run(wasm, options, origin, :deploy)

  @doc "The same of a module that was deployed before, which may take longer to compile."
  @spec again(binary, keyword, Origin.t()) :: outcome
  def again(wasm, options, origin), do: run(wasm, options, origin, :rollback)

  defp run(module, options, origin, how) do
    begun = System.monotonic_time(:microsecond)

    with {:ok, wasm, options} <- fetched(module, options, {origin, how, begun}),
         {:ok, function, change} <- logged(wasm, options, origin, {how, begun}),
         # They have been checked by now.
         waits = Map.merge(Map.new(Spec.of_request(), fn {key, spec} -> {key, spec[:default]} end), Map.new(options)),
         {:ok, spread} <- step(:spread, function.name, spread(function, waits)) do
      {:ok, function, change, spread}
    end
  end

  # What was deployed before is here, wherever it came from.
  defp fetched(wasm, options, {_origin, :rollback, _begun}), do: {:ok, wasm, options}

  defp fetched(wasm, options, {origin, :deploy, begun}) do
    with {:error, error} <- module(wasm, options, origin), do: refuse(error, origin, since(begun))
  end

  defp module(nil, options, origin) do
    with {:ok, %{name: name, ref: ref}} <-
           step(:options, options[:name], Spec.check(options, schema(options[:name]), "the option")),
         {:ok, ref} <- step(:options, name, given(ref)),
         {:ok, wasm, ref} <- step(:fetch, name, Oci.fetch(ref, origin)) do
      {:ok, wasm, Keyword.put(options, :ref, ref)}
    end
  end

  defp module(wasm, options, _origin) do
    if options[:ref] do
      message = "give the module, or with `ref` where it is, and not both"
      step(:options, options[:name], {:error, Error.new(:invalid_option, message)})
    else
      {:ok, wasm, options}
    end
  end

  defp given(nil), do: {:error, Error.new(:invalid_option, "give the module, or with `ref` where it is")}
  defp given(ref), do: {:ok, ref}

  defp logged(wasm, options, origin, {_how, begun} = asked) do
    case observed(wasm, options, origin, asked) do
      # The process that has made the change has told of it.
      {:ok, _function, :created} = result ->
        result

      {:ok, _function, :unchanged} = result ->
        count("unchanged", since(begun))
        result

      {:error, error} ->
        refuse(error, origin, since(begun))
    end
  end

  defp since(begun), do: System.monotonic_time(:microsecond) - begun

  @doc "Refuses a deploy, `took` µs after it began: its error, which is counted and logged."
  @spec refuse(Error.t(), Origin.t(), took :: non_neg_integer) :: {:error, Error.t()}
  def refuse(error, origin, took \\ 0) do
    count(Error.reason(error), took)
    Log.refused(error, origin)
    {:error, error}
  end

  defp count(reason, took), do: Native.count_deploy(Engine.runtime(), reason, took)

  defp observed(wasm, options, origin, how) do
    Telemetry.span(:deploy, %{module_bytes: byte_size(wasm)}, %{function: options[:name]}, fn _metadata ->
      case deploy(wasm, options, origin, how) do
        {:ok, function, change} = deployed -> {deployed, %{}, %{version: function.version, change: change}}
        {:error, error} = refused -> {refused, %{}, Map.take(error.details, [:step])}
      end
    end)
  end

  # A class whose actors no call would reach is not deployed in the first place.
  defp actors(actor) do
    message = if Actors.class?(actor), do: Shards.unavailable(actor.consistency)
    if message, do: {:error, Error.new(:invalid_config, message)}, else: :ok
  end

  defp deploy(wasm, options, origin, {how, _begun} = asked) do
    options = Loader.suited(wasm, options)

    with {:ok, options} <- step(:options, options[:name], Spec.check(options, schema(options[:name]), "the option")),
         :ok <- step(:options, options.name, Namespaces.within(options.name, options.limits)),
         :ok <- step(:options, options.name, Grants.check(options.net, Config.words(Config.get(:net)))),
         :ok <- step(:options, options.name, Folders.check(options.files, Map.keys(Config.get(:files)))),
         :ok <- step(:options, options.name, actors(options.actor)),
         :ok <- step(:options, options.name, Access.permit_grants(origin, options)),
         :ok <- step(:size, options.name, Loader.check_size(byte_size(wasm))),
         {:ok, wasm} <- step(:options, options.name, stripped(wasm, options)),
         :ok <- step(:options, options.name, Loader.check_signature(wasm, options)),
         entry = entry(wasm, options, origin),
         {:version, version} <- step(:options, options.name, Catalog.prepare(entry)),
         entry = %{entry | version: version},
         {:ok, loaded} <- step(:compile, entry.name, compile(wasm, entry, how)),
         {:ok, function} <- step(:compile, entry.name, Loader.function(loaded, entry)),
         :ok <- step(:start, entry.name, trial(function, entry, how)) do
      step(:store, entry.name, commit(entry, loaded, function, wasm, {origin, asked}))
    else
      {:unchanged, function} -> {:ok, function, :unchanged}
      {:error, error} -> {:error, error}
    end
  end

  # Whoever has asked for it may hang up meanwhile, or lose the token: what is not permitted at its end is not done, and what is
  # done is told of.
  defp commit(entry, loaded, function, wasm, {origin, {how, begun}}) do
    Change.make(fn ->
      permit = fn -> Access.permit(origin, entry.name) end

      with {:ok, function, :created} = committed <- Catalog.commit(entry, loaded, function, wasm, permit) do
        took = since(begun)
        count("ok", took)
        Log.deployed(function, div(took, 1_000), origin, how)
        committed
      end
    end)
  end

  # What is run is what was signed.
  defp stripped(wasm, %{strip: true, signature: nil}), do: {:ok, Native.strip_module(wasm)}

  defp stripped(wasm, %{strip: true}) do
    if Native.strip_module(wasm) == wasm do
      {:ok, wasm}
    else
      message =
        "the signature is of a module with debug data: sign the module without them, or leave out the option :strip"

      {:error, Error.new(:invalid_option, message)}
    end
  end

  defp stripped(wasm, _options), do: {:ok, wasm}

  defp compile(wasm, entry, :deploy), do: Loader.compile(wasm, entry)
  defp compile(wasm, entry, :rollback), do: Loader.compile_deployed(wasm, entry)

  defp trial(function, entry, :deploy), do: Execution.trial(function, entry.name)
  defp trial(function, entry, :rollback), do: Execution.trial_again(function, entry.name)

  defp spread(_function, %{wait: :local}), do: {:ok, nil}

  defp spread(function, %{wait: extent, wait_timeout: timeout}) do
    case Cluster.wait(function, extent, timeout) do
      {:ok, spread} ->
        {:ok, spread}

      {:timeout, spread} ->
        not_spread("after #{timeout} ms not all of the nodes waited for can serve it", function, spread)

      {:superseded, spread} ->
        not_spread("it was superseded or removed meanwhile", function, spread)
    end
  end

  defp not_spread(why, function, spread) do
    message = "version #{function.version} is deployed, but #{why}"
    {:error, Error.new(:not_spread, message, function.name, Map.put(spread, :version, function.version))}
  end

  defp entry(wasm, options, origin) do
    known = %{
      version: 1,
      sha256: BlobStore.sha256(wasm),
      size: byte_size(wasm),
      operation: options.operation || Spec.local(options.name),
      deployed_at: System.os_time(:second),
      admitted: Origin.admitted(origin)
    }

    struct!(Entry, options |> Spec.take() |> Map.merge(known))
  end

  defp step(step, name, {:error, error}) do
    name = if is_binary(name), do: name
    {:error, %{error | function: error.function || name, details: Map.put(error.details, :step, step)}}
  end

  defp step(_step, _name, ok), do: ok
end
