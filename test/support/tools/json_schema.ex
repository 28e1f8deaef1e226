defmodule Tidepool.JsonSchema do
  @moduledoc """
  Holds JSON to the schemas of an OpenAPI document: those keywords that the one of this project uses.

  It is stricter than JSON Schema in one thing: an object whose schema lists members has no others.
  """

  @doc "What is wrong with a value, as sentences that begin with where it is; none when it fits."
  @spec complaints(term, schema :: map, document :: map) :: [String.t()]
  def complaints(value, schema, document), do: check(value, schema, document, "$")

  @doc "What a reference leads to; `nil` when that is nothing."
  @spec lookup(document :: map, reference :: String.t()) :: map | nil
  def lookup(document, "#/" <> path), do: get_in(document, String.split(path, "/"))

  defp check(value, %{"$ref" => reference}, document, at) do
    case lookup(document, reference) do
      nil -> ["#{at}: #{reference} leads nowhere"]
      schema -> check(value, schema, document, at)
    end
  end

  defp check(value, %{"oneOf" => schemas}, document, at) do
    found = for schema <- schemas, do: check(value, schema, document, at)

    case Enum.count(found, &(&1 == [])) do
      1 -> []
      0 -> ["#{at}: fits none of #{length(schemas)}: #{found |> Enum.map(&hd/1) |> Enum.join("; ")}"]
      count -> ["#{at}: fits #{count} of #{length(schemas)}"]
    end
  end

  defp check(value, schema, document, at) do
    case Enum.flat_map(schema, &violated(&1, value, at)) do
      [] -> within(value, schema, document, at)
      complaints -> complaints
    end
  end

  defp violated({"type", types}, value, at) do
    if Enum.any?(List.wrap(types), &type?(&1, value)),
      do: [],
      else: ["#{at}: #{inspect(value)} is no #{inspect(types)}"]
  end

  defp violated({"enum", values}, value, at),
    do: if(value in values, do: [], else: ["#{at}: #{inspect(value)} is none of #{inspect(values)}"])

  defp violated({"minimum", least}, value, at) when is_number(value) and value < least,
    do: ["#{at}: #{value} is below #{least}"]

  defp violated({"maximum", most}, value, at) when is_number(value) and value > most,
    do: ["#{at}: #{value} is above #{most}"]

  defp violated({"required", names}, value, at) when is_map(value),
    do: for(name <- names, not is_map_key(value, name), do: "#{at}: #{name} is missing")

  defp violated(_other, _value, _at), do: []

  defp type?("object", value), do: is_map(value)
  defp type?("array", value), do: is_list(value)
  defp type?("string", value), do: is_binary(value)
  defp type?("boolean", value), do: is_boolean(value)
  defp type?("integer", value), do: is_integer(value)
  defp type?("number", value), do: is_number(value)
  defp type?("null", value), do: value == nil

  defp within(%{} = object, schema, document, at) do
    properties = Map.get(schema, "properties", %{})
    others = Map.get(schema, "additionalProperties", if(properties == %{}, do: %{}))

    Enum.flat_map(object, fn {name, value} ->
      case Map.get(properties, name, others) do
        nil -> ["#{at}: #{name} is not in the schema"]
        schema -> check(value, schema, document, "#{at}.#{name}")
      end
    end)
  end

  defp within(list, %{"items" => items}, document, at) when is_list(list) do
    list
    |> Enum.with_index()
    |> Enum.flat_map(fn {value, index} -> check(value, items, document, "#{at}[#{index}]") end)
  end

  defp within(_value, _schema, _document, _at), do: []
end
