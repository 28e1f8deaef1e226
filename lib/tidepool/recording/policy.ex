defmodule Tidepool.Recording.Policy do
  @moduledoc """
  Which calls of a function are recorded: `:off`, none; `:failures`, those that fail; `:all`; or a share such as `0.01`, which is
  those that fail, and one of a hundred others. And how many of those that were are tried with another version, before that is deployed.
  """

  @named [:off, :failures, :all]
  @million 1_000_000
  @most 1_000

  @verify [
    last: [type: {:integer, 1, @most}, default: @most, doc: "how many of the newest recordings are replayed."],
    allow: [type: {:integer, 0, @most}, default: 0, doc: "how many of them may come to something else."]
  ]

  @type t :: :off | :failures | :all | float
  @type verify :: [last: 1..1_000, allow: 0..1_000]

  @doc "The schema of the deploy option `verify`."
  @spec verify :: Tidepool.Options.schema()
  def verify, do: @verify

  @doc "What it has to be."
  @spec expectation :: String.t()
  def expectation, do: ":off, :failures, :all, or a share between 0.000001 and 1.0"

  @doc "What its text has to be."
  @spec notation :: String.t()
  def notation, do: "`off`, `failures`, `all`, or a share such as `0.01`"

  @doc """
  Can a function have this?

      iex> Enum.map([:off, :failures, :all, 0.01, 0.0, 1.5, 1, "all"], &Tidepool.Recording.Policy.valid?/1)
      [true, true, true, true, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(value) when is_float(value), do: value >= 1 / @million and value < 1.0
  def valid?(value), do: value in @named

  @doc """
  The one of a text.

      iex> Enum.map(["failures", "0.25", "0", "1", "2.0", "often"], &Tidepool.Recording.Policy.read/1)
      [{:ok, :failures}, {:ok, 0.25}, :error, :error, :error, :error]
  """
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text) do
    with nil <- Enum.find(@named, &(to_string(&1) == text)),
         {share, ""} <- Float.parse(text),
         true <- valid?(share) do
      {:ok, share}
    else
      value when value in @named -> {:ok, value}
      _other -> :error
    end
  end

  @doc "It as text."
  @spec write(t) :: String.t()
  def write(value), do: to_string(value)

  @doc "Of a million calls that succeed, how many are recorded; `nil` when none is recorded at all."
  @spec per_million(t) :: non_neg_integer | nil
  def per_million(:off), do: nil
  def per_million(:failures), do: 0
  def per_million(:all), do: @million
  def per_million(share), do: round(share * @million)
end
