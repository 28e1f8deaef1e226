# Measures: calls from Elixir, as ratios to a GenServer.call in the same run
Code.require_file("support.exs", __DIR__)

defmodule Bench.Call do
  @moduledoc "Calls from Elixir beside GenServer.call, alone and beside guests that never end."

  def run(smoke?) do
    Bench.start!()
    {:ok, echo} = Bench.Echo.start_link()
    Tidepool.Host.register({"host", "test", "echo"}, fn call -> {:ok, call.payload} end)
    Tidepool.Host.register({"host", "server", "echo"}, echo)
    Bench.deploy!("warm", "rust/hello_world", instances: {:warm, 100})
    Bench.deploy!("plain", "rust/calc", instances: {:warm, 100})
    Bench.deploy!("fresh", "rust/hello_world")
    Bench.deploy!("fresh_as", "assemblyscript/hello_world")
    Bench.deploy!("fresh_least", "wat/returns_1_silent")
    Bench.deploy!("loop", "wat/loop", limits: [time: 600_000, cpu_time: 600_000])
    scale = if smoke?, do: 1, else: 20

    rows =
      calls(echo, scale) ++
        telemetry(scale) ++ throughput(scale) ++ beside_loops(scale) ++ kill(scale) ++ deploy() ++ idle(smoke?)

    Bench.report("call", rows)
  end

  defp calls(echo, scale) do
    payload = :binary.copy(<<0>>, 65_536)

    subjects = [
      {"GenServer.call echo", fn -> GenServer.call(echo, "Ada") end},
      {"warm call", fn -> Tidepool.call("warm", "hello", "Ada") end},
      {"warm call of a plain module", fn -> Tidepool.call("plain", :add, [1, 2]) end},
      {"warm call of a plain module, JSON", fn -> Tidepool.call("plain", "add", "[1,2]") end},
      {"fresh call, smallest guest", fn -> Tidepool.call("fresh_least", "x", "") end},
      {"fresh call, AssemblyScript hello", fn -> Tidepool.call("fresh_as", "hello", "Ada") end},
      {"fresh call, Rust hello", fn -> Tidepool.call("fresh", "hello", "Ada") end},
      {"warm + function host callback", fn -> Tidepool.call("warm", "host", "") end},
      {"warm + function host callback in a process", fn -> Tidepool.call("warm", "host", "", timeout: 5_000) end},
      {"warm + GenServer host callback", fn -> Tidepool.call("warm", "host", "host/server/echo\n") end},
      {"64 KiB echo, warm", fn -> Tidepool.call("warm", "echo", payload) end}
    ]

    medians = Bench.side_by_side(subjects, 10 * scale, 500)
    unit = medians["GenServer.call echo"]

    targets = %{
      "warm call" => {:at_most, 0.35},
      "fresh call, smallest guest" => {:at_most, 2.5},
      "warm + function host callback" => {:at_most, 1.3},
      "warm + GenServer host callback" => {:at_most, 3}
    }

    beside = medians["warm call of a plain module"] / medians["warm call"]

    [{"warm call of a plain module / of waPC", beside, "×", {:at_most, 1.1}}] ++
      Enum.flat_map(subjects, fn {name, fun} ->
        p99 = fun |> Bench.latencies(1_000 * scale) |> Bench.percentile(99)

        [
          {name <> ", median", medians[name] / 1_000, "µs", nil},
          {name <> ", p99", p99 / 1_000, "µs", nil},
          {name <> " / GenServer.call", medians[name] / unit, "×", targets[name]}
        ]
      end)
  end

  # What the events cost: asking whether anybody listens, and a handler of all that does nothing.
  defp telemetry(scale) do
    call = fn -> Tidepool.call("warm", "hello", "Ada") end
    subjects = [{"call", call}, {"asked", &Tidepool.Telemetry.listening?/0}, {"nothing", fn -> false end}]
    quiet = Bench.side_by_side(subjects, 10 * scale, 500)
    :ok = Tidepool.Telemetry.attach("bench", Tidepool.Telemetry.events(), fn _, _, _, _ -> :ok end)
    heard = Bench.side_by_side([{"call", call}], 10 * scale, 500)
    :ok = Tidepool.Telemetry.detach("bench")

    [
      {"telemetry without a listener / warm call", (quiet["asked"] - quiet["nothing"]) / quiet["call"], "×",
       {:at_most, 0.03}},
      {"warm call with a telemetry handler / without", heard["call"] / quiet["call"], "×", nil}
    ]
  end

  defp throughput(scale) do
    call = fn -> Tidepool.call("warm", "hello", "Ada") end
    [one, two, many] = for n <- [1, 2, 64], do: Bench.throughput(call, n, 100 * scale)

    [
      {"warm calls/s, 1 process", one, "/s", nil},
      {"warm calls/s, 2 processes", two, "/s", nil},
      {"warm calls/s, 64 processes", many, "/s", nil},
      {"64 processes / 1 process", many / one, "×", {:at_least, 1.5}}
    ]
  end

  defp beside_loops(scale) do
    loops = for _ <- 1..8, do: spawn_loop()
    times = Bench.latencies(fn -> Tidepool.call("warm", "hello", "Ada") end, 2_000 * scale)
    Enum.each(loops, &stop/1)

    [
      {"warm call beside 8 endless loops, median", Bench.percentile(times, 50) / 1_000, "µs", nil},
      {"warm call beside 8 endless loops, p99", Bench.percentile(times, 99) / 1_000, "µs", {:at_most, 100}}
    ]
  end

  defp kill(scale) do
    times =
      for _ <- 1..(10 * scale) do
        pid = spawn_loop()
        began = System.monotonic_time(:nanosecond)
        stop(pid)
        System.monotonic_time(:nanosecond) - began
      end

    [
      {"kill → DOWN of an endless loop, median", Bench.percentile(times, 50) / 1_000, "µs", nil},
      {"kill → DOWN of an endless loop, p99", Bench.percentile(times, 99) / 1_000, "µs", {:at_most, 2_000}}
    ]
  end

  # Returns once the guest runs: by then its process has used up more than starting it takes.
  defp spawn_loop do
    pid = spawn(fn -> Tidepool.call("loop", "x") end)
    wait_until_busy(pid)
    pid
  end

  defp wait_until_busy(pid) do
    {:reductions, reductions} = Process.info(pid, :reductions)

    if reductions < 20_000 do
      :erlang.yield()
      wait_until_busy(pid)
    end
  end

  defp stop(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    end
  end

  defp deploy do
    wasm = File.read!("guests/build/go/hello_world.wasm")
    {micros, {:ok, _function}} = :timer.tc(fn -> Tidepool.deploy(wasm, name: "large") end)
    [{"deploy of a module of #{Float.round(byte_size(wasm) / 1.0e6, 1)} MB", micros / 1_000, "ms", nil}]
  end

  # CPU time of the whole node over a quiet span, as a share of one core.
  defp idle(smoke?) do
    for n <- 1..100, do: Bench.deploy!("idle_#{n}", "rust/hello_world", instances: {:warm, 10})
    # The large module's optimised code takes seconds to compile, in which the node is not idle.
    Bench.await(fn -> Enum.all?(Tidepool.list(), &(&1.tier == :optimised)) end)
    span = if smoke?, do: 2_000, else: 10_000
    Process.sleep(1_000)
    before = cpu_ms()
    Process.sleep(span)
    share = (cpu_ms() - before) / span * 100
    [{"CPU of an idle node with 100 functions", share, "%", {:at_most, 1}}]
  end

  defp cpu_ms do
    # Fields 14 and 15 of /proc/self/stat: user and system time in ticks of 10 ms.
    [_, rest] = File.read!("/proc/#{System.pid()}/stat") |> String.split(") ", parts: 2)
    fields = String.split(rest)
    (String.to_integer(Enum.at(fields, 11)) + String.to_integer(Enum.at(fields, 12))) * 10
  end
end

Bench.Call.run(Bench.smoke?())
