defmodule TidepoolWeb.ActorsTest do
  # Actors by curl.
  use Tidepool.Case, async: true

  setup do
    name = unique_name("ledger")
    {201, _headers, %{"actor" => actor}} = curl_deploy(guest("rust", "ledger"), name: name, actor: "true")
    on_exit(fn -> remove!(name) end)
    assert %{"durability" => "commit", "idle" => 30_000} = actor
    {:ok, class: name}
  end

  defp add(path, number, arguments \\ []), do: curl(path <> "/add", ["--data-binary", "#{number}"] ++ arguments)

  test "are made, called, shown, listed and deleted", %{class: class} do
    path = "/actors/#{class}/alice"
    assert {200, _headers, "1"} = add(path, 1)
    assert {200, _headers, "3"} = add(path, 2)
    assert {200, _headers, %{"name" => "alice", "awake" => true, "writes" => 2, "version" => 1}} = curl(path)
    assert {200, _headers, %{"actors" => [%{"name" => "alice"}], "next" => nil}} = curl("/actors/#{class}")
    assert {200, _headers, %{"deleted" => %{"name" => "alice"}}} = curl(path, ["-X", "DELETE"])
    assert {404, _headers, %{"error" => %{"reason" => "unknown_actor"}}} = curl(path)
    assert {404, _headers, %{"error" => %{"reason" => "unknown_actor"}}} = curl(path, ["-X", "DELETE"])

    assert {404, _headers, %{"error" => %{"reason" => "unknown_actor"}}} =
             curl(path <> "/add?create=false", ["--data-binary", "1"])

    assert {200, _headers, %{"actors" => []}} = curl("/actors/#{class}")
  end

  test "have names of any kind, percent-encoded", %{class: class} do
    name = "room 5/é?#%"
    path = "/actors/#{class}/#{URI.encode(name, &URI.char_unreserved?/1)}"
    assert {200, _headers, "1"} = add(path, 1)
    assert {:ok, "1"} = Tidepool.Actor.call(class, name, "sum")
    assert {200, _headers, %{"name" => ^name}} = curl(path)
  end

  test "are asked for something once by an id", %{class: class} do
    path = "/actors/#{class}/alice"
    id = ["-H", "Idempotency-Key: 7"]
    assert {200, _headers, "1"} = add(path, 1, id)
    assert {200, _headers, "1"} = add(path, 1, id)

    assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} =
             add(path, 1, ["-H", "idempotency-key: #{String.duplicate("a", 129)}"])
  end

  test "of what is no class, or not deployed, or asked for with parameters that there are not, are refused", %{
    class: class
  } do
    plain = deploy!("rust", "ledger")
    assert {409, _headers, %{"error" => %{"reason" => "not_a_class"}}} = add("/actors/#{plain}/alice", 1)
    assert {404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = add("/actors/nowhere/alice", 1)
    assert {400, _headers, %{"error" => %{"reason" => "unknown_field"}}} = curl("/actors/#{class}?form=a")

    for query <- ["creat=false", "create=no"] do
      assert {400, _headers, %{"error" => _error}} = curl("/actors/#{class}/alice/sum?#{query}", ["-X", "POST"])
    end

    assert {404, _headers, _error} = curl("/actors/#{class}/alice")
  end

  test "need a token to be called, where there is one", %{class: _class} do
    for {method, path, options} <- TidepoolWeb.Resources.Actors.routes(), endpoint <- TidepoolWeb.Router.endpoints() do
      if endpoint.path == path and endpoint.method == method,
        do: assert(endpoint.guarded == (method != "GET"), inspect(options))
    end
  end

  test "are listed, looked at and deleted by so many requests at a time, and called by as many as the node takes" do
    paths = for {_method, path, _options} <- TidepoolWeb.Resources.Actors.routes(), do: path

    for endpoint <- TidepoolWeb.Router.endpoints(),
        endpoint.path in paths,
        do: assert(endpoint.places == if(endpoint.method == "POST", do: nil, else: 64), inspect(endpoint))
  end

  test "are options of a deploy, as JSON, and refused by name", %{class: class} do
    {201, _headers, %{"actor" => actor}} =
      curl_deploy(guest("rust", "ledger"), name: class, actor: ~s({"idle": 50, "durability": "idle"}))

    assert %{"idle" => 50, "durability" => "idle", "queue" => 1_000} = actor
    {201, _headers, %{"actor" => nil}} = curl_deploy(guest("rust", "ledger"), name: class, actor: "false")

    for {text, said} <- [
          {~s({"idel": 50}), "idel"},
          {~s({"idle": 0}), "actor.idle"},
          {"yes", "`true`, `false` or a JSON object"},
          {"5", "`true`, `false` or a JSON object"}
        ] do
      {400, _headers, %{"error" => %{"message" => message}}} =
        curl_deploy(guest("rust", "ledger"), name: class, actor: text)

      assert message =~ said
    end
  end

  test "are counted in the answer to the deploy of their class, which says what becomes of them", %{class: class} do
    for name <- ["alice", "bob"], do: {200, _headers, "1"} = add("/actors/#{class}/#{name}", 1)
    {200, _headers, %{"actors" => actors}} = curl_deploy(guest("rust", "ledger"), name: class, actor: "true")
    assert actors == %{"versions" => "pin", "count" => 2}
    assert {:ok, :more} = Tidepool.Actor.count(class, 1)
    {201, _headers, deployed} = curl_deploy(guest("rust", "ledger"), name: class, actor: "false")
    refute is_map_key(deployed, "actors")
  end

  test "are not asked by who says two things of the same", %{class: class} do
    path = "/actors/#{class}/alice"

    for answer <- [
          curl(path <> "/add?create=false&create=true", ["--data-binary", "1"]),
          curl("/actors/#{class}?from=a&from=b")
        ] do
      assert {400, _headers, %{"error" => %{"reason" => "duplicate_field"}}} = answer
    end

    assert {404, _headers, _unknown} = curl(path)
  end

  test "take payloads as large as their class was deployed for, and none that is larger", %{class: class} do
    for {name, limit} <- [{"alice", 9_437_184}, {"bob", 100}] do
      path = "/actors/#{class}/#{name}"

      assert {201, _headers, _function} =
               curl_deploy(guest("rust", "ledger"), name: class, actor: "true", limits: ~s({"payload": #{limit}}))

      assert {200, _headers, "1"} = add(path, in_file(limit))

      assert {413, _headers, %{"error" => error}} = add(path, in_file(limit + 1))
      assert %{"reason" => "limit", "limit" => "payload", "allowed" => ^limit, "unit" => "bytes"} = error
    end
  end

  # A number in a file of so many bytes.
  defp in_file(bytes) do
    file = Path.join(System.tmp_dir!(), unique_name("payload"))
    File.write!(file, String.pad_leading("1", bytes, "0"))
    on_exit(fn -> File.rm!(file) end)
    "@" <> file
  end
end
