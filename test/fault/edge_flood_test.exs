defmodule Tidepool.Fault.EdgeFloodTest do
  # Not async: keeps all cores busy and counts the node's instances.
  use Tidepool.Case

  alias Tidepool.{FaultClient, FaultFootprint}

  @long [time: 600_000, cpu_time: 600_000]
  @loops 100

  test "a flood of endless loops through the edge leaves other calls and /health answering, and ends with its clients" do
    hello = deploy!("rust", "hello_world", limits: [time: 60_000, cpu_time: 30_000])
    before = FaultFootprint.settled()
    # Many functions: the edge has to learn of each by itself that its calls are long.
    loops = for _ <- 1..10, do: deploy!("wat", "loop", limits: @long)

    sockets =
      for turn <- 1..@loops do
        socket = FaultClient.connect()
        FaultClient.ask(socket, Enum.at(loops, rem(turn, length(loops))), "any")
        socket
      end

    eventually(fn -> busy_instances() == @loops end, 60_000)
    socket = FaultClient.connect()
    for turn <- 1..10, do: assert({200, "Hello, #{turn}!"} == FaultClient.call(socket, hello, "hello", "#{turn}"))
    assert {200, _headers, %{"status" => "ok"}} = curl("/health")
    Enum.each(sockets, &:gen_tcp.close/1)
    eventually(fn -> busy_instances() == 0 end, 60_000)
    FaultFootprint.assert_instances_back(before)
  end
end
