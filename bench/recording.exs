# Measures: what recording costs: off, failures and all, of warm and fresh calls, actors, HTTP and processes; its bytes; replays
# Needs: wrk
Code.require_file("support.exs", __DIR__)

defmodule Bench.Recording do
  @moduledoc """
  Calls of the same guest, deployed with `record` off, for failures and for all, in turns: what each costs beside the first. Recordings
  of all are beyond what the disk is asked in production; those that there is no room for are dropped, which the last rows count.
  """

  alias Tidepool.{Actor, Native, Recording}

  @kinds [:off, :failures, :all]
  @most %{
    warm: [failures: 1.10, all: 1.3],
    fresh: [failures: 1.10, all: nil],
    actor: [failures: 1.03, all: nil],
    http: [failures: 1.05, all: nil]
  }

  def run(smoke?) do
    Bench.start!(server: true)
    scale = if smoke?, do: 1, else: 30

    for kind <- @kinds do
      Bench.deploy!("warm.#{kind}", "rust/hello_world", instances: {:warm, 64}, record: kind)
      Bench.deploy!("fresh.#{kind}", "rust/hello_world_crate", record: kind)
      Bench.deploy!("actor.#{kind}", "rust/ledger", actor: true, record: kind)
      Bench.deploy!("processes.#{kind}", "lunatic/bench", record: kind)
    end

    Bench.report(
      "recording",
      ratios(:warm, &call("warm.#{&1}"), 10 * scale, 500) ++
        ratios(:fresh, &call("fresh.#{&1}"), 10 * scale, 200) ++
        ratios(:actor, &add("actor.#{&1}"), 5 * scale, 20) ++
        ping_pong(smoke?) ++ spawned(smoke?) ++ http(smoke?) ++ large(scale) ++ bytes() ++ replay(scale)
    )
  end

  defp ratios(what, call, rounds, batch) do
    medians = Bench.side_by_side(for(kind <- @kinds, do: {kind, call.(kind)}), rounds, batch)

    [{"#{what} call, off", medians.off / 1_000, "µs", nil}] ++
      for {kind, most} <- @most[what],
          do: {"#{what} call, #{kind} / off", medians[kind] / medians.off, "×", at_most(most)}
  end

  defp at_most(nil), do: nil
  defp at_most(most), do: {:at_most, most}

  defp http(smoke?) do
    port = TidepoolWeb.Listener.port()
    rounds = if smoke?, do: 1, else: 7

    rates =
      for _round <- 1..rounds, kind <- @kinds do
        {kind, Bench.wrk("http://127.0.0.1:#{port}/call/warm.#{kind}/hello", 16, 1).rate}
      end

    medians =
      rates
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Map.new(fn {kind, all} -> {kind, Bench.percentile(all, 50)} end)

    [{"HTTP, warm, off", medians.off, "/s", nil}] ++
      for {kind, most} <- @most.http, do: {"HTTP, warm, off / #{kind}", medians.off / medians[kind], "×", at_most(most)}
  end

  # Two processes that send each other a number of 8 bytes, as often as their tapes have room for.
  defp ping_pong(smoke?) do
    program(smoke?, "message there and back", "round_trip_ns", 1.25, %{"SUBJECT" => "ping_pong", "COUNT" => "50000"})
  end

  defp spawned(smoke?) do
    env = %{"SUBJECT" => "spawn_join", "COUNT" => "5000", "AT_ONCE" => "1"}
    program(smoke?, "process that says so and ends", "spawn_join_ns", nil, env)
  end

  defp program(smoke?, what, figure, most, env) do
    rounds = if smoke?, do: 1, else: 15
    times = for _round <- 1..rounds, kind <- @kinds, do: {kind, measured("processes.#{kind}", figure, env)}

    medians =
      times
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Map.new(fn {kind, all} -> {kind, Bench.percentile(all, 50)} end)

    [{"#{what}, off", medians.off / 1_000, "µs", nil}] ++
      for kind <- [:failures, :all], do: {"#{what}, #{kind} / off", medians[kind] / medians.off, "×", at_most(most)}
  end

  defp measured(name, figure, env) do
    {:ok, {pid, monitor}} = Tidepool.Process.start_monitor(name, ["bench"], env: env, output: self())

    found =
      receive do
        {:tidepool_output, _pid, :stdout, line} ->
          [^figure, value] = String.split(line)
          String.to_integer(value)
      after
        60_000 -> raise "the guest does not say #{figure}"
      end

    Tidepool.Process.kill(pid)
    receive(do: ({:DOWN, ^monitor, :process, ^pid, _reason} -> found))
  end

  # What is copied shows in the time of a large payload.
  defp large(scale) do
    payload = :binary.copy("x", 65_536)
    echo = fn kind -> fn -> {:ok, _same} = Tidepool.call("warm.#{kind}", "echo", payload) end end
    medians = Bench.side_by_side(for(kind <- [:off, :failures], do: {kind, echo.(kind)}), 10 * scale, 100)
    [{"echo of 64 KiB, failures / off", medians.failures / medians.off, "×", nil}]
  end

  defp bytes do
    {:ok, [%{bytes: bytes, calls: calls} | _older]} = Recording.list("fresh.all", 1)
    # Operation and payload, and what begins the reply.
    payload = byte_size("hello") + byte_size("Ada") + byte_size("Hello, Ada!")
    {kept, dropped} = Native.recording_counts(Tidepool.Engine.runtime())

    [
      {"bytes of a recorded call, its payload left out", bytes - calls * payload, "bytes", {:at_most, 96}},
      {"calls recorded", kept, "", nil},
      {"calls that there was no room for", dropped, "", nil}
    ]
  end

  # The loop of a replay is that of a call, with a Fibonacci number that takes a while.
  defp replay(scale) do
    {:ok, _number} = Tidepool.call("fresh.all", "fib", "24")
    {:ok, [%{id: id, operation: "fib"} | _older]} = Recording.list("fresh.all", 1)
    {:ok, recording} = Recording.fetch(id)
    {:ok, loaded} = Tidepool.Function.Loader.compile(File.read!("guests/build/rust/hello_world_crate.wasm"), entry())
    {:ok, function} = Tidepool.Function.Loader.function(loaded, entry())

    subjects = [
      call: fn -> {:ok, _number} = Tidepool.call("fresh.off", "fib", "24") end,
      replay: fn -> {:ok, "same"} = Recording.compare(function, recording, "fresh.off") end
    ]

    medians = Bench.side_by_side(subjects, scale, 5)
    [{"replay / the call itself", medians.replay / medians.call, "×", {:at_most, 1.1}}]
  end

  defp entry do
    {:ok, function} = Tidepool.fetch("fresh.off")
    # What a function has more than an entry is what its module said.
    keys = Map.keys(Tidepool.Catalog.Entry.__struct__())
    Tidepool.Catalog.Entry |> struct!(function |> Map.from_struct() |> Map.take(keys)) |> Recording.aside()
  end

  defp call(name), do: fn -> {:ok, _reply} = Tidepool.call(name, "hello", "Ada") end
  defp add(class), do: fn -> {:ok, _sum} = Actor.call(class, "Ada", "add", "1") end
end

Bench.Recording.run(Bench.smoke?())
