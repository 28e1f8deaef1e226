defmodule Tidepool.ImagesTest do
  use Tidepool.Case, async: true

  alias Tidepool.{FaultNative, Native}

  setup do
    {:ok, runtime: FaultNative.runtime()}
  end

  defp actor(runtime, language, guest) do
    config = Map.put(FaultNative.compile_config(), :actor, true)
    id = Native.compile(runtime, guest(language, guest), config)
    assert_receive {:tidepool_compiled, ^id, {:ok, module, _facts}, _cpu_us}
    {:ok, function} = Native.new_function(module, FaultNative.config(guest))
    function
  end

  defp own(function, image \\ nil) do
    {:ok, owned} = Native.own(function, image)
    owned
  end

  defp call(owned, operation), do: FaultNative.finish(Native.call_owned(owned, operation, "", 1, :infinity))

  defp image(owned) do
    case Native.image(owned) do
      :large -> Native.image_large(owned)
      image -> image
    end
  end

  test "an instance counts on with its image where it stopped", %{runtime: runtime} do
    function = actor(runtime, "rust", "counter")
    first = own(function)
    assert image(first) == :unchanged
    assert call(first, "next") == {:ok, "1"}
    assert call(first, "next") == {:ok, "2"}
    assert {:ok, image} = image(first)
    assert image(first) == :unchanged
    assert call(first, "next") == {:ok, "3"}
    second = own(function, image)
    assert image(second) == :unchanged
    assert Native.owned_imaged?(second)
    assert call(second, "next") == {:ok, "3"}
    refute Native.owned_imaged?(second)
    assert call(own(function, image), "next") == {:ok, "3"}
    assert {:ok, later} = image(second)
    assert call(own(function, later), "next") == {:ok, "4"}
    assert byte_size(later) < 65_536
  end

  test "an image that is damaged, or another function's, is refused by name", %{runtime: runtime} do
    function = actor(runtime, "rust", "counter")
    owned = own(function)
    assert {:ok, "1"} = call(owned, "next")
    {:ok, image} = image(owned)
    assert {:error, :invalid_image, _message, %{}} = Native.own(actor(runtime, "wat", "parked"), image)
    assert {:error, :invalid_image, _message, %{}} = Native.own(function, binary_part(image, 0, 40))
    assert {:error, :invalid_image, _message, %{}} = Native.own(FaultNative.publish(runtime, "rust", "counter"), image)
    assert {:error, :invalid_image, _message, %{}} = Native.own(function, binary_part(image, 0, byte_size(image) - 1))
    {most, last} = {binary_part(image, 0, byte_size(image) - 1), :binary.last(image)}
    another = own(function, most <> <<Bitwise.bxor(last, 1)>>)
    for _attempt <- 1..2, do: assert({:error, :invalid_image, _message, %{}} = call(another, "next"))
    refute Native.owned_spent?(another)
    assert call(own(function, image), "next") == {:ok, "2"}
  end

  test "an instance that is stopped in a call is spent", %{runtime: runtime} do
    owned = own(actor(runtime, "wat", "trap_unreachable"))
    refute Native.owned_spent?(owned)
    assert {:error, {:trap, :unreachable}, _message, _details} = call(owned, "")
    assert Native.owned_spent?(owned)
    assert {:error, :internal, _message, %{}} = call(owned, "")
    assert {:error, :internal, _message, %{}} = Native.image(owned)
  end

  test "an instance that serves a call is busy for others, and goes with its last term", %{runtime: runtime} do
    owned = own(actor(runtime, "wat", "parked"))
    {:host, task, _request, _us, _version} = FaultNative.settle(Native.call_owned(owned, "", "", 1, :infinity))
    assert {:error, :internal, _message, %{}} = call(owned, "")
    assert {:error, :internal, _message, %{}} = Native.image(owned)
    assert {:ok, _reply} = FaultNative.settle(Native.answer(task, {:ok, "go on"}))
    assert {:ok, image} = image(owned)
    assert is_binary(image)
    assert Native.instances(runtime) == {1, 0, 0}
    Task.await(Task.async(fn -> assert {:ok, _owned} = Native.own(actor(runtime, "wat", "parked"), image) end), 60_000)
  end

  test "a module whose state an image would not hold is refused as an actor's", %{runtime: runtime} do
    config = Map.put(FaultNative.compile_config(), :actor, true)
    id = Native.compile(runtime, guest("rust", "upper"), config)
    assert_receive {:tidepool_compiled, ^id, {:error, :no_actor, message, %{}}, _cpu_us}
    assert message =~ "actor"
  end
end
