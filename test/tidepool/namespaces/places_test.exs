defmodule Tidepool.Namespaces.PlacesTest do
  # Who has a place of those that namespaces share, who may wait for one, and who is next.
  use ExUnit.Case, async: true

  alias Tidepool.Namespaces.Places

  # As many as are next, one after the other, and the places that are left.
  defp begin(places, begun \\ []) do
    case Places.next(places) do
      {what, places} -> begin(places, [what | begun])
      :none -> {Enum.reverse(begun), places}
    end
  end

  defp in_line(places, namespace, whats), do: Enum.reduce(whats, places, &Places.wait(&2, namespace, 0, &1))

  test "a namespace has no more places than it leaves to others, and one of functions without a namespace all that are free" do
    {begun, places} = 8 |> Places.new() |> in_line("shop", 1..9) |> begin()
    assert begun == [1, 2, 3, 4]
    assert Places.of(places, "shop") == %{held: 4, waiting: 5, bytes: 0}
    {begun, places} = places |> in_line("blog", [:a, :b, :c]) |> begin()
    assert begun == [:a, :b]
    {begun, places} = places |> in_line(nil, [:x, :y, :z]) |> begin()
    assert begun == [:x, :y]
    assert for(namespace <- ["shop", "blog", nil], do: Places.of(places, namespace).waiting) == [5, 1, 1]

    {begun, _places} = 8 |> Places.new() |> in_line(nil, 1..9) |> begin()
    assert begun == Enum.to_list(1..8)
  end

  test "next is the namespace with the fewest places, and of several the one that has waited for the longest time" do
    {_begun, places} = 4 |> Places.new() |> in_line("shop", 1..9) |> in_line("blog", 1..9) |> begin()
    assert for(namespace <- ["shop", "blog"], do: Places.of(places, namespace).held) == [2, 1]
    # The fourth is left to others.
    {begun, places} = places |> in_line("room", [:first]) |> in_line("cart", [:second]) |> begin()
    assert begun == [:first]
    # However long those wait that came before.
    {begun, places} = places |> Places.give_back("shop", 0) |> begin()
    assert begun == [:second]
    {begun, _places} = places |> Places.give_back("blog", 0) |> begin()
    assert begun == [2]
  end

  test "those that wait, and bytes that are brought, leave as many to others, and nothing is left of what was given back" do
    places = Places.new(2, 4, 1_000)
    take = fn places, namespace, bytes -> Places.take(places, namespace, bytes, namespace) end
    assert {:ok, places} = take.(places, "shop", 400)
    assert :full = take.(places, "shop", 201)
    assert {:waits, places} = take.(places, "shop", 100)
    assert {:waits, places} = take.(places, "shop", 0)
    assert Places.of(places, "shop") == %{held: 1, waiting: 2, bytes: 500}
    # It may have no more in line, whatever that brings.
    assert :full = take.(places, "shop", 0)
    assert {:ok, places} = take.(places, "blog", 250)
    assert :full = take.(places, "room", 251)
    assert {:waits, places} = take.(places, "room", 250)
    assert :full = take.(places, nil, 1)
    assert {:waits, places} = take.(places, nil, 0)

    # One after the other is next, and gives back what it has brought.
    assert {["shop"], places} = places |> Places.give_back("shop", 400) |> begin()
    assert {["room"], places} = places |> Places.give_back("blog", 250) |> begin()
    assert {["shop"], places} = places |> Places.give_back("shop", 100) |> begin()
    assert {[nil], places} = places |> Places.give_back("room", 250) |> begin()
    places = places |> Places.give_back("shop", 0) |> Places.give_back(nil, 0)
    assert places == Places.new(2, 4, 1_000) |> Map.replace!(:came, places.came)
  end

  test "more bytes than all may bring are taken alone" do
    assert {:ok, places} = Places.take(Places.new(2, 0, 1_000), "shop", 2_000, :large)
    assert :full = Places.take(places, "blog", 1, :small)
    assert {:ok, _places} = Places.take(places, "blog", 0, :none)
    assert {:ok, _places} = places |> Places.give_back("shop", 2_000) |> Places.take("blog", 1, :small)
  end

  test "what waits for room for what it will bring has it when nothing else has any, whatever bytes those that wait have brought" do
    for namespace <- ["shop", nil] do
      places = Places.new(100, 1_000, 256)

      places =
        Enum.reduce(1..16, places, fn number, places ->
          assert {:ok, places} = Places.take(places, namespace, 8, number)
          places
        end)

      # Each has brought as much as was known of none.
      places =
        Enum.reduce(1..16, places, fn number, places ->
          case Places.take(Places.give_back(places, namespace, 8), namespace, 8, number, 32) do
            {:ok, places} -> places
            {:waits, places} -> places
          end
        end)

      assert %{held: held, waiting: waiting} = Places.of(places, namespace)
      assert held in 1..8 and waiting == 16 - held
      places = Enum.reduce(1..held, places, fn _one, places -> Places.give_back(places, namespace, 8, 32) end)
      assert {_what, _places} = Places.next(places)
      assert {:ok, _places} = Places.take(places, "other", 1, :small)
    end
  end

  test "what brings more than it was to leaves others as much, and may bring more than all may when it is alone" do
    assert {:ok, places} = Places.take(Places.new(100, 0, 256), "shop", 8, :one, 32)
    assert {:ok, alone} = Places.bring(places, "shop", 300, 32)
    assert Places.of(alone, "shop") == %{held: 1, waiting: 0, bytes: 308}
    assert {:ok, places} = Places.take(places, "shop", 8, :two, 32)
    assert {:ok, places} = Places.bring(places, "shop", 64, 32)
    assert Places.bring(places, "shop", 129, 32) == :full
    assert {:ok, places} = Places.bring(places, "shop", 96, 32)
    assert {:ok, _places} = Places.take(places, "blog", 0, :three, 96)
    assert :full = Places.take(places, "blog", 0, :three, 97)
    places = places |> Places.give_back("shop", 8, 64) |> Places.give_back("shop", 8, 96)
    assert Places.of(places, "shop") == %{held: 0, waiting: 0, bytes: 0}
  end

  test "what waits for room to bring more has none meanwhile, and what its namespace begins that will bring more comes after it" do
    places =
      Enum.reduce(1..4, Places.new(100, 10, 256), fn number, places ->
        assert {:ok, places} = Places.take(places, "shop", 0, number, 32)
        places
      end)

    assert Places.bring(places, "shop", 100, 32) == :full
    assert {:waits, places} = Places.await(places, "shop", 100, 32, :first)
    assert Places.of(places, "shop") == %{held: 4, waiting: 0, bytes: 96}
    assert Places.come(places) == :none
    assert {:waits, places} = Places.take(places, "shop", 0, :fifth, 32)
    assert {:ok, places} = Places.take(places, "shop", 0, :small)
    assert {:ok, places} = Places.take(places, "blog", 0, :other, 8)
    assert Places.next(places) == :none
    places = Places.give_back(places, "shop", 0, 32)
    assert {:first, 100, places} = Places.come(places)
    assert Places.of(places, "shop").bytes == 164
    places = Places.give_back(places, "shop", 0, 100)
    assert {:fifth, _places} = Places.next(places)
  end

  test "no more bytes wait for room to bring more than leave others as many, and who waits no more leaves its place" do
    wait = fn places, namespace, bytes, what -> Places.await(places, namespace, bytes, 0, what) end
    new = Places.new(100, 0, 256)
    # What never has room waits for none.
    for namespace <- ["shop", nil], do: assert(wait.(new, namespace, 257, :one) == :full)
    assert wait.(new, "shop", 200, :one) |> elem(0) == :waits

    places =
      Enum.reduce(1..4, new, fn number, places ->
        assert {:waits, places} = wait.(places, "shop", 32, number)
        places
      end)

    assert wait.(places, "shop", 1, 5) == :full
    assert {:waits, _places} = wait.(places, "blog", 128, 5)
    assert wait.(places, "blog", 129, 5) == :full
    assert {:waits, places} = places |> Places.leave(2) |> Places.leave(:none) |> wait.("shop", 32, 5)
    assert {1, 32, _places} = Places.come(places)
  end
end
