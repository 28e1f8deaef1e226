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
          {fun, {:fun, fun}},
          {{Enum, :map}, {:mfa, Enum, :map}},
          {self(), {:process, self()}},
          {:name, {:process, :name}},
          {{:global, "name"}, {:process, {:global, "name"}}},
          {{:via, :global, "name"}, {:process, {:via, :global, "name"}}}
        ] do
      handle!({"kind", namespace, "op"}, handler)
      assert Registry.lookup("kind", namespace, "op") == entry
    end

    Host.unregister({"kind", namespace, "op"})
    assert Registry.lookup("kind", namespace, "op") == nil
  end
end
