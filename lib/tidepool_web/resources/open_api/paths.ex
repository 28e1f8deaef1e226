defmodule TidepoolWeb.Resources.OpenApi.Paths do
  @moduledoc """
  Routes as the paths of an OpenAPI document.

  There a path is what its segments are, whatever these are called: `POST /processes/:function` and `GET /processes/:process` are one
  path, whose parameter has both names.
  """

  alias Tidepool.Error.Reason
  alias TidepoolWeb.Resources.OpenApi.{Operations, Schema}

  @meanings %{
    "function" =>
      "A function's name; of a name in a namespace, such as `shop/checkout`, the slash is written as `%2F`.",
    "class" => "The name of a class of actors.",
    "name" => "The name of an actor.",
    "operation" => "An operation of the function: what it takes for one, such as the name of an export.",
    "process" => "The number of a process, as `1.1`.",
    "token" => "The name of a token.",
    "node" => "The name of a node.",
    "id" => "The name of a recording.",
    "folder" => "A folder.",
    "file" => "A file."
  }

  @doc "All path items, by path. `token?`: has the node a token, without which everything is open?"
  @spec make([map], token? :: boolean) :: %{String.t() => map}
  def make(rows, token?) do
    said = Operations.all()

    for {_shape, rows} <- Enum.group_by(rows, &shape(&1.path)), into: %{} do
      names = rows |> Enum.map(&names(&1.path)) |> Enum.zip_with(&(&1 |> Enum.uniq() |> Enum.sort()))
      parameters = Enum.map(names, &Enum.join(&1, "_or_"))
      operations = for row <- rows, into: %{}, do: {String.downcase(row.method), operation(row, said, token?)}
      item = if names == [], do: operations, else: Map.put(operations, :parameters, Enum.map(names, &in_path/1))
      {written(hd(rows).path, parameters), item}
    end
  end

  @doc "Answers that several operations have, by name: the refusals of the edge."
  @spec responses :: %{atom => map}
  def responses, do: %{Refused: refused(Reason.all(:edge))}

  defp shape(path), do: Regex.replace(~r/:\w+/, path, ":")
  defp names(path), do: ~r/:(\w+)/ |> Regex.scan(path, capture: :all_but_first) |> List.flatten()

  defp written(path, parameters) do
    {path, []} =
      path
      |> String.split("/")
      |> Enum.map_reduce(parameters, fn
        ":" <> _name, [parameter | parameters] -> {"{#{parameter}}", parameters}
        segment, parameters -> {segment, parameters}
      end)

    Enum.join(path, "/")
  end

  defp in_path(names) do
    meaning = Enum.map_join(names, " Or: ", &Map.fetch!(@meanings, &1))
    %{name: Enum.join(names, "_or_"), in: :path, required: true, schema: Schema.text(), description: meaning}
  end

  defp operation(row, said, token?) do
    about = Operations.of(said, row.method, row.path)

    %{
      operationId: about.id,
      summary: about.summary,
      tags: [about.tag],
      security: security(row, token?),
      responses: responses(about)
    }
    |> with_some(:description, Enum.join(List.wrap(about[:doc]) ++ scope(row), " "))
    |> with_some(
      :parameters,
      Enum.map(about[:query] || [], &in_query/1) ++ Enum.map(about[:headers] || [], &in_header/1)
    )
    |> with_body(about[:body], row[:body])
  end

  defp with_some(operation, _key, none) when none in ["", []], do: operation
  defp with_some(operation, key, some), do: Map.put(operation, key, some)

  defp scope(%{guarded: true, scope: nil}), do: ["Any token will do."]
  defp scope(%{guarded: true, scope: scope}), do: ["Scope: `#{scope}`."]
  defp scope(_open), do: []

  # A node without a token takes none.
  defp security(%{guarded: false}, _token?), do: []
  defp security(row, true), do: [%{bearer: List.wrap(row.scope)}]
  defp security(row, false), do: [%{}, %{bearer: List.wrap(row.scope)}]

  defp in_query({name, schema}) do
    {description, schema} = Map.pop(schema, :description)
    parameter = %{name: name, in: :query, schema: schema}
    if description, do: Map.put(parameter, :description, description), else: parameter
  end

  defp in_header({name, description}),
    do: %{name: name, in: :header, schema: Schema.text(), description: description}

  defp with_body(operation, nil, _rule), do: operation

  defp with_body(operation, {type, schema, required?}, rule) do
    body = %{required: required?, content: content(type, schema)}
    bound = with {_kind, bytes} <- rule, do: %{description: "At most #{bytes} bytes."}, else: (_other -> %{})
    Map.put(operation, :requestBody, Map.merge(body, bound))
  end

  defp responses(about) do
    told = for {status, what, text} <- about.answers, into: %{}, do: {"#{status}", response(what, text)}

    about
    |> Map.get(:errors, [])
    |> Enum.flat_map(&refusals/1)
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Map.new(fn {status, reasons} -> {"#{status}", refused(Enum.uniq(reasons))} end)
    |> Map.merge(told)
    |> Map.put("default", %{"$ref": "#/components/responses/Refused"})
  end

  # A module's start functions fail as calls do.
  defp refusals(:deploy), do: statuses(Reason.all(:deploy) ++ Reason.all(:call), true)
  defp refusals(subject), do: statuses(Reason.all(subject), false)

  defp statuses(reasons, refused?) do
    for reason <- reasons, one <- kinds(reason), do: {Reason.status(one, refused?), reason}
  end

  defp kinds(reason) do
    case Reason.kinds(reason) do
      [] -> [reason]
      kinds -> Enum.map(kinds, &{reason, &1})
    end
  end

  defp refused(reasons) do
    response({"application/json", Schema.ref(:Error)}, Enum.map_join(reasons, ", ", &"`#{&1}`"))
  end

  defp response(nil, text), do: %{description: text}
  defp response({type, schema}, text), do: %{description: text, content: content(type, schema)}

  defp content(types, schema) when is_list(types), do: Map.new(types, &{&1, %{schema: schema}})
  defp content(type, schema), do: %{type => %{schema: schema}}
end
