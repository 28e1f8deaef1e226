defmodule TidepoolWeb.HandlerPatienceTest do
  # For how long a handler's client may be idle: the limit `client_idle`. The node itself has all the patience in these tests.
  use Tidepool.Case, async: true

  import Tidepool.RawClient

  alias Tidepool.{FaultNative, TestEdge}

  @hours 3_600_000
  @patient %{time: @hours, cpu_time: @hours, reply: 1_000_000_000, instances: 1}

  setup_all do
    {_server, port} = TestEdge.start!([], %{FaultNative.edge() | write_timeout_ms: @hours, body_timeout_ms: @hours})
    %{port: port}
  end

  defp handler!(limits), do: deploy!("rust", "http", limits: Map.merge(@patient, limits))

  defp say(socket, lines), do: :ok = :gen_tcp.send(socket, lines)

  defp failures(name) do
    {200, _headers, %{"failures" => failures}} = curl("/functions/#{name}/failures")
    for %{"reason" => reason} <- failures, do: reason
  end

  test "a client that takes nothing of a response is given up when its function's patience is over", %{port: port} do
    name = handler!(%{client_idle: 1_000})
    slow = connect(port)
    say(slow, "GET /call/#{name}/events?n=100000000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    heard(slow, ~r/data: 1\n/)
    # The one place is free when it is.
    assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    assert failures(name) == ["aborted"]
    refute rest(slow) =~ "\r\n0\r\n\r\n"
  end

  test "a client that waits for a guest is not idle, however long that pauses", %{port: port} do
    name = handler!(%{client_idle: 1_000, time: 4_000})
    client = connect(port)
    say(client, "GET /call/#{name}/silent HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert rest(client) =~ "one"
    eventually(fn -> assert failures(name) == ["timeout"] end)
  end

  test "a body that does not come is an error for the guest that waits for it", %{port: port} do
    name = handler!(%{client_idle: 1_000})
    slow = connect(port)
    say(slow, "POST /call/#{name}/sha256 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc")
    assert heard(slow, ~r/no_response/) =~ "HTTP/1.1 500 "
    assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
  end
end
