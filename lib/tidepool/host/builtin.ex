defmodule Tidepool.Host.Builtin do
  @moduledoc """
  Host functions that Tidepool brings along. None is on unless the setting `:builtins` names it.

  - `:function`: `tidepool`/`function`/NAME calls the deployed function NAME with its default operation. The call counts
    as nested in the guest's, so depth and time limits hold for the whole chain.
  - `:log`: `tidepool`/`log`/LEVEL logs the payload; LEVEL is `debug`, `info`, `warning` or `error`.
  """

  require Logger

  alias Tidepool.Host
  alias Tidepool.Host.Call

  @builtins %{
    function: {{"tidepool", "function", :_}, {:mfa, __MODULE__, :function}},
    log: {{"tidepool", "log", :_}, {:mfa, __MODULE__, :log}}
  }

  @doc "The names for the setting `:builtins`."
  @spec names :: [atom]
  def names, do: Map.keys(@builtins)

  @doc false
  @spec entries([atom]) :: [{Host.target(), Host.Registry.entry()}]
  def entries(names), do: Enum.map(names, &Map.fetch!(@builtins, &1))

  @doc false
  @spec function(Call.t()) :: Host.result()
  def function(%Call{operation: name, payload: payload}) do
    with {:error, error} <- Tidepool.call(name, nil, payload), do: {:error, "#{name}: #{error.message}"}
  end

  @doc false
  @spec log(Call.t()) :: Host.result()
  def log(%Call{operation: level, payload: text, function: function}) do
    case level do
      "debug" -> Logger.debug(text, function: function)
      "info" -> Logger.info(text, function: function)
      "warning" -> Logger.warning(text, function: function)
      "error" -> Logger.error(text, function: function)
      _other -> :unknown
    end
    |> case do
      :ok -> {:ok, ""}
      :unknown -> {:error, "unknown level #{level}: it is debug, info, warning or error"}
    end
  end
end
