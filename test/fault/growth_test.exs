defmodule Tidepool.Fault.GrowthTest do
  # What docs/growth.md says of each thing that grows, with programs of a namespace that take it all.
  use Tidepool.Case

  alias Tidepool.{Growth, GrowthTable, Neighbours, Peer}

  @moduletag :lunatic
  @programs 6
  # What is beside what is counted: pages of the VM's allocators, threads, a heap that was not collected yet.
  @tolerated 32 * 1024 * 1024

  # Schedulers that are held up hold everybody up. A busy machine is late by less.
  @stall_ms 5_000

  @limits [{:limit, :messages}, {:limit, :total_memory}]
  @trap ~r/handles of one kind|as many names/

  # What the metrics call what counts a row.
  @accounts %{
    "memory" => ["memory"],
    "their number, and beyond 64 KiB of an instance memory" => ["memory"],
    "instances, and 5 KiB each on the host" => ["instances", "processes", "host_memory"],
    "stacks, and on the host" => ["stacks", "host_memory"],
    "on the host" => ["host_memory"],
    "on the host, with 96 bytes beside the message of each" => ["host_memory"],
    "on the host, with 320 bytes beside each" => ["host_memory"],
    "on the host, with 768 and 512 bytes each" => ["links", "monitors", "host_memory"],
    "sockets" => ["sockets", "handles"],
    "lines a second" => []
  }

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
        namespaces: Growth.namespaces(),
        net: ["udp:*:*", "tcp:*:*"]
      )

    Growth.prepare(node)
    Peer.deploy!(node, "rust", "hello_world", name: "others/hello")
    {port, quota} = {Peer.call(node, TidepoolWeb.Listener, :port, []), Growth.quota()}

    for [what, account, _bound, over] <- GrowthTable.rows("What programs take") do
      others = Neighbours.start(port)
      {name, programs} = Growth.programs(what, @programs)
      outcome = Peer.call(node, Growth, :grow, [name, what, programs])
      longest = Neighbours.stop(others)
      assert longest.call < @stall_ms and longest.health < @stall_ms, "#{what}: #{inspect(longest)}"

      resources = Map.fetch!(@accounts, account)

      case Map.fetch!(@ends, over) do
        :none ->
          assert {what, outcome.waiting, outcome.ended} == {what, programs, []}
          # Those of which none lives any more tell their account by how they ended.
          assert {what, resources -- outcome.grown} == {what, []}

        :ended ->
          assert {what, outcome.waiting, length(outcome.ended)} == {what, 0, programs}

        :either ->
          assert {what, outcome.waiting + length(outcome.ended)} == {what, programs}
          # Those that wait have what they were not refused.
          if outcome.waiting > 0, do: assert({what, resources -- outcome.grown} == {what, []})
      end

      if account == "lines a second", do: assert(dropped_lines(port, name) > 0)

      for ended <- outcome.ended, do: assert_bound(what, ended)
      assert outcome.bytes <= quota + div(quota, 10) + @tolerated, "#{what}: #{div(outcome.bytes, 1024)} KiB"
    end
  end

  defp dropped_lines(port, name) do
    {200, _headers, metrics} = curl_url("http://127.0.0.1:#{port}/metrics")
    [_all, dropped] = Regex.run(~r/^tidepool_console_lines_dropped_total\{function="#{name}"\} (\d+)/m, metrics)
    String.to_integer(dropped)
  end

  defp assert_bound(_what, {reason, _message}) when reason in @limits, do: :ok
  defp assert_bound(what, {{:trap, _kind}, message}), do: assert(message =~ @trap, "#{what}: #{message}")
  defp assert_bound(what, other), do: flunk("#{what}: #{inspect(other)}")
end
