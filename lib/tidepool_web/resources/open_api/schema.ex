defmodule TidepoolWeb.Resources.OpenApi.Schema do
  @moduledoc "JSON schemas (2020-12, of which OpenAPI 3.1 has its own) as terms, and those of options of `Tidepool.Options`."

  alias Tidepool.Options

  @type t :: map

  @typedoc "Members of an object: each with its schema."
  @type members :: [{atom | String.t(), t}]

  @doc "A reference to a schema of the document."
  @spec ref(atom) :: t
  def ref(name), do: %{"$ref": "#/components/schemas/#{name}"}

  @doc "A schema with a description."
  @spec said(t, String.t()) :: t
  def said(schema, description), do: Map.put(schema, :description, description)

  @doc "Any text."
  @spec text :: t
  def text, do: %{type: :string}

  @doc "One of some words."
  @spec one_of([atom | String.t() | boolean]) :: t
  def one_of([value | _more] = values) when is_boolean(value), do: %{type: :boolean, enum: values}
  def one_of(values), do: %{type: :string, enum: values}

  @doc "An integer that is not below this."
  @spec integer(integer) :: t
  def integer(least \\ 0), do: %{type: :integer, minimum: least}

  @doc "A number."
  @spec number :: t
  def number, do: %{type: :number}

  @doc "A time, in seconds since 1970."
  @spec time :: t
  def time, do: said(integer(), "seconds since 1970, UTC")

  @doc "True or false."
  @spec boolean :: t
  def boolean, do: %{type: :boolean}

  @doc "A list."
  @spec list(t) :: t
  def list(items), do: %{type: :array, items: items}

  @doc "An object with any names, whose values have one schema."
  @spec named(t) :: t
  def named(values), do: %{type: :object, additionalProperties: values}

  @doc "Any value."
  @spec any :: t
  def any, do: %{}

  @doc "An object whose members are these; those of the second list may be missing."
  @spec object(members, members) :: t
  def object(required, optional \\ []) do
    required = Map.new(required)
    object = %{type: :object, properties: Map.merge(Map.new(optional), required)}
    if required == %{}, do: object, else: Map.put(object, :required, required |> Map.keys() |> Enum.sort())
  end

  @doc "A schema, or null."
  @spec nullable(t) :: t
  def nullable(%{enum: values} = schema), do: nullable_type(%{schema | enum: values ++ [nil]})
  def nullable(%{type: _type} = schema), do: nullable_type(schema)
  def nullable(schema), do: %{oneOf: [schema, %{type: :null}]}

  defp nullable_type(%{type: type} = schema), do: %{schema | type: [type, :null]}

  @doc """
  What JSON has of the value of an option of a schema (`Tidepool.Options`, with what `Tidepool.Function.Spec` adds).

      iex> TidepoolWeb.Resources.OpenApi.Schema.of_option(type: {:integer, 1, 9}, default: nil, doc: "how many.")
      %{type: [:integer, :null], minimum: 1, maximum: 9, description: "how many."}
  """
  @spec of_option(keyword) :: t
  def of_option(spec) do
    schema = value(spec)
    schema = if Keyword.fetch(spec, :default) == {:ok, nil}, do: nullable(schema), else: schema
    said(schema, spec[:doc])
  end

  @doc "What a form, a query or a body may say of an option: a text where that is read as one, the value itself elsewhere."
  @spec asked(keyword) :: t
  def asked(spec) do
    said(if(Options.switch?(spec), do: %{oneOf: [boolean(), value(spec)]}, else: value(spec)), spec[:doc])
  end

  defp value(spec) do
    case {spec[:each], spec[:text], spec[:type], spec[:default]} do
      {name, _text, _type, %{}} when is_binary(name) -> named(text())
      {name, _text, _type, _list} when is_binary(name) -> list(text())
      {nil, nil, type, _default} -> of_type(type)
      {nil, _text, _type, _default} -> text()
    end
  end

  @doc "A type of `Tidepool.Options`."
  @spec of_type(Options.type()) :: t
  def of_type(:boolean), do: boolean()
  def of_type({:integer, least, :infinity}), do: integer(least)
  def of_type({:integer, least, most}), do: least |> integer() |> Map.put(:maximum, most)
  def of_type({:one_of, values}), do: one_of(values)
  def of_type({:keyword, schema}), do: object([], of_options(schema))
  def of_type(_text), do: text()

  @doc "The members of what has these options."
  @spec of_options(Options.schema()) :: members
  def of_options(schema), do: for({key, spec} <- schema, do: {key, of_option(spec)})
end
