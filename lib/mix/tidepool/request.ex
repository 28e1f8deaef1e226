defmodule Tidepool.Mix.Request do
  @moduledoc "What tasks ask a running node over HTTP."

  alias Tidepool.Error.Terminal
  alias Tidepool.Options

  @url "http://localhost:4000"
  @timeout_ms 10_000
  # Of an answer that is none of a node. The client takes all of it, as it has no bound of its own: whoever runs a task names the server.
  @shown_bytes 4_096

  @typedoc """
  `:url` is of the node, `:cacert` a file in PEM with the certificates that sign its own: those that the system knows by default.
  `:timeout_ms` is how long it may take to answer.
  """
  @type options :: [url: String.t(), cacert: String.t(), timeout_ms: pos_integer]

  @doc "Where the node is that options name."
  @spec url(options) :: String.t()
  def url(options), do: options |> Keyword.get(:url, @url) |> String.trim_trailing("/")

  @doc "The answer to a question, with the token in `TIDEPOOL_TOKEN` if there is one; or why there is none."
  @spec ask(:get | :delete | :post, path :: String.t(), body :: map | nil, options) ::
          {:ok, term} | {:error, String.t()}
  def ask(method, path, body \\ nil, options) do
    for application <- [:inets, :ssl], do: {:ok, _started} = Application.ensure_all_started(application)
    {url, headers} = {to_charlist(url(options) <> path), authorization(System.get_env("TIDEPOOL_TOKEN"))}

    request =
      if body,
        do: {url, headers, ~c"application/json", Tidepool.Native.json_encode(body)},
        else: {url, headers}

    http = [
      timeout: Keyword.get(options, :timeout_ms, @timeout_ms),
      ssl: [verify: :verify_peer, customize_hostname_check: hostnames()] ++ roots(options[:cacert])
    ]

    case :httpc.request(method, request, http, body_format: :binary) do
      {:ok, {{_version, 200, _reason}, _headers, body}} -> Tidepool.Native.json_decode(body)
      {:ok, {{_version, status, _reason}, _headers, body}} -> {:error, "status #{status}, #{shown(body)}"}
      {:error, reason} -> {:error, inspect(reason)}
    end
  end

  defp shown(body) do
    cut = Options.cut(body, @shown_bytes)
    Terminal.line(cut) <> if(cut == body, do: "", else: "…")
  end

  defp authorization(nil), do: []
  defp authorization(token), do: [{~c"authorization", to_charlist("Bearer #{token}")}]

  # As browsers match names, with `*` for a part.
  defp hostnames, do: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]

  defp roots(nil), do: [cacerts: :public_key.cacerts_get()]
  defp roots(file), do: [cacertfile: file]
end
