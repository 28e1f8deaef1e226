defmodule Bench do
  @moduledoc """
  What the benches share: a node of their own, side-by-side measuring, and a report as table and JSON.
  """

  @doc "Whether a quick pass was asked for, by a bench's `--smoke`."
  def smoke?, do: switches([:smoke])[:smoke]

  @doc "Which of the switches that a bench takes were given; any other ends it, with a sentence and status 2."
  def switches(known) do
    given = options(Enum.map(known, &{&1, :boolean}))
    Map.new(known, &{&1, given[&1] == true})
  end

  @doc "What a bench was given of the options that it takes, as OptionParser has them; anything else ends it likewise."
  def options(known) do
    {given, rest, unknown} = OptionParser.parse(System.argv(), strict: known)

    with [other | _more] <- rest ++ Enum.map(unknown, &written/1) do
      IO.puts(:stderr, "this bench does not take #{other}, but #{Enum.map_join(known, ", ", &described/1)}")
      System.halt(2)
    end

    given
  end

  defp written({name, nil}), do: name
  defp written({name, value}), do: "#{name}=#{value}"

  defp described({name, :boolean}), do: "--#{switch(name)}"
  defp described({name, :integer}), do: "--#{switch(name)} NUMBER"
  defp described({name, _text}), do: "--#{switch(name)} #{name |> to_string() |> String.upcase()}"

  defp switch(name), do: name |> to_string() |> String.replace("_", "-")

  @doc "Starts Tidepool on an empty data folder, which goes when the bench ends; with its edge, if `server: true`."
  def start!(options \\ []) do
    data = Path.join(System.tmp_dir!(), "tidepool-bench-#{System.pid()}")
    System.at_exit(fn _status -> File.rm_rf!(data) end)
    Application.put_env(:tidepool, :data, data)
    Application.put_env(:tidepool, :server, Keyword.get(options, :server, false))
    Logger.configure(level: :warning)
    if System.get_env("BENCH_PROFILE"), do: name_code()
    {:ok, _started} = Application.ensure_all_started(:tidepool)
  end

  # Both JITs name their code in one file. The VM writes on where it was, whatever others have appended since: so all of
  # its modules are loaded before the first guest is compiled.
  defp name_code do
    Application.put_env(:tidepool, :perf_map, true)
    libraries = for library <- [:kernel, :stdlib, :elixir, :logger, :tidepool], do: to_string(:code.lib_dir(library))

    for {module, file, false} <- :code.all_available(), Enum.any?(libraries, &String.starts_with?("#{file}", &1)) do
      :code.ensure_loaded(List.to_atom(module))
    end
  end

  @doc "Deploys a built guest, and waits until its optimised code serves it."
  def deploy!(name, guest, options \\ []) do
    {:ok, function} = Tidepool.deploy(File.read!("guests/build/#{guest}.wasm"), [name: name] ++ options)
    await(fn -> match?({:ok, %{tier: :optimised}}, Tidepool.fetch(name)) end)
    function
  end

  @doc "The path of a program that cargo has built, relative to its folder of release builds."
  def program(path) do
    folder = System.get_env("CARGO_TARGET_DIR", "target")
    profile = if System.get_env("TIDEPOOL_LTO") == "off", do: "release", else: "ship"
    Path.expand(Path.join([folder, profile, path]), "native")
  end

  @doc "A database of PostgreSQL that writes to disk, and its URL; it ends when the port is closed."
  def postgres do
    {server, socket} = server("postgres", ["fsync"])
    {server, "postgres:///postgres?host=#{socket}&user=tidepool"}
  end

  @doc "A server of `bin/support`, and what it has said that it is ready with; it ends when the port is closed, or its owner ends."
  def server(name, arguments \\ []) do
    script = Path.expand("../bin/support/#{name}", __DIR__)
    server = Port.open({:spawn_executable, script}, [:binary, :exit_status, line: 1_000, args: arguments])

    receive do
      {^server, {:data, {:eol, "ready " <> said}}} -> {server, said}
      {^server, {:exit_status, status}} -> raise "bin/support/#{name} ended with #{status}"
    end
  end

  @doc "Loads a URL by wrk: requests per second, and the 99th percentile of the latency."
  def wrk(url, connections, seconds) do
    {text, 0} = System.cmd("wrk", ["-t1", "-c#{connections}", "-d#{seconds}s", "--latency", url])
    if text =~ "Non-2xx" or text =~ "Socket errors", do: raise(text)
    [rate] = Regex.run(~r/Requests\/sec:\s+([\d.]+)/, text, capture: :all_but_first)
    [p99, unit] = Regex.run(~r/99%\s+([\d.]+)(us|ms|s)/, text, capture: :all_but_first)
    factor = %{"us" => 1, "ms" => 1_000, "s" => 1_000_000}[unit]
    %{rate: String.to_float(rate), p99_us: String.to_float(p99) * factor}
  end

  @doc """
  Runs subjects side by side: in each round every subject gets one batch, so that whatever else the machine does hits
  all of them alike. Returns name => median over the batches' means, in ns per call.
  """
  def side_by_side(subjects, rounds, batch) do
    for {_name, fun} <- subjects, do: repeat(fun, batch)

    times =
      for _round <- 1..rounds, {name, fun} <- subjects do
        began = System.monotonic_time(:nanosecond)
        repeat(fun, batch)
        {name, (System.monotonic_time(:nanosecond) - began) / batch}
      end

    times
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Map.new(fn {name, means} -> {name, percentile(means, 50)} end)
  end

  @doc "Times `count` calls one by one: a list of ns."
  def latencies(fun, count) do
    for _ <- 1..count do
      began = System.monotonic_time(:nanosecond)
      fun.()
      System.monotonic_time(:nanosecond) - began
    end
  end

  @doc "Calls per second of `processes` processes that call back to back for `duration_ms`."
  def throughput(fun, processes, duration_ms) do
    until = System.monotonic_time(:millisecond) + duration_ms
    began = System.monotonic_time(:microsecond)

    counts = for(_ <- 1..processes, do: Task.async(fn -> count_until(fun, until, 0) end)) |> Task.await_many(:infinity)

    Enum.sum(counts) / (System.monotonic_time(:microsecond) - began) * 1_000_000
  end

  defp count_until(fun, until, count) do
    repeat(fun, 100)
    count = count + 100
    if System.monotonic_time(:millisecond) < until, do: count_until(fun, until, count), else: count
  end

  @doc "Calls `count` times and keeps nothing."
  def repeat(_fun, 0), do: :ok

  def repeat(fun, count) do
    fun.()
    repeat(fun, count - 1)
  end

  @doc "Asks until `condition` is true, and lets others run in between; raises when it is not within a minute."
  def await(condition, deadline \\ System.monotonic_time(:millisecond) + 60_000) do
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

  @doc "Memory of this node that is in RAM, in bytes."
  def resident_bytes do
    [kib] = Regex.run(~r/^VmRSS:\s+(\d+) kB$/m, File.read!("/proc/self/status"), capture: :all_but_first)
    String.to_integer(kib) * 1_024
  end

  @doc "The value below which `percent` of `values` lie."
  def percentile(values, percent) do
    sorted = Enum.sort(values)
    Enum.at(sorted, min(trunc(length(sorted) * percent / 100), length(sorted) - 1))
  end

  @doc """
  Prints rows of `{name, value, unit, target}` and writes them with the machine's description to
  NAME.json in the folder of results (see bench/README.md). A target is `{:at_most, x}`, `{:at_least, x}` or `nil`.
  """
  def report(name, rows) do
    machine = machine()
    IO.puts("\n#{name}: #{machine.cpu}, #{machine.cores} cores, OTP #{machine.otp}, load #{machine.load}\n")
    Enum.each(rows, &IO.puts(line(&1)))
    missed = Enum.count(rows, fn {_name, value, _unit, target} -> not met?(value, target) end)
    IO.puts("\n#{missed} targets missed")

    json =
      Enum.map(rows, fn {row, value, unit, target} ->
        %{name: row, value: value * 1.0, unit: unit, target: text(target), met: met?(value, target)}
      end)

    results = System.get_env("BENCH_RESULTS", "bench/results")
    File.mkdir_p!(results)
    File.write!(Path.join(results, "#{name}.json"), Tidepool.Native.json_encode(%{machine: machine, rows: json}))
  end

  defp line({name, value, unit, target}) do
    figure = String.pad_leading(:erlang.float_to_binary(value * 1.0, decimals: if(value < 100, do: 2, else: 0)), 12)
    mark = if target, do: "  #{text(target)} #{if met?(value, target), do: "met", else: "MISSED"}", else: ""
    String.pad_trailing(name, 58) <> figure <> " " <> String.pad_trailing(unit, 8) <> mark
  end

  defp met?(_value, nil), do: true
  defp met?(value, {:at_most, target}), do: value <= target
  defp met?(value, {:at_least, target}), do: value >= target

  defp text(nil), do: nil
  defp text({:at_most, target}), do: "≤ #{target}"
  defp text({:at_least, target}), do: "≥ #{target}"

  @doc "What it was measured on."
  def machine do
    cpu = Regex.run(~r/model name\s*:\s*(.*)/, File.read!("/proc/cpuinfo"), capture: :all_but_first)

    %{
      cpu: if(cpu, do: hd(cpu), else: "unknown CPU"),
      cores: System.schedulers_online(),
      otp: System.otp_release(),
      elixir: System.version(),
      load: File.read!("/proc/loadavg") |> String.split() |> hd()
    }
  end
end

defmodule Bench.Echo do
  @moduledoc "A process that answers calls, and host calls of guests, with what they bring."
  use GenServer

  @doc false
  def start_link, do: GenServer.start_link(__MODULE__, nil)

  @impl true
  def init(nil), do: {:ok, nil}

  @impl true
  def handle_call(payload, _from, state), do: {:reply, payload, state}

  @impl true
  def handle_info({:invoke_callback, _binding, _namespace, _operation, payload, ref}, state) do
    Tidepool.Host.reply(ref, {:ok, payload})
    {:noreply, state}
  end
end
