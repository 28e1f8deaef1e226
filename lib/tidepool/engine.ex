defmodule Tidepool.Engine do
  @moduledoc """
  Owns the native runtime: the two engines, I/O threads, admission.

  While this process lives `runtime/0` has it. Functions made from it keep it alive beyond that, so a restart here
  never pulls the engine from under a call.
  """

  use GenServer

  require Logger

  alias Tidepool.{Error, Native}

  @max_table_elements 1_048_576
  @least_compile_memory 268_435_456
  @most_compile_memory 1_073_741_824

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  # How long a start waits for the addresses of a runtime that was before.
  @patience_ms 5_000

  @doc "The native runtime of this node."
  @spec runtime :: Native.runtime()
  def runtime do
    with nil <- :persistent_term.get(__MODULE__, nil) do
      raise ArgumentError, "Tidepool has not been started: Application.ensure_all_started(:tidepool) does so"
    end
  end

  @doc "Live instances (idle warm ones included), idle ones among them, and calls that wait for one."
  @spec instances :: %{live: non_neg_integer, idle: non_neg_integer, queued: non_neg_integer}
  def instances do
    {live, idle, queued} = Native.instances(runtime())
    %{live: live, idle: idle, queued: queued}
  end

  @doc "Modules that wait to be compiled."
  @spec compiles :: %{queued: non_neg_integer}
  def compiles, do: %{queued: Native.compiles_queued(runtime())}

  @typedoc "Which engine a function runs on; see `Tidepool.deploy/2`."
  @type kind :: :fast | :dense

  @doc "The same for each engine, and its cap on live instances."
  @spec engines :: %{
          kind => %{
            live: non_neg_integer,
            idle: non_neg_integer,
            queued: non_neg_integer,
            max: pos_integer
          }
        }
  def engines do
    for {kind, {live, idle, queued, max}} <- Native.engines(runtime()), into: %{} do
      {kind, %{live: live, idle: idle, queued: queued, max: max}}
    end
  end

  @doc """
  What all functions of this node hold of what they share, and how much there may be: bytes of `memory` and of `code`, numbers of
  `sockets`, of `lookups` of names, and of each engine stacks of caught calls (`fast_stacks`, `dense_stacks`) and trials that have
  what is set aside for them (`fast_trials`, `dense_trials`).
  """
  @spec shared :: %{String.t() => %{held: non_neg_integer, max: non_neg_integer}}
  def shared do
    for {resource, held, most} <- Native.shared(runtime()), into: %{}, do: {resource, %{held: held, max: most}}
  end

  @doc """
  What this node may use: memory in bytes, and cores. The machine's, or what the tightest of the control groups around the
  node gives; and no more cores than the VM has schedulers online.
  """
  @spec machine :: {memory_bytes :: pos_integer, cores :: pos_integer}
  def machine do
    {memory, cores} = Native.machine()
    {memory, min(cores, System.schedulers_online())}
  end

  @doc false
  # What the native runtime is set up with: what no setting says is a part of what the machine has for the node.
  @spec native(Tidepool.Config.t(), {memory_bytes :: pos_integer, cores :: pos_integer}) :: map
  def native(config, {memory, cores}) do
    %{
      max_instances: config.max_instances,
      max_dense_instances: config.max_dense_instances,
      max_dense_memory_bytes: config.max_dense_memory,
      max_queue: config.max_queue,
      max_memory_bytes: Tidepool.Limits.schema()[:memory][:type] |> elem(2),
      max_table_elements: @max_table_elements,
      stack_bytes: config.stack,
      console_lines_per_s: config.console_lines,
      perf_map: config.perf_map,
      io_threads: config.io_threads || cores,
      compile_threads: config.compile_threads || max(div(cores, 2), 1),
      compiler: Path.join(Native.folder(), "tidepool_compiler"),
      compile_time_ms: config.compile_time,
      compile_memory_bytes: config.compile_memory || compile_memory(memory),
      baseline_bytes: config.baseline,
      max_total_memory_bytes: config.max_memory || div(memory * 3, 4),
      max_code_bytes: config.max_code || div(memory, 4),
      max_computing: cores,
      namespaces: Tidepool.Namespaces.native(config.namespaces),
      net: Tidepool.Config.words(config.net),
      max_sockets: config.max_sockets,
      max_program_sockets: config.max_program_sockets,
      io: config.io,
      max_program_files: config.max_program_files,
      max_program_file_bytes: config.max_program_file_bytes
    }
  end

  @impl true
  def init(config) do
    case start(native(config, machine()), System.monotonic_time(:millisecond) + @patience_ms) do
      {:ok, runtime} ->
        :persistent_term.put(__MODULE__, runtime)
        tell_io(Native.io(runtime))
        {:ok, runtime}

      {:error, message} ->
        {:stop, Error.new(:engine, message)}
    end
  end

  # A runtime has a quarter of a process's addresses, until the last process has forgotten it: who starts the application again and
  # again may be faster.
  defp start(native, until) do
    with {:error, message} <- Native.start_runtime(native) do
      if message =~ "Cannot allocate memory" and System.monotonic_time(:millisecond) < until do
        :persistent_term.erase(__MODULE__)
        Enum.each(Process.list(), &:erlang.garbage_collect/1)
        Process.sleep(50)
        start(native, until)
      else
        {:error, message}
      end
    end
  end

  defp tell_io(:tokio), do: :ok
  defp tell_io(:uring), do: Logger.info("sockets of guests are served by io_uring")

  defp tell_io({:tokio, why}),
    do: Logger.warning("the kernel gives no ring of io_uring (#{why}): sockets of guests are served by tokio")

  # There may be some compilers at once.
  defp compile_memory(memory), do: memory |> div(8) |> max(@least_compile_memory) |> min(@most_compile_memory)
end
