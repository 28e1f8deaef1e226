defmodule Tidepool.Function.Configured do
  @moduledoc """
  Texts that a function's guests may ask for by name: what Extism's manifest calls `config`.

  As text one is `NAME=VALUE`; names have no `=`. They are no secrets: whoever sees the function's options sees them.
  """

  @most 64
  @name_bytes 256
  @value_bytes 3_800

  @type t :: %{optional(String.t()) => String.t()}

  @bounds "#{@most} at most, names of 1 to #{@name_bytes} bytes without `=`, values of at most #{@value_bytes} bytes"

  @doc "What they have to be."
  @spec expectation :: String.t()
  def expectation, do: "a map of strings by name: #{@bounds}"

  @doc "What the text of one has to be."
  @spec notation :: String.t()
  def notation, do: "`NAME=VALUE`, #{@bounds}"

  @doc """
  Can a function have these?

      iex> alias Tidepool.Function.Configured
      iex> Enum.map([%{}, %{"vowels" => "aeiouy"}, %{"a" => ""}], &Configured.valid?/1)
      [true, true, true]
      iex> Enum.map([%{"a=b" => "c"}, %{"" => "c"}, %{a: "b"}, %{"a" => 1}, %{"a" => <<255>>}, []], &Configured.valid?/1)
      [false, false, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(texts) do
    is_map(texts) and not is_struct(texts) and map_size(texts) <= @most and
      Enum.all?(texts, fn {name, value} -> name?(name) and text?(value, @value_bytes) end)
  end

  defp name?(name), do: text?(name, @name_bytes) and name != "" and not String.contains?(name, "=")

  defp text?(text, bytes), do: is_binary(text) and byte_size(text) <= bytes and String.valid?(text)

  @doc """
  The one of a text.

      iex> Enum.map(["vowels=aeiouy", "a=b=c", "a=", "=b", "a"], &Tidepool.Function.Configured.read/1)
      [{:ok, %{"vowels" => "aeiouy"}}, {:ok, %{"a" => "b=c"}}, {:ok, %{"a" => ""}}, :error, :error]
  """
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text) do
    with [name, value] <- String.split(text, "=", parts: 2),
         texts = %{name => value},
         true <- valid?(texts) do
      {:ok, texts}
    else
      _other -> :error
    end
  end

  @doc "Them as texts."
  @spec write(t) :: [String.t()]
  def write(texts), do: for({name, value} <- texts, do: "#{name}=#{value}")
end
