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
