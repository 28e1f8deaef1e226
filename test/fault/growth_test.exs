defmodule Tidepool.Fault.GrowthTest do
  # What docs/growth.md says of each thing that grows, with programs of a namespace that take it all.
  use Tidepool.Case

  alias Tidepool.{Growth, GrowthTable, Neighbours, Peer}

  @moduletag :lunatic
  @programs 6
  @quota 64 * 1024 * 1024
  # What is beside what is counted: pages of the VM's allocators, threads, a heap that was not collected yet.
  @tolerated 32 * 1024 * 1024

  # Schedulers that are held up hold everybody up. A busy machine is late by less.
  @stall_ms 5_000

  @limits [{:limit, :messages}, {:limit, :total_memory}]
  @trap ~r/handles of one kind|as many names/

  # What the words of the table mean for a program.
  @ends %{
    "the guest is refused it" => :none,
    "the call traps, and is caught" => :none,
    "the sender waits" => :none,
    "the figure is not kept" => :none,
    "lines are dropped, and counted" => :none,
    "the process ends" => :ended,
    "the process traps" => :ended,
    "the guest is refused it, or the process ends" => :either
  }

  test "each thing that grows comes to its bound, beside others whose calls go on, and is given back" do
    node =
      Peer.start!(
        server: true,
        namespaces: "tenant/memory=#{@quota},tenant/instances=40,tenant/queue=10",
        net: ["udp:*:*", "tcp:*:*"]
      )

    limits = [memory: 16 * 1024 * 1024]
    Peer.deploy!(node, "wat", "grows", name: "tenant/grows", limits: limits, net: ["udp:*:*"], files: ["/data=memory"])
    Peer.deploy!(node, "rust", "hello_world", name: "others/hello")
    port = Peer.call(node, TidepoolWeb.Listener, :port, [])

    for [what, _account, _bound, over] <- GrowthTable.rows("What programs take") do
      others = Neighbours.start(port)
      outcome = Peer.call(node, Growth, :grow, ["tenant/grows", what, @programs])
      longest = Neighbours.stop(others)
      assert longest.call < @stall_ms and longest.health < @stall_ms, "#{what}: #{inspect(longest)}"

      case Map.fetch!(@ends, over) do
        :none -> assert {what, outcome.waiting, outcome.ended} == {what, @programs, []}
        :ended -> assert {what, outcome.waiting, length(outcome.ended)} == {what, 0, @programs}
        :either -> :ok
      end

      for ended <- outcome.ended, do: assert_bound(what, ended)
      assert outcome.bytes <= @quota + div(@quota, 10) + @tolerated, "#{what}: #{div(outcome.bytes, 1024)} KiB"
    end
  end

  defp assert_bound(_what, {reason, _message}) when reason in @limits, do: :ok
  defp assert_bound(what, {{:trap, _kind}, message}), do: assert(message =~ @trap, "#{what}: #{message}")
  defp assert_bound(what, other), do: flunk("#{what}: #{inspect(other)}")
end
