defmodule TidepoolWeb.HandlerEndsTest do
  # Not async: counts the node's busy instances.
  #
  # What ends a handler of HTTP, in whatever language it is written: its own trap, and a client that leaves, each before the head of
  # the response and after it.
  use Tidepool.Case

  import Tidepool.RawClient

  alias Tidepool.HttpGuests

  @moduletag timeout: 600_000

  # What a busy machine has time for; each test waits for an end, and for nothing else.
  @patient [time: 600_000, cpu_time: 600_000, reply: 1_000_000_000, instances: 1]

  # JavaScript has no trap of its own: what it throws is a response.
  @traps for {language, guest, _lacks, heavy} <- HttpGuests.guests(), guest != "js_http", do: {language, guest, heavy}

  setup do
    eventually(fn -> busy_instances() == 0 end, 60_000)
    :ok
  end

  for {language, guest, heavy} <- @traps do
    @tag skip: heavy and System.get_env("TIDEPOOL_LONG", "") == ""
    @tag language: language, guest: guest
    test "a trap before the head is an error with its reason, after it a body that breaks off (#{language}/#{guest})",
         %{language: language, guest: guest} do
      name = deploy!(language, guest, limits: @patient)
      assert {500, _headers, %{"error" => %{"reason" => "trap"}}} = curl("/call/#{name}/trap-before")
      broken = rest(ask(name, "trap-after"), [:closed])
      assert broken =~ "HTTP/1.1 200 OK"
      assert broken =~ "half"
      refute broken =~ "0\r\n\r\n"
      # HTTP/2 has a word for it: the stream is reset, of which curl says 92.
      assert {_half, 92} = curl_http2(name, "trap-after")
      assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    end
  end

  for {language, guest, _lacks, heavy} <- HttpGuests.guests(),
      {stage, path} <- [{"before the head", "loop"}, {"after it", "events?n=100000000"}] do
    @tag skip: heavy and System.get_env("TIDEPOOL_LONG", "") == ""
    @tag language: language, guest: guest, path: path
    test "a client that leaves #{stage} ends the guest, by a close and by a reset (#{language}/#{guest})",
         %{language: language, guest: guest, path: path} do
      name = deploy!(language, guest, limits: @patient)

      for leave <- [:close, :reset] do
        socket = ask(name, path)
        if path != "loop", do: heard(socket, ~r/data: 2\n\n/)
        eventually(fn -> busy_instances() == 1 end, 60_000)
        if leave == :reset, do: :ok = :inet.setopts(socket, linger: {true, 0})
        :ok = :gen_tcp.close(socket)
        eventually(fn -> busy_instances() == 0 end, 60_000)
      end

      # There is one place, and it is free again.
      assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    end
  end

  # Leaves a response without end in the middle: by a reset of its stream, and asks for something else on the same connection; or with
  # its connection.
  @leave """
  const [address, path, leave] = process.argv.slice(1);
  const client = require("http2").connect(address);
  const stream = client.request({ ":path": `${path}/events?n=100000000` });
  const cancel = 8;
  stream.once("data", () => (leave === "reset" ? stream.close(cancel) : process.exit()));
  stream.once("close", () => {
    const next = client.request({ ":path": `${path}/hello` });
    next.setEncoding("utf8").on("data", (text) => console.log(text)).on("end", () => client.close());
  });
  """

  for {language, guest, _lacks, heavy} <- HttpGuests.guests() do
    @tag skip: heavy and System.get_env("TIDEPOOL_LONG", "") == ""
    @tag language: language, guest: guest
    test "a stream of HTTP/2 that is reset, or loses its connection, ends the guest (#{language}/#{guest})",
         %{language: language, guest: guest} do
      name = deploy!(language, guest, limits: @patient)

      # There is one place: the next request of the connection gets it when the guest before is gone.
      for {leave, said} <- [{"reset", "hello\n"}, {"close", ""}] do
        assert {said, 0} == System.cmd("node", ["-e", @leave, url(""), "/call/#{name}", leave])
        eventually(fn -> busy_instances() == 0 end, 60_000)
      end

      assert {200, _headers, "hello"} = curl("/call/#{name}/hello")
    end
  end

  defp ask(name, path) do
    socket = connect()
    :ok = :gen_tcp.send(socket, "GET /call/#{name}/#{path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
    socket
  end

  defp curl_http2(name, path) do
    System.cmd("curl", ["-sS", "--max-time", "120", "--http2-prior-knowledge", url("/call/#{name}/#{path}")],
      stderr_to_stdout: true
    )
  end
end
