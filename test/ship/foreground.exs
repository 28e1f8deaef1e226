defmodule Tidepool.Foreground do
  @moduledoc """
  A program that runs in the foreground, without a terminal, as somebody else's child: what it writes, signals to it, and
  the status it exits with. The process that starts it owns it; it ends with the test at the latest.
  """

  import Tidepool.Case, only: [curl_deploy_url: 3, curl_url: 1, eventually: 2, guest: 2]

  @enforce_keys [:port, :os_pid]
  defstruct @enforce_keys

  @timeout_ms 120_000

  # What a test runs under is not what the program should run under.
  @clean ~w(MIX_ENV MIX_BUILD_PATH MIX_TARGET ERL_FLAGS ELIXIR_ERL_OPTIONS)

  @doc "Starts `executable` in the project's folder. The program leads a process group of its own."
  def start!(executable, arguments, env) do
    env =
      Enum.map(@clean, &{to_charlist(&1), false}) ++
        for {name, value} <- env, do: {to_charlist(name), to_charlist(value)}

    options = [:binary, :exit_status, :stderr_to_stdout, args: arguments, env: env, cd: File.cwd!()]
    port = Port.open({:spawn_executable, System.find_executable(executable) || Path.expand(executable)}, options)
    {:os_pid, os_pid} = Port.info(port, :os_pid)
    ExUnit.Callbacks.on_exit(fn -> System.cmd("kill", ["-KILL", "--", "-#{os_pid}"], stderr_to_stdout: true) end)
    %__MODULE__{port: port, os_pid: os_pid}
  end

  @doc "Waits until what it has written matches; all of it since the last wait."
  def await_output!(program, pattern), do: collect(program, &(&1 =~ pattern), "")

  @doc "Waits until it has exited: the status, and what it has written since the last wait."
  def await_exit!(program), do: collect(program, &match?({_status, _output}, &1), "")

  @doc "Sends a signal to the program alone."
  def signal(program, name), do: {"", 0} = System.cmd("kill", ["-#{name}", "#{program.os_pid}"])

  @doc "Sends a signal to all of its process group, as a terminal does for Ctrl-C."
  def signal_group(program, name), do: {"", 0} = System.cmd("kill", ["-#{name}", "--", "-#{program.os_pid}"])

  @doc "A call, by curl, that takes `ms` and is under way when this returns: a task that ends with what curl has written, and its status."
  def call_in_flight!(url, ms) do
    {201, _headers, _function} =
      curl_deploy_url("#{url}/deploy", guest("rust", "sleepy"), name: "sleepy", limits: ~s({"time": 120000}))

    # The instance that the deploy has tried may still be on its way out.
    eventually(fn -> live(url) == 0 end, 60_000)
    arguments = ["-sS", "-w", " %{http_code}", "--data-binary", "#{ms}", "#{url}/call/sleepy"]
    call = Task.async(fn -> System.cmd("curl", arguments, stderr_to_stdout: true) end)
    eventually(fn -> live(url) == 1 end, 60_000)
    call
  end

  defp live(url) do
    {200, _headers, %{"instances" => %{"live" => live}}} = curl_url("#{url}/health")
    live
  end

  @doc "Writes to its standard input."
  def write(program, text), do: Port.command(program.port, text)

  defp collect(%{port: port} = program, done?, output) do
    receive do
      {^port, {:data, data}} ->
        output = output <> data
        if done?.(output), do: output, else: collect(program, done?, output)

      {^port, {:exit_status, status}} ->
        if done?.({status, output}), do: {status, output}, else: raise("it exited with #{status}: #{output}")
    after
      @timeout_ms -> raise "nothing more came after: #{output}"
    end
  end
end
