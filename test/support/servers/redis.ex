defmodule Tidepool.Redis do
  @moduledoc """
  A Redis of a test's own, on a port that the system chose: it is ended with its owner, however that ends, and keeps nothing.
  """

  use GenServer

  @start_ms 60_000

  @doc """
  Starts one for the test, or the module, that calls this: its process, and its URL. `:password` is what it asks for; `:tls` has it speak
  TLS alone, by the files `:certificate`, `:key` and `:authority`.
  """
  def start!(options \\ []) do
    server = ExUnit.Callbacks.start_supervised!({__MODULE__, options})
    {server, GenServer.call(server, :url)}
  end

  @doc "Sends it a signal: `STOP` has it say nothing, `CONT` go on, `KILL` ends it."
  def signal(server, signal), do: GenServer.call(server, {:signal, signal})

  @doc "Starts it again, on the same port, with nothing in it."
  def start_again(server), do: GenServer.call(server, :start, @start_ms)

  @doc "What its own client prints of a command."
  def cli(url, words) do
    {text, 0} = System.cmd("redis-cli", ["-u", url | words], stderr_to_stdout: true)
    String.trim_trailing(text, "\n")
  end

  @doc false
  def start_link(options), do: GenServer.start_link(__MODULE__, options, timeout: @start_ms)

  @impl true
  def init(options) do
    {:ok, start(%{number: Tidepool.FreePort.take(), options: options, port: nil, pid: nil})}
  end

  # The shell ends the server when its standard input does, which is when this VM, or this process, has gone.
  defp start(state) do
    password = if state.options[:password], do: ["--requirepass", state.options[:password]], else: []

    words =
      ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"] ++
        password ++ ports(state.number, state.options[:tls])

    script =
      ~s("$@" </dev/null >/dev/null 2>&1 & server=$!; echo $server; cat >/dev/null; kill -KILL $server 2>/dev/null)

    shell = System.find_executable("sh")
    port = Port.open({:spawn_executable, shell}, [:binary, line: 100, args: ["-c", script, "sh" | words]])

    receive do
      {^port, {:data, {:eol, pid}}} -> wait(%{state | port: port, pid: pid}, System.monotonic_time(:millisecond))
    after
      @start_ms -> raise "redis-server has not started"
    end
  end

  defp ports(number, nil), do: ["--port", "#{number}"]

  defp ports(number, files) do
    files = ["--tls-cert-file", files.certificate, "--tls-key-file", files.key, "--tls-ca-cert-file", files.authority]
    ["--port", "0", "--tls-port", "#{number}", "--tls-auth-clients", "no"] ++ files
  end

  defp wait(state, since) do
    case :gen_tcp.connect({127, 0, 0, 1}, state.number, [:binary, active: false]) do
      {:ok, socket} ->
        :gen_tcp.close(socket)
        state

      {:error, _reason} ->
        if System.monotonic_time(:millisecond) - since > @start_ms, do: raise("redis-server does not listen")

        receive do
        after
          10 -> wait(state, since)
        end
    end
  end

  @impl true
  def handle_call(:url, _from, state) do
    login = if state.options[:password], do: "default:#{state.options[:password]}@", else: ""
    {:reply, "redis://#{login}127.0.0.1:#{state.number}", state}
  end

  def handle_call({:signal, signal}, _from, state) do
    {_none, 0} = System.cmd("kill", ["-#{signal}", state.pid])
    {:reply, :ok, state}
  end

  def handle_call(:start, _from, state), do: {:reply, :ok, start(state)}

  @impl true
  def handle_info(_of_the_port, state), do: {:noreply, state}
end
