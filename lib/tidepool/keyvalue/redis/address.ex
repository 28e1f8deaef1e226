defmodule Tidepool.Keyvalue.Redis.Address do
  @moduledoc "Where a Redis is, and who asks it: what its URL says."

  @enforce_keys [:host, :port, :tls?, :user, :password, :database]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          host: String.t(),
          port: :inet.port_number(),
          tls?: boolean,
          user: String.t() | nil,
          password: String.t() | nil,
          database: non_neg_integer
        }

  @doc """
  Reads `redis://USER:PASSWORD@HOST:PORT/DATABASE`, of which all but the host may be missing.

      iex> alias Tidepool.Keyvalue.Redis.Address
      iex> {:ok, address} = Address.read("rediss://tide:p%40ss@cache.internal/3")
      iex> {address.host, address.port, address.tls?, address.user, address.password, address.database}
      {"cache.internal", 6379, true, "tide", "p@ss", 3}
      iex> Enum.map(["redis://", "http://a", "redis://a/b", "redis://a?b=c", nil], &Address.read/1)
      [:error, :error, :error, :error, :error]
  """
  @spec read(term) :: {:ok, t} | :error
  def read(url) when is_binary(url) do
    with {:ok, %URI{scheme: scheme, host: host, query: nil, fragment: nil} = uri} <- URI.new(url),
         true <- scheme in ["redis", "rediss"] and is_binary(host) and host != "",
         {:ok, database} <- database(uri.path) do
      {user, password} = login(uri.userinfo)
      port = uri.port || 6_379

      {:ok,
       %__MODULE__{
         host: host,
         port: port,
         tls?: scheme == "rediss",
         user: user,
         password: password,
         database: database
       }}
    else
      _other -> :error
    end
  end

  def read(_other), do: :error

  defp database(path) when path in [nil, "", "/"], do: {:ok, 0}

  defp database("/" <> number) do
    case Integer.parse(number) do
      {database, ""} when database in 0..65_535 -> {:ok, database}
      _other -> :error
    end
  end

  defp login(nil), do: {nil, nil}

  defp login(text) do
    case text |> String.split(":", parts: 2) |> Enum.map(&URI.decode/1) do
      ["", password] -> {nil, password}
      [user, password] -> {user, password}
      [password] -> {nil, password}
    end
  end

  @doc "What has to be said before anything else."
  @spec greeting(t) :: [[String.t()]]
  def greeting(%__MODULE__{user: user, password: password, database: database}) do
    login = if password, do: [Enum.reject(["AUTH", user, password], &is_nil/1)], else: []
    if database == 0, do: login, else: login ++ [["SELECT", Integer.to_string(database)]]
  end
end
