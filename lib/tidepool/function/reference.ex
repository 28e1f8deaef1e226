defmodule Tidepool.Function.Reference do
  @moduledoc """
  Where a module is in a registry: `oci://HOST[:PORT]/NAME:TAG`, `oci://…/NAME@sha256:DIGEST`, or both, as in what is kept of a
  deploy. The digest is the manifest's; where there is one it says what is meant, and the tag what it was called.

  Hosts, names and tags are as the OCI's distribution specification has them. There is no host and no tag that is meant by none.
  """

  @enforce_keys [:registry, :repository]
  defstruct @enforce_keys ++ [:tag, :digest]

  @typedoc "`registry`: the host, in lower case, with its port if one is named. `digest`: the SHA-256 in hex, without its algorithm."
  @type t :: %__MODULE__{
          registry: String.t(),
          repository: String.t(),
          tag: String.t() | nil,
          digest: String.t() | nil
        }

  @component "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
  @host "(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9a-fA-F:.]+\\])"
  @registry "#{@host}(?::[0-9]{1,5})?"
  @pattern "\\Aoci://(#{@registry})/(#{@component}(?:/#{@component})*)" <>
             "(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@sha256:([0-9a-f]{64}))?\\z"
  @longest 1_024
  # So that what is kept, with a digest, is one, too.
  @longest_registry 261
  @longest_repository 255

  @doc "What a reference has to be."
  @spec expectation :: String.t()
  def expectation, do: "`oci://HOST/NAME:TAG` or `oci://HOST/NAME@sha256:DIGEST`"

  @doc """
  Can this be a reference?

      iex> alias Tidepool.Function.Reference
      iex> digest = String.duplicate("0a", 32)
      iex> Enum.map(["a.example/b:1", "localhost:5000/a/b-c:v1.2", "[::1]:80/a@sha256:" <> digest, "a/b:1@sha256:" <> digest], &Reference.valid?("oci://" <> &1))
      [true, true, true, true]
      iex> Enum.map(["oci://a/b", "oci://a/B:1", "oci://a:1", "a/b:1", "oci://a/../b:1", "oci://u@a/b:1", "oci://a/b@sha256:00", nil], &Reference.valid?/1)
      [false, false, false, false, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(text), do: parse(text) != :error

  @doc """
  The end of a sentence about a text that is no reference, where a tag or a digest would make it one.

      iex> Enum.map(["oci://ghcr.io/team/calc", "ghcr.io/team/calc", "oci://ghcr.io"], &Tidepool.Function.Reference.lacks/1)
      [", which has no tag or digest", nil, nil]
  """
  @spec lacks(term) :: String.t() | nil
  def lacks(text) when is_binary(text),
    do: if(not valid?(text) and valid?(text <> ":1"), do: ", which has no tag or digest")

  def lacks(_other), do: nil

  @doc "Can this be the host of a registry, with or without a port?"
  @spec registry?(term) :: boolean
  def registry?(text), do: is_binary(text) and text =~ ~r/\A#{@registry}\z/ and registry_fits?(text)

  @doc "Can this be the name of something in a registry?"
  @spec repository?(term) :: boolean
  def repository?(text),
    do: is_binary(text) and byte_size(text) <= @longest_repository and text =~ ~r/\A#{@component}(?:\/#{@component})*\z/

  @doc "What a text says."
  @spec parse(term) :: {:ok, t} | :error
  def parse(text) when is_binary(text) and byte_size(text) <= @longest do
    with [_all, registry, repository | which] <- Regex.run(Regex.compile!(@pattern), text),
         true <- byte_size(repository) <= @longest_repository and registry_fits?(registry),
         {tag, digest} when tag != nil or digest != nil <- which(which) do
      {:ok, %__MODULE__{registry: String.downcase(registry), repository: repository, tag: tag, digest: digest}}
    else
      _none -> :error
    end
  end

  def parse(_other), do: :error

  defp which([]), do: {nil, nil}
  defp which([tag]), do: {tag, nil}
  defp which(["", digest]), do: {nil, digest}
  defp which([tag, digest]), do: {tag, digest}

  defp registry_fits?(registry) when byte_size(registry) > @longest_registry, do: false

  defp registry_fits?(registry) do
    case Regex.run(~r/:([0-9]+)\z/, String.replace(registry, ~r/\[.*\]/, "")) do
      [_all, port] -> String.to_integer(port) in 1..65_535
      nil -> true
    end
  end

  @doc "As text again."
  @spec text(t) :: String.t()
  def text(%__MODULE__{registry: registry, repository: repository, tag: tag, digest: digest}) do
    Enum.join(["oci://", registry, "/", repository] ++ part(":", tag) ++ part("@sha256:", digest))
  end

  defp part(_sign, nil), do: []
  defp part(sign, text), do: [sign, text]

  @doc """
  What a function is called that says no name: what stands last in the reference's.

      iex> Tidepool.Function.Reference.name("oci://registry.example/team/greeter:1")
      "greeter"
  """
  @spec name(term) :: String.t() | nil
  def name(text) do
    with {:ok, %{repository: repository}} <- parse(text) do
      repository |> String.split("/") |> List.last()
    else
      :error -> nil
    end
  end
end
