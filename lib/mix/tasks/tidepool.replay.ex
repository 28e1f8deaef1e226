defmodule Mix.Tasks.Tidepool.Replay do
  @shortdoc "Runs a call that was recorded again, without a node"

  @moduledoc """
  Runs a call that was recorded again, on a runtime that is thrown away: what the guest was told comes from the recording, and nothing
  from a host, a clock or a network.

      curl -O -J localhost:4000/recordings/00065a4f1c3e2d10-4096
      curl -o shop.wasm localhost:4000/functions/shop/wasm
      mix tidepool.replay 00065a4f1c3e2d10-4096.tiderec --wasm shop.wasm --log

  It prints what was recorded and what came of it now, where a trap was, or a call that was cut, with the lines of the source, where the
  module has debug data; before that, on standard error, what the guest prints, with its control characters written out.

  With `--against` the same call is made of another version of the module, or of each file of a folder:

      mix tidepool.replay fetched/ --against new.wasm

  With `--debug` it is run by a debugger, which takes commands from standard input: breakpoints at lines of the source, steps forth and
  back, locals and memory. `help` lists them.

      mix tidepool.replay 00065a4f1c3e2d10-4096.tiderec --wasm shop.wasm --debug

  ## Options

    * `--wasm FILE`: the module that was called; it is known by its hash
    * `--against FILE`: another version of it, to be compared
    * `--log`: what the host was asked in the call, and what it answered
    * `--debug`: the debugger, with one file and `--wasm`
    * `--json`: the whole report, a line of JSON for each recording

  The exit status is 0 when each recording came to the same, or to where it was cut off; 3 when one did not; 1 when a file can't be
  read, or is of another module; and 2 for a command line that makes no sense. That of a debugger is that of what the call came to
  last, and 0 when it was never brought to its end.
  """

  use Mix.Task

  alias Tidepool.{Command, Native, Recording}
  alias Tidepool.Error.Terminal

  @switches [wasm: :string, against: :string, log: :boolean, json: :boolean, debug: :boolean]
  @prompt "(tidepool) "
  @same ["same", "cut"]
  @failed 1
  @misused 2
  @differs 3

  @impl true
  def run(arguments) do
    Mix.Task.run("app.config")

    case replayed(arguments) do
      {:ok, status} -> ended(status)
      {:error, text} -> Command.stop(text, @failed)
      {:misused, text} -> Command.stop(text <> "\nmix help tidepool.replay says more", @misused)
    end
  end

  defp replayed(arguments) do
    with {:ok, options, path} <- arguments(arguments),
         {:ok, files} <- files(path),
         {:ok, wasm, against?} <- module(options),
         :ok <- debuggable(files, against?, options),
         # Whose the guest is only its recording says.
         :ok <- Command.start([], &Terminal.lines/1),
         do: {:ok, files |> Enum.map(&status(&1, wasm, against?, options)) |> Enum.max(fn -> 0 end)}
  end

  defp debuggable([_file], false, _options), do: :ok

  defp debuggable(_files, _against?, options) do
    if options[:debug], do: {:misused, "--debug takes one recording, and --wasm"}, else: :ok
  end

  defp status(file, wasm, against?, options) do
    if options[:debug], do: debug(file, wasm, options), else: replay(file, wasm, against?, options)
  end

  defp debug(file, wasm, options) do
    with {:ok, recording} <- Command.read(file),
         {:ok, session} <- explained(Recording.debug(recording, wasm)) do
      commands(session, file, options, 0)
    else
      {_failed, text} -> failed(file, text)
    end
  end

  # One after the other, until there are no more; the status of the last end that the call came to.
  defp commands(session, file, options, status) do
    case IO.gets(@prompt) do
      line when is_binary(line) ->
        case String.trim(line) do
          "" -> commands(session, file, options, status)
          line -> command(session, line, file, options, status)
        end

      _end ->
        status
    end
  end

  defp command(session, line, file, options, status) do
    case Recording.command(session, line) do
      {:ok, lines, report, quits?} ->
        # What the guest has printed comes first.
        Command.flush()
        for line <- lines, do: IO.puts(Terminal.lines(line))
        status = if report, do: told(file, report, options), else: status
        if quits?, do: status, else: commands(session, file, options, status)

      {:error, text} ->
        IO.puts("error: " <> Terminal.lines(text))
        commands(session, file, options, status)
    end
  end

  defp arguments(arguments) do
    case OptionParser.parse(arguments, strict: @switches) do
      {options, [path], []} ->
        {:ok, options, path}

      {_options, _paths, []} ->
        {:misused, "name a recording: mix tidepool.replay FILE --wasm MODULE"}

      {_options, _paths, [{switch, _value} | _more]} ->
        {:misused, "the option #{switch} is unknown, or lacks its value"}
    end
  end

  defp files(path) do
    if File.dir?(path) do
      case path |> Path.join("*.tiderec") |> Path.wildcard() do
        [] -> {:error, "#{path} has no recordings: files that end with .tiderec"}
        files -> {:ok, files}
      end
    else
      {:ok, [path]}
    end
  end

  defp module(options) do
    case {options[:wasm], options[:against]} do
      {nil, nil} -> {:misused, "give the module that was called, --wasm FILE, or another version, --against FILE"}
      {path, nil} -> with {:ok, wasm} <- Command.read(path), do: {:ok, wasm, false}
      {nil, path} -> with {:ok, wasm} <- Command.read(path), do: {:ok, wasm, true}
      _both -> {:misused, "give either --wasm or --against"}
    end
  end

  defp replay(file, wasm, against?, options) do
    outcome =
      with {:ok, recording} <- Command.read(file), do: explained(Recording.replay(recording, wasm, against: against?))

    case outcome do
      {:ok, report} ->
        Command.flush()
        told(file, report, options)

      {_failed, text} ->
        failed(file, text)
    end
  end

  defp told(file, report, options) do
    show(file, report, options)
    if report["verdict"] in @same, do: 0, else: @differs
  end

  defp failed(file, text) do
    Command.say("#{file}: #{text}")
    @failed
  end

  defp explained(outcome), do: with({:error, error} <- outcome, do: {:error, Command.explain(error)})

  defp show(file, report, options) do
    if options[:json] do
      report |> Map.put("file", file) |> Native.json_encode() |> Terminal.json() |> IO.puts()
    else
      IO.puts(Terminal.line("#{file}: #{report["verdict"]}"))
      for line <- Recording.Text.lines(report, options[:log] == true), do: IO.puts("  " <> line)
    end
  end

  defp ended(0), do: :ok
  defp ended(status), do: exit({:shutdown, status})
end
