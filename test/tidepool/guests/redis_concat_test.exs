defmodule Tidepool.RedisConcatTest do
  # Not async: the guest's targets are fixed, host/redis/GET.
  use Tidepool.Case, async: false

  alias Tidepool.{Error, Host}

  @store %{"some_key1" => "one ", "some_key2" => <<0, 255>>, "some_key3" => " three"}
  @reply {:ok, "one " <> <<0, 255>> <> " three"}

  setup do
    %{fresh: deploy!("rust", "redis_concat"), warm: deploy!("rust", "redis_concat", instances: {:warm, 2})}
  end

  test "three host calls to a function make one reply", %{fresh: fresh, warm: warm} do
    test = self()

    handle!({"host", "redis", "GET"}, fn call ->
      send(test, {:get, call.payload})
      {:ok, Map.fetch!(@store, call.payload)}
    end)

    for name <- [fresh, warm, warm] do
      assert Tidepool.call(name, "concat") == @reply
      for key <- ["some_key1", "some_key2", "some_key3"], do: assert_received({:get, ^key})
      refute_received {:get, _key}
    end

    assert {200, %{"content-type" => "application/octet-stream"}, "one " <> <<0, 255>> <> " three"} =
             curl("/call/#{warm}/concat")
  end

  test "three host calls to a GenServer make one reply", %{fresh: fresh, warm: warm} do
    handle!({"host", "redis", "GET"}, spawn_link(&serve/0))
    for name <- [fresh, warm, warm], do: assert(Tidepool.call(name, "concat") == @reply)

    1..200
    |> Task.async_stream(fn _ -> Tidepool.call(warm, "concat") end, max_concurrency: 50, timeout: 60_000)
    |> Enum.each(fn {:ok, reply} -> assert reply == @reply end)

    assert_no_stray_messages()
  end

  test "when the host refuses one key the others are not asked for", %{fresh: fresh} do
    test = self()

    handle!({"host", "redis", "GET"}, fn call ->
      send(test, {:get, call.payload})
      if call.payload == "some_key2", do: {:error, "no such key"}, else: {:ok, "x"}
    end)

    assert {:error, %Error{reason: :guest_error, message: "no such key"}} = Tidepool.call(fresh, "concat")
    assert_received {:get, "some_key1"}
    assert_received {:get, "some_key2"}
    assert_no_stray_messages()
  end

  defp serve do
    receive do
      {:invoke_callback, "host", "redis", "GET", key, ref} -> Host.reply(ref, {:ok, Map.fetch!(@store, key)})
    end

    serve()
  end
end
