defmodule Tidepool.Options do
  @moduledoc """
  Checks keyword options against a schema, which also writes their documentation.

  A schema is a keyword list: each option has a `:type`, a `:doc` and perhaps a `:default`. Types are `:string`,
  `:boolean`, `{:integer, min, max}` (`max` may be `:infinity`), `{:one_of, values}`, `{:keyword, schema}`, for which a map
  with the same keys does as well, `:any`, and `{:check, fun, expectation}`, where `fun` says yes or no. `nil` is allowed
  where it is the default; of such a `{:keyword, schema}` `true` says all defaults, and `false` is `nil`. `:lacks` is a
  function of a wrong value: what it says of that, if anything, ends the complaint.

  The types of values for `@type` follow from it as well, and what a text says.
  """

  alias Tidepool.Error

  @type schema :: keyword(keyword)
  @type type :: atom | tuple

  @typedoc """
  What a sentence calls an option: this and its key ("the option"), or what this makes of its key and those around it, the
  outermost first.
  """
  @type subject :: String.t() | ([atom, ...] -> String.t())

  @doc """
  Fills in defaults and checks every value.

  Returns the options as a map, or the first complaint as an error with the reason `:invalid_option`. An unknown option
  is an error, with the nearest known one as a suggestion. `subject` starts the sentence.

      iex> Tidepool.Options.check([size: 3], [size: [type: {:integer, 1, 9}, doc: "", default: 1]], "the option")
      {:ok, %{size: 3}}
      iex> {:error, error} = Tidepool.Options.check([sise: 3], [size: [type: {:integer, 1, 9}, doc: ""]], "the option")
      iex> error.message
      "the option :sise is unknown: did you mean :size?"
  """
  @spec check(keyword, schema, subject) :: {:ok, map} | {:error, Error.t()}
  def check(options, schema, subject) do
    if Keyword.keyword?(options),
      do: check(options, schema, subject, []),
      else: invalid("#{subject}s have to be a keyword list, and are #{show(options)}")
  end

  @doc "Like `check/3`, for options that are a programmer's: raises an `ArgumentError` with the sentence."
  @spec check!(keyword, schema, String.t()) :: map
  def check!(options, schema, subject) do
    case check(options, schema, subject) do
      {:ok, checked} -> checked
      {:error, error} -> raise ArgumentError, error.message
    end
  end

  @doc "Raises an `ArgumentError` for an argument, in a sentence."
  @spec wrong!(String.t(), String.t(), term) :: no_return
  def wrong!(what, expectation, value) do
    raise ArgumentError, "#{what} has to be #{expectation}, and is #{show(value)}"
  end

  # `within` are the keys around these, the innermost first.
  defp check(options, schema, subject, within) do
    with :ok <- known(options, schema, subject, within) do
      Enum.reduce_while(schema, {:ok, %{}}, fn {key, spec}, {:ok, checked} ->
        case value(options, key, spec, subject, within) do
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

  defp known(options, schema, subject, within) do
    case Enum.find(Keyword.keys(options), &(not Keyword.has_key?(schema, &1))) do
      nil -> :ok
      key -> invalid("#{named(subject, key, within)} is unknown: #{hint(key, Keyword.keys(schema))}")
    end
  end

  @doc "What somebody may have meant who wrote `key`: the nearest of `names`, or all of them."
  @spec hint(atom | String.t(), [atom]) :: String.t()
  def hint(key, names) do
    nearest = nearest(key, names, 0.7)
    if nearest, do: "did you mean #{inspect(nearest)}?", else: "known are #{Enum.map_join(names, ", ", &inspect/1)}"
  end

  @doc """
  The one of `names` that is most like `key`, by `String.jaro_distance/2`, if it is more like it than `least`; else `nil`. There has to
  be a name.
  """
  @spec nearest(name, [name], float) :: name | nil when name: atom | String.t()
  def nearest(key, names, least) do
    likeness = &String.jaro_distance(to_string(&1), to_string(key))
    nearest = Enum.max_by(names, likeness)
    if likeness.(nearest) > least, do: nearest
  end

  defp value(options, key, spec, subject, within) do
    value = Keyword.get(options, key, spec[:default])

    cond do
      not Keyword.has_key?(options, key) and not Keyword.has_key?(spec, :default) ->
        invalid("#{named(subject, key, within)} is missing, and has to be #{describe(spec[:type])}")

      is_nil(value) and Keyword.has_key?(spec, :default) and is_nil(spec[:default]) ->
        {:ok, nil}

      is_boolean(value) and switch?(spec) ->
        if value, do: typed(key, [], spec[:type], subject, within), else: {:ok, nil}

      # Whoever reads the complaint is to learn no part of it.
      spec[:secret] ->
        if type?(value, spec[:type]), do: {:ok, value}, else: complain(key, spec[:type], subject, within, "")

      true ->
        with {:error, error} <- typed(key, value, spec[:type], subject, within),
             do: {:error, %{error | message: error.message <> lacks(value, spec[:lacks])}}
    end
  end

  defp lacks(_value, nil), do: ""
  defp lacks(value, lacks), do: lacks.(value) || ""

  @doc "Is an option of a schema there or not, and has options of its own when it is?"
  @spec switch?(keyword) :: boolean
  def switch?(spec), do: match?({:keyword, _schema}, spec[:type]) and Keyword.fetch(spec, :default) == {:ok, nil}

  @doc "The schema of the options that an option has of its own."
  @spec within(keyword) :: schema
  def within(spec), do: with({:keyword, schema} <- spec[:type], do: schema, else: (_type -> []))

  defp typed(key, value, {:keyword, schema} = type, subject, within) do
    options = if is_map(value) and not is_struct(value), do: Map.to_list(value), else: value

    if Keyword.keyword?(options || []),
      do: check(options || [], schema, subject, [key | within]),
      else: mistyped(key, value, type, subject, within)
  end

  defp typed(key, value, type, subject, within) do
    if type?(value, type), do: {:ok, value}, else: mistyped(key, value, type, subject, within)
  end

  @doc "The error of a value that its option of a schema can't have."
  @spec mistyped(atom, term, schema, subject) :: {:error, Error.t()}
  def mistyped(key, value, schema, subject), do: mistyped(key, value, schema[key][:type], subject, [])

  defp mistyped(key, value, type, subject, within) do
    complain(key, type, subject, within, ", and is #{show(value)}")
  end

  defp complain(key, type, subject, within, what) do
    invalid("#{named(subject, key, within)} has to be #{describe(type)}#{what}")
  end

  defp named(subject, key, within) when is_function(subject), do: subject.(Enum.reverse([key | within]))
  defp named(subject, key, within), do: "#{subject} #{Enum.map_join([key | within], " of ", &inspect/1)}"

  @doc "Is a value of a type?"
  @spec type?(term, type) :: boolean
  def type?(_value, :any), do: true
  def type?(value, :string), do: is_binary(value) and String.valid?(value) and value != ""
  def type?(value, :boolean), do: is_boolean(value)
  def type?(value, {:integer, min, :infinity}), do: is_integer(value) and value >= min
  def type?(value, {:integer, min, max}), do: is_integer(value) and value >= min and value <= max
  def type?(value, {:one_of, values}), do: value in values
  def type?(value, {:check, fun, _expectation}), do: fun.(value)

  @doc "What a value of a type has to be."
  @spec describe(type) :: String.t()
  def describe(:any), do: "anything"
  def describe(:string), do: "a string that is not empty"
  def describe(:boolean), do: "true or false"
  def describe({:integer, min, :infinity}), do: "an integer from #{min} up"
  def describe({:integer, min, max}), do: "an integer from #{min} to #{max}"
  def describe({:one_of, values}), do: "one of #{Enum.map_join(values, ", ", &inspect/1)}"
  def describe({:keyword, _schema}), do: "a keyword list or a map"
  def describe({:check, _fun, expectation}), do: expectation

  # More digits than any number here may have would only cost time.
  @digits 18

  @doc "The value of a type that a text says; text where the type does not tell."
  @spec read(String.t(), type) :: {:ok, term} | :error
  def read(text, :boolean), do: read(text, {:one_of, [true, false]})

  def read(text, {:one_of, values}) do
    Enum.find_value(values, :error, fn value -> if to_string(value) == text, do: {:ok, value} end)
  end

  def read(text, {:integer, _min, _max} = type) do
    with true <- byte_size(text) <= @digits, {number, ""} <- Integer.parse(text), true <- type?(number, type) do
      {:ok, number}
    else
      _other -> :error
    end
  end

  def read(text, _type), do: {:ok, text}

  @doc "The type of an option's values: its `:typespec`, or what its `:type` tells. For `@type`."
  @spec typespec(keyword) :: Macro.t()
  def typespec(spec) do
    case {spec[:typespec], spec[:type]} do
      {nil, :boolean} -> quote(do: boolean)
      {nil, {:integer, 0, _max}} -> quote(do: non_neg_integer)
      {nil, {:integer, _min, _max}} -> quote(do: pos_integer)
      {nil, {:one_of, values}} -> union(values)
      {typespec, _type} -> typespec
    end
  end

  @doc "The type of an option of a schema with its value, as in a keyword list. For `@type`."
  @spec pair(schema) :: Macro.t()
  def pair(schema), do: union(for {key, spec} <- schema, do: {key, typespec(spec)})

  defp union(types), do: types |> Enum.reverse() |> Enum.reduce(&{:|, [], [&1, &2]})

  @doc "Is a text UTF-8 that shows as a line, without control characters?"
  @spec line?(String.t()) :: boolean
  def line?(text), do: String.valid?(text) and not (text =~ ~r/[\p{Cc}\p{Zl}\p{Zp}]/u)

  @doc """
  The beginning of a text that has no more bytes, and no part of a character at its end. By characters it could have any number of
  bytes: a letter may have thousands of marks. It is a copy, for a part would keep the whole.

      iex> Enum.map([3, 4, 5, 9], &Tidepool.Options.cut("tüde", &1))
      ["tü", "tüd", "tüde", "tüde"]
      iex> Tidepool.Options.cut("ü", 1)
      ""
      iex> Tidepool.Options.cut(<<0x80, 0x80, 0x80, 0x80, 0x80>>, 4)
      <<0x80, 0x80, 0x80, 0x80>>
  """
  @spec cut(binary, bytes :: pos_integer) :: binary
  def cut(text, bytes) when byte_size(text) <= bytes, do: text

  def cut(text, bytes) do
    # No character has more than three bytes behind its first one.
    at = Enum.find(bytes..max(bytes - 3, 0)//-1, bytes, &(:binary.at(text, &1) not in 0x80..0xBF))
    text |> binary_part(0, at) |> :binary.copy()
  end

  @doc "A value as part of a sentence: whatever its size, a line."
  @spec show(term) :: String.t()
  def show(value), do: inspect(value, limit: 10, printable_limit: 200)

  defp invalid(message), do: {:error, Error.new(:invalid_option, message)}
end
