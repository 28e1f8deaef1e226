defmodule Tidepool.CallGrowth do
  @moduledoc """
  Callers of a namespace with quotas, and its deploys, which take what docs/growth.md says until a bound stops them: one driver for
  each row of its table "What calls take". The node is a `Tidepool.Peer`.
  """

  import ExUnit.Assertions
  import Tidepool.Case, only: [curl_url: 1, eventually: 2, guest: 2]

  alias Tidepool.{FaultClient, Growth, Origin, Peer}
  alias Tidepool.Log.Budget

  @instances elem(Growth.instances(), 0)
  @queue elem(Growth.instances(), 1)
  @callers 8
  @trials 4
  @patience_ms 120_000

  # No trial is over before it is looked at.
  @long ~s({"time":600000,"cpu_time":600000})

  @doc "Bytes of memory that the namespace may have."
  @spec quota :: pos_integer
  def quota, do: Growth.quota()

  @doc "How long what was taken may take to be given back on a busy machine, in ms."
  @spec patience_ms :: pos_integer
  def patience_ms, do: @patience_ms

  @doc "Settings of the node."
  @spec settings :: keyword
  def settings do
    [server: true, namespaces: Growth.namespaces(), net: ["udp:*:*", "tcp:*:*", "tcp:connect:127.0.0.1:*"]]
  end

  @doc "Deploys what the drivers call, and what another tenant has."
  @spec prepare(%Peer{}) :: %{node: %Peer{}, port: :inet.port_number()}
  def prepare(node) do
    patient = [time: 600_000, cpu_time: 60_000]

    for {language, module, limits} <- [
          {"rust", "sleepy", []},
          {"component", "values", [total_memory: 10 * 1024 * 1024]},
          {"component", "hoard", [memory: 16 * 1024 * 1024]},
          {"component", "headers", [memory: 16 * 1024 * 1024, total_memory: 4 * 1024 * 1024]},
          {"wat", "passes", [total_memory: 7 * 1024 * 1024, reply: 8 * 1024 * 1024]},
          {"wat", "wasi_stdout_flood", [reply: 32 * 1024 * 1024]},
          {"rust", "http", []},
          {"rust", "vowels", [total_memory: 4 * 1024 * 1024]},
          {"wat", "huge_error", [memory: 64 * 1024 * 1024]},
          {"wat", "trap_unreachable", []}
        ],
        do: Peer.deploy!(node, language, module, [name: "tenant/#{module}", limits: patient ++ limits] ++ net(module))

    Peer.deploy!(node, "rust", "hello_world", name: "others/hello")
    %{node: node, port: Peer.call(node, TidepoolWeb.Listener, :port, [])}
  end

  defp net("vowels"), do: [net: ["tcp:connect:127.0.0.1:*"]]
  defp net(_module), do: []

  @doc "Has what a row says taken until its bound stops it; returns what gives it back."
  @spec drive(what :: String.t(), over :: String.t(), context :: map) :: (() -> term)
  def drive("calls that wait for an instance", "the call is refused: `overloaded`, or `quota`", context) do
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

  def drive("arguments of components" <> _and_results, "the call ends: limit `total_memory`", context) do
    error = ~s({"error":"#{String.duplicate("x", 250)}"})
    arguments = "[[" <> Enum.join(List.duplicate(error, 30_000), ",") <> "]]"
    all_end(context, "values", "results", arguments, ["total_memory"])
  end

  def drive("handles of components", "the call traps", context) do
    for count <- [256, 257] do
      answers = answers(context, "hoard", "streams", "[#{count}]")
      expected = if count == 256, do: 200, else: 500
      for {status, body} <- answers, do: assert({count, status} == {count, expected}, inspect(body))
    end

    fn -> :ok end
  end

  def drive("headers, requests and responses" <> _of_components, "the call ends: limit `total_memory`", context) do
    # Bodies have two handles each.
    for {operation, count} <- [{"fill", 200}, {"bodies", 120}],
        do: all_end(context, "headers", operation, "[#{count}]", ["total_memory"])

    fn -> :ok end
  end

  def drive("what guests pass to the host" <> _and_are_passed, "the call ends: limit `total_memory`", context) do
    # One after the other: an instance takes more than half of what the function may have.
    for _caller <- 1..@callers do
      all_end(context, "passes", "any", "", ["total_memory"], 1)
      eventually(fn -> held(context, "tenant/passes") == %{} end, @patience_ms)
    end

    fn -> :ok end
  end

  def drive("bodies of requests" <> _of_plugins, "the call ends: limit `total_memory`", context) do
    {large, server} = Origin.start(fn socket, _head -> Origin.say(socket, String.duplicate("x", 6_000_000)) end)
    all_end(context, "vowels", "fetches", "http://127.0.0.1:#{large}/", ["total_memory"])
    fn -> Process.exit(server, :kill) end
  end

  def drive("what programs print as their reply", "the call ends: limit `reply`, or `total_memory`", context),
    do: all_end(context, "wasi_stdout_flood", "run", "", ["reply", "total_memory"])

  def drive("a response that its client does not take", "the guest waits", context) do
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

  def drive("failures that are kept", "the oldest are dropped", context) do
    for _turn <- 1..8, {status, _body} <- answers(context, "huge_error", "any", ""), do: assert(status >= 400)
    url = "http://127.0.0.1:#{context.port}/functions/tenant%2Fhuge_error/failures"
    assert {200, _headers, %{"failures" => failures}} = curl_url(url)
    assert length(failures) in 1..50
    assert :erlang.external_size(failures) < 512 * 1024
    fn -> :ok end
  end

  def drive("lines about calls that fail", "lines are left out, and counted", context) do
    {lines, _window_ms} = Budget.limits()

    # A window may end meanwhile.
    eventually(
      fn ->
        for _turn <- 1..div(2 * lines, @callers), do: answers(context, "trap_unreachable", "any", "")
        key = {:failed, "tenant/trap_unreachable"}
        [{^key, _window, calls, left_out}] = Peer.call(context.node, :ets, :lookup, [Budget, key])
        assert calls > lines and left_out > 0
      end,
      @patience_ms
    )

    fn -> :ok end
  end

  def drive("trials of deploys", "the deploy waits", context) do
    deploys = for number <- 1..(2 * @trials), do: deploy(context, "tenant/#{number}", guest("wat", "init_loop"))
    # Those that wait have no instance. One may be the other tenant's.
    eventually(fn -> for _look <- 1..20, do: assert(busy(context) in @trials..(@trials + 1)) end, 20_000)
    fn -> Enum.each(deploys, &:gen_tcp.close/1) end
  end

  # On a connection of its own, with which it ends.
  defp deploy(context, name, wasm) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, context.port, [:binary, active: false])
    part = fn what, content -> ["--part\r\ncontent-disposition: form-data; ", what, "\r\n\r\n", content, "\r\n"] end
    fields = for {field, text} <- [name: name, limits: @long, engine: "dense"], do: part.(~s(name="#{field}"), text)
    body = [fields, part.(~s(name="wasm"; filename="a.wasm"), wasm), "--part--\r\n"]
    head = "POST /deploy HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=part\r\n"
    :ok = :gen_tcp.send(socket, [head, "content-length: #{IO.iodata_length(body)}\r\n\r\n", body])
    socket
  end

  defp busy(context), do: Peer.call(context.node, Tidepool.Case, :busy_instances, [])

  # All callers are told which limit it was.
  defp all_end(context, module, operation, payload, limits, callers \\ @callers) do
    for {status, body} <- answers(context, module, operation, payload, callers) do
      assert %{"error" => %{"reason" => "limit", "limit" => limit}} = body, inspect({status, body})
      assert limit in limits
    end

    fn -> :ok end
  end

  # What callers of a function are answered, all of them at once.
  defp answers(context, module, operation, payload, callers \\ @callers) do
    for _caller <- 1..callers, do: caller(context, module, operation, payload)

    for _caller <- 1..callers do
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

  @doc "The functions of the tenant that takes it all."
  @spec names(map) :: [String.t()]
  def names(context),
    do: for(%{name: "tenant/" <> _rest = name} <- Peer.call(context.node, Tidepool, :list, []), do: name)

  defp held(context, name), do: Peer.call(context.node, Growth, :held, [name])
end
