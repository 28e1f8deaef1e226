defmodule Tidepool.Engine.QueuesTest do
  # What a node tells of queues that do not get empty.
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

  defp waiting(node) do
    assert {200, _headers, %{"waiting" => waiting}} = curl_url(Peer.url(node, "/health"))
    waiting
  end
end
