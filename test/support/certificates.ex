defmodule Tidepool.Certificates do
  @moduledoc """
  Certificates for servers and their clients.
  """

  @doc "The options of a server of these names, and of a client whose authority vouches for it."
  def certificates(names \\ [dNSName: ~c"localhost"]) do
    names = [{:Extension, {2, 5, 29, 17}, false, names}]
    own = [key: {:rsa, 2_048, 65_537}, digest: :sha256]

    %{server_config: server, client_config: client} =
      :public_key.pkix_test_data(%{
        server_chain: %{root: own, intermediates: [], peer: [extensions: names] ++ own},
        client_chain: %{root: own, intermediates: [], peer: own}
      })

    {server, client}
  end

  @doc "The certificate and the key of a server, as PEM."
  def identity(server) do
    {:RSAPrivateKey, key} = server[:key]
    {pem(:Certificate, server[:cert]), pem(:RSAPrivateKey, key)}
  end

  @doc "What is in a file, as PEM."
  def pem(kind, der), do: :public_key.pem_encode([{kind, der, :not_encrypted}])
end
