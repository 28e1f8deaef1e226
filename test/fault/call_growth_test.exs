defmodule Tidepool.Fault.CallGrowthTest do
  # What docs/growth.md says of each thing that grows by calls, with callers of a namespace that take it all.
  use Tidepool.Case

  alias Tidepool.{CallGrowth, Growth, GrowthTable, Neighbours, Peer}

  # What is beside what is counted: pages of the VM's allocators, threads, bodies of requests that were not collected yet.
  @tolerated 96 * 1024 * 1024

  # Schedulers that are held up hold everybody up. A busy machine is late by less.
  @stall_ms 5_000

  setup_all do
    CallGrowth.prepare(Peer.start!(CallGrowth.settings()))
  end

  test "each thing that grows by calls comes to its bound, beside others whose calls go on, and is given back",
       context do
    quota = CallGrowth.quota()

    for [what, _account, _bound, over] <- GrowthTable.rows("What calls take") do
      others = Neighbours.start(context.port)
      sampler = Peer.call(context.node, Growth, :sample, [])
      let_go = CallGrowth.drive(what, over, context)
      bytes = Peer.call(context.node, Growth, :sampled, [sampler])
      longest = Neighbours.stop(others)
      assert longest.call < @stall_ms and longest.health < @stall_ms, "#{what}: #{inspect(longest)}"
      assert bytes <= quota + div(quota, 10) + @tolerated, "#{what}: #{div(bytes, 1024)} KiB"
      let_go.()
      since = Peer.call(context.node, System, :monotonic_time, [:millisecond])
      Peer.call(context.node, Growth, :given_back_ms, [since, CallGrowth.names(context)])
      eventually(fn -> Peer.call(context.node, Tidepool.Case, :busy_instances, []) == 0 end, CallGrowth.patience_ms())
    end
  end
end
