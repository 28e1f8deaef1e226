defmodule Tidepool.Ship.McpTest do
  # `/mcp` by the protocol's own kit for Python, which checks messages and results by its own types and by the schemas that tools
  # have: what it gets is what `/call` answers.
  use Tidepool.Case, async: false

  alias Tidepool.{Native, Peer}

  @moduletag :ship

  test "the protocol's own client lists all tools, and has of each call what /call answers" do
    {python, 0} = System.cmd(Path.expand("test/ship/mcp/python"), [])
    peer = Peer.start!(server: true)
    Peer.deploy!(peer, "component", "values", name: "values", tools: ["*"])
    for index <- 1..30, do: Peer.deploy!(peer, "component", "tools", name: "f#{index}", tools: ["*"])

    calls = [
      {"f1", "move", %{"from" => %{"x" => -1, "y" => 2_147_483_647}, "along-x" => 5}},
      {"f1", "jump", %{"far" => 3}},
      {"f1", "jump", %{"far" => 30}},
      {"f1", "only", %{}},
      {"values", "people", %{"all" => [%{"name" => "Ada", "tags" => ["é", ""]}]}},
      {"values", "shapes", %{"all" => [%{"circle" => 1.5}, "square", %{"pair" => [1, "x"]}]}},
      {"values", "naturals", %{"all" => [0, 18_446_744_073_709_551_615]}},
      {"values", "floats", %{"all" => [0.1, "NaN", "-Infinity"]}},
      {"values", "perms-of", %{"all" => [["read"], []]}}
    ]

    asked = for({name, export, arguments} <- calls, do: [name <> "__" <> export, arguments]) ++ [["nobody", %{}]]
    arguments = ["test/ship/mcp/client.py", Peer.url(peer, "/mcp"), Native.json_encode(asked)]
    {output, 0} = System.cmd(String.trim(python), arguments)
    assert {:ok, %{"version" => "2025-11-25", "tools" => tools, "calls" => answers}} = Native.json_decode(output)

    names = Enum.map(tools, & &1["name"])
    assert length(names) == 30 * 5 + 11 and Enum.uniq(names) == names

    assert {answers, [%{"code" => -32_602}]} = Enum.split(answers, length(calls))

    for {{name, export, arguments}, answer} <- Enum.zip(calls, answers) do
      {status, _headers, value} =
        curl_url(Peer.url(peer, "/call/#{name}/#{export}"), ["--data-binary", Native.json_encode(arguments)])

      assert [text] = answer["texts"]
      {:ok, told} = Native.json_decode(text)

      case {status, value} do
        {200, value} ->
          assert told == value and answer["error"] == false
          assert answer["object"] == if(is_map(value), do: value)

        {422, %{"error" => %{"value" => value}}} ->
          assert told == value and answer["error"] and answer["object"] == nil
      end
    end
  end
end
