defmodule Tidepool.Function.Labels do
  @moduledoc """
  Labels of a function: short texts by key, to find functions by.

  As text a label is `team:shop`, or `team` when its value is empty. What selects functions is written alike, but `team`
  means any value there.
  """

  alias Tidepool.{Error, Options}

  @most 16
  @key ~r/\A[a-z0-9_.-]{1,63}\z/
  @value_bytes 63
  @expectation "keys of 1 to 63 of a-z, 0-9, dots, dashes and underscores, values of at most #{@value_bytes} bytes without control characters"

  @type t :: %{optional(String.t()) => String.t()}
  @type selector :: {key :: String.t(), value :: String.t() | :any}

  @doc "What labels have to be."
  @spec expectation :: String.t()
  def expectation, do: "a map of at most #{@most} labels: #{@expectation}"

  @doc "What the text of one label has to be."
  @spec notation :: String.t()
  def notation, do: "`KEY:VALUE` or `KEY`, #{@most} labels at most: #{@expectation}"

  @doc """
  Can a function have these labels?

      iex> alias Tidepool.Function.Labels
      iex> Enum.map([%{"team" => "shop"}, %{}, %{"Team" => "shop"}, %{team: "shop"}, %{"a" => "b\\n"}], &Labels.valid?/1)
      [true, true, false, false, false]

  Structs are none, whatever they contain.
  """
  @spec valid?(term) :: boolean
  def valid?(labels) do
    is_map(labels) and not is_struct(labels) and map_size(labels) <= @most and Enum.all?(labels, &label?/1)
  end

  defp label?({key, value}) do
    is_binary(key) and key =~ @key and is_binary(value) and byte_size(value) <= @value_bytes and Options.line?(value)
  end

  @doc "The label of a text."
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text) do
    [key | value] = String.split(text, ":", parts: 2)
    if label?({key, Enum.join(value)}), do: {:ok, %{key => Enum.join(value)}}, else: :error
  end

  @doc "Labels as texts."
  @spec write(t) :: [String.t()]
  def write(labels), do: for({key, value} <- labels, do: if(value == "", do: key, else: "#{key}:#{value}"))

  @doc """
  What selects the functions that have all of some labels.

      iex> Tidepool.Function.Labels.select(["team:shop", "beta"])
      {:ok, [{"team", "shop"}, {"beta", :any}]}
  """
  @spec select([String.t()]) :: {:ok, [selector]} | {:error, Error.t()}
  def select(texts) do
    texts = Enum.uniq(texts)

    case Enum.find(Enum.take(texts, @most + 1), &(read(&1) == :error)) || Enum.at(texts, @most) do
      nil ->
        {:ok, for(text <- texts, do: selector(String.split(text, ":", parts: 2)))}

      text ->
        {:error,
         Error.new(:invalid_option, "the parameter `label` has to be #{notation()}, and is #{Options.show(text)}")}
    end
  end

  defp selector([key]), do: {key, :any}
  defp selector([key, value]), do: {key, value}

  @doc "Do labels have all that is selected?"
  @spec selected?(t, [selector]) :: boolean
  def selected?(labels, selectors) do
    Enum.all?(selectors, fn
      {key, :any} -> is_map_key(labels, key)
      {key, value} -> labels[key] == value
    end)
  end
end
