defmodule Tidepool.Actor.Bucket do
  @moduledoc """
  Actors without a guest, which keep keys and values for `Tidepool.Keyvalue.Actors`. Which node has one, what its changes cost, how they
  are written and who may have it next, are as of other actors.

  The buckets of a namespace are the actors of a class that no function can be called: `NAMESPACE/:keyvalue`. What is asked of them is bytes that the host has
  made, so they are asked by `Tidepool.Actor.ask_bucket/6` alone.
  """

  alias Tidepool.Function
  alias Tidepool.Namespaces.Name

  @class ":keyvalue"

  @options %{
    durability: :commit,
    idle: 30_000,
    # There is no image of it.
    frozen: 0,
    flush: 1_000,
    queue: 1_000,
    queue_bytes: 16_777_216,
    values: 0,
    versions: :pin
  }

  @typedoc """
  What is asked, and the answer. `most` is of the bytes of values in one answer, or of those that entries count together, each with its key, its
  value and 128 bytes; `nil` is no value.
  """
  @type question ::
          {:get, [key :: binary], most :: pos_integer}
          | {:exists, key :: binary}
          | {:list, after_key :: binary | nil, limit :: pos_integer}
          | {:put, [{key :: binary, binary | nil}], most :: pos_integer}
          | {:swap, key :: binary, expected :: binary | nil, binary, most :: pos_integer}

  @type answer ::
          {:ok, [binary | nil]}
          | {:ok, boolean}
          | {:ok, keys :: [binary], more? :: boolean}
          | :ok
          | {:changed, binary | nil}
          | :too_large
          | :full

  @doc "The class of the buckets of a namespace, and of those of functions without one."
  @spec class(namespace :: String.t() | nil) :: String.t()
  def class(nil), do: @class
  def class(namespace), do: namespace <> "/" <> @class

  @doc """
  Is this such a class?

      iex> Enum.map([":keyvalue", "shop/:keyvalue", "shop/keyvalue", "/:keyvalue", nil], &Tidepool.Actor.Bucket.class?/1)
      [true, true, false, false, false]
  """
  @spec class?(term) :: boolean
  def class?(@class), do: true

  def class?(class) when is_binary(class),
    do: with([namespace, @class] <- Name.parts(class), do: Name.valid?(namespace), else: (_another -> false))

  def class?(_other), do: false

  @doc "What stands for the function of such a class."
  @spec function(class :: String.t()) :: Function.t()
  def function(class), do: struct(Function, name: class, version: 1, sha256: "", actor: @options)
end
