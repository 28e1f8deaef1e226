# Measures: durable writes of actors' records, to a file and to a PostgreSQL on this machine
# bench/all runs it with: --seconds 4
#
# `--seconds N` has each figure take so long (5). Each writer waits for its write before it makes the next one. A write replaces an
# image of 6,000 bytes that can't be packed, of one of 1,000 records.
Code.require_file("support.exs", __DIR__)

defmodule Bench.Records do
  @moduledoc "Writes of records by the engines that there are, and reads beside them."

  alias Tidepool.Native

  @records 1_000
  @shards Enum.to_list(0..4_095)

  def run do
    options = Bench.options(smoke: :boolean, seconds: :integer)
    ms = if options[:smoke], do: 200, else: 1_000 * (options[:seconds] || 5)
    Bench.start!()
    folder = Path.join(System.tmp_dir!(), "tidepool-records-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    {:ok, file} = Native.open_records(Path.join(folder, "records.db"))
    {server, url} = Bench.postgres()

    {:ok, shared} = Native.open_shared(url, "bench", 1)
    {:ok, {:new, _nodes}} = answer(Native.lease_renew(shared, 3_600_000, 60_000))
    {:ok, _owned} = answer(Native.shards_claim(shared, @shards, 60_000))
    Bench.report("records", figures("a file", file, ms) ++ figures("PostgreSQL", shared, ms))
    Port.close(server)
    File.rm_rf!(folder)
  end

  defp answer(id) do
    receive do
      {:tidepool_lease, ^id, answer} -> answer
    end
  end

  defp figures(where, records, ms) do
    image = :crypto.strong_rand_bytes(6_000)
    seqs = :atomics.new(@records, [])

    writes =
      for writers <- [1, 64, 1_000] do
        aim = if where == "PostgreSQL" and writers == 64, do: {:at_least, 5_000}

        {"#{where}: durable writes of #{writers} writers", rate(writers, ms, &write(records, seqs, image, &1)), "/s",
         aim}
      end

    {us, :ok} = :timer.tc(fn -> for(name <- 1..@records, do: read(records, name)) && :ok end)
    writes ++ [{"#{where}: a read", us / @records, "µs", nil}]
  end

  # Writers have records of their own.
  defp rate(writers, ms, write) do
    each = div(@records, writers)
    until = System.monotonic_time(:millisecond) + ms
    began = System.monotonic_time(:microsecond)

    counts =
      for writer <- 0..(writers - 1) do
        Task.async(fn -> count(until, 0, fn done -> write.(writer * each + rem(done, each) + 1) end) end)
      end

    Enum.sum(Task.await_many(counts, :infinity)) / (System.monotonic_time(:microsecond) - began) * 1_000_000
  end

  defp count(until, done, write) do
    write.(done)
    if System.monotonic_time(:millisecond) < until, do: count(until, done + 1, write), else: done + 1
  end

  defp write(records, seqs, image, name) do
    seq = :atomics.add_get(seqs, name, 1)
    id = Native.commit_record(records, "bench", Integer.to_string(name), {:put, 1, seq, nil, "head", image, []})

    receive do
      {:tidepool_committed, ^id, :ok} -> :ok
    end
  end

  defp read(records, name), do: {:ok, _record} = Native.read_record(records, "bench", Integer.to_string(name))
end

Bench.Records.run()
