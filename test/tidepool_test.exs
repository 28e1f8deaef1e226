defmodule TidepoolTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Catalog, Error, Function, TestModule}

  test "a deployed function answers calls by name and operation" do
    name = deploy!("rust", "hello_world")
    assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
    assert Tidepool.call(name, "echo", "Ada") == {:ok, "Ada"}
  end

  test "a call without a payload has an empty one" do
    name = deploy!("rust", "hello_world")
    assert Tidepool.call(name, "hello") == {:ok, "Hello, world!"}
  end

  test "a call without an operation has the one of the deploy" do
    name = deploy!("rust", "hello_world", operation: "hello")
    assert Tidepool.call(name, nil, "Ada") == {:ok, "Hello, Ada!"}
  end

  test "without an operation at the deploy it is the function's name" do
    name = deploy!("rust", "hello_world")
    assert {:ok, %Function{operation: ^name}} = Tidepool.fetch(name)
    assert {:error, %Error{reason: :guest_error, message: message}} = Tidepool.call(name, nil)
    assert message =~ name
  end

  test "a guest's own error is an error with its text, and names the function" do
    name = deploy!("rust", "hello_world")

    assert Tidepool.call(name, "fail", "no reason") ==
             {:error, %Error{reason: :guest_error, message: "failed as asked: no reason", function: name, details: %{}}}
  end

  test "call! returns the reply or raises the error" do
    name = deploy!("rust", "hello_world")
    assert Tidepool.call!(name, "hello", "Ada") == "Hello, Ada!"
    error = assert_raise Error, fn -> Tidepool.call!(name, "fail", "no reason") end
    assert error.reason == :guest_error
    assert Exception.message(error) == "#{name}/fail: failed as asked: no reason"
    assert error.function == name
  end

  test "call! names the function alone where the operation is left out" do
    name = deploy!("rust", "hello_world", operation: "fail")
    assert_raise Error, ~r/\A#{name}: failed as asked/, fn -> Tidepool.call!(name, nil, "no reason") end
  end

  test "deploy! returns the function or raises the error, which names it" do
    name = unique_name("greeter")
    on_exit(fn -> Tidepool.remove(name) end)
    assert %Function{name: ^name, version: 1} = Tidepool.deploy!(guest("rust", "hello_world"), name: name)
    error = assert_raise Error, ~r/\A#{name}: /, fn -> Tidepool.deploy!("not wasm", name: name) end
    assert %Error{reason: :not_wasm, details: %{step: :compile}} = error
    assert_raise Error, ~r/the option :name is missing/, fn -> Tidepool.deploy!("not wasm", []) end
  end

  test "fetch! returns the function or raises the error" do
    name = deploy!("rust", "hello_world")
    assert {:ok, Tidepool.fetch!(name)} == Tidepool.fetch(name)
    assert_raise Error, ~r/no function is deployed as "nobody"/, fn -> Tidepool.fetch!("nobody") end
  end

  test "a payload may be iodata, however nested" do
    name = deploy!("rust", "hello_world")

    for {iodata, bytes} <- [
          {["a", ?b, "c"], "abc"},
          {[], ""},
          {[["tide", [?p | "ool"]], <<0, 255>>], "tidepool" <> <<0, 255>>}
        ] do
      assert Tidepool.call(name, "echo", iodata) == {:ok, bytes}
      assert Tidepool.call!(name, "echo", iodata, timeout: 60_000) == bytes
    end
  end

  test "limits may be a map" do
    name = deploy!("rust", "hello_world", limits: %{time: 123})
    assert %Function{limits: %{time: 123, depth: 64}} = Tidepool.fetch!(name)
  end

  test "a function is inspected as a line that says which and what it is" do
    name = deploy!("rust", "hello_world")
    assert inspect(Tidepool.fetch!(name)) == "#Tidepool.Function<\"#{name}\" v1 wapc>"

    name = deploy!("rust", "counter", instances: {:warm, 4}, engine: :dense)
    assert inspect(Tidepool.fetch!(name)) == "#Tidepool.Function<\"#{name}\" v1 wapc, warm 4, dense>"
    assert inspect(%{Tidepool.fetch!(name) | tier: :baseline}) =~ "dense, baseline>"
    assert inspect(Tidepool.fetch!(name), structs: false) =~ "sha256: "
  end

  test "call! passes the timeout on" do
    name = deploy!("wat", "loop", limits: [time: 600_000, cpu_time: 600_000])
    error = assert_raise Error, fn -> Tidepool.call!(name, "spin", "", timeout: 20) end
    assert error.reason == :timeout
  end

  test "a timeout may be longer than any function's time, and than any integer of the machine's" do
    name = deploy!("rust", "hello_world")

    for timeout <- [86_400_000, 86_400_001, 2 ** 32, 2 ** 64, 10 ** 100, :infinity] do
      assert Tidepool.call(name, "echo", "Ada", timeout: timeout) == {:ok, "Ada"}
      assert {:error, %Error{reason: :not_deployed}} = Tidepool.call("nobody", "echo", "Ada", timeout: timeout)
    end
  end

  test "a name that is not deployed is an error, for calls, fetch and remove" do
    name = unique_name("nobody")
    assert {:error, %Error{reason: :not_deployed, function: ^name}} = Tidepool.call(name, "hello")
    assert {:error, %Error{reason: :not_deployed, function: ^name}} = Tidepool.fetch(name)
    assert {:error, %Error{reason: :not_deployed, function: ^name}} = Tidepool.remove(name)
  end

  test "a removed function is gone from calls, fetch and the list" do
    name = deploy!("rust", "hello_world")
    assert :ok = Tidepool.remove(name)
    assert {:error, %Error{reason: :not_deployed}} = Tidepool.call(name, "hello")
    assert {:error, %Error{reason: :not_deployed}} = Tidepool.fetch(name)
    refute Enum.any?(Tidepool.list(), &(&1.name == name))
    assert {:error, %Error{reason: :not_deployed}} = Tidepool.remove(name)
  end

  test "the list has every deployed function as fetch shows it, by name" do
    names = Enum.sort([deploy!("rust", "hello_world"), deploy!("rust", "counter"), deploy!("rust", "upper")])
    listed = Enum.filter(Tidepool.list(), &(&1.name in names))
    assert Enum.map(listed, & &1.name) == names
    assert Enum.map(names, &Tidepool.fetch/1) == Enum.map(listed, &{:ok, &1})
  end

  test "of a module that imports very much the first thousand are told, and lists on a node are of a few of them" do
    name = deploy_bytes!(TestModule.importing(2_500))
    assert {:ok, %Function{imports: imports, imports_omitted: 1_500} = function} = Tidepool.fetch(name)
    assert imports == List.duplicate("wapc.__host_call", 1_000)
    assert function in Tidepool.list()
    assert %{imports_omitted: 2_484, asks: []} = brief = Catalog.brief(name)
    assert brief.imports == List.duplicate("wapc.__host_call", 16)
    assert brief in Catalog.briefs()
  end

  test "a function says what it is: digest, size, ABI, imports, instances, limits, compile and deploy time" do
    wasm = TestModule.variant(guest("rust", "redis_concat"), unique_name("bytes"))
    before = System.os_time(:second)
    name = deploy_bytes!(wasm, instances: {:warm, 3}, limits: [time: 1_234])
    assert {:ok, %Function{} = function} = Tidepool.fetch(name)

    assert function.sha256 == Base.encode16(:crypto.hash(:sha256, wasm), case: :lower)
    assert function.size == byte_size(wasm)
    assert function.version == 1
    assert function.abi == :wapc
    assert "wapc.__host_call" in function.imports
    assert function.instances == {:warm, 3}
    assert %{time: 1_234, memory: 67_108_864, cpu_time: 1_000, depth: 64} = function.limits
    assert function.compile_us > 0
    assert function.deployed_at in before..System.os_time(:second)
  end
end
