# Measures: what endless loops and code without loops cost everybody else, and 10,000 callers at once of a function capped at 8
#
# Calls, timers and messages beside as many endless guests as cores and ten times as many, and beside as many Erlang processes
# that loop. Calls and `/health` beside eight guests in which thousands of the same instruction or host call stand in a row, on
# both engines, and how soon those are gone that are killed.
Code.require_file("support.exs", __DIR__)
Code.require_file("support/wasm.exs", __DIR__)

defmodule Bench.Fair do
  @moduledoc "What guests that never end, and callers without number, cost everybody else."

  alias Bench.Wasm
  alias Tidepool.{Engine, Error}

  @bytes 16 * 1_048_576
  @at_once 8
  # What stands in a row: {name, what is imported, instruction, how often}. The optimising compiler takes its time over them.
  @rows [
    {"memory.fill of 16 MiB", [], [Wasm.int(0), Wasm.int(7), Wasm.int(@bytes), 0xFC, 0x0B, 0], 1_500},
    {"memory.copy of 16 MiB", [], [Wasm.int(1), Wasm.int(0), Wasm.int(@bytes - 1), 0xFC, 0x0A, 0, 0], 1_500},
    {"random_get of 16 MiB", [{"wasi_snapshot_preview1", "random_get", 2, 1}],
     [Wasm.int(0), Wasm.int(@bytes), Wasm.call(0), 0x1A], 1_500},
    {"__console_log of 64 KiB", [{"wapc", "__console_log", 2, 0}], [Wasm.int(0), Wasm.int(65_536), Wasm.call(0)],
     5_000},
    {"__host_call of nobody", [{"wapc", "__host_call", 8, 1}],
     [List.duplicate([Wasm.int(0), Wasm.int(9)], 4), Wasm.call(0), 0x1A], 5_000}
  ]

  def run(smoke?) do
    Bench.start!(server: true)
    {:ok, echo} = Bench.Echo.start_link()
    Bench.deploy!("warm", "rust/hello_world", instances: {:warm, 100})
    Bench.deploy!("loop", "wat/loop", limits: [time: 600_000, cpu_time: 600_000])

    Bench.deploy!("capped", "rust/hello_world",
      instances: {:warm, 8},
      limits: [instances: 8, queue: 1_000, time: 60_000]
    )

    cores = System.schedulers_online()
    samples = if smoke?, do: 40, else: 200

    crowds =
      [{"no loop", fn -> [] end}] ++
        for count <- [cores, 10 * cores],
            {kind, loop} <- [
              {"endless guests", fn -> Tidepool.call("loop", "x") end},
              {"endless Erlang loops", &spin/0}
            ] do
          {"#{count} #{kind}", fn -> for(_ <- 1..count, do: spawn(loop)) end}
        end

    # In turns, so that whatever else the machine does hits all of them alike.
    measured = for _round <- 1..5, {name, start} <- crowds, do: {name, beside(start, samples, echo)}
    measured = Enum.group_by(measured, &elem(&1, 0), &elem(&1, 1))
    rows = Enum.flat_map(crowds, fn {name, _start} -> rows(name, List.flatten(measured[name])) end)
    straight = for engine <- [:fast, :dense], row <- @rows, do: straight(engine, row, if(smoke?, do: 20, else: 300))
    Bench.report("fair", rows ++ List.flatten(straight) ++ crowd(if(smoke?, do: 2_000, else: 10_000)))
  end

  # Beside guests without a loop, that are called again and again.
  defp straight(engine, {what, imports, instruction, count}, samples) do
    wasm = Wasm.guest(imports, div(@bytes, 65_536), [List.duplicate(instruction, count), Wasm.int(1)])
    limits = [memory: @bytes, time: 600_000, cpu_time: 600_000]
    {:ok, _function} = Tidepool.deploy(wasm, name: "straight", engine: engine, limits: limits)
    pids = for _ <- 1..@at_once, do: spawn(&again/0)
    Process.sleep(100)
    calls = for _ <- 1..samples, do: timed(:call, &call/0)
    health = for _ <- 1..samples, do: timed(:health, &health/0)
    ends = for _ <- 1..max(div(samples, 10), 4), do: gone()
    Enum.each(pids, &Process.exit(&1, :kill))
    :ok = Tidepool.remove("straight")
    Bench.await(fn -> computing() == 0 end)
    late = fn samples -> for {_kind, _ran, done} <- samples, do: done / 1_000_000 end
    name = "beside #{@at_once} of #{what} in a row (#{engine})"

    [
      {"call #{name}, p50", Bench.percentile(late.(calls), 50), "ms", nil},
      {"… p99", Bench.percentile(late.(calls), 99), "ms", {:at_most, 2}},
      {"… /health, slowest", Enum.max(late.(health)), "ms", {:at_most, 100}},
      {"… one more is gone after its kill, p50", Bench.percentile(ends, 50), "ms", nil},
      {"… slowest", Enum.max(ends), "ms", {:at_most, 5}}
    ]
  end

  defp again do
    Tidepool.call("straight", "x")
    again()
  end

  # In ms, from when one more is killed until no more are left than there were.
  defp gone do
    pid = spawn(&again/0)
    Bench.await(fn -> computing() > @at_once end)
    began = System.monotonic_time(:microsecond)
    Process.exit(pid, :kill)
    Bench.await(fn -> computing() <= @at_once end)
    (System.monotonic_time(:microsecond) - began) / 1_000
  end

  defp computing, do: Engine.instances().live - Engine.instances().idle

  defp health do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, TidepoolWeb.Listener.port(), [:binary, active: false])
    :ok = :gen_tcp.send(socket, "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    {:ok, "HTTP/1.1 200 OK" <> _rest} = :gen_tcp.recv(socket, 0, 60_000)
    :gen_tcp.close(socket)
  end

  # What the VM itself does to others beside processes that never wait.
  defp spin, do: spin()

  # One call and one message to a process and back in turn, each after a timer of its own, whatever became of the one before.
  defp beside(start, samples, echo) do
    pids = start.()
    # Guests are past their first slices then.
    Process.sleep(50 + 5 * length(pids))

    samples =
      Task.async(fn ->
        for _ <- 1..samples, {kind, work} <- [call: &call/0, message: fn -> GenServer.call(echo, :hello) end] do
          timed(kind, work)
        end
      end)
      |> Task.await(:infinity)

    Enum.each(pids, &Process.exit(&1, :kill))

    Bench.await(fn ->
      Engine.instances().live - Engine.instances().idle == 0 and not Enum.any?(pids, &Process.alive?/1)
    end)

    samples
  end

  defp call, do: {:ok, _reply} = Tidepool.call("warm", "hello", "Ada")

  # {what it was, when its process ran and when it was done, in ns from when it was due}.
  defp timed(kind, work) do
    due = System.monotonic_time(:millisecond) + 1 + :rand.uniform(2)
    :erlang.start_timer(due, self(), :due, abs: true)

    receive do
      {:timeout, _timer, :due} -> :ok
    end

    ran = System.monotonic_time(:nanosecond)
    work.()
    done = System.monotonic_time(:nanosecond)
    {kind, max(ran - due * 1_000_000, 0), done - due * 1_000_000}
  end

  defp rows(name, samples) do
    # Erlang's loops are a control: what is beside them owes nothing to Tidepool.
    target = if name =~ "guests", do: {:at_most, 100}

    for {what, values, target} <- [
          {"timer beside #{name}, late by", for({_kind, ran, _done} <- samples, do: ran), nil},
          {"call beside #{name}, from when its timer was due", for({:call, _ran, done} <- samples, do: done), target},
          {"… from when its process ran", for({:call, ran, done} <- samples, do: done - ran), target},
          {"message beside #{name} and back, from when its timer was due",
           for({:message, _ran, done} <- samples, do: done), target},
          {"… from when its process ran", for({:message, ran, done} <- samples, do: done - ran), target}
        ],
        percent <- [50, 99] do
      {"#{what}, p#{percent}", Bench.percentile(values, percent) / 1_000, "µs", if(percent == 99, do: target)}
    end
  end

  # All at once on a function capped at 8, of which each call computes for some slices.
  defp crowd(callers) do
    before = Bench.resident_bytes()
    parent = self()

    pids =
      for _ <- 1..callers do
        spawn(fn ->
          receive do
            :go -> send(parent, {:outcome, Tidepool.call("capped", "fib", "20")})
          end
        end)
      end

    waiting = Bench.resident_bytes()
    began = System.monotonic_time(:microsecond)
    Enum.each(pids, &send(&1, :go))

    outcomes =
      for _ <- 1..callers do
        receive do
          {:outcome, {:ok, "6765"}} -> :ok
          {:outcome, {:error, %Error{reason: reason}}} -> reason
        after
          60_000 -> :lost
        end
      end

    took = System.monotonic_time(:microsecond) - began
    after_all = Bench.resident_bytes()
    counts = Enum.frequencies(outcomes)
    others = Enum.count(outcomes, &(&1 not in [:ok, :overloaded]))

    [
      {"#{callers} callers at once of a function capped at 8: answered", Map.get(counts, :ok, 0), "calls",
       {:at_least, 8}},
      {"… told that it is overloaded", Map.get(counts, :overloaded, 0), "calls", nil},
      {"… lost, or told something else", others, "calls", {:at_most, 0}},
      {"… until the last had its answer", took / 1_000, "ms", nil},
      {"… memory at the end, beside that before", after_all / before, "×", {:at_most, 1.25}},
      {"… of which the callers' processes were", waiting / before, "×", nil},
      {"… memory at the end, beside that with the callers' processes", after_all / waiting, "×", {:at_most, 1.1}}
    ]
  end
end

Bench.Fair.run(Bench.smoke?())
