defmodule Bench.Processes.Erlang do
  @moduledoc "What the bench has guests do, done by Erlang's own processes."

  @doc "A message there and back, in ns."
  def ping_pong(count) do
    pong = spawn_link(&pong/0)
    trips(pong, div(count, 10))
    {us, :ok} = :timer.tc(fn -> trips(pong, count) end)
    us * 1_000 / count
  end

  defp pong do
    receive do
      {from, number} -> send(from, number)
    end

    pong()
  end

  defp trips(_pong, 0), do: :ok

  defp trips(pong, count) do
    send(pong, {self(), count})
    receive(do: (^count -> trips(pong, count - 1)))
  end

  @doc "Makes processes that end at once, so many at a time, and waits for them: ns for each."
  def spawn_join(count, at_once) do
    rounds = max(div(count, at_once), 1)
    {us, _done} = :timer.tc(fn -> for _ <- 1..rounds, do: join(at_once) end)
    us * 1_000 / (rounds * at_once)
  end

  defp join(count) do
    parent = self()
    for _ <- 1..count, do: spawn(fn -> send(parent, :joined) end)
    for _ <- 1..count, do: receive(do: (:joined -> :ok))
  end

  @doc "How many round trips so many pairs make in a second."
  def pairs(count, seconds) do
    until = System.monotonic_time(:millisecond) + seconds * 1_000

    made =
      1..count
      |> Enum.map(fn _ -> Task.async(fn -> trips_until(spawn_link(&pong/0), until, 0) end) end)
      |> Task.await_many(:infinity)

    Enum.sum(made) / seconds
  end

  defp trips_until(pong, until, made) do
    trips(pong, 16)
    if System.monotonic_time(:millisecond) < until, do: trips_until(pong, until, made + 16), else: made + 16
  end

  @doc "So many that sleep for 100 ms again and again, `rounds` times: how late each was, in µs."
  def sleepers(count, rounds, meanwhile) do
    parent = self()

    for _ <- 1..count do
      spawn_link(fn -> send(parent, {:late, for(_ <- 1..rounds, do: late())}) end)
    end

    meanwhile.()
    Enum.flat_map(1..count, fn _ -> receive(do: ({:late, late} -> late)) end)
  end

  defp late do
    began = System.monotonic_time(:microsecond)
    Process.sleep(100)
    System.monotonic_time(:microsecond) - began - 100_000
  end
end
