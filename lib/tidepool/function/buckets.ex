defmodule Tidepool.Function.Buckets do
  @moduledoc """
  Buckets of keys and values that a function's guests may open by `wasi:keyvalue`: a list of names. Nothing else is there for them.

  A bucket is that of the function's namespace: see `Tidepool.Keyvalue`.
  """

  @most 32
  @name_bytes 64

  @type t :: [String.t()]

  @bounds "1 to #{@name_bytes} letters, digits, dots, dashes or underscores"

  @doc "What a list of them has to be."
  @spec expectation :: String.t()
  def expectation, do: "a list of at most #{@most} names of #{@bounds} each"

  @doc "What the text of one has to be."
  @spec notation :: String.t()
  def notation, do: "a name of #{@bounds}; #{@most} at most"

  @doc """
  Can a function have these?

      iex> alias Tidepool.Function.Buckets
      iex> Enum.map([[], ["sessions", "a.b-c_1"]], &Buckets.valid?/1)
      [true, true]
      iex> Enum.map([[""], ["shop/a"], ["a", "a"], ["*"], [:a], "a", ["a" | "b"]], &Buckets.valid?/1)
      [false, false, false, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(names) do
    is_list(names) and List.improper?(names) == false and length(names) <= @most and Enum.all?(names, &name?/1) and
      Enum.uniq(names) == names
  end

  @doc "Can a bucket have this name?"
  @spec name?(term) :: boolean
  def name?(name), do: is_binary(name) and byte_size(name) <= @name_bytes and name =~ ~r/\A[A-Za-z0-9_.-]+\z/

  @doc "The one of a text."
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text), do: if(name?(text), do: {:ok, [text]}, else: :error)
end
