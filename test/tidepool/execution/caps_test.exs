defmodule Tidepool.CapsTest do
  # What one function may have of the node's instances and memory. Not async: it looks at how many calls wait on the node.
  use Tidepool.Case, async: false

  alias Tidepool.{Engine, Error, Latch}

  @page 65_536

  setup do
    latch = start_supervised!({Latch, []})
    id = unique_name("latch")
    handle!({"host", id, "park"}, latch)
    %{latch: latch, park: "host/#{id}/park\n"}
  end

  defp park(name, target, id), do: Task.async(fn -> Tidepool.call(name, "host", target <> id) end)

  test "10,000 callers at once of a function capped at 8 are all answered or told that it is overloaded" do
    limits = [instances: 8, queue: 1_000, time: 60_000]
    name = deploy!("rust", "hello_world", instances: {:warm, 8}, limits: limits)
    calls = for _ <- 1..10_000, do: Task.async(fn -> Tidepool.call(name, "hello", "Ada") end)

    outcomes =
      calls
      |> Task.await_many(60_000)
      |> Enum.frequencies_by(fn
        {:ok, "Hello, Ada!"} -> :ok
        {:error, %Error{reason: reason}} -> reason
      end)

    assert Enum.sum(Map.values(outcomes)) == 10_000
    assert Map.keys(outcomes) -- [:ok, :overloaded] == []
    assert outcomes.ok >= 8
    assert Tidepool.call(name, "hello", "Ada") == {:ok, "Hello, Ada!"}
  end

  test "calls over a function's cap wait in line, those over its queue are refused, and other functions are served",
       %{latch: latch, park: park} do
    name = deploy!("rust", "hello_world", limits: [instances: 1, queue: 1, time: 60_000])
    other = deploy!("rust", "hello_world")
    first = park(name, park, "a")
    assert ["a"] = Latch.await(latch, 1)
    second = park(name, park, "b")

    eventually(fn -> Engine.instances().queued == 1 end)
    assert {:error, %Error{reason: :overloaded, function: ^name}} = Tidepool.call(name, "hello")
    assert Tidepool.call(other, "hello") == {:ok, "Hello, world!"}
    assert Latch.release_first(latch) == 1
    assert Task.await(first, 60_000) == {:ok, "released"}
    assert ["b"] = Latch.await(latch, 1)
    assert Latch.release_first(latch) == 1
    assert Task.await(second, 60_000) == {:ok, "released"}
  end

  test "a function capped at 1 that calls itself is told that it is overloaded, and does not wait for itself" do
    name = deploy!("rust", "hello_world", limits: [instances: 1, time: 60_000])
    id = unique_name("self")

    handle!({"host", id, "call"}, fn _call ->
      {:error, error} = Tidepool.call(name, "hello")
      {:ok, to_string(error.reason)}
    end)

    assert Tidepool.call(name, "host", "host/#{id}/call\n") == {:ok, "overloaded"}
  end

  test "memory beyond what a function's instances may have together fails the guest that insists" do
    name = deploy!("wat", "memory_bomb", limits: [total_memory: 100 * @page])

    assert {:error, %Error{reason: {:limit, :total_memory}, details: %{allowed: 6_553_600, unit: "bytes"}}} =
             Tidepool.call(name, "grow")

    eventually(fn -> busy_instances() == 0 end)
  end
end
