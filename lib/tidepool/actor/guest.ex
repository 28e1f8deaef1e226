defmodule Tidepool.Actor.Guest do
  @moduledoc """
  The built-in host function `:actor`, by which guests call actors: see `Tidepool.Host.Builtin`.
  """

  alias Tidepool.{Actor, Host}
  alias Tidepool.Host.{Builtin, Call}

  @doc "Registers it, if the setting `:builtins` names it."
  @spec register([atom]) :: :ok
  def register(builtins) do
    if :actor in builtins, do: Host.register({"tidepool", "actor", :_}, {__MODULE__, :call}, run: :inline)
    :ok
  end

  @doc false
  @spec call(Call.t()) :: Host.result()
  def call(%Call{operation: target, payload: payload}) do
    case Regex.run(~r"\A([^/]+)/(.+)/([^/]+)\z"s, target) do
      [_all, class, name, operation] -> class |> Actor.call(name, operation, payload) |> Builtin.answer(target)
      nil -> {:error, "#{target}: an actor is called as CLASS/NAME/OPERATION"}
    end
  end
end
