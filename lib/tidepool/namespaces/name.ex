defmodule Tidepool.Namespaces.Name do
  @moduledoc "The namespace in a function's name."

  @doc """
  The namespace of a function's name; `nil` for one without.

      iex> Enum.map(["shop/checkout", "checkout"], &Tidepool.Namespaces.Name.of/1)
      ["shop", nil]
  """
  @spec of(String.t()) :: String.t() | nil
  def of(name), do: with([namespace, _name] <- parts(name), do: namespace, else: (_whole -> nil))

  @doc "A name, and what stands before its slash, if it has one."
  @spec parts(String.t()) :: [String.t(), ...]
  def parts(name), do: String.split(name, "/", parts: 2)

  @doc """
  May guests of a function call another one? That is in their own namespace, or in none: functions of other namespaces are not theirs
  to know, whatever the deploys grant.

      iex> for to <- ["shop/cart", "mailer", "blog/post"], do: Tidepool.Namespaces.Name.reaches?("shop/checkout", to)
      [true, true, false]
      iex> for to <- ["shop/cart", "mailer"], do: Tidepool.Namespaces.Name.reaches?("gateway", to)
      [false, true]
  """
  @spec reaches?(from :: String.t(), to :: String.t()) :: boolean
  def reaches?(from, to), do: of(to) in [nil, of(from)]

  @doc """
  Can this be a namespace? It is what a name without one may be.

      iex> Enum.map(["shop", "a.b-c", "", "a/b", "..", "-a"], &Tidepool.Namespaces.Name.valid?/1)
      [true, true, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(text), do: is_binary(text) and byte_size(text) <= 128 and text =~ ~r/\A[A-Za-z0-9_][A-Za-z0-9_.-]*\z/
end
