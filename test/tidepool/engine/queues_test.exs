defmodule Tidepool.Engine.QueuesTest do
  # What a node tells of queues that do not get empty, and of resources that are full.
  use Tidepool.Case, async: true

  alias Tidepool.{Instance, Peer, SlowModule, TestModule}
  alias Tidepool.Engine.Queues

  @patience_ms 60_000
  # What can be full on a node with an edge and an actor.
  @resources ~w(
    change_bytes changes code connections dense_stacks dense_trials deploys
    fast_stacks fast_trials fetches lookups memory requests sockets
  )

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

  test "the health tells for how long modules have been waiting to be compiled, and that they do not any more" do
    node = Peer.start!(server: true, baseline: 0, compile_threads: 1, compile_time: 3_600_000)
    assert waiting(node) == %{}
    # Too large for the thread that takes small modules alone: the second waits for the one that there is for both.
    slow = TestModule.padded(SlowModule.wasm(), 3_000_000)

    deploys =
      for number <- 1..2 do
        deploy = [TestModule.variant(slow, number), [name: "slow#{number}"]]
        Peer.call(node, :erlang, :spawn, [Tidepool, :deploy, deploy])
      end

    eventually(fn -> match?(%{"compiles" => seconds} when seconds >= 2, waiting(node)) end, @patience_ms)
    assert %{"waiting" => waiting, "compiles" => %{"queued" => 1}} = health(node)
    assert Map.keys(waiting) == ["compiles"]
    {200, _headers, metrics} = curl_url(Peer.url(node, "/metrics"))
    assert metrics =~ ~r/\ntidepool_waiting_seconds\{queue="compiles"\} [1-9]\d*\n/
    assert metrics =~ ~s(\ntidepool_waiting_seconds{queue="fast"} 0\n)
    for deploy <- deploys, do: Peer.call(node, Process, :exit, [deploy, :kill])
    eventually(fn -> waiting(node) == %{} end, @patience_ms)
    assert %{"compiles" => %{"queued" => 0}} = health(node)
  end

  test "each resource is full with its last sixteenth, memory unless instances are idle, and each is documented" do
    node = Peer.start!(server: true)
    Peer.deploy!(node, "rust", "counter", actor: true)
    assert {200, _headers, "1"} = curl_url(Peer.url(node, "/actors/counter/one/next"), ["-X", "POST"])
    shared = fn -> Peer.call(node, Queues, :shared, []) end
    eventually(fn -> shared.() |> Map.keys() |> Enum.sort() == @resources end)

    port = Peer.call(node, TidepoolWeb.Listener, :port, [])
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
    eventually(fn -> shared.()["connections"] == %{held: 1, max: 10_000} end)
    :ok = :gen_tcp.close(socket)
    eventually(fn -> shared.()["connections"].held == 0 end)

    empty = Map.new(shared.(), fn {resource, figures} -> {resource, %{figures | held: 0}} end)
    assert Queues.full_of(empty, 0) == []
    documentation = File.read!("docs/operations.md")

    for {resource, %{max: max}} <- empty do
      full_of = fn held, idle -> empty |> put_in([resource, :held], held) |> Queues.full_of(idle) end
      least = max - div(max, 16)
      assert [full_of.(max, 0), full_of.(least, 0), full_of.(least - 1, 0)] == [[resource], [resource], []]
      assert full_of.(max, 1) == if(resource == "memory", do: [], else: [resource])
      assert documentation =~ "`#{resource}`", "#{resource} is not documented"
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
          ~s(tidepool_full_seconds{resource="memory"} 0),
          ~s(tidepool_namespace_held{namespace="of",resource="sockets"} 4),
          ~s(tidepool_held{function="of/grows",resource="sockets"} 4)
        ],
        do: assert(metrics =~ "\n#{line}\n")

    assert metrics =~ ~r/\ntidepool_full_seconds\{resource="sockets"\} [1-9]\d*\n/
    Peer.call(node, Process, :exit, [program, :kill])
    eventually(fn -> health(node)["full"] == %{} end, @patience_ms)
  end

  defp waiting(node), do: health(node)["waiting"]

  defp health(node) do
    assert {200, _headers, %{"status" => "ok"} = health} = curl_url(Peer.url(node, "/health"))
    health
  end
end
