defmodule Tidepool.Host.RegistryTest do
  # Not async: a handler of everything meets the guests of other tests.
  use Tidepool.Case, async: false

  alias Tidepool.Host
  alias Tidepool.Host.Registry

  test "a handler of everything is asked when nobody else is" do
    name = deploy!("rust", "hello_world")
    handle!({:_, :_, :_}, fn call -> {:ok, "#{call.binding}|#{call.namespace}|#{call.operation}"} end)
    assert Tidepool.call(name, "host", "a/b/c\n") == {:ok, "a|b|c"}
    handle!({:_, :_, "c"}, fn _call -> {:ok, "only c"} end)
    assert Tidepool.call(name, "host", "a/b/c\n") == {:ok, "only c"}
    assert Tidepool.call(name, "host", "a/b/d\n") == {:ok, "a|b|d"}
  end

  test "a handler of everything that comes and goes leaves tests theirs" do
    name = deploy!("rust", "hello_world")
    namespace = unique_name("mine")
    :ok = Tidepool.Testing.handle({"host", namespace, "x"}, fn _call -> {:ok, "mine"} end)
    handle!({:_, :_, :_}, fn _call -> {:ok, "everything"} end)
    assert Tidepool.call(name, "host", "host/#{namespace}/x\n") == {:ok, "mine"}
    assert Tidepool.call(name, "host", "host/#{namespace}/y\n") == {:ok, "everything"}
    :ok = Host.unregister({:_, :_, :_})
    assert Tidepool.call(name, "host", "host/#{namespace}/x\n") == {:ok, "mine"}
    assert {:error, %{reason: :guest_error}} = Tidepool.call(name, "host", "host/#{namespace}/y\n")
  end

  test "an underscore that a guest sends is a name like any other" do
    name = deploy!("rust", "hello_world")
    namespace = unique_name("under")
    handle!({"host", namespace, "_"}, fn _call -> {:ok, "underscore"} end)
    assert Tidepool.call(name, "host", "host/#{namespace}/_\n") == {:ok, "underscore"}
    assert {:error, %{reason: :guest_error}} = Tidepool.call(name, "host", "host/#{namespace}/other\n")
  end

  test "the table says of each kind of handler how it is run" do
    fun = fn _call -> {:ok, ""} end
    namespace = unique_name("kind")

    for {handler, entry} <- [
          {fun, {fun, :timed}},
          {{Enum, :map}, {{Enum, :map}, :timed}},
          {self(), {:process, self(), :invoke_callback}},
          {:name, {:process, :name, :invoke_callback}},
          {{:global, "name"}, {:process, {:global, "name"}, :invoke_callback}},
          {{:via, :global, "name"}, {:process, {:via, :global, "name"}, :invoke_callback}}
        ] do
      handle!({"kind", namespace, "op"}, handler)
      assert lookup("kind", namespace, "op") == entry
    end

    Host.unregister({"kind", namespace, "op"})
    assert lookup("kind", namespace, "op") == nil
  end

  test "a handler for a namespace is found by its functions alone, before one for all" do
    [namespace, target] = [unique_name("shop"), {"kind", unique_name("ns"), "op"}]
    {binding, of, operation} = target
    [all, own, any] = for word <- ["all", "own", "any"], do: fn _call -> {:ok, word} end
    handle!(target, all)
    on_exit(fn -> for target <- [target, {binding, of, :_}], do: Host.unregister(target, namespace: namespace) end)
    :ok = Host.register({binding, of, :_}, any, namespace: namespace)
    found = fn function -> with {:testing, entry} <- Registry.lookup(function, binding, of, operation), do: entry end
    assert {^any, :timed} = found.("#{namespace}/cart")
    :ok = Host.register(target, own, namespace: namespace)
    assert {^own, :timed} = found.("#{namespace}/cart")
    for other <- ["#{namespace}x/cart", namespace, "cart", "x/#{namespace}"], do: assert({^all, :timed} = found.(other))

    :ok = Host.unregister(target)
    assert found.("#{namespace}x/cart") == nil
    :ok = Host.unregister(target, namespace: namespace)
    assert {^any, :timed} = found.("#{namespace}/cart")
  end

  # Tests of this run may have handlers of their own.
  defp lookup(binding, namespace, operation) do
    with {:testing, entry} <- Registry.lookup("any", binding, namespace, operation), do: entry
  end
end
