defmodule Tidepool.Command do
  @moduledoc """
  What commands that try a module out without a node have in common: a runtime that is thrown away, files and limits of a command
  line, and errors in words. `Tidepool.Command.Bytes` is what goes in and out.

  A command answers with `{:error, text}` for what failed and `{:misused, text}` for a command line that makes no sense.
  """

  alias Tidepool.{Engine, Error, Limits, Native, Options}
  alias Tidepool.Error.Terminal
  alias Tidepool.Function.Spec

  @typedoc "Why a command has no result."
  @type refusal :: {:error, String.t()} | {:misused, String.t()}

  @doc """
  Starts the application as it always is, but for what others would notice, and for these settings. What guests print goes to
  standard error, as this makes it of their bytes: as they are, where it is left out.
  """
  @spec start(keyword, (binary -> String.t())) :: :ok | refusal
  def start(settings \\ [], shown \\ &raw/1) do
    # What is put before an application is loaded is lost then.
    for application <- [:tidepool, :logger], do: Application.load(application)

    for {key, value} <- [server: false, cluster: false, data: :temporary] ++ settings,
        do: Application.put_env(:tidepool, key, value)

    for {key, value} <- [backends: [], default_handler: false, level: :warning],
        do: Application.put_env(:logger, key, value)

    # What fails is the command's to say.
    Logger.put_module_level(Tidepool.Log, :none)

    case Application.ensure_all_started(:tidepool) do
      {:ok, _started} ->
        :logger.add_handler(__MODULE__, :logger_std_h, %{config: %{type: :standard_error}, level: :warning})
        console = spawn_link(fn -> console(shown) end)
        Process.put(:console, console)
        Native.subscribe_console(Engine.runtime(), console)
        :ok

      # It has said why.
      {:error, _reason} ->
        {:error, "the runtime did not start"}
    end
  end

  defp console(shown) do
    receive do
      {:tidepool_console, _function, _version, _stream, text, _dropped} ->
        IO.puts(:stderr, shown.(text))
        Native.console_taken(Engine.runtime())

      {:flush, pid} ->
        send(pid, :flushed)
    end

    console(shown)
  end

  # What a program of one's own prints is its own, and so are the colours in it. Guests print any bytes.
  defp raw(text), do: if(String.valid?(text), do: text, else: :unicode.characters_to_binary(text, :latin1))

  @doc "Waits until standard error has all that guests have printed. By the process that called `start/2`."
  @spec flush :: :ok
  def flush do
    Native.flush_console(Engine.runtime())
    send(Process.get(:console), {:flush, self()})
    receive do: (:flushed -> :ok)
  end

  @doc "What a file holds."
  @spec read(Path.t()) :: {:ok, binary} | refusal
  def read(path) do
    with {:error, reason} <- File.read(path), do: {:misused, "#{path}: #{:file.format_error(reason)}"}
  end

  @doc ~S(Limits as `["cpu_time=100"]`; those of a deploy, and these.)
  @spec limits([String.t()], [atom]) :: {:ok, keyword} | refusal
  def limits(texts, others \\ []) do
    names = Keyword.keys(Limits.schema()) ++ others

    Enum.reduce_while(texts, {:ok, []}, fn text, {:ok, limits} ->
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

  @doc "The engine that is asked for, as an option of the deploy."
  @spec engine(String.t() | nil) :: {:ok, keyword} | refusal
  def engine(nil), do: {:ok, []}
  def engine("fast"), do: {:ok, [engine: :fast]}
  def engine("dense"), do: {:ok, [engine: :dense]}
  def engine(other), do: {:misused, "--engine is fast or dense, and not #{inspect(other)}"}

  @doc "The name of a file's function; what no function can be called is replaced."
  @spec name(Path.t()) :: String.t()
  def name(file) do
    name = file |> Path.basename(".wasm") |> String.replace(~r/[^A-Za-z0-9_.-]/, "_") |> String.slice(0, 128)
    if Spec.name?(name), do: name, else: "function"
  end

  @doc "An error for whoever reads a terminal, with the backtrace of a trap."
  @spec explain(Error.t()) :: String.t()
  def explain(%Error{} = error) do
    reason =
      case error.reason do
        {kind, which} -> "#{kind} #{which}"
        reason -> "#{reason}"
      end

    step = if error.details[:step], do: "refused at the step #{error.details.step}, ", else: ""

    frames =
      for frame <- error.details[:backtrace] || [] do
        "\n    #{frame.function || "function #{frame.index}"}#{place(frame)}"
      end

    "#{step}#{reason}: #{error.message}#{frames}"
  end

  defp place(%{file: file, line: line}), do: " (#{file}:#{line})"
  defp place(%{offset: offset}), do: if(offset, do: " (offset #{offset})")

  @doc "Ends a command with a sentence, and this exit status."
  @spec stop(String.t(), pos_integer) :: no_return
  def stop(text, status) do
    say(text)
    exit({:shutdown, status})
  end

  @doc "Writes a text to standard error. Guests have said some of it, and may say any bytes."
  @spec say(String.t()) :: :ok
  def say(text), do: IO.puts(:stderr, Terminal.lines(text))
end
