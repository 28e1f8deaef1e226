defmodule Tidepool.Nodes.PostTest do
  # Messages over a link that others keep busy; the nodes are real ones.
  use Tidepool.Case, async: true

  alias Tidepool.{BusyLink, Peer, SlowLink}
  alias Tidepool.Nodes.Post

  @patience 60_000

  test "a message that can't wait goes by a process that does, and others for its receiver are not sent meanwhile" do
    cookie = Peer.cookie()
    names = for stem <- ["a", "b"], do: Peer.name(stem)
    cable = start_supervised!({SlowLink, nodes: names, delay_ms: 0, bytes_per_s: 100_000_000})
    args = SlowLink.arguments(cable)
    [a, b] = for name <- names, do: Peer.boot!([], name: name, cookie: cookie, args: args)
    Peer.link(a, b)
    :ok = Peer.call(a, BusyLink, :table, [])
    [one, other] = for _receiver <- 1..2, do: Peer.call(b, BusyLink, :receiver, [])

    SlowLink.hold(cable, a.node, b.node)
    # What is held takes some more by and by, until all buffers on the way are full.
    sent = until_late(a, one, other, 1)
    assert Peer.call(a, Post, :deliver, [other, 1]) == :ok
    SlowLink.release(cable)
    eventually(fn -> assert Peer.call(a, Post, :deliver, [one, :last]) == :ok end, @patience)
    expected = Enum.to_list(1..sent) ++ [:last]
    eventually(fn -> assert Peer.call(b, BusyLink, :received, [one]) == expected end, @patience)
  end

  # How many were sent until one was not, since the one before it waits.
  defp until_late(a, one, other, number) do
    Peer.call(a, BusyLink, :fill, [other])

    case Peer.call(a, Post, :deliver, [one, number]) do
      :ok -> until_late(a, one, other, number + 1)
      :late -> number - 1
    end
  end
end
