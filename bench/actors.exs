# Measures: actors: a call of one that is awake, durable calls, waking from memory and from disk, many asleep, a restart
# bench/all runs it with: --asleep 20000 --frozen 20000
#
# `--asleep N` has so many actors on disk (100,000), and `--frozen N` so many asleep in memory (20,000). Of more than 100,000 on disk the
# others are written as the first of them is, without a call: ten millions take a quarter of an hour, and 10 GB of disk.
Code.require_file("support.exs", __DIR__)

defmodule Bench.Actors do
  @moduledoc "Calls of actors beside calls of a warm function and of a GenServer, and what actors cost that sleep."

  alias Tidepool.Actor
  alias Tidepool.Actor.Journal.Frozen
  alias Tidepool.Actor.Ownership.Shards

  # So many are made by calls, at most.
  @called 100_000
  # Parts of the shards in which the others are loaded.
  @parts 16

  def run do
    options = Bench.options(smoke: :boolean, asleep: :integer, frozen: :integer)
    smoke? = options[:smoke] == true
    asleep = if smoke?, do: 500, else: options[:asleep] || 100_000
    frozen = if smoke?, do: 200, else: options[:frozen] || 20_000
    Application.put_env(:tidepool, :max_frozen, 64 * 1_073_741_824)
    Bench.start!()
    Bench.deploy!("warm", "rust/ledger", instances: {:warm, 4})
    Bench.deploy!("idle", "rust/ledger", actor: [durability: :idle, flush: 60_000])
    Bench.deploy!("ledger", "rust/ledger", actor: [idle: 60_000])
    Bench.deploy!("much", "rust/ledger", actor: [idle: 600_000])
    Bench.deploy!("frozen", "rust/ledger", actor: [idle: 100, frozen: 86_400_000, durability: :idle])
    Bench.deploy!("rested", "rust/ledger", actor: [idle: 2_000, frozen: 86_400_000, durability: :idle])
    {:ok, server} = Bench.Echo.start_link()

    Bench.report("actors", one(server, smoke?) ++ durable(smoke?) ++ much(smoke?) ++ frozen(frozen) ++ sleeping(asleep))
  end

  # One that is awake, beside what else a call can be.
  defp one(server, smoke?) do
    subjects = [
      {:server, fn -> GenServer.call(server, "1") end},
      {:warm, fn -> {:ok, _sum} = Tidepool.call("warm", "add", "1") end},
      {:idle, fn -> {:ok, _sum} = Actor.call("idle", "hot", "add", "1") end}
    ]

    ns = Bench.side_by_side(subjects, if(smoke?, do: 2, else: 20), if(smoke?, do: 50, else: 2_000))

    [
      {"warm call of the same guest / GenServer.call", ns.warm / ns.server, "×", nil},
      {"call of an actor, not durable", ns.idle / 1_000, "µs", nil},
      {"warm call / call of an actor, not durable", ns.warm / ns.idle, "×", {:at_least, 0.4}}
    ]
  end

  # Each answer is on disk.
  defp durable(smoke?) do
    ms = if smoke?, do: 300, else: 4_000

    rates =
      for callers <- [1, 64, 1_000] do
        names = List.to_tuple(for number <- 1..callers, do: "durable #{number}")
        Enum.each(Tuple.to_list(names), &({:ok, _sum} = Actor.call("ledger", &1, "add", "1")))
        turn = :counters.new(1, [])

        call = fn ->
          name =
            Process.get(:actor) || elem(names, rem(:counters.get(turn, 1), callers)) |> tap(&Process.put(:actor, &1))

          :counters.add(turn, 1, 1)
          {:ok, _sum} = Actor.call("ledger", name, "add", "1")
        end

        {callers, throughput(call, callers, ms)}
      end

    half = rates |> List.keyfind!(64, 0) |> elem(1) |> Kernel./(2)
    late = for _round <- 1..5, do: paced(half, if(smoke?, do: 100, else: 1_000))
    flushes = flushes(if(smoke?, do: 20, else: 1_000))

    for(
      {callers, rate} <- rates,
      do: {"durable calls of #{callers} actors", rate, "/s", if(callers == 64, do: {:at_least, 10_000})}
    ) ++
      [
        {"… at half of the rate of 64: answered after, p99", Bench.percentile(late, 50) / 1_000, "ms", {:at_most, 5}},
        {"… in the worst second of five", Enum.max(late) / 1_000, "ms", nil},
        {"8 KB written to a file and flushed, by itself: median", Bench.percentile(flushes, 50) / 1_000, "ms", nil},
        {"… p99", Bench.percentile(flushes, 99) / 1_000, "ms", nil}
      ]
  end

  # What the disk takes, in µs: an answer waits for one flush at least, and for what is left of the one before.
  defp flushes(count) do
    path = Path.join(System.tmp_dir!(), "tidepool-bench-flush-#{System.pid()}")
    {:ok, file} = :file.open(path, [:write, :raw, :binary])
    bytes = :crypto.strong_rand_bytes(8_192)

    took =
      for number <- 1..count do
        timed(fn ->
          :ok = :file.pwrite(file, 8_192 * rem(number, 100), bytes)
          :ok = :file.datasync(file)
        end)
      end

    :ok = :file.close(file)
    File.rm!(path)
    took
  end

  # Those with 8 KB that don't pack, of which a call changes a few bytes. What the process writes is counted by the system.
  defp much(smoke?) do
    names = for number <- 1..64, do: "much #{number}"
    for name <- names, do: {:ok, "1"} = Actor.call("much", name, "write", :crypto.strong_rand_bytes(8_000))
    before = written_bytes()
    until = System.monotonic_time(:millisecond) + if(smoke?, do: 300, else: 2_000)

    counts =
      names
      |> Enum.map(&Task.async(fn -> count(fn -> {:ok, _sum} = Actor.call("much", &1, "add", "1") end, until, 0) end))
      |> Task.await_many(:infinity)

    written = (written_bytes() - before) / Enum.sum(counts)

    wake =
      for name <- names do
        for _call <- 1..8, do: {:ok, _sum} = Actor.call("much", name, "add", "1")
        :ok = Actor.stop("much", name)
        timed(fn -> {:ok, _sum} = Actor.call("much", name, "sum") end)
      end

    [
      {"bytes written for a durable call of an actor with 8 KB", written, "bytes", nil},
      {"call that wakes one from disk, with 8 changes, median", Bench.percentile(wake, 50), "µs", nil}
    ]
  end

  defp written_bytes do
    [_line, bytes] = Regex.run(~r/^wchar: (\d+)$/m, File.read!("/proc/self/io"))
    String.to_integer(bytes)
  end

  # Bench.throughput counts by the hundred.
  defp throughput(fun, processes, ms) do
    until = System.monotonic_time(:millisecond) + ms
    began = System.monotonic_time(:microsecond)
    counts = for(_ <- 1..processes, do: Task.async(fn -> count(fun, until, 0) end)) |> Task.await_many(:infinity)
    Enum.sum(counts) / (System.monotonic_time(:microsecond) - began) * 1_000_000
  end

  defp count(fun, until, done) do
    fun.()
    if System.monotonic_time(:millisecond) < until, do: count(fun, until, done + 1), else: done + 1
  end

  # Calls of 64 actors at times of their own, from when each was due: the p99 in µs.
  defp paced(rate, ms) do
    apart = round(64 / rate * 1_000_000)

    1..64
    |> Enum.map(fn actor ->
      Task.async(fn ->
        began = System.monotonic_time(:microsecond) + :rand.uniform(apart)

        for call <- 0..div(ms * 1_000, apart) do
          due = began + call * apart
          wait = div(due - System.monotonic_time(:microsecond), 1_000)
          if wait > 0, do: Process.sleep(wait)
          {:ok, _sum} = Actor.call("ledger", "durable #{actor}", "add", "1")
          System.monotonic_time(:microsecond) - due
        end
      end)
    end)
    |> Task.await_many(:infinity)
    |> List.flatten()
    |> Bench.percentile(99)
  end

  # They fall asleep by themselves. Each is called as the first that wakes, and once more.
  defp frozen(count) do
    Bench.await(fn -> Actor.awake() == 0 or elem(Frozen.size(), 0) == 0 end)
    {before, {there, _bytes}} = {Bench.resident_bytes(), Frozen.size()}
    names = for number <- 1..count, do: "frozen #{number}"

    names
    |> Enum.chunk_every(div(count, 8) + 1)
    |> Enum.map(&Task.async(fn -> Enum.each(&1, fn name -> fall_asleep(name) end) end))
    |> Task.await_many(:infinity)

    Bench.await(fn -> elem(Frozen.size(), 0) >= there + count end)
    :erlang.garbage_collect()
    resident = Bench.resident_bytes() - before
    {_count, counted} = Frozen.size()
    sample = Enum.take_random(names, min(count, 1_000))
    wake = for name <- sample, do: timed(fn -> {:ok, "1"} = Actor.call("frozen", name, "sum") end)
    alone = woken_alone(min(count, 1_000))

    [
      {"memory for one of #{count} asleep in memory", max(resident, 0) / count, "bytes", {:at_most, 8_589}},
      {"… as `max_frozen` counts it", counted / (there + count), "bytes", nil},
      {"call that wakes from memory, median", Bench.percentile(alone, 50), "µs", nil},
      {"… p99", Bench.percentile(alone, 99), "µs", {:at_most, 100}},
      {"… while as many fall asleep, median", Bench.percentile(wake, 50), "µs", nil},
      {"… p99", Bench.percentile(wake, 99), "µs", nil}
    ]
  end

  # What it takes while nobody falls asleep.
  defp woken_alone(count) do
    names = for number <- 1..count, do: "rested #{number}"
    for name <- names, do: {:ok, _sum} = Actor.call("rested", name, "add", "1")
    Bench.await(fn -> Enum.all?(names, &match?({:ok, %{tier: :frozen}}, Actor.info("rested", &1))) end)
    for name <- Enum.shuffle(names), do: timed(fn -> {:ok, "1"} = Actor.call("rested", name, "sum") end)
  end

  # No more are awake at a time than there are instances.
  defp fall_asleep(name) do
    if Actor.awake() > 2_000, do: Bench.await(fn -> Actor.awake() < 1_000 end)
    {:ok, _sum} = Actor.call("frozen", name, "add", "1")
  end

  defp sleeping(count) do
    before = Bench.resident_bytes()
    called = min(count, @called)
    began = System.monotonic_time(:microsecond)
    in_parts(1..called, 100, &make(asleep(&1)))
    made = (System.monotonic_time(:microsecond) - began) / called
    {:ok, records} = Tidepool.Actor.Journal.existing()
    {:ok, {_epoch, seq, alarm, head, image}} = Tidepool.Native.read_record(records, "ledger", asleep(1))

    change = {:put, 1, seq, alarm, head, image, []}
    load((called + 1)..count//1, records, change)
    :erlang.garbage_collect()
    resident = Bench.resident_bytes() - before
    sample = for _ <- 1..min(count, 1_000), do: asleep(:rand.uniform(count))
    {:ok, [{_name, _seq, _alarm, bytes} | _more], _next} = Tidepool.Native.list_records(records, "ledger", nil, 1)

    wake = for name <- sample, do: timed(fn -> {:ok, "1"} = Actor.call("ledger", name, "sum") end)
    again = for name <- sample, do: timed(fn -> {:ok, "1"} = Actor.call("ledger", name, "sum") end)
    restart = restart(hd(sample))

    [
      {"made, written and put to sleep, one of #{called}", made, "µs", nil},
      {"record of one", bytes, "bytes", nil},
      {"memory for one of #{count} asleep", max(resident, 0) / count, "bytes", {:at_most, 100}},
      {"call that wakes from disk, median", Bench.percentile(wake, 50), "µs", nil},
      {"… p99", Bench.percentile(wake, 99), "µs", {:at_most, 2_000}},
      {"the same actors awake, median", Bench.percentile(again, 50), "µs", nil},
      {"restart with #{count} records, until one has answered", restart, "ms", {:at_most, 5_000}},
      {"memory of the node then", Bench.resident_bytes() / 1_048_576, "MiB", {:at_most, 1_024}}
    ]
  end

  defp asleep(number), do: "asleep #{number}"

  defp in_parts(first..last//_, parts, fun) do
    each = div(max(last - first + 1, 0), parts) + 1

    first..last//each
    |> Enum.map(&Task.async(fn -> Enum.each(&1..min(&1 + each - 1, last)//1, fun) end))
    |> Task.await_many(:infinity)
  end

  # In the order of the store's keys, a part of the shards at a time: at random each would be written to another page.
  defp load(first..last//_, _records, _change) when last < first, do: :ok

  defp load(numbers, records, change) do
    shard = &Tidepool.Native.record_shard("ledger", &1)

    for part <- 0..(@parts - 1) do
      numbers
      |> Stream.map(&asleep/1)
      |> Stream.filter(&(div(shard.(&1) * @parts, Shards.count()) == part))
      |> Enum.sort_by(&{shard.(&1), &1})
      |> Enum.chunk_every(1_000)
      |> Enum.each(&write(records, &1, change))

      :erlang.garbage_collect()
    end
  end

  defp write(records, names, change) do
    ids = for name <- names, do: Tidepool.Native.commit_record(records, "ledger", name, change)
    for id <- ids, do: receive(do: ({:tidepool_committed, ^id, :ok} -> :ok))
  end

  defp make(name) do
    {:ok, _sum} = Actor.call("ledger", name, "add", "1")
    :ok = Actor.stop("ledger", name)
  end

  defp timed(fun) do
    began = System.monotonic_time(:nanosecond)
    fun.()
    (System.monotonic_time(:nanosecond) - began) / 1_000
  end

  defp restart(name) do
    :ok = Application.stop(:tidepool)
    began = System.monotonic_time(:microsecond)
    {:ok, _started} = Application.ensure_all_started(:tidepool)
    {:ok, "1"} = Actor.call("ledger", name, "sum")
    (System.monotonic_time(:microsecond) - began) / 1_000
  end
end

Bench.Actors.run()
