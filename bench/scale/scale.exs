# Measures: what is lost because cores share things: one VM on two cores beside two VMs on a core each, and 64 schedulers
# Needs: wrk, taskset, objdump, nm, addr2line
# Builds: -p tidepool_core -p tidepool_http -p tidepool_nif --example bare
#
#   bench/run scale               ratios, from Elixir and over HTTP; what 64 schedulers cost: some minutes
#   bench/run scale --rounds 3    the same in fewer rounds than 7
#   bench/run scale --atomics     instead counts the atomic operations of a call, and says where they are: half a minute
#
# bench/all runs it with: --rounds 3
#
# The counts need the right to trace one's own children (ptrace); atomics.py says how they are made.

# It compiles the other files, and loads them into each VM.
Code.require_file("vms.exs", __DIR__)

defmodule Bench.Scale do
  @moduledoc """
  What calls lose because cores share things.

  One VM with two schedulers is held against two VMs with one scheduler each, each of them on a core of its own: those
  share nothing but the machine. A loop of Erlang in the same arrangement, and a bare hyper server, tell what the machine
  itself loses. All three VMs are there all the time, and take turns; each round has a ratio of its own.
  """

  alias Bench.Scale.VMs

  @processes 64
  @cores ["0", "1"]
  @from_elixir [{"computing", nil}, {"warm", 0.97}, {"fresh", 0.92}, {"dense", 0.90}]
  @over_http [{"bare hyper", nil}, {"warm", 0.97}]
  # Of atomic operations, for each call.
  @atomics %{"warm" => {:at_most, 4}}

  def run do
    options = Bench.options(smoke: :boolean, atomics: :boolean, rounds: :integer)
    folder = Path.join(System.tmp_dir!(), "tidepool-bench-#{System.pid()}")
    System.at_exit(fn _status -> File.rm_rf!(folder) end)

    cond do
      options[:atomics] -> Bench.report("scale_atomics", atomics(200))
      options[:smoke] -> Bench.report("scale", sharing(folder, 1, 100) ++ schedulers(folder, 20, 1) ++ atomics(5))
      true -> measure(folder, options[:rounds] || 7)
    end
  end

  defp measure(folder, rounds) do
    Bench.report("scale", sharing(folder, rounds, 300) ++ schedulers(folder, 1_000, div(rounds + 2, 3)))
  end

  # --- One VM beside two ---

  defp sharing(folder, rounds, ms) do
    one = [vm!(2, "0,1", Path.join(folder, "one"))]
    two = for core <- @cores, do: vm!(1, core, Path.join(folder, core))

    bare = [start_bare("0,1")]
    two_bare = for core <- @cores, do: start_bare(core)
    for vm <- two, do: VMs.halve_weight(VMs.on(vm, System, :pid, []))
    for {program, _port} <- two_bare, do: program |> Port.info(:os_pid) |> elem(1) |> VMs.halve_weight()

    from_elixir =
      Enum.flat_map(@from_elixir, fn {name, target} ->
        rates = beside(rounds, one, two, &calls(&1, name, ms))
        rows("#{name}, calls", rates, target) ++ [cpu_row(name, rates)]
      end)

    over_http =
      Enum.flat_map(@over_http, fn {name, target} ->
        {one, two} = if name == "bare hyper", do: {bare, two_bare}, else: {one, two}
        [one, two] = for servers <- [one, two], do: Enum.map(servers, &url/1)
        rows("#{name}, HTTP requests", beside(rounds, one, two, &requests/1), target)
      end)

    Enum.each(one ++ two, &VMs.stop/1)
    for {program, _port} <- bare ++ two_bare, do: Port.close(program)
    from_elixir ++ over_http
  end

  defp vm!(schedulers, cores, data) do
    vm = VMs.start!(schedulers, cores)
    VMs.boot!(vm, data: data, server: true, port: 0, io_threads: schedulers)
    :ok = VMs.on(vm, Bench.Scale.Subjects, :deploy, [])
    vm
  end

  # What both come to in each round. Who is first changes, so that neither always finds the machine as the other has left it.
  defp beside(rounds, one, two, measure) do
    if rounds > 1, do: Enum.each([one, two], measure)

    for round <- 1..rounds do
      if rem(round, 2) == 0 do
        second = measure.(two)
        {measure.(one), second}
      else
        {measure.(one), measure.(two)}
      end
    end
  end

  defp rows(name, rounds, target) do
    ratios = for {one, two} <- rounds, do: one.rate / two.rate
    two = for {_one, two} <- rounds, do: two.rate

    [
      {"#{name}/s, two VMs of one scheduler", Bench.percentile(two, 50), "/s", nil},
      {"#{name}, one VM of two schedulers / those", Bench.percentile(ratios, 50), "×", target && {:at_least, target}},
      {"#{name}, least of #{length(ratios)} rounds", Enum.min(ratios), "×", nil},
      {"#{name}, most of them", Enum.max(ratios), "×", nil}
    ]
  end

  # Other programs take time from the VMs, and little from this figure; but waiting is not in it.
  defp cpu_row(name, rounds) do
    ratios = for {one, two} <- rounds, do: one.cpu_us / two.cpu_us
    {"#{name}, CPU time of a call, one VM / two", Bench.percentile(ratios, 50), "×", nil}
  end

  # Calls per second of all of these VMs at once, which share the processes between them, and CPU time of a call.
  defp calls(vms, name, ms) do
    runs = at_once(vms, &VMs.on(&1, Bench.Scale.Subjects, :throughput, [name, div(@processes, length(vms)), ms]))
    rate = runs |> Enum.map(& &1.rate) |> Enum.sum()
    %{rate: rate, cpu_us: (runs |> Enum.map(&(&1.rate * &1.cpu_us)) |> Enum.sum()) / rate}
  end

  # Requests per second of load generators on each core, half of them for each server if there are two.
  defp requests(urls) do
    %{rate: @cores |> Enum.zip(Stream.cycle(urls)) |> at_once(fn {core, url} -> wrk(core, url) end) |> Enum.sum()}
  end

  defp at_once(subjects, run), do: subjects |> Enum.map(&Task.async(fn -> run.(&1) end)) |> Task.await_many(:infinity)

  defp wrk(core, url) do
    connections = div(@processes, length(@cores))
    {text, 0} = System.cmd("taskset", ["-c", core, "wrk", "-t1", "-c#{connections}", "-d1s", url])
    if text =~ "Non-2xx" or text =~ "Socket errors", do: raise(text)
    [rate] = Regex.run(~r/Requests\/sec:\s+([\d.]+)/, text, capture: :all_but_first)
    String.to_float(rate)
  end

  defp url({_program, port}), do: "http://127.0.0.1:#{port}/call/warm"
  defp url(vm), do: url({vm, VMs.on(vm, TidepoolWeb.Listener, :port, [])})

  # It has a thread for each core that it may use, and ends with its standard input.
  defp start_bare(cores) do
    program =
      Port.open({:spawn_executable, System.find_executable("taskset")}, [
        :binary,
        :exit_status,
        line: 64,
        args: ["-c", cores, Bench.program("examples/bare")]
      ])

    receive do
      {^program, {:data, {:eol, port}}} -> {program, String.to_integer(port)}
      {^program, {:exit_status, status}} -> raise "the bare server ended with status #{status}"
    after
      60_000 -> raise "the bare server says nothing"
    end
  end

  # --- 64 schedulers ---

  defp schedulers(folder, count, rounds) do
    data = Path.join(folder, "many")
    vm = VMs.start!(2, "0,1")
    VMs.boot!(vm, data: data)
    :ok = VMs.on(vm, Bench.Scale.Subjects, :deploy_many, [count])
    VMs.stop(vm)

    runs = for _round <- 1..rounds, schedulers <- [2, 64], do: {schedulers, wide(schedulers, data)}

    medians =
      for {schedulers, runs} <- Enum.group_by(runs, &elem(&1, 0), &elem(&1, 1)), into: %{} do
        {schedulers,
         for({key, _value} <- hd(runs), into: %{}, do: {key, runs |> Enum.map(& &1[key]) |> Bench.percentile(50)})}
      end

    for {key, name, unit} <- [
          {:start, "start, until each has answered", "ms"},
          {:resident, "memory in RAM then", "MiB"},
          {:resident_busy, "the same after calls by #{@processes * 4} processes", "MiB"},
          {:address_space, "address space", "GiB"},
          {:threads, "threads", ""}
        ],
        row <- [
          {"#{count} functions, 2 schedulers: #{name}", medians[2][key], unit, nil},
          {"#{count} functions, 64 schedulers: #{name}", medians[64][key], unit, nil}
        ],
        do: row
  end

  defp wide(schedulers, data) do
    began = System.monotonic_time(:microsecond)
    vm = VMs.start!(schedulers, "0,1")
    VMs.boot!(vm, data: data)
    :ok = VMs.on(vm, Bench.Scale.Subjects, :call_each, [])
    start = (System.monotonic_time(:microsecond) - began) / 1_000
    usage = VMs.usage(vm)
    VMs.on(vm, Bench.Scale.Subjects, :call_all, [@processes * 4, 500])
    busy = VMs.usage(vm)
    VMs.stop(vm)

    %{
      start: start,
      resident: usage.resident / 1_048_576,
      resident_busy: busy.resident / 1_048_576,
      address_space: busy.address_space / 1_073_741_824,
      threads: busy.threads
    }
  end

  # --- Atomic operations ---

  defp atomics(calls) do
    names = for {name, _target} <- @from_elixir, name != "computing", do: name
    script = Path.join(__DIR__, "atomics.py")
    {json, status} = System.cmd("python3", [script, "#{calls}" | names])
    if status != 0, do: raise("atomics.py says above why it has counted nothing")
    {:ok, counted} = Tidepool.Native.json_decode(json)
    Enum.each(names, &print_sites(&1, counted[&1]["sites"]))

    for name <- names,
        {where, text} <- [
          {"library", "Tidepool and Wasmtime"},
          {"libc", "libc"},
          {"outside", "the former, outside of calls"}
        ] do
      target = if where == "library", do: @atomics[name]
      {"#{name} call: atomic operations in #{text}", counted[name][where], "", target}
    end
  end

  defp print_sites(name, sites) do
    IO.puts(
      "\nAtomic operations of a #{name} call; the twenty functions with the most, their lines, and how often each was called by whom:"
    )

    for %{"function" => function, "per_call" => per_call, "lines" => lines, "callers" => callers} <-
          Enum.take(sites, 20) do
      IO.puts("#{figure(per_call)}  #{function}")

      for %{"per_call" => per_call, "inlined" => [_ | _] = inlined} <- lines,
          do: IO.puts("  #{figure(per_call)}  #{path(inlined)}")

      for %{"per_call" => per_call, "function" => caller} <- callers, do: IO.puts("  #{figure(per_call)}  < #{caller}")
    end
  end

  # What is counted there, and the frames that are no part of Rust's own libraries, the innermost first.
  defp path(inlined) do
    counted =
      for frame <- inlined,
          [what] <- [Regex.run(~r/^(?:clone|drop)<.*(?=, alloc::alloc::Global>)/, frame)],
          do: what <> ">"

    frames = Enum.reject(inlined, &(&1 =~ ~r{ (core|alloc|std)/src/}))
    (Enum.take(counted, 1) ++ Enum.take(frames, 3)) |> Enum.join(" < ")
  end

  defp figure(value), do: value |> :erlang.float_to_binary(decimals: 2) |> String.pad_leading(7)
end

Bench.Scale.run()
