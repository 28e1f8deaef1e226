defmodule Embed.StoreTest do
  # The application's store, which is one.
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

  test "a store that died is answered for, and its successor serves the same functions" do
    restart_store()
    assert {:error, %Tidepool.Error{reason: :guest_error, message: "no such key: some_key1"}} = Embed.concat()
    for n <- 1..3, do: Embed.Store.put("some_key#{n}", "#{n}")
    assert Embed.concat() == {:ok, "123"}
  end

  test "its restart deploys nothing anew" do
    before = Tidepool.fetch!("redis_concat")
    restart_store()
    assert Tidepool.fetch!("redis_concat") == before
  end
end
