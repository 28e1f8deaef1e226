defmodule Tidepool.Trace.Sender do
  @moduledoc """
  Sends a batch of spans to the collector: OTLP over HTTP, as JSON. Nothing here outlives the process that sends.
  """

  alias Tidepool.{Config, Native}
  alias Tidepool.Trace.{Settings, Span}

  # Connections of its own: an application may have set up others.
  @profile :tidepool_otlp
  # Answers that say that the same may be taken later, by OTLP.
  @later [429, 502, 503, 504]

  @doc "Makes ready what all batches use."
  @spec prepare :: :ok
  def prepare do
    _started_or_there = :inets.start(:httpc, profile: @profile)
    :httpc.set_options([max_sessions: 1, cookies: :disabled], @profile)
  end

  @doc "The outcome: all were taken, they may be taken later, or never."
  @spec send([Span.t()]) :: :sent | {:again, term} | {:never, term}
  def send(spans) do
    settings = Config.get(:otlp)
    url = String.trim_trailing(settings.endpoint, "/") <> "/v1/traces"
    headers = for {name, value} <- Settings.headers(settings.headers), do: {to_charlist(name), to_charlist(value)}
    request = {to_charlist(url), headers, ~c"application/json", body(spans, settings)}
    http = [timeout: settings.timeout, connect_timeout: settings.timeout, autoredirect: false, ssl: tls()]

    case :httpc.request(:post, request, http, [body_format: :binary], @profile) do
      {:ok, {{_version, status, _phrase}, _headers, _body}} when status in 200..299 -> :sent
      {:ok, {{_version, status, _phrase}, _headers, _body}} when status in @later -> {:again, {:status, status}}
      {:ok, {{_version, status, _phrase}, _headers, _body}} -> {:never, {:status, status}}
      {:error, reason} -> {:again, reason}
    end
  end

  defp tls, do: [verify: :verify_peer, depth: 10, cacerts: certificates(), customize_hostname_check: hostname()]

  defp hostname, do: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]

  # Those of the system.
  defp certificates do
    :public_key.cacerts_get()
  rescue
    _none_there -> []
  end

  # Newest first, as they come. One after the other: a scheduler is not held for all of them.
  defp body(spans, settings) do
    resource = [
      {"service.name", settings.service},
      {"service.instance.id", "#{node()}"},
      {"service.version", version()},
      {"telemetry.sdk.name", "tidepool"},
      {"telemetry.sdk.language", "erlang"}
    ]

    resource = Native.json_encode(%{attributes: Span.attributes(resource)})
    scope = Native.json_encode(%{name: "tidepool", version: version()})
    spans = Enum.reduce(spans, [], &[Native.json_encode(Span.term(&1)), if(&2 == [], do: "", else: ",") | &2])

    IO.iodata_to_binary([
      [~s({"resourceSpans":[{"resource":), resource, ~s(,"scopeSpans":[{"scope":), scope],
      [~s(,"spans":[), spans, "]}]}]}"]
    ])
  end

  defp version, do: :tidepool |> Application.spec(:vsn) |> to_string()
end
