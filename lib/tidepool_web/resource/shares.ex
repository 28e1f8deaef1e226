defmodule TidepoolWeb.Resource.Shares do
  @moduledoc """
  Places of long requests, shared among the tokens that were made: those of one namespace together, or one token for other
  functions, get no more of them than they leave to others. The edge shares them among addresses besides.

  A place is held by the process that asks for it, and is free when that has ended.
  """

  alias Tidepool.Catalog.Origin
  alias Tidepool.Error
  alias Tidepool.Namespaces.Name
  alias Tidepool.Tokens.{Access, Token}

  @doc false
  def child_spec(_argument), do: Registry.child_spec(keys: :duplicate, name: __MODULE__)

  @doc """
  Takes one of `most` places for the calling process. A client that needs no token, or has the node's own, is counted, and has no share.
  """
  @spec take(Origin.t(), most :: pos_integer) :: :ok | {:error, Error.t()}
  def take(origin, most) do
    holder = holder(origin)
    {:ok, _registry} = Registry.register(__MODULE__, holder, nil)
    others = Registry.count(__MODULE__) - 1

    if holder == nil or length(Registry.lookup(__MODULE__, holder)) <= most - others do
      :ok
    else
      Registry.unregister(__MODULE__, holder)

      {:error,
       Error.new(:overloaded, "this token, or others for its namespace, have their share of streams: end one first")}
    end
  end

  defp holder(origin) do
    case Access.of(origin) do
      {:ok, %Token{name: name, functions: functions}} -> Name.of(functions) || {:token, name}
      _no_token -> nil
    end
  end
end
