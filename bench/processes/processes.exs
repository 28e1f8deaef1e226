# Measures: processes of guests: starting, messages, sleeping, how many live, sockets; beside Erlang's own
# Needs: cc
# Builds: -p tidepool_load
#
# --minute has the UDP flows go on for a minute, where they have ten seconds otherwise.
#
# Each figure is of a program of its own (guests/processes/rust/src/bin/bench.rs), which measures itself where it can.
Code.require_file("../support.exs", __DIR__)
Code.require_file("erlang.exs", __DIR__)

defmodule Bench.Processes do
  @moduledoc "What processes of guests cost."

  alias Bench.Processes.Erlang
  alias Tidepool.{Engine, Native}
  alias Tidepool.Process, as: Guest

  @patience 120_000

  # Each process has a linear memory of 17 pages, most of which it never touches; the cap counts them all.
  @max_memory 1_000_000_000_000

  def run do
    options = Bench.switches([:smoke, :minute])
    smoke? = options.smoke
    for cap <- [:max_sockets, :max_program_sockets], do: Application.put_env(:tidepool, cap, 20_000)
    Application.put_env(:tidepool, :max_memory, @max_memory)
    # Each start prints a line.
    Application.put_env(:tidepool, :console_lines, 1_000_000)
    begin()
    client = compiled()
    # Everything has run once.
    measured("spawn_join", %{"COUNT" => 100, "AT_ONCE" => 10}, ["spawn_join_ns"])
    size = if smoke?, do: &div(&1, 100), else: & &1
    seconds = if smoke?, do: 1, else: 2

    # First, for memory that others have used may be given back meanwhile.
    flowing = flows(size.(15_000), if(smoke?, do: 2, else: if(options.minute, do: 60, else: 10)))

    rows =
      starts(size.(100) + 1) ++
        messages(size) ++
        pairs(seconds) ++
        sleepers(size, if(smoke?, do: 3, else: 20)) ++
        alive(size.(100_000)) ++ sockets(client, size, seconds) ++ flowing

    rounds = if smoke?, do: 1, else: 5
    Bench.report("processes", rows ++ reactors(rounds, fn -> sockets(client, size, seconds) end))
  end

  defp begin do
    Bench.start!()

    Bench.deploy!("bench", "lunatic/bench",
      net: ["tcp:listen:127.0.0.1:*", "udp:listen:127.0.0.1:*", "udp:connect:127.0.0.1:*"]
    )
  end

  # Sockets by both reactors, in turns: medians, and how the ring's are beside tokio's. Nothing where the kernel gives no ring.
  defp reactors(rounds, measure) do
    by_tokio = by(:tokio, measure)

    case by(:uring, measure) do
      [] ->
        []

      by_uring ->
        more = for _ <- 2..rounds//1, do: {by(:tokio, measure), by(:uring, measure)}
        both = [{by_tokio, by_uring} | more] |> Enum.map(fn {tokio, uring} -> Enum.zip(tokio, uring) end)

        for [{{label, _value, unit, _target}, _uring} | _others] = rows <- Enum.zip_with(both, & &1) do
          [tokio, uring] = for side <- [0, 1], do: median(for row <- rows, do: row |> elem(side) |> elem(1))

          [
            {"#{label}: by tokio", tokio, unit, nil},
            {"… by io_uring", uring, unit, nil},
            {"… of tokio's", uring / tokio, "", nil}
          ]
        end
        |> List.flatten()
    end
  end

  defp by(io, measure) do
    :ok = Application.stop(:tidepool)
    Application.put_env(:tidepool, :io, io)
    begin()
    if Native.io(Engine.runtime()) == io, do: measure.(), else: []
  end

  defp median(values), do: Bench.percentile(values, 50)

  # The program that is started, and what it says under these names.
  defp measured(subject, env, names) do
    program = start(subject, env)
    figures = for name <- names, do: figure(name)
    stop(program)
    figures
  end

  defp start(subject, env) do
    env = Map.new(env, fn {name, value} -> {name, "#{value}"} end)
    {:ok, program} = Guest.start("bench", ["bench"], env: Map.put(env, "SUBJECT", subject), output: self())
    program
  end

  defp figure(name) do
    receive do
      {:tidepool_output, _pid, :stdout, line} ->
        case String.split(line) do
          [^name, value] -> String.to_integer(value)
          _other -> figure(name)
        end
    after
      @patience -> raise "the guest does not say #{name}"
    end
  end

  # Kills a program; in ms, until nothing is left of it.
  defp stop(program) do
    began = System.monotonic_time(:microsecond)
    Guest.kill(program)
    wait_until_empty()
    (System.monotonic_time(:microsecond) - began) / 1_000
  end

  # Without a busy core: others are ending.
  defp wait_until_empty do
    if Engine.engines().dense.live > 0 do
      Process.sleep(1)
      wait_until_empty()
    end
  end

  defp starts(count) do
    times =
      for _ <- 1..count do
        {us, program} = :timer.tc(fn -> "hello" |> start(%{}) |> tap(fn _program -> figure("hello") end) end)
        stop(program)
        us / 1_000
      end

    [{"start of a program, to its first output, median", Bench.percentile(times, 50), "ms", {:at_most, 5}}]
  end

  defp messages(size) do
    [trip] = measured("ping_pong", %{"COUNT" => size.(1_000_000)}, ["round_trip_ns"])
    [one] = measured("spawn_join", %{"COUNT" => size.(50_000), "AT_ONCE" => 1}, ["spawn_join_ns"])
    [many] = measured("spawn_join", %{"COUNT" => size.(50_000), "AT_ONCE" => size.(1_000)}, ["spawn_join_ns"])

    [
      {"message there and back, guest and guest", trip / 1_000, "µs", {:at_most, 1.7}},
      {"… Erlang and Erlang", Erlang.ping_pong(size.(1_000_000)) / 1_000, "µs", nil},
      {"… guest and Erlang", outside(size.(300_000)) / 1_000, "µs", {:at_most, 2.5}},
      {"spawn and join, one at a time", one / 1_000, "µs", {:at_most, 12}},
      {"… Erlang", Erlang.spawn_join(size.(50_000), 1) / 1_000, "µs", nil},
      {"spawn and join, 1,000 at once", many / 1_000, "µs", {:at_most, 15}},
      {"… Erlang", Erlang.spawn_join(size.(50_000), size.(1_000)) / 1_000, "µs", nil}
    ]
  end

  # In ns.
  defp outside(count) do
    program = start("outside", %{})
    figure("ready")
    {:ok, id} = Guest.introduce(program, self())
    send(program, {:tidepool, 0, <<id::little-64>>})
    trips(program, div(count, 10))
    {us, :ok} = :timer.tc(fn -> trips(program, count) end)
    stop(program)
    us * 1_000 / count
  end

  defp trips(_program, 0), do: :ok

  defp trips(program, count) do
    send(program, {:tidepool, 0, <<count::little-64>>})
    receive(do: ({:tidepool, ^program, _tag, <<^count::little-64>>} -> trips(program, count - 1)))
  end

  defp pairs(seconds) do
    for {count, target} <- [{10, 1_400_000}, {500, 1_200_000}] do
      [made] = measured("pairs", %{"COUNT" => count, "SECONDS" => seconds}, ["round_trips_per_s"])

      [
        {"round trips of #{count} pairs", made, "/s", {:at_least, target}},
        {"… Erlang's", Erlang.pairs(count, seconds), "/s", nil}
      ]
    end
    |> List.flatten()
  end

  defp sleepers(size, rounds) do
    many =
      for {count, load, memory} <- [{10_000, {:at_most, 35}, {:at_most, 300}}, {20_000, nil, nil}] do
        count = size.(count)
        before = Bench.resident_bytes()
        program = start("sleepers", %{"COUNT" => count, "ROUNDS" => rounds, "LOOPS" => 0})
        figure("sleeping")
        cpu = cpu_percent(rounds * 50)
        resident = Bench.resident_bytes() - before
        late = figure("late_us_p99")
        stop(program)
        parent = self()
        theirs = Erlang.sleepers(count, rounds, fn -> send(parent, {:cpu, cpu_percent(rounds * 50)}) end)
        cpu_theirs = receive(do: ({:cpu, percent} -> percent))

        [
          {"#{count} that sleep for 100 ms: of a core", cpu, "%", load},
          {"… Erlang's", cpu_theirs, "%", nil},
          {"… memory", resident / 1_048_576, "MiB", memory},
          {"… late, p99", late / 1_000, "ms", if(load, do: {:at_most, 2})},
          {"… Erlang's", Bench.percentile(theirs, 99) / 1_000, "ms", nil}
        ]
      end

    [late] = measured("sleepers", %{"COUNT" => 10, "ROUNDS" => rounds, "LOOPS" => 4}, ["late_us_p99"])

    List.flatten(many) ++
      [{"ten that sleep beside 4 endless loops: late, p99", late / 1_000, "ms", {:at_most, 2}}]
  end

  # The node's part of a core in the ms to come.
  defp cpu_percent(ms) do
    before = cpu_ms()
    Process.sleep(ms)
    (cpu_ms() - before) * 100 / ms
  end

  # In ticks of 10 ms.
  defp cpu_ms do
    [_name, rest] = String.split(File.read!("/proc/self/stat"), ") ")
    [user, system] = rest |> String.split() |> Enum.slice(11, 2) |> Enum.map(&String.to_integer/1)
    (user + system) * 10
  end

  defp alive(count) do
    before = Bench.resident_bytes()
    {us, program} = :timer.tc(fn -> "idle" |> start(%{"COUNT" => count}) |> tap(fn _ -> figure("idle") end) end)
    bytes = (Bench.resident_bytes() - before) / count
    ms = stop(program)

    [
      {"processes that wait at once", count, "", {:at_least, 100_000}},
      {"… start of one", us / count, "µs", nil},
      {"… memory of one", bytes / 1_024, "KiB", {:at_most, 30}},
      {"… until all are gone that were killed", ms, "ms", {:at_most, 2_000}}
    ]
  end

  defp sockets(client, size, seconds) do
    program = start("echo", %{})
    port = listening()
    connects = clients(client, ["connect", port, 2, seconds])

    rounds =
      for {connections, target} <- [{size.(1_000), 150_000}, {size.(5_000), 120_000}] do
        made = clients(client, ["rounds", port, connections, seconds])
        {"32 bytes there and back on #{connections} connections", made, "/s", {:at_least, target}}
      end

    stop(program)
    [{"connect, echo and close by TCP", connects, "/s", {:at_least, 9_000}} | rounds]
  end

  # A process and a socket for each, which pings a server of tidepool-load's once a second.
  defp flows(count, seconds) do
    resting = rested()
    {server, address} = udp_server()
    env = %{"COUNT" => count, "ROUNDS" => seconds, "TARGET" => address}
    program = start("flows", env)
    figure("flowing")
    cpu = cpu_percent((seconds - 1) * 1_000)
    resident = Bench.resident_bytes() - resting
    [sent, lost] = for name <- ["sent", "lost"], do: figure(name)
    stop(program)
    Port.close(server)

    [
      {"#{count} flows of UDP, #{sent} pings: lost", lost, "", {:at_most, 0}},
      {"… of a core", cpu, "%", {:at_most, 30}},
      {"… memory", resident / 1_048_576, "MiB", nil},
      {"… memory that the node has when they are gone, of what it had before", rested() * 100 / resting, "%",
       {:at_most, 110}}
    ]
  end

  # The node's memory when nothing more is given back, for three seconds: it looks each second for what nobody uses.
  defp rested(least \\ nil, looks \\ 3)
  defp rested(least, 0), do: least

  defp rested(least, looks) do
    Process.sleep(1_000)
    now = Bench.resident_bytes()
    if least && now > least * 0.99, do: rested(min(least, now), looks - 1), else: rested(now)
  end

  # It ends with its standard input.
  defp udp_server do
    shell = ~s("$0" serve udp 127.0.0.1:0 & cat >&2; kill $!)

    port =
      Port.open({:spawn_executable, "/bin/sh"}, [
        :binary,
        :stderr_to_stdout,
        line: 200,
        args: ["-c", shell, Bench.program("tidepool-load")]
      ])

    receive do
      {^port, {:data, {:eol, line}}} ->
        {port, line |> String.split() |> Enum.find(&String.starts_with?(&1, "127.0.0.1:"))}
    after
      @patience -> raise "the server of UDP does not listen"
    end
  end

  defp listening do
    receive do
      {:tidepool_output, _pid, :stdout, "listening on " <> address} ->
        address |> String.trim() |> String.split(":") |> List.last()
    after
      @patience -> raise "the guest does not listen"
    end
  end

  defp compiled do
    client = Path.join(System.tmp_dir!(), "tidepool-bench-client-#{System.pid()}")
    System.at_exit(fn _status -> File.rm(client) end)
    {_output, 0} = System.cmd("cc", ["-O2", "-pthread", "-o", client, Path.join(__DIR__, "client.c")])
    client
  end

  defp clients(client, arguments) do
    {output, 0} = System.cmd(client, Enum.map(arguments, &to_string/1))
    output |> String.trim() |> String.to_integer()
  end
end

Bench.Processes.run()
