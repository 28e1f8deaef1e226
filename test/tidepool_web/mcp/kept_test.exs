defmodule TidepoolWeb.Mcp.KeptTest do
  # What is made of large interfaces: that it is made once, by a few at a time, and takes no more than it may.
  use Tidepool.Case, async: false

  alias TidepoolWeb.Resource.Shares
  alias TidepoolWeb.Resources.Mcp.Kept

  defp key, do: {make_ref(), 1}
  defp fail, do: flunk("it is made again")

  test "a text is made once, and what is none is not kept" do
    {kept, other} = {key(), key()}

    make = fn ->
      Kept.put(kept, "kept")
      "kept"
    end

    assert Kept.text(kept, :elixir, make) == "kept"
    assert Kept.text(kept, :elixir, &fail/0) == "kept"
    assert Kept.text(other, :elixir, fn -> nil end) == nil
    assert Kept.text(other, :elixir, fn -> "then" end) == "then"
  end

  test "when there is no room for more all is dropped" do
    {kept, large} = {key(), String.duplicate("x", 4_000_000)}
    Kept.put(kept, "kept")
    for _text <- 1..9, do: Kept.put(key(), large)
    assert Kept.text(kept, :elixir, fn -> nil end) == nil
    Kept.put(kept, "again")
    assert Kept.text(kept, :elixir, &fail/0) == "again"
  end

  test "who has the share of places waits, and gets what was made meanwhile" do
    test = self()

    hold = fn ->
      send(test, {:making, self()})
      receive(do: (:end -> nil))
    end

    holding = for _place <- 1..2, do: Task.async(fn -> Kept.text(key(), :elixir, hold) end)
    makers = for _place <- 1..2, do: assert_receive({:making, pid} when is_pid(pid)) |> elem(1)
    assert Shares.count(:interfaces) == 2
    # Others have a place, and what is there needs none.
    waited = key()
    waiting = Task.async(fn -> Kept.text(waited, :elixir, &fail/0) end)
    assert Task.yield(waiting, 100) == nil
    Kept.put(waited, "made")
    assert Kept.text(waited, :elixir, &fail/0) == "made"
    for maker <- makers, do: send(maker, :end)
    assert Task.await(waiting, 60_000) == "made"
    assert Task.await_many(holding, 60_000) == [nil, nil]
    eventually(fn -> Shares.count(:interfaces) == 0 end)
  end

  # All that a client may have: by a process of its own, for who is refused one gives back all that it has.
  defp hold_places!(client) do
    take = fn -> for _call <- 1..128, do: :ok = Shares.take(:waiting_for_interfaces, client, 256) end
    start_supervised!({Agent, take}, restart: :temporary)
  end

  test "no more calls wait for interfaces to be read than there are places for, of which a client leaves others some" do
    client = Shares.client(:elixir)
    waiting = hold_places!(client)
    asked = key()
    assert Kept.text(asked, :elixir, &fail/0, :bounded) == :full
    # Others wait, and so do lists, of which there are not as many.
    assert Kept.text(asked, {:no_token, "192.0.2.7:4000"}, fn -> "other" end, :bounded) == "other"
    assert Kept.text(asked, :elixir, fn -> "list" end) == "list"
    # What is there is waited for by none.
    Kept.put(asked, "kept")
    assert Kept.text(asked, :elixir, &fail/0, :bounded) == "kept"
    Agent.stop(waiting)
    eventually(fn -> Shares.count(:waiting_for_interfaces) == 0 end)
    assert Kept.text(key(), :elixir, fn -> "then" end, :bounded) == "then"
    assert Shares.count(:waiting_for_interfaces) == 0
  end
end
