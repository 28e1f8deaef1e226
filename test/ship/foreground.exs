defmodule Tidepool.Foreground do
  @moduledoc """
  A program that runs in the foreground, without a terminal, as somebody else's child: what it writes, signals to it, and
  the status it exits with. The process that starts it owns it; it ends with the test at the latest.
  """

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
