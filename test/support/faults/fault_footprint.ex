defmodule Tidepool.FaultFootprint do
  @moduledoc """
  What this node holds of the machine: instances, memory, and the memory images of compiled modules.
  """

  import ExUnit.Assertions
  import Tidepool.Case, only: [busy_instances: 0, eventually: 2]

  @deadline_ms 20_000
  # On a busy machine the threads for what nobody waits for hardly get on.
  @compiled_ms 120_000

  @doc """
  Waits until nobody uses an instance, nothing is compiled for earlier tests and no process holds on to what they have left;
  then counts.
  """
  def settled do
    eventually(fn -> busy_instances() == 0 end, @deadline_ms)
    eventually(fn -> not compiling?() end, @compiled_ms)
    collect_garbage()
    Tidepool.Engine.instances()
  end

  @doc "Fails unless there are soon no more instances, idle and queued ones included, than there were in `before`."
  def assert_instances_back(before) do
    eventually(
      fn ->
        now = Tidepool.Engine.instances()
        assert now.live - now.idle == 0
        assert now.live <= before.live
        assert now.queued == 0
      end,
      @deadline_ms
    )
  end

  @doc "Resident memory of this process of the operating system, in bytes."
  def resident_bytes do
    [_all, kib] = Regex.run(~r/^VmRSS:\s+(\d+) kB$/m, File.read!("/proc/self/status"))
    String.to_integer(kib) * 1024
  end

  @doc """
  Where the resident memory lies, in MiB: by kind, what the VM counts of it, what its allocators have of the system, and the largest
  mappings.
  """
  def breakdown do
    kinds = Regex.scan(~r/^Rss(\w+):\s+(\d+) kB$/m, File.read!("/proc/self/status"), capture: :all_but_first)
    kinds = for [kind, kib] <- kinds, do: "#{kind} #{div(String.to_integer(kib), 1024)}"
    mappings = for {kib, name} <- Enum.take(mappings(), 12), do: "#{div(kib, 1024)} #{name}"
    vm = "VM #{mib(:erlang.memory(:total))}, carriers #{mib(carriers())}"
    Enum.join(kinds ++ [vm, "largest: " <> Enum.join(mappings, ", ")], "; ")
  end

  defp mib(bytes), do: div(bytes, 1024 * 1024)

  # In KiB, the largest first.
  defp mappings do
    pattern =
      ~r/^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)\n(?:Size:.*\n|KernelPageSize:.*\n|MMUPageSize:.*\n)*Rss: +(\d+) kB$/m

    pattern
    |> Regex.scan(File.read!("/proc/self/smaps"), capture: :all_but_first)
    |> Enum.map(fn [name, kib] ->
      {String.to_integer(kib), if(name == "", do: "anonymous", else: Path.basename(name))}
    end)
    |> Enum.sort(:desc)
  end

  # What the allocators of the VM have taken of the system, in use or not.
  defp carriers do
    for allocator <- :erlang.system_info(:alloc_util_allocators),
        {:instance, _number, kinds} <- List.wrap(instances(allocator)),
        {kind, figures} when kind in [:mbcs, :sbcs] <- kinds,
        {:carriers_size, bytes, _last, _most} <- figures,
        reduce: 0 do
      sum -> sum + bytes
    end
  end

  defp instances(allocator), do: :erlang.system_info({:allocator_sizes, allocator})

  @doc "Memory images of modules that are open. A compiled module with data has one for as long as anybody holds it."
  def open_images do
    collect_garbage()
    targets = for descriptor <- File.ls!("/proc/self/fd"), do: File.read_link("/proc/self/fd/#{descriptor}")
    Enum.count(targets, &match?({:ok, "/memfd:wasm" <> _}, &1))
  end

  # Compiling takes memory of its own, for modules that were removed meanwhile as well. Linux cuts names after 15 bytes.
  defp compiling? do
    Enum.any?(Path.wildcard("/proc/self/task/*/stat"), fn path ->
      case File.read(path) do
        {:ok, stat} -> stat =~ ~r/\(tidepool-compil\) [^S]/
        # The thread has ended.
        {:error, _reason} -> false
      end
    end)
  end

  defp collect_garbage, do: Enum.each(Process.list(), &:erlang.garbage_collect/1)
end
