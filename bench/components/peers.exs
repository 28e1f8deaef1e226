defmodule Bench.Peers do
  @moduledoc """
  What `bench/run components` holds calls against: other programs, and how they take turns with calls of this node.

  A program that makes calls itself, as `bare_component` of the core's examples, reads a line for each batch and answers with the
  nanoseconds of a call.
  """

  @line 4_000_000

  @doc "Says on standard error that rows are left out, and why; none."
  def left_out(why) do
    IO.puts(:stderr, "left out: #{why}")
    []
  end

  @doc "A program that cargo has built, which reads lines."
  def program(path, arguments) do
    start(Bench.program(path), arguments)
  end

  defp start(path, arguments), do: Port.open({:spawn_executable, path}, [:binary, line: @line, args: arguments])

  @doc "The time that the baseline compiler takes over a component, in ns."
  def winch(path) do
    {text, 0} = System.cmd(Bench.program("examples/bare_component"), ["winch", path])
    text |> String.trim() |> String.to_integer()
  end

  # Is what is not there to be built first?
  defp long?, do: System.get_env("TIDEPOOL_LONG", "") != ""

  @doc "A bare hyper server, and its port."
  def bare do
    server = program("examples/bare", [])
    {server, server |> answer() |> String.to_integer()}
  end

  @doc "Rows of what takes wasmtime's command line, if it is there."
  def with_wasmtime(rows) do
    what = if long?(), do: "install_wasmtime >&2; ", else: ""
    script = ~s(set -eu; . bin/support/common.sh; . bin/support/wasmtime.sh; #{what}echo "$wasmtime")
    {path, 0} = System.cmd("bash", ["-c", script])
    path = String.trim(path)

    if File.exists?(path),
      do: rows.(path),
      else: left_out("wasmtime serve, for it is not there: TIDEPOOL_LONG=1 has it built")
  end

  @doc "A server of wasmtime's command line that has a component, and its port."
  def serve(wasmtime, options, component) do
    # It ends when its input does.
    script = ~S("$@" 2>&1 </dev/null & server=$!; cat; kill $server)
    arguments = ["-c", script, "bash", wasmtime | options] ++ ["--addr", "127.0.0.1:0", component]
    server = start(System.find_executable("bash"), arguments)
    {server, port_of(server)}
  end

  defp port_of(server) do
    case answer(server) do
      "Serving HTTP on " <> url -> URI.parse(url).port
      _another_line -> port_of(server)
    end
  end

  @doc "Rows of what takes Extism's runtime, if it is there; it has one plug-in."
  def with_extism(plugin, rows) do
    folder = System.get_env("CARGO_TARGET_DIR", "target") |> Path.expand("native") |> Path.join("peers")
    path = Path.join(folder, "release/extism_peer")

    if long?() do
      how = ["build", "--quiet", "--release", "--locked", "--target-dir", folder]
      {_text, 0} = System.cmd("cargo", how, cd: "bench/components/extism")
    end

    if File.exists?(path),
      do: rows.(start(path, [plugin])),
      else: left_out("the crate extism, for it is not there: TIDEPOOL_LONG=1 has it built")
  end

  @doc """
  Runs subjects side by side, functions and `{program, line}`: in each round every subject gets a batch, so that whatever else the
  machine does hits all alike. Then each gets batches whose calls are timed one by one. Returns name =>
  `{median of the batches, p99 of the calls}`, in ns of a call.
  """
  def side_by_side(subjects, rounds, calls) do
    for {_name, subject} <- subjects, do: batch(subject, calls)
    times = for _round <- 1..rounds, {name, subject} <- subjects, do: {name, batch(subject, calls)}
    each = for _round <- 1..rounds, {name, subject} <- subjects, do: {name, each(subject, calls)}

    medians =
      times
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
      |> Map.new(fn {name, all} -> {name, Bench.percentile(all, 50)} end)

    each
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Map.new(fn {name, all} -> {name, {medians[name], all |> Enum.concat() |> Bench.percentile(99)}} end)
  end

  defp batch({program, line}, calls), do: program |> ask("#{line} #{calls}") |> String.to_integer()

  defp batch(fun, calls) do
    began = System.monotonic_time(:nanosecond)
    Bench.repeat(fun, calls)
    (System.monotonic_time(:nanosecond) - began) / calls
  end

  defp each({program, line}, calls),
    do: program |> ask("#{line} #{calls} each") |> String.split() |> Enum.map(&String.to_integer/1)

  defp each(fun, calls), do: Bench.latencies(fun, calls)

  defp ask(program, line) do
    true = Port.command(program, line <> "\n")
    answer(program)
  end

  defp answer(program) do
    receive do
      {^program, {:data, {:eol, line}}} -> line
    after
      60_000 -> raise "a program of the bench does not answer"
    end
  end

  @doc "Rows of the subjects themselves."
  def figures(subjects, figures) do
    for {name, _subject} <- subjects, {median, p99} = figures[name], row <- [{name, median}, {name <> ", p99", p99}] do
      {label, ns} = row
      {label, ns / 1_000, "µs", nil}
    end
  end

  @doc "Rows of one of them by another, with an aim for the median."
  def ratios(figures, pairs) do
    for {one, other, aim} <- pairs,
        {median, p99} = figures[one],
        {other_median, other_p99} = figures[other],
        row <- [
          {"#{one} / #{other}", median / other_median, "×", aim},
          {"#{one} / #{other}, p99", p99 / other_p99, "×", nil}
        ],
        do: row
  end

  @doc "A file of so many zeroes, which take no room, until the bench ends."
  def zeroes(bytes) do
    path = Path.join(System.tmp_dir!(), "tidepool-bench-#{System.pid()}-zeroes")
    System.at_exit(fn _status -> File.rm(path) end)
    {:ok, file} = :file.open(path, [:write, :raw])
    {:ok, ^bytes} = :file.position(file, bytes)
    :ok = :file.truncate(file)
    :ok = :file.close(file)
    path
  end

  @doc "Sends a file, and reads as much back: how long that takes, in s."
  def upload(url, file, bytes) do
    told = "%{http_code} %{size_download} %{time_total}"
    how = ["-sS", "-X", "POST", "-H", "expect:", "-T", file, "-o", "/dev/null", "-w", told, url]
    {text, 0} = System.cmd("curl", how)
    size = to_string(bytes)
    ["200", ^size, seconds] = String.split(text)
    String.to_float(seconds)
  end
end
