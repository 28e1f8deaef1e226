defmodule TidepoolTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Error, Function, TestModule}

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
    assert Exception.message(error) == "failed as asked: no reason"
  end

  test "call! passes the timeout on" do
    name = deploy!("wat", "loop", limits: [time: 600_000, cpu_time: 600_000])
    error = assert_raise Error, fn -> Tidepool.call!(name, "spin", "", timeout: 20) end
    assert error.reason == :timeout
  end

  test "an option of a call that nobody knows is refused" do
    name = deploy!("rust", "hello_world")

    for options <- [[timeot: 20], [timeout: -1]] do
      assert_raise FunctionClauseError, fn -> Tidepool.call(name, "hello", "", options) end
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
