defmodule Tidepool.Processes.IoTest do
  # Programs whose sockets are served by a ring. That all else is the same there is a matter of the core's tests.
  use Tidepool.Case, async: true

  import Tidepool.ProgramClient, only: [ask!: 2, connect!: 1]

  alias Tidepool.{LogWatch, Peer}

  @moduletag :lunatic

  test "a node that is told to use io_uring says so, or why it can't, and serves the same programs" do
    peer = Peer.start!(server: true, io: :uring)
    :ok = Peer.stop_application(peer)
    :ok = Peer.call(peer, Logger, :configure, [[level: :info]])
    Peer.call(peer, LogWatch, :collect, [])
    {:ok, _started} = Peer.start_application(peer)
    runtime = Peer.call(peer, Tidepool.Engine, :runtime, [])

    said =
      case Peer.call(peer, Tidepool.Native, :io, [runtime]) do
        :uring ->
          {:info, "sockets of guests are served by io_uring"}

        {:tokio, why} ->
          {:warning, "the kernel gives no ring of io_uring (#{why}): sockets of guests are served by tokio"}
      end

    assert said in Peer.call(peer, LogWatch, :collected, [])

    {:ok, _function} =
      Peer.call(peer, Tidepool, :deploy, [guest("lunatic", "sockets"), [name: "f", net: ["tcp:listen:127.0.0.1:*"]]])

    arguments = ["-X", "POST", "--data-binary", ~s({"args": ["tcp"]})]
    assert {201, _headers, %{"id" => _id}} = curl_url(Peer.url(peer, "/processes/f"), arguments)

    eventually(
      fn ->
        {200, _headers, %{"lines" => lines}} = curl_url(Peer.url(peer, "/functions/f/logs"))
        assert [[_all, port]] = Regex.scan(~r/[Ll]istening on \S+:(\d+)/, Enum.map_join(lines, "\n", & &1["text"]))
        assert ask!(connect!(String.to_integer(port)), "one") == "ONE"
      end,
      60_000
    )
  end
end
