defmodule TidepoolWeb.Resources.Mcp.Exports do
  @moduledoc """
  Exports as models are told of them and call them, by the ABI of their function.

  | ABI | arguments | a result |
  | --- | --- | --- |
  | `typed` | the parameters, by their names | JSON, and an object as one beside its text |
  | `exports` | numbers, by their places: `arg1`, `arg2` | JSON |
  | `extism` | `input`, a text | text, or bytes as a resource |
  """

  alias Tidepool.{Error, Function, Native, Options}
  alias Tidepool.Function.Tools
  alias TidepoolWeb.Resources.Mcp.Reading

  # Of an argument's name that was sent, so many bytes are in an error.
  @shown 128
  # Of names of parameters that may be left out, with what each takes beside: a call has those that its client has not sent.
  @optional_bytes 4_096
  @name_bytes 40

  @type schema :: map

  @typedoc """
  What a call needs of an export: its `"name"`; of a typed one the names of the parameters that may be left out (`"optional"`) and whether
  its result is told as an object (`"object"`), of a plain module's how many parameters it has (`"params"`).
  """
  @type brief :: %{String.t() => term}

  @integers %{
    "i32" => {-0x8000_0000, 0xFFFF_FFFF},
    "i64" => {-0x8000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF}
  }

  @doc "The schema of a tool's arguments."
  @spec input(Function.abi(), Tools.export()) :: schema
  def input(:typed, export) do
    required = Enum.map(export["params"], & &1["name"]) -- optional(export["params"])
    object(Map.new(export["params"], &{&1["name"], &1["schema"]}), required)
  end

  def input(:exports, %{"params" => params}) do
    names = places(length(params))
    object(names |> Enum.zip(Enum.map(params, &number(&1["type"]))) |> Map.new(), names)
  end

  def input(:extism, _export),
    do:
      object(%{"input" => %{type: "string", description: "What the plug-in gets as its input; none if left out."}}, [])

  defp object(properties, required),
    do: %{type: "object", properties: properties, required: required, additionalProperties: false}

  # As those of typed exports.
  defp number(type) when is_map_key(@integers, type) do
    {least, most} = @integers[type]
    %{type: "integer", minimum: least, maximum: most}
  end

  defp number(_float), do: %{anyOf: [%{type: "number"}, %{enum: ["NaN", "Infinity", "-Infinity"]}]}

  defp places(count), do: for(place <- 1..count//1, do: "arg#{place}")

  @doc "The schema of a result that is told as an object; `nil` of others."
  @spec output(Function.abi(), Tools.export()) :: schema | nil
  def output(:typed, %{"result" => %{"schema" => %{"type" => "object"} = schema}}), do: schema
  def output(_abi, _export), do: nil

  @doc "How an export reads in its own language, for a description."
  @spec signature(Function.abi(), Tools.export()) :: String.t()
  def signature(:typed, export) do
    params = Enum.map_join(export["params"], ", ", &"#{&1["name"]}: #{&1["type"]}")
    within = if export["interface"], do: " of #{export["interface"]}", else: ""
    "`#{export["function"]}: func(#{params})#{result(export)}`#{within}"
  end

  def signature(:exports, %{"name" => name, "params" => params, "results" => results}) do
    list = fn types -> Enum.map_join(types, ", ", & &1["type"]) end
    result = if results == [], do: "", else: " -> " <> list.(results)
    "`#{name}(#{list.(params)})#{result}`"
  end

  def signature(:extism, %{"name" => name}), do: "`#{name}`"

  defp result(%{"error" => error, "result" => ok}) do
    case {ok && ok["type"], error && error["type"]} do
      {nil, nil} -> " -> result"
      {ok, nil} -> " -> result<#{ok}>"
      {ok, error} -> " -> result<#{ok || "_"}, #{error}>"
    end
  end

  defp result(%{"result" => nil}), do: ""
  defp result(%{"result" => %{"type" => type}}), do: " -> " <> type

  # The names of the parameters that may be left out: none may where these are long together.
  defp optional(params) do
    names = for %{"name" => param, "schema" => schema} <- params, optional?(schema), do: param
    bytes = Enum.reduce(names, 0, &(byte_size(&1) + @name_bytes + &2))
    if bytes <= @optional_bytes, do: names, else: []
  end

  defp optional?(schema), do: match?(%{"anyOf" => [_some, %{"type" => "null"}]}, schema)

  @doc "What calls need of an export. All of it may be megabytes as terms, and a call would have them for as long as it waits."
  @spec brief(Function.abi(), Tools.export()) :: brief
  def brief(:typed, %{"name" => name, "params" => params} = export),
    do: %{"name" => name, "optional" => optional(params), "object" => output(:typed, export) != nil}

  def brief(:exports, %{"name" => name, "params" => params}), do: %{"name" => name, "params" => length(params)}
  def brief(:extism, %{"name" => name}), do: %{"name" => name}

  @doc """
  The payload of a call with these arguments; an error of the tool where they are none of its, or a sentence where they
  can't be written.
  """
  @spec payload(Function.abi(), brief, arguments :: map) :: {:ok, binary} | {:error, Error.t() | String.t()}
  def payload(:typed, %{"optional" => optional}, arguments), do: arguments |> whole(optional) |> encoded()

  def payload(:exports, export, arguments) do
    names = places(export["params"])

    with :ok <- known(export, arguments, names) do
      case Enum.find(names, &(not is_map_key(arguments, &1))) do
        nil -> encoded(for name <- names, do: arguments[name])
        missing -> wrong(export, missing, "`#{missing}` is missing")
      end
    end
  end

  def payload(:extism, export, arguments) do
    with :ok <- known(export, arguments, ["input"]) do
      case Map.get(arguments, "input") do
        nil -> {:ok, ""}
        input when is_binary(input) -> {:ok, input}
        _other -> wrong(export, "input", "`input` has to be a text")
      end
    end
  end

  defp encoded(arguments) do
    # How much they are shows when they are written.
    {:ok, Native.json_encode_large(arguments)}
  rescue
    # JSON is read deeper than it is written.
    ArgumentError -> {:error, "`arguments` are nested too deep"}
  end

  defp known(export, arguments, names) do
    case Map.keys(arguments) -- names do
      [] -> :ok
      [unknown | _more] -> wrong(export, unknown, "there is no `#{Options.cut(unknown, @shown)}`: #{has(names)}")
    end
  end

  defp has([]), do: "it has no arguments"
  defp has(names), do: "it has #{Enum.join(names, ", ")}"

  defp wrong(%{"name" => name}, path, why),
    do: {:error, Error.new(:invalid_arguments, "of `#{name}` " <> why, nil, %{path: Options.cut(path, @shown)})}

  @doc "Arguments by name with those that may be left out, as a call of a typed export wants them."
  @spec whole(map, optional :: [String.t()]) :: map
  def whole(arguments, optional) do
    for param <- optional,
        not is_map_key(arguments, param) and not is_map_key(arguments, String.replace(param, "-", "_")),
        into: arguments,
        do: {param, nil}
  end

  @doc "The content of a result that a reply is, as JSON, and the object that is told beside it, if it is one."
  @spec content(Function.abi(), brief, function :: String.t(), reply :: binary) :: {iodata, object :: binary | nil}
  def content(:extism, export, function, reply) do
    if String.valid?(reply), do: {text(reply), nil}, else: {blob(function, export, reply), nil}
  end

  def content(_abi, export, _function, json), do: {text(json), if(export["object"], do: json)}

  @doc "A text as content."
  @spec text(String.t()) :: iodata
  def text(text), do: written([%{type: "text", text: text}], text)

  # A resource has to have a name.
  defp blob(function, %{"name" => name}, bytes) do
    uri = "tidepool:call/#{URI.encode_www_form(function)}/#{URI.encode_www_form(name)}"
    resource = %{uri: uri, mimeType: "application/octet-stream", blob: Base.encode64(bytes)}
    written([%{type: "resource", resource: resource}], bytes)
  end

  defp written(content, bytes),
    do: if(Reading.large?(bytes), do: Native.json_encode_large(content), else: Native.json_encode(content))
end
