defmodule Tidepool.Engine.Console do
  @moduledoc """
  Passes what guests print on to Logger: `__console_log` and stdout at level info, stderr at warning.

  Each event has the metadata `:tidepool_function`, `:tidepool_version` and `:tidepool_stream` (`:console`, `:stdout` or
  `:stderr`), and `:tidepool_dropped` when lines of the function were dropped before it. How many lines a function may print in a second is the
  setting `:console_lines`; what was dropped is also counted in the metrics.
  """

  use GenServer

  require Logger

  alias Tidepool.{Engine, Native}

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    Native.subscribe_console(Engine.runtime(), self())
    {:ok, nil}
  end

  @impl true
  def handle_info({:tidepool_console, function, version, stream, text, dropped}, state) do
    metadata = [tidepool_function: function, tidepool_version: version, tidepool_stream: stream]
    metadata = if dropped > 0, do: [{:tidepool_dropped, dropped} | metadata], else: metadata
    note = if dropped > 0, do: " (#{dropped} lines before this one were dropped)", else: ""
    level = if stream == :stderr, do: :warning, else: :info
    Logger.log(level, fn -> "#{function}: #{text}#{note}" end, metadata)
    # Lines that come faster than they are logged wait where they are bounded, and not here.
    Native.console_taken(Engine.runtime())
    {:noreply, state}
  end

  def handle_info(_message, state), do: {:noreply, state}
end
