defmodule TidepoolWeb.Mcp.ExportsTest do
  # Exports of all ABIs that have tools: what a client is told of them, and what it gets.
  use Tidepool.Case, async: true

  import Tidepool.McpClient

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
