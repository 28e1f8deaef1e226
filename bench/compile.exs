# Measures: calls while modules are compiled, beside the same calls alone
Code.require_file("support.exs", __DIR__)

defmodule Bench.Compile do
  @moduledoc """
  Calls while modules are being compiled, beside the same calls on a quiet node; how long deploys take, alone and
  beside others; and what the baseline compiler does for large modules.

  Each round has a span of calls without and one with a compile, so that both see the same machine. Callers either call
  back to back, one for each core, or, eight times as many, once a millisecond: that leaves the cores to whoever wants
  them, and each call has to take one back.
  """

  def run(smoke?) do
    Bench.start!()
    Bench.deploy!("fresh", "rust/hello_world")
    Bench.deploy!("warm", "rust/hello_world", instances: {:warm, 8})
    go = File.read!("guests/build/go/hello_world.wasm")
    rounds = if smoke?, do: 1, else: 2

    rows =
      for {kind, pause} <- [{"back to back", 0}, {"one a millisecond", 1}], name <- ["warm", "fresh"] do
        beside(go, name, kind, pause, rounds, if(smoke?, do: 100, else: 800))
      end

    repeats = if smoke?, do: 1, else: 2
    Bench.report("compile", List.flatten(rows) ++ deploys(go, repeats) ++ tiers(go, repeats))
  end

  defp beside(go, name, kind, pause, rounds, quiet_ms) do
    times =
      for _round <- 1..rounds do
        quiet = calls(name, pause, fn -> Process.sleep(quiet_ms) end)
        busy = calls(name, pause, fn -> deploy("large", go) && await_optimised("large") end)
        {quiet, busy}
      end

    {quiet, busy} = Enum.unzip(times)
    [quiet, busy] = for lists <- [quiet, busy], do: lists |> List.flatten() |> Enum.sort() |> List.to_tuple()
    label = "#{name} calls, #{kind}"
    p99 = at(busy, 0.99) / at(quiet, 0.99)

    [
      {"#{label}: p99 alone", at(quiet, 0.99) / 1_000, "µs", nil},
      {"#{label}: p99 beside a compile", at(busy, 0.99) / 1_000, "µs", nil},
      {"#{label}: p99 beside a compile / alone", p99, "×", {:at_most, 5}},
      {"#{label}: p99.9 alone", at(quiet, 0.999) / 1_000, "µs", nil},
      {"#{label}: p99.9 beside a compile", at(busy, 0.999) / 1_000, "µs", nil}
    ]
  end

  # Latencies, in ns, of callers that call for as long as `work` takes.
  defp calls(name, pause, work) do
    over = :atomics.new(1, [])
    count = System.schedulers_online() * if(pause > 0, do: 8, else: 1)
    callers = for _ <- 1..count, do: Task.async(fn -> call_until(over, name, pause, []) end)
    work.()
    :atomics.put(over, 1, 1)
    Task.await_many(callers, :infinity)
  end

  # Back to back, one of 16 is timed: enough, and a compile beside busy cores is long.
  defp call_until(over, name, pause, times) do
    if pause > 0, do: Process.sleep(pause), else: for(_ <- 1..15, do: call(name))
    began = System.monotonic_time(:nanosecond)
    call(name)
    times = [System.monotonic_time(:nanosecond) - began | times]
    if :atomics.get(over, 1) == 0, do: call_until(over, name, pause, times), else: times
  end

  defp call(name), do: {:ok, _reply} = Tidepool.call(name, "hello", "Ada")

  # How long a small deploy takes alone, beside one large one, and behind several.
  defp deploys(go, rounds) do
    small = File.read!("guests/build/rust/hello_world.wasm")
    milliseconds = fn work -> :timer.tc(work) |> elem(0) |> Kernel./(1_000) end

    times =
      for _round <- 1..rounds do
        large = milliseconds.(fn -> deploy("large", go) end)
        await_optimised("large")
        alone = milliseconds.(fn -> deploy("small", small) end)
        others = for n <- 1..3, do: Task.async(fn -> deploy("large_#{n}", go) end)
        Process.sleep(20)
        behind = milliseconds.(fn -> deploy("small", small) end)
        Task.await_many(others, :infinity)
        for n <- 1..3, do: await_optimised("large_#{n}")
        {large, alone, behind}
      end

    [large, alone, behind] = for n <- 0..2, do: times |> Enum.map(&elem(&1, n)) |> Bench.percentile(50)

    [
      {"deploy of #{Float.round(byte_size(go) / 1.0e6, 1)} MB", large, "ms", nil},
      {"deploy of #{div(byte_size(small), 1_000)} KB", alone, "ms", nil},
      {"the same while 3 large ones are deployed", behind, "ms", nil},
      {"small deploy behind 3 large ones / one large deploy", behind / large, "×", {:at_most, 0.5}}
    ]
  end

  # From the upload of a module to its first answer and to its optimised code, with the baseline compiler and without.
  defp tiers(go, rounds) do
    program = File.read!("guests/build/go/upper.wasm")

    kinds = [
      {"Go, waPC, with snapshot", go, []},
      {"Go, waPC, without", go, [snapshot: false]},
      {"Go, program", program, []}
    ]

    threshold = Tidepool.Config.get(:baseline)

    times =
      for _round <- 1..rounds, baseline <- [threshold, 0], restart(baseline), {kind, wasm, options} <- kinds do
        {{kind, baseline}, upload(variant(wasm), options)}
      end

    restart(threshold)
    times = Enum.group_by(times, &elem(&1, 0), &elem(&1, 1))
    median = fn key, n -> times[key] |> Enum.map(&elem(&1, n)) |> Bench.percentile(50) end

    for {kind, _wasm, _options} <- kinds do
      {first, once} = {median.({kind, threshold}, 0), median.({kind, 0}, 0)}

      [
        {"#{kind}: answers after", first, "ms", nil},
        {"#{kind}: compiled once, answers after", once, "ms", nil},
        {"#{kind}: sooner with two tiers", once / first, "×", {:at_least, 3}},
        {"#{kind}: optimised after", median.({kind, threshold}, 1), "ms", nil},
        {"#{kind}: median call, baseline", median.({kind, threshold}, 2), "µs", nil},
        {"#{kind}: median call, optimised", median.({kind, 0}, 2), "µs", nil}
      ]
    end
    |> List.flatten()
  end

  # An empty node with this setting.
  defp restart(baseline) do
    for %{name: name} <- Tidepool.list(), do: :ok = Tidepool.remove(name)
    :ok = Application.stop(:tidepool)
    Application.put_env(:tidepool, :baseline, baseline)
    {:ok, _started} = Application.ensure_all_started(:tidepool)
  end

  # Times of a first answer and of optimised code, in ms, and a call's on the code that served first, in µs.
  defp upload(wasm, options) do
    since = fn began -> (System.monotonic_time(:microsecond) - began) / 1_000 end
    began = System.monotonic_time(:microsecond)
    {:ok, function} = Tidepool.deploy(wasm, [name: "uploaded"] ++ options)
    operation = if function.abi == :wapc, do: "hello"
    answer = fn -> {:ok, _reply} = Tidepool.call("uploaded", operation, "Ada") end
    answer.()
    first = since.(began)
    calls = Bench.latencies(answer, 100)
    await_optimised("uploaded")
    optimised = since.(began)
    :ok = Tidepool.remove("uploaded")
    {first, optimised, Bench.percentile(calls, 50) / 1_000}
  end

  defp await_optimised(name) do
    {:ok, function} = Tidepool.fetch(name)

    if function.tier == :baseline do
      Process.sleep(1)
      await_optimised(name)
    end
  end

  # Without a snapshot: nothing but compiling is of interest here.
  defp deploy(name, wasm), do: {:ok, _function} = Tidepool.deploy(variant(wasm), name: name, snapshot: false)

  defp at(sorted, share), do: elem(sorted, min(trunc(tuple_size(sorted) * share), tuple_size(sorted) - 1))

  # The same module with other bytes: a custom section of 8 random bytes and the empty name.
  defp variant(wasm), do: wasm <> <<0, 9, 0>> <> :crypto.strong_rand_bytes(8)
end

Bench.Compile.run(Bench.smoke?())
