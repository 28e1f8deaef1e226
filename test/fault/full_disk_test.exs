defmodule Tidepool.Fault.FullDiskTest do
  use Tidepool.Case, async: true

  alias Tidepool.{Catalog, Error, FullDisk, LogWatch, Peer}
  alias Tidepool.Catalog.Log

  defp log(peer), do: Path.join(Peer.folder(peer), "catalog.log")

  # A deploy is refused, of which half a record is on the disk; then there is room again, and another one succeeds.
  test "what is deployed after a write that failed half-way is there after a restart" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    Peer.call(peer, FullDisk, :fill, [])
    refused = Peer.call(peer, Tidepool, :deploy, [guest("rust", "counter"), [name: "refused"]])
    assert {:error, %Error{reason: :storage}} = refused
    File.write!(log(peer), binary_part(File.read!(log(peer)), 0, 50), [:append])
    Peer.call(peer, FullDisk, :free, [])

    Peer.deploy!(peer, "rust", "counter")
    Peer.deploy!(peer, "rust", "upper")
    :ok = Peer.stop_application(peer)
    {:ok, _started} = Peer.start_application(peer)

    assert ["counter", "hello_world", "upper"] =
             for(function <- Peer.call(peer, Tidepool, :list, []), do: function.name)
  end

  test "what other nodes have deployed is written down when the disk lets it, however late" do
    peer = Peer.start!([cluster: true, epmd: false], name: Peer.name("full"), cookie: Peer.cookie())
    Peer.deploy!(peer, "rust", "hello_world")
    {_context, [entry]} = Peer.call(peer, Catalog, :known, [])
    {wall_ms, counter, _replica} = entry.stamp
    other = %{entry | name: "other", stamp: {wall_ms, counter + 1, "elsewhere#1"}}
    Peer.call(peer, LogWatch, :collect, [])

    # Neither can the file be appended to, nor another one be written beside it.
    Peer.call(peer, FullDisk, :fill, [])
    File.mkdir!(log(peer) <> ".new")
    for _twice <- 1..2, do: :ok = Peer.call(peer, Catalog, :accept, [[other]])
    eventually(fn -> Enum.any?(warnings(peer), &(&1 =~ "compacted")) end, 20_000)
    File.rmdir!(log(peer) <> ".new")

    eventually(fn -> match?({:ok, %{entries: %{"other" => ^other}}, :whole}, Log.read(log(peer))) end, 20_000)
  end

  defp warnings(peer), do: for({:warning, text} <- Peer.call(peer, LogWatch, :collected, []), do: text)
end
