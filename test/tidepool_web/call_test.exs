defmodule TidepoolWeb.CallTest do
  use Tidepool.Case, async: true

  alias Tidepool.TestModule

  setup_all do
    name = unique_name("called")
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name, operation: "echo")
    on_exit(fn -> Tidepool.remove(name) end)
    %{name: name}
  end

  defp post(path, body, arguments \\ []) do
    file = Path.join(tmp_folder!(), "body")
    File.write!(file, body)
    curl(path, ["--data-binary", "@#{file}"] ++ arguments)
  end

  describe "replies" do
    test "that are UTF-8 are text, all others bytes", %{name: name} do
      for {payload, type} <- [
            {"plain", "text/plain; charset=utf-8"},
            {"Zoë 世界 🌊", "text/plain; charset=utf-8"},
            {"", "text/plain; charset=utf-8"},
            {<<255, 254>>, "application/octet-stream"},
            {"almost" <> <<0xC3>>, "application/octet-stream"}
          ] do
        assert {200, headers, ^payload} = post("/call/#{name}", payload)
        assert headers["content-type"] == type
        assert headers["content-length"] == "#{byte_size(payload)}"
      end
    end

    test "of some MiB come back whole", %{name: name} do
      payload = :crypto.strong_rand_bytes(5_000_000)
      {status, _headers, reply} = post("/call/#{name}", payload)
      assert status == 200
      # Not compared in an assertion: nobody wants to read the difference.
      assert :crypto.hash(:sha256, reply) == :crypto.hash(:sha256, payload)
    end
  end

  describe "the payload" do
    test "of a GET is the query's parameter `payload`, decoded", %{name: name} do
      for {query, payload} <- [
            {"?payload=plain", "plain"},
            {"?payload=two+words%21", "two words!"},
            {"?payload=%FF%00", <<255, 0>>},
            {"?payload=a%26b%3Dc&other=1", "a&b=c"},
            {"?payload=", ""},
            {"?other=1", ""},
            {"", ""}
          ] do
        assert {200, _headers, ^payload} = curl("/call/#{name}#{query}")
      end
    end

    test "of a POST is its body, whatever it claims to be, and not the query", %{name: name} do
      for type <- ["application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=x"] do
        assert {200, _headers, "a=b&c"} = post("/call/#{name}?payload=query", "a=b&c", ["-H", "content-type: #{type}"])
      end
    end

    test "may come in chunks", %{name: name} do
      payload = String.duplicate("chunk", 50_000)
      assert {200, _headers, ^payload} = post("/call/#{name}", payload, ["-H", "transfer-encoding: chunked"])
    end

    test "with a query that is not percent-encoded is 400", %{name: name} do
      assert {400, _headers, %{"error" => %{"reason" => "invalid_query"}}} = curl("/call/#{name}?payload=%zz")
    end
  end

  describe "the operation" do
    test "is the path's second part, decoded, and the deploy's without one", %{name: name} do
      assert {200, _headers, "Hello, Ada!"} = curl("/call/#{name}/hello?payload=Ada")
      assert {200, _headers, "Ada"} = curl("/call/#{name}?payload=Ada")
      assert {422, _headers, %{"error" => %{"message" => message}}} = curl("/call/#{name}/two%20words%2F")
      assert message =~ "two words/"
    end

    test "in a path that no call has is 404", %{name: name} do
      for path <- ["/call", "/call/", "/call/#{name}/", "/call/#{name}/a/b/c/d"] do
        assert {404, _headers, %{"error" => %{"reason" => "not_found"}}} = curl(path)
      end
    end

    test "that is not UTF-8 is 400", %{name: name} do
      assert {400, _headers, %{"error" => %{"reason" => "invalid_path"}}} = curl("/call/#{name}/%FF")
    end
  end

  describe "errors" do
    test "of a name that is not deployed are 404" do
      name = unique_name("nobody")
      assert {404, headers, %{"error" => error}} = curl("/call/#{name}/hello")
      assert headers["content-type"] == "application/json"
      assert %{"reason" => "not_deployed", "function" => ^name, "message" => message} = error
      assert is_binary(message)
    end

    test "of the method are 405, with those that are allowed", %{name: name} do
      for method <- ["PUT", "DELETE", "PATCH"] do
        assert {405, headers, %{"error" => error}} = curl("/call/#{name}", ["-X", method])
        assert %{"reason" => "method_not_allowed", "method" => ^method, "message" => message} = error
        assert message == "there is no #{method} of this path: use GET or POST"
        assert headers["allow"] == "GET,POST"
      end
    end

    test "of the guest are 422 with its text", %{name: name} do
      assert {422, _headers, %{"error" => error}} = post("/call/#{name}/fail", "because")
      assert error == %{"reason" => "guest_error", "message" => "failed as asked: because", "function" => name}
    end

    test "of a guest whose text is no UTF-8 are JSON all the same" do
      name = deploy!("wat", "not_utf8_error")
      assert {422, _headers, %{"error" => %{"reason" => "guest_error", "message" => message}}} = curl("/call/#{name}")
      assert message =~ "!"
    end

    test "by a trap are 500 with its kind and the functions that it happened in, innermost first" do
      name = deploy_bytes!(TestModule.named_trap())
      assert {500, _headers, %{"error" => error}} = curl("/call/#{name}")
      assert %{"reason" => "trap", "trap" => "unreachable", "function" => ^name, "backtrace" => backtrace} = error
      assert [%{"function" => "open_the_hatch", "index" => 1}, %{"function" => "serve", "index" => 0}] = backtrace
      assert Enum.all?(backtrace, &is_integer(&1["offset"]))
    end

    test "by every kind of trap are 500" do
      for {guest, kind} <- [
            {"trap_out_of_bounds", "memory_out_of_bounds"},
            {"trap_divide_by_zero", "integer_division_by_zero"},
            {"trap_integer_overflow", "integer_overflow"},
            {"trap_bad_conversion", "bad_conversion_to_integer"},
            {"trap_null_call", "indirect_call_to_null"},
            {"trap_bad_signature", "bad_signature"},
            {"trap_table_out_of_bounds", "table_out_of_bounds"},
            {"stack_overflow", "stack_overflow"},
            {"lie_response_past_end", "bad_pointer"},
            {"call_exit_3", "exit"}
          ] do
        name = deploy!("wat", guest)
        assert {500, _headers, %{"error" => %{"reason" => "trap", "trap" => ^kind}}} = curl("/call/#{name}")
      end
    end

    test "by the time limit are 504" do
      name = deploy!("wat", "loop", limits: [time: 30, cpu_time: 600_000])
      assert {504, _headers, %{"error" => %{"reason" => "timeout", "function" => ^name}}} = curl("/call/#{name}")
      name = deploy!("wat", "wasi_sleep", limits: [time: 30])
      assert {504, _headers, %{"error" => %{"reason" => "timeout"}}} = curl("/call/#{name}")
    end

    test "by the limit of CPU time are 504, with its name and figure" do
      name = deploy!("wat", "loop", limits: [time: 600_000, cpu_time: 30])
      assert {504, _headers, %{"error" => error}} = curl("/call/#{name}")
      assert %{"reason" => "limit", "limit" => "cpu_time", "allowed" => 30, "unit" => "ms"} = error
    end

    test "by the limits of memory and reply are 500, with name and figure" do
      memory = deploy!("wat", "memory_bomb", limits: [memory: 1_048_576])
      assert {500, _headers, %{"error" => error}} = curl("/call/#{memory}")
      assert %{"reason" => "limit", "limit" => "memory", "allowed" => 1_048_576, "unit" => "bytes"} = error
      reply = deploy!("rust", "hello_world", operation: "echo", limits: [reply: 3])

      assert {500, _headers, %{"error" => %{"reason" => "limit", "limit" => "reply"}}} =
               curl("/call/#{reply}?payload=four")
    end

    test "by a payload over the function's limit are 413" do
      name = deploy!("rust", "hello_world", operation: "echo", limits: [payload: 10])
      assert {200, _headers, "0123456789"} = post("/call/#{name}", "0123456789")
      assert {413, _headers, %{"error" => error}} = post("/call/#{name}", "0123456789a")
      assert %{"reason" => "limit", "limit" => "payload", "allowed" => 10, "function" => ^name} = error
    end

    test "by a path and query that are larger than any head may be are 431", %{name: name} do
      assert {431, _headers, _body} = curl("/call/#{name}?payload=" <> String.duplicate("x", 70_000))
      text = String.duplicate("x", 50_000)
      assert {200, _headers, ^text} = curl("/call/#{name}?payload=" <> text)
    end

    test "leave the connection and the function in order", %{name: name} do
      trap = deploy!("wat", "trap_unreachable")
      urls = [url("/call/#{trap}"), url("/call/#{name}?payload=still+here")]
      {output, 0} = System.cmd("curl", ["-sS", "-w", "\n%{http_code} %{num_connects}\n"] ++ urls)
      assert [_error, "500 1", "still here", "200 0"] = String.split(output, "\n", trim: true)
    end
  end

  test "a function deployed with a larger payload limit than the node's takes as much over HTTP as it says" do
    name = deploy!("rust", "hello_world", operation: "echo", limits: [payload: 10_000_000, reply: 10_000_000])
    payload = :binary.copy("x", 9_000_000)
    assert Tidepool.call(name, nil, payload) == {:ok, payload}
    {status, _headers, reply} = post("/call/#{name}", payload)
    assert status == 200
    assert byte_size(reply) == byte_size(payload)
  end
end
