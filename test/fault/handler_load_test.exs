defmodule Tidepool.Fault.HandlerLoadTest do
  # Not async: keeps all cores busy, and counts what the node has.
  #
  # Clients and guests that misuse HTTP: the node answers others meanwhile, and has all places back afterwards.
  use Tidepool.Case

  import Tidepool.RawClient

  alias Tidepool.{Answered, FaultFootprint}

  @patient [time: 600_000, cpu_time: 600_000]
  # Requests on the way at once, of those that hang up.
  @at_once 50

  setup do
    {:ok, before: FaultFootprint.settled()}
  end

  test "a thousand clients that hang up, at each stage of a request, leave no guest behind", %{before: before} do
    name = deploy!("rust", "http", limits: @patient)
    get = fn path -> "GET /call/#{name}#{path} HTTP/1.1\r\nhost: localhost\r\n\r\n" end
    post = fn path -> "POST /call/#{name}#{path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nsome" end

    # Before its guest runs; while it computes, waits, reads; and with the response begun.
    stages = [
      fn socket -> :ok = :gen_tcp.send(socket, binary_part(get.("/loop"), 0, 20)) end,
      fn socket -> :ok = :gen_tcp.send(socket, get.("/loop")) end,
      fn socket -> :ok = :gen_tcp.send(socket, get.("/never")) end,
      fn socket -> :ok = :gen_tcp.send(socket, post.("/sha256")) end,
      fn socket ->
        :ok = :gen_tcp.send(socket, get.("/silent"))
        heard(socket, "one\r\n")
      end,
      fn socket ->
        :ok = :gen_tcp.send(socket, post.("/echo"))
        heard(socket, "some\r\n")
      end
    ]

    # In turn each stage, by an end and by a reset.
    hang_up = fn number ->
      socket = connect()
      Enum.at(stages, rem(number, length(stages))).(socket)
      if rem(div(number, length(stages)), 2) == 0, do: :ok = :inet.setopts(socket, linger: {true, 0})
      :gen_tcp.close(socket)
    end

    some = fn numbers ->
      numbers |> Task.async_stream(hang_up, max_concurrency: @at_once, timeout: 120_000) |> Enum.count()
    end

    assert some.(1..1_000) == 1_000
    # And more of them while others ask.
    Answered.beside([fn -> Enum.each(Stream.repeatedly(fn -> some.(1..@at_once) end), fn _count -> :ok end) end])
    FaultFootprint.assert_instances_back(before)
    assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
  end

  test "guests that never answer keep nobody else waiting", %{before: before} do
    name = deploy!("rust", "http", limits: @patient)

    never = fn ->
      socket = connect()
      :ok = :gen_tcp.send(socket, "GET /call/#{name}/never HTTP/1.1\r\nhost: localhost\r\n\r\n")
      :gen_tcp.recv(socket, 0)
    end

    Answered.beside(List.duplicate(never, 200))
    FaultFootprint.assert_instances_back(before)
  end

  test "a guest that answers twice has answered once, and the second time is its end" do
    name = deploy!("rust", "http")

    for _turn <- 1..20 do
      socket = connect()
      :ok = :gen_tcp.send(socket, "GET /call/#{name}/twice HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
      answer = rest(socket)
      assert answer =~ ~r/\AHTTP\/1\.1 200 .*once/s
      refute answer =~ "again"
    end

    eventually(fn ->
      {200, _headers, metrics} = curl("/metrics")
      metrics =~ ~s(tidepool_calls_total{function="#{name}",reason="trap"} 20\n)
    end)
  end

  test "fields that a guest makes too many of end it, and nobody gets some of them" do
    name = deploy!("rust", "http", limits: @patient)
    assert {200, headers, ""} = curl("/call/#{name}/fields/50")
    assert map_size(Map.filter(headers, fn {field, _value} -> field =~ ~r/\Ax-\d+\z/ end)) == 50

    for count <- [1_000, 100_000] do
      assert {500, headers, %{"error" => %{"reason" => "trap"}}} = curl("/call/#{name}/fields/#{count}")
      refute Map.has_key?(headers, "x-0")
    end
  end

  test "others are answered in time beside each of these, and beside heads that are refused", %{before: before} do
    name = deploy!("rust", "http", limits: @patient)

    head = fn path, fields ->
      ["GET /call/#{name}#{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", fields, "\r\n"]
    end

    many = for place <- 1..100_000, do: "x-#{place}: 1\r\n"

    for request <- [
          head.("/twice", []),
          head.("/fields/100000", []),
          head.("/headers", ["x-long: ", String.duplicate("x", 1_000_000), "\r\n"]),
          head.("/headers", many),
          head.("/hello", "content-length: 5\r\ntransfer-encoding: chunked\r\n")
        ] do
      ask = fn ->
        socket = connect()
        # It may be refused before all was sent.
        _sent = :gen_tcp.send(socket, request)
        rest(socket)
        :gen_tcp.close(socket)
      end

      Answered.beside(List.duplicate(fn -> Enum.each(Stream.repeatedly(ask), fn _ -> :ok end) end, 4), false)
    end

    FaultFootprint.assert_instances_back(before)
  end

  describe "a head" do
    setup do
      {:ok, name: deploy!("rust", "http")}
    end

    test "of a megabyte, or of 100,000 fields, is refused before there is a guest for it", %{name: name, before: before} do
      begin = "GET /call/#{name}/headers HTTP/1.1\r\nhost: localhost\r\n"
      long = ["x-long: ", String.duplicate("x", 1_000_000), "\r\n"]
      many = for place <- 1..100_000, do: "x-#{place}: 1\r\n"

      said =
        for fields <- [long, many], _turn <- 1..20 do
          socket = connect()
          # The node may have closed it before all is sent, and what it said may be lost with that.
          _sent = :gen_tcp.send(socket, [begin, fields, "\r\n"])
          said = rest(socket)
          :gen_tcp.close(socket)
          String.slice(said, 0, 13)
        end

      assert "HTTP/1.1 431 " in said
      assert Enum.uniq(said) -- ["HTTP/1.1 431 ", ""] == []

      Answered.in_time()
      FaultFootprint.assert_instances_back(before)
      assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    end

    # https://www.rfc-editor.org/rfc/rfc9112#section-6.3, 5.1, 5.2 and 7.1
    @smuggled "GET /call/NAME/status/299 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    @heads [
      {"two lengths", "content-length: 0\r\ncontent-length: SIZE\r\n\r\nREST"},
      {"two lengths in one", "content-length: 0, SIZE\r\n\r\nREST"},
      {"a length with a sign", "content-length: +SIZE\r\n\r\nREST"},
      {"a length with a letter", "content-length: SIZEx\r\n\r\nREST"},
      {"a length too large for a number", "content-length: 99999999999999999999999\r\n\r\nREST"},
      {"a length and pieces", "content-length: SIZE\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nREST"},
      {"pieces and a length", "transfer-encoding: chunked\r\ncontent-length: SIZE\r\n\r\n0\r\n\r\nREST"},
      {"another coding behind pieces", "transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\nREST"},
      {"an unknown coding", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\nREST"},
      {"a space before the colon", "transfer-encoding : chunked\r\ncontent-length: SIZE\r\n\r\nREST"},
      {"a line that goes on", "x: a\r\n transfer-encoding: chunked\r\ncontent-length: SIZE\r\n\r\nREST"},
      {"a size that is none", "transfer-encoding: chunked\r\n\r\n0x0\r\n\r\nREST"},
      {"a size with a sign", "transfer-encoding: chunked\r\n\r\n-1\r\n\r\nREST"},
      {"a size too large for a number", "transfer-encoding: chunked\r\n\r\n10000000000000000\r\n\r\nREST"},
      {"a piece longer than its size", "transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\nREST"},
      {"a zero byte", "x: a\0b\r\ncontent-length: SIZE\r\n\r\nREST"},
      {"a bare return", "x: a\rtransfer-encoding: chunked\r\ncontent-length: SIZE\r\n\r\nREST"}
    ]

    for {what, head} <- @heads do
      @tag head: head
      test "with #{what} smuggles no request past a proxy in front", %{name: name, head: head} do
        smuggled = String.replace(@smuggled, "NAME", name)
        size = Integer.to_string(byte_size(smuggled))
        head = head |> String.replace("SIZE", size) |> String.replace("REST", smuggled)
        socket = connect()
        :ok = :gen_tcp.send(socket, ["POST /call/#{name}/sha256 HTTP/1.1\r\nhost: localhost\r\n", head])
        # Not all of it needs to be sent: the node may have closed the connection.
        said = rest(socket)
        refute said =~ "HTTP/1.1 299", said
        # Refused, or answered once, and the connection is over.
        assert length(Regex.scan(~r/HTTP\/1\.1 \d/, said)) <= 1, said
        assert said =~ ~r/\A(HTTP\/1\.1 (400|501) |\z)/ or said =~ ~r/\AHTTP\/1\.1 200 /, said
      end
    end
  end
end
