defmodule Tidepool.Trace.Sender do
  @moduledoc """
  Sends a batch of spans to the collector: OTLP over HTTP, as JSON. Nothing here outlives the process that sends.
  """

  alias Tidepool.{Config, Native}
  alias Tidepool.Trace.{Post, Settings, Span}

  # Answers that say that the same may be taken later, by OTLP.
  @later [429, 502, 503, 504]

  @doc "The outcome: all were taken, they may be taken later, or never."
  @spec send([Span.t()]) :: :sent | {:again, term} | {:never, term}
  def send(spans) do
    settings = Config.get(:otlp)
    url = URI.parse(String.trim_trailing(settings.endpoint, "/") <> "/v1/traces")
    headers = [{"content-type", "application/json"} | Settings.headers(settings.headers)]

    case Post.status(url, headers, body(spans, settings), settings.timeout) do
      {:ok, status} when status in 200..299 -> :sent
      {:ok, status} when status in @later -> {:again, {:status, status}}
      {:ok, status} -> {:never, {:status, status}}
      {:error, reason} -> {:again, reason}
    end
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
