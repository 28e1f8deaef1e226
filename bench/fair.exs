# Measures: what endless loops cost everybody else, and 10,000 callers at once of a function capped at 8
#
# Calls, timers and messages beside as many endless guests as cores and ten times as many, and beside as many Erlang processes
# that loop.
Code.require_file("support.exs", __DIR__)

defmodule Bench.Fair do
  @moduledoc "What guests that never end, and callers without number, cost everybody else."

  alias Tidepool.{Engine, Error}

  def run(smoke?) do
    Bench.start!()
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
    Bench.report("fair", rows ++ crowd(if(smoke?, do: 2_000, else: 10_000)))
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

Bench.Fair.run("--smoke" in System.argv())
