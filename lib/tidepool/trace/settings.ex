defmodule Tidepool.Trace.Settings do
  @schema [
    endpoint: [
      type: {:check, &__MODULE__.endpoint?/1, "a URL such as \"http://127.0.0.1:4318\""},
      default: "http://127.0.0.1:4318",
      doc: "where the collector is; spans go to `/v1/traces` below it."
    ],
    headers: [
      type: {:check, &__MODULE__.headers?/1, "headers such as \"api-key=…,tenant=shop\""},
      default: "",
      secret: true,
      doc: "headers of what is sent, after their percent-encoding: text with commas, or a list of pairs of text."
    ],
    service: [type: :string, default: "tidepool", doc: "the name of the service."],
    sample: [
      type: {:check, &__MODULE__.sample?/1, "a number from 0 to 1"},
      default: 1.0,
      doc:
        "share of traces that is recorded, of those that begin here: a number, or its text. A trace of a sender " <>
          "says itself whether it is recorded."
    ],
    timeout: [
      type: {:integer, 1, 600_000},
      default: 10_000,
      doc: "how long the collector may take for a batch, in ms."
    ],
    interval: [type: {:integer, 1, 600_000}, default: 5_000, doc: "how long a span may wait to be sent, in ms."],
    queue: [
      type: {:integer, 1, 1_000_000},
      default: 2_048,
      doc: "how many spans may wait, those being sent among them; further ones are dropped and counted."
    ]
  ]

  @moduledoc """
  The setting `otlp`: where traces go, and how many.

  #{Tidepool.Options.docs(@schema)}
  """

  @doc "The schema."
  @spec schema :: Tidepool.Options.schema()
  def schema, do: @schema

  @doc "The share as a number."
  @spec share(map) :: float
  def share(%{sample: sample}), do: number(sample)

  @doc """
  The headers as pairs.

      iex> Tidepool.Trace.Settings.headers("api-key=a%3Db, tenant=shop")
      [{"api-key", "a=b"}, {"tenant", "shop"}]
  """
  @spec headers(String.t() | [{String.t(), String.t()}]) :: [{String.t(), String.t()}]
  def headers(pairs) when is_list(pairs), do: pairs

  def headers(text) do
    for pair <- String.split(text, ",", trim: true), String.trim(pair) != "" do
      [name, value] = String.split(pair, "=", parts: 2)
      {String.trim(name), value |> String.trim() |> URI.decode()}
    end
  end

  @doc false
  def endpoint?(value) do
    with true <- is_binary(value) and value =~ ~r/\A[!-~]+\z/,
         {:ok, uri} <- URI.new(value) do
      uri.scheme in ["http", "https"] and uri.host not in [nil, ""] and uri.query == nil and uri.fragment == nil and
        uri.userinfo == nil
    else
      _other -> false
    end
  end

  @doc false
  def headers?(text) when is_binary(text) do
    String.valid?(text) and Enum.all?(String.split(text, ",", trim: true), &(String.trim(&1) == "" or &1 =~ "=")) and
      text |> headers() |> headers?()
  rescue
    # A percent sign without digits.
    ArgumentError -> false
  end

  def headers?(pairs) when is_list(pairs) do
    not List.improper?(pairs) and
      Enum.all?(pairs, fn
        {name, value} when is_binary(name) and is_binary(value) ->
          name =~ ~r/\A[!#$%&'*+.^_`|~0-9A-Za-z-]+\z/ and value =~ ~r/\A[\t -~]*\z/

        _other ->
          false
      end)
  end

  def headers?(_other), do: false

  @doc false
  def sample?(value), do: (is_number(value) or is_binary(value)) and match?(n when n >= 0.0 and n <= 1.0, number(value))

  defp number(value) when is_binary(value) do
    case Float.parse(value) do
      {number, ""} -> number
      _other -> -1.0
    end
  end

  defp number(value), do: value * 1.0
end
