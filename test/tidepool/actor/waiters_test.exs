defmodule Tidepool.Actor.WaitersTest do
  use Tidepool.Case, async: true

  alias Tidepool.Actor.Ownership.Waiters

  @patience 20_000

  # One that waits until it is told, and what it has got beside that.
  defp waiter!(key),
    do: Task.async(fn -> {Waiters.await(key, :infinity, fn -> true end), Process.info(self(), :messages)} end)

  defp waiting(key), do: :ets.match(Waiters, {{key, :"$1"}, :_})

  # Does none of those that are traced call anything here for a while? What else looks at them wakes them, but they call nothing.
  defp still? do
    receive do
      {:trace, _pid, :call, _function} -> false
    after
      200 -> true
    end
  end

  test "all who wait for a change are told of it once, and none of them looks meanwhile" do
    key = make_ref()
    waiting = for _ <- 1..3, do: waiter!(key)
    eventually(fn -> length(waiting(key)) == 3 end, @patience)
    eventually(fn -> Enum.all?(waiting, &(Process.info(&1.pid, :status) == {:status, :waiting})) end, @patience)
    # One may only be about to wait.
    :erlang.trace_pattern({Waiters, :_, :_}, true, [:local])
    for %{pid: pid} <- waiting, do: :erlang.trace(pid, true, [:call])
    eventually(&still?/0, @patience)
    for %{pid: pid} <- waiting, do: :erlang.trace(pid, false, [:call])
    :erlang.trace_pattern({Waiters, :_, :_}, false, [:local])
    Waiters.tell(key)
    assert Task.await_many(waiting, @patience) == List.duplicate({:ok, {:messages, []}}, 3)
    assert waiting(key) == []
  end

  test "each who waits has a row of its own, however many wait for the same, and others wait on" do
    {key, other} = {make_ref(), make_ref()}
    # Rows of one key in a table of another type are looked at by each who comes or goes.
    assert :ets.info(Waiters, :type) == :ordered_set
    waiters = for _ <- 1..5_000, do: waiter!(key)
    waits_on = waiter!(other)
    eventually(fn -> length(waiting(key)) == 5_000 and length(waiting(other)) == 1 end, @patience)
    Waiters.tell(key)
    assert waiters |> Task.await_many(@patience) |> Enum.uniq() == [{:ok, {:messages, []}}]
    assert waiting(key) == []
    assert length(waiting(other)) == 1
    Waiters.tell(other)
    assert Task.await(waits_on, @patience) == {:ok, {:messages, []}}
  end

  test "rows of those that are killed while they wait go, and others wait on" do
    {key, other} = {make_ref(), make_ref()}
    waits_on = waiter!(other)
    killed = for _ <- 1..2_500, do: spawn(Waiters, :await, [key, :infinity, fn -> true end])
    eventually(fn -> length(waiting(key)) == 2_500 and length(waiting(other)) == 1 end, @patience)
    Enum.each(killed, &Process.exit(&1, :kill))
    # Where no store is shared nobody waits, and there is no such process.
    start_supervised!(Waiters)
    eventually(fn -> waiting(key) == [] end, @patience)
    assert length(waiting(other)) == 1
    Waiters.tell(other)
    assert Task.await(waits_on, @patience) == {:ok, {:messages, []}}
  end

  test "nobody waits for what was changed before, and nothing is left of who waits no more" do
    key = make_ref()
    assert Waiters.await(key, :infinity, fn -> false end) == :ok
    # Changed while it is looked at.
    told = fn -> Waiters.tell(key) == :ok end
    assert Waiters.await(key, :infinity, told) == :ok
    assert Waiters.await(key, 1, fn -> true end) == :ok
    assert waiting(key) == []
    Waiters.tell(key)
    refute_received _any
  end
end
