defmodule Tidepool.Host.ResourcesTest do
  # Resources that the host gives to guests: who has them, what may be done with them, and that each ends once.
  use Tidepool.Case

  alias Tidepool.{Error, Host, Instance, Resource}
  alias Tidepool.Resource.Keeper

  @interface "docs:shop/carts"
  @operations ["[constructor]cart", "[method]cart.add", "[static]cart.both", "[static]cart.new", "find", "same"]

  defmodule Cart do
    # A cart is the number of its table's row.
    def new("nobody"), do: raise("nobody has no cart")
    def new("wrong"), do: %{resource: :any}
    def new(owner), do: open(owner)

    def add(cart, item) do
      [{^cart, owner, items}] = :ets.lookup(:carts, cart)
      :ets.insert(:carts, {cart, owner, [item | items]})
      length(items) + 1
    end

    def both(one, other) do
      [one, other] = for cart <- [one, other], do: Resource.fetch!(cart, "docs:shop/carts#cart")
      [{^one, owner, items}] = :ets.lookup(:carts, one)
      [{^other, other_owner, more}] = :ets.lookup(:carts, other)
      cart = open("#{owner} and #{other_owner}")
      :ets.insert(:carts, {cart, "#{owner} and #{other_owner}", items ++ more})
      Resource.new(cart, &drop/1)
    end

    def drop(cart) do
      [test: test] = :ets.lookup(:carts, :test)
      send(test, {:dropped, cart})
    end

    def open(owner) do
      cart = :ets.update_counter(:carts, :next, 1)
      :ets.insert(:carts, {cart, owner, []})
      cart
    end
  end

  defmodule FirstOfBoth do
    defdelegate new(owner), to: Cart
    defdelegate add(cart, item), to: Cart
    defdelegate drop(cart), to: Cart
    def both(one, _other), do: one
  end

  defmodule Carts do
    def find("all"), do: for(owner <- ["a", "b"], do: Resource.new(Cart.open(owner), &Cart.drop/1))
    def find("wrong"), do: [Resource.new(Cart.open("a"), &Cart.drop/1), 5]
    def find("twice"), do: Resource.new(Cart.open("a"), &Cart.drop/1) |> List.duplicate(2)
    def find(_none), do: []
    def same(one, {:some, other}), do: Resource.fetch!(one) == Resource.fetch!(other)
  end

  setup do
    :ets.new(:carts, [:named_table, :public])
    :ets.insert(:carts, [{:next, 0}, {:test, self()}])
    :ok = Host.register_interface(@interface, Carts, resources: %{"cart" => {Cart, statics: [:both]}})

    on_exit(fn ->
      for operation <- @operations, do: Host.unregister({"wit", @interface, operation})
      eventually(fn -> Keeper.count() == 0 end)
    end)

    %{name: deploy!("component", "counters", host: ["wit/docs:shop/*"])}
  end

  defp start!(name) do
    {:ok, instance} = Instance.start(name)

    on_exit(fn ->
      monitor = Process.monitor(instance)
      Process.exit(instance, :shutdown)
      assert_receive {:DOWN, ^monitor, :process, ^instance, _reason}
    end)

    instance
  end

  # That these carts, and no others, are told of their ends, each once.
  defp assert_dropped(carts) do
    for cart <- carts, do: assert_receive({:dropped, ^cart})
    eventually(fn -> Keeper.count() == 0 end)
    refute_received {:dropped, _cart}
  end

  test "a guest makes, calls, gives away and drops what the host has", %{name: name} do
    instance = start!(name)
    assert Instance.call(instance, :open, ["Ada"]) == {:ok, nil}
    assert Instance.call(instance, :put, ["tea"]) == {:ok, 1}
    assert Instance.call(instance, :put, ["ink"]) == {:ok, 2}
    assert Instance.call(instance, :same) == {:ok, true}
    refute_received {:dropped, _cart}
    # Both are the host's again, and end when the function has returned.
    assert Instance.call(instance, :join, ["Bob"]) == {:ok, nil}
    assert_receive {:dropped, 1}
    assert_receive {:dropped, 2}
    assert Instance.call(instance, :put, ["rum"]) == {:ok, 3}
    assert [{3, "Ada and Bob", ["rum", "ink", "tea"]}] = :ets.lookup(:carts, 3)
    assert Instance.call(instance, :close) == {:ok, nil}
    assert_dropped([3])
  end

  test "what a module's function is given and gives back is the guest's again, and the rest of it ends", %{name: name} do
    :ok = Host.register_interface(@interface, Carts, resources: %{"cart" => {FirstOfBoth, statics: [:both]}})
    instance = start!(name)
    assert Instance.call(instance, :open, ["Ada"]) == {:ok, nil}
    assert Instance.call(instance, :put, ["tea"]) == {:ok, 1}
    assert Instance.call(instance, :join, ["Bob"]) == {:ok, nil}
    assert_receive {:dropped, 2}
    eventually(fn -> Keeper.count() == 1 end)
    assert Instance.call(instance, :put, ["ink"]) == {:ok, 2}
    assert Instance.call(instance, :close) == {:ok, nil}
    assert_dropped([1])
  end

  test "a list of them is given, each to be dropped once, at the latest when its instance ends", %{name: name} do
    instance = start!(name)
    assert Instance.call(instance, :find, ["all"]) == {:ok, 2}
    assert Instance.call(instance, :put, ["tea"]) == {:ok, 1}
    assert Instance.call(instance, :find, ["none"]) == {:ok, 0}
    assert Keeper.count() == 2
    GenServer.stop(instance)
    assert_dropped([1, 2])
  end

  test "they end with the instance of a call, however that ends", %{name: name} do
    assert Tidepool.call(name, :open, ["Ada"]) == {:ok, nil}
    assert_dropped([1])
    assert Tidepool.call(name, "open", ~s(["Ada"])) == {:ok, "null"}
    assert_dropped([2])
    instance = start!(name)
    assert Instance.call(instance, :open, ["Ada"]) == {:ok, nil}
    assert {:error, %Error{reason: {:trap, :unreachable}}} = Instance.call(instance, :"crash-carts")
    assert_dropped([3])
  end

  test "they end with an instance that is killed while it runs" do
    name = deploy!("component", "counters", host: ["wit/docs:shop/*"], limits: [cpu_time: 60_000, time: 60_000])
    instance = start!(name)
    assert Instance.call(instance, :open, ["Ada"]) == {:ok, nil}
    spawn(fn -> Instance.call(instance, :"spin-carts") end)

    eventually(fn ->
      {:current_function, {module, _name, _arity}} = Process.info(instance, :current_function)
      module != :gen_server
    end)

    Process.exit(instance, :kill)
    assert_dropped([1])
  end

  test "an instance that is warm has them from call to call, whoever calls" do
    name = deploy!("component", "counters", host: ["wit/docs:shop/*"], instances: {:warm, 1})
    assert Tidepool.call(name, :open, ["Ada"]) == {:ok, nil}
    assert Task.await(Task.async(fn -> Tidepool.call(name, :put, ["tea"]) end), 60_000) == {:ok, 1}
    assert Tidepool.call(name, :put, ["ink"]) == {:ok, 2}
    refute_received {:dropped, _cart}
    assert {:error, %Error{reason: {:trap, _kind}}} = Tidepool.call(name, :"crash-carts")
    assert_dropped([1])
  end

  test "an answer that is none of the type traps with its place, and what it had ends", %{name: name} do
    for {owner, text, dropped} <- [
          {"wrong", "find does not fit: 1: it has to be a resource, and is an integer", [1]},
          {"twice", "find does not fit: 1: it is a resource that a guest has", [2]}
        ] do
      assert {:error, %Error{reason: {:trap, :other}, message: message}} = Tidepool.call(name, :find, [owner])
      assert message =~ text
      assert_dropped(dropped)
    end

    assert {:error, %Error{reason: {:trap, :other}, message: "the host's handler failed" <> _}} =
             Tidepool.call(name, :open, ["nobody"])

    target = {"wit", @interface, "[constructor]cart"}
    ended = Resource.new(7)
    Tidepool.Native.resource_end(ended)
    guest = start!(name)
    {:ok, counter} = Instance.new(guest, :counter, [1])

    for {answer, text} <- [
          {5, "does not fit: it has to be a resource, and is an integer"},
          {nil, "does not fit: it has to be a resource, and is nothing"},
          {ended, "does not fit: it is a resource that was dropped"},
          {counter, "does not fit: it has to be a docs:shop/carts#cart of the host's, and is a resource of a guest's"},
          {%{counter | ref: self()}, "it is a resource that this node does not have"}
        ] do
      Host.register(target, fn _call -> {:ok, answer} end)
      assert {:error, %Error{reason: {:trap, :other}, message: message}} = Tidepool.call(name, :open, ["Ada"])
      assert message =~ text
    end

    assert Instance.call(guest, {counter, :value}) == {:ok, 1}
  end

  test "a handler that is a function has handles, whose terms it finds", %{name: name} do
    test = self()

    Host.register({"wit", @interface, "[constructor]cart"}, fn %{args: [owner]} ->
      {:ok, Resource.new({:cart, owner})}
    end)

    Host.register({"wit", @interface, "[method]cart.add"}, fn %{args: [cart, "tea"]} ->
      send(test, {Resource.type(cart), Resource.fetch(cart)})
      {:ok, 1}
    end)

    # What it gets for its own it can give back.
    Host.register({"wit", @interface, "[static]cart.both"}, fn %{args: [one, _other]} -> {:ok, one} end)
    instance = start!(name)
    assert Instance.call(instance, :open, ["Ada"]) == {:ok, nil}
    assert Instance.call(instance, :put, ["tea"]) == {:ok, 1}
    assert_received {"docs:shop/carts#cart", {:ok, {:cart, "Ada"}}}
    assert Instance.call(instance, :join, ["Bob"]) == {:ok, nil}
    assert Instance.call(instance, :put, ["tea"]) == {:ok, 1}
    assert_received {"docs:shop/carts#cart", {:ok, {:cart, "Ada"}}}
    GenServer.stop(instance)
    :erlang.garbage_collect()
  end

  test "an export takes one from its caller, and returns it", %{name: name} do
    [one, other] = [start!(name), start!(name)]
    cart = Resource.new(Cart.open("Ada"), &Cart.drop/1)
    assert Resource.type(cart) == nil
    assert Instance.call(one, :take, [cart]) == {:ok, nil}
    assert Instance.call(one, :put, ["tea"]) == {:ok, 1}

    assert {:error, %Error{reason: :invalid_arguments, details: %{path: "cart"}, message: message}} =
             Instance.call(other, :take, [cart])

    assert message =~ "a resource that a guest has"
    assert {:ok, back} = Instance.call(one, :return)
    assert Resource.fetch!(back) == 1
    refute_received {:dropped, _cart}
    assert Instance.call(other, :take, [back]) == {:ok, nil}
    assert Instance.call(other, :put, ["ink"]) == {:ok, 2}
    assert Instance.call(other, :close) == {:ok, nil}
    assert_dropped([1])
    assert {:error, %Error{message: message}} = Instance.call(one, :take, [back])
    assert message =~ "a resource that was dropped"
    assert Resource.fetch(back) == :error
    for instance <- [one, other], do: GenServer.stop(instance)
  end

  test "what a caller lends is its own again when the call is over, however that ends", %{name: name} do
    instance = start!(name)
    [one, other] = for owner <- ["Ada", "Bob"], do: Resource.new(Cart.open(owner), &Cart.drop/1)
    assert Instance.call(instance, :"same-carts", [one, one]) == {:ok, true}
    assert Instance.call(instance, :"same-carts", [one, other]) == {:ok, false}
    # Where a guest has one of them for its own, the other is not lent.
    assert Instance.call(instance, :take, [other]) == {:ok, nil}
    assert {:error, %Error{details: %{path: "other"}}} = Instance.call(instance, :"same-carts", [one, other])
    assert {:ok, other} = Instance.call(instance, :return)
    Host.unregister({"wit", @interface, "same"})
    assert {:error, %Error{reason: {:trap, _kind}}} = Instance.call(instance, :"same-carts", [one, other])
    refute_received {:dropped, _cart}
    for resource <- [one, other], do: Tidepool.Native.resource_end(resource)
    assert_dropped([1, 2])
  end

  test "one of another type is refused where a guest was given it before", %{name: name} do
    cart = Resource.new(1)
    instance = start!(name)
    assert {:error, %Error{message: message}} = Instance.call(instance, :total, [[cart]])
    assert message =~ "argument counters.0: it has to be a resource of the guest's"
    assert {:error, %Error{message: message}} = Instance.call(instance, :take, [5])
    assert message =~ "argument cart: it has to be a resource, and is an integer"
    GenServer.stop(instance)
    assert Resource.fetch!(cart) == 1
    Tidepool.Native.resource_end(cart)
  end

  test "a guest has no more of them than it may, and all end", %{name: name} do
    # The one that was too many ends with the process that has its handle.
    outcome = Task.await(Task.async(fn -> Tidepool.call(name, :"hoard-carts", [1_000_000]) end), 60_000)
    assert {:error, %Error{reason: {:trap, :other}, message: message}} = outcome
    assert message =~ "the guest has 4096 resources of the host's, and may have no more"
    assert_dropped(Enum.to_list(1..4_097))
  end

  test "one that no guest was given ends when no process has it" do
    {:ok, _pid} = Task.start(fn -> Resource.new(41, &Cart.drop/1) end)
    assert_dropped([41])
  end

  test "a guest has no cart by its number, and none by another resource, whatever types it says they have" do
    defmodule Session do
      def new(number), do: number
    end

    :ok = Host.register_interface("docs:auth/sessions", nil, resources: %{"session" => Session})
    on_exit(fn -> Host.unregister({"wit", "docs:auth/sessions", "[constructor]session"}) end)
    cart = Cart.open("Ada")
    name = deploy!("component", "forger")

    for way <- [:session, :number, :numbers] do
      ExUnit.CaptureLog.capture_log(fn ->
        assert {^way, {:error, %Error{reason: {:trap, :other}}}} = {way, Tidepool.call(name, way, [cart])}
      end)
    end

    assert [{^cart, "Ada", []}] = :ets.lookup(:carts, cart)
  end

  test "public functions that are a process's are no guest's" do
    defmodule Process do
      use GenServer
      def init(state), do: {:ok, state}
      def peek(term), do: term
    end

    operations = for {operation, _handler} <- Host.Interface.handlers("a:b/c", nil, %{"d" => Process}), do: operation
    assert operations == ["[method]d.peek"]
  end

  # Tells the test, and waits.
  defp telling(test) do
    fn number ->
      send(test, {:told, number, self()})
      receive(do: (:go_on -> :ok))
    end
  end

  test "a function is told of so many ends at a time, others of its own wait, and those of other functions don't" do
    tell = telling(self())
    resources = for number <- 1..50, do: Resource.new(number, tell)
    Enum.each(resources, &Tidepool.Native.resource_end/1)
    first = for _ <- 1..32, do: assert_receive({:told, _number, _teller})
    eventually(fn -> Keeper.waiting() == 18 end)
    refute_received {:told, _number, _teller}
    1 |> Resource.new(&Cart.drop/1) |> Tidepool.Native.resource_end()
    assert_receive {:dropped, 1}
    for {:told, _number, teller} <- first, do: send(teller, :go_on)
    rest = for _ <- 1..18, do: assert_receive({:told, _number, _teller})
    for {:told, _number, teller} <- rest, do: send(teller, :go_on)
    assert Enum.sort(for {:told, number, _teller} <- first ++ rest, do: number) == Enum.to_list(1..50)
    eventually(fn -> Keeper.waiting() == 0 end)
  end

  test "a function that does not return is killed, and one that too many ends wait for is given no more to be told of" do
    tell = telling(self())
    # Where this takes long, some are killed and others told meanwhile.
    make = fn -> for number <- 1..30_000, do: number |> Resource.new(tell) |> Tidepool.Native.resource_end() end
    assert_raise RuntimeError, ~r/more than 10000 ends of resources to be told of/, make
    2 |> Resource.new(&Cart.drop/1) |> Tidepool.Native.resource_end()
    assert_receive {:dropped, 2}
    assert_receive {:told, _number, teller}
    monitor = Process.monitor(teller)
    assert_receive {:DOWN, ^monitor, :process, ^teller, reason} when reason in [:killed, :noproc]
    # All that wait are told, one after the other, and go on at once.
    eventually(fn -> go_on() == :ok and Keeper.count() == 0 end, 60_000)
  end

  # Has all go on that have said that they were told.
  defp go_on do
    receive do
      {:told, _number, teller} ->
        send(teller, :go_on)
        go_on()
    after
      0 -> :ok
    end
  end

  test "a process that is killed while it makes resources leaves none" do
    for _round <- 1..50 do
      makers = for _maker <- 1..10, do: spawn(fn -> make() end)
      for maker <- makers, do: Process.exit(maker, :kill)
    end

    eventually(fn -> Keeper.count() == 0 end)
  end

  defp make do
    Resource.new(self())
    make()
  end

  test "what fails when it is told of an end is logged, and nothing else", %{name: _name} do
    ExUnit.CaptureLog.capture_log(fn ->
      test = self()

      resource =
        Resource.new(1, fn 1 ->
          send(test, {:told, self()})
          raise "no end"
        end)

      Tidepool.Native.resource_end(resource)
      assert_receive {:told, teller}
      ref = Process.monitor(teller)
      assert_receive {:DOWN, ^ref, :process, ^teller, _reason}
    end)
    |> then(&assert &1 =~ "what a resource's end was told to failed: ** (RuntimeError) no end")
  end

  test "modules that are none are refused" do
    for {module, options} <- [
          {NoSuchModule, [resources: %{"cart" => Cart}]},
          {Carts, [resources: %{"cart" => NoSuchModule}]},
          {Carts, [resources: %{"cart" => {Cart, statics: [:none]}}]},
          {Carts, [resources: %{cart: Cart}]},
          {Carts, [resources: [Cart]]},
          {nil, []}
        ] do
      assert_raise ArgumentError, fn -> Host.register_interface(@interface, module, options) end
    end
  end
end
