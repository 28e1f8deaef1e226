defmodule Tidepool.Host.Builtin do
  @moduledoc """
  Host functions that Tidepool brings along. None is on unless the setting `:builtins` names it.

  - `:actor`: `tidepool`/`actor`/CLASS/NAME/OP calls the operation OP of the actor NAME of the class CLASS; all three are in the
    operation, and NAME may have slashes; the one in a CLASS that has a namespace is `%2F`. An actor that waits for the guest, by way of whomever, is refused (`deadlock`).
  - `:function`: `tidepool`/`function`/NAME calls the deployed function NAME with its default operation. The call counts
    as nested in the guest's, so depth and time limits hold for the whole chain.
    A handler of HTTP is called by a request to `http://NAME.internal`.
    Functions of a namespace can be called by guests of that namespace alone, and so can its actors.
  - `:log`: `tidepool`/`log`/LEVEL logs the payload; LEVEL is `debug`, `info`, `warning` or `error`. The
    event has the metadata `:tidepool_function`. A function logs as many lines as it may print (the setting `console_lines`), of 8 KiB
    each; further ones are left out, and counted.

  What guests have that are actors, `tidepool`/`kv` and `tidepool`/`alarm`, is no setting's: see `Tidepool.Actor.Activation.Guest`.
  """

  require Logger

  alias Tidepool.{Config, Error, Host}
  alias Tidepool.Error.Reason
  alias Tidepool.Host.{Call, Callee}
  alias Tidepool.Log.Budget
  alias Tidepool.Namespaces.Name

  # Neither takes longer than the call has time.
  @builtins %{
    function: {{"tidepool", "function", :_}, {{__MODULE__, :function}, :inline}},
    log: {{"tidepool", "log", :_}, {{__MODULE__, :log}, :inline}}
  }

  @levels %{"debug" => :debug, "info" => :info, "warning" => :warning, "error" => :error}
  # Of a line, as of one that is printed.
  @line_bytes 8_192

  # Those of rooms above this one, which register them: `Tidepool.Actor.Activation.Guest`.
  @above [:actor]

  @doc "The names for the setting `:builtins`."
  @spec names :: [atom]
  def names, do: Enum.sort(@above ++ Map.keys(@builtins))

  @doc false
  @spec entries([atom]) :: [{Host.target(), Host.Registry.entry()}]
  def entries(names), do: Enum.map(names -- @above, &Map.fetch!(@builtins, &1))

  @doc false
  @spec function(Call.t()) :: Host.result()
  def function(%Call{operation: name, args: [exchange, operation]} = call) do
    with :ok <- reach(call, name),
         :ok <- Callee.start(name, operation, exchange),
         do: {:ok, nil}
  end

  def function(%Call{operation: name, payload: payload} = call) do
    with :ok <- reach(call, name), do: name |> Tidepool.call(nil, payload) |> answer(name)
  end

  @doc false
  # May the guest call this function?
  @spec reach(Call.t(), String.t()) :: :ok | {:error, String.t()}
  def reach(%Call{function: from}, name) do
    if Name.reaches?(from, name),
      do: :ok,
      else: {:error, "#{name}: functions of a namespace can be called by guests of that namespace alone"}
  end

  @doc false
  # What a guest is told of the outcome of a call.
  @spec answer({:ok, binary} | {:error, Error.t()}, target :: String.t()) :: Host.result()
  def answer({:ok, reply}, _target), do: {:ok, reply}

  def answer({:error, error}, target),
    do: if(Reason.is?(error.reason, :private), do: raise(error), else: {:error, "#{target}: #{error.message}"})

  @doc false
  @spec log(Call.t()) :: Host.result()
  def log(%Call{operation: word, payload: text, function: function}) do
    case @levels do
      %{^word => level} -> logged(level, text, function)
      _other -> {:error, "unknown level #{word}: it is debug, info, warning or error"}
    end
  end

  # What is left out is no guest's matter, as with lines that are printed.
  defp logged(level, text, function) do
    {_lines, window_ms} = Budget.limits()
    most = div(Config.get(:console_lines) * window_ms, 1_000)

    with {:ok, left_out} <- Budget.take({:logged, function}, System.monotonic_time(:millisecond), most) do
      line = binary_part(text, 0, min(byte_size(text), @line_bytes))

      if left_out > 0 do
        more = " (#{left_out} more before this were not logged)"
        Logger.log(level, line <> more, tidepool_function: function, tidepool_left_out: left_out)
      else
        Logger.log(level, line, tidepool_function: function)
      end
    end

    {:ok, ""}
  end
end
