defmodule Tidepool.ComponentsTest do
  # Components are called with terms, and return terms; those that are none of their types are refused with the place.
  use Tidepool.Case

  import Bitwise

  alias Tidepool.{Error, Host}

  setup do
    {:ok, name: deploy!("component", "values", instances: {:warm, 8})}
  end

  describe "a value" do
    test "comes back in the one form that results have, whichever it was given in", %{name: name} do
      no_atom = "nick-name-of-no-atom"
      ada = %{:name => "Ada", no_atom => {:some, "Countess"}, :tags => ["a", ""]}

      for {export, given, returned} <- [
            {:people, %{:name => "Ada", no_atom => "Countess", :tags => ["a", ""]}, ada},
            {:people, %{"name" => "Ada", no_atom => {:some, "Countess"}, "tags" => ["a", ""]}, ada},
            {:people, %{name: "Zoë", tags: []}, %{:name => "Zoë", no_atom => :none, :tags => []}},
            {:people, %{:name => "", no_atom => nil, :tags => []}, %{:name => "", no_atom => :none, :tags => []}},
            {:shapes, {:circle, 1.5}, {:circle, 1.5}},
            {:shapes, {"circle", 2}, {:circle, 2.0}},
            {:shapes, :square, :square},
            {:shapes, "square", :square},
            {:shapes, {:pair, {255, "é"}}, {:pair, {255, "é"}}},
            {:shapes, %{pair: [0, "x"]}, {:pair, {0, "x"}}},
            {:colours, :red, :red},
            {:colours, "blue-that-is-no-atom", "blue-that-is-no-atom"},
            {:colours, "blue_that_is_no_atom", "blue-that-is-no-atom"},
            {:"perms-of", [:write], %{read: false, write: true}},
            {:"perms-of", [], %{read: false, write: false}},
            {:"perms-of", %{read: true, write: false}, %{read: true, write: false}},
            {:options, :none, :none},
            {:options, nil, :none},
            {:options, {:some, :none}, {:some, :none}},
            {:options, {:some, {:some, 7}}, {:some, {:some, 7}}},
            {:options, 7, {:some, {:some, 7}}},
            {:results, {:ok, 1}, {:ok, 1}},
            {:results, {:error, "no"}, {:error, "no"}},
            {:floats, 1, 1.0},
            {:floats, -0.0, -0.0},
            {:floats, :infinity, :infinity},
            {:floats, :neg_infinity, :neg_infinity},
            {:floats, :nan, :nan},
            {:integers, -0x8000_0000_0000_0000, -0x8000_0000_0000_0000},
            {:integers, 3.0, 3},
            {:naturals, 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF}
          ] do
        assert {export, given, Tidepool.call(name, export, [[given]])} == {export, given, {:ok, [returned]}}
        assert Tidepool.call(name, export, [[returned]]) == {:ok, [returned]}, "what is returned can be given"
      end
    end

    test "makes no atom of a name that there is none of", %{name: name} do
      assert {:ok, ["blue-that-is-no-atom"]} = Tidepool.call(name, :colours, [["blue-that-is-no-atom"]])
      assert_raise ArgumentError, fn -> String.to_existing_atom("blue-that-is" <> "-no-atom") end
    end

    test "may be given by the name of its parameter", %{name: name} do
      assert Tidepool.call(name, :divide, %{divisor: 2, dividend: 84}) == {:ok, 42}
      assert {:error, %Error{reason: :invalid_arguments}} = Tidepool.call(name, :divide, %{divisor: 2})
    end

    test "of another type is refused with its place, and the instance goes on", %{name: name} do
      assert Tidepool.call(name, :count, []) == {:ok, 1}

      for {export, arguments, path} <- [
            {:people, [[%{name: "a", tags: []}, %{name: 1, tags: []}]], "all.1.name"},
            {:people, [[%{name: "a", tags: ["b", :c, 4]}]], "all.0.tags.2"},
            {:people, [[%{tags: []}]], "all.0"},
            {:people, [[%{name: "a", tags: [], more: 1}]], "all.0"},
            {:shapes, [[{:pair, {256, "a"}}]], "all.0.pair.0"},
            {:shapes, [[{:pair, {1, "ab"}}]], "all.0.pair.1"},
            {:shapes, [[{:triangle, 1}]], "all.0"},
            {:floats, [[1.0, "1"]], "all.1"},
            {:integers, [[0x8000_0000_0000_0000]], "all.0"},
            {:integers, [[1.5]], "all.0"},
            {:naturals, [[-1]], "all.0"},
            {:results, [[{:fine, 1}]], "all.0"}
          ] do
        assert {:error, %Error{reason: :invalid_arguments, details: %{path: ^path}, message: message}} =
                 Tidepool.call(name, export, arguments)

        assert message =~ "argument #{path}: "
      end

      assert Tidepool.call(name, :count, []) == {:ok, 2}
    end

    test "that no term stands for ends no more than its call", %{name: name} do
      deep = Enum.reduce(1..100, 1, fn _, inner -> [inner] end)

      for term <- [
            self(),
            make_ref(),
            fn -> :ok end,
            <<1::3>>,
            [1 | 2],
            %{1 => 2},
            %{{} => 1},
            %{:a => 1, "a" => 2},
            <<0xFF>>,
            0x1_0000_0000_0000_0000_0000,
            -0x1_0000_0000_0000_0000_0000,
            deep,
            List.duplicate(1, 70_000),
            {},
            {{}, {}},
            :"\u{10FFFF}",
            ~D[2020-01-01],
            List.first(Port.list())
          ],
          export <- [:people, :shapes, :"perms-of", :options, :floats],
          arguments <- [[[term]], [term], [%{term => term}], [{:some, term}]] do
        outcome = Tidepool.call(name, export, arguments)

        assert match?({:ok, _}, outcome) or match?({:error, %Error{reason: :invalid_arguments}}, outcome),
               inspect(outcome)
      end

      assert Tidepool.call(name, :divide, [84, 2]) == {:ok, 42}
    end

    test "that a generator makes of its export's type comes back as it was given", %{name: name} do
      :rand.seed(:exsss, {4, 5, 6})

      for _ <- 1..sample(1_000, 50_000) do
        {export, one} = typed()
        all = for _ <- 1..:rand.uniform(5), do: one.()
        assert {export, all, Tidepool.call(name, export, [all])} == {export, all, {:ok, all}}
      end
    end

    test "of any shape that a generator thinks of is refused or taken", %{name: name} do
      :rand.seed(:exsss, {1, 2, 3})

      for _ <- 1..sample(2_000, 100_000) do
        outcome = Tidepool.call(name, Enum.random([:people, :shapes, :options, :results, :colours]), [any(4)])
        assert match?({:ok, _}, outcome) or match?({:error, %Error{reason: :invalid_arguments}}, outcome)
      end
    end
  end

  test "the error of a result is the call's, with its value, and leaves the instance", %{name: name} do
    assert Tidepool.call(name, :count, []) == {:ok, 1}
    assert Tidepool.call(name, :divide, [84, 2]) == {:ok, 42}

    assert {:error, %Error{reason: :guest_error, details: %{value: "division by zero"}, message: message}} =
             Tidepool.call(name, :divide, [1, 0])

    assert message =~ "division by zero"
    assert Tidepool.call(name, :count, []) == {:ok, 2}
  end

  test "bytes come back as they were, copied or handed over, and stay when the next call has been made" do
    name = deploy!("component", "calc", instances: {:warm, 1})
    sent = for size <- [0, 1, 4_095, 65_536, 262_143, 262_144, 1_000_003], do: :rand.bytes(size)
    bytes = &Tidepool.call(name, {"docs:adder/add@0.1.0", :bytes}, [&1])
    assert Enum.map(sent, bytes) == Enum.map(sent, &{:ok, &1})
  end

  test "JSON is answered with JSON", %{name: name} do
    assert Tidepool.call(name, "divide", "[84, 2]") == {:ok, "42"}
    assert Tidepool.call(name, "options", ~s([[null, {"some": null}, 7]])) == {:ok, ~s([null,{"some":null},{"some":7}])}

    assert {:error, %Error{reason: :guest_error, details: %{value: "division by zero"}}} =
             Tidepool.call(name, "divide", "[1, 0]")

    assert {:error, %Error{reason: :invalid_arguments}} = Tidepool.call(name, "divide", "[1, 0")
  end

  test "an export that there is none of is told with those that there are", %{name: name} do
    assert {:error, %Error{reason: :no_export, details: %{exports: exports}}} = Tidepool.call(name, :multiply, [1])
    assert "divide" in exports and "perms-of" in exports
  end

  test "a deploy says that it is typed, and what it imports; it is swapped while it is called" do
    name = deploy!("component", "calc")
    assert {:ok, %{abi: :typed, imports: ["docs:shop/prices@1.0.0.price"]}} = Tidepool.fetch(name)
    assert Tidepool.call(name, {"docs:adder/add@0.1.0", :add}, [19, 23]) == {:ok, 42}
    callers = for _ <- 1..4, do: Task.async(fn -> for _ <- 1..200, do: Tidepool.call(name, :add, [1, 2]) end)
    for _ <- 1..3, do: Tidepool.deploy!(guest("component", "calc"), name: name)
    assert callers |> Task.await_many(60_000) |> Enum.concat() |> Enum.uniq() == [{:ok, 3}]
    Tidepool.deploy!(guest("component", "values"), name: name)
    assert {:ok, %{abi: :typed, imports: []}} = Tidepool.fetch(name)
    assert {:error, %Error{reason: :no_export}} = Tidepool.call(name, :add, [1, 2])
    assert Tidepool.call(name, :divide, [84, 2]) == {:ok, 42}
  end

  test "what a deploy configures is there by wasi:config, one text or all, and that of the next deploy in its place" do
    name = deploy!("component", "configured", config: %{"tide" => "low", "b" => ""})
    assert Tidepool.call(name, :get, ["tide"]) == {:ok, {:some, "low"}}
    assert Tidepool.call(name, :get, ["b"]) == {:ok, {:some, ""}}
    assert Tidepool.call(name, :get, ["Tide"]) == {:ok, :none}
    assert Tidepool.call(name, :all, []) == {:ok, [{"b", ""}, {"tide", "low"}]}

    Tidepool.deploy!(guest("component", "configured"), name: name, config: %{"tide" => "high"})
    assert Tidepool.call(name, :all, []) == {:ok, [{"tide", "high"}]}
    Tidepool.deploy!(guest("component", "configured"), name: name)
    assert Tidepool.call(name, :get, ["tide"]) == {:ok, :none}
    assert Tidepool.call(name, :all, []) == {:ok, []}
  end

  test "a process answers an import, and its error ends the call with the text" do
    name = deploy!("component", "calc", host: ["wit/docs:shop/*"])
    target = {"wit", "docs:shop/prices@1.0.0", "price"}
    server = start_supervised!({Tidepool.ComponentsTest.Shop, %{"tea" => {:ok, 3}, "rum" => {:error, "sold out"}}})
    handle!(target, server, message: :call)
    assert Tidepool.call(name, :price, ["tea"]) == {:ok, 3}
    assert {:error, %Error{reason: {:trap, :other}, message: "sold out"}} = Tidepool.call(name, :price, ["rum"])
    Host.unregister(target)
    handle!(target, fn %{args: [item]} -> {:ok, byte_size(item)} end)
    assert Tidepool.call(name, :price, ["coffee"]) == {:ok, 6}
  end

  # What is of some MiB is built, and compiled, in long runs alone.
  @tag skip: System.get_env("TIDEPOOL_LONG", "") == ""
  test "components in Python and JavaScript take and return records, variants and results" do
    for {guest, instances} <- [{"python_basket", {:warm, 2}}, {"js_basket", {:warm, 2}}] do
      options = [instances: instances, limits: %{memory: 64 <<< 20, cpu_time: 20_000, time: 60_000}]
      name = deploy!("component", guest, options)
      tea = %{name: "tea", amount: 2, note: :none}
      ink = %{name: "ink", amount: 1, note: {:some, "blue"}}

      for _again <- 1..2 do
        assert Tidepool.call(name, :sorted, [[tea, ink]]) == {:ok, [ink, tea]}
        assert Tidepool.call(name, :total, [[tea, ink], 10, :nothing]) == {:ok, 30}
        assert Tidepool.call(name, :total, [[tea, ink], 10, {:percent, 50}]) == {:ok, 15}
        assert Tidepool.call(name, :total, [[tea, ink], 10, {:gift, ink}]) == {:ok, 20}

        assert {:error, %Error{reason: :guest_error, details: %{value: "the basket is empty"}}} =
                 Tidepool.call(name, {"docs:basket/baskets@1.0.0", :total}, [[], 10, :nothing])
      end
    end
  end

  # An export, and what makes values of the type that it takes lists of.
  defp typed do
    Enum.random([
      {:people, fn -> %{:name => text(), "nick-name-of-no-atom" => option(&text/0), :tags => some(&text/0)} end},
      {:shapes, fn -> Enum.random([:square, {:circle, float()}, {:pair, {integer(8, 0), letter()}}]) end},
      {:colours, fn -> Enum.random([:red, "blue-that-is-no-atom"]) end},
      {:"perms-of", fn -> %{read: :rand.uniform(2) == 1, write: :rand.uniform(2) == 1} end},
      {:options, fn -> option(fn -> option(fn -> integer(32, 0) end) end) end},
      {:results, fn -> Enum.random([{:ok, integer(32, 0)}, {:error, text()}]) end},
      {:floats, &float/0},
      {:integers, fn -> integer(64, 1 <<< 63) end},
      {:naturals, fn -> integer(64, 0) end}
    ])
  end

  defp option(value), do: if(:rand.uniform(3) == 1, do: :none, else: {:some, value.()})
  defp some(value), do: for(_ <- 1..(:rand.uniform(4) - 1)//1, do: value.())
  defp text, do: IO.iodata_to_binary(some(&letter/0))
  defp letter, do: <<Enum.random([?a, ?", ?\\, 0, 0x7F, 0x80, 0x7FF, 0xD7FF, 0xE000, 0xFFFF, 0x10FFFF])::utf8>>

  # The first and the last of those of so many bits, what is near them, and any.
  defp integer(bits, below) do
    most = (1 <<< bits) - 1
    Enum.random([0, 1, most - 1, most, :rand.uniform(most)]) - below
  end

  defp float do
    <<float::float>> = Enum.random([<<0::64>>, <<1::64>>, <<0x7FEF_FFFF_FFFF_FFFF::64>>, <<:rand.uniform()::float>>])
    Enum.random([float, -float, :infinity, :neg_infinity, :nan])
  end

  # Any term of this depth at most, of what values are made of.
  defp any(0), do: Enum.random([nil, true, 0, -1, 1.5, "a", "", :none, :ok, <<255>>, 1 <<< 64, [], %{}, {}])

  defp any(depth) do
    case :rand.uniform(6) do
      1 -> for _ <- 1..:rand.uniform(3), do: any(depth - 1)
      2 -> {Enum.random([:some, :ok, :error, :circle, :pair, "square", 1]), any(depth - 1)}
      3 -> Map.new(Enum.take_random([:name, "tags", :tags, "ok", :circle], 2), &{&1, any(depth - 1)})
      4 -> {any(depth - 1), any(depth - 1)}
      5 -> [any(depth - 1) | Enum.random([[], any(depth - 1)])]
      6 -> any(0)
    end
  end
end

defmodule Tidepool.ComponentsTest.Shop do
  @moduledoc false
  use GenServer

  def start_link(prices), do: GenServer.start_link(__MODULE__, prices)

  @impl true
  def init(prices), do: {:ok, prices}

  @impl true
  def handle_info({:host_call, %{args: [item]}, ref}, prices) do
    Tidepool.Host.reply(ref, Map.fetch!(prices, item))
    {:noreply, prices}
  end
end
