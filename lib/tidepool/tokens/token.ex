defmodule Tidepool.Tokens.Token do
  @moduledoc """
  What is known of a token: never its secret, whose SHA-256 it has.

  A name is known until the last of all tokens that had it would have expired, so that no node that was away brings one back that
  was revoked. Of two tokens of a name the one that was made or revoked later counts; of the same moment, the one that is
  revoked.
  """

  alias Tidepool.Function.Spec
  alias Tidepool.Tokens.Bounds

  @scopes ["admin", "call", "deploy", "read"]
  # What the node's own token is called, and what code is.
  @reserved ["tidepool_token", "elixir"]
  # Nodes whose clocks differ forget one after all of them take it for expired.
  @forgotten_after_s 86_400
  @max_at 0xFFFF_FFFF_FFFF

  @enforce_keys [:name, :hash, :scopes, :functions, :expires_at, :known_until, :made_at, :made_by, :at]
  # Tokens that were made before there were such bounds grant what they did.
  defstruct @enforce_keys ++ [revoked: false, grants: ["*"]]

  @typedoc """
  `hash`: the SHA-256 of its secret, 32 bytes. `functions`: a name, or the beginning of some with `*` at its end. `expires_at`,
  `made_at`: seconds since 1970. `known_until`: when the last one of this name expires, in the same seconds. `made_by`: the name of the token that has made it.
  `at`: when it was made or revoked, in ms. `grants`: what it may grant the functions that it deploys.
  """
  @type t :: %__MODULE__{
          name: String.t(),
          hash: <<_::256>>,
          scopes: [String.t(), ...],
          functions: String.t(),
          expires_at: pos_integer,
          known_until: pos_integer,
          made_at: non_neg_integer,
          made_by: String.t(),
          at: non_neg_integer,
          revoked: boolean,
          grants: Bounds.t()
        }

  @doc "All scopes."
  @spec scopes :: [String.t()]
  def scopes, do: @scopes

  @doc "Can a token have this name?"
  @spec name?(term) :: boolean
  def name?(name) do
    is_binary(name) and byte_size(name) <= 64 and name =~ ~r/\A[A-Za-z0-9_][A-Za-z0-9_.-]*\z/ and
      String.downcase(name) not in @reserved
  end

  @doc "Can these be the scopes of one? They are names, in order."
  @spec scopes?(term) :: boolean
  def scopes?(scopes), do: is_list(scopes) and scopes != [] and scopes == Enum.filter(@scopes, &(&1 in scopes))

  @doc """
  Can these be the functions that one is for?

      iex> Enum.map(["*", "shop-*", "shop", "a/*", "a/b*"], &Tidepool.Tokens.Token.functions?/1)
      [true, true, true, true, true]
      iex> Enum.map(["", "*shop", "shop*cart", "/*", "a/b/*", "*/b"], &Tidepool.Tokens.Token.functions?/1)
      [false, false, false, false, false, false]
  """
  @spec functions?(term) :: boolean
  def functions?("*"), do: true

  def functions?(functions) when is_binary(functions) do
    # All of a namespace is what a name with any one after the slash would be.
    functions |> String.replace_suffix("/*", "/a") |> String.replace_suffix("*", "") |> Spec.name?()
  end

  def functions?(_other), do: false

  @doc """
  Is a token for a function, by what it is for? A star at the end of a beginning stands for no slash: what is for all of a
  namespace says so.

      iex> Enum.map(["shop-cart", "shop", "myshop-cart", "shop-a/b"], &Tidepool.Tokens.Token.covers?("shop-*", &1))
      [true, false, false, false]
      iex> Enum.map(["shop/cart", "shop", "shopx/cart"], &Tidepool.Tokens.Token.covers?("shop/*", &1))
      [true, false, false]
  """
  @spec covers?(functions :: String.t(), name :: String.t()) :: boolean
  def covers?(functions, name) do
    case String.split_at(functions, -1) do
      {"", "*"} -> true
      {beginning, "*"} -> String.starts_with?(name, beginning) and not (rest(name, beginning) =~ "/")
      _whole -> functions == name
    end
  end

  defp rest(name, beginning), do: binary_part(name, byte_size(beginning), byte_size(name) - byte_size(beginning))

  @doc "What a node that knows of no bounds, or the file that one has left, tells of a token, as one."
  @spec upgrade(term) :: term
  def upgrade(%__MODULE__{} = token), do: Map.put_new(token, :grants, ["*"])
  def upgrade(other), do: other

  @doc "Can this be a token? What comes from elsewhere is asked this before it is kept."
  @spec valid?(term) :: boolean
  def valid?(%__MODULE__{name: name, hash: <<_::256>>, made_by: made_by, known_until: until, revoked: revoked} = token) do
    times = for key <- [:expires_at, :known_until, :made_at, :at], do: Map.get(token, key)

    name?(name) and scopes?(Map.get(token, :scopes)) and functions?(Map.get(token, :functions)) and
      Bounds.valid?(Map.get(token, :grants)) and is_boolean(revoked) and
      is_binary(made_by) and byte_size(made_by) <= 64 and String.valid?(made_by) and
      Enum.all?(times, &(is_integer(&1) and &1 in 0..@max_at)) and until >= token.expires_at
  end

  def valid?(_other), do: false

  @doc "Is it good at this moment, in seconds since 1970?"
  @spec live?(t, non_neg_integer) :: boolean
  def live?(token, now), do: not token.revoked and now < token.expires_at

  @doc "Need nobody know of it any more?"
  @spec over?(t, non_neg_integer) :: boolean
  def over?(token, now), do: token.known_until + @forgotten_after_s < now

  @doc "A token that takes the name of one that is known: nobody forgets the name before either would have expired."
  @spec named_after(t, t | nil) :: t
  def named_after(token, nil), do: token
  def named_after(token, known), do: %{token | known_until: max(token.known_until, known.known_until)}

  @doc "Does the first one count, of two of a name?"
  @spec later?(t, t | nil) :: boolean
  def later?(_token, nil), do: true
  def later?(token, known), do: order(token) > order(known)

  defp order(token),
    do: {token.at, token.revoked, token.hash, token.expires_at, token.functions, token.scopes, token.grants}
end
