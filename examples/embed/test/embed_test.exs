defmodule EmbedTest do
  # One store serves all tests.
  use ExUnit.Case, async: false

  doctest Embed

  defp restart_store do
    store = Process.whereis(Embed.Store)
    monitor = Process.monitor(store)
    Process.exit(store, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^store, :killed}, 5_000
    wait_for_store(System.monotonic_time(:millisecond) + 5_000)
  end

  defp wait_for_store(deadline) do
    assert System.monotonic_time(:millisecond) < deadline, "the store did not come back"
    if Process.whereis(Embed.Store) == nil, do: wait_for_store(deadline)
  end

  test "no HTTP edge runs" do
    assert Process.whereis(Tidepool.Supervisor) != nil
    assert Process.whereis(TidepoolWeb.Supervisor) == nil
  end

  test "both functions are there when the application has started, with its own limits" do
    assert ["hello_world", "redis_concat"] = Enum.map(Tidepool.list(), & &1.name)
    assert {:ok, %{limits: %{time: 1_000}, instances: {:warm, 4}}} = Tidepool.fetch("redis_concat")
  end

  test "what the store refuses is the guest's error" do
    restart_store()
    assert {:error, %Tidepool.Error{reason: :guest_error, message: "no such key: some_key1"}} = Embed.concat()
  end

  test "a store that died is answered for, and its successor serves the same functions" do
    restart_store()
    for n <- 1..3, do: Embed.Store.put("some_key#{n}", "#{n}")
    assert Embed.concat() == {:ok, "123"}
  end

  test "many processes call at once" do
    for n <- 1..3, do: Embed.Store.put("some_key#{n}", "#{n}")
    calls = Task.async_stream(1..200, fn _n -> Embed.concat() end, max_concurrency: 50)
    assert Enum.all?(calls, &(&1 == {:ok, {:ok, "123"}}))
  end
end
