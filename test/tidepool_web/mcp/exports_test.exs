defmodule TidepoolWeb.Mcp.ExportsTest do
  # Exports of all ABIs that have tools: what a client is told of them, and what it gets.
  use Tidepool.Case, async: true

  import Tidepool.McpClient

  alias Tidepool.{Native, TestModule}
  alias Tidepool.Function.Tools
  alias TidepoolWeb.Resources.Mcp.Tools, as: McpTools

  defp told(name), do: for(tool <- list(), tool["title"] =~ ~r/\A#{name} /, into: %{}, do: {tool["name"], tool})
  defp text(text), do: %{"content" => [%{"type" => "text", "text" => text}], "isError" => false}

  test "a function of a plain module takes numbers by their places, as its signature says" do
    name = deploy!("wat", "numbers", tools: ["*"])
    tools = told(name)
    number = %{"anyOf" => [%{"type" => "number"}, %{"enum" => ["NaN", "Infinity", "-Infinity"]}]}

    assert tools["#{name}__swap"]["inputSchema"] == %{
             "type" => "object",
             "properties" => %{
               "arg1" => %{"type" => "integer", "minimum" => -2_147_483_648, "maximum" => 4_294_967_295},
               "arg2" => number
             },
             "required" => ["arg1", "arg2"],
             "additionalProperties" => false
           }

    assert tools["#{name}__swap"]["description"] == "`swap(i32, f64) -> f64, i32`, of the function #{name}."
    assert tools["#{name}__nothing"]["description"] =~ "`nothing()`"
    assert %{"properties" => none, "required" => []} = tools["#{name}__nothing"]["inputSchema"]
    assert none == %{}
    # What can't be called is no tool.
    refute is_map_key(tools, "#{name}__vector")

    assert call("#{name}__add", %{arg1: 19, arg2: 23}) == text("42")
    assert call("#{name}__swap", %{arg1: -1, arg2: "NaN"}) == text(~s(["NaN",-1]))
    assert call("#{name}__nothing", %{}) == text("null")
    wide = 18_446_744_073_709_551_615
    assert %{"isError" => false} = call("#{name}__wide", %{arg1: wide})
  end

  test "tools of a large interface are listed and called as those of others are, and are those of the newest version" do
    wasm = TestModule.wide(60, 100)
    name = deploy_bytes!(wasm, tools: ["*"], description: "Wide.")
    {:ok, function} = Tidepool.fetch(name)
    assert Tools.large?(function.interface)
    {:ok, interface} = Native.json_decode(function.interface)
    # As it is told when it is deployed, too.
    assert {200, _headers, %{"interface" => ^interface}} = curl("/functions/#{name}")

    assert {200, _headers, %{"interface" => ^interface}} =
             curl_deploy(wasm, name: name, tool: "*", description: "Wide.")

    places = for place <- 1..100, do: "arg#{place}"
    arguments = Map.new(places, &{&1, if(&1 == "arg100", do: 7, else: 0)})
    signature = "(#{Enum.map_join(places, ", ", fn _place -> "i32" end)}) -> i32`, of the function #{name}."

    # The second time they are there.
    for _time <- 1..2 do
      assert tools = %{} = told(name)
      assert Enum.sort(Map.keys(tools)) == Enum.sort(for number <- 1..60, do: "#{name}__f#{number}")

      for {tool, %{"inputSchema" => schema, "description" => description}} <- tools do
        assert schema["required"] == places and Enum.sort(Map.keys(schema["properties"])) == Enum.sort(places)
        assert description == "Wide.\n\n`#{String.replace(tool, name <> "__", "")}" <> signature
      end

      assert call("#{name}__f60", arguments) == text("7")
      assert {:error, -32_602, _message} = call("#{name}__f61", arguments)
    end

    # The first version of the protocol is told other members, and pages go on where they ended.
    first = for tool <- list([{"mcp-protocol-version", nil}]), tool["name"] =~ name <> "__", do: tool
    assert length(first) == 60 and Enum.all?(first, &(map_size(&1) == 3))
    {behind, nil} = McpTools.page(:elixir, {name, 57}, true)
    {whole, _more} = McpTools.page(:elixir, {name, -1}, true)
    assert Enum.take(behind, 2) == Enum.slice(whole, 58, 2)
    refute Enum.any?(Enum.drop(behind, 2), &(&1 =~ name <> "__"))

    deploy = fn wasm, options -> {:ok, _function} = Tidepool.deploy(wasm, [name: name] ++ options) end
    deploy.(wasm, tools: ["f2", "f3"], description: "Narrow.")
    assert %{"description" => "Narrow." <> _signature} = told(name)["#{name}__f2"]
    assert map_size(told(name)) == 2
    assert call("#{name}__f2", arguments) == text("7")
    assert {:error, -32_602, _message} = call("#{name}__f60", arguments)
    deploy.(TestModule.wide(2, 3), tools: ["*"])
    assert %{"required" => ["arg1", "arg2", "arg3"]} = told(name)["#{name}__f2"]["inputSchema"]
    assert call("#{name}__f2", %{arg1: 1, arg2: 2, arg3: 3}) == text("3")
    deploy.(TestModule.wide(70, 99), tools: ["*"])
    assert map_size(told(name)) == 70
    assert %{"isError" => true} = call("#{name}__f2", arguments)
    remove!(name)
    assert told(name) == %{}
    assert {:error, -32_602, _message} = call("#{name}__f2", arguments)
  end

  test "wrong arguments of a plain module are the tool's error, which names them" do
    name = deploy!("wat", "numbers", tools: ["add", "crash", "nothing"])

    for {tool, arguments, path} <- [
          {"add", %{arg1: 1}, "arg2"},
          {"add", %{arg1: 1, arg2: 2, arg3: 3}, "arg3"},
          {"add", %{}, "arg1"},
          {"nothing", %{arg1: 1}, "arg1"}
        ] do
      assert %{"isError" => true, "content" => [%{"text" => "invalid_arguments: " <> _why}], "_meta" => meta} =
               call("#{name}__#{tool}", arguments)

      assert %{"reason" => "invalid_arguments", "path" => ^path, "function" => ^name} = meta["tidepool/error"]
    end

    # A value is held against its type where all are.
    assert %{"isError" => true, "_meta" => %{"tidepool/error" => %{"reason" => "invalid_arguments", "path" => "2"}}} =
             call("#{name}__add", %{arg1: 1, arg2: "x"})

    assert {:error, -32_602, _message} = call("#{name}__wide", %{arg1: 1})
  end

  test "a plug-in takes a text and gives one, or bytes as a resource, and its error's text is the tool's" do
    name = deploy!("rust", "vowels", tools: ["count_vowels", "echo", "fails"])
    tools = told(name)
    assert Enum.sort(Map.keys(tools)) == for(export <- ~w(count_vowels echo fails), do: "#{name}__#{export}")

    assert %{"properties" => %{"input" => %{"type" => "string"}}, "required" => [], "additionalProperties" => false} =
             tools["#{name}__echo"]["inputSchema"]

    assert call("#{name}__count_vowels", %{input: "low tide"}) == text(~s({"count":3,"total":3,"vowels":"aeiouAEIOU"}))
    assert call("#{name}__echo", %{input: "é"}) == text("é")
    assert call("#{name}__echo", %{}) == text("")
    assert %{"isError" => true, "content" => [%{"text" => text}]} = call("#{name}__fails", %{input: "sorry"})
    assert text == "guest_error: no tide today: sorry"

    for arguments <- [%{input: 1}, %{input: "x", more: "y"}] do
      assert %{"isError" => true, "_meta" => %{"tidepool/error" => %{"reason" => "invalid_arguments"}}} =
               call("#{name}__echo", arguments)
    end
  end

  test "bytes that are no text are a resource in Base64" do
    {content, nil} = TidepoolWeb.Resources.Mcp.Exports.content(:extism, %{"name" => "a b"}, "shop/x", <<0, 255>>)
    {:ok, [content]} = Tidepool.Native.json_decode(IO.iodata_to_binary(content))

    assert content == %{
             "type" => "resource",
             "resource" => %{
               "uri" => "tidepool:call/shop%2Fx/a+b",
               "mimeType" => "application/octet-stream",
               "blob" => "AP8="
             }
           }
  end

  test "a component's comments in WIT are what its tools' descriptions begin with, and are with its interface" do
    docs = ~s({"worlds":{"w":{"func_exports":{"move":{"docs":"Moves a point.\\n\\nAlong x."}}}}})
    content = <<12, "package-docs", 1, docs::binary>>
    wasm = guest("component", "tools") <> <<0, leb128(content)::binary>> <> content
    name = deploy_bytes!(wasm, tools: ["*"], description: "Of points.")

    assert told(name)["#{name}__move"]["description"] =~
             ~r/\AMoves a point\.\n\nAlong x\.\n\nOf points\.\n\n`move: func\(/

    assert told(name)["#{name}__jump"]["description"] =~ ~r/\AOf points\.\n\n`jump: func\(/
    assert {200, _headers, %{"interface" => %{"functions" => functions}}} = curl("/functions/#{name}")
    documented = for %{"docs" => docs, "name" => export} <- functions, do: {export, docs}
    assert documented == [{"move", "Moves a point.\n\nAlong x."}]
  end

  # A size of less than 16 KiB.
  defp leb128(content) do
    size = byte_size(content)
    if size < 128, do: <<size>>, else: <<1::1, rem(size, 128)::7, div(size, 128)>>
  end

  test "what has no export of that name, or none that could be told of, has no tools" do
    for {language, guest, tools, told} <- [
          {"wat", "numbers", ["vector"], "no export `vector`"},
          {"rust", "vowels", ["nope"], "it has count_vowels"},
          {"rust", "hello_world", ["hello"], "and this module has none"}
        ] do
      assert {:error, %{reason: :invalid_config, message: message}} =
               Tidepool.deploy(guest(language, guest), name: unique_name("none"), tools: tools)

      assert message =~ told
    end
  end
end
