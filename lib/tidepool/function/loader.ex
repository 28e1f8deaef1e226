defmodule Tidepool.Function.Loader do
  @moduledoc """
  From a module's bytes to a function that can be called, by way of the native library.
  """

  require Logger

  # A compiler that dies, of the kernel's lack of memory for instance, has said nothing of the module.
  @again_after_ms [100, 1_000]
  # What a compile may be told of how.
  @ways [:was_deployed, :optimised, :debugged]

  alias Tidepool.{Config, Engine, Error, Function, Native, Telemetry}
  alias Tidepool.Catalog.Entry
  alias Tidepool.Function.{Fields, Signature, Spec}
  alias Tidepool.Recording.Policy

  @typedoc "A compiled module and what it says of itself."
  @type t :: %{
          module: Native.module_ref(),
          abi: Function.abi(),
          imports: [String.t()],
          imports_omitted: non_neg_integer,
          asks: [Tidepool.Host.target()],
          interface: String.t() | nil,
          start: :nothing | :snapshot | :initialiser,
          start_reason: String.t() | nil,
          tier: Function.tier(),
          compile_us: non_neg_integer,
          cached: boolean
        }

  @doc "May a module of so many bytes be loaded on this node?"
  @spec check_size(non_neg_integer) :: :ok | {:error, Error.t()}
  def check_size(size) do
    allowed = Config.get(:max_module)

    if size <= allowed do
      :ok
    else
      message = "the module has #{size} bytes, more than the #{allowed} allowed here (setting :max_module)"
      {:error, Error.new(:too_large, message, nil, %{allowed: allowed, unit: "bytes"})}
    end
  end

  @doc "Does one of this node's keys, if it has any, vouch for a module?"
  @spec check_signature(binary, map) :: :ok | {:error, Error.t()}
  def check_signature(wasm, entry), do: Signature.check(wasm, entry, Config.words(Config.get(:deploy_keys)))

  @doc """
  May a program of this function load a module? On a node with keys its own alone, which was vouched for: of any other nobody
  knows who made it.
  """
  @spec check_brought(binary, Tidepool.Function.t()) :: :ok | {:error, Error.t()}
  def check_brought(wasm, function) do
    if Config.words(Config.get(:deploy_keys)) == [] or
         Base.encode16(:crypto.hash(:sha256, wasm), case: :lower) == function.sha256 do
      :ok
    else
      message = "this node runs signed modules alone (setting :deploy_keys), so a program loads none but its own"
      {:error, Error.new(:unsigned, message, function.name)}
    end
  end

  # Nodes of versions before know these, and tell by themselves which it is.
  @first_abis [:wapc, :wasi, :lunatic]

  @doc """
  The options of a deploy, with the module's ABI and an engine that suits it where they name none. The ABIs that each node knows
  are not named.
  """
  @spec suited(binary, keyword) :: keyword
  def suited(wasm, options) do
    case Native.suited(Engine.runtime(), wasm) do
      {abi, engine} when abi in @first_abis -> Keyword.put_new(options, :engine, engine)
      {abi, engine} -> options |> Keyword.put_new(:engine, engine) |> Keyword.put_new(:abi, abi)
      nil -> options
    end
  end

  @doc """
  Checks and compiles the module of an entry, or takes its code from the cache, and runs its start functions for a snapshot
  if the deploy wants one, on the native library's own threads; waits for it. Errors name what refused it. A large module
  is compiled by the baseline compiler here; publishing it is what queues it for the optimising one.

  A caller that dies meanwhile takes its place in the queue along.
  """
  @spec compile(binary, Entry.t() | Tidepool.Function.t()) :: {:ok, t} | {:error, Error.t()}
  def compile(wasm, entry), do: compile(wasm, entry, [])

  @doc """
  Compiles the module of an entry that was deployed before, on this node or on another, as `compile/2` does; but it may take
  four times what a new one may, and what says nothing of the module, a compiler that was killed for instance, is tried
  again twice. Who vouches for it is checked anew, by the keys that the node has now.
  """
  @spec compile_deployed(binary, Entry.t()) :: {:ok, t} | {:error, Error.t()}
  def compile_deployed(wasm, entry) do
    with :ok <- check_signature(wasm, entry), do: compile_deployed(wasm, entry, @again_after_ms)
  end

  defp compile_deployed(wasm, entry, pauses) do
    case {compile(wasm, entry, [:was_deployed]), pauses} do
      {{:error, %Error{reason: :internal}}, [pause | pauses]} ->
        Process.sleep(pause)
        compile_deployed(wasm, entry, pauses)

      {result, _pauses} ->
        result
    end
  end

  @doc "The same with the code that serves most calls, however long that takes: for replays, whose calls were most likely served by it."
  @spec compile_optimised(binary, Entry.t()) :: {:ok, t} | {:error, Error.t()}
  def compile_optimised(wasm, entry), do: compile(wasm, entry, [:was_deployed, :optimised])

  @doc "The same for a debugger: slower code, for which there is an engine of its own from then on."
  @spec compile_debugged(binary, Entry.t()) :: {:ok, t} | {:error, Error.t()}
  def compile_debugged(wasm, entry), do: compile(wasm, entry, [:was_deployed, :optimised, :debugged])

  defp compile(wasm, entry, how), do: wasm |> compile_counted(entry, how) |> elem(0)

  defp compile_counted(wasm, entry, how) do
    ways = Map.new(@ways, &{&1, &1 in how})
    config = entry |> native_config() |> Map.merge(ways) |> Map.merge(Map.new(how -- @ways))

    Telemetry.span(:compile, %{module_bytes: byte_size(wasm)}, %{}, fn _metadata ->
      id = Native.compile(Engine.runtime(), wasm, config)

      receive do
        {:tidepool_compiled, ^id, {:ok, module, facts}, cpu_us} ->
          {{{:ok, Map.put(facts, :module, module)}, cpu_us}, %{}, Map.take(facts, [:abi, :cached, :tier])}

        {:tidepool_compiled, ^id, {:error, reason, message, details}, cpu_us} ->
          {{{:error, Error.new(reason, message, nil, details)}, cpu_us}, %{}, %{}}
      end
    end)
  end

  @doc """
  Makes a function of a module, with all that another one has: for processes that make others of it. Those are not recorded, as nobody
  else has their module.
  """
  @spec beside(binary, Tidepool.Function.t()) :: {:ok, Native.function_ref()} | {:error, Error.t()}
  def beside(wasm, function), do: wasm |> beside(function, []) |> elem(0)

  @doc """
  The same of a module that a guest process has brought, whose code is not kept on disk; and the CPU time of compiling it, whatever came
  of that. It counts as that of the process's program.
  """
  @spec brought(binary, Tidepool.Function.t(), Native.process_ref()) ::
          {{:ok, Native.function_ref()} | {:error, Error.t()}, cpu_us :: non_neg_integer}
  def brought(wasm, function, process), do: beside(wasm, function, brought: process)

  defp beside(wasm, function, how) do
    with :ok <- check_size(byte_size(wasm)),
         {{:ok, loaded}, cpu_us} <- compile_counted(wasm, function, how) do
      {function(loaded, %{function | record: :off}), cpu_us}
    else
      {:error, error} -> {{:error, error}, 0}
      failed -> failed
    end
  end

  @doc "Makes a function of a compiled module."
  @spec function(t, Entry.t() | Tidepool.Function.t()) :: {:ok, Native.function_ref()} | {:error, Error.t()}
  def function(loaded, entry) do
    case Native.new_function(loaded.module, entry |> native_config() |> Map.put(:kept_bytes, kept_bytes(entry))) do
      {:ok, function} -> {:ok, function}
      {:error, reason, message, details} -> {:error, Error.new(reason, message, entry.name, details)}
    end
  end

  # The library takes what it knows.
  defp native_config(entry),
    do: entry |> Spec.native() |> Map.merge(%{version: entry.version, record: record(entry)})

  # What the catalog keeps of the texts of its options, in memory and on disk, as long as the library has the function.
  defp kept_bytes(entry) do
    for {name, text} <- Fields.write(Spec.kept(), entry),
        reduce: 0,
        do: (bytes -> bytes + byte_size(name) + byte_size(text))
  end

  # Whoever replays a recording makes the same function of the same module.
  defp record(entry) do
    if per_million = Policy.per_million(entry.record) do
      fields = for {name, text} <- Fields.write(Spec.kept(), entry), do: [name, text]
      {per_million, entry.redact, Native.json_encode(%{sha256: entry.sha256, fields: fields})}
    end
  end

  @doc "Tells that a function which the baseline tier served runs its optimised code, or why it does not."
  @spec optimised(String.t(), pos_integer, {:ok, us :: non_neg_integer} | Native.failure()) :: :ok
  def optimised(name, version, outcome) do
    metadata = %{function: name, version: version}

    case outcome do
      {:ok, us} ->
        Telemetry.report(:optimise, us, metadata, :ok)

      {:error, reason, message, details} ->
        Logger.warning(
          "the function #{name} (version #{version}) could not be optimised, and is served as it is: #{message}",
          tidepool_function: name,
          tidepool_version: version
        )

        Telemetry.report(:optimise, 0, metadata, {:error, Error.new(reason, message, name, details)})
    end
  end
end
