defmodule Tidepool.Resource do
  @moduledoc """
  A handle of a resource, as WIT has them: a guest's, or one that the host gives to guests.

  **A guest's** is what a kept instance returns (`Tidepool.Instance`), and what its methods are called with. It is bound to that
  instance, and good until it is dropped, given away, or the instance ends. What stands for another instance's, or for one that is
  gone, is refused as any argument of a wrong type is, with the place of the value.

  **The host's** is any term, with a function that is told of its end:

      Tidepool.Resource.new(%{items: []}, fn cart -> Logger.info("cart of \#{length(cart.items)} items is gone") end)

  A handler returns it where the import's type has the resource, and finds it again among its arguments: `fetch!/2` has the term.
  `Tidepool.Host.register_interface/3` does both for the methods of a module. One guest has it at a time; a guest that is given it has it until it drops
  it, gives it back, or ends.

  Its end comes once: when the guest drops it, when the instance ends that has it, whatever ended that, or when there is no guest that
  has it and no process has the handle. The function runs in a process of its own, soon after that; nobody waits for it. What it
  fails with is logged. When the node stops, nobody is told.

  Handles are references of this node. A handle that is sent to another node and back is the same, as long as somebody here has it.
  """

  alias Tidepool.Resource.Keeper
  alias Tidepool.{Native, Options}

  @enforce_keys [:ref, :type]
  defstruct @enforce_keys

  @typedoc "A handle. What is in it is for the library alone."
  @type t :: %__MODULE__{ref: reference, type: String.t() | nil}

  @doc "A resource of the host's that is this term; `ended`, if there is one, gets the term once the resource has ended."
  @spec new(term, (term -> term) | nil) :: t
  def new(term, ended \\ nil) do
    ended == nil or is_function(ended, 1) ||
      Options.wrong!("Tidepool.Resource.new/2: what is told of the end", "a function of one argument, or nil", ended)

    Keeper.keep(term, ended)
  end

  @doc "The term of a resource of the host's; `:error` once it has ended, and of any other."
  @spec fetch(t) :: {:ok, term} | :error
  def fetch(%__MODULE__{} = resource) do
    case Native.resource_id(resource) do
      nil -> :error
      id -> Keeper.find(id)
    end
  rescue
    # Somebody made it up, or it comes from another node.
    ArgumentError -> :error
  end

  @doc "The same, which raises `ArgumentError` where there is no term."
  @spec fetch!(t) :: term
  def fetch!(%__MODULE__{} = resource) do
    case fetch(resource) do
      {:ok, term} -> term
      :error -> raise ArgumentError, "#{inspect(resource)} is none of the host's, or has ended"
    end
  end

  @doc """
  The same of a resource of this type: `"docs:shop/carts#cart"`, with or without the interface's version.

  Which types an import has its guest says: what stands for a cart in a handler's arguments may be a number, or another resource of
  the host's. Of such this raises `ArgumentError`.
  """
  @spec fetch!(t, type :: String.t()) :: term
  def fetch!(resource, type) do
    with %__MODULE__{type: own} when own != nil <- resource,
         true <- of?(own, type) and made_for?(resource, type) do
      fetch!(resource)
    else
      _other -> raise ArgumentError, "it has to be a resource #{type}, and is #{inspect(resource)}"
    end
  end

  # A guest that has declared two types to be one has the first one's name for both. So what made the resource counts as well.
  defp made_for?(resource, type) do
    case resource |> Native.resource_id() |> Keeper.made_for() do
      nil -> true
      {:interface, interface} -> of?(interface, type |> String.split("#") |> hd())
      {:type, made} -> of?(made, type)
    end
  end

  defp of?(own, type), do: type in [own, String.replace(own, ~r/@[^#]*/, "")]

  @doc "The name of its type, with its interface before `#`: `docs:counter/counters#counter`. `nil` of one that no guest has had."
  @spec type(t) :: String.t() | nil
  def type(%__MODULE__{type: type}), do: type

  defimpl Inspect do
    def inspect(resource, _options), do: "#Tidepool.Resource<#{resource.type || "of the host's"}>"
  end
end
