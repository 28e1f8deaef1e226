# Measures: how many guests live at once on the dense engine, and what each takes
#
# 20,000 idle and 20,000 that wait for the host, then 100,000 that wait, then as many as the node allows and some more, which
# are refused. `--smoke` does it with some hundreds.
Code.require_file("support.exs", __DIR__)

defmodule Bench.Dense do
  @moduledoc "Very many guests at once: idle, and waiting for the host."

  alias Tidepool.{Engine, Error, Host}

  # Instances beyond these are for the calls that are to be refused.
  @queue 16

  def run(smoke?) do
    Application.put_env(:tidepool, :max_queue, @queue)
    if smoke?, do: Application.put_env(:tidepool, :max_dense_instances, 2_000)
    Bench.start!()
    parent = self()

    # The call's own process waits here, and tells when it does.
    Host.register({"host", "test", "park"}, fn _call ->
      send(parent, {:parked, self()})
      receive(do: (:go -> {:ok, ""}))
    end)

    # Everything is loaded and has run once, so that what follows measures instances.
    deploy("first", :fresh)
    "first" |> park(10) |> wake()
    Bench.deploy!("upper_fast", "c/upper")
    Bench.deploy!("upper_dense", "c/upper", engine: :dense)
    Tidepool.remove("first")

    some = if smoke?, do: 250, else: 20_000
    many = if smoke?, do: 1_000, else: 100_000
    rows = both(some) ++ waiting(many) ++ accesses(if(smoke?, do: 2, else: 20))
    Bench.report("dense", rows)
  end

  # `some` idle ones, and as many that wait.
  defp both(some) do
    before = usage()
    deploy("warm", {:warm, some})
    {create_us, calls} = timed(some, fn -> park("warm", some) end)
    wake(calls)
    idle = usage()
    deploy("fresh", :fresh)
    {suspend_us, calls} = timed(some, fn -> park("fresh", some) end)
    full = usage()
    %{live: live, idle: idle_now} = Engine.engines().dense

    rows = [
      {"idle and waiting guests at once", live, "", {:at_least, 2 * some}},
      {"of these idle", idle_now, "", {:at_least, some}},
      {"mappings of the process that they added", full.mappings - before.mappings, "", {:at_most, 200}},
      {"RSS for an idle one, guest's side", per(idle, before, some, :guest), "KiB", {:at_most, 28}},
      {"RSS for a waiting one, guest's side", per(full, idle, some, :guest), "KiB", {:at_most, 28}},
      {"page tables for a waiting one", per(full, idle, some, :tables), "KiB", nil},
      {"memory for a waiting one, Erlang's side", per(full, idle, some, :beam), "KiB", nil},
      {"make an instance and call it until it waits (warm)", create_us, "µs", nil},
      {"make an instance and call it until it waits (fresh)", suspend_us, "µs", nil},
      {"take an idle instance, wait and answer: a call, median", one_call("warm"), "µs", nil},
      {"the same with a fresh instance, median", one_call("fresh"), "µs", nil}
    ]

    wake(calls)
    remove(["warm", "fresh"])
    rows
  end

  # `many` that wait, then all that there is room for, and more.
  defp waiting(many) do
    before = usage()
    deploy("many", :fresh)
    many = min(many, Engine.engines().dense.max)
    {suspend_us, calls} = timed(many, fn -> park("many", many) end)
    full = usage()
    call_us = one_call("many")
    rest = Engine.engines().dense.max - many
    calls = calls ++ park("many", rest)
    peak = usage()
    refused = refused(1_000)
    {resume_us, all} = timed(many + rest, fn -> wake(calls) end)
    remove(["many"])
    left = usage()
    {:ok, ""} = call_once("upper_dense")

    [
      {"waiting guests at once", many, "", {:at_least, 100_000}},
      {"mappings of the process that they added", full.mappings - before.mappings, "", {:at_most, 200}},
      {"RSS for one, guest's side", per(full, before, many, :guest), "KiB", {:at_most, 28}},
      {"page tables for one", per(full, before, many, :tables), "KiB", nil},
      {"memory for one, Erlang's side", per(full, before, many, :beam), "KiB", nil},
      {"make an instance and call it until it waits", suspend_us, "µs", nil},
      {"a call beside all of them, median", call_us, "µs", nil},
      {"waiting guests when the engine was full", many + rest, "", nil},
      {"calls refused as overloaded, of 1,000 more", refused, "", {:at_least, 1_000 - @queue}},
      {"wake all: answer, end, and be gone, for each", resume_us, "µs", nil},
      {"wake all, altogether", resume_us * (many + rest) / 1_000, "ms", nil},
      {"calls that were answered", all, "", {:at_least, many + rest}},
      {"RSS when it was full", peak.rss / 1_024, "MiB", nil},
      {"RSS when all were gone, over that before", (left.rss - before.rss) / 1_024, "MiB", {:at_most, 400}}
    ]
  end

  # Byte by byte, which is the worst there is.
  defp accesses(rounds) do
    payload = String.duplicate("low tide", 128 * 1_024)

    medians =
      Bench.side_by_side(
        for(name <- ["upper_fast", "upper_dense"], do: {name, fn -> {:ok, _} = Tidepool.call(name, nil, payload) end}),
        rounds,
        2
      )

    [{"a program that upper-cases 1 MiB, dense / fast", medians["upper_dense"] / medians["upper_fast"], "×", nil}]
  end

  defp deploy(name, instances) do
    limits = [time: 600_000]
    Bench.deploy!(name, "wat/parked", engine: :dense, instances: instances, limits: limits)
  end

  # Processes whose calls wait for the host.
  defp park(_name, 0), do: []

  defp park(name, count) do
    parent = self()
    pids = for _ <- 1..count, do: spawn_link(fn -> send(parent, {:ended, self(), Tidepool.call(name, "x")}) end)
    for _ <- 1..count, do: receive(do: ({:parked, _pid} -> :ok))
    pids
  end

  # Answers them all, and says how many came to a good end.
  defp wake(pids) do
    Enum.each(pids, &send(&1, :go))
    Enum.count(pids, fn pid -> receive(do: ({:ended, ^pid, outcome} -> outcome == {:ok, ""})) end)
  end

  # Beside all that wait: start, wait for the host, be answered, end.
  defp one_call(name) do
    times =
      for _ <- 1..200 do
        {us, [_pid]} = :timer.tc(fn -> name |> park(1) |> tap(&wake/1) end)
        us
      end

    Bench.percentile(times, 50)
  end

  defp call_once(name), do: Tidepool.call(name, nil, "")

  # Some of these wait in the queue; they are ended, for nobody else will be.
  defp refused(count) do
    parent = self()

    calls =
      for _ <- 1..count do
        spawn_monitor(fn ->
          send(parent, {:refused, match?({:error, %Error{reason: :overloaded}}, Tidepool.call("many", "x"))})
        end)
      end

    refused = for(_ <- 1..(count - @queue), do: receive(do: ({:refused, refused?} -> refused?))) |> Enum.count(& &1)

    for {pid, monitor} <- calls do
      Process.exit(pid, :kill)
      receive(do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> :ok))
    end

    refused
  end

  # Instances go when nothing refers to their function any more.
  defp remove(names) do
    Enum.each(names, &Tidepool.remove/1)
    wait_until_empty()
  end

  defp wait_until_empty do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)

    if Engine.engines().dense.live > 0 do
      Process.sleep(10)
      wait_until_empty()
    end
  end

  defp timed(count, fun) do
    {us, result} = :timer.tc(fun)
    {us / count, result}
  end

  # In KiB. What Erlang has in use is its own, the rest of the growth is the guests', and what Erlang's allocators keep.
  defp usage do
    status = File.read!("/proc/#{System.pid()}/status")
    kib = fn name -> Regex.run(~r/^#{name}:\s+(\d+)/m, status) |> List.last() |> String.to_integer() end
    beam = :erlang.memory(:total) / 1_024
    mappings = File.stream!("/proc/#{System.pid()}/maps") |> Enum.count()
    %{rss: kib.("VmRSS"), tables: kib.("VmPTE"), beam: beam, mappings: mappings}
  end

  defp per(later, earlier, count, :guest), do: per(later, earlier, count, :rss) - per(later, earlier, count, :beam)
  defp per(later, earlier, count, key), do: (later[key] - earlier[key]) / count
end

Bench.Dense.run(Bench.smoke?())
