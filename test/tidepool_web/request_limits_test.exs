defmodule TidepoolWeb.RequestLimitsTest do
  # Requests have limits of time and number, tried on a node whose limits are small.
  use Tidepool.Case, async: true

  alias Tidepool.{Host, Latch, Peer, RawClient}

  setup_all do
    settings = [
      server: true,
      header_timeout: 1_000,
      body_timeout: 1_000,
      idle_timeout: 1_000,
      max_requests: 2,
      max_payload: 1_000
    ]

    peer = Peer.start!(settings)
    Peer.deploy!(peer, "rust", "hello_world", operation: "hello", limits: [time: 50_000])
    {:ok, latch} = Peer.call(peer, Latch, :start, [[name: Latch]])
    :ok = Peer.call(peer, Host, :register, [{"host", "latch", "park"}, latch])
    %{peer: peer, latch: latch, port: URI.parse(Peer.url(peer, "/")).port}
  end

  defp connect(port, bytes) do
    socket = RawClient.connect(port)
    :ok = :gen_tcp.send(socket, bytes)
    socket
  end

  test "a head that does not come to its end is cut", %{port: port} do
    assert port |> connect("GET /health HTTP/1.1\r\nhost") |> RawClient.rest() =~ ~r/\A(HTTP\/1.1 408|\z)/
  end

  test "a body that does not come to its end is 408", %{port: port} do
    answer =
      port
      |> connect("POST /call/hello_world HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf")
      |> RawClient.rest()

    assert answer =~ "HTTP/1.1 408"
    assert answer =~ "body_timeout"
  end

  test "a connection without a request is closed", %{port: port} do
    assert port |> connect("GET /call/hello_world HTTP/1.1\r\nhost: localhost\r\n\r\n") |> RawClient.rest() =~
             "Hello, world!"
  end

  test "a payload over the edge's limit is 413 with the figure, in the body as in the query", %{peer: peer} do
    url = Peer.url(peer, "/call/hello_world/echo")
    fits = String.duplicate("x", 1_000)
    assert {200, _headers, ^fits} = curl_url(url, ["--data-binary", fits])
    assert {200, _headers, ^fits} = curl_url(url <> "?payload=" <> fits)
    over = ["--data-binary", fits <> "x"]

    for {url, arguments} <- [
          {url, over},
          {url, over ++ ["-H", "transfer-encoding: chunked"]},
          {"#{url}?payload=#{fits}x", []}
        ] do
      assert {413, _headers, %{"error" => error}} = curl_url(url, arguments)
      assert %{"reason" => "payload_too_large", "limit_bytes" => 1_000} = error
    end
  end

  test "a body for a function that is not deployed is refused before it is read", %{port: port} do
    answer =
      port
      |> connect("POST /call/nobody HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999\r\n\r\n")
      |> RawClient.rest()

    assert answer =~ "HTTP/1.1 404"
    assert answer =~ "not_deployed"
  end

  test "a body over its function's limit is refused before it is read, and counted", %{peer: peer, port: port} do
    Peer.deploy!(peer, "rust", "upper", name: "tiny", limits: [payload: 10])

    assert {200, _headers, _reply} =
             curl_url(Peer.url(peer, "/call/tiny"), ["--data-binary", String.duplicate("x", 10)])

    answer =
      port |> connect("POST /call/tiny HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999\r\n\r\n") |> RawClient.rest()

    assert answer =~ "HTTP/1.1 413"
    assert answer =~ ~s("limit":"payload")
    assert answer =~ ~s("allowed":10)
    {200, _headers, metrics} = curl_url(Peer.url(peer, "/metrics"))
    assert metrics =~ ~s(tidepool_calls_total{function="tiny",reason="limit"} 1)
  end

  test "requests over the cap are 503 with Retry-After, and how the node is can still be asked", context do
    %{peer: peer, latch: latch} = context
    url = Peer.url(peer, "/call/hello_world/host?payload=host/latch/park")
    requests = for _ <- 1..2, do: Task.async(fn -> curl_url(url) end)
    assert ["", ""] = Peer.call(peer, Latch, :await, [latch, 2])

    assert {503, headers, %{"error" => %{"reason" => "overloaded"}}} = curl_url(Peer.url(peer, "/call/hello_world"))
    assert headers["retry-after"] =~ ~r/\A[1-9]\d*\z/
    for path <- ["/health", "/metrics"], do: assert({200, _headers, _body} = curl_url(Peer.url(peer, path)))

    assert Peer.call(peer, Latch, :release, [latch]) == 2
    for request <- requests, do: assert({200, _headers, "released"} = Task.await(request, 60_000))
    assert {200, _headers, "Hello, world!"} = curl_url(Peer.url(peer, "/call/hello_world"))
  end
end
