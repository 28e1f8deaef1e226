defmodule Tidepool.Function.Signature do
  @moduledoc """
  Who vouches for a module: a signature of its bytes by Ed25519 (RFC 8032), in Base64.

  A node with the setting `deploy_keys` deploys, loads and takes from other nodes what one of these keys has signed, and
  nothing else. The signature is kept with the function and goes where that goes.
  """

  alias Tidepool.Error

  @signature_bytes 64
  @key_bytes 32

  @typedoc "64 bytes in Base64, or none."
  @type t :: String.t() | nil

  @doc "What a signature has to be."
  @spec expectation :: String.t()
  def expectation, do: "an Ed25519 signature of the module: #{@signature_bytes} bytes in Base64"

  @doc """
  Can this be a signature?

      iex> Enum.map([Base.encode64(<<0::512>>), Base.encode64(<<0::504>>), "", nil], &Tidepool.Function.Signature.valid?/1)
      [true, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(text), do: sized?(text, @signature_bytes)

  @doc "Can this be a key of the setting `deploy_keys`?"
  @spec key?(term) :: boolean
  def key?(text), do: sized?(text, @key_bytes)

  defp sized?(text, bytes), do: is_binary(text) and match?({:ok, <<_::binary-size(bytes)>>}, Base.decode64(text))

  @doc """
  Lets a module pass that one of the keys vouches for; any, when there are none.

  The error's reason is `:unsigned`: there is no signature, or it is none of these bytes by one of the keys.
  """
  @spec check(binary, %{:signature => t, :name => String.t(), optional(atom) => term}, keys :: [String.t()]) ::
          :ok | {:error, Error.t()}
  def check(wasm, %{signature: signature, name: name}, keys) do
    cond do
      keys == [] or (signature != nil and Enum.any?(keys, &signed?(wasm, signature, &1))) ->
        :ok

      signature == nil ->
        refused("the module has no signature, and this node needs one by a key of its setting `deploy_keys`", name)

      true ->
        refused("the signature is not of this module by a key of this node's setting `deploy_keys`", name)
    end
  end

  defp signed?(wasm, signature, key) do
    :crypto.verify(:eddsa, :none, wasm, Base.decode64!(signature), [Base.decode64!(key), :ed25519])
  end

  defp refused(message, name), do: {:error, Error.new(:unsigned, message, name)}
end
