defmodule EmbedTest do
  # Each test answers guests itself; those of the store are in store_test.exs.
  use ExUnit.Case, async: true

  import Tidepool.Testing

  # A store of this test's own.
  defp store(values) do
    handle({"host", "redis", "GET"}, fn call ->
      with :error <- Map.fetch(values, call.payload), do: {:error, "no such key: #{call.payload}"}
    end)
  end

  test "no HTTP edge runs" do
    assert Process.whereis(Tidepool.Supervisor) != nil
    assert Process.whereis(TidepoolWeb.Supervisor) == nil
  end

  test "both functions are there when the application has started, with its own limits" do
    assert %{limits: %{time: 1_000}} = Tidepool.fetch!("hello_world")
    assert %{limits: %{time: 1_000}, instances: {:warm, 4}} = Tidepool.fetch!("redis_concat")
  end

  test "somebody is greeted by name" do
    assert Embed.greet("Ada") == {:ok, "Hello, Ada!"}
  end

  test "what the store has under three keys is put together" do
    store(%{"some_key1" => "tide", "some_key2" => "-", "some_key3" => "pool"})
    assert Embed.concat() == {:ok, "tide-pool"}
  end

  test "what the store refuses is the guest's error" do
    store(%{})
    assert {:error, %Tidepool.Error{reason: :guest_error, message: "no such key: some_key1"}} = Embed.concat()
  end

  test "many processes call at once" do
    store(%{"some_key1" => "1", "some_key2" => "2", "some_key3" => "3"})
    calls = Task.async_stream(1..200, fn _n -> Embed.concat() end, max_concurrency: 50, timeout: 60_000)
    assert Enum.all?(calls, &(&1 == {:ok, {:ok, "123"}}))
  end

  test "a guest without a compiler, under a name of its own" do
    function = deploy!(guest(:echo), name: "echo")
    assert Tidepool.call(function.name, nil, ["a", ?b, "c"]) == {:ok, "abc"}
  end

  test "a module is tried out beside the application, which has its data folder for itself" do
    arguments = ["tidepool.call", "../../guests/build/rust/redis_concat.wasm"]
    stubs = for n <- 1..3, do: ["--host", "host/redis/GET=#{n}"]
    assert {reply, 0} = System.cmd("mix", arguments ++ List.flatten(stubs), env: [{"MIX_ENV", "test"}])
    assert String.ends_with?(reply, "333")
  end
end
