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

  alias Tidepool.{Engine, Error, Host, Limits, Native, Options}
  alias Tidepool.Function.Spec
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
      {:ok, reply} -> write(leader, reply)
      {:error, text} -> stop(text, @failed)
      {:misused, text} -> stop(text <> "\nmix help tidepool.call says more", @misused)
    end
  end

  defp trial(arguments, leader) do
    with {:ok, options, file, operation, payload} <- arguments(arguments),
         :ok <- timeout(options[:timeout]),
         {:ok, stubs} <- stubs(options),
         {:ok, limits} <- limits(options),
         {:ok, engine} <- engine(options[:engine]),
         {:ok, wasm} <- read(file),
         {:ok, payload} <- payload(payload, options[:file], leader),
         :ok <- start() do
      answer(stubs)
      name = name(file)
      call(wasm, [name: name, limits: limits] ++ engine, operation, payload, Keyword.take(options, [:timeout]))
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
    with {:ok, text} <- read(path), {:error, message} <- Stubs.json(text), do: {:misused, "#{path}: #{message}"}
  end

  defp limits(options) do
    names = Keyword.keys(Limits.schema())

    Enum.reduce_while(Keyword.get_values(options, :limit), {:ok, []}, fn text, {:ok, limits} ->
      with [name, value] <- String.split(text, "=", parts: 2),
           {:known, limit} when limit != nil <- {:known, Enum.find(names, &(to_string(&1) == name))},
           {value, ""} when value >= 0 <- Integer.parse(value) do
        {:cont, {:ok, Keyword.put(limits, limit, value)}}
      else
        {:known, nil} ->
          {:halt,
           {:misused, "the limit of --limit #{text} is unknown: #{Options.hint(hd(String.split(text, "=")), names)}"}}

        _other ->
          {:halt, {:misused, "a limit is NAME=NUMBER, and not #{inspect(text)}"}}
      end
    end)
  end

  defp timeout(ms) when ms == nil or ms >= 1, do: :ok
  defp timeout(ms), do: {:misused, "--timeout is a number of milliseconds from 1 on, and not #{ms}"}

  defp engine(nil), do: {:ok, []}
  defp engine("fast"), do: {:ok, [engine: :fast]}
  defp engine("dense"), do: {:ok, [engine: :dense]}
  defp engine(other), do: {:misused, "--engine is fast or dense, and not #{inspect(other)}"}

  defp read(path) do
    with {:error, reason} <- File.read(path), do: {:misused, "#{path}: #{:file.format_error(reason)}"}
  end

  defp payload("-", nil, leader) do
    case stdin(leader) do
      :eof -> {:ok, ""}
      bytes when is_binary(bytes) -> {:ok, bytes}
      {:error, text} when is_binary(text) -> {:misused, "standard input can't be read: #{text}"}
      {:error, reason} -> {:misused, "standard input can't be read: #{inspect(reason)}"}
    end
  end

  defp payload(nil, nil, _leader), do: {:ok, ""}
  defp payload(nil, path, _leader), do: read(path)
  defp payload(text, nil, _leader), do: {:ok, text}
  defp payload(_text, _path, _leader), do: {:misused, "the payload is either an argument or --file"}

  # From OTP 26 on the VM has begun to read by now, and made text of it. Of what is no text after all, bytes are lost.
  defp stdin(leader) do
    cond do
      otp() < 26 or bytes_from_the_start?() ->
        binary(leader, fn -> IO.binread(leader, :eof) end)

      match?({:ok, %{type: :regular}}, File.stat("/dev/stdin")) ->
        with {:ok, bytes} <- File.read("/dev/stdin"), do: bytes

      true ->
        text = IO.read(leader, :eof)
        hint = "it is no text: use --file, or set ERL_FLAGS='-kernel standard_io_encoding latin1'"
        if encoding(leader) == :unicode, do: text, else: {:error, hint}
    end
  end

  # By a setting, or a locale without UTF-8.
  defp bytes_from_the_start? do
    Application.get_env(:kernel, :standard_io_encoding) == :latin1 or :file.native_name_encoding() == :latin1
  end

  defp otp, do: :otp_release |> :erlang.system_info() |> List.to_integer()

  # The application as it always is, but for what others would notice.
  defp start do
    for {key, value} <- [server: false, cluster: false, data: :temporary],
        do: Application.put_env(:tidepool, key, value)

    for {key, value} <- [backends: [], default_handler: false, level: :warning],
        do: Application.put_env(:logger, key, value)

    # What fails is this task's to say.
    Logger.put_module_level(Tidepool.Log, :none)

    case Application.ensure_all_started(:tidepool) do
      {:ok, _started} ->
        :logger.add_handler(__MODULE__, :logger_std_h, %{config: %{type: :standard_error}, level: :warning})
        Native.subscribe_console(Engine.runtime(), spawn_link(&console/0) |> tap(&Process.put(:console, &1)))
        :ok

      # It has said why.
      {:error, _reason} ->
        {:error, "the runtime did not start"}
    end
  end

  defp console do
    receive do
      {:tidepool_console, _function, _version, _stream, text, _dropped} -> say(text)
      {:flush, pid} -> send(pid, :flushed)
    end

    console()
  end

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

    Native.flush_console(Engine.runtime())
    send(Process.get(:console), {:flush, self()})
    receive do: (:flushed -> :ok)

    receive do
      {:missing, target} -> {:error, "the guest called #{target} of its host: #{advice(target)}"}
    after
      0 -> with {:error, error} <- outcome, do: {:error, explain(error)}
    end
  end

  # The first sign of equality of an argument ends the target.
  defp advice(target) do
    if String.contains?(target, "="), do: "add it to the JSON of --stubs FILE", else: "add --host '#{target}=REPLY'"
  end

  # "rule.v2 (1).wasm" is no name of a function.
  defp name(file) do
    name = file |> Path.basename(".wasm") |> String.replace(~r/[^A-Za-z0-9_.-]/, "_") |> String.slice(0, 128)
    if Spec.name?(name), do: name, else: "function"
  end

  defp explain(%Error{} = error) do
    reason =
      case error.reason do
        {kind, which} -> "#{kind} #{which}"
        reason -> "#{reason}"
      end

    step = if error.details[:step], do: "refused at the step #{error.details.step}, ", else: ""

    frames =
      for frame <- error.details[:backtrace] || [] do
        "\n    #{frame.function || "function #{frame.index}"}#{if frame.offset, do: " (offset #{frame.offset})"}"
      end

    "#{step}#{reason}: #{error.message}#{frames}"
  end

  defp write(leader, reply), do: binary(leader, fn -> IO.binwrite(leader, reply) end)

  # As bytes; then as before, for the encoding is that of standard error as well (from OTP 26 on).
  defp binary(leader, fun) do
    encoding = encoding(leader)
    :io.setopts(leader, encoding: :latin1)
    result = fun.()
    :io.setopts(leader, encoding: encoding)
    result
  end

  defp encoding(leader), do: leader |> :io.getopts() |> Keyword.get(:encoding, :unicode)

  @spec stop(String.t(), pos_integer) :: no_return
  defp stop(text, status) do
    say(text)
    exit({:shutdown, status})
  end

  # Guests print any bytes.
  defp say(text) do
    text = if String.valid?(text), do: text, else: :unicode.characters_to_binary(text, :latin1)
    IO.puts(:stderr, text)
  end
end
