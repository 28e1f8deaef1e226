defmodule Mix.Tasks.Tidepool.Call do
  @shortdoc "Calls a module once, without a node"

  @moduledoc """
  Tries a module out: deploys it on a runtime that is thrown away, calls it once, and prints the reply.

      mix tidepool.call rule.wasm price 'apple 3' --host shop/products/price=250
      mix tidepool.call rule.wasm price --file order.json --stubs stubs.json --limit cpu_time=100
      echo 'low tide' | mix tidepool.call upper.wasm -

  There is no HTTP, no cluster, and nothing is kept. The first argument after the file is the operation, the next the
  payload; without an operation it is the file's name without `.wasm`. A payload of `-` is what comes on standard input,
  which is a program's stdin, too.

  The reply goes to standard output, byte for byte. All else goes to standard error: what the guest prints, and why a call
  failed, with the backtrace of a trap. The exit status is 0 for a reply, 1 for a module or a call that failed, and 2 for a
  command line that makes no sense.

  The operation of a plain module is one of its exports, and the payload the JSON array of its arguments:

      mix tidepool.call calc.wasm add '[19,23]'

  ## Options

    * `--host BINDING/NAMESPACE/OPERATION=REPLY`: answers a host call; may be repeated
    * `--stubs FILE`: answers from a JSON file, as `Tidepool.Host.Stubs` describes it; `--host` goes before
    * `--limit NAME=VALUE`: a limit as at a deploy, in ms or bytes; may be repeated
    * `--file FILE`: the payload is what the file holds
    * `--timeout MS`: time for the call
    * `--engine fast|dense`: as at a deploy

  A host call without an answer fails the call, and says which option to add. Built-in handlers and limits are as the
  project's settings have them.
  """

  use Mix.Task

  alias Tidepool.{Command, Host}
  alias Tidepool.Command.Bytes
  alias Tidepool.Host.Stubs

  @switches [
    host: :keep,
    stubs: :string,
    limit: :keep,
    file: :string,
    timeout: :integer,
    engine: :string
  ]

  @failed 1
  @misused 2

  @impl true
  def run(arguments) do
    leader = Process.group_leader()
    # What compiling the project prints is not the reply.
    Process.group_leader(self(), Process.whereis(:standard_error))

    outcome =
      try do
        Mix.Task.run("app.config")
        trial(arguments, leader)
      after
        Process.group_leader(self(), leader)
      end

    case outcome do
      {:ok, reply} -> Bytes.write(leader, reply)
      {:error, text} -> Command.stop(text, @failed)
      {:misused, text} -> Command.stop(text <> "\nmix help tidepool.call says more", @misused)
    end
  end

  defp trial(arguments, leader) do
    with {:ok, options, file, operation, payload} <- arguments(arguments),
         :ok <- timeout(options[:timeout]),
         {:ok, stubs} <- stubs(options),
         {:ok, limits} <- Command.limits(Keyword.get_values(options, :limit)),
         {:ok, engine} <- Command.engine(options[:engine]),
         {:ok, wasm} <- Command.read(file),
         {:ok, payload} <- payload(payload, options[:file], leader),
         :ok <- Command.start() do
      answer(stubs)

      call(
        wasm,
        [name: Command.name(file), limits: limits] ++ engine,
        operation,
        payload,
        Keyword.take(options, [:timeout])
      )
    end
  end

  defp arguments(arguments) do
    # A lone dash is no option to OptionParser.
    case OptionParser.parse(arguments, strict: @switches) do
      {options, [file], []} ->
        {:ok, options, file, nil, nil}

      {options, [file, "-"], []} ->
        {:ok, options, file, nil, "-"}

      {options, [file, operation], []} ->
        {:ok, options, file, operation, nil}

      {options, [file, operation, payload], []} ->
        {:ok, options, file, operation, payload}

      {_options, _arguments, [{switch, nil} | _more]} ->
        {:misused, "the option #{switch} is unknown, or lacks its value"}

      {_options, _arguments, [{switch, value} | _more]} ->
        {:misused, "#{switch} can't be #{inspect(value)}"}

      {_options, [], []} ->
        {:misused, "name a file: mix tidepool.call FILE [OPERATION [PAYLOAD]]"}

      {_options, _more, []} ->
        {:misused, "there are more arguments than file, operation and payload"}
    end
  end

  defp stubs(options) do
    with {:ok, from_file} <- stub_file(options[:stubs]) do
      Enum.reduce_while(Keyword.get_values(options, :host), {:ok, from_file}, fn text, {:ok, stubs} ->
        case Stubs.argument(text) do
          {:ok, {target, answer}} -> {:cont, {:ok, Map.put(stubs, target, answer)}}
          {:error, text} -> {:halt, {:misused, text}}
        end
      end)
    end
  end

  defp stub_file(nil), do: {:ok, %{}}

  defp stub_file(path) do
    with {:ok, text} <- Command.read(path), {:error, message} <- Stubs.json(text), do: {:misused, "#{path}: #{message}"}
  end

  defp timeout(ms) when ms == nil or ms >= 1, do: :ok
  defp timeout(ms), do: {:misused, "--timeout is a number of milliseconds from 1 on, and not #{ms}"}

  defp payload("-", nil, leader) do
    case Bytes.input(leader, :all) do
      {:ok, bytes} -> {:ok, bytes}
      :eof -> {:ok, ""}
      {:error, text} -> {:misused, "standard input can't be read: #{text}"}
    end
  end

  defp payload(nil, nil, _leader), do: {:ok, ""}
  defp payload(nil, path, _leader), do: Command.read(path)
  defp payload(text, nil, _leader), do: {:ok, text}
  defp payload(_text, _path, _leader), do: {:misused, "the payload is either an argument or --file"}

  defp answer(stubs) do
    for {target, answer} <- stubs, do: Host.register(target, &Stubs.reply(answer, &1), run: :inline)
    asker = self()

    Host.register({:_, :_, :_}, fn call ->
      target = "#{call.binding}/#{call.namespace}/#{call.operation}"
      send(asker, {:missing, target})
      {:error, "no answer to the host call #{target}"}
    end)
  end

  defp call(wasm, options, operation, payload, timeout) do
    outcome =
      with {:ok, function} <- Tidepool.deploy(wasm, options),
           do: Tidepool.call(function.name, operation, payload, timeout)

    Command.flush()

    receive do
      {:missing, target} -> {:error, "the guest called #{target} of its host: #{advice(target)}"}
    after
      0 -> with {:error, error} <- outcome, do: {:error, Command.explain(error)}
    end
  end

  # The first sign of equality of an argument ends the target.
  defp advice(target) do
    if String.contains?(target, "="), do: "add it to the JSON of --stubs FILE", else: "add --host '#{target}=REPLY'"
  end
end
