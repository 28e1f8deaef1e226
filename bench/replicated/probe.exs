defmodule Bench.Replicated.Probe do
  @moduledoc "What nodes are asked for by the bench of actors that nodes keep together; runs in them."

  alias Tidepool.Actor
  alias Tidepool.Actor.Ownership.Shards

  @class "ledger"
  # Of a value that is written. Its key counts, too, and 64 KiB are the most.
  @value_kib 60

  @doc "So many names of actors that are this node's."
  def names(count) do
    1
    |> Stream.iterate(&(&1 + 1))
    |> Stream.map(&"actor #{&1}")
    |> Stream.filter(&match?({:here, _title}, Shards.place(@class, &1)))
    |> Enum.take(count)
  end

  @doc "Mean time of a durable call, in ns."
  def one(name, calls) do
    began = System.monotonic_time(:nanosecond)
    for _call <- 1..calls, do: add!(name)
    (System.monotonic_time(:nanosecond) - began) / calls
  end

  @doc "Durable calls in so many ms, each of these actors by a caller of its own."
  def many(names, ms) do
    until = System.monotonic_time(:millisecond) + ms
    names |> Enum.map(&Task.async(fn -> count(&1, until, 0) end)) |> Task.await_many(:infinity) |> Enum.sum()
  end

  defp count(name, until, done) do
    add!(name)
    if System.monotonic_time(:millisecond) < until, do: count(name, until, done + 1), else: done + 1
  end

  @doc "Time of the first call of each that sleeps, which changes nothing, in ns."
  def woken(names) do
    for name <- names do
      # The first one after an `add` leaves another stack behind it, which is a change.
      for _call <- 1..2, do: {:ok, _sum} = Actor.call(@class, name, "sum")
      :ok = Actor.stop(@class, name)
      began = System.monotonic_time(:nanosecond)
      {:ok, _sum} = Actor.call(@class, name, "sum")
      System.monotonic_time(:nanosecond) - began
    end
  end

  @doc "The longest that a caller of each of these waits for an answer within so many ms, in ms; it asks again until there is one."
  def longest(names, ms) do
    until = System.monotonic_time(:millisecond) + ms
    names |> Enum.map(&Task.async(fn -> longest(&1, until, 0) end)) |> Task.await_many(:infinity) |> Enum.max()
  end

  defp longest(name, until, so_far) do
    began = System.monotonic_time(:millisecond)
    answered(name)
    now = System.monotonic_time(:millisecond)
    so_far = max(so_far, now - began)
    if now < until, do: longest(name, until, so_far), else: so_far
  end

  @doc "What each caller of these waits for each answer, one call after the other for so many ms, in µs; it asks again until there is one."
  def waits(names, ms) do
    until = System.monotonic_time(:microsecond) + ms * 1_000
    names |> Enum.map(&Task.async(fn -> waits(&1, until, []) end)) |> Task.await_many(:infinity) |> Enum.concat()
  end

  defp waits(name, until, so_far) do
    began = System.monotonic_time(:microsecond)
    answered(name)
    now = System.monotonic_time(:microsecond)
    so_far = [now - began | so_far]
    if now < until, do: waits(name, until, so_far), else: so_far
  end

  defp answered(name) do
    with {:error, _reason} <- Actor.call(@class, name, "add", "1", timeout: 1_000), do: answered(name)
  end

  @doc "KiB of each value that `put/2` writes."
  def value_kib, do: @value_kib

  @doc "Has each of these write a value, beside its others or in place of the one with this number."
  def put(names, number) do
    key = "value #{number}"
    # In the guest's memory it takes next to nothing of what is written, and as a value all that it is.
    value = :binary.copy(<<number>>, @value_kib * 1_024)
    payload = <<byte_size(key)::little-16, key::binary, value::binary>>
    script = "kv put #{byte_size(payload)}\n" <> payload
    names |> Enum.map(&Task.async(fn -> put!(&1, script) end)) |> Task.await_many(:infinity)
    :ok
  end

  # Another may be elected meanwhile.
  defp put!(name, script) do
    case Actor.call(@class, name, "host", script, timeout: 60_000) do
      {:ok, answer} -> "" = answer
      {:error, %{reason: reason}} when reason in [:no_store, :unknown_outcome] -> put!(name, script)
    end
  end

  @doc "The node that leads, once there is one."
  def leader do
    with {:ok, members} <- Actor.Members.list(),
         %{node: node} <- Enum.find(members, & &1.leads),
         do: node,
         else: (_none -> nil)
  end

  @doc "How many entries a member lacks, by the one that leads; `nil` while nobody knows."
  def lacks(node) do
    with {:ok, members} <- Actor.Members.list(),
         %{lacks: lacks} <- Enum.find(members, &(&1.node == node)),
         do: lacks,
         else: (_none -> nil)
  end

  defp add!(name), do: {:ok, _sum} = Actor.call(@class, name, "add", "1")
end
