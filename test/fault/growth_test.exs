defmodule Tidepool.Fault.GrowthTest do
  # What docs/growth.md says of each thing that grows, with programs of a namespace that take it all.
  use Tidepool.Case

  alias Tidepool.{FaultClient, Growth, Peer}

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

    for [what, _account, _bound, over] <- rows() do
      others = others(port)
      outcome = Peer.call(node, Growth, :grow, ["tenant/grows", what, @programs])
      longest = stop(others)
      assert longest.call < @stall_ms and longest.health < @stall_ms, "#{what}: #{inspect(longest)}"

      case Map.fetch!(@ends, over) do
        :none -> assert {what, outcome.waiting, outcome.ended} == {what, @programs, []}
        :ended -> assert {what, outcome.waiting, length(outcome.ended)} == {what, 0, @programs}
        :either -> :ok
      end

      for ended <- outcome.ended, do: assert_bound(what, ended)
      assert outcome.bytes <= @quota + div(@quota, 10) + @tolerated, "#{what}: #{div(outcome.bytes, 1024)} KiB"
      eventually(fn -> Peer.call(node, Growth, :held, ["tenant/grows"]) == %{} end)
    end
  end

  defp assert_bound(_what, {reason, _message}) when reason in @limits, do: :ok
  defp assert_bound(what, {{:trap, _kind}, message}), do: assert(message =~ @trap, "#{what}: #{message}")
  defp assert_bound(what, other), do: flunk("#{what}: #{inspect(other)}")

  # Calls of another function and of /health again and again, until it is told to stop: the longest of each in ms.
  defp others(port) do
    Task.async(fn ->
      socket = FaultClient.connect(port)
      ask(socket, %{call: 0, health: 0})
    end)
  end

  defp ask(socket, longest) do
    {call_ms, answer} = timed(fn -> FaultClient.call(socket, "others/hello", "hello", "Ada") end)
    assert answer == {200, "Hello, Ada!"}
    :ok = :gen_tcp.send(socket, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    {health_ms, {status, _body}} = timed(fn -> FaultClient.answer(socket) end)
    assert status == 200
    longest = %{call: max(longest.call, call_ms), health: max(longest.health, health_ms)}

    receive do
      :stop -> longest
    after
      0 -> ask(socket, longest)
    end
  end

  defp timed(ask) do
    {us, answer} = :timer.tc(ask)
    {div(us, 1_000), answer}
  end

  defp stop(task) do
    send(task.pid, :stop)
    Task.await(task, 60_000)
  end

  # The rows of the page's table.
  defp rows do
    [_before, table] = "docs/growth.md" |> File.read!() |> String.split("\n## What programs take\n")

    [table | _sections] = String.split(table, "\n## ")

    for "| " <> row <- String.split(table, "\n"),
        cells = row |> String.trim_trailing("|") |> String.split("|") |> Enum.map(&String.trim/1),
        hd(cells) not in ["what grows", "---"],
        do: cells
  end
end
