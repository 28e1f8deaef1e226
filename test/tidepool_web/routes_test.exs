defmodule TidepoolWeb.RoutesTest do
  use Tidepool.Case, async: true

  test "GET /functions lists every function as GET /functions/NAME shows it, by name" do
    names = Enum.sort([deploy!("rust", "counter"), deploy!("rust", "upper"), deploy!("rust", "hello_world")])
    assert {200, headers, %{"functions" => functions}} = curl("/functions")
    assert headers["content-type"] == "application/json"
    listed = Enum.filter(functions, &(&1["name"] in names))
    assert Enum.map(listed, & &1["name"]) == names

    for function <- listed do
      assert {200, _headers, whole} = curl("/functions/#{function["name"]}")
      # Only there it is asked who answers.
      assert {function["unanswered"], whole["unanswered"]} == {nil, []}
      assert whole |> Map.delete("config") |> Map.put("unanswered", nil) == function
      assert function["version"] == 1
      assert function["abi"] in ["wapc", "wasi"]
    end
  end

  test "GET /functions?label= lists the functions that have all of the labels" do
    team = unique_name("team")
    one = deploy!("rust", "counter", labels: %{"team" => team, "tier" => "gold"})
    other = deploy!("rust", "upper", labels: %{"team" => team, "beta" => ""})

    for {query, names} <- [
          {"label=team:#{team}", [one, other]},
          {"label=team%3A#{team}&label=tier", [one]},
          {"label=team:#{team}&label=beta:", [other]},
          {"label=team:#{team}&label=team:#{team}", [one, other]},
          {"label=team:#{team}&label=tier:silver", []},
          {"label=team:#{team}&label=team:x", []},
          {"label=team:#{String.slice(team, 0..-2//1)}", []}
        ] do
      assert {200, _headers, %{"functions" => functions}} = curl("/functions?" <> query)
      assert Enum.map(functions, & &1["name"]) == Enum.sort(names), query
    end

    {200, _headers, %{"functions" => functions}} = curl("/functions")
    assert [one, other] -- Enum.map(functions, & &1["name"]) == []

    for query <- ["label=", "label=Team", "label=team:#{String.duplicate("x", 64)}", "label=a%0A"] do
      assert {400, _headers, %{"error" => %{"reason" => "invalid_option", "message" => message}}} =
               curl("/functions?" <> query)

      assert message =~ "the parameter `label` has to be"
    end

    assert {400, _headers,
            %{"error" => %{"reason" => "unknown_field", "field" => "labels", "known" => ["label", "namespace"]}}} =
             curl("/functions?labels=team:shop")

    assert {400, _headers, %{"error" => %{"reason" => "invalid_query"}}} = curl("/functions?label=%zz")
  end

  test "DELETE /functions/NAME removes the function" do
    name = deploy!("rust", "counter")
    assert {200, _headers, %{"removed" => ^name}} = curl("/functions/#{name}", ["-X", "DELETE"])

    for {path, arguments} <- [
          {"/functions/#{name}", []},
          {"/functions/#{name}", ["-X", "DELETE"]},
          {"/call/#{name}", []}
        ] do
      assert {404, _headers, %{"error" => %{"reason" => "not_deployed", "function" => ^name}}} = curl(path, arguments)
    end
  end

  test "a name in the path is percent-decoded" do
    name = deploy!("rust", "counter")
    encoded = String.replace(name, "_", "%5F")
    assert {200, _headers, %{"name" => ^name}} = curl("/functions/#{encoded}")
    assert {200, _headers, "1"} = curl("/call/#{encoded}/next")
  end

  test "GET /health says that the node is up, who it is, and how busy" do
    deploy!("rust", "counter")
    assert {200, headers, health} = curl("/health")
    assert headers["content-type"] == "application/json"

    assert %{
             "status" => "ok",
             "node" => node,
             "functions" => functions,
             "instances" => %{"live" => live, "idle" => idle, "queued" => queued},
             "compiles" => %{"queued" => compiles}
           } = health

    assert node == to_string(node())
    assert functions >= 1
    assert Enum.all?([live, idle, queued, compiles], &is_integer/1)
  end

  test "a path that doesn't exist is 404 with the one that is like it, or the ones that do" do
    for {path, text} <- [
          {"/nope", "/call/FUNCTION"},
          {"/functions/a/b", "/call/FUNCTION"},
          {"/deploy/x", "/call/FUNCTION"},
          {"/health/", "did you mean /health?"}
        ] do
      assert {404, headers, %{"error" => %{"reason" => "not_found", "message" => message, "path" => ^path}}} =
               curl(path)

      assert headers["content-type"] == "application/json"
      assert message =~ text
    end
  end

  test "a method that a path doesn't have is 405 with those that it has" do
    for {path, method, allowed} <- [
          {"/deploy", "GET", ["POST"]},
          {"/functions", "POST", ["GET"]},
          {"/functions/x", "PUT", ["DELETE", "GET"]},
          {"/health", "POST", ["GET"]},
          {"/metrics", "DELETE", ["GET"]}
        ] do
      assert {405, headers, %{"error" => %{"reason" => "method_not_allowed"}}} = curl(path, ["-X", method])
      methods = headers["allow"] |> String.split(~r/, ?/) |> Enum.sort()
      assert methods -- ["HEAD"] == allowed
    end
  end

  test "a page of another site can change nothing" do
    name = deploy!("rust", "counter")

    for header <- ["origin: http://evil.example", "sec-fetch-site: cross-site"] do
      assert {403, _headers, %{"error" => %{"reason" => "cross_site"}}} =
               curl("/functions/#{name}", ["-X", "DELETE", "-H", header])

      assert {403, _headers, %{"error" => %{"reason" => "cross_site"}}} =
               curl_deploy(guest("rust", "upper"), [name: name], ["-H", header])
    end

    assert {:ok, %{version: 1}} = Tidepool.fetch(name)
  end
end
