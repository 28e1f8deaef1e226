defmodule Tidepool.Command do
  @moduledoc """
  What commands that try a module out without a node have in common: a runtime that is thrown away, files and limits of a command
  line, bytes in and out, and errors in words.

  A command answers with `{:error, text}` for what failed and `{:misused, text}` for a command line that makes no sense.
  """

  alias Tidepool.{Engine, Error, Limits, Native, Options}
  alias Tidepool.Function.Spec

  @typedoc "Why a command has no result."
  @type refusal :: {:error, String.t()} | {:misused, String.t()}

  @doc """
  Starts the application as it always is, but for what others would notice, and for these settings. What guests print goes to
  standard error.
  """
  @spec start(keyword) :: :ok | refusal
  def start(settings \\ []) do
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

  @doc "Waits until standard error has all that guests have printed. By the process that called `start/0`."
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

  @doc ~S(Limits as `["cpu_time=100"]`.)
  @spec limits([String.t()]) :: {:ok, keyword} | refusal
  def limits(texts) do
    names = Keyword.keys(Limits.schema())

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

  @doc """
  Standard input, as bytes: all of it, or the next line.

  From OTP 26 on the VM has begun to read by now, and made text of it. Of what is no text after all, bytes are lost.
  """
  @spec input(pid, :eof | :line) :: binary | :eof | {:error, String.t()}
  def input(leader, how) do
    read =
      cond do
        bytes?() ->
          binary(leader, fn -> IO.binread(leader, how) end)

        how == :eof and match?({:ok, %{type: :regular}}, File.stat("/dev/stdin")) ->
          with {:ok, bytes} <- File.read("/dev/stdin"), do: bytes

        true ->
          text = IO.read(leader, how)
          hint = "it is no text: use --file, or set ERL_FLAGS='-kernel standard_io_encoding latin1'"
          if encoding(leader) == :unicode, do: text, else: {:error, hint}
      end

    with {:error, reason} when not is_binary(reason) <- read, do: {:error, inspect(reason)}
  end

  # By its version, by a setting, or by a locale without UTF-8.
  defp bytes? do
    otp = :otp_release |> :erlang.system_info() |> List.to_integer()

    otp < 26 or Application.get_env(:kernel, :standard_io_encoding) == :latin1 or
      :file.native_name_encoding() == :latin1
  end

  @doc "Has a device take and give bytes from now on, where that can be said: for who reads and writes at the same time."
  @spec set_binary(pid) :: :ok
  def set_binary(device) do
    if bytes?(), do: :io.setopts(device, encoding: :latin1)
    :ok
  end

  @doc "Writes bytes as they are, unless nobody is there to read them."
  @spec write(pid | atom, binary) :: :ok | {:error, :closed}
  def write(device, bytes) do
    # A device that is left as it is has its reader undisturbed.
    written =
      if encoding(device) == :unicode and String.valid?(bytes),
        do: IO.write(device, bytes),
        else: binary(device, fn -> IO.binwrite(device, bytes) end)

    with {:error, _reason} <- written, do: {:error, :closed}
  rescue
    _error in [ErlangError, ArgumentError] -> {:error, :closed}
  end

  # As bytes; then as before, for the encoding is that of standard error as well (from OTP 26 on).
  defp binary(device, fun) do
    encoding = encoding(device)
    :io.setopts(device, encoding: :latin1)
    result = fun.()
    :io.setopts(device, encoding: encoding)
    result
  end

  defp encoding(device) do
    case :io.getopts(device) do
      options when is_list(options) -> Keyword.get(options, :encoding, :unicode)
      {:error, reason} -> raise ErlangError, original: reason
    end
  end

  @doc "Writes a line to standard error. Guests print any bytes."
  @spec say(String.t()) :: :ok
  def say(text) do
    text = if String.valid?(text), do: text, else: :unicode.characters_to_binary(text, :latin1)
    IO.puts(:stderr, text)
  end
end
