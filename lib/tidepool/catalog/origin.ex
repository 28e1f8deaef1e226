defmodule Tidepool.Catalog.Origin do
  @moduledoc """
  Who made a change of what is deployed, and what admitted it.

  What admitted it is kept with the change, travels with it to other nodes, and decides where it counts
  (`Tidepool.Catalog.Entry`). The client's address and port stay with the node that was asked, for its log.

  Nodes of a cluster believe each other: what lets them in lets them run code.
  """

  @typedoc """
  Elixir code of this node, or a client of its edge, which had checked the token or has none to check. A token that was made
  (`Tidepool.Tokens`) is told by its name and the SHA-256 of its secret, which no other one has that takes the name later.
  """
  @type t :: :elixir | {:token | :no_token | {:token, name :: String.t(), sha256 :: <<_::256>>}, peer :: String.t()}

  @typedoc "`:unknown` is what was written down before changes carried it."
  @type admitted :: :elixir | :token | :no_token | :unknown

  @doc """
  What admits a change of this origin.

      iex> Tidepool.Catalog.Origin.admitted({:token, "127.0.0.1:50000"})
      :token
  """
  @spec admitted(t) :: admitted
  def admitted(:elixir), do: :elixir
  def admitted({{:token, _name, _sha256}, _peer}), do: :token
  def admitted({kind, _peer}), do: kind

  @doc "All that may have admitted a change. The order stays: nodes tell each other the index."
  @spec kinds :: [admitted]
  def kinds, do: [:unknown, :elixir, :token, :no_token]
end
