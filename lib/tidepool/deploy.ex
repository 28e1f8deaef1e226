defmodule Tidepool.Deploy do
  @moduledoc """
  A deploy, step by step: options → fetch → size → compile → start → verify → store. A module that fails one changes nothing. It is fetched where
  the option `ref` says where it is.

  If that is asked for, a last step, spread, waits until other nodes can serve the version as well. What fails there has
  happened: the version is deployed.

  Errors carry the step in `details.step`: `:options`, `:fetch`, `:size`, `:compile`, `:start`, `:verify`, `:store` or `:spread`.
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
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Function.{Actors, Folders, Grants, Loader, Routes, Spec, Tools}
  alias Tidepool.Tokens.Access
  alias Tidepool.Log.Change
  alias Tidepool.Namespaces.Turns
  alias Tidepool.Recording.Verify

  @type outcome :: {:ok, Function.t(), :created | :unchanged, Cluster.spread() | nil} | {:error, Error.t()}

  @typep how :: :deploy | :rollback

  # What is known of a deploy. `given` are the options as they were said, `options` all of them, checked; `entry`, `loaded` and
  # `native` are what the catalog is given, and `function` and `change` what came of it.
  @enforce_keys [:wasm, :given, :origin, :how, :begun]
  defstruct @enforce_keys ++ [:options, :entry, :loaded, :native, :function, :change]

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

  @spec run(binary | nil, keyword, Origin.t(), how) :: outcome
  defp run(wasm, options, origin, how) do
    begun = System.monotonic_time(:microsecond)
    deploy = %__MODULE__{wasm: wasm, given: options, origin: origin, how: how, begun: begun}

    with {:ok, deploy} <- deploy |> fetched() |> counted(deploy),
         {:ok, deploy} <- deploy |> observed() |> counted(deploy),
         {:ok, spread} <- step(:spread, deploy, spread(deploy.function, deploy.options)) do
      {:ok, deploy.function, deploy.change, spread}
    end
  end

  # The process that has made a change has told of it.
  defp counted({:ok, %{change: :unchanged} = deploy}, _before) do
    count("unchanged", since(deploy.begun))
    {:ok, deploy}
  end

  defp counted({:ok, deploy}, _before), do: {:ok, deploy}
  defp counted({:error, error}, before), do: refuse(error, before.origin, since(before.begun))

  defp since(begun), do: System.monotonic_time(:microsecond) - begun

  @doc "Refuses a deploy, `took` µs after it began: its error, which is counted and logged."
  @spec refuse(Error.t(), Origin.t(), took :: non_neg_integer) :: {:error, Error.t()}
  def refuse(error, origin, took \\ 0) do
    count(Error.reason(error), took)
    Log.refused(error, origin)
    {:error, error}
  end

  defp count(reason, took), do: Native.count_deploy(Engine.runtime(), reason, took)

  defp observed(deploy) do
    Telemetry.span(:deploy, %{module_bytes: byte_size(deploy.wasm)}, %{function: deploy.given[:name]}, fn _metadata ->
      case deployed(deploy) do
        {:ok, deploy} -> {{:ok, deploy}, %{}, %{version: deploy.function.version, change: deploy.change}}
        {:error, error} -> {{:error, error}, %{}, Map.take(error.details, [:step])}
      end
    end)
  end

  # What was deployed before is here, wherever it came from.
  defp fetched(%{how: :rollback} = deploy), do: {:ok, deploy}
  defp fetched(deploy), do: through(deploy, options: &located/1, fetch: &fetch/1)

  defp deployed(deploy) do
    steps = [
      # Before all that looks at the module.
      size: &Loader.check_size(byte_size(&1.wasm)),
      options: &checked/1,
      options: &permitted/1,
      options: &stripped/1,
      options: &Loader.check_signature(&1.wasm, &1.options),
      options: &planned/1,
      compile: &compiled/1,
      start: &trial/1,
      verify: &Verify.run(&1.options.verify, &1.loaded, &1.entry),
      store: &stored/1
    ]

    # It is served all the same, by an instance for each request.
    with {:error, %Error{reason: :not_reusable} = error} <- through(deploy, steps) do
      Log.kept_fresh(error)

      with {:ok, deploy} <- deployed(%{deploy | given: Keyword.put(deploy.given, :instances, :fresh)}),
           do: {:ok, put_in(deploy.function.instances_reason, error.message)}
    end
  end

  # Each step is given what is known, and says more or nothing, or that nothing is left to do.
  defp through(deploy, steps) do
    Enum.reduce_while(steps, {:ok, deploy}, fn {step, fun}, {:ok, deploy} ->
      case step(step, deploy, fun.(deploy)) do
        :ok -> {:cont, {:ok, deploy}}
        {:ok, deploy} -> {:cont, {:ok, deploy}}
        {:done, deploy} -> {:halt, {:ok, deploy}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp step(step, deploy, {:error, error}) do
    name = with name when not is_binary(name) <- deploy.given[:name], do: nil
    error = Routes.told(error, &Access.sees?(deploy.origin, &1))
    {:error, %{error | function: error.function || name, details: Map.put(error.details, :step, step)}}
  end

  defp step(_step, _deploy, more), do: more

  # The module is given, or where it is.
  defp located(%{wasm: nil, given: given}) do
    with {:ok, options} <- check(given) do
      message = "give the module, or with `ref` where it is"
      if options.ref, do: :ok, else: {:error, Error.new(:invalid_option, message)}
    end
  end

  defp located(%{given: given}) do
    message = "give the module, or with `ref` where it is, and not both"
    if given[:ref], do: {:error, Error.new(:invalid_option, message)}, else: :ok
  end

  defp fetch(%{wasm: nil, given: given, origin: origin} = deploy) do
    with {:ok, wasm, ref} <- Oci.fetch(given[:ref], given[:name], origin),
         do: {:ok, %{deploy | wasm: wasm, given: Keyword.put(given, :ref, ref)}}
  end

  defp fetch(_deploy), do: :ok

  defp check(given), do: Spec.check(given, schema(given[:name]), "the option")

  defp checked(%{wasm: wasm, given: given} = deploy) do
    with {:ok, options} <- deploy |> in_turn(fn -> Loader.suited(wasm, given) end) |> check(),
         do: {:ok, %{deploy | options: options}}
  end

  # A look at all of a module is one of the VM's own threads for as long as that takes: a namespace has some of them, and leaves others one for
  # its deploys and images. These waits are as many as deploys at a time.
  defp in_turn(%{given: given}, look) do
    name = with name when not is_binary(name) <- given[:name], do: ""
    {:ok, found} = Turns.run(:images, name, :infinity, look, :always)
    found
  end

  defp permitted(%{options: options, origin: origin}) do
    with :ok <- Namespaces.within(options.name, options.limits),
         :ok <- Grants.check(options.net, Config.words(Config.get(:net))),
         :ok <- Folders.check(options.files, Map.keys(Config.get(:files))),
         :ok <- actors(options.actor),
         :ok <- routes(options),
         do: Access.permit_grants(origin, options)
  end

  # A class whose actors no call would reach is not deployed in the first place.
  defp actors(actor) do
    message = if Actors.class?(actor), do: Shards.unavailable()
    if message, do: {:error, Error.new(:invalid_config, message)}, else: :ok
  end

  # Who asks for a route speaks HTTP.
  defp routes(%{routes: []}), do: :ok
  defp routes(%{abi: :http}), do: :ok

  defp routes(_options) do
    message = "routes are of components that handle HTTP (the ABI `http`), and this module is none"
    {:error, Error.new(:invalid_config, message)}
  end

  # What is run is what was signed.
  defp stripped(%{options: %{strip: false}}), do: :ok

  defp stripped(%{wasm: wasm, options: %{signature: signature}} = deploy) do
    case in_turn(deploy, fn -> Native.strip_module(wasm) end) do
      ^wasm ->
        :ok

      stripped when signature == nil ->
        {:ok, %{deploy | wasm: stripped}}

      _other ->
        message =
          "the signature is of a module with debug data: sign the module without them, or leave out the option :strip"

        {:error, Error.new(:invalid_option, message)}
    end
  end

  defp planned(deploy) do
    entry = entry(deploy)

    case Catalog.prepare(entry) do
      {:version, version} -> {:ok, %{deploy | entry: %{entry | version: version}}}
      {:unchanged, function} -> {:done, %{deploy | function: function, change: :unchanged}}
      {:error, error} -> {:error, error}
    end
  end

  defp entry(%{wasm: wasm, options: options, origin: origin}) do
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

  defp compiled(%{wasm: wasm, entry: entry} = deploy) do
    compiled = if deploy.how == :deploy, do: Loader.compile(wasm, entry), else: Loader.compile_deployed(wasm, entry)

    with {:ok, loaded} <- compiled,
         :ok <- Tools.check(entry.tools, loaded),
         :ok <- folders(deploy.how, entry.files, loaded.abi),
         {:ok, native} <- Loader.function(loaded, entry),
         do: {:ok, %{deploy | loaded: loaded, native: native}}
  end

  # What comes back may be of a release that took them.
  defp folders(:rollback, _folders, _abi), do: :ok
  defp folders(:deploy, folders, abi), do: Folders.fit(folders, abi)

  defp trial(%{how: :deploy} = deploy), do: Execution.trial(deploy.native, deploy.entry.name)
  defp trial(deploy), do: Execution.trial_again(deploy.native, deploy.entry.name)

  # Whoever has asked for it may hang up meanwhile, or lose the token: what is not permitted at its end is not done, and what is
  # done is told of.
  defp stored(%{entry: entry, origin: origin} = deploy) do
    permit = fn -> Access.permit(origin, entry.name) end

    stored =
      Change.make(fn ->
        with {:ok, function, :created} = created <-
               Catalog.commit(entry, deploy.loaded, deploy.native, deploy.wasm, permit) do
          took = since(deploy.begun)
          count("ok", took)
          Log.deployed(function, div(took, 1_000), origin, deploy.how)
          created
        end
      end)

    with {:ok, function, change} <- stored, do: {:ok, %{deploy | function: function, change: change}}
  end

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
end
