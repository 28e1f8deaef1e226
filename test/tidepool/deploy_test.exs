defmodule Tidepool.DeployTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Deploy, Error, Function, TestModule}
  alias Tidepool.Function.Spec

  setup do
    name = unique_name("deployed")
    on_exit(fn -> Tidepool.remove(name) end)
    %{name: name}
  end

  describe "versions" do
    test "count the deploys of a name", %{name: name} do
      wasm = guest("rust", "hello_world")

      for version <- 1..4 do
        wasm = TestModule.variant(wasm, version)
        assert {:ok, %Function{version: ^version}, :created, nil} = Deploy.run(wasm, name: name)
        assert {:ok, %Function{version: ^version, sha256: sha256}} = Tidepool.fetch(name)
        assert sha256 == Tidepool.Catalog.BlobStore.sha256(wasm)
      end
    end

    test "stay when the same module comes with the same options again", %{name: name} do
      options = [name: name, operation: "hello", instances: {:warm, 2}, limits: [time: 999]]
      assert {:ok, function, :created, nil} = Deploy.run(guest("rust", "hello_world"), options)
      assert {:ok, ^function, :unchanged, nil} = Deploy.run(guest("rust", "hello_world"), options)
      assert {:ok, ^function} = Tidepool.fetch(name)
    end

    test "go on when any option differs, with the same bytes", %{name: name} do
      wasm = guest("rust", "hello_world")
      assert {:ok, %Function{version: 1}} = Tidepool.deploy(wasm, name: name)

      for {option, version} <- Enum.with_index([operation: "hello", instances: {:warm, 2}, limits: [time: 999]], 2) do
        assert {:ok, %Function{version: ^version}} = Tidepool.deploy(wasm, [option, name: name])
      end
    end

    test "go on after a removal, so that no two deploys of a name share one", %{name: name} do
      wasm = guest("rust", "hello_world")
      assert {:ok, %Function{version: 1}} = Tidepool.deploy(wasm, name: name)
      assert :ok = Tidepool.remove(name)
      assert {:ok, %Function{version: 2}, :created, nil} = Deploy.run(wasm, name: name)
      assert Tidepool.call(name, "hello") == {:ok, "Hello, world!"}
    end

    test "are distinct for deploys at the same time, and the newest is the one that is called", %{name: name} do
      wasm = guest("rust", "hello_world")

      versions =
        1..8
        |> Task.async_stream(&Tidepool.deploy(TestModule.variant(wasm, &1), name: name), timeout: 30_000)
        |> Enum.map(fn {:ok, {:ok, function}} -> function.version end)

      assert Enum.sort(versions) == Enum.to_list(1..8)
      assert {:ok, %Function{version: 8}} = Tidepool.fetch(name)
    end

    test "the next call is served by the new version", %{name: name} do
      {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name)
      assert Tidepool.call(name, "echo", "abc") == {:ok, "abc"}
      {:ok, %Function{abi: :wasi, version: 2}} = Tidepool.deploy(guest("rust", "upper"), name: name)
      assert Tidepool.call(name, "echo", "abc") == {:ok, "ABC"}
    end

    test "a call in flight finishes on the version that it began with", %{name: name} do
      namespace = unique_name("park")
      handle!({"host", namespace, :_}, self())
      {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name, limits: [time: 50_000])
      call = Task.async(fn -> Tidepool.call(name, "host", "host/#{namespace}/park") end)
      assert_receive {:invoke_callback, "host", ^namespace, "park", "", ref}

      {:ok, %Function{version: 2}} = Tidepool.deploy(guest("rust", "upper"), name: name)
      assert Tidepool.call(name, "run", "new") == {:ok, "NEW"}
      Tidepool.Host.reply(ref, {:ok, "from the old one"})
      assert Task.await(call, 50_000) == {:ok, "from the old one"}
    end

    test "a call in flight finishes when its function is removed", %{name: name} do
      namespace = unique_name("park")
      handle!({"host", namespace, :_}, self())
      {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name, limits: [time: 50_000])
      call = Task.async(fn -> Tidepool.call(name, "host", "host/#{namespace}/park") end)
      assert_receive {:invoke_callback, "host", ^namespace, "park", "", ref}

      :ok = Tidepool.remove(name)
      Tidepool.Host.reply(ref, {:ok, "still answered"})
      assert Task.await(call, 50_000) == {:ok, "still answered"}
    end
  end

  describe "options" do
    test "a name has 1 to 128 letters, digits, dots, dashes and underscores, one slash between, and begins with none of `.-`" do
      for good <- ["a", "Z9", "_x", "hello-world.v2", "a/b", "a.b/c-d", String.duplicate("n", 128)],
          do: assert(Spec.name?(good))

      for bad <- [
            "",
            ".",
            "..",
            ".hidden",
            "-x",
            "a/b/c",
            "a//b",
            "/a",
            "a/",
            "/",
            "../a",
            "a/..",
            "a/.",
            "a/-x",
            "a\\b",
            "#{String.duplicate("n", 64)}/#{String.duplicate("n", 64)}",
            "a b",
            "a\n",
            "é",
            "a\0",
            String.duplicate("n", 129),
            nil,
            :a,
            5
          ] do
        refute Spec.name?(bad)

        assert {:error, %Error{reason: :invalid_option, details: %{step: :options}} = error} =
                 Tidepool.deploy(guest("rust", "hello_world"), name: bad)

        assert error.function == if(is_binary(bad), do: bad)
      end
    end

    test "a name is needed" do
      assert {:error, %Error{reason: :invalid_option, details: %{step: :options}, function: nil}} =
               Tidepool.deploy(guest("rust", "hello_world"), [])
    end

    test "instances are fresh unless the deploy says otherwise", %{name: name} do
      assert {:ok, %Function{instances: :fresh}} = Tidepool.deploy(guest("rust", "counter"), name: name)
    end

    test "limits that are not named are the node's", %{name: name} do
      assert {:ok, %Function{limits: limits}} =
               Tidepool.deploy(guest("rust", "counter"), name: name, limits: [time: 77, depth: 3])

      assert limits == %{
               memory: 67_108_864,
               table: 65_536,
               time: 77,
               cpu_time: 1_000,
               payload: 8_388_608,
               reply: 8_388_608,
               depth: 3,
               instances: 1_000_000,
               queue: 1_000,
               total_memory: 17_592_186_044_416,
               client_idle: 86_400_000
             }
    end

    test "values that can't be are refused before the module is looked at", %{name: name} do
      for option <- [
            {:operation, ""},
            {:operation, 5},
            {:operation, ""},
            {:operation, String.duplicate("o", 1_025)},
            {:operation, <<255>>},
            {:instances, :warm},
            {:instances, {:warm, 0}},
            {:instances, {:warm, 16_001}},
            {:instances, "fresh"},
            {:limits, [time: 0]},
            {:limits, [time: "5"]},
            {:limits, [memory: 1]},
            {:limits, [memory: 5_000_000_000]},
            {:limits, [table: -1]},
            {:limits, [depth: 0]},
            {:limits, [payload: 1.5]},
            {:limits, :none}
          ] do
        assert {:error, %Error{reason: :invalid_option, details: %{step: :options}, function: ^name}} =
                 Tidepool.deploy("no module at all", [option, name: name])
      end

      assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
    end

    test "an unknown option is refused, and the nearest known one suggested", %{name: name} do
      for {option, suggested} <- [{{:instanses, :fresh}, ":instances"}, {{:limits, [memry: 1]}, ":memory"}] do
        assert {:error, %Error{reason: :invalid_option, message: message, details: %{step: :options}}} =
                 Tidepool.deploy(guest("rust", "counter"), [option, name: name])

        assert message =~ "did you mean #{suggested}?"
      end
    end
  end
end
