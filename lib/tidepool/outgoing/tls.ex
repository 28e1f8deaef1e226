defmodule Tidepool.Outgoing.Tls do
  @moduledoc "What connections of this node to servers of others ask of these, where they go by TLS."

  @doc "Options of `:ssl` for a client: somebody whom the system trusts vouches for the server's certificate, and it is of its name."
  @spec client :: [:ssl.tls_client_option()]
  def client do
    match = :public_key.pkix_verify_hostname_match_fun(:https)
    [verify: :verify_peer, depth: 10, cacerts: certificates(), customize_hostname_check: [match_fun: match]]
  end

  # Those of the system.
  defp certificates do
    :public_key.cacerts_get()
  rescue
    _none_there -> []
  end
end
