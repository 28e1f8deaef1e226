defmodule Tidepool.Wasmtime do
  @moduledoc """
  The command line of wasmtime, for what a component does on another host: `bin/setup --test` builds it when `TIDEPOOL_LONG` is set.
  """

  use GenServer

  # Python, of 18 MB, is compiled in a minute on busy cores.
  @start_ms 240_000
  @script """
  . bin/support/common.sh; . bin/support/wasmtime.sh
  "$wasmtime" serve --addr 127.0.0.1:0 -S cli=y "$@" 2>&1 & server=$!
  cat; kill $server
  """

  @doc """
  Serves a handler of HTTP until the test is over, that of the file `path`; `options` are more of `wasmtime serve`. Returns its URL,
  without a slash at the end.
  """
  def serve!(path, options \\ []) do
    GenServer.call(ExUnit.Callbacks.start_supervised!({__MODULE__, options ++ [path]}, id: path), :url, @start_ms)
  end

  @doc """
  Calls an export of the component of a file, in the notation of `wasmtime run --invoke` (`Tidepool.Wave`), by `wasmtime run` with these
  options: the result's line, which is the last one of the standard output, and its exit status.
  """
  def invoke(path, call, options) do
    {output, status} = run(path, [], "", options ++ ["--invoke", call])
    {output |> String.split("\n", trim: true) |> List.last(""), status}
  end

  @doc "What `wasmtime run` says on standard error of a component that it does not run, and its exit status."
  def refusal(path) do
    script =
      ~S(. bin/support/common.sh; . bin/support/wasmtime.sh; timeout 300 "$wasmtime" run "$1" 2>&1 > /dev/null < /dev/null)

    System.cmd("bash", ["-c", script, "bash", path])
  end

  @doc """
  Runs the command of a file with this input, by `wasmtime run` with these options: its standard output, and its exit
  status.
  """
  def run(path, args, input, options) do
    file = Path.join(Tidepool.Case.tmp_folder!(), "input")
    File.write!(file, input)

    # A guest that Wasmtime never ends is a test that fails; Python, of 20 MB, is compiled in a minute on busy cores.
    run = ~S(from=$1; shift; timeout 300 "$wasmtime" run "$@" < "$from" 2> /dev/null)
    script = ". bin/support/common.sh; . bin/support/wasmtime.sh; " <> run

    System.cmd("bash", ["-c", script, "bash", file] ++ options ++ [path | args])
  end

  @doc false
  def start_link(arguments), do: GenServer.start_link(__MODULE__, arguments, timeout: @start_ms)

  @impl true
  def init(arguments) do
    bash = System.find_executable("bash")
    # It ends when its input does, however this test ends.
    port =
      Port.open({:spawn_executable, bash}, [
        :binary,
        :exit_status,
        args: ["-c", @script, "bash" | arguments],
        line: 4_096
      ])

    {:ok, %{port: port, url: url(port)}}
  end

  @impl true
  def handle_call(:url, _from, state), do: {:reply, state.url, state}

  # What guests print, and what hyper has to say of clients that left.
  @impl true
  def handle_info({port, {:data, _line}}, %{port: port} = state), do: {:noreply, state}
  def handle_info({port, {:exit_status, status}}, %{port: port} = state), do: {:stop, {:wasmtime, status}, state}

  defp url(port) do
    receive do
      {^port, {:data, {:eol, "Serving HTTP on " <> url}}} ->
        String.trim_trailing(url, "/")

      {^port, {:data, _other_line}} ->
        url(port)

      {^port, {:exit_status, status}} ->
        raise "wasmtime ended with status #{status}: bin/setup --test with TIDEPOOL_LONG=1 builds it"
    after
      @start_ms -> raise "wasmtime has not begun to serve"
    end
  end
end
