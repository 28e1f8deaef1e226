defmodule TidepoolWeb.ProtocolTest do
  # Connections: HTTP/1.1 with keep-alive, and HTTP/2 without TLS (h2c).
  use Tidepool.Case, async: true

  setup_all do
    name = unique_name("served")
    {:ok, _function} = Tidepool.deploy(guest("rust", "hello_world"), name: name, operation: "hello")
    on_exit(fn -> Tidepool.remove(name) end)
    %{name: name}
  end

  defp run(arguments) do
    {output, 0} = System.cmd("curl", ["-sS", "--max-time", "30"] ++ arguments)
    output
  end

  test "one connection serves request after request", %{name: name} do
    urls = for i <- 1..20, do: url("/call/#{name}?payload=#{i}")
    lines = String.split(run(["-w", " %{num_connects} %{http_version}\n"] ++ urls), "\n", trim: true)

    for {line, i} <- Enum.with_index(lines, 1) do
      assert line == "Hello, #{i}! #{if i == 1, do: 1, else: 0} 1.1"
    end

    assert length(lines) == 20
  end

  test "a connection is closed when the client asks for it", %{name: name} do
    assert {200, %{"connection" => "close"}, "Hello, world!"} = curl("/call/#{name}", ["-H", "connection: close"])
  end

  test "HTTP/2 without TLS serves calls, errors and deploys", %{name: name} do
    h2 = ["--http2-prior-knowledge"]
    assert {200, _headers, "Hello, Ada!"} = curl("/call/#{name}", h2 ++ ["--data-binary", "Ada"])
    assert {404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = curl("/call/nobody_by_this_name", h2)

    assert {200, _headers, %{"version" => 1}} =
             curl_deploy(guest("rust", "hello_world"), [name: name, operation: "hello"], h2)

    assert run(h2 ++ ["-o", "/dev/null", "-w", "%{http_version}", url("/call/#{name}")]) == "2"
  end

  test "HTTP/2 carries large bodies both ways", %{name: name} do
    file = Path.join(tmp_folder!(), "body")
    body = :crypto.strong_rand_bytes(3_000_000)
    File.write!(file, body)
    reply = run(["--http2-prior-knowledge", "--data-binary", "@#{file}", url("/call/#{name}/echo")])
    assert :crypto.hash(:sha256, reply) == :crypto.hash(:sha256, body)
  end

  # On a connection each: curl 7.88 breaks off when it takes an h2c connection for a second request. That one connection
  # serves many is told in native/tidepool_http/tests/edge/http2.rs.
  test "HTTP/2 serves many clients at once", %{name: name} do
    folder = tmp_folder!()
    transfers = Enum.flat_map(1..100, &["-o", "#{folder}/#{&1}", url("/call/#{name}?payload=#{&1}")])
    parallel = ["--parallel", "--parallel-immediate", "--parallel-max", "100", "--no-progress-meter"]
    options = ["--http2-prior-knowledge", "-w", "%{http_code} "] ++ parallel
    assert (options ++ transfers) |> run() |> String.split() |> Enum.uniq() == ["200"]
    for i <- 1..100, do: assert(File.read!("#{folder}/#{i}") == "Hello, #{i}!")
  end

  test "requests that were sent ahead are answered in order", %{name: name} do
    {:ok, socket} = connect()
    requests = for i <- 1..10, do: "GET /call/#{name}?payload=#{i} HTTP/1.1\r\nhost: localhost\r\n\r\n"
    :ok = :gen_tcp.send(socket, [requests, "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"])
    answers = read_all(socket, "")
    greetings = Regex.scan(~r/Hello, (\d+)!/, answers) |> Enum.map(&List.last/1)
    assert greetings == Enum.map(1..10, &to_string/1)
  end

  test "what is not HTTP is refused, and the node goes on", %{name: name} do
    {:ok, socket} = connect()
    :ok = :gen_tcp.send(socket, <<0, 255, "nonsense\r\n\r\n">>)
    assert read_all(socket, "") =~ ~r/\A(HTTP\/1.1 400|\z)/
    assert {200, _headers, "Hello, world!"} = curl("/call/#{name}")
  end

  test "a head without an end is refused once it is too large", %{name: name} do
    {:ok, socket} = connect()
    :ok = :gen_tcp.send(socket, "GET /call/#{name} HTTP/1.1\r\n")
    assert send_until_closed(socket, "x-filler: #{String.duplicate("x", 8_000)}\r\n", 1_000)
  end

  defp connect do
    :gen_tcp.connect({127, 0, 0, 1}, TidepoolWeb.Listener.port(), [:binary, active: false])
  end

  defp read_all(socket, read) do
    case :gen_tcp.recv(socket, 0, 30_000) do
      {:ok, bytes} -> read_all(socket, read <> bytes)
      {:error, reason} when reason in [:closed, :econnreset] -> read
    end
  end

  # Answered or cut, but not read for ever: 8 MB are far beyond any head.
  defp send_until_closed(_socket, _line, 0), do: false

  defp send_until_closed(socket, line, left) do
    case {:gen_tcp.send(socket, line), :gen_tcp.recv(socket, 0, 0)} do
      {:ok, {:error, :timeout}} -> send_until_closed(socket, line, left - 1)
      {:ok, {:ok, answer}} -> answer =~ "431"
      _closed -> true
    end
  end
end
