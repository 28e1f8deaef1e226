defmodule TidepoolWeb.Resources.Tokens do
  @moduledoc "Tokens: made, listed, revoked, by admins of all functions."

  @behaviour TidepoolWeb.Resource

  alias Tidepool.{Error, Native, Options, Tokens}
  alias TidepoolWeb.Reply
  alias TidepoolWeb.Resource.Parameters

  @impl true
  def routes do
    [
      {"GET", "/tokens", scope: :admin, guarded: true},
      {"POST", "/tokens", scope: :admin, body: {:whole, 4_096}},
      {"DELETE", "/tokens/:token", scope: :admin, query: true}
    ]
  end

  @impl true
  def serve("GET", ["tokens"], _request), do: private(200, %{tokens: Enum.map(Tokens.list(), &shown/1)})

  def serve("POST", ["tokens"], %{body: body, origin: origin}) do
    with {:ok, options} <- options(Native.json_decode(body)),
         {:ok, token, secret} <- Tokens.make(options, origin) do
      private(201, Map.put(shown(token), :secret, secret))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  # `also`: what it had made, and was revoked with it; `left`: what it had made, and was not.
  def serve("DELETE", ["tokens", name], %{origin: origin, query: query}) do
    with {:ok, %{"children" => children?}} <- Parameters.read(query, [{"children", {:boolean, false}}]),
         {:ok, told} <- Tokens.revoke(name, origin, children: children?) do
      Reply.json(200, Map.put(told, :revoked, name))
    else
      {:error, error} -> Reply.error(error)
    end
  end

  # Nobody on the way keeps a secret.
  defp private(status, term) do
    {status, type, headers, body} = Reply.json(status, term)
    {status, type, [{"cache-control", "no-store"} | headers], body}
  end

  defp shown(token), do: Map.take(token, [:name, :scopes, :functions, :grants, :expires_at, :made_at, :made_by])

  defp options({:ok, %{} = object}) do
    known = Map.new(Tokens.schema(), fn {key, _spec} -> {Atom.to_string(key), key} end)

    case Enum.find(object, fn {name, _value} -> not is_map_key(known, name) end) do
      nil -> {:ok, for({name, value} <- object, do: {known[name], value})}
      {name, _value} -> wrong("#{Options.show(name)} is unknown: known are #{Enum.join(Map.keys(known), ", ")}")
    end
  end

  defp options(_other), do: wrong("send a JSON object, such as {\"name\": \"ci\", \"scopes\": [\"deploy\"]}")

  defp wrong(message), do: {:error, Error.new(:invalid_option, message)}
end
