defmodule TidepoolWeb.Mcp.ToolsTest do
  # How often interfaces are read for the names that clients ask for, whether these are tools or not.
  use Tidepool.Case, async: false

  alias Tidepool.{CallTrace, TestModule}
  alias Tidepool.Function.Tools, as: Exports
  alias TidepoolWeb.Resource.Shares
  alias TidepoolWeb.Resources.Mcp.{Calls, Tools}

  # The functions whose exports are read meanwhile.
  defp read(work) do
    CallTrace.start({Exports, :of, 1})
    work.()
    for [%{name: name}] <- CallTrace.stop(), do: name
  end

  defp client, do: %{origin: :elixir, version: "2025-11-25", session: nil, bytes: 100, form: :one}

  test "an interface of some KiB and more is read once for all names that are none, and once for each tool" do
    for {exports, params} <- [{10, 40}, {60, 100}] do
      name = deploy_bytes!(TestModule.wide(exports, params), tools: ["*"])
      {:ok, %{interface: interface}} = Tidepool.fetch(name)
      assert byte_size(interface) > 4_096 and Exports.large?(interface) == exports > 10

      assert read(fn ->
               for number <- 1..20, do: assert(Tools.find(:elixir, "#{name}__none#{number}") == :error)
             end) == [name]

      assert read(fn ->
               for _time <- 1..3 do
                 assert {:ok, {%{name: ^name}, %{"name" => "f7"}, _tool}} = Tools.find(:elixir, "#{name}__f7")
                 assert Tools.find(:elixir, "#{name}__none") == :error
               end
             end) == [name]

      # Other tools, of the same module, are others.
      deploy = fn tools ->
        {:ok, _function} = Tidepool.deploy(TestModule.wide(exports, params), name: name, tools: tools)
      end

      deploy.(["f1"])
      assert Tools.find(:elixir, "#{name}__f7") == :error
      assert {:ok, _tool} = Tools.find(:elixir, "#{name}__f1")
      deploy.(["f7"])
      assert {:ok, _tool} = Tools.find(:elixir, "#{name}__f7")
    end
  end

  test "what can be no tool's name has no interface read" do
    name = deploy_bytes!(TestModule.wide(2, 3), tools: ["*"])
    longest = "#{name}__" <> String.duplicate("f", 64 - byte_size(name) - 2)

    assert read(fn ->
             # One of 13 to 63 bytes without two underscores may be of any function that it begins with.
             for none <- [longest <> "f", "#{name}__f\n", "#{name}__é", "f_f", "", "__", "#{name}__f1 "],
                 do: assert(Tools.find(:elixir, none) == :error)
           end) == []

    assert read(fn -> assert Tools.find(:elixir, longest) == :error end) == [name]
  end

  test "of functions whose names a cut one begins with, few have their interfaces read, and those that have most of it" do
    stem = unique_name("n")

    parts = fn count ->
      Enum.reduce(1..count, [stem], fn _part, names -> for name <- names, end_ <- [".x", "_x"], do: name <> end_ end)
    end

    names = parts.(1) ++ parts.(2) ++ parts.(3) ++ parts.(4)
    wasm = TestModule.wide(1, 1)
    for name <- names, do: {:ok, _function} = Tidepool.deploy(wasm, name: name, tools: ["*"])
    on_exit(fn -> for name <- names, do: remove!(name) end)

    looked = read(fn -> assert Tools.find(:elixir, "#{stem}_x_x_x_x_f1_aaaaaaaaaaaa") == :error end)
    assert Enum.sort(looked) == Enum.sort(parts.(4))

    for function <- parts.(4) do
      tool = Tools.name(%{name: function}, %{"name" => "f1", "function" => "f1"}, true)
      assert {:ok, {%{name: ^function}, %{"name" => "f1"}, ^tool}} = Tools.find(:elixir, tool)
    end
  end

  test "a call has what it needs of its tool's export, however large that is" do
    for {exports, params} <- [{1, 3}, {60, 100}] do
      name = deploy_bytes!(TestModule.wide(exports, params), tools: ["*"])
      # The second time it is there.
      for _time <- 1..2 do
        assert {:ok, {_function, export, _tool}} = Tools.find(:elixir, "#{name}__f1")
        assert export == %{"name" => "f1", "params" => params}
      end
    end
  end

  test "a call that may not wait for an interface is told so" do
    name = deploy_bytes!(TestModule.wide(10, 40), tools: ["*"])
    call = fn -> Calls.answer({1, "tools/call", %{"name" => "#{name}__none"}}, client()) end
    take = fn -> for _call <- 1..128, do: :ok = Shares.take(:waiting_for_interfaces, Shares.client(:elixir), 256) end
    waiting = start_supervised!({Agent, take}, restart: :temporary)
    assert {:error, :internal, message} = call.()
    assert message =~ "later"
    Agent.stop(waiting)
    eventually(fn -> Shares.count(:waiting_for_interfaces) == 0 end)
    assert {:error, :invalid_params, "unknown tool: " <> _name} = call.()
  end
end
