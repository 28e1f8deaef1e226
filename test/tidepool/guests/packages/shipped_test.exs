defmodule Tidepool.ShippedTest do
  # Components of published packages that are more than a call: resources.
  use Tidepool.Case

  alias Tidepool.{Instance, Packages}

  # They are fetched in long runs alone.
  @moduletag skip: System.get_env("TIDEPOOL_LONG", "") == ""

  for row <- Packages.carts() do
    {component, interface, _why} = row
    @tag component: component, interface: interface
    test "#{component} runs: a cart has what is put into it", %{component: component, interface: interface} do
      {:ok, instance} = Instance.start_link(deploy!("packages", component))
      {:ok, cart} = Instance.new(instance, {interface, "cart"}, ["alice"])
      tea = %{:name => "Tea", :price => 2.5, :quantity => 2, :"product-id" => "tea"}
      {:ok, _nothing} = Instance.call(instance, {cart, :"add-item"}, [tea])
      {:ok, _nothing} = Instance.call(instance, {cart, :"update-item-quantity"}, ["tea", 3])
      assert Instance.call(instance, {cart, :"get-cart-contents"}) == {:ok, [%{tea | quantity: 3}]}
    end
  end
end
