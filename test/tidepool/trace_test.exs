defmodule Tidepool.TraceTest do
  # On nodes of their own: whether there are traces is a node's. Each sends to a collector of the test.
  use Tidepool.Case, async: true

  import Tidepool.Certificates
  import Tidepool.Collector, only: [attribute: 2]

  alias Tidepool.{Actor, Collector, Error, Host, Origin, Peer, Telemetry, Trace}
  alias Tidepool.Trace.{Context, Exporter, Post, Span}

  doctest Tidepool.Trace.Context
  doctest Tidepool.Trace.Settings

  @trace "0af7651916cd43dd8448eb211c80319c"
  @span "b7ad6b7169203331"
  @recorded "00-#{@trace}-#{@span}-01"
  @not_recorded "00-#{@trace}-#{@span}-00"
  @zero "0000000000000000"

  setup_all do
    collector = Collector.start!()
    %{collector: collector, peer: node!(collector, [sample: 1], sites_port: 0)}
  end

  # What is deployed before the test is in no list of its spans.
  setup %{collector: collector, peer: peer} do
    :ok = Collector.answer(collector, 200)
    settled(peer)
    Collector.take(collector)
    :ok
  end

  defp node!(collector, otlp, settings \\ []) do
    otlp = Keyword.merge([endpoint: Collector.url(collector), interval: 20], otlp)
    peer = Peer.start!([server: true, builtins: [:actor, :function], otlp: otlp] ++ settings)
    Peer.deploy!(peer, "rust", "hello_world", operation: "host")
    Peer.deploy!(peer, "rust", "hello_world", name: "greet", operation: "hello")

    for {operation, options} <- [{"inline", [run: :inline]}, {"isolated", [run: :isolated]}] do
      :ok = Peer.call(peer, Host, :register, [{"host", "trace", operation}, {Collector, :told}, options])
    end

    peer
  end

  defp counts(peer), do: Peer.call(peer, Exporter, :counts, [])
  defp settled(peer), do: eventually(fn -> counts(peer).waiting == 0 end, 20_000)
  defp call(peer, arguments), do: Peer.call(peer, Tidepool, :call, arguments)

  # So many spans, and no more, by their names.
  defp spans(%{collector: collector, peer: peer}, count) do
    {:ok, taken} = Agent.start_link(fn -> [] end)

    take = fn ->
      Agent.update(taken, &(&1 ++ Collector.take(collector)))
      Agent.get(taken, & &1)
    end

    # A call may end a moment after its answer.
    eventually(fn -> length(take.()) >= count end, 20_000)
    settled(peer)
    spans = take.()
    assert length(spans) == count, inspect(Enum.map(spans, & &1["name"]))
    Enum.group_by(spans, & &1["name"])
  end

  defp post(peer, path, body, traceparent),
    do: curl_url(Peer.url(peer, path), ["--data-binary", body, "-H", "traceparent: #{traceparent}"])

  test "a span that waits for the collector keeps nothing of what its texts were cut from" do
    metadata = %{
      function: "shop/cart",
      operation: String.duplicate("o", 60_000),
      binding: binary_part(String.duplicate("b", 60_000), 9, 100)
    }

    span = Span.begin(Context.decided(true), nil, :call, metadata)
    texts = for {_name, text} <- span.attributes, is_binary(text), do: :binary.referenced_byte_size(text)
    assert Enum.sum(texts) < 1_000
  end

  test "the name of a span has that of its function whole, and its error the quota that it ran into" do
    span = Span.begin(Context.decided(true), nil, :call, %{function: "shop/cart"})
    assert span.name == "call shop/cart"
    assert Span.finish(span, %{}, %{reason: {:quota, :instances}}).error == "quota.instances"
  end

  test "a call over HTTP is part of its sender's trace, and what it asks of its host and of others of itself",
       context do
    assert {200, _headers, "Hello, Ada!"} =
             post(context.peer, "/call/hello_world", "tidepool/function/greet\nAda", @recorded)

    spans = spans(context, 3)
    assert [outer] = spans["call hello_world"]
    assert [host_call] = spans["host_call tidepool/function"]
    assert [inner] = spans["call greet"]

    assert %{"traceId" => @trace, "parentSpanId" => @span, "kind" => 2, "status" => %{}} = outer
    assert %{"traceId" => @trace, "kind" => 1} = host_call
    assert host_call["parentSpanId"] == outer["spanId"]
    assert %{"traceId" => @trace, "kind" => 1} = inner
    assert inner["parentSpanId"] == host_call["spanId"]

    assert attribute(outer, "tidepool.function") == %{"stringValue" => "hello_world"}
    assert attribute(inner, "tidepool.depth") == %{"intValue" => "2"}
    assert attribute(outer, "tidepool.reply_bytes") == %{"intValue" => "11"}
    assert %{"intValue" => _us} = attribute(outer, "tidepool.cpu_time_us")
    assert outer["service"] == "tidepool"

    [{began, ended}, {inner_began, inner_ended}] =
      for span <- [outer, inner],
          do: {String.to_integer(span["startTimeUnixNano"]), String.to_integer(span["endTimeUnixNano"])}

    assert began <= inner_began and inner_ended <= ended
    assert_in_delta ended, System.os_time(:nanosecond), 60_000_000_000
  end

  test "a function that another asks by HTTP is part of that call", context do
    Peer.deploy!(context.peer, "rust", "fetch")
    Peer.deploy!(context.peer, "rust", "http")
    settled(context.peer)
    Collector.take(context.collector)
    path = Peer.url(context.peer, "/call/fetch/get?http://http.internal/hello")
    assert {200, _headers, "hello"} = curl_url(path, ["-H", "traceparent: #{@recorded}"])

    assert %{"call fetch" => [outer], "host_call tidepool/function" => [host_call], "call http" => [inner]} =
             spans(context, 3)

    assert %{"traceId" => @trace, "parentSpanId" => @span} = outer
    assert host_call["parentSpanId"] == outer["spanId"]
    assert %{"traceId" => @trace} = inner
    assert inner["parentSpanId"] == host_call["spanId"]
    assert attribute(inner, "tidepool.depth") == %{"intValue" => "2"}
  end

  # What a handler's request says of its trace: `traceparent` and `tracestate`, each with all its values. It is for a path, or a URL.
  defp given(peer, headers, path \\ "/call/http/headers") do
    url = peer |> Peer.url("/") |> URI.merge(path) |> to_string()
    {200, _headers, lines} = curl_url(url, Enum.flat_map(headers, &["-H", &1]))
    for name <- ~w(traceparent tracestate), do: for([_all, value] <- Regex.scan(~r/^#{name}: (.*)$/m, lines), do: value)
  end

  test "a handler of HTTP finds the span of its call in its request, and its sender's state", context do
    Peer.deploy!(context.peer, "rust", "http", routes: ["/headers"])
    Peer.deploy!(context.peer, "rust", "fetch")
    settled(context.peer)
    Collector.take(context.collector)

    assert [[header], ["a=1"]] = given(context.peer, ["traceparent: #{@recorded}", "tracestate: a=1"])
    assert %{"call http" => [%{"parentSpanId" => @span, "spanId" => id}]} = spans(context, 1)
    assert header == "00-#{@trace}-#{id}-01"

    # Without a header, with one that is none, and with two: a trace begins here, and nobody has a state in it.
    for headers <- [[], ["traceparent: what"], ["traceparent: #{@recorded}", "traceparent: #{@recorded}"]] do
      assert [[header], []] = given(context.peer, ["tracestate: a=1" | headers])
      assert %{"call http" => [%{"parentSpanId" => "", "traceId" => trace, "spanId" => id}]} = spans(context, 1)
      assert header == "00-#{trace}-#{id}-01"
      assert trace != @trace
    end

    # One that another function asks by HTTP has the span of that call.
    headers = ["traceparent: #{@recorded}"]
    assert [[header], []] = given(context.peer, headers, "/call/fetch/get?http://http.internal/headers")
    assert %{"call http" => [%{"spanId" => id}]} = spans(context, 3)
    assert header == "00-#{@trace}-#{id}-01"

    # So has one that is asked for by its route.
    site = "http://127.0.0.1:#{Peer.call(context.peer, TidepoolWeb.Listener, :sites_port, [])}/headers"
    assert [[header], []] = given(context.peer, headers, site)
    assert %{"call http" => [%{"parentSpanId" => @span, "spanId" => id}]} = spans(context, 1)
    assert header == "00-#{@trace}-#{id}-01"

    # What is not recorded has no span.
    assert [[@not_recorded], ["a=1"]] = given(context.peer, ["traceparent: #{@not_recorded}", "tracestate: a=1"])
    spans(context, 0)
  end

  test "a request to a server says what its call is part of, recorded or not, a component's and a plug-in's", context do
    test = self()

    port =
      Origin.start!(fn socket, head ->
        send(test, {:asked, for([_all, value] <- Regex.scan(~r/^traceparent: (.*)\r$/m, head), do: value)})
        Origin.say(socket, "reached")
      end)

    url = "http://127.0.0.1:#{port}/"
    local = [net: ["tcp:connect:127.0.0.0/8:*"]]
    Peer.deploy!(context.peer, "rust", "fetch", local)
    Peer.deploy!(context.peer, "rust", "vowels", local)
    settled(context.peer)
    Collector.take(context.collector)

    ask = fn headers ->
      curl_url(Peer.url(context.peer, "/call/fetch/get?#{url}"), Enum.flat_map(headers, &["-H", &1]))
    end

    plug_in = fn traceparent -> post(context.peer, "/call/vowels/fetches", url, traceparent) end

    for {call, ask} <- [
          {"call fetch", fn -> ask.(["traceparent: #{@recorded}"]) end},
          {"call vowels", fn -> plug_in.(@recorded) end}
        ] do
      assert {200, _headers, "reached"} = ask.()
      assert_receive {:asked, [header]}, 30_000
      assert %{^call => [%{"spanId" => id}]} = spans(context, 1)
      assert header == "00-#{@trace}-#{id}-01"
    end

    for ask <- [fn -> ask.(["traceparent: #{@not_recorded}"]) end, fn -> plug_in.(@not_recorded) end] do
      assert {200, _headers, "reached"} = ask.()
      assert_receive {:asked, [@not_recorded]}, 30_000
    end

    spans(context, 0)
  end

  test "a call that is part of nothing begins a trace", context do
    assert {200, _headers, "Hello, Ada!"} = curl_url(Peer.url(context.peer, "/call/greet?payload=Ada"))
    assert {:ok, "Hello, Eve!"} = call(context.peer, ["greet", nil, "Eve"])
    assert %{"call greet" => [over_http, in_elixir]} = spans(context, 2)
    assert %{"parentSpanId" => "", "kind" => 2} = over_http
    assert %{"parentSpanId" => "", "kind" => 1} = in_elixir
    assert over_http["traceId"] != in_elixir["traceId"]
    assert Enum.all?([over_http, in_elixir], &(&1["traceId"] != String.duplicate(@zero, 2)))
  end

  test "handlers are told what to pass on, in the process of the call and in one of their own", context do
    for operation <- ["inline", "isolated"] do
      assert {200, _headers, told} = post(context.peer, "/call/hello_world", "host/trace/#{operation}\n", @recorded)

      assert [header, header] = String.split(told)
      spans = spans(context, 2)
      assert [%{"spanId" => id}] = spans["host_call host/trace"]
      assert header == "00-#{@trace}-#{id}-01"
    end
  end

  test "what failed says why by its reason, and never by its text", context do
    Peer.deploy!(context.peer, "wat", "trap_unreachable")
    spans(context, 2)

    for {name, payload, type} <- [
          {"trap_unreachable", "secret", "trap.unreachable"},
          {"nobody", "secret", "not_deployed"},
          {"hello_world", "no/host/secret\n", "guest_error"}
        ] do
      assert {status, _headers, _error} = post(context.peer, "/call/#{name}", payload, @recorded)
      assert status >= 400
      settled(context.peer)
      spans = Collector.take(context.collector)
      assert %{"status" => %{"code" => 2}} = span = Enum.find(spans, &(&1["name"] == "call #{name}"))
      assert attribute(span, "error.type") == %{"stringValue" => type}
    end
  end

  test "a deploy is a span with its compile in it, and one that is refused says so", context do
    assert {201, _headers, _function} =
             curl_deploy_url(Peer.url(context.peer, "/deploy"), guest("wat", "loop"), [name: "traced"], [
               "-H",
               "traceparent: #{@recorded}"
             ])

    assert %{"deploy traced" => [deploy], "compile" => [compile]} = spans(context, 2)
    assert %{"traceId" => @trace, "parentSpanId" => @span, "kind" => 2} = deploy
    assert compile["parentSpanId"] == deploy["spanId"]
    assert attribute(deploy, "tidepool.version") == %{"intValue" => "1"}

    assert {:error, %Error{}} = Peer.call(context.peer, Tidepool, :deploy, ["no module", [name: {:not, "text"}]])
    assert {:error, %Error{reason: reason}} = Peer.call(context.peer, Tidepool, :deploy, ["no module", [name: "x"]])
    settled(context.peer)
    assert refused = context.collector |> Collector.take() |> Enum.find(&(&1["name"] == "deploy x"))
    assert refused["status"] == %{"code" => 2}
    assert attribute(refused, "error.type") == %{"stringValue" => "#{reason}"}
  end

  test "a call of an actor is a span of its caller's, and what the actor does one in that", context do
    Peer.deploy!(context.peer, "rust", "hello_world", name: "class", operation: "hello", actor: true)
    spans(context, 2)
    assert {200, _headers, "Hello, Ada!"} = post(context.peer, "/actors/class/one/hello", "Ada", @recorded)
    spans = spans(context, 2)
    assert [%{"traceId" => @trace, "parentSpanId" => @span, "kind" => 2} = asked] = spans["actor class"]
    assert [%{"traceId" => @trace, "kind" => 2} = done] = spans["call class"]
    assert done["parentSpanId"] == asked["spanId"]
    assert attribute(done, "tidepool.actor") == %{"stringValue" => "one"}

    assert {:ok, "Hello, Eve!"} = Peer.call(context.peer, Actor, :call, ["class", "one", "hello", "Eve"])
    assert %{"actor class" => [%{"parentSpanId" => "", "kind" => 3}]} = spans(context, 2)
  end

  test "of calls that nobody traces the share is recorded that the setting says, and of the others what their sender says" do
    collector = Collector.start!()
    peer = node!(collector, sample: "0")
    context = %{collector: collector, peer: peer}
    spans(context, 0)

    # A function whose first calls took long, as on a busy machine, goes to a process anyway: another one doesn't.
    eventually(
      fn ->
        Peer.deploy!(peer, "rust", "hello_world", name: name = unique_name("greet"), operation: "hello")
        handed_over = fn -> Peer.call(peer, TidepoolWeb.Listener, :stats, []).handed_over end
        before = handed_over.()
        assert {200, _headers, "Hello, Ada!"} = curl_url(Peer.url(peer, "/call/#{name}?payload=Ada"))
        assert {200, _headers, "Hello, Ada!"} = post(peer, "/call/#{name}", "Ada", @not_recorded)
        assert {200, _headers, "Hello, Ada!"} = post(peer, "/call/#{name}", "Ada", "what")
        handed_over.() == before
      end,
      20_000
    )

    assert {:ok, "Hello, Ada!"} = call(peer, ["greet", nil, "Ada"])
    spans(context, 0)

    assert {200, _headers, "Hello, Ada!"} = post(peer, "/call/greet", "Ada", @recorded)
    assert %{"call greet" => [%{"traceId" => @trace}]} = spans(context, 1)

    # What it asks in turn belongs to the trace all the same, and is not recorded.
    assert {200, _headers, told} = post(peer, "/call/hello_world", "host/trace/inline\n", @not_recorded)
    assert told == "#{@not_recorded} #{@not_recorded}"
    # Nobody's trace is one, too, and not recorded.
    assert {200, _headers, told} = curl_url(Peer.url(peer, "/call/hello_world?payload=host/trace/inline%0A"))
    assert [header, header] = String.split(told)
    assert %Context{sampled?: false} = Context.parse(header)

    # The same of a handler of HTTP, and of what it asks in turn.
    Peer.deploy!(peer, "rust", "http")
    Peer.deploy!(peer, "rust", "fetch")
    assert [[@not_recorded], ["a=1"]] = given(peer, ["traceparent: #{@not_recorded}", "tracestate: a=1"])

    for path <- ["/call/http/headers", "/call/fetch/get?http://http.internal/headers"],
        headers <- [[], ["traceparent: x"]] do
      assert [[header], []] = given(peer, headers ++ ["tracestate: a=1"], path)
      assert %Context{sampled?: false} = Context.parse(header)
    end

    spans(context, 0)
  end

  test "a collector that is away, or silent, neither slows calls nor fails them, and what is dropped is counted" do
    for away? <- [true, false] do
      collector = Collector.start!()
      :ok = Collector.answer(collector, :never)
      peer = node!(collector, queue: 10, timeout: 600_000)
      if away?, do: GenServer.stop(collector)

      for number <- 1..100, do: assert(call(peer, ["greet", nil, "#{number}"]) == {:ok, "Hello, #{number}!"})
      assert {200, _headers, "Hello, Ada!"} = curl_url(Peer.url(peer, "/call/greet?payload=Ada"))
      assert %{sent: 0, dropped: dropped, waiting: 10} = counts(peer)
      assert dropped >= 91

      {200, _headers, metrics} = curl_url(Peer.url(peer, "/metrics"))
      assert metrics =~ ~r/^tidepool_spans_dropped #{counts(peer).dropped}$/m
      assert metrics =~ ~r/^tidepool_spans_sent 0$/m

      # And the node ends in time.
      assert {took, :ok} = :timer.tc(fn -> Peer.stop_application(peer) end)
      assert took < 20_000_000
    end
  end

  test "what a collector does not take now is sent again, and what it refuses is dropped", context do
    :ok = Collector.answer(context.collector, 503)
    batches = Collector.batches(context.collector)
    assert {:ok, _reply} = call(context.peer, ["greet", nil, "Ada"])
    eventually(fn -> Collector.batches(context.collector) > batches end, 20_000)
    :ok = Collector.answer(context.collector, 200)
    assert %{"call greet" => [_span]} = spans(context, 1)

    :ok = Collector.answer(context.collector, 400)
    %{dropped: dropped} = counts(context.peer)
    assert {:ok, _reply} = call(context.peer, ["greet", nil, "Ada"])
    eventually(fn -> counts(context.peer).dropped == dropped + 1 end, 20_000)
    settled(context.peer)
  end

  test "of an answer without an end the status is read, and no more" do
    collector = Collector.start!()
    peer = node!(collector, timeout: 600_000)
    more = String.duplicate("x", 65_536)

    for {beginning, outcome} <- [
          {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", :sent},
          {"HTTP/1.1 200 OK\r\nmore: ", :sent},
          {"HTTP/1.1 400 Bad Request\r\n\r\n", :dropped},
          {"HTTP/1.1 200 ", nil},
          {"", nil}
        ] do
      settled(peer)
      :ok = Collector.answer(collector, {:endless, beginning, more})
      before = counts(peer)
      assert {:ok, _reply} = call(peer, ["greet", nil, "Ada"])
      # What the sockets hold is read by nobody.
      assert eventually(fn -> Collector.poured(collector) end, 20_000) < 16 * 1_048_576, beginning
      :ok = Collector.answer(collector, 200)
      settled(peer)
      if outcome, do: assert(counts(peer)[outcome] > before[outcome], beginning)
    end
  end

  test "a collector with TLS has to have a certificate that the system trusts, of the name that it was asked by",
       context do
    {server, client} = certificates()
    {:ok, listener} = :ssl.listen(0, [packet: :http_bin, active: false, ip: {127, 0, 0, 1}] ++ server)
    {:ok, {_address, port}} = :ssl.sockname(listener)
    start_supervised!({Task, fn -> serve_tls(listener) end})

    ask = fn host ->
      url = URI.parse("https://#{host}:#{port}/v1/traces")
      Peer.call(context.peer, Post, :status, [url, [], "{}", 20_000])
    end

    assert {:error, {:tls_alert, {:unknown_ca, _text}}} = ask.("localhost")
    trusted = Path.join(tmp_folder!(), "trusted.pem")
    File.write!(trusted, Enum.map(client[:cacerts], &pem(:Certificate, &1)))
    :ok = Peer.call(context.peer, :public_key, :cacerts_load, [trusted])
    assert ask.("localhost") == {:ok, 200}
    assert {:error, {:tls_alert, {:handshake_failure, _text}}} = ask.("127.0.0.1")
  end

  defp serve_tls(listener) do
    {:ok, socket} = :ssl.transport_accept(listener)

    with {:ok, socket} <- :ssl.handshake(socket),
         {:ok, {:http_request, :POST, _path, _version}} <- :ssl.recv(socket, 0) do
      :ok = :ssl.send(socket, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    end

    serve_tls(listener)
  end

  test "what a node has when it stops is sent first, with the headers of the settings" do
    collector = Collector.start!()
    peer = node!(collector, interval: 600_000, headers: "api-key=a%3Db,tenant=shop", service: "shop")
    assert {:ok, _reply} = call(peer, ["greet", nil, "Ada"])
    :ok = Peer.stop_application(peer)
    assert spans = [_span | _more] = Collector.take(collector)
    assert "call greet" in Enum.map(spans, & &1["name"])
    assert [%{"headers" => %{"api-key" => "a=b", "tenant" => "shop"}, "service" => "shop"}] = Enum.take(spans, 1)
  end

  test "headers are a secret: no page and no complaint shows them" do
    peer = node!(Collector.start!(), headers: "api-key=s3cret")
    {200, _headers, %{"settings" => settings}} = curl_url(Peer.url(peer, "/node"))
    assert %{"value" => "%{" <> shown} = Enum.find(settings, &(&1["name"] == "otlp"))
    assert shown =~ "endpoint"
    refute inspect(settings) =~ "s3cret"
    assert {:error, error} = Tidepool.Config.Schema.check(otlp: [headers: "s3cret"])
    assert error.message =~ ":headers of :otlp"
    refute error.message =~ "s3cret"
  end

  test "settings that can't be are refused, by the name of theirs" do
    for {key, values} <- [
          endpoint: ["127.0.0.1:4318", "ftp://a", "http://", "http://a b", "http://u:p@a", "http://a?b", "", 4318],
          headers: ["a", "=b", "a b=c", "a=\u0001", %{a: 1}, [{"a", :b}], [{"a", "b\r\n"} | "c"]],
          sample: ["", "a", "1.5", -0.1, 2, :all, "0.1x"],
          timeout: [0],
          interval: [0],
          queue: [0],
          service: ["", :shop]
        ],
        value <- values do
      assert {:error, %Error{reason: :invalid_option, message: message}} =
               Tidepool.Config.Schema.check(otlp: [{key, value}])

      assert message =~ "#{inspect(key)} of :otlp", inspect({key, value})
    end

    for otlp <- [true, [], [sample: "0.25"], [sample: 0], [headers: ""], [headers: [{"a", "b"}]], %{service: "shop"}],
        do: assert({:ok, %{otlp: %{endpoint: _url}}} = Tidepool.Config.Schema.check(otlp: otlp))

    assert {:ok, %{otlp: nil}} = Tidepool.Config.Schema.check(otlp: false)
  end

  test "OpenTelemetry's own variables are settings, and without an endpoint none of them is" do
    read = fn variables ->
      code = ~s|IO.inspect(Config.Reader.read!("config/runtime.exs", env: :prod)[:tidepool][:otlp], limit: :infinity)|
      {output, 0} = System.cmd("elixir", ["-e", code], env: variables)
      output |> Code.eval_string() |> elem(0)
    end

    others = [{"OTEL_SERVICE_NAME", "shop"}, {"OTEL_EXPORTER_OTLP_HEADERS", "a=b"}, {"OTEL_BSP_MAX_QUEUE_SIZE", "7"}]
    assert read.(others) == nil
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"}
    ratio = [{"OTEL_TRACES_SAMPLER", "parentbased_traceidratio"}, {"OTEL_TRACES_SAMPLER_ARG", "0.5"}]

    assert Enum.sort(read.([endpoint | ratio] ++ others)) ==
             [endpoint: "http://127.0.0.1:1", headers: "a=b", queue: 7, sample: "0.5", service: "shop"]

    assert {:error, error} = Tidepool.Config.Schema.check(otlp: read.([endpoint, {"OTEL_TRACES_SAMPLER", "always_on"}]))
    assert error.message =~ "OTEL_TRACES_SAMPLER=always_on"
  end

  test "without the setting there is none of it" do
    peer = Peer.start!(server: true)
    refute Peer.call(peer, Trace, :on?, [])
    refute Peer.call(peer, Telemetry, :listening?, [])
    assert Peer.call(peer, Process, :whereis, [Exporter]) == nil
    Peer.deploy!(peer, "rust", "hello_world", operation: "host")
    :ok = Peer.call(peer, Host, :register, [{"host", "trace", "inline"}, {Collector, :told}])
    assert {200, _headers, " "} = post(peer, "/call/hello_world", "host/trace/inline\n", @recorded)
    # A handler of HTTP gets what was sent, whatever it is.
    Peer.deploy!(peer, "rust", "http")
    assert given(peer, []) == [[], []]
    assert given(peer, ["traceparent: #{@recorded}", "tracestate: a=1"]) == [[@recorded], ["a=1"]]
    assert given(peer, ["traceparent: a", "traceparent: b"]) == [["a", "b"], []]
    assert Peer.call(peer, Trace, :metrics, []) |> Enum.map(&elem(&1, 2)) == [0, 0]
  end
end
