defmodule TidepoolWeb.Resource.Namespace do
  @moduledoc "The parameter `namespace`, of lists of what has a function's name."

  alias Tidepool.Namespaces.Name

  @doc "The parameter, for `TidepoolWeb.Resource.Parameters.read/2`."
  @spec parameter :: {String.t(), {Tidepool.Options.type(), nil}}
  def parameter, do: {"namespace", {{:check, &Name.valid?/1, "what stands before a name's slash"}, nil}}

  @doc """
  Is a name in the namespace that a parameter says? Without one all names are.

      iex> Enum.map(["shop/cart", "shop", "shopx/cart"], &TidepoolWeb.Resource.Namespace.within?(&1, "shop"))
      [true, false, false]
  """
  @spec within?(String.t(), String.t() | nil) :: boolean
  def within?(name, namespace), do: namespace == nil or Name.of(name) == namespace
end
