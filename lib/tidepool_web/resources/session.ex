defmodule TidepoolWeb.Resources.Session do
  @moduledoc """
  Signing in with a browser: a token, or a one-time code of `TidepoolWeb.Listener.open_code/0`, is traded for a session, which may
  what that token may.

  A session has two halves. One is a cookie that no script can read; browsers send it to all ports of the host. The other one is
  its key: the answer has it, the page keeps it where pages of other origins, and so of other ports, do not reach, and sends it in
  the header `x-tidepool`. The node keeps hashes of both.

  It is good for 12 hours, when its user does nothing for one hour, and no longer than its token; for requests of the node's own
  pages alone. The cookie's name has the node's port. A session can't be traded for another one.
  """

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Config, Log}
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.{Listener, Reply}

  @lifetime_s 43_200
  @idle_s 3_600
  # Of each half, as text.
  @half_bytes 43
  # A browser has one of a name for each path, and the node's have one path.
  @cookies 64

  @impl true
  def routes do
    [
      {"GET", "/session", scope: :read, public: true},
      {"POST", "/session", scope: :any, headers: ["authorization"]},
      {"DELETE", "/session", scope: :any, headers: ["cookie", "x-tidepool"]}
    ]
  end

  @impl true
  def serve("GET", ["session"], %{origin: origin}), do: private(200, status(origin))

  def serve("POST", ["session"], %{origin: {:no_token, _peer} = origin}), do: private(200, status(origin))

  def serve("POST", ["session"], %{headers: []}),
    do: Reply.refusal(:unauthorized, "a session is not renewed by another one: send a token, or a code")

  def serve("POST", ["session"], %{origin: origin}) do
    {id, key} = {random(), random()}
    Listener.open_session({id, key}, of(origin), @lifetime_s * 1_000, @idle_s * 1_000)
    Log.changed(:signed_in, nil, origin)
    {status, type, headers, body} = private(201, Map.put(status(origin), :key, key))
    {status, type, [{"set-cookie", cookie(id, @lifetime_s)} | headers], body}
  end

  # With the token and a cookie that somebody else has seen nobody is signed out.
  def serve("DELETE", ["session"], %{headers: headers, origin: origin}) do
    with %{"x-tidepool" => key, "cookie" => cookies} when byte_size(key) == @half_bytes <- Map.new(headers),
         do: for(id <- ids(cookies), do: Listener.close_session({id, key}))

    Log.changed(:signed_out, nil, origin)
    {status, type, headers, body} = private(200, status(nil))
    {status, type, [{"set-cookie", cookie("", 0)} | headers], body}
  end

  # Those that may be of sessions of this node. Cookies are looked at one by one, and a listener is asked for its port once: a head has
  # room for tens of thousands.
  defp ids(cookies) do
    name = name()

    cookies
    |> String.splitter(";")
    |> Stream.map(&(&1 |> String.trim() |> String.split("=", parts: 2)))
    |> Stream.filter(&match?([^name, id] when byte_size(id) == @half_bytes, &1))
    |> Stream.map(fn [_name, id] -> id end)
    |> Enum.take(@cookies)
  end

  # `token`: is there one, so that changes need it? `calls`: do calls need it, too? `may`: what who has signed in may do, and with which
  # functions.
  defp status(origin) do
    open = %{token: Config.get(:token) != nil, calls: Config.get(:calls), signed_in: false}
    if may = may(origin), do: Map.merge(open, %{signed_in: true, may: may}), else: open
  end

  defp may(nil), do: nil
  defp may({:no_token, _peer}), do: nil

  defp may(origin) do
    case Access.of(origin) do
      {:ok, nil} -> %{name: "TIDEPOOL_TOKEN", scopes: ["admin"], functions: "*", expires_at: nil}
      {:ok, token} -> Map.take(token, [:name, :scopes, :functions, :expires_at])
      {:error, _gone} -> nil
    end
  end

  defp of({{:token, _name, sha256}, _peer}), do: sha256
  defp of({:token, _peer}), do: nil

  defp random, do: Base.url_encode64(:crypto.strong_rand_bytes(32), padding: false)

  defp cookie(id, max_age_s) do
    secure = if Config.get(:tls_cert), do: "; Secure", else: ""
    "#{name()}=#{id}; Path=/; Max-Age=#{max_age_s}; HttpOnly; SameSite=Strict#{secure}"
  end

  defp name, do: "tidepool_#{Listener.port()}"

  # Nobody on the way keeps it.
  defp private(status, term) do
    {status, type, headers, body} = Reply.json(status, term)
    {status, type, [{"cache-control", "no-store"} | headers], body}
  end
end
