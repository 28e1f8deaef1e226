defmodule Tidepool.Command.Run do
  @moduledoc """
  Runs a module as a program of its own, on a runtime that is thrown away: with arguments, standard input and output and an exit
  status as any other program has them. `mix tidepool.run` and `bin/tidepool run` are this.

      tidepool.run [OPTION ...] FILE [-- ARGUMENT ...]

  The module is a program of processes, or a WASI program; a waPC module is none. The exit status is

  - that of the program, 0 if it just returns,
  - 134 for a trap, or a limit; standard error has why, with the backtrace,
  - 137 when it was killed, 143 when the command was (SIGTERM), 141 when nobody reads its output any more,
  - 1 for a module that can't be deployed, or output that can't be written, 2 for a command line that makes no sense.

  ## Options

    * `--net GRANT`: what of the network the program gets, as at a deploy; may be repeated
    * `--dir HOST::GUEST`: a folder of this machine, which the program may change, and its name there; without `::GUEST` it is
      the same as here, and `/` for `.`; may be repeated
    * `--env NAME=VALUE`: its environment, which is empty otherwise; may be repeated
    * `--limit NAME=VALUE`: a limit as at a deploy, in ms or bytes; may be repeated. `cpu_time` is that of each of its processes,
      `total_cpu_time` that of all
    * `--entry EXPORT`: what it runs, instead of `_start`
    * `--engine fast|dense`: as at a deploy
  """

  alias Tidepool.{Command, Error}
  alias Tidepool.Command.{Bytes, Signals}
  alias Tidepool.Files.Folder
  alias Tidepool.Function.Folders

  @switches [net: :keep, dir: :keep, env: :keep, limit: :keep, entry: :string, engine: :string]

  @failed 1
  @misused 2
  # What a shell has for a program that aborts, for one that is killed, and for one that is asked to end.
  @trapped 134
  @killed 137
  @terminated 143
  # And for one that writes to who does not read any more.
  @unread 141

  @doc "Runs what the arguments say with standard input and output of `leader`; the exit status."
  @spec main([String.t()], pid) :: non_neg_integer
  def main(arguments, leader) do
    with {:ok, options, file, program} <- arguments(arguments),
         {:ok, env} <- env(Keyword.get_values(options, :env)),
         {:ok, limits} <- Command.limits(Keyword.get_values(options, :limit), [:total_cpu_time]),
         {times, limits} = Keyword.split(limits, [:cpu_time, :total_cpu_time]),
         {:ok, engine} <- Command.engine(options[:engine]),
         {:ok, wasm} <- Command.read(file),
         {:ok, dirs} <- dirs(Keyword.get_values(options, :dir)),
         :ok <- Command.start(if(dirs == [], do: [], else: [files: Map.new(dirs, &elem(&1, 0))])),
         folders = Enum.map(dirs, &elem(&1, 1)),
         {:ok, name} <-
           deploy(wasm, [name: Command.name(file), limits: limits, files: folders] ++ net(options) ++ engine) do
      Bytes.set_binary(leader)
      # Standard error is the program's. Of a pipe that breaks, for one, the VM would tell at length.
      :logger.set_primary_config(:level, :none)
      # Who started this may be linked to others, and is not to die with the program.
      options = [env: env, stdio: self()] ++ times ++ Keyword.take(options, [:entry])
      trapped = Process.flag(:trap_exit, true)
      status = start(name, [Path.basename(file) | program], options, leader)
      Process.flag(:trap_exit, trapped)
      status
    else
      {:error, text} -> Command.say(text) |> then(fn :ok -> @failed end)
      {:misused, text} -> Command.say(text) |> then(fn :ok -> @misused end)
    end
  end

  defp arguments(arguments) do
    {own, program} = Enum.split_while(arguments, &(&1 != "--"))

    case OptionParser.parse(own, strict: @switches) do
      {options, [file], []} -> {:ok, options, file, Enum.drop(program, 1)}
      {_options, _files, [{switch, nil} | _more]} -> {:misused, "the option #{switch} is unknown, or lacks its value"}
      {_options, _files, [{switch, value} | _more]} -> {:misused, "#{switch} can't be #{inspect(value)}"}
      {_options, [], []} -> {:misused, "name a file: tidepool.run FILE [-- ARGUMENT ...]"}
      {_options, [_file | _more], []} -> {:misused, "what is the program's comes after --: FILE -- ARGUMENT ..."}
    end
  end

  defp env(texts) do
    Enum.reduce_while(texts, {:ok, %{}}, fn text, {:ok, env} ->
      case String.split(text, "=", parts: 2) do
        [name, value] when name != "" -> {:cont, {:ok, Map.put(env, name, value)}}
        _other -> {:halt, {:misused, "--env is NAME=VALUE, and not #{inspect(text)}"}}
      end
    end)
  end

  # What the node has, and what the function has of that.
  defp dirs(texts) do
    texts
    |> Enum.with_index(fn text, index -> {text, "dir#{index}"} end)
    |> Enum.reduce_while({:ok, []}, fn {text, name}, {:ok, dirs} ->
      [host | guest] = String.split(text, "::", parts: 2)
      folder = "#{Path.expand(Enum.join(if(guest == [], do: [host], else: guest)), "/")}=host:#{name}:rw"

      cond do
        not File.dir?(host) -> {:halt, {:misused, "--dir #{text}: there is no folder #{host}"}}
        not Folders.valid?([folder]) -> {:halt, {:misused, "--dir is HOST::GUEST, and not #{inspect(text)}"}}
        true -> {:cont, {:ok, dirs ++ [{{name, {Folder, path: Path.expand(host), write: true}}, folder}]}}
      end
    end)
  end

  defp net(options) do
    case Keyword.get_values(options, :net) do
      [] -> []
      grants -> [net: grants]
    end
  end

  defp deploy(wasm, options) do
    case Tidepool.deploy(wasm, options) do
      {:ok, function} -> {:ok, function.name}
      {:error, error} -> {:error, Command.explain(error)}
    end
  end

  defp start(name, args, options, leader) do
    case Tidepool.Process.start_link(name, args, options) do
      {:ok, pid} ->
        reader = spawn_link(fn -> give(pid, leader) end)
        Signals.subscribe(self())
        devices = [stdout: leader, stderr: Process.whereis(:standard_error)]
        outputs = Map.new(devices, fn {stream, device} -> {stream, {device, Bytes.monitor(device)}} end)
        status = serve(pid, reader, outputs)
        Signals.unsubscribe()
        Process.unlink(reader)
        Process.exit(reader, :kill)
        status

      {:error, %{reason: :not_a_program}} ->
        Command.say("this is a module of functions, and no program: mix tidepool.call calls it")
        @failed

      {:error, error} ->
        Command.say(Command.explain(error))
        @failed
    end
  end

  # What the program says comes before its end.
  defp serve(pid, reader, outputs) do
    receive do
      {:tidepool_output, ^pid, stream, bytes} ->
        {device, monitors} = outputs[stream]

        case Bytes.write(device, bytes) do
          :ok ->
            Tidepool.Process.written(pid, byte_size(bytes))
            serve(pid, reader, outputs)

          {:error, :closed} ->
            kill(pid, closed(Bytes.why_closed(monitors)))
        end

      {:tidepool_input, ^pid} ->
        send(reader, :more)
        serve(pid, reader, outputs)

      {:signal, :sigterm} ->
        kill(pid, @terminated)

      {:EXIT, ^pid, reason} ->
        status(reason)
    end
  end

  defp closed(:unread), do: @unread

  defp closed({:failed, reason}) do
    Command.say("output can't be written: #{reason}")
    @failed
  end

  defp kill(pid, status) do
    Process.unlink(pid)
    Process.exit(pid, :kill)
    status
  end

  # Reading takes as long as whoever types takes.
  defp give(pid, leader) do
    receive do: (:more -> :ok)

    case Bytes.input(leader, :some) do
      :eof ->
        Tidepool.Process.input(pid, :eof)

      {:ok, bytes} ->
        Tidepool.Process.input(pid, bytes)
        give(pid, leader)

      {:error, text} ->
        Command.say("standard input can't be read: #{text}")
        Tidepool.Process.input(pid, :eof)
    end
  end

  defp status(:normal), do: 0
  defp status(:killed), do: @killed
  defp status({%Error{reason: :guest_error, details: %{exit_code: code}}, _}), do: Bitwise.band(code, 255)

  defp status({%Error{} = error, _}) do
    Command.say(Command.explain(error))
    @trapped
  end

  defp status(reason) do
    Command.say("the program was ended: #{inspect(reason)}")
    @killed
  end
end
