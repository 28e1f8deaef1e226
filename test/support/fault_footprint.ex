defmodule Tidepool.FaultFootprint do
  @moduledoc """
  What this node holds of the machine: instances, memory, and the memory images of compiled modules.
  """

  import ExUnit.Assertions
  import Tidepool.Case, only: [busy_instances: 0, eventually: 2]

  @deadline_ms 20_000

  @doc "Waits until nobody uses an instance and no process holds on to what earlier tests have left; then counts."
  def settled do
    eventually(fn -> busy_instances() == 0 end, @deadline_ms)
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

  defp collect_garbage, do: Enum.each(Process.list(), &:erlang.garbage_collect/1)
end
