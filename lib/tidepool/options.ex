defmodule Tidepool.Options do
  @moduledoc """
  Checks keyword options against a schema, which also writes their documentation.

  A schema is a keyword list: each option has a `:type`, a `:doc` and perhaps a `:default`. Types are `:string`,
  `:boolean`, `{:integer, min, max}` (`max` may be `:infinity`), `{:one_of, values}`, `{:keyword, schema}` and
  `{:check, fun, expectation}`, where `fun` says yes or no. `nil` is allowed where it is the default.
  """

  alias Tidepool.Error

  @type schema :: keyword(keyword)

  @doc """
  Fills in defaults and checks every value.

  Returns the options as a map, or the first complaint as an error with the reason `:invalid_option`. An unknown option
  is an error, with the nearest known one as a suggestion. `subject` starts the sentence ("the option", "the setting").

      iex> Tidepool.Options.check([size: 3], [size: [type: {:integer, 1, 9}, doc: "", default: 1]], "the option")
      {:ok, %{size: 3}}
      iex> {:error, error} = Tidepool.Options.check([sise: 3], [size: [type: {:integer, 1, 9}, doc: ""]], "the option")
      iex> error.message
      "the option :sise is unknown: did you mean :size?"
  """
  @spec check(keyword, schema, String.t()) :: {:ok, map} | {:error, Error.t()}
  def check(options, schema, subject) do
    with :ok <- keyword(options, subject),
         :ok <- known(options, schema, subject) do
      Enum.reduce_while(schema, {:ok, %{}}, fn {key, spec}, {:ok, checked} ->
        case value(key, Keyword.get(options, key, spec[:default]), spec, subject) do
          {:ok, value} -> {:cont, {:ok, Map.put(checked, key, value)}}
          {:error, error} -> {:halt, {:error, error}}
        end
      end)
    end
  end

  @doc "The schema as a Markdown list."
  @spec docs(schema) :: String.t()
  def docs(schema) do
    Enum.map_join(schema, "\n", fn {key, spec} ->
      default = if Keyword.has_key?(spec, :default), do: " Default `#{inspect(spec[:default])}`.", else: ""
      "- `:#{key}` (#{describe(spec[:type])}): #{spec[:doc]}#{default}"
    end)
  end

  defp keyword(options, subject) do
    if Keyword.keyword?(options),
      do: :ok,
      else: invalid("#{subject}s have to be a keyword list, and are #{inspect(options)}")
  end

  defp known(options, schema, subject) do
    case Enum.find(Keyword.keys(options), &(not Keyword.has_key?(schema, &1))) do
      nil ->
        :ok

      key ->
        names = Keyword.keys(schema)
        nearest = Enum.max_by(names, &String.jaro_distance(to_string(&1), to_string(key)))
        close? = String.jaro_distance(to_string(nearest), to_string(key)) > 0.7
        known = Enum.map_join(names, ", ", &inspect/1)
        hint = if close?, do: "did you mean #{inspect(nearest)}?", else: "known are #{known}"
        invalid("#{subject} #{inspect(key)} is unknown: #{hint}")
    end
  end

  defp value(key, value, spec, subject) do
    if is_nil(value) and Keyword.has_key?(spec, :default) and is_nil(spec[:default]) do
      {:ok, nil}
    else
      typed(key, value, spec[:type], subject)
    end
  end

  defp typed(key, value, {:keyword, schema}, subject) do
    with {:error, error} <- check(value || [], schema, "#{subject} #{inspect(key)}:") do
      {:error, error}
    end
  end

  defp typed(key, value, type, subject) do
    if type?(value, type),
      do: {:ok, value},
      else: invalid("#{subject} #{inspect(key)} has to be #{describe(type)}, and is #{inspect(value)}")
  end

  defp type?(value, :string), do: is_binary(value) and String.valid?(value) and value != ""
  defp type?(value, :boolean), do: is_boolean(value)
  defp type?(value, {:integer, min, :infinity}), do: is_integer(value) and value >= min
  defp type?(value, {:integer, min, max}), do: is_integer(value) and value >= min and value <= max
  defp type?(value, {:one_of, values}), do: value in values
  defp type?(value, {:check, fun, _expectation}), do: fun.(value)

  defp describe(:string), do: "a string that is not empty"
  defp describe(:boolean), do: "true or false"
  defp describe({:integer, min, :infinity}), do: "an integer from #{min} up"
  defp describe({:integer, min, max}), do: "an integer from #{min} to #{max}"
  defp describe({:one_of, values}), do: "one of #{Enum.map_join(values, ", ", &inspect/1)}"
  defp describe({:keyword, _schema}), do: "a keyword list"
  defp describe({:check, _fun, expectation}), do: expectation

  defp invalid(message), do: {:error, Error.new(:invalid_option, message)}
end
