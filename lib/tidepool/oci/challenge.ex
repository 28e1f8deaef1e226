defmodule Tidepool.Oci.Challenge do
  @moduledoc """
  What a registry says that it wants to be told, in `WWW-Authenticate` (RFC 9110, RFC 6750): a login, or a token that is to be had at
  an address for one.
  """

  # Bytes of one that is read.
  @longest 4_096

  @type t :: :basic | {:bearer, realm :: String.t(), service :: String.t() | nil}

  @doc """
  The first challenge among headers that there is an answer to.

      iex> bearer = ~s(Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a:pull")
      iex> Tidepool.Oci.Challenge.read([{"www-authenticate", bearer}])
      {:bearer, "https://auth.example/token", "registry.example"}
      iex> Tidepool.Oci.Challenge.read([{"www-authenticate", "Negotiate"}, {"www-authenticate", ~s(basic realm="a")}])
      :basic
      iex> Tidepool.Oci.Challenge.read([{"www-authenticate", "Bearer realm="}])
      nil
      iex> Tidepool.Oci.Challenge.read([{"www-authenticate", bearer <> String.duplicate("a", 5_000)}])
      nil
  """
  @spec read([{String.t(), String.t()}]) :: t | nil
  def read(headers) do
    Enum.find_value(headers, fn
      {"www-authenticate", text} -> challenge(String.split(text, " ", parts: 2))
      _other -> nil
    end)
  end

  defp challenge([scheme | parameters]) do
    case {String.downcase(scheme), parameters} do
      {"basic", _realm} -> :basic
      {"bearer", [text]} when byte_size(text) <= @longest -> bearer(parameters(text))
      _unknown -> nil
    end
  end

  defp bearer(%{"realm" => realm} = parameters), do: {:bearer, realm, parameters["service"]}
  defp bearer(_none), do: nil

  # A name begins where no other letter is before it: a long one is looked at once.
  defp parameters(text) do
    for [_all, name, value] <- Regex.scan(~r/(?<![A-Za-z])([A-Za-z]+)="([^"\\]*)"/, text),
        into: %{},
        do: {String.downcase(name), value}
  end

  @doc "Where the token is to be had for pulling from a repository, and no more than that."
  @spec address(realm :: String.t(), service :: String.t() | nil, repository :: String.t()) :: String.t()
  def address(realm, service, repository) do
    query = if(service, do: [service: service], else: []) ++ [scope: "repository:#{repository}:pull"]
    realm <> if(realm =~ "?", do: "&", else: "?") <> URI.encode_query(query)
  end
end
