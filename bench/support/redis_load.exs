defmodule Bench.RedisLoad do
  @moduledoc """
  Load on the subjects of `bench/run redis`: closed loops, in which each of so many callers asks again when it is answered, from
  Elixir and with `ab`; and an open loop at given rates with `tidepool-load`.

  The subjects take turns at each level of concurrency, so that a drift of the machine hits all of them alike. What a
  closed loop from Elixir counts begins when the loop has run for a while: its start, when all callers need an instance
  at once, is not what it measures.
  """

  @doc "Measures `%{name => %{level => [%{rate, failed}]}}`, a sample for each round, by `load`, which gets subject and level."
  def closed(subjects, plan, load) do
    for level <- plan.levels, round <- 0..plan.rounds, subject <- subjects do
      subject.ready.()
      sample = load.(subject, level)
      # Round 0 warms up.
      {subject.name, level, round, sample}
    end
    |> Enum.reject(fn {_name, _level, round, sample} -> round == 0 and sample.failed == 0 end)
    |> Enum.group_by(&elem(&1, 0))
    |> Map.new(fn {name, samples} ->
      {name, Enum.group_by(samples, &elem(&1, 1), &elem(&1, 3))}
    end)
  end

  @doc "The best median rate of a subject over all levels."
  def best(measured, name) do
    measured[name] |> Map.values() |> Enum.map(&median_rate/1) |> Enum.max()
  end

  @doc "The median of samples' rates."
  def median_rate(samples), do: samples |> Enum.map(& &1.rate) |> Bench.percentile(50)

  # Before counting, in a closed loop from Elixir.
  @ramp_ms 50

  # Requests for each connection of ab, at least: fewer, and it measures its own start.
  @least_each 5

  @doc "`level` processes that call back to back, and how many calls end within the batch's time."
  def processes(subject, level, plan) do
    counters = :counters.new(2, [:write_concurrency])
    bench = self()

    workers =
      for _ <- 1..level do
        spawn_monitor(fn ->
          send(bench, {:up, self()})
          receive do: ({:go, from, until} -> call_until(subject.call, from, until, counters, 0))
        end)
      end

    for {pid, _monitor} <- workers, do: receive(do: ({:up, ^pid} -> :ok))
    from = System.monotonic_time(:microsecond) + @ramp_ms * 1_000
    for {pid, _monitor} <- workers, do: send(pid, {:go, from, from + plan.batch_ms * 1_000})

    failed =
      Enum.count(workers, fn {_pid, monitor} -> receive(do: ({:DOWN, ^monitor, _, _, why} -> why != :normal)) end)

    %{rate: :counters.get(counters, 1) / plan.batch_ms * 1_000, failed: failed}
  end

  # A call that fails raises, and its process with it.
  defp call_until(call, from, until, counters, count) do
    call.()
    now = System.monotonic_time(:microsecond)

    cond do
      now < from -> call_until(call, from, until, counters, count)
      now < until -> call_until(call, from, until, counters, count + 1)
      true -> :counters.add(counters, 1, count)
    end
  end

  @doc "`level` keep-alive connections of ab, for about the batch's time."
  def ab(subject, level, plan) do
    # As many as were answered in that time when it was last tried; a first guess is low.
    key = {__MODULE__, subject.name, level}
    guess = Process.get(key) || Process.get({__MODULE__, subject.name}, 2_000)
    requests = max(trunc(guess * plan.batch_ms / 1_000), @least_each * level)
    arguments = ["-q", "-k", "-s", "10", "-c", "#{level}", "-n", "#{requests}", subject.url]
    {output, 0} = System.cmd("ab", arguments, stderr_to_stdout: true)
    rate = number(output, ~r/Requests per second: +([\d.]+)/)
    Process.put(key, rate)
    Process.put({__MODULE__, subject.name}, rate)
    failed = number(output, ~r/Failed requests: +(\d+)/) + number(output, ~r/Non-2xx responses: +(\d+)/)
    %{rate: rate, failed: trunc(failed)}
  end

  defp number(output, pattern) do
    case Regex.run(pattern, output, capture: :all_but_first) do
      [digits] -> digits |> Float.parse() |> elem(0)
      nil -> 0.0
    end
  end

  @doc "Requests at shares of `capacity`, whatever comes of them: `[{name, share, report}]`, as tidepool-load reports."
  def open(subjects, plan, capacity) do
    for share <- plan.shares, subject <- subjects do
      subject.ready.()
      {subject.name, share, scheduled(subject.url, trunc(capacity * share), plan.open_ms)}
    end
  end

  defp scheduled(url, rate, duration_ms) do
    json = Path.join(System.tmp_dir!(), "tidepool-bench-#{System.pid()}-load.json")
    arguments = ["http", url, "--rate", "#{rate}/s", "--duration", "#{duration_ms}ms", "--connections", "64"]

    try do
      # Status 3 says that the generator could not keep the rate: on a full machine that is a result.
      {_output, status} =
        System.cmd(Bench.program("tidepool-load"), arguments ++ ["--quiet", "--json", json], stderr_to_stdout: true)

      true = status in [0, 3]
      {:ok, report} = json |> File.read!() |> Tidepool.Native.json_decode()

      %{
        rate: rate,
        kept?: report["kept_rate"],
        p50: report["latency_us"]["p50"],
        p99: report["latency_us"]["p99"],
        failed: report["unstarted"] + (report["failed"] |> Map.values() |> Enum.sum())
      }
    after
      File.rm(json)
    end
  end
end
