defmodule TidepoolWeb.OpenApiTest do
  # The document at /openapi.json, held to the routes that there are and to what they answer.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, JsonSchema, Peer}
  alias Tidepool.Error.Reason
  alias TidepoolWeb.Resources.OpenApi.{Document, Operations}
  alias TidepoolWeb.Router

  doctest TidepoolWeb.Resources.OpenApi.Schema

  @methods ~w(get put post delete)

  setup_all do
    {200, %{"content-type" => "application/json"}, document} = curl("/openapi.json")
    %{document: document}
  end

  # `{path, method, operation, item}`
  defp operations(document) do
    for {path, item} <- document["paths"],
        {method, operation} <- item,
        method in @methods,
        do: {path, method, operation, item}
  end

  # What a reference leads to, or the term itself.
  defp found(document, %{"$ref" => reference}), do: JsonSchema.lookup(document, reference)
  defp found(_document, term), do: term

  defp shape(path), do: Regex.replace(~r/:\w+|\{\w+\}/, path, ":")

  # All maps within a term.
  defp maps(%{} = map), do: [map | Enum.flat_map(Map.values(map), &maps/1)]
  defp maps(list) when is_list(list), do: Enum.flat_map(list, &maps/1)
  defp maps(_other), do: []

  test "every route of the router and of the edge is in the document, and nothing else", %{document: document} do
    documented = for {path, method, _operation, _item} <- operations(document), do: {String.upcase(method), shape(path)}
    routes = for row <- Document.own() ++ Router.endpoints(), do: {row.method, shape(row.path)}
    assert Enum.sort(documented) == Enum.sort(routes)

    # What the edge lists is all that it has.
    {404, _headers, %{"error" => %{"message" => known}}} = curl("/nowhere")
    paths = for [path] <- Regex.scan(~r{/[\w/.]*}, known), do: Regex.replace(~r/[A-Z]+/, path, ":")
    assert Enum.sort(Enum.uniq(paths)) == documented |> Enum.map(&elem(&1, 1)) |> Enum.uniq() |> Enum.sort()
  end

  test "something is said of every route, and of none that there is not" do
    routes = for row <- Document.own() ++ Router.endpoints(), do: {row.method, row.path}
    assert Enum.sort(Map.keys(Operations.all())) == Enum.sort(routes)
  end

  test "it is an OpenAPI document: references lead somewhere, parameters are declared, ids are unique", %{
    document: document
  } do
    assert %{"openapi" => "3.1.0", "info" => %{"title" => "Tidepool", "version" => version}} = document
    assert version == to_string(Application.spec(:tidepool, :vsn))

    for %{"$ref" => reference} = schema <- maps(document) do
      assert map_size(schema) == 1 or Map.keys(schema) -- ["$ref", "description"] == []
      assert JsonSchema.lookup(document, reference), reference
    end

    used = for %{"$ref" => "#/components/schemas/" <> name} <- maps(document), uniq: true, do: name
    assert Enum.sort(used) == Enum.sort(Map.keys(document["components"]["schemas"]))

    for {path, item} <- document["paths"] do
      declared = for %{"in" => "path", "name" => name, "required" => true} <- item["parameters"] || [], do: name
      assert Regex.scan(~r/\{(\w+)\}/, path, capture: :all_but_first) == Enum.map(declared, &[&1])
    end

    paths = Map.keys(document["paths"])
    assert Enum.uniq_by(paths, &shape/1) == paths

    tags = for %{"name" => name} <- document["tags"], do: name
    ids = for {_path, _method, operation, _item} <- operations(document), do: operation["operationId"]
    assert Enum.uniq(ids) == ids

    for {path, method, operation, _item} <- operations(document) do
      assert operation["operationId"] =~ ~r/\A[a-z]\w*\z/, "#{method} #{path}"
      assert operation["summary"] =~ ~r/\A[A-Z].*\.\z/, "#{method} #{path}"
      assert operation["tags"] -- tags == []
      names = for %{"name" => name} <- operation["parameters"] || [], do: name
      assert Enum.uniq(names) == names

      for {status, response} <- operation["responses"] do
        assert status == "default" or status =~ ~r/\A[2345]\d\d\z/
        assert is_binary(found(document, response)["description"])
      end

      for security <- operation["security"], {scheme, roles} <- security do
        assert document["components"]["securitySchemes"][scheme]
        assert is_list(roles)
      end
    end
  end

  test "a route has a body in the document where the edge lets one in", %{document: document} do
    for row <- Router.endpoints() do
      {_path, _method, operation, _item} =
        Enum.find(operations(document), fn {path, method, _operation, _item} ->
          {String.upcase(method), shape(path)} == {row.method, shape(row.path)}
        end)

      assert {row.path, is_map_key(operation, "requestBody")} == {row.path, row.body != :nothing}
    end
  end

  test "every reason of an error is in its schema, and every member that an answer may tell", %{document: document} do
    reasons = for subject <- Reason.subjects(), reason <- Reason.all(subject), uniq: true, do: reason
    schemas = document["components"]["schemas"]
    assert Enum.sort(schemas["Reason"]["enum"]) == Enum.sort(Enum.map(reasons, &to_string/1))

    for reason <- reasons, member <- Reason.details(reason) do
      assert schemas["Problem"]["properties"][member], "#{reason}: #{member}"
    end
  end

  test "the parameters of each query are those that the route takes", %{document: document} do
    name = deploy!("rust", "hello_world")

    for {path, method, operation, _item} <- operations(document),
        documented = for(%{"in" => "query", "name" => name} <- operation["parameters"] || [], do: name),
        documented != [],
        # These look at no other parameter.
        not String.starts_with?(path, "/call/") do
      asked = Regex.replace(~r/\{\w+\}/, path, name)

      arguments =
        if path == "/deploy", do: ["-F", "wasm=@#{guest_path("rust", "upper")}"], else: ["-X", String.upcase(method)]

      assert {400, _headers, %{"error" => %{"reason" => "unknown_field", "known" => known}}} =
               curl(asked <> "?forse=1", arguments)

      # A rollback reads its version apart from the others.
      assert {path, Enum.sort(documented -- known)} == {path, if(path =~ "rollback", do: ["version"], else: [])}
      assert {path, known -- documented} == {path, []}
    end
  end

  test "the form of a deploy has the fields that the node lists", %{document: document} do
    {200, _headers, %{"form" => fields}} = curl("/deploy/options")
    content = document["paths"]["/deploy"]["post"]["requestBody"]["content"]
    properties = content["multipart/form-data"]["schema"]["properties"]
    assert Enum.sort(Map.keys(properties)) == Enum.sort(["wasm" | Enum.map(fields, & &1["name"])])
  end

  # Asks, and holds the answer to what the document says of that operation and status.
  defp fits!(document, method, template, path, arguments \\ []) do
    {status, _headers, answer} = curl(path, ["-X", String.upcase(method) | arguments])
    responses = document["paths"][template][method]["responses"]
    response = found(document, responses["#{status}"] || responses["default"])
    schema = response["content"]["application/json"]["schema"]
    assert JsonSchema.complaints(answer, schema, document) == [], "#{method} #{path}: #{status} #{inspect(answer)}"
    {status, answer}
  end

  test "what a node answers is as the document says", %{document: document} do
    name = deploy!("rust", "hello_world", labels: %{"team" => "docs"}, instances: {:warm, 2})
    Tidepool.call(name, "hello", "Ada")
    Tidepool.call(name, "log", "a line")
    {:error, _guest_error} = Tidepool.call(name, "fail", "")
    one = "/functions/#{name}"

    for {template, path} <- [
          {"/health", "/health"},
          {"/node", "/node"},
          {"/cluster", "/cluster"},
          {"/functions", "/functions"},
          {"/functions/{function}", one},
          {"/functions/{function}/versions", one <> "/versions"},
          {"/functions/{function}/logs", one <> "/logs"},
          {"/functions/{function}/failures", one <> "/failures"},
          {"/figures", "/figures"},
          {"/figures/{function}", "/figures/#{name}"},
          {"/deploy/options", "/deploy/options"},
          {"/session", "/session"},
          {"/tokens", "/tokens"},
          {"/audit", "/audit"},
          {"/recordings", "/recordings"},
          {"/processes", "/processes"}
        ] do
      assert {200, _answer} = fits!(document, "get", template, path)
    end

    for {template, path, reason} <- [
          {"/functions/{function}", "/functions/nobody", "not_deployed"},
          {"/call/{function}/{operation}", "/call/#{name}/fail", "guest_error"},
          {"/processes/{function_or_process}", "/processes/1.x", "unknown_process"},
          {"/figures/{function}", "/figures/nobody", "not_deployed"}
        ] do
      assert {_status, %{"error" => %{"reason" => ^reason}}} = fits!(document, "get", template, path)
    end

    assert {409, _no_token} = fits!(document, "post", "/tokens", "/tokens", ["-d", ~s({"name":"ci","scopes":["read"]})])
    assert {200, _removed} = fits!(document, "delete", "/functions/{function}", one)
  end

  test "what a deploy answers is as the document says, whether it is done or refused", %{document: document} do
    name = unique_name("open_api")
    on_exit(fn -> remove!(name) end)
    module = guest_path("rust", "hello_world")
    form = ["-F", "wasm=@#{module}", "-F", "name=#{name}", "-F", "record=failures"]
    assert {201, _deployed} = fits!(document, "post", "/deploy", "/deploy", form)
    assert {200, _same} = fits!(document, "post", "/deploy", "/deploy?wait=all", form)
    refused = ["-F", "wasm=@mix.exs", "-F", "name=#{name}"]
    assert {422, %{"error" => %{"step" => "compile"}}} = fits!(document, "post", "/deploy", "/deploy", refused)
    assert {400, _unknown} = fits!(document, "post", "/deploy", "/deploy", form ++ ["-F", "lable=x"])

    {:error, _guest_error} = Tidepool.call(name, "fail", "")
    listed = fn -> fits!(document, "get", "/recordings", "/recordings?function=#{name}") end

    assert {200, %{"recordings" => [_one]}} =
             eventually(fn -> match?({200, %{"recordings" => [_]}}, listed.()) && listed.() end)
  end

  test "what is told of processes and actors is as the document says", %{document: document} do
    program = deploy!("c", "nap", engine: :dense)
    start = ["-d", ~s({"args":["600000"]})]

    assert {201, %{"id" => id}} =
             fits!(document, "post", "/processes/{function_or_process}", "/processes/#{program}", start)

    for path <- ["/processes", "/processes/#{id}"],
        do: fits!(document, "get", Regex.replace(~r/[\d.]+$/, path, "{function_or_process}"), path)

    assert {200, _killed} = fits!(document, "delete", "/processes/{function_or_process}", "/processes/#{id}")

    class = deploy!("rust", "counter", actor: true)
    {200, _headers, _reply} = curl("/actors/#{class}/ada/next", ["-X", "POST"])
    assert {200, %{"actors" => [_ada]}} = fits!(document, "get", "/actors/{class}", "/actors/#{class}")
    assert {200, _ada} = fits!(document, "get", "/actors/{class}/{name}", "/actors/#{class}/ada")
    assert {200, _deleted} = fits!(document, "delete", "/actors/{class}/{name}", "/actors/#{class}/ada")
  end

  test "a route takes a token in the document where it takes one on the node, and needs none to be read" do
    peer = Peer.start!(server: true, token: "s3cret", reads: :token, calls: :token)
    {200, _headers, document} = curl_url(Peer.url(peer, "/openapi.json"))
    security = fn method, path -> document["paths"][path][method]["security"] end
    assert security.("get", "/health") == []
    assert security.("get", "/openapi.json") == []
    assert security.("post", "/deploy") == [%{"bearer" => ["deploy"]}]
    assert security.("get", "/functions") == [%{"bearer" => ["read"]}]
    assert security.("post", "/call/{function}") == [%{"bearer" => ["call"]}]
    assert security.("post", "/session") == [%{"bearer" => []}]

    for {path, "get", operation, _item} <- operations(document), operation["security"] != [], not (path =~ "{") do
      assert {path, 401} == {path, elem(curl_url(Peer.url(peer, path)), 0)}
    end
  end

  test "the errors of an operation are under the statuses that they have", %{document: document} do
    responses = document["paths"]["/call/{function}"]["post"]["responses"]

    for {reason, status} <- [not_deployed: 404, guest_error: 422, timeout: 504, overloaded: 503],
        do: assert(responses["#{status}"]["description"] =~ "`#{reason}`")

    {status, :json, _headers, _body} = TidepoolWeb.Reply.error(Error.new(:not_wasm, "", nil, %{step: :compile}))
    assert document["paths"]["/deploy"]["post"]["responses"]["#{status}"]["description"] =~ "`not_wasm`"
  end
end
