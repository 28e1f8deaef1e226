defmodule Tidepool.Engine.QueuesTest do
  # What a node tells of queues that do not get empty, and of resources that are full.
  use Tidepool.Case, async: true

  alias Tidepool.{Instance, Peer}

  @patience_ms 60_000

  for {queue, settings, limits} <- [{"caps", [], [instances: 1]}, {"fast", [max_instances: 1], []}] do
    test "the health tells for how long calls have been waiting without a break, and that they do not any more: #{queue}" do
      node = Peer.start!([server: true] ++ unquote(settings))
      Peer.deploy!(node, "rust", "counter", limits: [queue: 10, time: 2 * @patience_ms] ++ unquote(limits))
      # What was to be compiled may have been seen.
      eventually(fn -> waiting(node) == %{} end, @patience_ms)
      # It has the one instance that there may be.
      {:ok, instance} = Peer.call(node, Instance, :start, ["counter"])
      caller = Task.async(fn -> curl_url(Peer.url(node, "/call/counter/next")) end)
      eventually(fn -> match?(%{unquote(queue) => seconds} when seconds >= 2, waiting(node)) end, @patience_ms)
      assert Map.keys(waiting(node)) == [unquote(queue)]
      Peer.call(node, GenServer, :stop, [instance])
      assert {200, _headers, "1"} = Task.await(caller, @patience_ms)
      eventually(fn -> waiting(node) == %{} end, @patience_ms)
    end
  end

  @tag :lunatic
  test "the health tells for how long a resource that functions share has been full, who has it is in the metrics, and it tells when there is room" do
    node = Peer.start!(server: true, net: ["udp:*:*"], max_sockets: 4)
    assert health(node)["full"] == %{}

    Peer.deploy!(node, "wat", "grows", name: "of/grows", net: ["udp:*:*"])
    {:ok, program} = Peer.call(node, Tidepool.Process, :start, ["of/grows", ["grows"], [entry: "sockets"]])
    Peer.call(node, :erlang, :send, [program, {:tidepool, 0, "go"}])
    eventually(fn -> match?(%{"sockets" => seconds} when seconds >= 2, health(node)["full"]) end, @patience_ms)
    assert %{"full" => full, "shared" => %{"sockets" => %{"held" => 4, "max" => 4}}} = health(node)
    assert Map.keys(full) == ["sockets"]
    {200, _headers, metrics} = curl_url(Peer.url(node, "/metrics"))

    for line <- [
          ~s(tidepool_node_held{resource="sockets"} 4),
          ~s(tidepool_node_max{resource="sockets"} 4),
          ~s(tidepool_namespace_held{namespace="of",resource="sockets"} 4),
          ~s(tidepool_held{function="of/grows",resource="sockets"} 4)
        ],
        do: assert(metrics =~ "\n#{line}\n")

    Peer.call(node, Process, :exit, [program, :kill])
    eventually(fn -> health(node)["full"] == %{} end, @patience_ms)
  end

  defp waiting(node), do: health(node)["waiting"]

  defp health(node) do
    assert {200, _headers, %{"status" => "ok"} = health} = curl_url(Peer.url(node, "/health"))
    health
  end
end
