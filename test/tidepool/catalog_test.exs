defmodule Tidepool.CatalogTest do
  # What other nodes tell, as it comes to the catalog.
  use Tidepool.Case, async: true

  alias Tidepool.{BlobStore, Catalog, Peer}

  defp entry(peer, name) do
    {_context, entries} = Peer.call(peer, Catalog, :known, [])
    Enum.find(entries, &(&1.name == name))
  end

  # What another node deployed, whose module is nowhere to be had.
  defp later(entry, version) do
    {wall_ms, counter, _replica} = entry.stamp
    sha256 = BlobStore.sha256("version #{version}, nowhere")
    %{entry | version: version, sha256: sha256, stamp: {wall_ms, counter + version, "elsewhere#1"}}
  end

  test "the version that serves goes on through several that are on their way, after a restart too" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    first = entry(peer, "hello_world")
    for version <- [2, 3], do: :ok = Peer.call(peer, Catalog, :accept, [[later(first, version)]])
    assert %{version: 3} = entry(peer, "hello_world")
    assert {:ok, "Hello, world!"} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello"])

    :ok = Peer.stop_application(peer)
    {:ok, _started} = Peer.start_application(peer)
    assert %{version: 3} = entry(peer, "hello_world")
    assert {:ok, %{version: 1}} = Peer.call(peer, Tidepool, :fetch, ["hello_world"])
    assert {:ok, "Hello, world!"} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello"])
  end

  test "a name that was deployed again meanwhile is not forgotten with what it was before" do
    peer = Peer.start!()
    Peer.deploy!(peer, "rust", "hello_world")
    old = entry(peer, "hello_world")
    Peer.deploy!(peer, "zig", "hello_world")
    {context, _entries} = Peer.call(peer, Catalog, :known, [])

    :ok = Peer.call(peer, Catalog, :forget, [[{"hello_world", old.stamp}], context])
    assert %{version: 2} = now = entry(peer, "hello_world")
    assert {:ok, "Hello, Ada!"} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello", "Ada"])

    :ok = Peer.call(peer, Catalog, :forget, [[{"hello_world", now.stamp}], context])
    assert entry(peer, "hello_world") == nil
    assert {:error, %{reason: :not_deployed}} = Peer.call(peer, Tidepool, :call, ["hello_world", "hello"])
  end
end
