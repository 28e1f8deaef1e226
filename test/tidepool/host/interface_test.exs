defmodule Tidepool.Host.InterfaceTest do
  # Interfaces that components import, answered by modules.
  use Tidepool.Case

  alias Tidepool.{Error, Host}

  defmodule Prices do
    def price("tea"), do: 3
    def price("rum"), do: raise("sold out")
    def price("ink"), do: "three"
  end

  @interface "docs:shop/prices"

  setup %{test: test} do
    name = "interface_#{:erlang.phash2(test)}"
    on_exit(fn -> Host.unregister({"wit", @interface, "price"}) end)
    Tidepool.deploy!(guest("component", "calc"), name: name, host: ["wit/docs:shop/*"])
    {:ok, name: name}
  end

  test "a module answers for an interface without its version, and a handler of the version comes before it", %{
    name: name
  } do
    :ok = Host.register_interface(@interface, Prices)
    assert Tidepool.call(name, :price, ["tea"]) == {:ok, 3}
    target = {"wit", "#{@interface}@1.0.0", "price"}
    on_exit(fn -> Host.unregister(target) end)
    Host.register(target, fn %{args: ["tea"], payload: ""} -> {:ok, 4} end)
    assert Tidepool.call(name, :price, ["tea"]) == {:ok, 4}
  end

  test "a function that raises, and one that returns another type, end the call with a text", %{name: name} do
    :ok = Host.register_interface(@interface, Prices)

    assert {:error, %Error{reason: {:trap, :other}, message: "the host's handler failed (id " <> _}} =
             Tidepool.call(name, :price, ["rum"])

    assert {:error, %Error{reason: {:trap, :other}, message: message}} = Tidepool.call(name, :price, ["ink"])
    assert message =~ "the answer of wit/docs:shop/prices@1.0.0/price does not fit"
  end

  test "an import that nobody answers is named by the deploy, and ends the call with its target", %{name: name} do
    assert {:ok, %{imports: ["docs:shop/prices@1.0.0.price"]}} = Tidepool.fetch(name)
    assert {:error, %Error{reason: {:trap, :other}, message: message}} = Tidepool.call(name, :price, ["tea"])
    assert message =~ "no host function wit/docs:shop/prices@1.0.0/price"
  end

  test "an interface that is not granted is not asked, whatever answers for it", %{name: name} do
    :ok = Host.register_interface(@interface, Prices)
    wasm = guest("component", "calc")

    for {host, granted?} <- [
          {"wit/docs:shop/prices@1.0.0/price", true},
          {"wit/docs:shop/prices@*", true},
          {"wit/docs:*/*", true},
          {"wit/docs:shop/price", false},
          {"wit/docs:shops/*", false},
          {"import/docs:shop/*", false},
          {"none", false}
        ] do
      Tidepool.deploy!(wasm, name: name, host: [host])
      answer = Tidepool.call(name, :price, ["tea"])

      if granted?,
        do: assert(answer == {:ok, 3}, host),
        else: assert({:error, %Error{message: message}} = answer, host) && assert(message =~ "is not granted")
    end
  end

  test "what is no module can't answer" do
    assert_raise ArgumentError, fn -> Host.register_interface(@interface, NoSuchModule) end
    assert_raise ArgumentError, fn -> Host.register_interface(:prices, Prices) end
  end
end
