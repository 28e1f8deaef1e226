# Measures: what guests of bad will leave behind in resident memory
# bench/all runs it with: --seconds 15
#
# Before and after a mixed run of guests that allocate to their limit, grow tables, recurse to overflow and make the largest
# host calls, and after a million fresh calls and a million traps. `--seconds N` makes the mixed run so long (60).
Code.require_file("support.exs", __DIR__)

defmodule Bench.Soak do
  @moduledoc "Resident memory before and after guests that use all that they can get."

  alias Tidepool.{Engine, Error}

  @mib 1_048_576
  @at_once 8

  def run do
    options = Bench.options(smoke: :boolean, seconds: :integer)
    seconds = if options[:smoke], do: 1, else: options[:seconds] || 60
    [each, many] = if options[:smoke], do: [20, 5_000], else: [1_000, 1_000_000]
    Bench.start!()
    Tidepool.Host.register({"host", "soak", "echo"}, fn call -> {:ok, call.payload} end)
    Bench.deploy!("memory", "wat/memory_bomb", limits: [memory: 32 * @mib])
    Bench.deploy!("table", "wat/table_bomb")
    Bench.deploy!("stack", "wat/stack_overflow")
    Bench.deploy!("host", "rust/hello_world")
    Bench.deploy!("fresh", "wat/returns_1_silent")
    Bench.deploy!("trap", "wat/trap_unreachable")
    payload = "host/soak/echo\n" <> :binary.copy("x", 8 * @mib - 64)

    kinds = [
      {"memory", fn -> {:error, %Error{reason: {:limit, :memory}}} = Tidepool.call("memory", "x") end},
      {"table", fn -> {:error, %Error{reason: {:limit, :table}}} = Tidepool.call("table", "x") end},
      {"stack", fn -> {:error, %Error{reason: {:trap, :stack_overflow}}} = Tidepool.call("stack", "x") end},
      {"host", fn -> {:ok, _reply} = Tidepool.call("host", "host", payload) end}
    ]

    # What a first round makes the node keep, it keeps once.
    for {_kind, fun} <- kinds, do: at_once(fun, 4 * @at_once)
    for name <- ["fresh", "trap"], do: at_once(fn -> Tidepool.call(name, "x") end, 2_000)
    before = settled_rss()
    counts = mixed(kinds, each, System.monotonic_time(:millisecond) + seconds * 1_000, 0)
    after_mixed = settled_rss()
    at_once(fn -> {:ok, ""} = Tidepool.call("fresh", "x") end, many)
    after_fresh = settled_rss()
    at_once(fn -> {:error, %Error{reason: {:trap, :unreachable}}} = Tidepool.call("trap", "x") end, many)
    after_traps = settled_rss()
    Process.sleep(if(options[:smoke], do: 500, else: 10_000))
    in_the_end = settled_rss()

    Bench.report("soak", [
      {"calls of each of #{length(kinds)} hostile kinds", counts, "calls", {:at_least, each}},
      {"resident before", before / 1024, "MiB", nil},
      {"resident after the mixed run", after_mixed / 1024, "MiB", nil},
      {"after the mixed run / before", after_mixed / before, "×", {:at_most, 1.05}},
      {"after #{many} fresh calls / before them", after_fresh / after_mixed, "×", {:at_most, 1.05}},
      {"after #{many} traps / before them", after_traps / after_fresh, "×", {:at_most, 1.05}},
      {"ten seconds after all of it / before it", in_the_end / before, "×", {:at_most, 1.3}},
      {"live instances at the end", Engine.instances().live, "", {:at_most, 0}}
    ])
  end

  # Rounds of all kinds side by side, until there were `each` of every kind and the time is over.
  defp mixed(kinds, each, until, count) do
    if count >= each and System.monotonic_time(:millisecond) >= until do
      count
    else
      kinds |> Enum.map(fn {_kind, fun} -> Task.async(fn -> at_once(fun, 20) end) end) |> Task.await_many(:infinity)
      mixed(kinds, each, until, count + 20)
    end
  end

  defp at_once(fun, count) do
    share = div(count, @at_once) + 1
    tasks = for _ <- 1..@at_once, do: Task.async(fn -> Enum.each(1..share, fn _ -> fun.() end) end)
    Task.await_many(tasks, :infinity)
    :ok
  end

  # Once the drop thread is done and the VM has collected what it can: the least of some readings.
  defp settled_rss do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    await_empty(System.monotonic_time(:millisecond) + 10_000)

    for _ <- 1..20 do
      Process.sleep(50)
      div(Bench.resident_bytes(), 1_024)
    end
    |> Enum.min()
  end

  defp await_empty(deadline) do
    if Engine.instances().live > 0 and System.monotonic_time(:millisecond) < deadline do
      Process.sleep(10)
      await_empty(deadline)
    end
  end
end

Bench.Soak.run()
