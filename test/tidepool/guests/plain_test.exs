defmodule Tidepool.PlainTest do
  # Plain modules: their exports are called with numbers, and what they import the application answers.
  use Tidepool.Case, async: true

  import Bitwise

  alias Tidepool.{Error, Property, TestModule}

  @numbers "guests/build/wat/numbers.wasm"

  setup_all do
    names =
      for {guest, options} <- [{"bare", []}, {"numbers", [instances: {:warm, 2}, limits: [cpu_time: 200]]}],
          into: %{} do
        name = unique_name(guest)
        {:ok, _function} = Tidepool.deploy(guest("wat", guest), [name: name] ++ options)
        on_exit(fn -> Tidepool.remove(name) end)
        {String.to_atom(guest), name}
      end

    names
  end

  defp deployed!(guest, options \\ []), do: deploy!("wat", guest, options)

  describe "numbers" do
    test "of 32 and 64 bits are taken signed and unsigned, and come back signed", %{bare: bare} do
      for {export, bits} <- [i32: 32, i64: 64], number <- [-(1 <<< (bits - 1)), -1, 0, 1, (1 <<< (bits - 1)) - 1] do
        assert Tidepool.call(bare, export, [number]) == {:ok, number}
        assert Tidepool.call(bare, export, [number &&& (1 <<< bits) - 1]) == {:ok, number}
      end
    end

    test "that are too large for their type are refused, and not cut", %{bare: bare} do
      for {export, bits} <- [i32: 32, i64: 64],
          number <- [1 <<< bits, -(1 <<< (bits - 1)) - 1, 1 <<< 127, -(1 <<< 200), 1 <<< 5_000] do
        assert_invalid(Tidepool.call(bare, export, [number]), "1")
      end

      assert_invalid(Tidepool.call(bare, :f32, [1.0e300]), "1")
    end

    test "with a fraction are floats, and integers are floats, too", %{bare: bare} do
      for number <- [0.1, -0.1, 1.0e-40, 3.4028235e38, 16_777_216.0] do
        assert Tidepool.call(bare, :f32, [number]) == {:ok, number}
      end

      for number <- [0.1, 1.7976931348623157e308, 5.0e-324],
          do: assert(Tidepool.call(bare, :f64, [number]) == {:ok, number})

      assert Tidepool.call(bare, :f64, [5]) == {:ok, 5.0}
      assert Tidepool.call(bare, :i32, [5.0]) == {:ok, 5}
      assert_invalid(Tidepool.call(bare, :i32, [5.5]), "1")
    end

    test "that Elixir has not are atoms, and -0.0 keeps its sign", %{bare: bare} do
      for export <- [:f32, :f64] do
        for name <- [:nan, :infinity, :neg_infinity], do: assert(Tidepool.call(bare, export, [name]) == {:ok, name})
        assert {:ok, zero} = Tidepool.call(bare, export, [-0.0])
        assert <<1::1, 0::63>> = <<zero::float>>
      end

      assert_invalid(Tidepool.call(bare, :i32, [:nan]), "1")
      assert_invalid(Tidepool.call(bare, :f64, [:infinite]), "1")
    end

    test "come back as a list where there are several, and as nil where there is none", %{bare: bare, numbers: numbers} do
      assert Tidepool.call(bare, :all, [1, 2, 3.5, 4.5]) == {:ok, [1, 2, 3.5, 4.5]}
      assert Tidepool.call(bare, :eight, Enum.to_list(1..8)) == {:ok, Enum.to_list(1..8)}
      assert Tidepool.call(numbers, :swap, [1, 2.5]) == {:ok, [2.5, 1]}
      assert Tidepool.call(numbers, :nothing) == {:ok, nil}
      assert Tidepool.call(numbers, :nothing, []) == {:ok, nil}
      assert Tidepool.call!(numbers, :add, [19, 23]) == 42
    end

    test "of any value come back as they went in", %{bare: bare} do
      types = Property.types()
      int32 = types.integer(-(1 <<< 31), (1 <<< 31) - 1)
      int64 = types.integer(-(1 <<< 63), (1 <<< 63) - 1)
      float = types.float()

      Property.assert_holds(
        types.tuple([int32, int64, float]),
        fn {small, large, float} ->
          {:ok, [^small, ^large, narrow, ^float]} = Tidepool.call(bare, :all, [small, large, float, float])
          # What has gone through 32 bits once stays as it is.
          {:ok, ^narrow} = Tidepool.call(bare, :f32, [narrow])
          <<wide::float-32>> = <<float::float-32>>
          abs(wide - narrow) <= abs(wide) * 1.0e-7
        end,
        500
      )
    end
  end

  describe "state" do
    test "stays in a warm instance, and not in a fresh one" do
      warm = deployed!("numbers", instances: {:warm, 1})
      assert for(_call <- 1..3, do: Tidepool.call!(warm, :count)) == [1, 2, 3]
      fresh = deployed!("numbers", instances: :fresh)
      assert for(_call <- 1..3, do: Tidepool.call!(fresh, :count)) == [1, 1, 1]
    end

    test "of `_initialize` is there from the first call on, by a snapshot that is taken at the deploy" do
      name = deployed!("reactor")
      assert {:ok, %{abi: :exports, start: :snapshot, imports: imports}} = Tidepool.fetch(name)
      assert "env.ask" in imports
      assert for(_call <- 1..2, do: Tidepool.call!(name, :begun)) == [7, 7]
      # It is none of the functions that are called.
      assert {:error, %Error{reason: :no_export}} = Tidepool.call(name, :_initialize)
    end
  end

  describe "arguments" do
    test "of another number or type are refused with the one that is wrong, and the instance serves on" do
      name = deployed!("numbers", instances: {:warm, 1})
      assert Tidepool.call(name, :count) == {:ok, 1}

      for {arguments, path} <- [
            {[], nil},
            {[1], nil},
            {[1, 2, 3], nil},
            {[1, "2"], "2"},
            {["1", 2], "1"},
            {[1, nil], "2"},
            {[true, 1], "1"},
            {[1, [2]], "2"},
            {[1, {2}], "2"},
            {[%{}, 2], "1"},
            {[1, :two], "2"},
            {[1.5, 2], "1"}
          ] do
        assert_invalid(Tidepool.call(name, :add, arguments), path)
      end

      assert {:error, %Error{reason: :no_export}} = Tidepool.call(name, :subtract)
      # It has been neither dropped nor reset.
      assert Tidepool.call(name, :count) == {:ok, 2}
    end

    test "that no guest can be given are refused, whatever they are", %{bare: bare} do
      deep = Enum.reduce(1..100_000, [], fn _level, inner -> [inner] end)
      wide = Enum.to_list(1..1_000_000)
      map = Map.new(1..200_000, &{"key #{&1}", &1})

      for term <- [
            self(),
            make_ref(),
            fn -> 1 end,
            <<1::3>>,
            [1 | 2],
            [1, 2 | 3],
            {1, [2 | 3]},
            %{1 => 2},
            %{{1} => 2},
            %{<<255>> => 1},
            %{:a => 1, "a" => 2},
            deep,
            wide,
            map,
            List.to_tuple(wide),
            :"",
            :größe,
            String.to_atom(String.duplicate("ü", 255)),
            ~D[2024-01-01],
            1 <<< 100_000
          ] do
        assert_invalid(Tidepool.call(bare, :i64, [term]), :any)
        assert_invalid(Tidepool.call(bare, :i64, [1, 2, term]), :any)
      end

      for list <- [[1 | 2], [1 | :a], deep, wide], do: assert_invalid(Tidepool.call(bare, :i64, list), :any)
    end

    test "are counted against the payload limit" do
      name = deployed!("bare", limits: [payload: 1_000])
      assert {:error, %Error{reason: {:limit, :payload}}} = Tidepool.call(name, :i64, Enum.to_list(1..1_000))
    end

    test "of a function that takes bytes are refused as such", %{} do
      name = deploy!("rust", "hello_world")
      assert_invalid(Tidepool.call(name, :hello, [1]), nil)
      assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
    end
  end

  describe "an export" do
    test "that there is not is told with those that there are", %{numbers: numbers} do
      assert {:error, %Error{reason: :no_export, details: %{exports: exports}} = error} =
               Tidepool.call(numbers, :nope, [])

      assert Enum.sort(exports) == exports
      assert "add" in exports and "count" in exports
      # No caller has vectors, and neither a memory nor a global is called.
      refute Enum.any?(["vector", "memory", "calls", "nope"], &(&1 in exports))
      assert error.message =~ "nope"

      for name <- ["vector", "memory", "calls", "", <<255>>, "tidepool:"] do
        assert {:error, %Error{reason: :no_export}} = Tidepool.call(numbers, name, "[]")
      end
    end

    test "may have any name", %{bare: bare} do
      for {name, answer} <- [{"größe", 2}, {"", 3}, {"a/b", 4}, {"wapc_init", 1}] do
        assert Tidepool.call(bare, String.to_atom(name)) == {:ok, answer}
        assert Tidepool.call(bare, name) == {:ok, "#{answer}"}
      end
    end
  end

  describe "JSON" do
    test "is what arguments and results are where the operation is a string", %{bare: bare, numbers: numbers} do
      assert Tidepool.call(numbers, "add", "[19,23]") == {:ok, "42"}
      assert Tidepool.call(numbers, "add", [" [ 19 ,", "2.3e1 ]\n"]) == {:ok, "42"}
      assert Tidepool.call(numbers, "swap", "[1,2]") == {:ok, "[2.0,1]"}
      assert Tidepool.call(numbers, "nothing", "") == {:ok, "null"}
      assert Tidepool.call(numbers, "nothing", "[]") == {:ok, "null"}
      assert Tidepool.call(bare, "f32", "[0.1]") == {:ok, "0.1"}
      assert Tidepool.call(bare, "f64", "[-0]") == {:ok, "-0.0"}
      assert Tidepool.call(bare, "i64", "[18446744073709551615]") == {:ok, "-1"}

      for name <- ["NaN", "Infinity", "-Infinity"],
          do: assert(Tidepool.call(bare, "f64", ~s(["#{name}"])) == {:ok, ~s("#{name}")})
    end

    test "that is none, or not the array of the arguments, is refused", %{bare: bare} do
      for json <- [
            "[",
            "[1",
            "[1]]",
            "[1] 2",
            "[01]",
            "[1,]",
            "nul",
            " ",
            "1",
            "{}",
            ~s({"a":1,"a":2}),
            ~s("1"),
            "null",
            <<"[\"", 255, "\"]">>,
            "[1e999]",
            "[" <> String.duplicate("9", 10_000) <> "]",
            String.duplicate("[", 10_000) <> String.duplicate("]", 10_000),
            "[" <> String.duplicate("[],", 350_000) <> "1]",
            ~s([{"a":1,"a":2}])
          ] do
        assert_invalid(Tidepool.call(bare, "f64", json), :any)
      end
    end

    test "of a result is held to the reply limit" do
      name = deployed!("bare", limits: [reply: 10])
      assert Tidepool.call(name, "i64", "[1234567890]") == {:ok, "1234567890"}
      assert {:error, %Error{reason: {:limit, :reply}}} = Tidepool.call(name, "i64", "[12345678901]")
      # It is no trap of the guest's, and the next call finds an instance.
      assert Tidepool.call(name, "i64", "[1]") == {:ok, "1"}
    end
  end

  defp assert_invalid(outcome, path) do
    assert {:error, %Error{reason: :invalid_arguments, message: message, details: details}} = outcome
    assert byte_size(message) < 1_000
    if path != :any, do: assert(details[:path] == path, message)
  end

  test "a deploy of another version is called by its own exports, and of another ABI with bytes" do
    name = deploy_bytes!(File.read!(@numbers))
    assert Tidepool.call(name, :add, [1, 2]) == {:ok, 3}
    {:ok, %{version: 2}} = Tidepool.deploy(guest("rust", "calc"), name: name)
    assert Tidepool.call(name, :collatz, [27]) == {:ok, 111}
    assert {:error, %Error{reason: :no_export}} = Tidepool.call(name, :swap, [1, 2])
    {:ok, %{version: 3}} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
    assert {:error, %Error{reason: :invalid_arguments}} = Tidepool.call(name, :add, [1, 2])
    assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
    {:ok, %{version: 4}} = Tidepool.deploy(TestModule.variant(File.read!(@numbers), 4), name: name)
    assert Tidepool.call(name, "add", "[1,2]") == {:ok, "3"}
  end

  test "calls between two versions find the exports of one or the other" do
    name = deploy_bytes!(File.read!(@numbers), instances: {:warm, 2})
    test = self()

    callers =
      for _caller <- 1..2 do
        Task.async(fn ->
          send(test, :calling)

          Stream.repeatedly(fn -> Tidepool.call(name, :add, [19, 23]) end)
          |> Enum.reduce_while(0, fn outcome, count ->
            assert outcome == {:ok, 42}

            receive do
              :stop -> {:halt, count + 1}
            after
              0 -> {:cont, count + 1}
            end
          end)
        end)
      end

    for _caller <- callers, do: assert_receive(:calling)

    for round <- 1..6 do
      wasm = if rem(round, 2) == 0, do: File.read!(@numbers), else: guest("rust", "calc")
      {:ok, _function} = Tidepool.deploy(TestModule.variant(wasm, round), name: name, instances: {:warm, 2})
    end

    for caller <- callers do
      send(caller.pid, :stop)
      assert Task.await(caller, 60_000) > 0
    end
  end

  test "the end of a caller ends its guest" do
    name = deployed!("numbers", limits: [cpu_time: 60_000, time: 60_000, instances: 1, queue: 1])
    caller = spawn(fn -> Tidepool.call(name, :spin) end)
    # The only instance is taken.
    eventually(fn -> match?({:error, %Error{}}, Tidepool.call(name, :nothing, [], timeout: 20)) end)
    Process.exit(caller, :kill)
    assert Tidepool.call(name, :nothing) == {:ok, nil}
  end

  test "a guest that computes for ever, or divides by zero, is stopped, and the next call has a new one" do
    name = deployed!("numbers", instances: {:warm, 1}, limits: [cpu_time: 50])
    assert Tidepool.call(name, :count) == {:ok, 1}
    assert {:error, %Error{reason: {:limit, :cpu_time}}} = Tidepool.call(name, :spin)
    assert Tidepool.call(name, :count) == {:ok, 1}
    assert {:error, %Error{reason: {:trap, :integer_division_by_zero}}} = Tidepool.call(name, :crash, [0])
    assert Tidepool.call(name, :count) == {:ok, 1}
    assert {:error, %Error{reason: :timeout}} = Tidepool.call(name, :spin, [], timeout: 5)
  end

  test "a guest has as much memory as its limit, its own and no more" do
    name = deployed!("reactor", limits: [memory: 3 * 65_536], instances: {:warm, 1})
    assert Tidepool.call(name, :grow, [1]) == {:ok, 1}
    assert Tidepool.call(name, :grow, [1]) == {:ok, 2}
    assert Tidepool.call(name, :grow, [1]) == {:ok, -1}
    assert {:error, %Error{reason: {:trap, :memory_out_of_bounds}}} = Tidepool.call(name, :load, [-1])
    roomy = deployed!("reactor", instances: {:warm, 1})
    assert Tidepool.call(roomy, :grow, [3]) == {:ok, 1}
    assert Tidepool.call(roomy, :grow, [1]) == {:ok, -1}
  end

  test "a library of WASI's has its functions, and what it prints is printed" do
    name = deployed!("reactor")
    assert Tidepool.call(name, :print) == {:ok, 0}
    assert {:ok, time} = Tidepool.call(name, :time)
    assert_in_delta time / 1_000_000_000, System.os_time(:second), 60
  end

  test "an actor's class may be one: actors keep what it has, and are called with JSON" do
    class = deployed!("numbers", actor: true)
    assert Tidepool.Actor.call(class, "one", "count", "[]") == {:ok, "1"}
    assert Tidepool.Actor.call(class, "one", "count") == {:ok, "2"}
    assert Tidepool.Actor.call(class, "two", "count") == {:ok, "1"}
    assert :ok = Tidepool.Actor.stop(class, "one")
    assert Tidepool.Actor.call(class, "one", "count") == {:ok, "3"}
    assert {:error, %Error{reason: :invalid_arguments}} = Tidepool.Actor.call(class, "one", "add", "[1]")
    assert {:error, %Error{reason: :no_export}} = Tidepool.Actor.call(class, "one", "nope")
    # Neither has ended it.
    assert Tidepool.Actor.call(class, "one", "count") == {:ok, "4"}

    assert {:error, %Error{reason: {:trap, :integer_division_by_zero}}} =
             Tidepool.Actor.call(class, "one", "crash", "[0]")

    assert Tidepool.Actor.call(class, "one", "count") == {:ok, "5"}
  end

  test "its calls are counted as any other's" do
    name = deployed!("numbers")
    Tidepool.call(name, :add, [1, 2])
    Tidepool.call(name, :add, [1])
    Tidepool.call(name, :nope)
    Tidepool.call(name, :crash, [0])
    {200, _headers, metrics} = curl("/metrics")

    for {reason, count} <- [ok: 1, guest_error: 2, trap: 1] do
      assert metrics =~ ~s(tidepool_calls_total{function="#{name}",reason="#{reason}"} #{count}\n)
    end
  end
end
