defmodule Tidepool.Engine do
  @moduledoc """
  Owns the native runtime: engine, I/O threads, admission.

  While this process lives `runtime/0` has it. Functions made from it keep it alive beyond that, so a restart here
  never pulls the engine from under a call.
  """

  use GenServer

  alias Tidepool.{Error, Native}

  @max_table_elements 1_048_576

  @doc false
  def start_link(config), do: GenServer.start_link(__MODULE__, config, name: __MODULE__)

  @doc "The native runtime of this node."
  @spec runtime :: Native.runtime()
  def runtime, do: :persistent_term.get(__MODULE__)

  @doc "Live instances (idle warm ones included), idle ones among them, and calls that wait for one."
  @spec instances :: %{live: non_neg_integer, idle: non_neg_integer, queued: non_neg_integer}
  def instances do
    {live, idle, queued} = Native.instances(runtime())
    %{live: live, idle: idle, queued: queued}
  end

  @impl true
  def init(config) do
    native = %{
      max_instances: config.max_instances,
      max_queue: config.max_queue,
      max_memory_bytes: Tidepool.Limits.schema()[:memory][:type] |> elem(2),
      max_table_elements: @max_table_elements,
      stack_bytes: config.stack,
      console_lines_per_s: config.console_lines,
      io_threads: config.io_threads
    }

    case Native.start_runtime(native) do
      {:ok, runtime} ->
        :persistent_term.put(__MODULE__, runtime)
        {:ok, runtime}

      {:error, message} ->
        {:stop, Error.new(:engine, message)}
    end
  end
end
