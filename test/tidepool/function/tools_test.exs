defmodule Tidepool.Function.ToolsTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Function}
  alias Tidepool.Function.Tools

  doctest Tools

  @one "test:numbers/one@1.0.0"
  @two "test:numbers/two@1.0.0"

  setup_all do
    name = unique_name("tools")
    {:ok, function} = Tidepool.deploy(guest("component", "tools"), name: name, tools: ["*"])
    on_exit(fn -> Tidepool.remove(name) end)
    %{function: function}
  end

  defp exports(function, tools),
    do: for({export, alone?} <- Tools.of(%{function | tools: tools}), do: {export["name"], alone?})

  test "a tool is an export by any name that a call may have for it", %{function: function} do
    everything = exports(function, ["*"])
    assert Enum.sort(everything) == exports(function, Enum.map(everything, &elem(&1, 0))) |> Enum.sort()

    assert {"move", true} in everything
    assert {@one <> "#only", true} in everything
    for interface <- [@one, @two], do: assert({interface <> "#number", false} in everything)

    assert exports(function, ["only"]) == [{@one <> "#only", true}]
    assert exports(function, ["test:numbers/two#number"]) == [{@two <> "#number", false}]
    # Of a function without tools, and of one that this node has not compiled yet, there are none.
    assert exports(function, []) == []
    assert Tools.of(%{function | tools: ["*"], interface: nil}) == []
    # What means two means none.
    assert exports(function, ["number", "nobody"]) == []
  end

  test "exports are looked at once for all tools" do
    functions =
      for number <- 1..600 do
        interface = "test:many/interface#{number}@1.0.0"
        %{name: "#{interface}#only#{number}", interface: interface, function: "only#{number}", params: [], result: nil}
      end

    tools =
      for number <- 1..64,
          do: if(rem(number, 2) == 0, do: "only#{number}", else: "test:many/interface#{number}#only#{number}")

    function = %{tools: tools, interface: Tidepool.Native.json_encode_large(%{functions: functions})}

    {exports, reductions} =
      Task.await(
        Task.async(fn ->
          {:reductions, before} = Process.info(self(), :reductions)
          exports = Tools.of(function)
          {:reductions, behind} = Process.info(self(), :reductions)
          {exports, behind - before}
        end),
        60_000
      )

    assert for({%{"function" => function}, true} <- exports, do: function) == for(number <- 1..64, do: "only#{number}")
    # A look at all of them with each tool takes 900,000.
    assert reductions < 150_000
  end

  test "a deploy is refused whose tools are no exports, or of a module that has none that are called by name" do
    for {wasm, tools, told} <- [
          {guest("component", "tools"), ["number"], "`number`"},
          {guest("component", "tools"), ["move", "nobody"], "`nobody`"},
          {guest("rust", "hello_world"), ["*"], "typed"},
          {guest("wat", "numbers"), ["add", "vector"], "`vector`"},
          {guest("rust", "vowels"), ["nobody"], "it has count_vowels, echo"}
        ] do
      name = unique_name("refused")

      assert {:error, %Error{reason: :invalid_config, details: %{step: :compile}, function: ^name} = error} =
               Tidepool.deploy(wasm, name: name, tools: tools)

      assert error.message =~ told
      assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
    end
  end

  test "another version has other tools, and a rollback brings those back", %{function: %Function{} = function} do
    name = unique_name("versions")
    on_exit(fn -> Tidepool.remove(name) end)
    wasm = guest("component", "tools")

    for {tools, version} <- [{["move"], 1}, {[], 2}] do
      assert {:ok, %Function{tools: ^tools, version: ^version}} = Tidepool.deploy(wasm, name: name, tools: tools)
    end

    assert {:ok, %Function{tools: ["move"], version: 3, interface: interface}} = Tidepool.rollback(name)
    assert interface == function.interface
  end

  test "a deploy that is refused for a tool is told which exports the component has for tools, in its order, and no others",
       %{
         function: function
       } do
    assert {:error, %Error{message: message}} = Tools.check(["nobody"], function)
    names = for {name, _alone?} <- exports(function, ["*"]), do: name
    assert "move" in names
    assert String.ends_with?(message, "it has " <> Enum.join(names, ", "))
    {:ok, %{"functions" => all}} = Tidepool.Native.json_decode(function.interface)
    for %{"uncallable" => _why, "name" => name} <- all, do: refute(name in names)
    assert Tools.check(["*", "move"], function) == :ok

    # As many as may be tools, of a component that has more.
    many = for number <- 1..70, do: %{name: "f#{number}", interface: nil, function: "f#{number}"}
    interface = Tidepool.Native.json_encode(%{functions: many})
    assert {:error, %Error{message: message}} = Tools.check(["nobody"], %{abi: :typed, interface: interface})
    assert String.ends_with?(message, ", f64")
  end
end
