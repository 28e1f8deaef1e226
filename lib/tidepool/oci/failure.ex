defmodule Tidepool.Oci.Failure do
  @moduledoc "Why a module could not be had from a registry, as errors. None has a word of what a server sent as a body."

  alias Tidepool.Error

  @type t :: {:error, Error.t()}

  @doc "The registry, or where it sends the node, can't be reached."
  @spec unreachable(registry :: String.t(), why :: String.t()) :: t
  def unreachable(registry, why), do: failure(:registry_unreachable, registry, "#{registry} can't be reached: #{why}")

  @doc "It was not done within the time that the node gives it, in ms."
  @spec timeout(registry :: String.t(), timeout_ms :: pos_integer) :: t
  def timeout(registry, timeout_ms) do
    message = "the module did not come from #{registry} within #{timeout_ms} ms, the node's setting `registry_timeout`"
    failure(:registry_timeout, registry, message)
  end

  @doc "The registry says that this node may not have it."
  @spec denied(registry :: String.t(), why :: String.t()) :: t
  def denied(registry, why), do: failure(:registry_denied, registry, why)

  @doc "The registry has too much to do, or the node fetches too much at once."
  @spec busy(registry :: String.t(), why :: String.t()) :: t
  def busy(registry, why), do: failure(:registry_busy, registry, "#{why}: try again later")

  @doc "What the registry answers is not what one answers."
  @spec failed(registry :: String.t(), why :: String.t()) :: t
  def failed(registry, why),
    do: failure(:registry_failed, registry, "#{registry} does not answer as a registry: #{why}")

  @doc "The registry knows of nothing that is called so."
  @spec unknown(registry :: String.t(), reference :: String.t()) :: t
  def unknown(registry, reference) do
    message = "#{reference} is not there, or this node's login may not see it: look at its name and tag"
    failure(:unknown_ref, registry, message)
  end

  @doc "What came is not what its digest says."
  @spec wrong_digest(registry :: String.t(), what :: String.t()) :: t
  def wrong_digest(registry, what) do
    failure(:wrong_digest, registry, "#{registry} has sent #{what} that is another than its digest says")
  end

  @doc "What is there is no module."
  @spec no_module(registry :: String.t(), reference :: String.t(), why :: String.t()) :: t
  def no_module(registry, reference, why), do: failure(:no_module, registry, "#{reference} #{why}")

  defp failure(reason, registry, message), do: {:error, Error.new(reason, message, nil, %{registry: registry})}
end
