Code.require_file("support.exs", __DIR__)

defmodule Bench.Fair do
  @moduledoc "What guests that never end, and callers without number, cost everybody else."

  alias Tidepool.{Engine, Error}

  defmodule Echo do
    use GenServer
    def start_link, do: GenServer.start_link(__MODULE__, nil)
    @impl true
    def init(nil), do: {:ok, nil}
    @impl true
    def handle_call(payload, _from, state), do: {:reply, payload, state}
  end

  def run(smoke?) do
    Bench.start!()
    {:ok, echo} = Echo.start_link()
    Tidepool.Host.register({"host", "test", "park"}, fn _call -> Process.sleep(:infinity) end)
    Bench.deploy!("warm", "rust/hello_world", instances: {:warm, 100})
    Bench.deploy!("loop", "wat/loop", limits: [time: 600_000, cpu_time: 600_000])
    Bench.deploy!("parked", "wat/parked", limits: [time: 600_000])
    Bench.deploy!("sleepy", "rust/sleepy", limits: [time: 600_000])

    Bench.deploy!("capped", "rust/hello_world",
      instances: {:warm, 8},
      limits: [instances: 8, queue: 1_000, time: 60_000]
    )

    cores = System.schedulers_online()
    samples = if smoke?, do: 200, else: 1_000

    rows =
      beside("no loop", 0, samples, echo, []) ++
        beside("#{cores} loops", cores, samples, echo, p99: 100) ++
        beside("#{10 * cores} loops", 10 * cores, samples, echo, p99: 100) ++
        gone(10 * cores, if(smoke?, do: 5, else: 40)) ++ crowd(if(smoke?, do: 2_000, else: 10_000))

    Bench.report("fair", rows)
  end

  # One of each every millisecond, whatever became of the one before: a call, a timer, a message to a process and back.
  defp beside(name, loops, samples, echo, targets) do
    pids = for _ <- 1..loops//1, do: spawn(fn -> Tidepool.call("loop", "x") end)
    # Past their first slices.
    Process.sleep(50 + 5 * loops)
    measure = fn fun -> Task.async(fn -> fun.() end) |> Task.await(:infinity) end
    calls = measure.(fn -> sparse(samples, fn -> {:ok, _reply} = Tidepool.call("warm", "hello", "Ada") end) end)
    messages = measure.(fn -> sparse(samples, fn -> GenServer.call(echo, :hello) end) end)
    Enum.each(pids, &Process.exit(&1, :kill))
    await(fn -> Engine.instances().live - Engine.instances().idle == 0 end)

    for {what, list} <- [
          {"call", Enum.map(calls, &elem(&1, 1))},
          {"message and back", Enum.map(messages, &elem(&1, 1))},
          {"timer, late by", Enum.map(calls ++ messages, &elem(&1, 0))}
        ],
        percent <- [50, 99, 99.9] do
      target = if percent == 99 and what != "timer, late by" and targets[:p99], do: {:at_most, targets[:p99]}
      {"#{what} beside #{name}, p#{percent}", Bench.percentile(list, percent) / 1_000, "µs", target}
    end
  end

  # Each is due when its timer is, whatever became of the one before, and is counted from then: {how late the timer was, how
  # late the work was done}, in ns.
  defp sparse(samples, fun) do
    for _ <- 1..samples do
      due = System.monotonic_time(:millisecond) + 1 + :rand.uniform(2)
      :erlang.start_timer(due, self(), :due, abs: true)

      receive do
        {:timeout, _timer, :due} -> :ok
      end

      woken = System.monotonic_time(:nanosecond)
      fun.()
      done = System.monotonic_time(:nanosecond)
      {max(woken - due * 1_000_000, 0), done - due * 1_000_000}
    end
  end

  # From when it should be over until the instance is gone.
  defp gone(loops, rounds) do
    timeouts =
      for _ <- 1..rounds do
        before = busy()

        tasks =
          for _ <- 1..loops do
            Task.async(fn ->
              due = System.monotonic_time(:nanosecond) + 50_000_000
              {:error, %Error{reason: :timeout}} = Tidepool.call("loop", "x", "", timeout: 50)
              System.monotonic_time(:nanosecond) - due
            end)
          end

        late = Task.await_many(tasks, :infinity)
        ^before = busy()
        late
      end
      |> List.flatten()

    cancelled =
      for {what, function, operation, payload, how} <- [
            {"killed while the guest computes", "loop", "x", "", :kill},
            {"killed while it waits for the host", "parked", "x", "", :kill},
            {"killed while it sleeps", "sleepy", "sleep", "60000", :kill},
            {"timeout while it sleeps", "sleepy", "sleep", "60000", :timeout}
          ] do
        {what, for(_ <- 1..rounds, do: cancel(function, operation, payload, how))}
      end

    for {what, times} <- [{"timeout of one of #{loops} loops", timeouts} | cancelled], percent <- [50, 99] do
      target = if percent == 99, do: {:at_most, 2}
      {"gone after: #{what}, p#{percent}", Bench.percentile(times, percent) / 1_000_000, "ms", target}
    end
  end

  defp cancel(function, operation, payload, :kill) do
    before = busy()
    pid = spawn(fn -> Tidepool.call(function, operation, payload) end)
    await(fn -> busy() > before end)
    Process.sleep(5)
    began = System.monotonic_time(:nanosecond)
    Process.exit(pid, :kill)
    await(fn -> busy() == before end)
    System.monotonic_time(:nanosecond) - began
  end

  defp cancel(function, operation, payload, :timeout) do
    before = busy()
    due = System.monotonic_time(:nanosecond) + 20_000_000
    {:error, %Error{reason: :timeout}} = Tidepool.call(function, operation, payload, timeout: 20)
    await(fn -> busy() == before end)
    System.monotonic_time(:nanosecond) - due
  end

  defp busy, do: Engine.instances().live - Engine.instances().idle

  # All at once on a function capped at 8, of which each call computes for some slices.
  defp crowd(callers) do
    before = rss_kib()
    parent = self()

    pids =
      for _ <- 1..callers do
        spawn(fn ->
          receive do
            :go -> send(parent, {:outcome, Tidepool.call("capped", "fib", "20")})
          end
        end)
      end

    waiting = rss_kib()
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
    after_all = rss_kib()
    counts = Enum.frequencies(outcomes)
    others = Enum.count(outcomes, &(&1 not in [:ok, :overloaded]))

    [
      {"#{callers} callers at once of a function capped at 8: answered", Map.get(counts, :ok, 0), "calls",
       {:at_least, 8}},
      {"… told that it is overloaded", Map.get(counts, :overloaded, 0), "calls", nil},
      {"… lost, or told something else", others, "calls", {:at_most, 0}},
      {"… until the last had its answer", took / 1_000, "ms", nil},
      {"… memory at the end, beside that before", after_all / before, "×", {:at_most, 1.25}},
      {"… of which the callers' processes were", waiting / before, "×", nil}
    ]
  end

  defp rss_kib do
    [_, kib] = Regex.run(~r/VmRSS:\s+(\d+)/, File.read!("/proc/self/status"))
    String.to_integer(kib)
  end

  defp await(condition, deadline \\ System.monotonic_time(:millisecond) + 10_000) do
    cond do
      condition.() ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        raise "it never came"

      true ->
        :erlang.yield()
        await(condition, deadline)
    end
  end
end

Bench.Fair.run("--smoke" in System.argv())
