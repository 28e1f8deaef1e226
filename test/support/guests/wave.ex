defmodule Tidepool.Wave do
  @moduledoc ~S"""
  What wasmtime's command line takes and prints of components, its text format WAVE, beside terms of calls.

  A text does not say which type it is of, so it is not made a term: `same?/2` asks whether a term is what it says.

      iex> import Tidepool.Wave
      iex> call({"docs:shop/carts@1.0.0", :add}, [%{name: "tea", tags: []}, 2, {:some, -0.5}])
      "docs:shop/carts.add@1.0.0({name: \"tea\", tags: []}, 2, some(-0.5))"
      iex> call({"x", :m}, ["a \"tide\""])
      "x.m(\"a \\\"tide\\\"\")"
      iex> same?("{text: \"low\\ntide\\u{e9}\", risk: 0.5}\n", %{text: "low\ntideé", risk: 0.5, at: :none})
      true
      iex> same?("[some(%none), none, some(other(7))]", [{:some, "none"}, :none, {:some, {:other, 7}}])
      true
      iex> same?("({one, two}, {:}, [1, 2])", {%{one: true, two: true, three: false}, %{at: :none}, <<1, 2>>})
      true
      iex> [same?("err(\"no tide\")", {:error, "no tide"}), same?("ok", {:ok, nil}), same?("()", nil), same?("-inf", :neg_infinity)]
      [true, true, true, true]
      iex> [same?("1", 2), same?("[1]", [1, 2]), same?("{a: 1}", %{a: 1, b: 2}), same?("{one}", %{one: true, two: true})]
      [false, false, false, false]
  """

  @doc "The call of an export, as `wasmtime run --invoke` takes it. A map is a record, a binary a string."
  def call(export, arguments), do: "#{name(export)}(#{joined(arguments)})"

  defp name({interface, function}) do
    case String.split(interface, "@") do
      [interface, version] -> "#{interface}.#{function}@#{version}"
      [interface] -> "#{interface}.#{function}"
    end
  end

  defp name(function), do: to_string(function)

  defp joined(values), do: Enum.map_join(values, ", ", &write/1)

  defp write(text) when is_binary(text), do: ~s("#{String.replace(text, ["\\", "\""], &("\\" <> &1))}")
  defp write(values) when is_list(values), do: "[#{joined(values)}]"
  defp write(%{} = fields), do: "{#{Enum.map_join(fields, ", ", fn {name, value} -> "#{name}: #{write(value)}" end)}}"
  defp write({case, value}), do: "#{case}(#{write(value)})"
  defp write(value), do: to_string(value)

  @doc "Does the text, which has one value in it, say what the term is?"
  def same?(text, term) do
    {value, rest} = value(text)
    String.trim(rest) == "" and equal?(value, term)
  end

  defp equal?({:number, number}, term), do: is_number(term) and number == term
  defp equal?({:text, text}, term), do: text == term
  defp equal?({:list, values}, bytes) when is_binary(bytes), do: equal?({:list, values}, :binary.bin_to_list(bytes))
  defp equal?({:list, values}, terms), do: is_list(terms) and all?(values, terms)
  defp equal?({:tuple, []}, term), do: term == nil
  defp equal?({:tuple, values}, term), do: is_tuple(term) and all?(values, Tuple.to_list(term))
  defp equal?({:flags, names}, %{} = flags), do: Enum.sort(names) == Enum.sort(for {name, true} <- flags, do: "#{name}")

  # A field that is `none` is left out.
  defp equal?({:record, fields}, %{} = term) do
    term = for {name, value} <- term, value != :none or is_map_key(fields, "#{name}"), into: %{}, do: {"#{name}", value}
    map_size(fields) == map_size(term) and Enum.all?(term, fn {name, value} -> equal?(fields[name], value) end)
  end

  defp equal?({:case, "err", value}, term), do: equal?({:case, "error", value}, term)
  defp equal?({:case, "nan", nil}, term), do: term == :nan
  defp equal?({:case, "inf", nil}, term), do: term == :infinity
  defp equal?({:case, "-inf", nil}, term), do: term == :neg_infinity
  defp equal?({:case, name, nil}, {case, nil}), do: name == "#{case}"
  defp equal?({:case, name, nil}, term), do: (is_atom(term) or is_binary(term)) and name == "#{term}"
  defp equal?({:case, name, value}, {case, term}), do: name == "#{case}" and equal?(value, term)
  defp equal?(_value, _term), do: false

  defp all?(values, terms) do
    length(values) == length(terms) and
      values |> Enum.zip(terms) |> Enum.all?(fn {value, term} -> equal?(value, term) end)
  end

  defp value(" " <> rest), do: value(rest)
  defp value("\"" <> rest), do: quoted(rest, "\"", "")
  defp value("'" <> rest), do: quoted(rest, "'", "")
  defp value("[" <> rest), do: all(rest, "]", :list)
  defp value("(" <> rest), do: all(rest, ")", :tuple)
  defp value("{:}" <> rest), do: {{:record, %{}}, rest}
  defp value("{" <> rest), do: named(rest)

  defp value(text) do
    case Regex.run(~r/^(-inf|-?[\d.]+|%?[a-zA-Z][\w-]*)(.*)$/s, text, capture: :all_but_first) do
      ["-inf", rest] -> {{:case, "-inf", nil}, rest}
      [<<first, _more::binary>> = number, rest] when first in '-0123456789' -> {{:number, number(number)}, rest}
      [name, "(" <> rest] -> one(String.trim_leading(name, "%"), rest)
      [name, rest] -> {{:case, String.trim_leading(name, "%"), nil}, rest}
    end
  end

  defp number(text), do: if(text =~ ".", do: String.to_float(text), else: String.to_integer(text))

  defp one(name, rest) do
    {value, ")" <> rest} = value(rest)
    {{:case, name, value}, rest}
  end

  defp all(text, close, kind, values \\ []) do
    case {String.trim_leading(text), close} do
      {"]" <> rest, "]"} -> {{kind, Enum.reverse(values)}, rest}
      {")" <> rest, ")"} -> {{kind, Enum.reverse(values)}, rest}
      {text, close} -> with({value, rest} <- value(text), do: all(comma(rest), close, kind, [value | values]))
    end
  end

  # Fields of a record, or names of flags.
  defp named(text, fields \\ %{}, flags \\ []) do
    case Regex.run(~r/^\s*(\}|%?[a-zA-Z][\w-]*)(:?)(.*)$/s, text, capture: :all_but_first) do
      ["}", colon, rest] when fields == %{} ->
        {{:flags, Enum.reverse(flags)}, colon <> rest}

      ["}", colon, rest] ->
        {{:record, fields}, colon <> rest}

      [name, "", rest] ->
        named(comma(rest), fields, [name | flags])

      [name, ":", rest] ->
        with({value, rest} <- value(rest), do: named(comma(rest), Map.put(fields, name, value), flags))
    end
  end

  defp comma(text), do: text |> String.trim_leading() |> String.replace_prefix(",", "")

  defp quoted("\\u{" <> rest, close, so_far) do
    [hex, rest] = String.split(rest, "}", parts: 2)
    quoted(rest, close, so_far <> <<String.to_integer(hex, 16)::utf8>>)
  end

  defp quoted(<<"\\", escaped, rest::binary>>, close, so_far) do
    char = Map.get(%{?n => "\n", ?r => "\r", ?t => "\t"}, escaped, <<escaped>>)
    quoted(rest, close, so_far <> char)
  end

  defp quoted(<<char::utf8, rest::binary>>, close, so_far) do
    if <<char::utf8>> == close, do: {{:text, so_far}, rest}, else: quoted(rest, close, so_far <> <<char::utf8>>)
  end
end
