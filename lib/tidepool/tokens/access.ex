defmodule Tidepool.Tokens.Access do
  @moduledoc """
  What a request may do by the token that it came with, looked at where it is done: its edge has looked before, and the token may
  have been revoked since.

  Readers look into ETS, and wait for nobody. `Tidepool.Tokens` writes there what is good.
  """

  alias Tidepool.Catalog.Origin
  alias Tidepool.{Config, Error, Namespaces}
  alias Tidepool.Function.{HostGrants, Reference}
  alias Tidepool.Tokens.{Bounds, Token}

  # Tokens by the SHA-256 of their secrets.
  @table __MODULE__

  @doc "Makes the table, owned by the calling process."
  @spec new :: :ok
  def new do
    :ets.new(@table, [:named_table, :protected, read_concurrency: true])
    :ok
  end

  @doc "From now on these are good, and no others."
  @spec publish([Token.t()]) :: :ok
  def publish(tokens) do
    good = Map.new(tokens, &{&1.hash, &1})
    # New ones are found before those that they take the place of are not.
    :ets.insert(@table, Map.to_list(good))
    for [hash] <- :ets.match(@table, {:"$1", :_}), not is_map_key(good, hash), do: :ets.delete(@table, hash)
    :ok
  end

  @doc "The token that a request came with, if it was made here; one that is none any more is an error."
  @spec of(Origin.t()) :: {:ok, Token.t() | nil} | {:error, Error.t()}
  def of({{:token, name, sha256}, _peer}) do
    case :ets.lookup(@table, sha256) do
      [{_sha256, token}] -> if Token.live?(token, System.os_time(:second)), do: {:ok, token}, else: gone(name)
      [] -> gone(name)
    end
  rescue
    ArgumentError -> {:error, Error.new(:unavailable, "tokens are being read again: ask again")}
  end

  def of(_origin), do: {:ok, nil}

  defp gone(name) do
    message = "the token #{name} was revoked, or has expired, before this was done: nothing has changed"
    {:error, Error.new(:forbidden, message, nil, %{token: name})}
  end

  @doc """
  May what has this origin be done with the function of this name? The scope was looked at before, at the edge; whether there still
  is such a token is looked at once more.
  """
  @spec permit(Origin.t(), String.t()) :: :ok | {:error, Error.t()}
  def permit(origin, function) do
    with {:ok, %Token{name: name, functions: functions}} <- of(origin), false <- Token.covers?(functions, function) do
      message = "the token #{name} is for #{functions}, and not for #{function}: ask with another one, or have one made"
      {:error, Error.new(:forbidden, message, function, %{token: name, scope: "deploy"})}
    else
      {:error, error} -> {:error, %{error | function: function}}
      _covered_or_none -> :ok
    end
  end

  @doc """
  May a request be told of a function, or of what is of none (`nil`)? One with a token for some functions is told of those alone, and
  of nothing when that has been revoked.
  """
  @spec sees?(Origin.t(), String.t() | nil) :: boolean
  def sees?(origin, function) do
    case of(origin) do
      {:ok, nil} -> true
      {:ok, %Token{functions: functions}} when function == nil -> functions == "*"
      {:ok, %Token{functions: functions}} -> Token.covers?(functions, function)
      {:error, _gone} -> false
    end
  end

  @doc "The functions that a request may be told of, as its token has them (`shop/*`); `nil` where that is not some of them alone."
  @spec functions(Origin.t()) :: String.t() | nil
  def functions(origin) do
    case of(origin) do
      {:ok, %Token{functions: functions}} when functions != "*" -> functions
      _all_or_gone -> nil
    end
  end

  @doc "May what has this origin grant a function this much, by the options of its deploy?"
  @spec permit_grants(Origin.t(), map) :: :ok | {:error, Error.t()}
  def permit_grants(origin, deploy) do
    {_limits, host} = Namespaces.defaults(deploy.name, %{}, Config.get(:host))
    default = HostGrants.default(host)

    with {:ok, %Token{name: name, grants: bounds}} <- of(origin),
         grant when grant != nil <- Bounds.beyond(bounds, deploy, default) do
      message =
        "the token #{name} grants no `#{grant}`: ask with another one, or have one made that has it among its `grants`"

      {:error, Error.new(:forbidden, message, deploy.name, %{token: name, grant: grant})}
    else
      {:error, error} -> {:error, error}
      _allowed -> :ok
    end
  end

  @doc "May what has this origin have a module of this reference fetched, and is the registry granted by its name?"
  @spec permit_registry(Origin.t(), Reference.t()) :: {:ok, :named | :any} | {:error, Error.t()}
  def permit_registry(origin, reference) do
    with {:ok, %Token{name: name, grants: bounds}} <- of(origin), nil <- Bounds.registry(bounds, reference) do
      grant = "registry:" <> reference.registry

      message =
        "the token #{name} has nothing fetched from #{reference.registry}: ask with another one, or have one made that " <>
          "has `#{grant}` among its `grants`, or `#{grant}/#{reference.repository}` for this alone"

      {:error, Error.new(:forbidden, message, nil, %{token: name, grant: grant})}
    else
      {:ok, nil} -> {:ok, :any}
      {:error, error} -> {:error, error}
      granted -> {:ok, granted}
    end
  end
end
