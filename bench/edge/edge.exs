# Measures: calls over HTTP beside a bare hyper server, and what idle, half-open and slow clients cost
# Needs: wrk
# Builds: -p tidepool_core -p tidepool_http -p tidepool_nif --example bare
Code.require_file("../support.exs", __DIR__)

defmodule Bench.Edge do
  @moduledoc """
  The HTTP edge beside a bare hyper server, both under wrk with 64 connections on the same cores, in turns.
  """

  @active 64
  # With those that wrk opens these are the 10,000 that an edge takes.
  @idle 10_000 - @active

  def run(smoke?) do
    Bench.start!(server: true)
    Tidepool.Host.register({"host", "test", "echo"}, fn call -> {:ok, call.payload} end)
    Bench.deploy!("warm", "rust/hello_world", instances: {:warm, 100}, operation: "hello")
    Bench.deploy!("fresh", "wat/returns_1_silent")
    Bench.deploy!("fresh_as", "assemblyscript/hello_world", operation: "hello")
    Bench.deploy!("host", "rust/hello_world", instances: {:warm, 100}, operation: "host")
    Bench.deploy!("echo", "rust/hello_world", instances: {:warm, 100}, operation: "echo")
    {bare, bare_port} = start_bare()
    port = TidepoolWeb.Listener.port()
    bare_url = "http://127.0.0.1:#{bare_port}/call/warm"
    url = &"http://127.0.0.1:#{port}/call/#{&1}"

    scale =
      if smoke?,
        do: %{rounds: 1, seconds: 1, idle: 500, slow: 50},
        else: %{rounds: 5, seconds: 1, idle: @idle, slow: 500}

    rows = beside_bare(bare_url, url, scale) ++ beside_idle(url.("warm"), port, scale) ++ clients(port, scale)
    Port.close(bare)
    Bench.report("edge", rows)
  end

  defp beside_bare(bare_url, url, scale) do
    subjects = [
      {"bare hyper", bare_url, nil},
      {"warm", url.("warm"), 0.9},
      {"fresh, smallest guest", url.("fresh"), 0.75},
      {"fresh, AssemblyScript hello", url.("fresh_as"), nil},
      {"warm + function host callback", url.("host"), 0.5}
    ]

    for {_name, url, _target} <- subjects, do: Bench.wrk(url, @active, 1)
    before = TidepoolWeb.Listener.stats()

    runs =
      for _round <- 1..scale.rounds,
          {name, url, _target} <- subjects,
          do: {name, Bench.wrk(url, @active, scale.seconds)}

    stats = TidepoolWeb.Listener.stats()
    medians = runs |> Enum.group_by(&elem(&1, 0), &elem(&1, 1)) |> Map.new(fn {name, runs} -> {name, medians(runs)} end)
    bare = medians["bare hyper"]

    rows =
      Enum.flat_map(subjects, fn {name, _url, target} ->
        median = medians[name]

        [
          {name, median.rate, "/s", nil},
          {name <> ", p99", median.p99_us / 1_000, "ms", nil}
        ] ++
          if name == "bare hyper" do
            []
          else
            [
              {name <> " / bare hyper", median.rate / bare.rate, "×", target && {:at_least, target}},
              {name <> " / bare hyper, p99", median.p99_us / bare.p99_us, "×", target && {:at_most, 1.5}}
            ]
          end
      end)

    share = (stats.handed_over - before.handed_over) / (stats.requests - before.requests) * 100
    rows ++ [{"requests that became processes", share, "%", nil}]
  end

  defp beside_idle(url, port, scale) do
    alone = medians(for _ <- 1..min(scale.rounds, 3), do: Bench.wrk(url, @active, scale.seconds))
    before = Bench.resident_bytes()
    clients = start_clients("idle", scale.idle, port)
    memory = (Bench.resident_bytes() - before) / scale.idle
    beside = medians(for _ <- 1..min(scale.rounds, 3), do: Bench.wrk(url, @active, scale.seconds))
    Port.close(clients)
    until_closed()

    [
      {"warm beside #{scale.idle} idle connections", beside.rate, "/s", nil},
      {"warm beside #{scale.idle} idle connections / alone", beside.rate / alone.rate, "×", {:at_least, 0.8}},
      {"memory of an idle connection", memory / 1_024, "KiB", nil}
    ]
  end

  defp clients(port, scale) do
    for {kind, name, count, limit} <- [
          {"half", "a client that has sent half a head", scale.slow, 64},
          {"sender", "a client that sends a byte a second", scale.slow, 64},
          # Its reply, and as much again.
          {"reader", "a client that reads 256 KiB a byte a second", div(scale.slow, 5), 512}
        ] do
      before = Bench.resident_bytes()
      clients = start_clients(kind, count, port)
      memory = (Bench.resident_bytes() - before) / count
      Port.close(clients)
      until_closed()
      {"memory of #{name}", max(memory, 0) / 1_024, "KiB", {:at_most, limit}}
    end
  end

  defp medians(runs) do
    %{
      rate: runs |> Enum.map(& &1.rate) |> Bench.percentile(50),
      p99_us: runs |> Enum.map(& &1.p99_us) |> Bench.percentile(50)
    }
  end

  defp start_bare do
    port = open(Bench.program("examples/bare"), [])
    {port, port |> line() |> String.to_integer()}
  end

  defp start_clients(kind, count, port) do
    script = Path.join(__DIR__, "clients.py")
    clients = open(System.find_executable("python3"), [script, kind, "#{count}", "#{port}"])
    "ready" = line(clients)
    clients
  end

  # They end when their standard input does, with this VM at the latest.
  defp open(program, arguments) do
    Port.open({:spawn_executable, program}, [:binary, :exit_status, line: 1_024, args: arguments])
  end

  defp line(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> line
      {^port, {:exit_status, status}} -> raise "a program of the bench ended with status #{status}"
    after
      60_000 -> raise "a program of the bench says nothing"
    end
  end

  defp until_closed do
    if TidepoolWeb.Listener.stats().connections_open > 0 do
      Process.sleep(10)
      until_closed()
    end
  end
end

Bench.Edge.run(Bench.smoke?())
