defmodule Tidepool.Fault.CallGrowthTest do
  # What docs/growth.md says of each thing that grows by calls, with callers of a namespace that take it all.
  use Tidepool.Case

  alias Tidepool.{FaultClient, Growth, GrowthTable, Neighbours, Origin, Peer}

  @quota 64 * 1024 * 1024
  # What is beside what is counted: pages of the VM's allocators, threads, bodies of requests that were not collected yet.
  @tolerated 96 * 1024 * 1024
  @instances 40
  @queue 10
  @callers 8

  # Schedulers that are held up hold everybody up. A busy machine is late by less.
  @stall_ms 5_000
  @patience_ms 120_000

  setup_all do
    quotas = "tenant/memory=#{@quota},tenant/instances=#{@instances},tenant/queue=#{@queue}"
    node = Peer.start!(server: true, namespaces: quotas, net: ["tcp:connect:127.0.0.1:*"])
    patient = [time: 600_000, cpu_time: 60_000]

    for {language, module, limits} <- [
          {"rust", "sleepy", []},
          {"component", "values", [total_memory: 10 * 1024 * 1024]},
          {"component", "hoard", [memory: 16 * 1024 * 1024]},
          {"wat", "wasi_stdout_flood", [reply: 32 * 1024 * 1024]},
          {"rust", "http", []},
          {"rust", "vowels", [total_memory: 4 * 1024 * 1024]},
          {"wat", "huge_error", [memory: 64 * 1024 * 1024]}
        ],
        do: Peer.deploy!(node, language, module, [name: "tenant/#{module}", limits: patient ++ limits] ++ net(module))

    Peer.deploy!(node, "rust", "hello_world", name: "others/hello")
    %{node: node, port: Peer.call(node, TidepoolWeb.Listener, :port, [])}
  end

  test "each thing that grows by calls comes to its bound, beside others whose calls go on, and is given back",
       context do
    for [what, _account, _bound, over] <- GrowthTable.rows("What calls take") do
      others = Neighbours.start(context.port)
      sampler = Peer.call(context.node, Growth, :sample, [])
      let_go = drive(what, over, context)
      bytes = Peer.call(context.node, Growth, :sampled, [sampler])
      longest = Neighbours.stop(others)
      assert longest.call < @stall_ms and longest.health < @stall_ms, "#{what}: #{inspect(longest)}"
      assert bytes <= @quota + div(@quota, 10) + @tolerated, "#{what}: #{div(bytes, 1024)} KiB"
      let_go.()
      for name <- names(context), do: eventually(fn -> held(context, name) == %{} end, @patience_ms)
    end
  end

  # Each takes what its row says until its bound stops it, and returns what gives it back.
  defp drive("calls that wait for an instance", "the call is refused: `overloaded`, or `quota`", context) do
    callers = for _caller <- 1..(@instances + @queue + @callers), do: caller(context, "sleepy", "run", "600000")

    # All that there is no room for; the others wait.
    for _refused <- 1..@callers do
      assert_receive {:answered, 429, %{"error" => %{"reason" => "quota", "quota" => "instances"}}}, @patience_ms
    end

    assert held(context, "tenant/sleepy")["instances"] == @instances
    {200, _headers, metrics} = curl_url("http://127.0.0.1:#{context.port}/metrics")
    assert metrics =~ ~s(\ntidepool_calls_queued_at_caps{function="tenant/sleepy"} #{@queue}\n)
    refute_received {:answered, _status, _body}
    fn -> Enum.each(callers, &Process.exit(&1, :kill)) end
  end

  defp drive("arguments of components", "the call ends: limit `total_memory`", context) do
    error = ~s({"error":"#{String.duplicate("x", 250)}"})
    arguments = "[[" <> Enum.join(List.duplicate(error, 30_000), ",") <> "]]"
    all_end(context, "values", "results", arguments, ["total_memory"])
  end

  defp drive("handles of components", "the call traps", context) do
    for count <- [256, 257] do
      answers = answers(context, "hoard", "streams", "[#{count}]")
      expected = if count == 256, do: 200, else: 500
      for {status, body} <- answers, do: assert({count, status} == {count, expected}, inspect(body))
    end

    fn -> :ok end
  end

  defp drive("bodies of requests" <> _of_plugins, "the call ends: limit `total_memory`", context) do
    large = Origin.start!(fn socket, _head -> Origin.say(socket, String.duplicate("x", 6_000_000)) end)
    all_end(context, "vowels", "fetches", "http://127.0.0.1:#{large}/", ["total_memory"])
  end

  defp drive("what programs print as their reply", "the call ends: limit `reply`, or `total_memory`", context),
    do: all_end(context, "wasi_stdout_flood", "run", "", ["reply", "total_memory"])

  defp drive("a response that its client does not take", "the guest waits", context) do
    sockets =
      for _caller <- 1..@instances do
        socket = FaultClient.connect(context.port)
        :ok = :gen_tcp.send(socket, "GET /call/tenant/http/events?n=100000000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        socket
      end

    # Each has begun.
    for socket <- sockets,
        do: assert({:ok, {:http_response, _version, 200, _text}} = :gen_tcp.recv(socket, 0, @patience_ms))

    assert held(context, "tenant/http")["instances"] == @instances
    fn -> Enum.each(sockets, &:gen_tcp.close/1) end
  end

  defp drive("failures that are kept", "the oldest are dropped", context) do
    for _turn <- 1..8, {status, _body} <- answers(context, "huge_error", "any", ""), do: assert(status >= 400)
    url = "http://127.0.0.1:#{context.port}/functions/tenant%2Fhuge_error/failures"
    assert {200, _headers, %{"failures" => failures}} = curl_url(url)
    assert length(failures) in 1..50
    assert :erlang.external_size(failures) < 512 * 1024
    fn -> :ok end
  end

  # All callers are told which limit it was.
  defp all_end(context, module, operation, payload, limits) do
    for {status, body} <- answers(context, module, operation, payload) do
      assert %{"error" => %{"reason" => "limit", "limit" => limit}} = body, inspect({status, body})
      assert limit in limits
    end

    fn -> :ok end
  end

  # What callers of a function are answered, all of them at once.
  defp answers(context, module, operation, payload) do
    for _caller <- 1..@callers, do: caller(context, module, operation, payload)

    for _caller <- 1..@callers do
      assert_receive {:answered, status, body}, @patience_ms
      {status, body}
    end
  end

  # One that calls once, and tells what it was answered. When it dies its client has gone.
  defp caller(context, module, operation, payload) do
    test = self()

    spawn(fn ->
      socket = FaultClient.connect(context.port)
      {status, body} = FaultClient.call(socket, "tenant/#{module}", operation, payload)
      send(test, {:answered, status, decoded(body)})
    end)
  end

  defp decoded(body) do
    case Tidepool.Native.json_decode_large(body) do
      {:ok, json} -> json
      {:error, _no_json} -> body
    end
  end

  defp net("vowels"), do: [net: ["tcp:connect:127.0.0.1:*"]]
  defp net(_module), do: []

  defp names(context),
    do: for(%{name: "tenant/" <> _rest = name} <- Peer.call(context.node, Tidepool, :list, []), do: name)

  defp held(context, name), do: Peer.call(context.node, Growth, :held, [name])
end
