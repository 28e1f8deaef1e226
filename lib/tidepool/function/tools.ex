defmodule Tidepool.Function.Tools do
  @moduledoc """
  Which exports of a function are tools, that models are told of and call.

  Each is the name of an export, as a call says it: `docs:adder/add@0.1.0#add`, without the version, or `add` where no
  other export of the component has that name. `*` is all that can be called. Tools are typed exports of components,
  functions of plain modules, and those of Extism plug-ins: all that a schema tells the arguments of.
  """

  alias Tidepool.{Error, Native, Options}

  @most 64
  @bytes 256
  # An interface of more is read beside the schedulers.
  @large_bytes 65_536
  # Whose exports are told of in `:interface`.
  @abis [:typed, :exports, :extism]

  @type t :: [String.t()]

  @typedoc """
  An export as a function's `:interface` tells it: `"name"` is the whole one, `"interface"` and `"function"` its
  parts. Of a typed one `"params"` are maps of `"name"`, `"type"` and `"schema"`, and so is `"result"`, without a name, or
  `nil`; `"docs"` are its comments in WIT, if the component has them. Of a plain module's `"params"` and `"results"` have
  a `"type"` each, and of a plug-in's there is nothing more.
  """
  @type export :: %{String.t() => term}

  @doc "What a list of tools has to be."
  @spec expectation :: String.t()
  def expectation, do: "a list of at most #{@most} names of exports, or [\"*\"] for all, none of them twice"

  @doc "What the text of one has to be."
  @spec notation :: String.t()
  def notation, do: "the name of an export, of 1 to #{@bytes} bytes, or `*` for all; #{@most} at most"

  @doc """
  Can a function have these tools?

      iex> alias Tidepool.Function.Tools
      iex> Enum.map([[], ["*"], ["add", "docs:adder/add#echo"]], &Tools.valid?/1)
      [true, true, true]
      iex> Enum.map([[""], ["add", "add"], ["a b"], [<<255>>], [:add], "add", ["a" | "b"]], &Tools.valid?/1)
      [false, false, false, false, false, false, false]
  """
  @spec valid?(term) :: boolean
  def valid?(tools) do
    is_list(tools) and List.improper?(tools) == false and length(tools) <= @most and Enum.all?(tools, &tool?/1) and
      Enum.uniq(tools) == tools
  end

  defp tool?(tool),
    do: is_binary(tool) and byte_size(tool) in 1..@bytes and Options.line?(tool) and not (tool =~ ~r/\s/u)

  @doc "The tool of a text."
  @spec read(String.t()) :: {:ok, t} | :error
  def read(text), do: if(valid?([text]), do: {:ok, [text]}, else: :error)

  @doc "Can exports of a compiled module be these tools?"
  @spec check(t, %{:abi => Tidepool.Function.abi(), :interface => String.t() | nil, optional(atom) => term}) ::
          :ok | {:error, Error.t()}
  def check([], _loaded), do: :ok

  def check(tools, %{abi: abi, interface: interface}) when abi in @abis and is_binary(interface) do
    exports = exports(interface)
    named = named(exports, tools)

    case Enum.find(tools, &(&1 != "*" and not is_map_key(named, &1))) do
      nil ->
        :ok

      tool ->
        message =
          "the module has no export `#{tool}` that could be a tool, or several of that name; it has " <>
            (exports |> Enum.filter(&callable?/1) |> Enum.take(@most) |> Enum.map_join(", ", & &1["name"]))

        {:error, Error.new(:invalid_config, message)}
    end
  end

  def check(_tools, %{abi: abi}) when abi in @abis,
    do: {:error, Error.new(:invalid_config, "the module has more exports than could be told of, and so no tools")}

  def check(_tools, _loaded) do
    message =
      "tools are exports of components (the ABI `typed`), of plain modules (`exports`) and of plug-ins (`extism`), " <>
        "and this module has none"

    {:error, Error.new(:invalid_config, message)}
  end

  @doc "The exports of a function that are tools, in the component's order, and whether each has its own name alone."
  @spec of(%{:tools => t, :interface => String.t() | nil, optional(atom) => term}) :: [{export, alone? :: boolean}]
  def of(%{tools: tools, interface: interface}) when tools == [] or interface == nil, do: []

  def of(%{tools: tools, interface: interface}) do
    exports = exports(interface)
    chosen = for {_tool, export} <- named(exports, tools), into: MapSet.new(), do: export["name"]
    called = Enum.frequencies_by(exports, & &1["function"])
    all? = "*" in tools

    for export <- exports, callable?(export), all? or export["name"] in chosen do
      {export, called[export["function"]] == 1}
    end
  end

  @doc "Is an interface so large as JSON that it is read beside the schedulers?"
  @spec large?(String.t() | nil) :: boolean
  def large?(json), do: is_binary(json) and byte_size(json) >= @large_bytes

  @doc "An interface, or what is kept of one of its exports, of its JSON."
  @spec decode(String.t()) :: map
  def decode(json) do
    {:ok, decoded} = if large?(json), do: Native.json_decode_large(json), else: Native.json_decode(json)
    decoded
  end

  defp exports(interface) do
    %{"functions" => functions} = decode(interface)
    # A module's functions are in no interface.
    for function <- functions, do: Map.merge(%{"interface" => nil, "function" => function["name"]}, function)
  end

  # The export of each tool that is one, as the library finds what a call names: a whole name is never another's short one, and what is
  # several exports' short one is none's. All exports are looked at once, however many tools there are.
  defp named(exports, tools) do
    tools = MapSet.new(tools)
    whole = for %{"name" => name} = export <- exports, name in tools, into: %{}, do: {name, export}

    short =
      for export <- exports, name <- short(export), name in tools, reduce: %{} do
        found -> Map.update(found, name, export, fn _another -> nil end)
      end

    for {tool, export} <- Map.merge(short, whole), export != nil and callable?(export), into: %{}, do: {tool, export}
  end

  defp short(%{"interface" => nil}), do: []

  defp short(%{"interface" => interface, "function" => function}) do
    [unversioned | version] = String.split(interface, "@", parts: 2)
    if version == [], do: [function], else: [function, unversioned <> "#" <> function]
  end

  defp callable?(export), do: not is_map_key(export, "uncallable")
end
