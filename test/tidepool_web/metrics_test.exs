defmodule TidepoolWeb.MetricsTest do
  # GET /metrics, parsed as Prometheus parses it.
  use Tidepool.Case, async: true

  alias Tidepool.Error

  # {name, labels} => value, and name => type of the families.
  defp scrape do
    {200, _headers, text} = curl("/metrics")
    lines = String.split(text, "\n", trim: true)
    {samples, comments} = Enum.split_with(lines, &(not String.starts_with?(&1, "#")))
    {Map.new(samples, &sample/1), Map.new(types(comments)), text}
  end

  defp sample(line) do
    assert [_all, name, labels, value] = Regex.run(~r/^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/, line)

    {{name, Map.new(Regex.scan(~r/([a-z_]+)="([^"]*)"/, labels), fn [_all, key, value] -> {key, value} end)},
     number(value)}
  end

  defp number(text) do
    {number, ""} = Float.parse(text)
    number
  end

  defp types(comments) do
    for line <- comments, [_all, name, type] <- [Regex.run(~r/^# TYPE (\S+) (\S+)$/, line)], do: {name, type}
  end

  defp calls(samples, name, reason), do: samples[{"tidepool_calls_total", %{"function" => name, "reason" => reason}}]

  test "every line is a comment or a sample of a family that was declared, and the text ends as OpenMetrics does" do
    deploy!("rust", "counter")
    {samples, types, text} = scrape()
    assert String.ends_with?(text, "# EOF\n")
    assert map_size(samples) > 0

    for {{name, _labels}, value} <- samples do
      family = String.replace(name, ~r/_(total|bucket|sum|count)$/, "")
      assert Map.has_key?(types, family) or Map.has_key?(types, name), "#{name} was not declared"
      assert is_float(value)
    end
  end

  test "the content type is the one that Prometheus asks for" do
    assert {200, %{"content-type" => "application/openmetrics-text; version=1.0.0; charset=utf-8"}, _text} =
             curl("/metrics")
  end

  test "deploys are counted by how they ended, and each function has its version and since when" do
    # Other tests deploy as well.
    count = fn samples, reason -> samples[{"tidepool_deploys_total", %{"reason" => reason}}] || 0.0 end
    {before, _types, _text} = scrape()
    name = deploy!("rust", "hello_world")
    wasm = guest("rust", "hello_world")
    {:ok, _unchanged} = Tidepool.deploy(wasm, name: name)
    {:ok, function} = Tidepool.deploy(wasm, name: name, operation: "hello")
    {:error, %Error{}} = Tidepool.deploy("no module", name: name)
    assert {400, _headers, _error} = curl_deploy(wasm, name: name, instances: "many")
    {samples, types, _text} = scrape()

    for {reason, least} <- [{"ok", 2}, {"unchanged", 1}, {"not_wasm", 1}, {"invalid_option", 1}],
        do: assert(count.(samples, reason) >= count.(before, reason) + least, reason)

    assert types["tidepool_deploy_seconds"] == "histogram"
    assert samples[{"tidepool_deploy_seconds_count", %{}}] >= 5.0
    assert samples[{"tidepool_function_version", %{"function" => name}}] == 2.0
    since = samples[{"tidepool_function_deployed_timestamp_seconds", %{"function" => name}}]
    assert since == function.deployed_at * 1.0
  end

  test "calls that wait at the cap of their function are told by function" do
    handle!({"metrics", "test", "park"}, fn _call -> Process.sleep(:infinity) end)
    name = deploy!("rust", "hello_world", limits: [instances: 1, queue: 1, time: 60_000])
    quiet = deploy!("rust", "hello_world")
    queued = fn name -> scrape() |> elem(0) |> Map.get({"tidepool_calls_queued_at_caps", %{"function" => name}}) end
    parked = for _call <- 1..2, do: spawn(fn -> Tidepool.call(name, "host", "metrics/test/park") end)
    on_exit(fn -> Enum.each(parked, &Process.exit(&1, :kill)) end)
    eventually(fn -> queued.(name) == 1.0 end, 20_000)
    assert queued.(quiet) == 0.0
    assert {:error, %Error{reason: :overloaded}} = Tidepool.call(name, "hello")
    Enum.each(parked, &Process.exit(&1, :kill))
    eventually(fn -> queued.(name) == 0.0 end, 20_000)
  end

  test "calls are counted by function and by how they ended" do
    hello = deploy!("rust", "hello_world", limits: [payload: 1_000])
    limited = deploy!("wat", "loop", limits: [time: 600_000, cpu_time: 20])
    late = deploy!("wat", "loop", limits: [time: 20, cpu_time: 600_000])
    traps = deploy!("wat", "trap_unreachable")

    for _ <- 1..5, do: {:ok, _reply} = Tidepool.call(hello, "hello")
    for _ <- 1..3, do: {:error, %Error{reason: :guest_error}} = Tidepool.call(hello, "fail")
    for _ <- 1..2, do: {:error, %Error{reason: {:trap, _kind}}} = Tidepool.call(traps, "run")
    {:error, %Error{reason: {:limit, :cpu_time}}} = Tidepool.call(limited, "spin")
    {:error, %Error{reason: :timeout}} = Tidepool.call(late, "spin")
    {200, _headers, _reply} = curl("/call/#{hello}/hello")

    {samples, types, _text} = scrape()
    assert types["tidepool_calls"] == "counter"
    assert calls(samples, hello, "ok") == 6.0
    assert calls(samples, hello, "guest_error") == 3.0
    assert calls(samples, traps, "trap") == 2.0
    assert calls(samples, traps, "ok") == 0.0
    assert calls(samples, limited, "limit") == 1.0
    assert calls(samples, late, "timeout") == 1.0
  end

  test "a payload over the limit is counted as an error too" do
    hello = deploy!("rust", "hello_world", limits: [payload: 5])
    {:error, %Error{reason: {:limit, :payload}}} = Tidepool.call(hello, "echo", "123456")
    {samples, _types, _text} = scrape()
    assert calls(samples, hello, "limit") == 1.0
  end

  test "a caller that was killed is counted as aborted" do
    spins = deploy!("wat", "loop", limits: [time: 600_000, cpu_time: 600_000])
    {pid, monitor} = spawn_monitor(fn -> Tidepool.call(spins, "spin") end)
    # It has begun once the guest has used CPU time, which a slice's end reports.
    eventually(fn -> match?({:reductions, count} when count > 50_000, Process.info(pid, :reductions)) end)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}

    eventually(fn ->
      {samples, _types, _text} = scrape()
      calls(samples, spins, "aborted") == 1.0
    end)
  end

  test "the latency histogram has every call in its last bucket, which is +Inf, and counts upward" do
    hello = deploy!("rust", "hello_world")
    for _ <- 1..10, do: {:ok, _reply} = Tidepool.call(hello, "hello")
    {samples, types, _text} = scrape()
    assert types["tidepool_call_latency_seconds"] == "histogram"

    buckets =
      for {{"tidepool_call_latency_seconds_bucket", %{"function" => ^hello, "le" => le}}, count} <- samples do
        {if(le == "+Inf", do: :infinity, else: number(le)), count}
      end

    # An atom is greater than any number.
    buckets = Enum.sort(buckets)
    counts = Enum.map(buckets, &elem(&1, 1))
    assert {:infinity, 10.0} = List.last(buckets)
    assert counts == Enum.sort(counts)
    assert samples[{"tidepool_call_latency_seconds_count", %{"function" => hello}}] == 10.0
    assert samples[{"tidepool_call_latency_seconds_sum", %{"function" => hello}}] > 0.0
  end

  test "a deploy is no call" do
    name = deploy!("rust", "hello_world")
    {samples, _types, _text} = scrape()
    assert calls(samples, name, "ok") == 0.0
    assert samples[{"tidepool_call_latency_seconds_count", %{"function" => name}}] == 0.0
  end

  test "CPU time and memory are those of the function" do
    idle = deploy!("rust", "counter")
    busy = deploy!("wat", "loop", limits: [time: 600_000, cpu_time: 30])
    large = deploy!("wat", "memory_hold", limits: [memory: 10_485_760])
    {:error, %Error{}} = Tidepool.call(busy, "spin")
    {:ok, "160"} = Tidepool.call(large, "grow")
    {samples, _types, _text} = scrape()
    assert samples[{"tidepool_cpu_seconds_total", %{"function" => busy}}] >= 0.03
    assert samples[{"tidepool_cpu_seconds_total", %{"function" => idle}}] < 0.03
    # The instance reports its size when it is dropped.
    eventually(fn ->
      {samples, _types, _text} = scrape()
      samples[{"tidepool_peak_memory_bytes", %{"function" => large}}] == 10_485_760.0
    end)
  end

  test "the node's gauges and counters are there" do
    {before, types, _text} = scrape()

    for gauge <- ["tidepool_functions", "beam_memory_bytes"] do
      assert types[gauge] == "gauge"
      assert is_float(before[{gauge, %{}}])
    end

    for gauge <- [
          "tidepool_instances_live",
          "tidepool_instances_idle",
          "tidepool_instances_max",
          "tidepool_calls_queued"
        ] do
      assert types[gauge] == "gauge"
      for engine <- ["fast", "dense"], do: assert(is_float(before[{gauge, %{"engine" => engine}}]))
    end

    assert before[{"beam_memory_bytes", %{}}] > 1_000_000.0
    deploy_bytes!(Tidepool.TestModule.variant(guest("rust", "counter"), "compiled"))
    curl("/nowhere")
    {later, _types, _text} = scrape()

    for counter <- ["tidepool_compiles_total", "tidepool_compile_seconds_total"],
        do: assert(later[{counter, %{}}] > before[{counter, %{}}])

    for counter <- ["tidepool_http_requests", "tidepool_http_refused"],
        do: assert(later[{counter, %{}}] > before[{counter, %{}}])
  end

  test "counters go on when a function is redeployed" do
    name = deploy!("rust", "hello_world")
    {:ok, _reply} = Tidepool.call(name, "hello")
    {:ok, _function} = Tidepool.deploy(guest("zig", "hello_world"), name: name)
    {:ok, _reply} = Tidepool.call(name, "hello")
    {samples, _types, _text} = scrape()
    assert calls(samples, name, "ok") == 2.0
  end

  test "however many ask at once, metrics are made once for all of them, after the last has asked" do
    alias TidepoolWeb.Resources.Metrics.Text
    test = self()
    {:ok, server} = GenServer.start_link(Text, fn -> make(test) end)
    ask = fn -> Task.async(fn -> Text.fetch(server) end) end
    first = ask.()
    assert_receive {:makes, maker}, 20_000
    # These may have changed something after it began.
    others = for _request <- 1..30, do: ask.()
    eventually(fn -> Process.info(server, :message_queue_len) == {:message_queue_len, 30} end)
    send(maker, {:made, "1"})
    assert Task.await(first, 20_000) == {:ok, "1"}
    assert_receive {:makes, ^maker}, 20_000
    send(maker, {:made, "2"})
    assert Task.await_many(others, 20_000) |> Enum.uniq() == [{:ok, "2"}]
    refute_received {:makes, _maker}
  end

  test "metrics that can't be read are an error, and there again when they can" do
    alias TidepoolWeb.Resources.Metrics.Text
    text = :counters.new(1, [])

    make = fn ->
      :counters.add(text, 1, 1)
      if :counters.get(text, 1) == 1, do: exit(:noproc), else: "# EOF\n"
    end

    {:ok, server} = GenServer.start_link(Text, make)

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        assert Text.fetch(server) == :error
        assert Text.fetch(server) == {:ok, "# EOF\n"}
      end)

    assert log =~ "the metrics could not be read"
  end

  defp make(test) do
    send(test, {:makes, self()})
    receive do: ({:made, text} -> text)
  end
end
