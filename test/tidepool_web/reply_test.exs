defmodule TidepoolWeb.ReplyTest do
  use ExUnit.Case, async: true

  alias Tidepool.{Error, Native}
  alias TidepoolWeb.{Form, Reply}

  defp form(fields, others \\ []), do: Form.options(Enum.into(others, %{file_name: nil, fields: fields, query: []}))

  defp decode({status, :json, headers, body}) do
    {:ok, %{"error" => error}} = Native.json_decode(body)
    {status, headers, error}
  end

  test "a function's imports are cut in answers, more so in lists, and what is left out is counted" do
    imports = ["env." <> String.duplicate("x", 100_000) | for(i <- 1..100_000, do: "env.f#{i}")]

    function = %Tidepool.Function{
      name: "f",
      version: 1,
      sha256: "",
      size: 1,
      abi: :wapc,
      imports: imports,
      operation: "f",
      instances: :fresh,
      limits: %{}
    }

    for {shown, most, bytes} <- [{Reply.function(function), 1_000, 20_000}, {Reply.brief(function), 16, 1_000}] do
      assert length(shown.imports) == most
      assert shown.imports_omitted == 100_001 - most
      assert byte_size(Native.json_encode(shown)) < bytes
    end

    config = Map.new(1..64, &{"name #{&1}", String.duplicate("\x01", 3_800)})
    assert Reply.function(%{function | config: config}).config == config
    refute is_map_key(Reply.brief(%{function | config: config}), :config)
    assert %{imports: ["env.a"]} = few = Reply.brief(%{function | imports: ["env.a"]})
    refute is_map_key(few, :imports_omitted)
    assert %{imports: ["env.a"], imports_omitted: 9} = Reply.brief(%{function | imports: ["env.a"], imports_omitted: 9})
  end

  test "long lists are written in pieces, and read as they are" do
    for length <- [0, 1, 32, 33, 64, 65, 1_000], others <- [%{}, %{name: "a", few: [1]}] do
      list = for number <- 1..length//1, do: %{number: number, text: ~s("]\n)}
      term = Map.merge(others, %{list: list, again: Enum.map(list, & &1.number)})
      {200, :json, [], body} = Reply.json(200, term)
      assert Native.json_decode(body) == Native.json_decode(Native.json_encode(term))
    end

    assert {200, :json, [], "[1,2]"} = Reply.json(200, [1, 2])
  end

  test "a function's interface is in an answer as the module's own text, byte for byte" do
    text = ~s({ "wit" : "\\u0041", "functions":[ {"name":"f", "at":1.50} ]})

    function = %Tidepool.Function{
      name: "f",
      version: 1,
      sha256: "",
      size: 1,
      abi: :exports,
      imports: for(number <- 1..100, do: "env.f#{number}"),
      operation: "f",
      instances: :fresh,
      limits: %{},
      interface: text
    }

    {200, :json, [], body} = Reply.json(200, Reply.function(function))
    assert [_before, _behind] = String.split(body, ~s("interface":) <> text)
    {:ok, interface} = Native.json_decode(text)
    assert {:ok, %{"name" => "f", "interface" => ^interface, "imports" => imports}} = Native.json_decode(body)
    assert imports == function.imports

    for {term, written} <- [
          {%{a: {:json, "[1 ]"}}, ~s({"a":[1 ]})},
          {%{a: 0, b: {:json, "1"}, c: 2}, ~s({"a":0,"b":1,"c":2})}
        ],
        do: assert({200, :json, [], ^written} = Reply.json(200, term))
  end

  test "numbers of a form have few digits" do
    digits = String.duplicate("9", 300_000)
    warm = "warm:" <> String.slice(digits, 0, 4_000)
    assert {:error, %Error{reason: :invalid_option}} = form([{"name", "f"}, {"instances", warm}])
    query = [{"wait_timeout", String.slice(digits, 0, 4_000)}]
    assert {:error, %Error{reason: :invalid_option}} = form([{"name", "f"}], query: query)

    for {fields, query} <- [{[{"instances", "warm:" <> digits}], []}, {[], [{"wait_timeout", digits}]}] do
      assert {:error, %Error{reason: :invalid_field}} = form([{"name", "f"} | fields], query: query)
    end
  end

  test "every reason of a call has its status" do
    for {reason, status} <- [
          not_deployed: 404,
          unavailable: 503,
          guest_error: 422,
          timeout: 504,
          overloaded: 503,
          internal: 500,
          storage: 507
        ] do
      assert {^status, _headers, %{"reason" => text}} = decode(Reply.error(Error.new(reason, "message", "f")))
      assert text == to_string(reason)
    end

    for {limit, status} <- [
          memory: 500,
          table: 500,
          cpu_time: 504,
          payload: 413,
          reply: 500,
          depth: 500,
          total_memory: 500,
          total_cpu_time: 504,
          messages: 500
        ] do
      assert {^status, [], error} = decode(Reply.error(Error.new({:limit, limit}, "message", "f", %{allowed: 5})))

      assert error == %{
               "reason" => "limit",
               "limit" => to_string(limit),
               "allowed" => 5,
               "message" => "message",
               "function" => "f"
             }
    end

    assert {500, [], %{"reason" => "trap", "trap" => "unreachable"}} =
             decode(Reply.error(Error.new({:trap, :unreachable}, "message", "f", %{backtrace: []})))
  end

  test "what a deploy is refused for is the client's to change" do
    for {reason, step, status} <- [
          {:invalid_option, :options, 400},
          {:too_large, :size, 413},
          {:not_wasm, :compile, 422},
          {:missing_import, :compile, 422},
          {{:trap, :unreachable}, :start, 422},
          {:timeout, :start, 422},
          {{:limit, :cpu_time}, :start, 422},
          {:storage, :store, 507},
          {:overloaded, :start, 503}
        ] do
      assert {^status, _headers, %{"step" => text}} =
               decode(Reply.error(Error.new(reason, "message", "f", %{step: step})))

      assert text == to_string(step)
    end
  end

  test "an overloaded node says when to try again, whoever asked" do
    assert {503, [{"retry-after", seconds}], _error} = decode(Reply.error(Error.new(:overloaded, "message", "f")))
    assert String.to_integer(seconds) > 0
  end

  test "a form's fields become options, those left out are left out" do
    assert form([], file_name: "a.wasm") == {:ok, [name: "a"]}
    assert form([{"name", "n"}], file_name: "a.wasm") == {:ok, [name: "n"]}
    # An empty one is not left out.
    assert {:error, %{reason: :invalid_option, details: %{step: :options}}} = form([{"name", ""}], file_name: "a.wasm")

    for {field, text, option} <- [
          {"instances", "fresh", {:instances, :fresh}},
          {"engine", "dense", {:engine, :dense}},
          {"engine", "fast", {:engine, :fast}},
          {"snapshot", "false", {:snapshot, false}},
          {"operation", "op", {:operation, "op"}}
        ],
        do: assert(form([{field, text}, {"name", "n"}]) == {:ok, [{:name, "n"}, option]})

    assert {:ok, [name: "n", limits: limits]} = form([{"name", "n"}, {"limits", ~s({"time": 1, "depth": 2})}])
    assert Enum.sort(limits) == [depth: 2, time: 1]
    query = [{"wait", "all"}, {"wait_timeout", "5"}]
    assert form([{"name", "n"}], query: query) == {:ok, [name: "n", wait: :all, wait_timeout: 5]}
  end

  test "a form that says nonsense is an error in the step :options, of a field that it names" do
    for {fields, reason, field} <- [
          {[], :invalid_option, nil},
          {[{"name", "n"}, {"instances", "warm:"}], :invalid_option, "instances"},
          {[{"name", "n"}, {"instances", "warm:5x"}], :invalid_option, "instances"},
          {[{"name", "n"}, {"instances", "WARM:5"}], :invalid_option, "instances"},
          {[{"name", "n"}, {"engine", "steam"}], :invalid_option, "engine"},
          {[{"name", "n"}, {"engine", "Elixir.Kernel"}], :invalid_option, "engine"},
          {[{"name", "n"}, {"snapshot", ""}], :invalid_option, "snapshot"},
          {[{"name", "n"}, {"limits", ~s({"tme": 5})}], :invalid_option, "limits"},
          {[{"name", "n"}, {"limits", ""}], :invalid_option, "limits"},
          {[{"name", "n"}, {"limits", String.duplicate("[", 60_000)}], :invalid_option, "limits"},
          {[{"name", "n"}, {"operation", String.duplicate("o", 5_000)}], :invalid_field, "operation"},
          {[{"name", String.duplicate("n", 60_000)}], :invalid_field, "name"},
          {[{"name", "n"}, {"name", "n"}], :duplicate_field, "name"},
          {[{"name", "n"}, {"limits", "{}"}, {"limits", "{}"}], :duplicate_field, "limits"},
          {[{"name", "n"}, {"wait", "all"}], :unknown_field, nil},
          {[{"name", "n"}, {"", "x"}], :unknown_field, nil}
        ] do
      assert {:error, %Error{reason: ^reason, details: %{step: :options} = details} = error} = form(fields)
      assert {400, _headers, _error} = decode(Reply.error(error))
      assert field == nil or error.message =~ "`#{field}`"
      assert reason == :invalid_option or details.field != nil
    end

    assert {:error, %Error{message: message, details: %{known: ["wasm", "name" | _more]}}} =
             form([{"name", "n"}, {"nmae", "f"}])

    assert message == "no such field: did you mean `name`?"

    for ref <- ["oci://registry.example/greeter", "registry.example/greeter:1"] do
      assert {:error, %Error{message: message}} = form([{"ref", ref}])
      assert message =~ "`ref`" and message =~ "oci://HOST/NAME:TAG"
    end

    assert {:error, %Error{reason: :unknown_field, details: details}} = form([{"name", "n"}], query: [{"wiat", "all"}])
    assert %{field: "wiat", known: ["verify", "wait", "wait_timeout"]} = details
    query = [{"wait", "all"}, {"wait", "local"}]
    assert {:error, %Error{reason: :duplicate_field}} = form([{"name", "n"}], query: query)
  end
end
