defmodule Tidepool.Function.Fields do
  @moduledoc """
  Options of `Tidepool.Function.Spec` as text: fields of a form, parameters of a query, and what nodes tell each other.
  """

  alias Tidepool.{Error, Native, Options}
  alias Tidepool.Function.Spec

  # Longest text that is no JSON; JSON is bounded where it comes in.
  @text_bytes 4_096
  # More fields are looked at one by one, so that the first one beyond what an option may have is the last.
  @once 512
  # Of what was sent, so many bytes are in an error.
  @shown 256

  @type t :: [{name :: String.t(), text :: String.t()}]

  @doc """
  What some fields say of `options`, in the fields' order. Types are read, and are for `Tidepool.Options.check/3` to check.

  An error names the field. Its reason is `:unknown_field`, `:duplicate_field`, `:invalid_field`, when the text is too long,
  or `:invalid_option`, when it says no such value.

      iex> alias Tidepool.Function.{Fields, Spec}
      iex> Fields.read([{"instances", "warm:5"}, {"snapshot", "false"}], Spec.kept())
      {:ok, [instances: {:warm, 5}, snapshot: false]}
  """
  @spec read(t, Options.schema()) :: {:ok, keyword} | {:error, Error.t()}
  def read(fields, options) do
    # What several fields say is looked at once, and not again with each: 64 texts may have 260 KB. Only which field is wrong takes that.
    looks = if length(fields) > @once, do: :each, else: :once

    with {:ok, read} <- read(fields, options, [], looks) do
      if looks == :each or Enum.all?(read, &together?(&1, options)),
        do: {:ok, read},
        else: read(fields, options, [], :each)
    end
  end

  defp together?({key, value}, options) do
    spec = options[key]
    spec[:each] == nil or Options.type?(value, spec[:type])
  end

  defp read([], options, read, _looks) do
    if Spec.fits?(Map.new(read)) do
      {:ok, Enum.reverse(read)}
    else
      spec = options[:instances]
      wrong(:instances, text(read[:instances], spec), spec)
    end
  end

  defp read([{name, text} | fields], options, read, looks) do
    with {:ok, {key, spec}} <- known(name, options),
         {:ok, value} <- value(key, text, spec),
         {:ok, value} <- beside(read[key], value, {key, spec}, text, looks) do
      read(fields, options, [{key, value} | Keyword.delete(read, key)], looks)
    end
  end

  defp known(name, options) do
    cond do
      option = Enum.find(options, &(name(&1) == name)) -> {:ok, option}
      options == Spec.of_request() -> unknown("parameter", name, names(options))
      true -> unknown("field", name, ["wasm" | names(options)])
    end
  end

  @doc "The error of a field, or a parameter, that there is not; `known` are those that there are."
  @spec unknown(kind :: String.t(), String.t(), known :: [String.t()]) :: {:error, Error.t()}
  def unknown(kind, name, known) do
    shown = Options.cut(name, @shown)
    details = %{field: shown, known: known}
    {:error, Error.new(:unknown_field, "no such #{kind}#{hint(shown, known)}", nil, details)}
  end

  defp hint(_name, []), do: "; there are none here"

  defp hint(name, known) do
    nearest = Options.nearest(name, known, 0.8)
    if nearest, do: ": did you mean `#{nearest}`?", else: "; known: #{Enum.join(known, ", ")}"
  end

  # What was read before of the same option.
  defp beside(nil, value, _option, _text, _looks), do: {:ok, value}

  defp beside(before, value, {key, spec} = option, text, looks) do
    both = if spec[:each], do: together(before, value)

    cond do
      both == nil ->
        {:error, Error.new(:duplicate_field, "give `#{name(option)}` once", nil, %{field: name(option)})}

      both == before ->
        message = "several fields `#{name(option)}` may be given, but not two for the same: #{Options.show(text)}"
        {:error, Error.new(:duplicate_field, message, nil, %{field: name(option)})}

      looks == :once or Options.type?(both, spec[:type]) ->
        {:ok, both}

      true ->
        wrong(key, text, spec)
    end
  end

  # What was said before is as it was when the same is said again, and of a map also when something else is said of a key.
  defp together(before, [value]), do: if(value in before, do: before, else: before ++ [value])
  defp together(before, value), do: Map.merge(value, before)

  defp value(key, text, spec) do
    case {spec[:text], spec[:type]} do
      {nil, {:keyword, schema}} ->
        with :error <- object(key, Native.json_decode(text), schema, spec[:former] || []),
             :error <- switch(text, spec),
             do: wrong(key, text, spec)

      _other when byte_size(text) > @text_bytes ->
        message = "`#{name({key, spec})}` may have #{@text_bytes} bytes, and has #{byte_size(text)}"
        {:error, Error.new(:invalid_field, message, nil, %{field: name({key, spec}), limit_bytes: @text_bytes})}

      {{read, _write, _notation}, _type} ->
        with :error <- read.(text), do: wrong(key, text, spec)

      {nil, type} ->
        with :error <- Options.read(text, type), do: wrong(key, text, spec)
    end
  end

  defp object(key, {:ok, object}, schema, former) when is_map(object) do
    known = Map.new(Keyword.keys(schema) ++ former, fn name -> {Atom.to_string(name), name} end)

    case Enum.find(object, fn {name, _value} -> not is_map_key(known, name) end) do
      nil ->
        {:ok, Map.new(object, fn {name, value} -> {known[name], member(value, schema[known[name]][:type])} end)}

      {name, _value} ->
        names = schema |> Keyword.keys() |> Enum.sort() |> Enum.join(", ")
        invalid("#{subject([key])} has an unknown member #{Options.show(name)}: known are #{names}")
    end
  end

  defp object(_key, _other, _schema, _former), do: :error

  # JSON has no atoms. What says no value of the type is complained of as it is.
  defp member(text, {:one_of, _values} = type) when is_binary(text),
    do: with({:ok, value} <- Options.read(text, type), do: value, else: (:error -> text))

  defp member(value, _type), do: value

  defp switch(text, spec), do: if(Options.switch?(spec), do: Options.read(text, :boolean), else: :error)

  @doc "What the fields are called."
  @spec names(Options.schema()) :: [String.t()]
  def names(options), do: Enum.map(options, &name/1)

  defp name({key, spec}), do: spec[:each] || Atom.to_string(key)

  @doc "Options as `read/2` reads them."
  @spec write(Options.schema(), map) :: t
  def write(options, function) do
    for {key, spec} = option <- options,
        text <- function |> Map.fetch!(key) |> text(spec) |> List.wrap(),
        do: {name(option), text}
  end

  @doc "A function, or some of its options, with text where JSON has no word."
  @spec json(Tidepool.Function.t() | map) :: map
  def json(function) do
    written =
      for {key, spec} <- Spec.kept(),
          spec[:text],
          !spec[:each],
          {:ok, value} <- [Map.fetch(function, key)],
          do: {key, text(value, spec)}

    function |> Map.delete(:__struct__) |> Map.merge(Map.new(written))
  end

  defp text(value, spec) do
    case {spec[:text], value} do
      {{_read, write, _notation}, value} -> write.(value)
      {nil, %{} = members} -> members |> Spec.first_known(spec) |> object()
      {nil, nil} -> []
      {nil, value} -> to_string(value)
    end
  end

  # The order of a map's keys is not the same in each version of the VM, and nodes compare texts.
  defp object(members) do
    texts = for {key, value} <- members, do: "#{Native.json_encode(to_string(key))}:#{Native.json_encode(value)}"
    "{#{texts |> Enum.sort() |> Enum.join(",")}}"
  end

  @doc "What a sentence calls an option, or one within it: a `t:Tidepool.Options.subject/0`."
  @spec subject([atom, ...]) :: String.t()
  def subject([key | within]) do
    spec = Spec.schema()[key]
    kind = if spec[:of] == :request, do: "parameter", else: "field"
    "the #{kind} `#{Enum.join([name({key, spec}) | within], ".")}`"
  end

  @doc "What the text of an option has to be."
  @spec notation(keyword) :: String.t()
  def notation(spec) do
    case {spec[:text], spec[:type]} do
      {{_read, _write, notation}, _type} ->
        notation

      {nil, {:keyword, _schema}} ->
        if Options.switch?(spec), do: "`true`, `false` or a JSON object", else: "a JSON object"

      {nil, :boolean} ->
        one_of([true, false])

      {nil, {:one_of, values}} ->
        one_of(values)

      {nil, type} ->
        Options.describe(type)
    end
  end

  defp one_of(values) do
    {last, first} = values |> Enum.map(&"`#{&1}`") |> List.pop_at(-1)
    Enum.join(first, ", ") <> " or " <> last
  end

  @doc "The error of an option whose text says nothing that it can be."
  @spec wrong(atom, String.t(), keyword) :: {:error, Error.t()}
  def wrong(key, text, spec), do: invalid("#{subject([key])} has to be #{notation(spec)}, and is #{Options.show(text)}")

  defp invalid(message), do: {:error, Error.new(:invalid_option, message)}
end
