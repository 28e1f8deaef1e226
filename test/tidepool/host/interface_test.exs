defmodule Tidepool.Host.InterfaceTest do
  # Interfaces that components import, answered by modules.
  use Tidepool.Case

  alias Tidepool.{Error, Host, Native, Resource}
  alias Tidepool.Resource.Keeper

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

  test "an answer that is no value ends the call with where in it that is", %{name: name} do
    :ok = Host.register({"wit", @interface, "price"}, fn _call -> {:ok, [1, self()]} end)
    on_exit(fn -> Host.unregister({"wit", @interface, "price"}) end)
    assert {:error, %Error{reason: {:trap, :other}, message: message}} = Tidepool.call(name, :price, ["tea"])
    assert message =~ ~r"the answer of wit/docs:shop/prices@1.0.0/price does not fit: 1: "
  end

  test "an import that nobody answers is named by the deploy, and ends the call with its target", %{name: name} do
    assert {:ok, %{imports: ["docs:shop/prices@1.0.0.price"]}} = Tidepool.fetch(name)
    assert {:error, %Error{reason: {:trap, :other}, message: message}} = Tidepool.call(name, :price, ["tea"])
    assert message =~ "no host function wit/docs:shop/prices@1.0.0/price"
  end

  test "the answer of a deploy over HTTP names what nobody answers, and a list of functions does not", %{name: name} do
    fields = [name: name, host: "wit/docs:shop/*"]
    assert {200, _headers, deployed} = curl_deploy(guest("component", "calc"), fields)
    assert deployed["unanswered"] == ["wit/docs:shop/prices@1.0.0/price"]
    :ok = Host.register_interface(@interface, Prices)
    assert {200, _headers, %{"unanswered" => []} = function} = curl("/functions/#{name}")
    assert {200, _headers, %{"functions" => functions}} = curl("/functions")
    for shown <- [function | functions], do: refute(is_map_key(shown, "asks"))
    assert Enum.all?(functions, &(&1["unanswered"] == nil))
  end

  test "what nobody answers is known of a function, until somebody does", %{name: name} do
    {:ok, function} = Tidepool.fetch(name)
    target = {"wit", "docs:shop/prices@1.0.0", "price"}
    assert Host.unanswered(function) == [target]
    :ok = Host.register_interface(@interface, Prices)
    assert Host.unanswered(function) == []

    for grants <- [["none"], ["wit/docs:shop/prices@2*"], ["wit/docs:shop/prices/price"]],
        do: assert(Host.unanswered(%{function | host: grants}) == [target])

    for grants <- [["*"], ["wit/*/*"], ["shop/a/b", "wit/docs:shop/prices@1.0.0/price"]],
        do: assert(Host.unanswered(%{function | host: grants}) == [])

    :ok = Host.unregister({"wit", @interface, "price"})
    assert Host.unanswered(function) == [target]
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

  test "a name that no component imports an interface by, or WASI's, is refused" do
    for other <- [
          "docs:shop",
          "docs/shop",
          "docs:shop/",
          "docs:/prices",
          ":shop/prices",
          "docs:shop/price_list",
          "docs:shop/prices#price",
          "docs:shop/prices@1",
          "docs:shop/prices@1.0.0@1.0.0",
          "wit/docs:shop/prices",
          "docs:shop/prices\n",
          "Docs:shop/prices",
          "price list",
          "-"
        ] do
      message = ~r/the interface has to be a string, the name that a component imports it by, as "docs:shop\/prices" /
      assert_raise ArgumentError, message, fn -> Host.register_interface(other, Prices) end
    end

    for wasi <- ["wasi:cli/environment@0.2.0", "wasi:keyvalue/store", "wasi:x"] do
      message = ~r/the interface "#{wasi}" is WASI's, which no module answers for/
      assert_raise ArgumentError, message, fn -> Host.register_interface(wasi, Prices) end
    end
  end

  test "a name by which components import is taken, of a version and none, of a package, a world or no interface" do
    on_exit(fn -> for name <- names(), do: Host.unregister({"wit", name, "price"}) end)
    for name <- names(), do: assert(Host.register_interface(name, Prices) == :ok, name)
  end

  defp names do
    ~w(docs:shop/prices docs:shop/prices@0.2.0 docs:shop/prices@1.0.0-rc.1 docs:shop/prices@1.0.0-rc.1+build.5
       docs:shop/price-list2 docs:SHOP/a-B docs:a:b/c/d wasi-like:x/y prices price-list) ++ [""]
  end

  test "what is no module can't answer" do
    assert_raise ArgumentError, fn -> Host.register_interface(:prices, Prices) end

    # Modules of Erlang don't tell which of their functions are for others.
    for other <- [NoSuchModule, :lists, "Prices", nil, 5] do
      assert_raise ArgumentError, ~r/the module has to be a module that is loaded, and is /, fn ->
        Host.register_interface(@interface, other)
      end
    end
  end

  defmodule Cart do
    def new(made), do: made
    def price_of(cart, item), do: {cart, item}
    def both_of(one, other), do: {one, other}
    def some_of(one, other), do: {:ok, %{some: [Resource.new(one)], other: {:some, Resource.new(other)}}}
    def drop({test, cart}), do: send(test, {:dropped, cart})
  end

  # What a handler of a resource's module answers.
  defp answer(operation, args) do
    handlers =
      Map.new(Host.Interface.handlers("docs:shop/carts", nil, %{"cart" => {Cart, statics: [:both_of, :some_of]}}))

    call = %Host.Call{
      binding: "wit",
      namespace: "docs:shop/carts",
      operation: operation,
      payload: "",
      function: "f",
      args: args
    }

    assert {:ok, answer} = handlers[operation].(call)
    answer
  end

  test "what a function makes is of its interface, wherever in its value it is, and of no other's" do
    assert {:ok, %{some: [one], other: {:some, other}}} = answer("[static]cart.some-of", [:one, :other])

    for {resource, term} <- [{one, :one}, {other, :other}] do
      assert resource |> Native.resource_id() |> Keeper.made_for() == {:interface, "docs:shop/carts"}
      # As a guest hands it over that says of which type it is.
      for type <- ["docs:shop/carts#cart", "docs:shop/carts#basket"],
          do: assert(Resource.fetch!(%{resource | type: type}, type) == term)

      session = %{resource | type: "docs:auth/sessions#session"}
      assert_raise ArgumentError, fn -> Resource.fetch!(session, "docs:auth/sessions#session") end
      Native.resource_end(resource)
    end
  end

  test "a constructor makes a resource of a term, keeps one that is made, and hands an error on" do
    for operation <- ["[constructor]cart", "[static]cart.new"] do
      term = {self(), operation}
      assert %Resource{} = made = answer(operation, [term])
      assert {:ok, %Resource{} = also_made} = answer(operation, [{:ok, term}])
      for resource <- [made, also_made], do: assert(Resource.fetch!(resource) == term)

      own = Resource.new(:own)
      assert answer(operation, [own]) == own
      assert answer(operation, [{:ok, own}]) == {:ok, own}
      assert Resource.fetch!(own) == :own
      assert answer(operation, [{:error, "none left"}]) == {:error, "none left"}

      # It is of this type, and its module is told of its end.
      for resource <- [made, also_made] do
        assert resource |> Native.resource_id() |> Keeper.made_for() == {:type, "docs:shop/carts#cart"}
        Native.resource_end(resource)
        assert_receive {:dropped, ^operation}
      end

      Native.resource_end(own)
    end

    eventually(fn -> Keeper.count() == 0 end)
  end

  test "a resource's functions have the names of WIT, methods get their own term, and statics what they are given" do
    handlers = Host.Interface.handlers("docs:shop/carts", nil, %{"cart" => {Cart, statics: [:both_of, :some_of]}})

    assert Enum.sort(for({operation, _handler} <- handlers, do: operation)) ==
             [
               "[constructor]cart",
               "[method]cart.price-of",
               "[static]cart.both-of",
               "[static]cart.new",
               "[static]cart.some-of"
             ]

    assert answer("[static]cart.both-of", [1, 2]) == {1, 2}
    # A number is no cart, and neither is nothing.
    for args <- [[1, "tea"], []] do
      assert_raise ArgumentError, ~r/docs:shop\/carts#cart/, fn -> answer("[method]cart.price-of", args) end
    end
  end
end
