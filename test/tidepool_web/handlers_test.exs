defmodule TidepoolWeb.HandlersTest do
  # Components that handle HTTP: whole requests, whichever language the guest is written in, and what ends them.
  use Tidepool.Case

  import Tidepool.RawClient

  alias Tidepool.{FaultFootprint, FaultNative, LogWatch, TestEdge}

  @languages ~w(rust c go)

  defp handler!(options \\ []), do: deploy!("rust", "http", options)

  defp say(socket, lines), do: :ok = :gen_tcp.send(socket, lines)

  describe "a guest in each language" do
    for language <- @languages do
      @tag language: language
      test "gets the whole request, and its response is passed on as it is (#{language})", %{language: language} do
        name = deploy!(language, "http")
        assert {200, %{"content-type" => "text/plain"}, "hello"} = curl("/call/#{name}/hello")

        assert {200, _headers, lines} = curl("/call/#{name}/headers?a=%20b&c", ["-H", "X-One: 1", "-X", "GET"])
        lines = String.split(lines, "\n", trim: true)
        assert ":path: /headers?a=%20b&c" in lines
        assert ":method: GET" in lines
        assert ":scheme: http" in lines
        assert ":authority: 127.0.0.1:#{TidepoolWeb.Listener.port()}" in lines
        assert "x-one: 1" in lines

        for method <- ~w(PUT PATCH DELETE OPTIONS PROPFIND) do
          assert {418, %{"x-method" => ^method}, ""} = curl("/call/#{name}/status/418", ["-X", method])
        end

        assert {404, _headers, ""} = curl("/call/#{name}")
      end

      @tag language: language
      test "echoes a body byte for byte, by HTTP/1 and by HTTP/2 (#{language})", %{language: language} do
        name =
          deploy!(language, "http", limits: %{payload: 64_000_000, reply: 64_000_000, time: 60_000, cpu_time: 60_000})

        folder = tmp_folder!()
        {sent, got} = {Path.join(folder, "sent"), Path.join(folder, "got")}
        File.write!(sent, :rand.bytes(5_000_000))

        for version <- ["--http1.1", "--http2-prior-knowledge"] do
          asked = [version, "-H", "content-type: tide/pool", "-X", "POST", "-T", sent, url("/call/#{name}/echo")]
          told = ["-sS", "--max-time", "60", "-o", got, "-w", "%{http_code} %{content_type}"]
          assert {"200 tide/pool", 0} = System.cmd("curl", told ++ asked)
          assert File.read!(got) == File.read!(sent), version
        end
      end
    end
  end

  test "a body goes back while the rest of it is still to come, and each side waits for the other" do
    name = handler!()
    socket = connect()
    say(socket, "POST /call/#{name}/echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")

    for piece <- ["one", "three", "seventeen"] do
      size = Integer.to_string(byte_size(piece), 16) |> String.downcase()
      say(socket, [size, "\r\n", piece, "\r\n"])
      assert heard(socket, "#{piece}\r\n") =~ ~r/(\A|\r\n)#{size}\r\n#{piece}\r\n\z/i
    end

    say(socket, "0\r\n\r\n")
    assert heard(socket, "0\r\n\r\n") == "0\r\n\r\n"
  end

  test "trailers of a request are the guest's, and those of its response the client's" do
    name = handler!()
    socket = connect()

    say(socket, [
      "POST /call/#{name}/echo HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\ntrailer: x-sum\r\n",
      "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 42\r\n\r\n"
    ])

    assert heard(socket, "x-sum: 42\r\n\r\n") =~ "\r\n2\r\nhi\r\n0\r\n"
  end

  describe "what fails" do
    test "before the head is an error with its reason, after it a body that breaks off" do
      name = handler!()
      assert {500, _headers, %{"error" => %{"reason" => "trap"}}} = curl("/call/#{name}/trap-before")

      assert {500, _headers, %{"error" => %{"reason" => "no_response", "message" => unset}}} =
               curl("/call/#{name}/unset")

      assert unset =~ "without a response"

      assert {500, _headers, %{"error" => %{"reason" => "no_response", "message" => refused}}} =
               curl("/call/#{name}/refuse")

      assert refused =~ "out of tides"

      socket = connect()
      say(socket, "GET /call/#{name}/trap-after HTTP/1.1\r\nhost: localhost\r\n\r\n")
      broken = rest(socket, [:closed])
      assert broken =~ "HTTP/1.1 200 OK"
      assert broken =~ "half"
      refute broken =~ "0\r\n\r\n"

      assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    end

    test "is a limit: time, CPU time, a request's bytes, a response's" do
      # Each has a limit of its own: on a busy machine time is over long before CPU time is.
      looping = handler!(limits: %{time: 60_000, cpu_time: 100})
      assert {504, _headers, %{"error" => %{"limit" => "cpu_time"}}} = curl("/call/#{looping}/loop")

      name = handler!(limits: %{time: 60_000, payload: 1_000, reply: 1_000})

      large = String.duplicate("x", 1_001)

      assert {413, _headers, %{"error" => %{"reason" => "payload_too_large"}}} =
               curl("/call/#{name}/echo", ["-d", large])

      assert {413, _headers, %{"error" => %{"reason" => "payload_too_large"}}} =
               curl("/call/#{name}/sha256", ["-H", "transfer-encoding: chunked", "-d", large])

      late = handler!(limits: %{time: 2_000})

      for {name, path} <- [{late, "silent"}, {name, "events?n=1000"}] do
        socket = connect()
        say(socket, "GET /call/#{name}/#{path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
        broken = rest(socket, [:closed])
        assert broken =~ "HTTP/1.1 200 OK"
        refute broken =~ "0\r\n\r\n"
      end

      # By HTTP/2 the stream is reset, of which curl says 92.
      arguments = ["-sS", "--max-time", "120", "--http2-prior-knowledge", url("/call/#{name}/events?n=1000")]
      assert {_begun, 92} = System.cmd("curl", arguments, stderr_to_stdout: true)

      assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    end

    test "is a limit when its last bytes are too many that nobody has taken yet, and is counted as one" do
      name = handler!(limits: %{reply: 3})

      for _request <- 1..10 do
        socket = connect()
        say(socket, "GET /call/#{name}/hello HTTP/1.1\r\nhost: localhost\r\n\r\n")
        broken = rest(socket, [:closed])
        refute broken =~ "hello" or broken =~ "0\r\n\r\n"
      end

      {200, _headers, metrics} = curl("/metrics")
      assert metrics =~ ~s(tidepool_calls_total{function="#{name}",reason="limit"} 10\n)
      assert metrics =~ ~s(tidepool_calls_total{function="#{name}",reason="ok"} 0\n)
    end

    test "is a call without a request" do
      name = handler!()
      assert {:error, %{reason: :invalid_arguments, message: message}} = Tidepool.call(name, "x")
      assert message =~ "handles requests of HTTP"
      assert {:error, %{reason: :invalid_arguments}} = Tidepool.call(name, :handle, [1])
    end
  end

  test "responses are counted by their function and the class of their status, and what the node answers is not" do
    name = handler!()

    counted = fn ->
      {200, _headers, text} = curl("/metrics")
      series = ~r/^tidepool_responses_total\{function="#{name}",status="(\w+)"\} (\d+)$/m
      for [class, count] <- Regex.scan(series, text, capture: :all_but_first), do: {class, String.to_integer(count)}
    end

    # All that there may be are there from the start, and the deploy's own request is none.
    assert counted.() == [{"2xx", 0}, {"3xx", 0}, {"4xx", 0}, {"5xx", 0}, {"other", 0}]

    for status <- [200, 204, 304, 404, 418, 499, 500, 599, 600, 999],
        do: assert({^status, _headers, ""} = curl("/call/#{name}/status/#{status}"))

    # Not one of these is a response of its own, and this one breaks off.
    for path <- ["trap-before", "unset", "refuse", "status/101"],
        do: assert({500, _headers, _} = curl("/call/#{name}/#{path}"))

    {_output, 18} = System.cmd("curl", ["-sS", url("/call/#{name}/trap-after")], stderr_to_stdout: true)
    expected = [{"2xx", 3}, {"3xx", 1}, {"4xx", 3}, {"5xx", 2}, {"other", 2}]
    eventually(fn -> counted.() == expected end)

    # The next version goes on with them, and other functions have none.
    {:ok, _function} = Tidepool.deploy(guest("c", "http"), name: name)
    assert {404, _headers, ""} = curl("/call/#{name}/not/there")
    eventually(fn -> counted.() == List.keyreplace(expected, "4xx", 0, {"4xx", 4}) end)
    other = deploy!("rust", "hello_world")
    assert {200, _headers, _reply} = curl("/call/#{other}/hello")
    {200, _headers, text} = curl("/metrics")
    refute text =~ ~s(tidepool_responses_total{function="#{other}")
  end

  describe "a client that hangs up" do
    for {stage, path, head?} <- [{"before the head", "loop", false}, {"after the head", "silent", true}] do
      @tag path: path, head?: head?
      test "ends its guest #{stage}", %{path: path, head?: head?} do
        name = handler!(limits: %{time: 60_000, cpu_time: 60_000, instances: 1})
        socket = connect()
        say(socket, "GET /call/#{name}/#{path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
        if head?, do: heard(socket, "one\r\n")
        eventually(fn -> Tidepool.Engine.instances().live > 0 end)
        :ok = :gen_tcp.close(socket)
        # There is one place: this one gets it when the guest before is gone.
        assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
      end
    end

    test "in the middle of its own body ends its guest, too" do
      name = handler!(limits: %{time: 60_000, instances: 1})
      socket = connect()
      say(socket, "POST /call/#{name}/sha256 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nsome")
      eventually(fn -> Tidepool.Engine.instances().live > 0 end)
      :ok = :gen_tcp.close(socket)
      assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    end
  end

  test "a client that hangs up with more of its body unread than is read ahead ends its guest, which reads nothing" do
    for leave <- [:close, :reset] do
      name = handler!(limits: %{time: 60_000, instances: 1})
      socket = connect()
      say(socket, "GET /call/#{name}/silent HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n")
      heard(socket, "one\r\n")
      say(socket, String.duplicate("x", 100_000))
      taken!(socket)
      if leave == :reset, do: :ok = :inet.setopts(socket, linger: {true, 0})
      :ok = :gen_tcp.close(socket)
      # There is one place: this one gets it when the guest before is gone.
      assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    end
  end

  # Waits until the node's system has taken all that was sent: `SIOCOUTQ`, by the size of the queue.
  defp taken!(socket), do: eventually(fn -> {:ok, [send_pend: 0]} = :inet.getstat(socket, [:send_pend]) end)

  describe "a response that streams" do
    for {instances, word} <- [{:fresh, "fresh"}, {{:warm, 1}, "warm"}], change <- [:redeploy, :remove] do
      @tag instances: instances, change: change
      test "goes on to its end by the version that began it, which gets no further request (#{change}, #{word})",
           %{instances: instances, change: change} do
        before = FaultFootprint.settled()
        name = handler!(instances: instances, limits: %{time: 60_000, cpu_time: 60_000})
        socket = connect()

        say(socket, [
          "POST /call/#{name}/echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n",
          "transfer-encoding: chunked\r\n\r\n3\r\none\r\n"
        ])

        heard(socket, "one\r\n")
        next = change!(change, name, instances)
        assert {^next, _headers, _body} = curl("/call/#{name}/a")
        say(socket, "3\r\ntwo\r\n")
        assert heard(socket, "two\r\n") == "3\r\ntwo\r\n"
        say(socket, "0\r\n\r\n")
        assert rest(socket, [:closed]) == "0\r\n\r\n"
        # Nobody is left of the version before, nor of the next when that is gone, too.
        remove!(name)
        FaultFootprint.assert_instances_back(before)
      end
    end

    # To a guest that knows the path, or to none: the status of what is asked for next.
    defp change!(:redeploy, name, instances) do
      {:ok, _function} = Tidepool.deploy(guest("abis", "http"), name: name, instances: instances)
      200 + ?1
    end

    defp change!(:remove, name, _instances) do
      :ok = Tidepool.remove(name)
      404
    end
  end

  test "an instance is fresh for each request, or is kept for the next ones where its deploy says so" do
    fresh = handler!()
    warm = handler!(instances: {:warm, 1})
    assert for(_turn <- 1..3, do: curl("/call/#{fresh}/count") |> elem(2)) == ~w(1 1 1)
    # Each deploy has asked an instance of its own twice, and dropped it.
    assert for(_turn <- 1..3, do: curl("/call/#{warm}/count") |> elem(2)) == ~w(1 2 3)
    assert {500, _headers, _error} = curl("/call/#{warm}/trap-before")
    assert {200, _headers, "1"} = curl("/call/#{warm}/count")
    # A client that leaves before the end takes the instance along, and no other.
    socket = connect()
    say(socket, "GET /call/#{warm}/silent HTTP/1.1\r\nhost: localhost\r\n\r\n")
    heard(socket, "one\r\n")
    :ok = :gen_tcp.close(socket)
    eventually(fn -> curl("/call/#{warm}/count") |> elem(2) == "2" end)
  end

  for {guest, why} <- [{"once", "unreachable"}, {"stuck", "it took longer than 2 s"}] do
    @tag guest: guest, why: why
    test "a handler whose instances serve one request each (#{guest}) is served by fresh ones, and its deploy says why",
         tags do
      name = unique_name(tags.guest)
      LogWatch.watch(name)
      on_exit(fn -> remove!(name) end)
      form = [{"name", name}, {"instances", "warm:2"}, {"limits", ~s({"time":60000,"cpu_time":60000})}]
      assert {201, _headers, deployed} = curl_deploy(guest("abis", tags.guest), form)
      assert %{"instances" => "fresh", "instances_reason" => reason} = deployed
      assert reason =~ "the second of two requests"
      assert reason =~ tags.why
      assert_receive {:logged, ^name, :warning, text, _metadata}, 30_000
      assert text =~ "each request has an instance of its own: #{reason}"
      for _turn <- 1..3, do: assert({204, _headers, ""} = curl("/call/#{name}/"))
      # It is asked no more than its deploy says, and nothing is kept of the reason.
      assert {200, _headers, %{"instances" => "fresh", "instances_reason" => nil}} = curl("/functions/#{name}")
    end
  end

  # The engine of JavaScript is why a deploy asks twice.
  @tag skip: System.get_env("TIDEPOOL_LONG", "") == ""
  @tag timeout: 600_000
  test "a handler in JavaScript is served by fresh instances, whatever its deploy asks for" do
    name = unique_name("js")
    on_exit(fn -> remove!(name) end)
    form = [{"name", name}, {"instances", "warm:2"}, {"limits", ~s({"time":60000,"cpu_time":60000})}]
    assert {201, _headers, deployed} = curl_deploy(guest("component", "js_http"), form)
    assert %{"instances" => "fresh", "instances_reason" => reason} = deployed
    assert reason =~ "the second of two requests"
    for _turn <- 1..3, do: assert({200, _headers, "1"} = curl("/call/#{name}/count"))
  end

  test "a deploy whose instances are as it asks for gives no reason" do
    name = unique_name("as_asked")
    on_exit(fn -> remove!(name) end)
    form = [{"name", name}, {"instances", "warm:2"}]

    assert {201, _headers, %{"instances" => "warm:2", "instances_reason" => nil}} =
             curl_deploy(guest("rust", "http"), form)
  end

  describe "on the node's own origin" do
    test "a response is confined, and sets nothing that outlives it" do
      name = handler!()
      socket = connect()
      say(socket, "GET /call/#{name}/hostile HTTP/1.1\r\nhost: localhost\r\n\r\n")
      [head, _page] = socket |> heard("0\r\n\r\n") |> String.split("\r\n\r\n", parts: 2)
      lines = String.split(head, "\r\n")
      assert "content-security-policy: sandbox" in lines
      assert "x-content-type-options: nosniff" in lines

      for header <- ~w(set-cookie clear-site-data strict-transport-security alt-svc service-worker-allowed) do
        refute Enum.any?(lines, &String.starts_with?(&1, header <> ":")), header
      end
    end

    test "trailers set nothing of the origin's either, by HTTP/1 and by HTTP/2" do
      name = handler!()
      socket = connect()

      say(socket, [
        "POST /call/#{name}/echo HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\n",
        "trailer: x-sum, set-cookie, clear-site-data\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        "2\r\nhi\r\n0\r\nx-sum: 42\r\nset-cookie: a=b\r\nclear-site-data: *\r\n\r\n"
      ])

      assert [_head, "2\r\nhi\r\n0\r\nx-sum: 42", ""] = socket |> rest([:closed]) |> String.split("\r\n\r\n")

      script = """
      const client = require("http2").connect(process.argv[1]);
      const request = client.request({ ":method": "POST", ":path": process.argv[2] }, { waitForTrailers: true });
      request.on("wantTrailers", () => request.sendTrailers({ "x-sum": "42", "set-cookie": "a=b", "clear-site-data": "*" }));
      request.on("trailers", (trailers) => console.log(Object.keys(trailers).join()));
      request.on("end", () => client.close());
      request.resume().end("hi");
      """

      assert {"x-sum\n", 0} = System.cmd("node", ["-e", script, url("/"), "/call/#{name}/echo"])
    end

    test "the guest gets neither the node's cookies nor its token, and an open node's clients may send it theirs" do
      name = handler!()
      secrets = ["-H", "cookie: tidepool_a=b", "-H", "authorization: Bearer s3cret", "-H", "x-tidepool: key"]
      assert {200, _headers, lines} = curl("/call/#{name}/headers", secrets)
      refute lines =~ "tidepool_a"
      refute lines =~ "x-tidepool"
      assert lines =~ "authorization: Bearer s3cret\n"

      {_server, port} = TestEdge.start!([], %{FaultNative.edge() | token: "s3cret"})
      assert {200, _headers, lines} = curl_url("http://127.0.0.1:#{port}/call/#{name}/headers", secrets)
      refute lines =~ "s3cret"
    end

    test "calls that take a token take one for handlers, too" do
      name = handler!()
      {_server, port} = TestEdge.start!([], %{FaultNative.edge() | token: "s3cret", closed_calls: true})
      url = "http://127.0.0.1:#{port}/call/#{name}/hello"
      assert {401, _headers, %{"error" => %{"reason" => "unauthorized"}}} = curl_url(url)
      assert {200, _headers, "hello"} = curl_url(url, ["-H", "authorization: Bearer s3cret"])
    end
  end

  test "a client that takes nothing holds up nobody, and is given up after a while" do
    name = handler!(limits: %{time: 60_000, cpu_time: 60_000, reply: 1_000_000_000, instances: 1})
    {_server, port} = TestEdge.start!([], %{FaultNative.edge() | write_timeout_ms: 300})
    slow = connect(port)
    say(slow, "GET /call/#{name}/events?n=100000000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert {200, _headers, _health} = curl("/health")
    # The place is free when the slow client is gone.
    assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
  end
end
