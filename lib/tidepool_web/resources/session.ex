defmodule TidepoolWeb.Resources.Session do
  @moduledoc """
  Signing in with a browser: the token, or a one-time code of `TidepoolWeb.Listener.open_code/0`, is traded for a cookie that
  no script can read.

  The cookie is good for 12 hours, unused for one hour, and for requests of the node's own pages alone; the node keeps a hash of it.
  Its name has the node's port, for browsers send cookies to all ports of a host. A session can't be traded for another one.
  """

  @behaviour TidepoolWeb.Resource

  alias Tidepool.Config
  alias TidepoolWeb.{Listener, Reply}

  @lifetime_s 43_200
  @idle_s 3_600

  @impl true
  def routes do
    [
      {"GET", "/session", scope: :read},
      {"POST", "/session", scope: :admin, headers: ["authorization"]},
      {"DELETE", "/session", scope: :admin, headers: ["cookie"]}
    ]
  end

  @impl true
  def serve("GET", ["session"], %{origin: origin}), do: Reply.json(200, status(origin))

  def serve("POST", ["session"], %{origin: {:no_token, _peer} = origin}), do: Reply.json(200, status(origin))

  def serve("POST", ["session"], %{headers: [], origin: {:token, _peer}}) do
    Reply.refusal(401, :unauthorized, "a session is not renewed by another one: send the token, or a code")
  end

  # It would be one of the node's own token, whatever becomes of this one.
  def serve("POST", ["session"], %{origin: {{:token, name, _functions}, _peer}}) do
    message = "a browser signs in with the node's own token, or a code: #{name} is good for requests that carry it"
    Reply.refusal(403, :forbidden, message, %{token: name, scope: "admin"})
  end

  def serve("POST", ["session"], %{origin: origin}) do
    id = Base.url_encode64(:crypto.strong_rand_bytes(32), padding: false)
    Listener.open_session(id, @lifetime_s * 1_000, @idle_s * 1_000)
    {status, type, headers, body} = Reply.json(201, status(origin))
    {status, type, [{"set-cookie", cookie(id, @lifetime_s)} | headers], body}
  end

  def serve("DELETE", ["session"], %{headers: headers}) do
    for {"cookie", cookies} <- headers,
        cookie <- String.split(cookies, ";"),
        [name, id] <- [cookie |> String.trim() |> String.split("=", parts: 2)],
        name == name(),
        do: Listener.close_session(id)

    {status, type, headers, body} = Reply.json(200, %{token: Config.get(:token) != nil, signed_in: false})
    {status, type, [{"set-cookie", cookie("", 0)} | headers], body}
  end

  # `token`: is there one, so that changes need it?
  defp status({admitted, _peer}), do: %{token: Config.get(:token) != nil, signed_in: admitted == :token}

  defp cookie(id, max_age_s) do
    secure = if Config.get(:tls_cert), do: "; Secure", else: ""
    "#{name()}=#{id}; Path=/; Max-Age=#{max_age_s}; HttpOnly; SameSite=Strict#{secure}"
  end

  defp name, do: "tidepool_#{Listener.port()}"
end
