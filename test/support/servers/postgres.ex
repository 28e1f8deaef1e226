defmodule Tidepool.Postgres do
  @moduledoc """
  A PostgreSQL of a test's own, on a socket in a temporary folder: `bin/support/postgres` starts it, and ends it when the test is over,
  however that ends.
  """

  use GenServer

  @start_ms 120_000

  @doc """
  Starts one for the test, or the module, that calls this. Returns its process, and the URL of its database. With `clock: true` its
  clock can be set.
  """
  def start!(options \\ []) do
    arguments = if options[:clock], do: ["clock"], else: []
    server = ExUnit.Callbacks.start_supervised!({__MODULE__, arguments})
    {server, "postgres:///postgres?host=#{folder(server)}&user=tidepool"}
  end

  @doc "The folder of its socket."
  def folder(server), do: GenServer.call(server, :folder)

  @doc "Ends it as a crash would, or starts it again; saves all that it has, or returns to that, as one restored from a backup."
  def tell(server, word) when word in [:stop, :start, :save, :return],
    do: GenServer.call(server, {:tell, "#{word}"}, @start_ms)

  @doc "Sets its clock to so many seconds ahead of the right one, or behind it. Within a second that is what it says."
  def set_clock(server, seconds), do: GenServer.call(server, {:tell, "clock #{seconds}"})

  @doc false
  def start_link(arguments), do: GenServer.start_link(__MODULE__, arguments, timeout: @start_ms)

  @impl true
  def init(arguments) do
    script = Path.expand("../../../bin/support/postgres", __DIR__)
    port = Port.open({:spawn_executable, script}, [:binary, :exit_status, args: arguments, line: 4_096])
    "ready " <> folder = line(port)
    {:ok, %{port: port, folder: folder}}
  end

  @impl true
  def handle_call(:folder, _from, state), do: {:reply, state.folder, state}

  def handle_call({:tell, word}, _from, state) do
    Port.command(state.port, "#{word}\n")
    ^word = line(state.port)
    {:reply, :ok, state}
  end

  defp line(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> line
      {^port, {:exit_status, status}} -> raise "PostgreSQL could not be started: #{status}"
    after
      @start_ms -> raise "PostgreSQL has not started"
    end
  end
end
