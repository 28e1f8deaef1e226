defmodule TidepoolWeb.Resource.Shares do
  @moduledoc """
  Places of long requests, shared among those who hold them: of each kind a holder gets no more places than it leaves to others. The
  edge shares them among addresses besides.

  A place is held by the process that asks for it, and is free when that has ended or gives it back.
  """

  alias Tidepool.Catalog.Origin
  alias Tidepool.Error
  alias Tidepool.Namespaces.Name
  alias Tidepool.Tokens.{Access, Token}

  @typedoc "What the places are for."
  @type kind :: atom

  @typedoc "Who shares; `nil` for who is counted, and has no share."
  @type holder :: term | nil

  @doc false
  def child_spec(_argument), do: Registry.child_spec(keys: :duplicate, name: __MODULE__)

  @doc "Who shares by the origin of a request: tokens of one namespace do, or one token for other functions; `nil` without such a token."
  @spec holder(Origin.t()) :: holder
  def holder(origin) do
    case Access.of(origin) do
      {:ok, %Token{name: name, functions: functions}} -> Name.of(functions) || {:token, name}
      _no_token -> nil
    end
  end

  @doc "The same, and without such a token the network that a request has come from."
  @spec client(Origin.t()) :: term
  def client(origin), do: holder(origin) || {:network, came_from(origin)}

  defp came_from({_kind, peer}), do: network(peer)
  defp came_from(origin), do: origin

  @doc """
  Of a peer's address, with or without a port, whose it is: a client has one address of IPv4, or a network of IPv6, whose first 64 bits
  these are. The edge counts so, too.
  """
  @spec network(peer :: String.t()) :: tuple | String.t()
  def network(peer) do
    address = Regex.replace(~r/\A\[(.*)\](?::\d+)?\z|\A([^:]*):\d+\z/, peer, "\\1\\2")

    case :inet.parse_address(to_charlist(address)) do
      {:ok, {0, 0, 0, 0, 0, 0xFFFF, _high, _low} = mapped} -> :inet.ipv4_mapped_ipv6_address(mapped)
      {:ok, {a, b, c, d, _e, _f, _g, _h}} -> {:ipv6, a, b, c, d}
      {:ok, address} -> address
      {:error, :einval} -> peer
    end
  end

  @doc "How many places of a kind are held."
  @spec count(kind) :: non_neg_integer
  def count(kind), do: held({kind})

  @doc "Takes one of `most` places for a request, until the calling process has ended; `what` says in the error what they are for."
  @spec place(kind, Origin.t(), most :: pos_integer, what :: String.t()) :: :ok | {:error, Error.t()}
  def place(kind, origin, most, what) do
    with :full <- take(kind, holder(origin), most) do
      message = "this token, or others for its namespace, have their share of #{what}: end one first"
      {:error, Error.new(:overloaded, message)}
    end
  end

  @doc "Takes one of `most` places for the calling process; `:full` when its holder has its share."
  @spec take(kind, holder, most :: pos_integer) :: :ok | :full
  def take(kind, holder, most) do
    for key <- keys(kind, holder), do: {:ok, _registry} = Registry.register(__MODULE__, key, nil)
    others = held({kind}) - 1

    if holder == nil or held({kind, holder}) <= most - others do
      :ok
    else
      give_back(kind, holder)
      :full
    end
  end

  @doc "Gives back what `take/3` took."
  @spec give_back(kind, holder) :: :ok
  def give_back(kind, holder) do
    for key <- keys(kind, holder), do: Registry.unregister(__MODULE__, key)
    :ok
  end

  defp keys(kind, holder), do: [{kind}, {kind, holder}]
  defp held(key), do: length(Registry.lookup(__MODULE__, key))
end
