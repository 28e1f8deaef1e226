defmodule TidepoolWeb.Mcp.MessagesTest do
  # What is a message of the Model Context Protocol, what is none, and what comes of each; and the names and places of tools.
  use ExUnit.Case, async: true

  alias Tidepool.Native
  alias TidepoolWeb.Resources.Mcp.{Exports, Messages, Tools}

  @first "2025-03-26"
  @newest "2025-11-25"

  defp read(message, version \\ @newest), do: message |> Native.json_encode() |> Messages.read(version)

  # What is answered to messages whose requests have their method for a result.
  defp answers(messages, kind \\ :one, version \\ @newest) do
    with {:ok, messages, ^kind} <- messages |> Native.json_encode() |> Messages.read(version),
         do: told(messages, kind, version)
  end

  defp told(messages, kind, version) do
    answer = fn {_id, method, params} ->
      {:ok, [{"method", Native.json_encode(method)}, {"params", Native.json_encode(params)}], %{}}
    end

    with {:ok, 200, json} <- Messages.answers(messages, kind, version, answer), do: Native.json_decode(json)
  end

  defp ping(id), do: %{jsonrpc: "2.0", id: id, method: "ping"}
  defp answered(id), do: %{"jsonrpc" => "2.0", "id" => id, "result" => %{"method" => "ping", "params" => %{}}}

  test "a batch has sixteen messages at most, is of the first version alone, and is answered in its order" do
    sixteen = for id <- 1..16, do: ping(id)
    assert answers(sixteen, :batch, @first) == {:ok, for(id <- 1..16, do: answered(id))}
    assert {:refused, 400, :invalid_request, told} = read([ping(17) | sixteen], @first)
    assert told =~ "up to 16 in an array are taken by version 2025-03-26 alone"

    for version <- Messages.versions() -- [@first],
        do: assert({:refused, 400, :invalid_request, ^told} = read([ping(1)], version))

    assert {:refused, 400, :invalid_request, ^told} = read([], @first)
    assert {:refused, 400, :invalid_request, "a batch is of JSON objects"} = read([ping(1), 1], @first)
    assert {:refused, 400, :invalid_request, "a message is a JSON object"} = read("ping")
    assert {:refused, 400, :parse_error, "the body can't be read: " <> _why} = Messages.read("{", @newest)
  end

  test "a request has an id and an object of parameters, and what is wrong with one that has an id is told under it" do
    assert answers(ping(1)) == {:ok, answered(1)}
    longest = String.duplicate("é", 128)
    for id <- ["a", longest], do: assert(answers(ping(id)) == {:ok, answered(id)})
    params = %{jsonrpc: "2.0", id: 0, method: "m", params: %{a: 1}}
    assert {:ok, %{"id" => 0, "result" => %{"method" => "m", "params" => %{"a" => 1}}}} = answers(params)

    wrong = %{params | params: [1]}
    told = %{"code" => -32_600, "message" => "`params` are a JSON object"}
    assert answers(wrong) == {:ok, %{"jsonrpc" => "2.0", "id" => 0, "error" => told}}

    assert {:ok, [%{"id" => 0, "error" => ^told}, %{"id" => 2, "result" => _result}]} =
             answers([wrong, ping(2)], :batch, @first)
  end

  test "what is no request is taken without an answer where it is a message, and refused as a whole where it is none" do
    silent = [
      %{jsonrpc: "2.0", method: "notifications/initialized"},
      %{jsonrpc: "2.0", id: 1, result: %{}},
      %{jsonrpc: "2.0", error: %{code: 1, message: ""}}
    ]

    for message <- silent, do: assert(answers(message) == :accepted)
    assert answers(silent, :batch, @first) == :accepted
    assert answers(silent ++ [ping(1)], :batch, @first) == {:ok, [answered(1)]}

    for {message, told} <- [
          {%{ping(1) | id: nil}, "the `id` of a request is a string or an integer"},
          {%{ping(1) | id: 1.5}, "the `id` of a request is a string or an integer"},
          {%{ping(1) | id: String.duplicate("a", 257)}, "the `id` of a request has 256 bytes at most"},
          {%{ping(1) | method: 1}, "the `id` of a request is a string or an integer, and its `method` a string"},
          {%{ping(1) | jsonrpc: "1.0"}, "this is no message of JSON-RPC 2.0"},
          {%{jsonrpc: "2.0", method: 1}, "this is no message of JSON-RPC 2.0"},
          {%{jsonrpc: "2.0", error: 1}, "this is no message of JSON-RPC 2.0"},
          {%{id: 1, method: "ping"}, "this is no message of JSON-RPC 2.0"}
        ] do
      assert {:refused, 400, :invalid_request, text} = answers(message)
      assert text =~ told
      # Nothing of its batch is done.
      assert {:refused, 400, :invalid_request, ^text} = answers([ping(1), message], :batch, @first)
    end
  end

  test "errors have the codes of JSON-RPC, under the request's id, or under none" do
    for {code, number} <- [
          parse_error: -32_700,
          invalid_request: -32_600,
          unknown_method: -32_601,
          invalid_params: -32_602,
          internal: -32_603,
          header_mismatch: -32_020,
          unsupported_version: -32_022
        ] do
      error = %{"code" => number, "message" => "why"}
      {:ok, [message], :one} = read(ping(7))
      {:ok, 200, json} = Messages.answers([message], :one, @newest, fn _request -> {:error, code, "why"} end)
      assert Native.json_decode(json) == {:ok, %{"jsonrpc" => "2.0", "id" => 7, "error" => error}}
      assert Native.json_decode(Messages.refusal(code, "why")) == {:ok, %{"jsonrpc" => "2.0", "error" => error}}
    end
  end

  test "versions are those that are named, and a request without one is of the first" do
    for version <- Messages.versions(), do: assert(Messages.version(version) == {:ok, version})
    assert Messages.version(nil) == {:ok, @first}
    assert Messages.version("2024-11-05") == :error
    assert Enum.map(Messages.versions(), &Messages.structured?/1) == [false, true, true, true]
    assert Enum.map(Messages.versions(), &Messages.alone?/1) == [false, false, false, true]
  end

  test "a name of a tool is plain up to 64 bytes, and ends in a hash where it has more, or would be another's" do
    export = &%{"name" => "a:b/c##{&1}", "function" => &1}
    name = &Tools.name(%{name: &1}, export.(&2), &3)
    longest = String.duplicate("e", 64 - byte_size("calc__"))
    assert name.("calc", longest, true) == "calc__" <> longest

    for {function, function_export, alone?} <- [
          {"calc", longest <> "e", true},
          {"calc", "add", false},
          {"a.b", "add", true},
          {"a__b", "add", true},
          {"a_", "add", true},
          {String.duplicate("f", 80), "add", true}
        ] do
      named = name.(function, function_export, alone?)
      assert byte_size(named) <= 64
      assert named =~ ~r/\A[A-Za-z0-9]+([_-][A-Za-z0-9]+)*_[a-z2-7]{12}\z/
      refute named =~ "__"
    end
  end

  test "a cursor has a position within the bounds of one, or none" do
    assert Tools.position(Tools.cursor({"f", 1_000_000})) == {:ok, {"f", 1_000_000}}
    assert Tools.position(Tools.cursor({"f", 0})) == {:ok, {"f", 0}}
    assert Tools.position(Tools.cursor({"f", 1_000_001})) == :error
    assert Tools.position(Tools.cursor({"f", -1})) == :error
    assert Tools.position(Tools.cursor({"no name", 1})) == :error
    # What is not read at all: a cursor has so many bytes at most.
    assert "0:f" |> Base.url_encode64(padding: false) |> String.pad_leading(257, "A") |> Tools.position() == :error
  end

  test "what may be left out of arguments is none, by either spelling, and what is there stays" do
    optional = %{"anyOf" => [%{"type" => "integer"}, %{"type" => "null"}]}

    params = [
      %{"name" => "from", "schema" => %{"type" => "integer"}},
      %{"name" => "along-x", "schema" => optional}
    ]

    brief = Exports.brief(:typed, %{"name" => "move", "params" => params, "result" => nil})
    assert brief == %{"name" => "move", "optional" => ["along-x"], "object" => false}
    whole = &Exports.whole(&1, brief["optional"])
    assert whole.(%{}) == %{"along-x" => nil}
    assert whole.(%{"along-x" => 1}) == %{"along-x" => 1}
    assert whole.(%{"along_x" => 1, "from" => 2}) == %{"along_x" => 1, "from" => 2}
  end

  test "where the names of what may be left out have more than 4 KiB, of which each takes 40 bytes more, all is to be sent" do
    optional = %{"anyOf" => [%{"type" => "integer"}, %{"type" => "null"}]}
    result = %{"type" => "point", "schema" => %{"type" => "object", "properties" => %{"x" => optional}}}

    for {count, bytes, left_out} <- [{64, 24, 64}, {64, 25, 0}, {1, 4_056, 1}, {1, 4_057, 0}] do
      names = for number <- 1..count, do: String.pad_leading("#{number}", bytes, "a")
      params = for name <- names, do: %{"name" => name, "schema" => optional}
      export = %{"name" => "move", "params" => params, "result" => result}
      left_out = Enum.take(names, left_out)
      assert Exports.brief(:typed, export) == %{"name" => "move", "optional" => left_out, "object" => true}
      assert Exports.input(:typed, export).required == names -- left_out
    end
  end
end
