defmodule TidepoolWeb.Resources.Mcp.Tools do
  @moduledoc """
  Tools of what is deployed: pages of them, and the one of a name.

  A name is the function's, two underscores, and the export's: `calc__add`. Clients take up to 64 of `A-Z`, `a-z`,
  `0-9`, `_` and `-`; what has other characters, is longer, or would not tell two exports apart, is cut, and ends in
  an underscore and 60 bits of a SHA-256 of the whole. So a name depends on its function alone, and nobody finds
  another function with the same.
  """

  alias Tidepool.{Catalog, Function, Native}
  alias Tidepool.Catalog.Origin
  alias Tidepool.Function.{Spec, Tools}
  alias Tidepool.Tokens.Access
  alias TidepoolWeb.Resources.Mcp.{Exports, Kept}

  # Of a page; a single tool may have more bytes.
  @tools 100
  @bytes 1_048_576

  # What is left of a name that does not fit, beside the characters of its hash.
  @kept 50
  @hash 12
  # Bytes of a name that was cut: what is left of it, an underscore and the hash.
  @cut (1 + @hash)..(@kept + 1 + @hash)
  @name ~r/\A[A-Za-z0-9_-]{1,64}\z/
  # Functions whose tools are looked through for one name.
  @functions 16
  # An interface of more is read once for all names that are asked for: as terms it has many times its bytes.
  @interface_bytes 512

  @type tool :: {Function.t(), Exports.brief(), name :: String.t()}
  @type position :: {function :: String.t(), index :: non_neg_integer}

  @doc "The tools behind a position that a client may call, as JSON, and where more of them follow."
  @spec page(Origin.t(), position | nil, structured? :: boolean) :: {[binary], position | nil}
  def page(origin, position, structured?) do
    Catalog.tool_names()
    |> Stream.filter(&(position == nil or &1 >= elem(position, 0)))
    |> functions(origin)
    |> Stream.flat_map(&told(&1, first(&1, position), structured?, origin))
    |> Enum.reduce_while({[], nil, 0}, fn {json, at}, {shown, last, bytes} ->
      bytes = bytes + byte_size(json)

      if shown != [] and (length(shown) == @tools or bytes > @bytes),
        do: {:halt, {:more, shown, last}},
        else: {:cont, {[json | shown], at, bytes}}
    end)
    |> case do
      {:more, shown, last} -> {Enum.reverse(shown), last}
      {shown, _last, _bytes} -> {Enum.reverse(shown), nil}
    end
  end

  defp first(%{name: name}, {name, index}), do: index + 1
  defp first(_function, _position), do: 0

  # The tools of a function from one on, as JSON, and their positions.
  defp told(%{name: function} = of, first, structured?, origin) do
    if Tools.large?(of.interface) do
      key = key(of)

      Stream.unfold(first, fn index ->
        case Kept.text({key, structured?, index}, origin, fn -> keep(of, key, structured?, index) end) do
          "" -> nil
          json -> {{json, {function, index}}, index + 1}
        end
      end)
    else
      of
      |> named(of |> Tools.of() |> Enum.drop(first))
      |> Stream.with_index(first)
      |> Stream.map(fn {tool, index} -> {Native.json_encode(shown(tool, structured?)), {function, index}} end)
    end
  end

  # Tools from one on, a page of them at most; behind the last is an empty text. The first is returned.
  defp keep(function, key, structured?, first) do
    exports = Tools.of(function)
    tools = named(function, Enum.slice(exports, first, @tools))
    texts = Enum.map(tools, &Native.json_encode_large(shown(&1, structured?)))
    for {json, index} <- Enum.with_index(texts, first), do: Kept.put({key, structured?, index}, json)
    Kept.put({key, structured?, length(exports)}, "")
    List.first(texts, "")
  end

  # What the tools of a function depend on.
  defp key(%{name: name, abi: abi, sha256: sha256, tools: tools, description: description}),
    do: :crypto.hash(:sha256, :erlang.term_to_binary({name, abi, sha256, tools, description}))

  @doc "The tool of a name, if there is one that a client may call; `:full` when too many wait to look for theirs."
  @spec find(Origin.t(), String.t()) :: {:ok, tool} | :error | :full
  def find(origin, name) do
    name
    |> names(origin)
    |> functions(origin)
    |> Enum.find_value(:error, fn function ->
      case export(function, name, origin) do
        nil -> nil
        :full -> :full
        export -> {:ok, {function, export, name}}
      end
    end)
  end

  defp export(%{interface: interface} = function, name, origin)
       when is_binary(interface) and byte_size(interface) >= @interface_bytes,
       do: kept(key(function), function, name, origin)

  defp export(function, name, _origin), do: search(function, Tools.of(function), name)

  defp kept(key, function, name, origin) do
    make = fn -> keep(key, function, name) end
    text = Kept.text({key, name}) || unless(none?(key, name), do: Kept.text({key, name}, origin, make, :bounded))
    if is_binary(text), do: Tools.decode(text), else: text
  end

  defp search(%{abi: abi} = function, exports, name) do
    Enum.find_value(named(function, exports), fn {_function, export, of} ->
      of == name && Exports.brief(abi, export)
    end)
  end

  defp keep(key, function, name) do
    # Another may have looked while this one has waited.
    unless none?(key, name) do
      exports = Tools.of(function)
      if Kept.text({key, :names}) == nil, do: Kept.put({key, :names}, called(function, exports))

      if export = search(function, exports, name) do
        json = Native.json_encode(export)
        Kept.put({key, name}, json)
        json
      end
    end
  end

  # What all tools of a function are called, a line each. So whatever further names are asked for that none has, the interface is not read
  # again; and what is kept is as much as there are tools, and not as much as clients ask for.
  defp called(function, exports) do
    lines = for {_function, _export, name} <- named(function, exports), do: [name, ?\n]
    IO.iodata_to_binary([?\n | lines])
  end

  # Is it known that this is no tool's name?
  defp none?(key, name) do
    names = Kept.text({key, :names})
    names != nil and :binary.match(names, "\n" <> name <> "\n") == :nomatch
  end

  # Of functions that may have a tool of this name. One that was cut may be of any function whose own name it begins with. As many as there
  # are can be called so: these are the ones that have most of it in their names.
  defp names(name, origin) do
    case name =~ @name and String.split(name, "__", parts: 2) do
      [function, _export] -> [function]
      [cut] when byte_size(cut) in @cut -> likeliest(cut, origin)
      _none -> []
    end
  end

  defp likeliest(name, origin) do
    possible =
      for function <- Catalog.tool_names(),
          begins?(name, function),
          beginning = cut(function),
          String.starts_with?(name, beginning <> "_"),
          Access.sees?(origin, function),
          do: {byte_size(beginning), function}

    for {_bytes, function} <- possible |> Enum.sort(:desc) |> Enum.take(@functions), do: function
  end

  # May a name begin with what is left of a function's? Most do not by their first letters, and are not cut for it.
  defp begins?(name, function) do
    common = :binary.longest_common_prefix([name, function])

    common >= @kept or common == byte_size(function) or not kept?(:binary.at(function, common))
  end

  # Is a byte in what is left of a name? Others are an underscore there.
  defp kept?(byte), do: byte in ?A..?Z or byte in ?a..?z or byte in ?0..?9 or byte == ?-

  # Those of them that have tools and that a client may call, one after the other: all at once would be copies of all that is known of them.
  defp functions(names, origin) do
    names
    |> Stream.filter(&Access.sees?(origin, &1))
    |> Stream.map(&Catalog.brief/1)
    |> Stream.filter(&match?(%{tools: [_tool | _tools]}, &1))
  end

  defp named(function, exports),
    do: Stream.map(exports, fn {export, alone?} -> {function, export, name(function, export, alone?)} end)

  @doc """
  What a tool is called. `alone?` says whether no other export of the function has the name that this one has within
  its interface.

      iex> alias TidepoolWeb.Resources.Mcp.Tools
      iex> export = %{"name" => "docs:adder/add@0.1.0#add", "function" => "add"}
      iex> Tools.name(%{name: "calc"}, export, true)
      "calc__add"
      iex> for {name, alone?} <- [{"shop/calc", true}, {"calc", false}], do: Tools.name(%{name: name}, export, alone?)
      ["shop_calc_add_4tjfhwvo2sb5", "calc_add_iwez7nnnnlns"]
  """
  @spec name(%{:name => String.t(), optional(atom) => term}, Tools.export(), alone? :: boolean) :: String.t()
  def name(%{name: function}, %{"name" => whole, "function" => export}, alone?) do
    plain = function <> "__" <> export

    # The function's ends where the first two underscores are.
    plain? = function =~ ~r/\A[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*\z/ and export =~ ~r/\A[A-Za-z0-9_-]+\z/

    if alone? and plain? and byte_size(plain) <= 64,
      do: plain,
      else: cut(function <> "_" <> export) <> "_" <> hash(function <> "#" <> whole)
  end

  defp cut(text) do
    text |> String.replace(~r/[^A-Za-z0-9-]+/, "_") |> String.slice(0, @kept) |> String.trim_trailing("_")
  end

  defp hash(text),
    do: :sha256 |> :crypto.hash(text) |> Base.encode32(case: :lower, padding: false) |> binary_part(0, @hash)

  # What models are told of a tool.
  defp shown({%{abi: abi} = function, export, name}, structured?) do
    tool = %{name: name, description: description(function, export), inputSchema: Exports.input(abi, export)}
    if structured?, do: tool |> titled(function, export) |> resulting(Exports.output(abi, export)), else: tool
  end

  defp titled(tool, function, export), do: Map.put(tool, :title, "#{function.name} #{export["function"]}")
  defp resulting(tool, nil), do: tool
  defp resulting(tool, schema), do: Map.put(tool, :outputSchema, schema)

  # What the export's WIT says, if the component has that, and what the deploy does; and how the export reads.
  defp description(function, export) do
    signature = "#{Exports.signature(function.abi, export)}, of the function #{function.name}."

    Enum.join(
      for(text <- [export["docs"], function.description], text not in [nil, ""], do: text) ++ [signature],
      "\n\n"
    )
  end

  @doc "A position as a client gets it, and gives it back."
  @spec cursor(position) :: String.t()
  def cursor({function, index}), do: Base.url_encode64("#{index}:#{function}", padding: false)

  @doc """
  The position of a cursor.

      iex> alias TidepoolWeb.Resources.Mcp.Tools
      iex> {"shop/calc", 3} |> Tools.cursor() |> Tools.position()
      {:ok, {"shop/calc", 3}}
      iex> Enum.map(["", "x", 1, Base.url_encode64("a:b"), Base.url_encode64("1:a b")], &Tools.position/1)
      [:error, :error, :error, :error, :error]
  """
  @spec position(term) :: {:ok, position} | :error
  def position(cursor) do
    with true <- is_binary(cursor) and byte_size(cursor) <= 256,
         {:ok, text} <- Base.url_decode64(cursor, padding: false),
         [index, function] <- String.split(text, ":", parts: 2),
         {:ok, index} <- Tidepool.Options.read(index, {:integer, 0, 1_000_000}),
         true <- Spec.name?(function) do
      {:ok, {function, index}}
    else
      _other -> :error
    end
  end
end
