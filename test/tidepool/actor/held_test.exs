defmodule Tidepool.Actor.HeldTest do
  use Tidepool.Case, async: true

  alias Tidepool.Actor.Ownership.{ActorLock, Waiters}

  @patience 20_000

  # Whoever holds it until told.
  defp holder!(name) do
    test = self()

    pid =
      spawn(fn ->
        ActorLock.with_lock("held", name, fn ->
          send(test, {:holds, self()})

          receive do
            :go -> :ok
          end
        end)
      end)

    assert_receive {:holds, ^pid}, @patience
    pid
  end

  # One that waits, and does nothing else until it is told.
  defp waiter!(name) do
    task = Task.async(fn -> {ActorLock.with_lock("held", name, fn -> :held end), Process.info(self(), :messages)} end)
    eventually(fn -> Enum.any?(:ets.lookup(Waiters, {:held, "held", name})) end, @patience)
    task
  end

  # Does none of those that are traced run for a while?
  defp still? do
    receive do
      {:trace, _pid, _in_or_out, _where} -> false
    after
      200 -> true
    end
  end

  test "who waits for an actor is told when it is let go, however it is" do
    name = "let-go-#{System.unique_integer()}"
    one = holder!(name)
    others = for _ <- 1..3, do: waiter!(name)
    eventually(fn -> length(:ets.lookup(Waiters, {:held, "held", name})) == 3 end, @patience)
    eventually(fn -> Enum.all?(others, &(Process.info(&1.pid, :status) == {:status, :waiting})) end, @patience)
    # None of them runs meanwhile, to look. One may only be about to wait.
    for %{pid: pid} <- others, do: :erlang.trace(pid, true, [:running])
    eventually(&still?/0, @patience)
    for %{pid: pid} <- others, do: :erlang.trace(pid, false, [:running])
    send(one, :go)
    assert Task.await_many(others, @patience) == List.duplicate({:held, {:messages, []}}, 3)
    killed = holder!(name)
    other = waiter!(name)
    Process.exit(killed, :kill)
    assert Task.await(other, @patience) == {:held, {:messages, []}}
    refute ActorLock.held?("held", name)
    assert :ets.lookup(Waiters, {:held, "held", name}) == []
  end

  test "nobody waits for what was changed before, and nothing is left of who waits no more" do
    key = make_ref()
    assert Waiters.await(key, :infinity, fn -> false end) == :ok
    # Changed while it is looked at.
    told = fn -> Waiters.tell(key) == :ok end
    assert Waiters.await(key, :infinity, told) == :ok
    assert Waiters.await(key, 1, fn -> true end) == :ok
    assert :ets.lookup(Waiters, key) == []
    Waiters.tell(key)
    refute_received _any
  end
end
