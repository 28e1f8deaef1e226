defmodule Tidepool.Cluster.TransferTest do
  # Modules between nodes, and nodes that send something else.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{BlobTransfer, Catalog, FaultBlobs, LogWatch, Peer}
  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Cluster.Transfer.{BlobClient, BlobServer}

  @mebibyte 1_048_576

  setup do
    cookie = Peer.cookie()

    [a, b] =
      for stem <- ["a", "b"],
          do: Peer.start!([cluster: true, epmd: false], name: Peer.name(stem), cookie: cookie)

    Peer.link(a, b)
    %{a: a, b: b, cookie: cookie}
  end

  defp folder(peer), do: Peer.call(peer, Catalog, :blobs, [])
  defp put(peer, bytes), do: File.write!(Path.join(folder(peer), BlobStore.sha256(bytes)), bytes)

  defp pull(peer, bytes, from),
    do: Peer.call(peer, BlobTransfer, :get, [BlobStore.sha256(bytes), byte_size(bytes), from])

  defp temporary(peer), do: for(name <- File.ls!(folder(peer)), String.ends_with?(name, ".new"), do: name)

  test "a module of many pieces comes whole", %{a: a, b: b} do
    bytes = :crypto.strong_rand_bytes(5 * @mebibyte + 17)
    put(a, bytes)
    assert pull(b, bytes, [a.node]) == :ok
    assert BlobStore.fetch(folder(b), BlobStore.sha256(bytes)) == {:ok, bytes}
    assert temporary(b) == []
  end

  test "a node that has other bytes under a hash is named, and nothing of it is kept", %{a: a, b: b} do
    bytes = :crypto.strong_rand_bytes(@mebibyte)
    wrong = :crypto.strong_rand_bytes(@mebibyte)
    Peer.call(b, LogWatch, :collect, [])

    for stored <- [wrong, binary_part(bytes, 0, 1_000), bytes <> "x", ""] do
      File.write!(Path.join(folder(a), BlobStore.sha256(bytes)), stored)
      assert pull(b, bytes, [a.node]) == {:nowhere, [a.node]}
    end

    refute Peer.call(b, BlobStore, :exists?, [folder(b), BlobStore.sha256(bytes)])
    assert temporary(b) == []
    named = for {:error, text} <- Peer.call(b, LogWatch, :collected, []), do: text
    assert length(named) == 4
    assert Enum.all?(named, &(&1 =~ to_string(a.node)))
  end

  test "behind a node that sends wrong bytes the next one is asked", %{a: a, b: b, cookie: cookie} do
    c = Peer.start!([cluster: true, epmd: false], name: Peer.name("c"), cookie: cookie)
    Peer.link(b, c)
    bytes = :crypto.strong_rand_bytes(@mebibyte)
    put(c, bytes)
    File.write!(Path.join(folder(a), BlobStore.sha256(bytes)), :crypto.strong_rand_bytes(@mebibyte))
    assert pull(b, bytes, [a.node, c.node]) == :ok
    assert BlobStore.fetch(folder(b), BlobStore.sha256(bytes)) == {:ok, bytes}
  end

  for {title, fault, wrong} <- [{"sends pieces of nothing", :nothing, true}, {"dies on the way", :half, false}] do
    test "behind a node that #{title} the next one is asked at once", %{a: a, b: b, cookie: cookie} do
      c = Peer.boot!([], name: Peer.name("c"), cookie: cookie)
      Peer.link(b, c)
      bytes = :crypto.strong_rand_bytes(1_000)
      put(a, bytes)
      Peer.call(c, FaultBlobs, :start, [1_000, unquote(fault)])
      Peer.call(b, LogWatch, :collect, [])

      # Sooner than a silent node would be passed over.
      pulled = Task.async(fn -> pull(b, bytes, [c.node, a.node]) end)
      assert Task.await(pulled, 60_000) == :ok
      assert temporary(b) == []
      named = for {:error, text} <- Peer.call(b, LogWatch, :collected, []), text =~ to_string(c.node), do: text
      assert length(named) == if(unquote(wrong), do: 1, else: 0)
    end
  end

  test "nothing stays of a module whose asker is killed while it comes, or has no use for it any more", %{
    a: a,
    b: b,
    cookie: cookie
  } do
    c = Peer.boot!([], name: Peer.name("c"), cookie: cookie)
    Peer.link(b, c)
    Peer.call(c, FaultBlobs, :start, [1_000, :held])
    bytes = :crypto.strong_rand_bytes(1_000)
    sha256 = BlobStore.sha256(bytes)
    asker = Peer.call(b, :erlang, :spawn, [BlobClient, :run, [sha256, 1_000, [c.node]]])
    eventually(fn -> assert [_half] = temporary(b) end)
    Peer.call(b, Process, :exit, [asker, :kill])
    eventually(fn -> temporary(b) == [] end)

    put(a, bytes)
    assert Peer.call(b, BlobClient, :run, [sha256, 1_000, [a.node]]) == :ok
    eventually(fn -> not Peer.call(b, BlobStore, :exists?, [folder(b), sha256]) end)
  end

  test "nodes that have nothing, or are not there, are passed over", %{a: a, b: b} do
    bytes = "a module"
    assert pull(b, bytes, [a.node, :"nobody@127.0.0.1"]) == {:nowhere, []}
    assert Peer.call(b, Node, :list, [:connected]) == [a.node]
    assert pull(b, bytes, []) == {:nowhere, []}
  end

  test "a node sends no more pieces than were asked for", %{a: a, b: b} do
    bytes = :crypto.strong_rand_bytes(@mebibyte)
    put(a, bytes)
    sha256 = BlobStore.sha256(bytes)
    assert Peer.call(b, BlobTransfer, :ask_for, [a.node, sha256, [2, 1]]) == [2, 1]
  end

  test "a request by another version of the protocol is ignored, and logged once", %{a: a, b: b} do
    Peer.call(a, LogWatch, :collect, [])
    asking = Peer.call(b, Process, :whereis, [BlobServer.name()])

    for version <- [99, 98, 99] do
      request = {:tidepool_blob, version, :open, asking, make_ref(), String.duplicate("0", 64)}
      Peer.call(b, :erlang, :send, [BlobServer.address(a.node), request])
    end

    bytes = "by this version"
    put(a, bytes)
    assert pull(b, bytes, [a.node]) == :ok
    logged = for {:warning, text} <- Peer.call(a, LogWatch, :collected, []), text =~ "protocol", do: text
    assert Enum.count(logged, &(&1 =~ "version 99")) == 1
    assert Enum.count(logged, &(&1 =~ "version 98")) == 1
    assert length(logged) == 2
  end

  test "what is no request is ignored", %{a: a, b: b} do
    for message <- [
          {:tidepool_blob, 99, :open, self(), make_ref(), String.duplicate("0", 64)},
          {:tidepool_blob, BlobServer.version(), :open, :nobody, make_ref(), String.duplicate("0", 64)},
          {:tidepool_blob, BlobServer.version(), :open, self(), make_ref(), "../catalog.log"},
          :anything
        ] do
      Peer.call(b, :erlang, :send, [BlobServer.address(a.node), message])
    end

    before = Peer.call(a, Process, :whereis, [BlobServer.name()])
    bytes = "still there"
    put(a, bytes)
    assert pull(b, bytes, [a.node]) == :ok
    assert Peer.call(a, Process, :whereis, [BlobServer.name()]) == before
  end
end
