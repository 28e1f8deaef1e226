# Measures: what viewers of the page cost: calls over HTTP beside 64 of them, and the memory of one that reads nothing
# Needs: wrk
# bench/all runs it with: --seconds 2 --functions 100
#
# `--seconds N` loads the node for so long in each turn (5), `--functions N` is how many it has (1,000), `--viewers N` how many look (64).
Code.require_file("../support.exs", __DIR__)

defmodule Bench.Viewers do
  @moduledoc """
  Half of the viewers look at the list of functions, the others at one that is called, in turns with nobody looking. All share the
  machine's cores: what the viewers take themselves is told beside.
  """

  @connections 64
  @rounds 6

  def run do
    options = Bench.options(smoke: :boolean, seconds: :integer, functions: :integer, viewers: :integer)

    smoke? = options[:smoke] == true
    viewers = options[:viewers] || if(smoke?, do: 8, else: 64)
    functions = options[:functions] || if(smoke?, do: 10, else: 1_000)
    seconds = if smoke?, do: 1, else: options[:seconds] || 5
    # As many as there are.
    Application.put_env(:tidepool, :console_lines, 100_000)
    Bench.start!(server: true)
    Bench.deploy!("hello", "rust/hello_world", instances: {:warm, 100}, operation: "hello")
    wasm = File.read!("guests/build/wat/returns_1_silent.wasm")

    for index <- 2..functions do
      {:ok, _function} = Tidepool.deploy(wasm, name: "function-#{index}")
      {:ok, _reply} = Tidepool.call("function-#{index}", "any")
    end

    port = TidepoolWeb.Listener.port()
    url = "http://127.0.0.1:#{port}/call/hello"
    Bench.wrk(url, @connections, 1)

    rounds =
      for _round <- 1..if(smoke?, do: 1, else: @rounds) do
        alone = Bench.wrk(url, @connections, seconds)
        begun = System.monotonic_time(:millisecond)
        clients = start_clients("mixed", viewers, port)
        beside = Bench.wrk(url, @connections, seconds)
        took = System.monotonic_time(:millisecond) - begun
        {kib, cpu_ms} = stop(clients)
        %{alone: alone, beside: beside, kib: kib / took * 1_000, cpu: cpu_ms / took * 100}
      end

    median = fn of -> rounds |> Enum.map(of) |> Bench.percentile(50) end

    Bench.report("viewers", [
      {"calls, nobody looks", median.(& &1.alone.rate), "/s", nil},
      {"calls beside #{viewers} viewers, #{functions} functions", median.(& &1.beside.rate), "/s", nil},
      {"calls beside viewers / without", median.(&(&1.beside.rate / &1.alone.rate)), "×", nil},
      {"the same, of the processor time that viewers leave", median.(&left/1), "×", {:at_least, 0.97}},
      {"the same, p99", median.(&(&1.beside.p99_us / &1.alone.p99_us)), "×", nil},
      {"what viewers are sent", median.(& &1.kib), "KiB/s", nil},
      {"what viewers take themselves", median.(& &1.cpu), "% of a core", nil},
      {"memory of a viewer that reads nothing", silent(viewers, port, smoke?), "KiB", {:at_most, 1_024}}
    ])
  end

  # Browsers are elsewhere.
  defp left(%{alone: alone, beside: beside, cpu: cpu}),
    do: beside.rate / alone.rate / (1 - cpu / 100 / System.schedulers_online())

  # Beside lines that come faster than anybody reads.
  defp silent(viewers, port, smoke?) do
    Bench.deploy!("hello", "rust/hello_world", instances: {:warm, 100}, operation: "log")

    print = fn ->
      for _line <- 1..if(smoke?, do: 1_000, else: 50_000), do: Tidepool.call("hello", "log", String.duplicate("x", 900))
    end

    print.()
    before = Bench.resident_bytes()
    clients = start_clients("silent", viewers, port)
    print.()
    memory = (Bench.resident_bytes() - before) / viewers
    stop(clients)
    max(memory, 0) / 1_024
  end

  # They end when their standard input does, so they have a shell that ends it.
  defp start_clients(kind, count, port) do
    script = Path.join(__DIR__, "clients.py")
    command = "(read _line) | exec python3 #{script} #{kind} #{count} #{port}"
    clients = Port.open({:spawn_executable, "/bin/sh"}, [:binary, :exit_status, line: 1_024, args: ["-c", command]])
    "ready" = line(clients)
    clients
  end

  defp stop(clients) do
    Port.command(clients, "\n")
    [kib, cpu_ms] = clients |> line() |> String.split() |> Enum.map(&String.to_integer/1)
    receive do: ({^clients, {:exit_status, 0}} -> :ok)
    {kib, cpu_ms}
  end

  defp line(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> line
      {^port, {:exit_status, status}} -> raise "the viewers ended with status #{status}"
    after
      60_000 -> raise "the viewers say nothing"
    end
  end
end

Bench.Viewers.run()
