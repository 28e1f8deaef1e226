defmodule TidepoolWeb.OutgoingTest do
  # Components that send requests, to servers and to other functions.
  use Tidepool.Case

  import Tidepool.ProgramClient

  alias Tidepool.{LogWatch, Origin, Peer}

  @local ["tcp:connect:127.0.0.0/8:*"]

  defp fetch!(options \\ []), do: deploy!("rust", "fetch", Keyword.merge([net: @local], options))

  # What the guest tells of a request: status and body.
  defp ask(name, path, arguments \\ []) do
    {status, _headers, body} = curl("/call/#{name}#{path}", arguments)
    {status, body}
  end

  defp ms(header, ms), do: ["-H", "x-#{header}: #{ms}"]

  # A server that begins a response, and goes on with it no more.
  defp pausing!(test) do
    Origin.start!(fn socket, _head ->
      :gen_tcp.send(socket, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
      Origin.tell_when_closed(socket, test)
    end)
  end

  describe "a request to a server" do
    test "is as the guest has made it, and the response is the guest's, redirects too" do
      port = Origin.start!(fn socket, head -> Origin.say(socket, head, "location: http://10.0.0.1/\r\n") end)
      name = fetch!()
      assert {200, headers, head} = curl("/call/#{name}/get?http://127.0.0.1:#{port}/a/b%20c?d=e")
      assert [first | lines] = String.split(head, "\r\n", trim: true)
      assert first == "GET /a/b%20c?d=e HTTP/1.1"
      assert lines == ["host: 127.0.0.1:#{port}"]
      # It is for the guest to follow or not.
      assert headers["location"] == "http://10.0.0.1/"
    end

    test "streams a body each way" do
      port =
        Origin.start!(fn socket, head ->
          [_head, body] = String.split(head, "\r\n\r\n", parts: 2)
          :gen_tcp.send(socket, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

          Stream.iterate(body, fn _sent -> with({:ok, more} <- :gen_tcp.recv(socket, 0), do: more) end)
          |> Enum.reduce_while("", fn piece, so_far ->
            if String.ends_with?(so_far <> piece, "0\r\n\r\n"),
              do: {:halt, so_far <> piece},
              else: {:cont, so_far <> piece}
          end)
          |> then(&:gen_tcp.send(socket, &1))
        end)

      name = fetch!()
      bytes = Base.encode64(:rand.bytes(150_000))
      path = Path.join(tmp_folder!(), "sent")
      File.write!(path, bytes)

      assert {200, ^bytes} =
               ask(name, "/post?http://127.0.0.1:#{port}/", ["-H", "expect:", "--data-binary", "@#{path}"])
    end

    test "is a typed component's as well, and takes no handle of its instance for good" do
      port = Origin.start!(fn socket, _head -> Origin.say(socket, "low tide") end)
      name = deploy!("rust", "fetch_typed", net: @local, instances: {:warm, 1})
      for _turn <- 1..100, do: assert({:ok, "200\nlow tide\n"} = Tidepool.call(name, :run, ["127.0.0.1:#{port} /"]))
    end

    test "of a gigabyte leaves nothing of it in memory" do
      size = sample(200_000_000, 1_000_000_000)
      piece = :binary.copy("x", 100_000)

      port =
        Origin.start!(fn socket, _head ->
          :gen_tcp.send(socket, "HTTP/1.1 200 OK\r\ncontent-length: #{size}\r\n\r\n")
          for _turn <- 1..div(size, 100_000), do: :ok = :gen_tcp.send(socket, piece)
        end)

      name = fetch!(limits: %{time: 120_000, cpu_time: 60_000})
      small = Origin.start!(fn socket, _head -> Origin.say(socket, "") end)
      assert {200, "0 bytes"} = ask(name, "/count?http://127.0.0.1:#{small}/")
      before = rss()
      assert {200, counted} = ask(name, "/count?http://127.0.0.1:#{port}/", ["--max-time", "110"])
      assert counted == "#{size} bytes"
      assert rss() - before < 40_000_000
    end

    test "is denied where nothing grants it, by the address that a name has, too" do
      port = Origin.start!(fn socket, _head -> Origin.say(socket, "reached") end)
      denied = {502, "ErrorCode::HttpRequestDenied"}

      for {net, url, expected} <- [
            {[], "127.0.0.1:#{port}", denied},
            {["tcp:connect:127.0.0.1:1"], "127.0.0.1:#{port}", denied},
            {["tcp:connect:10.0.0.0/8:*", "dns"], "localhost:#{port}", denied},
            {@local, "localhost:#{port}", denied},
            {@local ++ ["dns"], "localhost:#{port}", {200, "reached"}},
            {["tls:connect:*:*", "dns"], "localhost:#{port}", denied},
            {["https:*:*", "dns"], "localhost:#{port}", denied},
            {["tls:connect:example.com:443"], "https://127.0.0.1:#{port}", denied}
          ] do
        assert ask(fetch!(net: net), "/get?#{url}/") == expected, inspect({net, url})
      end
    end

    test "is granted by its scheme: by an address, or by a name with the address of this machine that it has" do
      port = Origin.start!(fn socket, _head -> Origin.say(socket, "reached") end)
      denied = {502, "ErrorCode::HttpRequestDenied"}

      for {net, host, expected} <- [
            {["http:127.0.0.1:#{port}"], "127.0.0.1", {200, "reached"}},
            {["http:127.0.0.0/8:*", "dns"], "localhost", {200, "reached"}},
            {["http:localhost:#{port}", "http:127.0.0.0/8:*"], "localhost", {200, "reached"}},
            {["http:localhost:#{port}", "tcp:connect:127.0.0.0/8:*"], "localhost", {200, "reached"}},
            {["http:*:*"], "localhost", {200, "reached"}},
            # A name leads to no address of this machine by itself, nor does one of an address give it a name.
            {["http:localhost:#{port}"], "localhost", denied},
            {["http:localhost:#{port}", "http:10.0.0.0/8:*"], "localhost", denied},
            {["http:localhost:#{port}"], "127.0.0.1", denied},
            {["http:127.0.0.0/8:*"], "localhost", denied},
            {["http:127.0.0.1:1-#{port - 1}"], "127.0.0.1", denied},
            {["https:127.0.0.1:#{port}"], "127.0.0.1", denied}
          ] do
        assert ask(fetch!(net: net), "/get?#{host}:#{port}/") == expected, inspect({net, host})
      end

      # A plug-in asks by the same grants.
      plug_in = deploy!("rust", "vowels", net: ["http:127.0.0.1:#{port}"])
      assert Tidepool.call(plug_in, "fetches", "http://127.0.0.1:#{port}/") == {:ok, "reached"}
    end

    test "reaches no address that is not granted by another spelling of it, nor one that a server leads to" do
      port = Origin.start!(fn socket, _head -> Origin.say(socket, "reached") end)

      spelled =
        ~w(2130706433 0x7f000001 0177.0.0.1 127.1 [::ffff:127.0.0.1] [::ffff:7f00:1] 127.0.0.1. LOCALHOST localhost.)

      for net <- [
            [],
            ["dns", "tcp:connect:10.0.0.0/8:*", "tls:connect:*:*"],
            ["dns", "http:localhost:*", "http:10.0.0.0/8:*", "https:*:*"]
          ] do
        name = fetch!(net: net)

        for host <- spelled do
          assert {502, error} = ask(name, "/get?#{host}:#{port}/"), host
          refute error =~ "reached"
        end
      end

      # A plug-in follows by itself: each step is a request that has to be granted.
      leading = Origin.start!(fn socket, _head -> redirect(socket, "http://localhost:#{port}/") end)
      plug_in = deploy!("rust", "vowels", net: ["tcp:connect:127.0.0.1:#{leading}", "dns"])
      assert {500, %{"error" => error}} = ask(plug_in, "/fetches", ["--data-binary", "http://127.0.0.1:#{leading}/"])
      assert error["message"] == "HTTP request to http://localhost:#{port}/ is not allowed"
    end

    defp redirect(socket, to),
      do: :gen_tcp.send(socket, "HTTP/1.1 302 Found\r\nlocation: #{to}\r\ncontent-length: 0\r\n\r\n")

    test "that is denied is told on the console with the grant that it takes" do
      for {options, url, told} <- [
            {[net: []], "127.0.0.1:1", "the function is not granted http:127.0.0.1:1: its deploy's option `net`"},
            {[net: []], "https://me:secret@api.example/", "the function is not granted https:api.example:443: its"},
            {[net: []], "tide.example:81", "the function is not granted http:tide.example:81: its"},
            {[net: []], "[::1]", "the function is not granted http:[::1]:80: its"},
            {[net: ["tcp:connect:127.0.0.1:2"]], "127.0.0.1:1", "the function is not granted http:127.0.0.1:1"},
            {[net: ["dns"]], "https://localhost:1", "the function is not granted https:localhost:1"},
            {[net: ["http:localhost:1"]], "localhost:1", ~r/is not granted http:(127\.0\.0\.1|\[::1\]):1: its/},
            {[host: ["none"]], "other.internal",
             "the function is not granted tidepool/function/other: its deploy's option `host`"}
          ] do
        name = fetch!(options)
        LogWatch.watch(name)
        assert {502, "ErrorCode::HttpRequestDenied"} = ask(name, "/get?#{url}/")
        assert_receive {:logged, ^name, _level, line, _metadata}, 30_000
        assert line =~ told
      end
    end

    test "that can't be had fails with what WASI has for that" do
      name = fetch!(net: @local ++ ["dns"])
      {:ok, unused} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      {:ok, nobody} = :inet.port(unused)
      :gen_tcp.close(unused)

      assert ask(name, "/get?127.0.0.1:#{nobody}/") == {502, "ErrorCode::ConnectionRefused"}
      assert {502, "ErrorCode::DnsError" <> _} = ask(name, "/get?no-such-host.invalid/")
      assert ask(name, "/get?user@127.0.0.1:#{nobody}/") == {502, "ErrorCode::HttpRequestUriInvalid"}

      babble = Origin.start!(fn socket, _head -> :gen_tcp.send(socket, "what is this\r\n\r\n") end)
      assert ask(name, "/get?127.0.0.1:#{babble}/") == {502, "ErrorCode::HttpProtocolError"}

      rude = Origin.start!(fn socket, _head -> :gen_tcp.close(socket) end)
      assert {502, error} = ask(name, "/get?127.0.0.1:#{rude}/")
      assert error in ["ErrorCode::HttpResponseIncomplete", "ErrorCode::ConnectionTerminated"]

      large = "x-large: #{String.duplicate("x", 100_000)}\r\n"
      long = Origin.start!(fn socket, _head -> Origin.say(socket, "", large) end)
      assert {502, "ErrorCode::HttpResponseHeaderSectionSize" <> _} = ask(name, "/get?127.0.0.1:#{long}/")
    end

    test "by TLS is refused by who is not the host" do
      {server, _client} = Tidepool.Certificates.certificates()
      {:ok, listener} = :ssl.listen(0, [ip: {127, 0, 0, 1}, log_level: :none] ++ server)
      {:ok, {_address, port}} = :ssl.sockname(listener)
      test = self()

      spawn_link(fn ->
        for _turn <- 1..2 do
          {:ok, socket} = :ssl.transport_accept(listener)
          send(test, {:shaken, :ssl.handshake(socket)})
        end
      end)

      for {net, host} <- [{@local ++ ["dns"], "localhost"}, {@local, "127.0.0.1"}] do
        assert ask(fetch!(net: net), "/get?https://#{host}:#{port}/") == {502, "ErrorCode::TlsCertificateError"}
        assert_receive {:shaken, {:error, _alert}}
      end

      # It waits for the head of a request for ever.
      plain = Origin.start!(fn _socket, _head -> :ok end)
      asked = ask(fetch!(), "/get?https://127.0.0.1:#{plain}/", ms("connect", 300))
      assert asked == {502, "ErrorCode::ConnectionTimeout"}
    end

    test "takes as long as the guest lets it: to begin, and to go on" do
      test = self()
      silent = Origin.start!(fn socket, _head -> Origin.tell_when_closed(socket, test) end)
      name = fetch!()
      assert ask(name, "/get?127.0.0.1:#{silent}/", ms("first-byte", 200)) == {502, "ErrorCode::ConnectionReadTimeout"}
      assert_receive :closed

      pausing = pausing!(test)

      counted = ask(name, "/count?127.0.0.1:#{pausing}/", ms("between-bytes", 200))
      assert counted == {200, "4 bytes, ErrorCode::ConnectionReadTimeout"}
      assert_receive :closed
    end

    test "whose response breaks off is known to be no whole one" do
      port =
        Origin.start!(fn socket, _head ->
          :gen_tcp.send(socket, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
          :gen_tcp.close(socket)
        end)

      assert ask(fetch!(), "/count?127.0.0.1:#{port}/") == {200, "4 bytes, ErrorCode::HttpResponseIncomplete"}
    end

    test "is one of as many as a version may have at once, and gives its place back" do
      whole = Origin.start!(fn socket, _head -> Origin.say(socket, "x") end)

      unfinished =
        Origin.start!(fn socket, _head ->
          :gen_tcp.send(socket, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
          Origin.tell_when_closed(socket, self())
        end)

      peer = Peer.start!(server: true, max_program_sockets: 3)
      Peer.deploy!(peer, "rust", "fetch", net: @local)
      ask = fn path -> peer |> Peer.url("/call/fetch" <> path) |> curl_url() |> elem(2) end
      lines = ask.("/keep?5=127.0.0.1:#{unfinished}/") |> String.split("\n", trim: true) |> Enum.frequencies()
      assert lines == %{"200" => 3, "ErrorCode::ConnectionLimitReached" => 2}
      eventually(fn -> ask.("/get?127.0.0.1:#{whole}/") == "x" end)
    end

    test "leaves no handle behind that its guest has given away" do
      port = Origin.start!(fn socket, _head -> Origin.say(socket, "x") end)
      name = fetch!(instances: {:warm, 1}, limits: %{time: 60_000})
      for _turn <- 1..30, do: assert({200, _lines} = ask(name, "/keep?50=127.0.0.1:#{port}/"))
    end

    test "ends with its call: by a limit, by the client's going, by the guest's return in an instance that is kept" do
      test = self()
      silent = Origin.start!(fn socket, _head -> send(test, :reached) && Origin.tell_when_closed(socket, test) end)
      slow = fetch!(limits: %{time: 2_000})
      assert {504, _error} = ask(slow, "/get?127.0.0.1:#{silent}/")
      assert_receive :reached
      assert_receive :closed

      name = fetch!()

      caller =
        Port.open({:spawn_executable, System.find_executable("curl")},
          args: ["-s", url("/call/#{name}/get?127.0.0.1:#{silent}/")]
        )

      assert_receive :reached
      {:os_pid, pid} = Port.info(caller, :os_pid)
      System.cmd("kill", ["#{pid}"])
      assert_receive :closed

      pausing = pausing!(test)

      warm = fetch!(instances: {:warm, 1})
      assert ask(warm, "/leave?127.0.0.1:#{pausing}/") == {200, "200"}
      assert_receive :closed
    end
  end

  describe "http://NAME.internal" do
    setup do
      handle!({"tidepool", "function", :_}, {Tidepool.Host.Builtin, :function}, run: :inline)
    end

    test "is another function, asked without a socket" do
      callee = deploy!("rust", "http")
      name = fetch!(net: [])
      assert {200, lines} = ask(name, "/get?http://#{callee}.internal/headers?a=b")
      lines = String.split(lines, "\n", trim: true)
      assert ":authority: #{callee}.internal" in lines
      assert ":path: /headers?a=b" in lines
      refute Enum.any?(lines, &String.starts_with?(&1, "host:"))
      assert {418, ""} = ask(name, "/get?http://#{callee}.internal/status/418")

      bytes = Base.encode64(:rand.bytes(150_000))
      path = Path.join(tmp_folder!(), "sent")
      File.write!(path, bytes)
      sum = :crypto.hash(:sha256, bytes) |> Base.encode16(case: :lower)
      sent = ["-H", "expect:", "--data-binary", "@#{path}"]
      assert ask(name, "/post?http://#{callee}.internal/sha256", sent) == {200, sum <> "\n"}
    end

    test "streams: what the other has sent comes before its end" do
      callee = deploy!("rust", "http")
      counted = ask(fetch!(net: []), "/count?http://#{callee}.internal/events?n=2000")
      size = Enum.sum(for event <- 1..2_000, do: byte_size("data: #{event}\n\n"))
      assert counted == {200, "#{size} bytes"}
      # One that goes on for ever is given up, and ends.
      silent = "/count?http://#{callee}.internal/silent"
      assert ask(fetch!(), silent, ms("between-bytes", 200)) == {200, "3 bytes, ErrorCode::ConnectionReadTimeout"}
      eventually(fn -> busy_instances() == 0 end)
    end

    test "fails with what WASI has for that" do
      callee = deploy!("rust", "http", limits: %{payload: 1_000})
      bytes = deploy!("rust", "hello_world")
      name = fetch!()
      internal = &"/get?http://#{&1}.internal/"
      assert ask(name, internal.("no-such-function")) == {502, "ErrorCode::DestinationNotFound"}
      assert {502, "ErrorCode::InternalError(Some(" <> wrong} = ask(name, internal.(bytes))
      assert wrong =~ "handles no other requests of HTTP"
      assert {502, "ErrorCode::InternalError(Some(" <> trapped} = ask(name, internal.(callee) <> "trap-before")
      assert trapped =~ "unreachable"
      broken = ask(name, "/count?http://#{callee}.internal/trap-after")
      assert broken == {200, "4 bytes, ErrorCode::HttpResponseIncomplete"}
      late = ask(name, internal.(callee) <> "loop", ms("first-byte", 200))
      assert late == {502, "ErrorCode::ConnectionReadTimeout"}
      eventually(fn -> busy_instances() == 0 end)
    end

    test "is asked for by a command that a process runs, nested in it, and ends with it" do
      callee = deploy!("rust", "http")
      name = deploy!("rust", "fetch_command")
      ask = fn name, path -> start!(name, args: [name, "#{callee}.internal", path]) end

      program = ask.(name, "/headers?a=b")
      assert ended!(program) == :normal
      lines = String.split(output(), "\n", trim: true)
      assert ["200" | _headers] = lines
      assert ":path: /headers?a=b" in lines

      program = ask.(name, "/events?n=20")
      assert ended!(program) == :normal
      assert output() =~ "data: 20\n"

      # Denied, and not found, as WASI has them.
      program = ask.(deploy!("rust", "fetch_command", host: ["none"]), "/hello")
      assert ended!(program) == :normal
      assert output() =~ ~r/\Athe function is not granted tidepool\/function\/#{callee}: .*\nerror \d+\n\z/
      program = start!(name, args: [name, "no-such-function.internal", "/"])
      assert ended!(program) == :normal
      assert "error " <> _missing = output()

      looping = ask.(name, "/loop")
      eventually(fn -> busy_instances() == 2 end)
      Process.exit(looping, :kill)
      assert ended!(looping) == :killed
      eventually(fn -> busy_instances() == 0 end)
    end

    test "is granted as host functions are" do
      callee = deploy!("rust", "http")
      path = "/get?http://#{callee}.internal/hello"

      for {host, expected} <- [
            {["none"], {502, "ErrorCode::HttpRequestDenied"}},
            {["tidepool/function/other"], {502, "ErrorCode::HttpRequestDenied"}},
            {["tidepool/function/#{callee}"], {200, "hello"}}
          ],
          do: assert(ask(fetch!(host: host), path) == expected, inspect(host))

      Tidepool.Host.unregister({"tidepool", "function", :_})
      assert ask(fetch!(), path) == {502, "ErrorCode::HttpRequestDenied"}
    end

    test "of a namespace is for guests of that one alone" do
      space = unique_name("pool")

      for guest <- ["fetch", "http"], name = "#{space}/#{guest}" do
        {:ok, _function} = Tidepool.deploy(guest("rust", guest), name: name)
        on_exit(fn -> Tidepool.remove(name) end)
      end

      path = "/get?http://http.#{space}.internal/hello"
      assert ask("#{space}%2Ffetch", path) == {200, "hello"}
      assert ask(fetch!(), path) == {502, "ErrorCode::DestinationNotFound"}
    end

    test "in a circle comes to an end, and nobody waits for ever" do
      {one, two} = {fetch!(limits: %{time: 20_000}), fetch!(limits: %{time: 20_000})}
      bounced = curl("/call/#{one}/bounce", ["-H", "x-one: #{two}", "-H", "x-two: #{one}"])
      assert {502, _headers, "ErrorCode::LoopDetected"} = bounced
      eventually(fn -> busy_instances() == 0 end)
    end

    test "ends with its caller" do
      callee = deploy!("rust", "http")
      slow = fetch!(limits: %{time: 300})
      # Both have one deadline: the caller may still be told that its request has come to it.
      assert {status, answer} = ask(slow, "/get?http://#{callee}.internal/loop")
      assert status == 504 or {status, answer} == {502, "ErrorCode::HttpResponseTimeout"}
      eventually(fn -> busy_instances() == 0 end)

      warm = fetch!(instances: {:warm, 1})
      assert ask(warm, "/leave?http://#{callee}.internal/silent") == {200, "200"}
      eventually(fn -> busy_instances() == 0 end)
    end
  end

  defp rss do
    [pages] = Regex.run(~r/\A\d+ (\d+)/, File.read!("/proc/self/statm"), capture: :all_but_first)
    String.to_integer(pages) * 4_096
  end
end
