defmodule Bench.RedisReport do
  @moduledoc "What `bench/run redis` shows: rows with targets, tables in Markdown, a plot."

  alias Bench.{Plot, RedisLoad}

  @page "docs/benchmarks.md"
  @marks {"<!-- redis: begin -->", "<!-- redis: end -->"}
  @targets %{"function" => 0.9, "GenServer" => 0.8}
  @styles %{
    "native" => {"#111", ""},
    "function, 1" => {"#1f77b4", ""},
    "function, 100" => {"#1f77b4", "6 3"},
    "function, fresh" => {"#1f77b4", "2 3"},
    "GenServer, 1" => {"#d62728", ""},
    "GenServer, 100" => {"#d62728", "6 3"},
    "GenServer, fresh" => {"#d62728", "2 3"}
  }

  @doc "The least ratio to native of all levels for each subject, with its target; and what failed."
  def rows(api, http, open, [native | guests]) do
    least =
      for {way, measured} <- [{"API", api}, {"HTTP", http}], name <- guests do
        least = for(level <- levels(measured), do: ratio(measured, name, native, level)) |> Enum.min()
        [handler, _pool] = String.split(name, ", ")
        {"#{way}, #{name} / native, least", least, "×", {:at_least, @targets[handler]}}
      end

    rates =
      for {way, measured} <- [{"API", api}, {"HTTP", http}], name <- [native | guests], level <- levels(measured) do
        {"#{way}, #{name}, #{level} at once", RedisLoad.median_rate(measured[name][level]), "/s", nil}
      end

    samples = for measured <- [api, http], {_name, levels} <- measured, {_level, samples} <- levels, do: samples
    failed = Enum.map(List.flatten(samples) ++ Enum.map(open, &elem(&1, 2)), & &1.failed)
    rates ++ least ++ [{"failures and time-outs", Enum.sum(failed), "", {:at_most, 0}}]
  end

  @doc "Writes the plot beside the results, or plot and tables into the documents."
  def write(api, http, open, names, docs?) do
    plot = Plot.log_log([{"API", lines(api, names)}, {"HTTP", lines(http, names)}], "calls at once", "calls/s")
    tables = tables(api, http, open, names)
    IO.puts("\n" <> tables)

    if docs? do
      File.mkdir_p!("docs/benchmarks")
      File.write!("docs/benchmarks/redis.svg", plot)
      {first, last} = @marks
      [head, rest] = String.split(File.read!(@page), first)
      [_old, tail] = String.split(rest, last)
      File.write!(@page, "#{head}#{first}\n\n#{surroundings()}\n\n#{tables}\n#{last}#{tail}")
    else
      File.write!(Path.join(System.get_env("BENCH_RESULTS", "bench/results"), "redis.svg"), plot)
    end
  end

  defp lines(measured, names) do
    for name <- names do
      {name, @styles[name], for(level <- levels(measured), do: {level, RedisLoad.median_rate(measured[name][level])})}
    end
  end

  defp tables(api, http, open, names) do
    """
    From Elixir, closed loop:

    #{closed(api, names)}

    Over HTTP, closed loop (`ab -k`):

    #{closed(http, names)}

    Over HTTP, open loop (`tidepool-load http --rate …`, 64 connections); p50 and p99 from when a request was due, in µs:

    #{scheduled(open, names)}

    \\* The load generator, which shares the cores, could not keep the rate.
    """
  end

  defp closed(measured, [native | guests]) do
    for level <- levels(measured) do
      ratios = for name <- guests, do: decimal(ratio(measured, name, native, level))
      [level, round(RedisLoad.median_rate(measured[native][level])) | ratios]
    end
    |> table(["at once", "native, /s" | guests])
  end

  defp scheduled(open, names) do
    for {share, of_share} <- Enum.group_by(open, &elem(&1, 1)) |> Enum.sort() do
      reports = Map.new(of_share, fn {name, _share, report} -> {name, report} end)
      cells = for name <- names, do: scheduled_cell(reports[name])
      ["#{round(share * 100)} %: #{reports[hd(names)].rate}" | cells]
    end
    |> table(["of native's most, /s" | names])
  end

  defp scheduled_cell(report), do: "#{report.p50} / #{report.p99}#{unless report.kept?, do: " *"}"

  defp table(rows, head) do
    [head, Enum.map(head, fn _ -> "--:" end) | rows] |> Enum.map_join("\n", &"| #{Enum.join(&1, " | ")} |")
  end

  # Each round is compared with the native one of the same round, and the median of that taken.
  defp ratio(measured, name, native, level) do
    Enum.zip(measured[name][level], measured[native][level])
    |> Enum.map(fn {sample, beside} -> sample.rate / beside.rate end)
    |> Bench.percentile(50)
  end

  defp levels(measured), do: measured |> Map.values() |> hd() |> Map.keys() |> Enum.sort()

  defp surroundings do
    machine = Bench.machine()
    {redis, 0} = System.cmd("redis-server", ["--version"])
    [redis] = Regex.run(~r/v=([\d.]+)/, redis, capture: :all_but_first)
    {:ok, version} = :application.get_key(:tidepool, :vsn)

    "Measured #{Date.utc_today()} with `bench/run redis --docs`: Tidepool #{version}, Elixir #{machine.elixir} on OTP #{machine.otp}, " <>
      "Redis #{redis}; #{machine.cores} cores (#{machine.cpu}), which server, Redis and load generator share."
  end

  defp decimal(number), do: :erlang.float_to_binary(number, decimals: 2)
end
