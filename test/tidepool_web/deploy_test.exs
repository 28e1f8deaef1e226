defmodule TidepoolWeb.DeployTest do
  # POST /deploy, with curl as users do it.
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Function, Peer, TestModule}

  setup do
    name = unique_name("uploaded")
    on_exit(fn -> Tidepool.remove(name) end)
    %{name: name}
  end

  test "a first upload is 201 with what the function is", %{name: name} do
    wasm = guest("rust", "redis_concat")
    fields = [name: name, operation: "concat", instances: "warm:7", limits: ~s({"time": 1234, "depth": 3})]
    assert {201, headers, function} = curl_deploy(wasm, fields)
    assert headers["content-type"] == "application/json"

    assert %{
             "name" => ^name,
             "version" => 1,
             "abi" => "wapc",
             "operation" => "concat",
             "instances" => "warm:7",
             "limits" => %{"time" => 1234, "depth" => 3, "memory" => 67_108_864},
             "imports" => imports,
             "size" => size,
             "sha256" => sha256,
             "compile_us" => compile_us,
             "deployed_at" => deployed_at
           } = function

    assert "wapc.__host_call" in imports
    assert size == byte_size(wasm)
    assert sha256 == Tidepool.Catalog.BlobStore.sha256(wasm)
    assert compile_us > 0
    assert abs(deployed_at - System.os_time(:second)) < 600

    assert {:ok, %Function{instances: {:warm, 7}, operation: "concat", limits: %{time: 1234}}} = Tidepool.fetch(name)
  end

  test "a node's first deploy may wait for a majority, whatever code is loaded by then" do
    peer = Peer.start!(server: true)
    url = Peer.url(peer, "/deploy?wait=majority&wait_timeout=1000")
    assert {201, _headers, answer} = curl_deploy_url(url, guest("rust", "hello_world"), name: "hello_world")
    assert %{"ready" => [_itself], "pending" => []} = answer
  end

  test "a function says what happens before its first call, and why", %{name: name} do
    wasm = guest("assemblyscript", "hello_world")
    assert {201, _headers, %{"start" => "snapshot", "start_reason" => nil}} = curl_deploy(wasm, name: name)
    assert {201, _headers, function} = curl_deploy(wasm, name: name, snapshot: "false")
    assert %{"start" => "initialiser", "start_reason" => reason, "version" => 2} = function
    assert is_binary(reason)
    assert {:ok, %Function{start: :initialiser, start_reason: ^reason}} = Tidepool.fetch(name)
    assert Tidepool.call!(name, "hello", "Ada") == "Hello, Ada!"
    assert {201, _headers, %{"start" => "nothing"}} = curl_deploy(guest("rust", "hello_world"), name: name)

    assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} =
             curl_deploy(wasm, name: name, snapshot: "no")
  end

  test "the same bytes and options again are 200 and the same version, other bytes 201 and the next", %{name: name} do
    wasm = guest("rust", "hello_world")
    assert {201, _headers, %{"version" => 1} = first} = curl_deploy(wasm, name: name)
    assert {200, _headers, ^first} = curl_deploy(wasm, name: name)

    assert {201, _headers, %{"version" => 2, "sha256" => sha256}} =
             curl_deploy(TestModule.variant(wasm, "2"), name: name)

    assert sha256 != first["sha256"]

    assert {201, _headers, %{"version" => 3}} =
             curl_deploy(TestModule.variant(wasm, "2"), name: name, instances: "warm:1")
  end

  test "without a field `name` the function is called like the file, without .wasm", %{name: name} do
    folder = tmp_folder!()
    for file <- ["#{name}.wasm", name], do: File.write!(Path.join(folder, file), guest("rust", "counter"))

    assert {201, _headers, %{"name" => ^name, "operation" => ^name}} =
             curl("/deploy", ["-F", "wasm=@#{folder}/#{name}.wasm"])

    assert {200, _headers, %{"name" => ^name}} = curl("/deploy", ["-F", "wasm=@#{folder}/#{name}"])
  end

  test "only the last part of a file's path counts", %{name: name} do
    path = guest_path("rust", "counter")

    for {file_name, status} <- [
          {"/home/me/#{name}.wasm", 201},
          {"C:\\work\\#{name}.wasm", 200},
          {"../#{name}.wasm", 200}
        ] do
      escaped = String.replace(file_name, "\\", "\\\\")
      assert {^status, _headers, %{"name" => ^name}} = curl("/deploy", ["-F", "wasm=@#{path};filename=\"#{escaped}\""])
    end
  end

  test "a field `name` goes before the file's name", %{name: name} do
    assert {201, _headers, %{"name" => ^name}} =
             curl("/deploy", ["-F", "wasm=@#{guest_path("rust", "counter")}", "-F", "name=#{name}"])
  end

  test "fields may come in any order", %{name: name} do
    assert {201, _headers, %{"name" => ^name, "instances" => "warm:2"}} =
             curl("/deploy", [
               "-F",
               "instances=warm:2",
               "-F",
               "name=#{name}",
               "-F",
               "wasm=@#{guest_path("rust", "counter")}"
             ])
  end

  test "an error calls a field what the form calls it, and has the function's name", %{name: name} do
    wasm = guest("rust", "hello_world")

    for {fields, query, said} <- [
          {[limits: ~s({"memory": -5})], "", "the field `limits.memory` has to be an integer from 65536 to"},
          {[limits: ~s({"time": "soon"})], "", "the field `limits.time` has to be"},
          {[limits: ~s({"tme": 5})], "", "the field `limits` has an unknown member \"tme\""},
          {[operation: String.duplicate("o", 2_000)], "", "the field `operation` has to be"},
          {[instances: "many"], "", "the field `instances` has to be `fresh` or `warm:N`"},
          {[instances: "warm:0"], "", "the field `instances` has to be `fresh` or `warm:N`"},
          {[instances: "warm:16001"], "", "the field `engine=dense`"},
          {[engine: "slow"], "", "the field `engine` has to be"},
          {[snapshot: "no"], "", "the field `snapshot` has to be"},
          {[], "?wait=none", "the parameter `wait` has to be"},
          {[], "?wait_timeout=-1", "the parameter `wait_timeout` has to be"}
        ] do
      assert {400, _headers, %{"error" => error}} =
               curl_deploy_url(url("/deploy" <> query), wasm, [name: name] ++ fields)

      assert %{"reason" => "invalid_option", "function" => ^name, "step" => "options", "message" => message} = error
      assert message =~ said
      refute message =~ ~r/[ (]:[a-z]/, "#{message} has Elixir's words"
    end
  end

  test "a description and labels are fields, the labels one each, and come back wherever the function is shown",
       context do
    fields = [
      name: context.name,
      description: "Says hello. “Déjà vu”",
      label: "team:shop",
      label: "beta",
      label: "url:http://a"
    ]

    labels = %{"team" => "shop", "beta" => "", "url" => "http://a"}
    assert {201, _headers, function} = curl_deploy(guest("rust", "hello_world"), fields)
    assert %{"description" => "Says hello. “Déjà vu”", "labels" => ^labels} = function
    assert {200, _headers, ^function} = curl("/functions/#{context.name}")
    assert {:ok, %Function{description: "Says hello. “Déjà vu”", labels: ^labels}} = Tidepool.fetch(context.name)

    for {field, reason, said} <- [
          {{:label, "team:other"}, "duplicate_field",
           ~s(several fields `label` may be given, but not two for the same: "team:other")},
          {{:label, "Team:shop"}, "invalid_option", "the field `label` has to be `KEY:VALUE` or `KEY`"},
          {{:labels, "{}"}, "unknown_field", "label"},
          {{:description, "twice"}, "duplicate_field", "`description`"}
        ] do
      assert {400, _headers, %{"error" => %{"reason" => ^reason, "message" => message}}} =
               curl_deploy(guest("rust", "hello_world"), fields ++ [field])

      assert message =~ said
    end

    long = [name: context.name, description: String.duplicate("x", 201)]
    assert {400, _headers, %{"error" => %{"message" => message}}} = curl_deploy(guest("rust", "hello_world"), long)
    assert message =~ "the field `description` has to be a line of at most 200 characters"
  end

  test "names that can't be are 400", %{name: _name} do
    for bad <- ["a/b/c", "../b", "..", ".hidden", "a b", "é", String.duplicate("n", 129)] do
      assert {400, _headers, %{"error" => error}} = curl_deploy(guest("rust", "counter"), name: bad)
      assert %{"reason" => "invalid_option", "step" => "options", "message" => message, "function" => ^bad} = error
      assert is_binary(message)
    end

    assert {400, _headers, %{"error" => %{"reason" => "invalid_option"}}} =
             curl("/deploy", ["-F", "wasm=@#{guest_path("rust", "counter")};filename=\"\""])

    # The file's name does not stand in for a name that was given.
    assert {400, _headers, %{"error" => %{"reason" => "invalid_option", "message" => message}}} =
             curl("/deploy", ["-F", "wasm=@#{guest_path("rust", "counter")}", "-F", "name="])

    assert message =~ "the field `name` has to be"
  end

  test "instances and limits that can't be are 400, and nothing is deployed", %{name: name} do
    for {field, value, reason} <- [
          {"instances", "warm", "invalid_option"},
          {"instances", "warm:0", "invalid_option"},
          {"instances", "warm:many", "invalid_option"},
          {"instances", "cold", "invalid_option"},
          {"limits", ~s({"time": 0}), "invalid_option"},
          {"limits", ~s({"time": "5"}), "invalid_option"},
          {"limits", ~s({"time": null}), "invalid_option"},
          {"limits", ~s({"tme": 5}), "invalid_option"},
          {"limits", ~s({"time": 5), "invalid_option"},
          {"limits", "[]", "invalid_option"},
          {"limits", "time=5", "invalid_option"}
        ] do
      assert {400, _headers, %{"error" => %{"reason" => ^reason}}} =
               curl_deploy(guest("rust", "counter"), [{"name", name}, {field, value}])
    end

    assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
  end

  test "a form without the module, with an unknown field, or with one twice, is 400 and says which", %{name: name} do
    wasm = "wasm=@#{guest_path("rust", "counter")}"

    for {form, reason, field} <- [
          {["name=#{name}"], "missing_field", "wasm"},
          {[wasm, "name=#{name}", "instanses=fresh"], "unknown_field", "instanses"},
          {[wasm, "name=#{name}", "name=#{name}"], "duplicate_field", "name"},
          {[wasm, wasm, "name=#{name}"], "duplicate_field", "wasm"}
        ] do
      assert {400, _headers, %{"error" => %{"reason" => ^reason, "field" => ^field}}} =
               curl("/deploy", Enum.flat_map(form, &["-F", &1]))
    end

    assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
  end

  test "a body that is no form is 415" do
    assert {415, _headers, %{"error" => %{"reason" => "not_multipart"}}} =
             curl("/deploy", ["--data-binary", "@#{guest_path("rust", "counter")}"])
  end

  @refusals [
    {"no_exports", "unknown_abi", %{"step" => "compile", "exports" => []}},
    {"no_memory", "missing_export", %{"step" => "compile", "export" => "memory"}},
    {"guest_call_signature", "export_type", %{"step" => "compile", "export" => "__guest_call"}},
    {"import_unknown", "missing_import", %{"step" => "compile", "import" => "env.mystery"}},
    {"import_signature", "import_type", %{"step" => "compile", "import" => "wapc.__guest_response"}},
    {"invalid", "invalid_module", %{"step" => "compile"}},
    {"memory_huge", "too_demanding", %{"step" => "compile"}},
    {"init_trap", "trap", %{"step" => "start", "trap" => "unreachable"}},
    {"start_exit_7", "trap", %{"step" => "start", "trap" => "exit"}},
    {"init_loop", "limit", %{"step" => "start", "limit" => "cpu_time", "allowed" => 200, "unit" => "ms"}}
  ]

  for {guest, reason, details} <- @refusals do
    test "#{guest} is 422 #{reason}, with the step and what it is about", %{name: name} do
      assert {422, headers, %{"error" => error}} =
               curl_deploy(guest("wat", unquote(guest)), name: name, limits: ~s({"cpu_time": 200}))

      assert headers["content-type"] == "application/json"
      assert %{"reason" => unquote(reason), "function" => ^name, "message" => message} = error
      assert is_binary(message) and message != ""
      details = unquote(Macro.escape(details))
      assert Map.take(error, Map.keys(details)) == details
      assert {404, _headers, _error} = curl("/functions/#{name}")
    end
  end

  test "other refusals of the module are 422 as well", %{name: name} do
    assert {422, _headers, %{"error" => %{"reason" => "not_wasm"}}} = curl_deploy("<html>", name: name)
    assert {422, _headers, %{"error" => %{"reason" => "unknown_abi"}}} = curl_deploy(TestModule.component(), name: name)

    assert {422, _headers, %{"error" => %{"reason" => "invalid_config"}}} =
             curl_deploy(guest("rust", "upper"), name: name, instances: "warm:3")
  end

  test "a refused deploy leaves the version before in place", %{name: name} do
    assert {201, _headers, before} = curl_deploy(guest("rust", "hello_world"), name: name)
    assert {422, _headers, _error} = curl_deploy(guest("wat", "init_trap"), name: name)
    assert {200, _headers, ^before} = curl("/functions/#{name}")
    assert {200, _headers, "Hello, Ada!"} = curl("/call/#{name}/hello?payload=Ada")
  end
end
