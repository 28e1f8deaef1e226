# Measures: what a node keeps of generated modules that are deployed, called, replaced and removed
# Builds: --manifest-path fuzz/smith/Cargo.toml
# bench/all runs it with: --count 1000
#
# `--count N` deploys so many (20,000), `--seed N` makes others. Each is compiled by a process of its own, so a thousand take half
# a minute. Its exit status is 1 when the node is not back at what it had after the warm-up: see @slack.
Code.require_file("support.exs", __DIR__)

defmodule Bench.Modules do
  @moduledoc """
  What is left of modules that come and go: memory, mappings, descriptors, threads, atoms, processes, instances, files.

  The modules are wasm-smith's: valid, and of no sense. They trap, run to their limits, print and ask the host. Some are
  refused. Each worker has a name for each kind of function, which it deploys them under in turn; half of the modules are
  large enough for the baseline compiler, as that is set here. Before and after all functions are removed.
  """

  alias Tidepool.{Catalog, Config, Engine, Error}
  alias Tidepool.Catalog.BlobStore

  @kib 1_024
  @limits [memory: 16 * 1_024 * @kib, time: 1_000, cpu_time: 200, reply: 1_024 * @kib]
  @kinds for engine <- [:fast, :dense],
             instances <- [:fresh, {:warm, 2}],
             snapshot <- [true, false],
             do: [engine: engine, instances: instances, snapshot: snapshot]

  # What a node may have more of than before and still be back: the VM's and the C library's allocators take and return
  # mappings as they please. One thing kept for each module is more, even of a smoke's.
  @slack [mappings: 40, descriptors: 0, threads: 2, atoms: 8, processes: 0, instances: 0]

  @instances 16
  # Modules that one run of the generator makes.
  @batch 100
  @patience_ms 60_000

  def run do
    options = Bench.options(smoke: :boolean, count: :integer, seed: :integer)
    {warm_up, count} = if options[:smoke], do: {24, 56}, else: {200, options[:count] || 20_000}
    seed = options[:seed] || 1
    Application.put_env(:tidepool, :baseline, 2 * @kib)
    # Slots of the engine keep the image of the module they had last. All of them have one after the warm-up.
    Application.put_env(:tidepool, :max_instances, @instances)
    # So small that old code is thrown out.
    Application.put_env(:tidepool, :compile_cache, 4 * 1_024 * @kib)
    load_code()
    Bench.start!()
    # Each refusal would be a line.
    Logger.configure(level: :none)

    deploy_all(warm_up, seed, fn _done -> :ok end)
    before = settled(nil)
    IO.puts("after #{warm_up}: #{inspect(before)}")
    began = System.monotonic_time(:microsecond)
    ends = deploy_all(count, seed + 1_000_000, &progress(&1, count))
    seconds = (System.monotonic_time(:microsecond) - began) / 1_000_000
    after_all = settled(before)

    figures = for {name, value} <- after_all, do: {"#{name} at the end", value, "", nil}

    grown =
      for {name, slack} <- @slack do
        {"#{name}, more than the #{before[name]} before", after_all[name] - before[name], "", {:at_most, slack}}
      end

    Bench.report(
      "modules",
      Enum.map(Enum.sort(ends), fn {how, times} -> {how, times, "", nil} end) ++
        [{"modules", count, "", nil}, {"modules a second", count / seconds, "/s", nil}] ++
        Enum.map(before, fn {name, value} -> {"#{name} before", value, "", nil} end) ++
        figures ++
        [{"resident, end / before", after_all.resident_kib / before.resident_kib, "×", nil}] ++ grown
    )

    if not back?(after_all, before), do: exit({:shutdown, 1})
  end

  # Code that is loaded later would count as atoms.
  defp load_code do
    for library <- [:kernel, :stdlib, :elixir, :logger, :tidepool] do
      {:ok, modules} = :application.get_key(library, :modules)
      Enum.each(modules, &:code.ensure_loaded/1)
    end
  end

  # How deploys and calls ended, and how often. The modules are handed to the workers one by one.
  defp deploy_all(count, seed, progress) do
    workers =
      for worker <- 1..System.schedulers_online() do
        # What a module is called with follows from the seed; who gets which does not.
        Task.async(fn ->
          :rand.seed(:exsss, {seed, worker, 0})
          work(worker, %{})
        end)
      end

    0..(count - 1)//@batch
    |> Stream.flat_map(&generate(seed + &1, min(@batch, count - &1)))
    |> Stream.with_index(1)
    |> Enum.each(fn {wasm, number} ->
      receive do: ({:next, worker} -> send(worker, {:module, wasm, number}))
      progress.(number)
    end)

    for _worker <- workers, do: receive(do: ({:next, worker} -> send(worker, :done)))
    ends = workers |> Task.await_many(:infinity) |> Enum.reduce(&Map.merge(&1, &2, fn _how, a, b -> a + b end))
    for function <- Tidepool.list(), do: :ok = Tidepool.remove(function.name)
    ends
  end

  defp generate(seed, count) do
    folder = System.get_env("CARGO_TARGET_DIR", "fuzz/smith/target")
    smith = Path.expand(Path.join([folder, "release", "tidepool_smith"]), "native")
    {modules, 0} = System.cmd(smith, ["#{seed}", "#{count}"])
    for <<size::32-little, wasm::binary-size(size) <- modules>>, do: :binary.copy(wasm)
  end

  defp work(worker, ends) do
    send(parent(), {:next, self()})

    receive do
      {:module, wasm, number} -> work(worker, deploy(worker, wasm, number, ends))
      :done -> ends
    end
  end

  defp parent, do: hd(Process.get(:"$ancestors"))

  defp deploy(worker, wasm, number, ends) do
    kind = Enum.at(@kinds, rem(number, length(@kinds)))
    name = "function_#{worker}_#{rem(number, length(@kinds))}"

    case Tidepool.deploy(wasm, [name: name, limits: @limits] ++ kind) do
      {:ok, function} ->
        ends = count(ends, "deployed, #{function.engine}, #{function.tier}, start: #{function.start}")
        ends = Enum.reduce(1..:rand.uniform(2), ends, fn _, ends -> count(ends, "called, " <> call(name)) end)
        if :rand.uniform(8) == 1, do: :ok = Tidepool.remove(name)
        ends

      {:error, error} ->
        count(ends, "refused, #{error.details[:step]}: #{reason(error)}")
    end
  end

  defp call(name) do
    payload = :rand.bytes(Enum.random([0, 1, 100, @kib, 64 * @kib]))

    case Tidepool.call(name, nil, payload) do
      {:ok, _reply} -> "replied"
      {:error, error} -> reason(error)
    end
  end

  defp reason(%Error{reason: {reason, kind}}), do: "#{reason} #{kind}"
  defp reason(%Error{reason: reason}), do: "#{reason}"

  defp count(ends, how), do: Map.update(ends, how, 1, &(&1 + 1))

  # Each tenth of the way: what grows all the time is seen to.
  defp progress(done, count) do
    if count >= 1_000 and rem(done, div(count, 10)) == 0, do: IO.puts("#{done}: #{inspect(figures())}")
  end

  # What the node has when it has come to rest: the same for a second, or, if there is a `before`, as little as that; at the
  # latest after a minute.
  defp settled(before) do
    settled(before, figures(), 0, System.monotonic_time(:millisecond) + @patience_ms)
  end

  defp settled(before, last, same, deadline) do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    Process.sleep(100)
    now = figures()
    same = if counted(now) == counted(last), do: same + 1, else: 0
    rested? = same >= 20 and (before == nil or back?(now, before))
    if rested? or System.monotonic_time(:millisecond) > deadline, do: now, else: settled(before, now, same, deadline)
  end

  defp counted(figures), do: Map.take(figures, Keyword.keys(@slack))

  defp back?(now, before), do: Enum.all?(@slack, fn {name, slack} -> now[name] <= before[name] + slack end)

  defp figures do
    data = Catalog.Store.folder(Config.get(:data))

    %{
      resident_kib: div(Bench.resident_bytes(), @kib),
      mappings: "/proc/self/maps" |> File.read!() |> String.split("\n", trim: true) |> length(),
      descriptors: length(File.ls!("/proc/self/fd")),
      threads: length(File.ls!("/proc/self/task")),
      atoms: :erlang.system_info(:atom_count),
      processes: length(Process.list()),
      instances: Engine.instances().live,
      vm_kib: div(:erlang.memory(:total), @kib),
      blobs: length(BlobStore.list(Catalog.blobs())),
      compiled_files: length(File.ls!(Path.join(data, "compiled")))
    }
  end
end

Bench.Modules.run()
