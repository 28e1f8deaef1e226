defmodule Tidepool.Cluster.RollbackTest do
  # Real nodes, and the way back to a version that was replaced.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.TestCluster

  alias Tidepool.{Catalog, Cluster, ClusterClient, Error, FaultVersion, Function, Peer}
  alias Tidepool.Catalog.BlobStore

  @name "price"

  # What waits for all nodes waits for those that can be reached.
  defp start_linked!(settings \\ []) do
    nodes = start!(2, settings)
    for node <- nodes, do: eventually(fn -> length(Peer.call(node, Cluster.Links, :linked, [])) == 1 end, 30_000)
    {:ok, _function} = deploy(hd(nodes), "mark", 1)
    for node <- nodes, do: await(node, "mark", 1)
    nodes
  end

  defp rollback(peer, options \\ []), do: Peer.call(peer, Tidepool, :rollback, [@name, options])

  defp versions(peer) do
    with {:ok, versions} <- Peer.call(peer, Tidepool, :versions, [@name]), do: Enum.map(versions, & &1.version)
  end

  defp port(peer), do: Peer.call(peer, TidepoolWeb.Listener, :port, [])
  defp blobs(peer), do: Peer.call(peer, Catalog, :blobs, [])
  defp blob(peer, number), do: BlobStore.path(blobs(peer), BlobStore.sha256(FaultVersion.module(number)))

  defp curl_json(peer, path, arguments), do: curl_url(Peer.url(peer, path), arguments)

  test "a bad deploy is rolled back under load: no call fails, and all nodes serve the old bytes" do
    [a, b] = nodes = start_linked!(server: true)
    {:ok, _function} = deploy(a, @name, 1, wait: :all)
    ports = Enum.map(nodes, &port/1)
    clients = for n <- 1..4, do: Task.async(ClusterClient, :run, [Enum.drop(ports ++ ports, rem(n, 2)), @name])

    {:ok, _function} = deploy(a, @name, 2, wait: :all, limits: [time: 777])
    assert {:ok, %Function{version: 3, limits: %{time: 5_000}}} = rollback(b, wait: :all)
    for node <- nodes, do: assert(version(node, @name) == 1)
    # And back again, as rollbacks of rollbacks do.
    assert {:ok, %Function{version: 4, limits: %{time: 777}}} = rollback(a, wait: :all)
    for node <- nodes, do: assert(version(node, @name) == 2)
    assert {:ok, %Function{version: 5}} = rollback(a, version: 1, wait: :all)

    for client <- clients, do: send(client.pid, :stop)
    answers = Task.await_many(clients, 60_000)
    assert Enum.flat_map(answers, & &1.failures) == []
    assert Enum.all?(answers, &(&1.answers > 0 and MapSet.subset?(&1.versions, MapSet.new([1, 2]))))
    for node <- nodes, do: assert(version(node, @name) == 1)
    for node <- nodes, do: assert(versions(node) == [5, 4, 3, 2, 1])
  end

  test "a module that a node lacks comes from another, to who rolls back and to who is told of it" do
    [a, b] = start_linked!(server: true)
    for number <- 1..2, do: {:ok, _function} = deploy(a, @name, number, wait: :all)

    for {node, other} <- [{a, b}, {b, a}] do
      :ok = File.rm(blob(node, 1))
      path = "/functions/#{@name}/versions"
      assert {200, _headers, %{"versions" => [_newest | before]}} = curl_json(node, path, [])
      assert %{"here" => false} = List.last(before)
      assert {:ok, _function} = rollback(node, version: 1, wait: :all)
      for node <- [a, b], do: assert(version(node, @name) == 1)
      assert File.exists?(blob(node, 1))
      # Of one that only hears of it.
      {:ok, _function} = rollback(node, wait: :all)
      :ok = File.rm(blob(other, 1))
      assert {:ok, _function} = rollback(node, version: 1, wait: :all)
      assert version(other, @name) == 1
      {:ok, _function} = rollback(node, wait: :all)
    end

    for node <- [a, b], do: :ok = File.rm(blob(node, 1))
    assert {:error, %Error{reason: :unavailable, function: @name}} = rollback(a, version: 1)
    assert version(a, @name) == 2
  end

  test "two rollbacks at once, on two nodes, come to one outcome on both" do
    [a, b] = start_linked!()
    for number <- 1..2, do: {:ok, _function} = deploy(a, @name, number, wait: :all)
    both = for node <- [a, b], do: Peer.async(node, Tidepool, :rollback, [@name, [version: 1]])
    assert [{:ok, _one}, {:ok, _other}] = Task.await_many(both, 60_000)
    assert_converged([a, b], %{@name => [1]})
    eventually(fn -> assert versions(a) == versions(b) end, 30_000)
  end

  test "versions survive a restart, count as used on the disk, and go when the function is removed" do
    node = Peer.start!(server: true)
    for number <- 1..12, do: {:ok, _function} = deploy(node, @name, number)
    assert versions(node) == Enum.to_list(12..3)
    assert length(BlobStore.list(blobs(node))) == 10

    :ok = Peer.stop_application(node)
    {:ok, _started} = Peer.start_application(node)
    assert versions(node) == Enum.to_list(12..3)
    assert length(BlobStore.list(blobs(node))) == 10

    # To the last one that is kept, which is the oldest; what is beyond is named in a sentence.
    rollback = "/functions/#{@name}/rollback"
    assert {404, _headers, %{"error" => error}} = curl_json(node, rollback <> "?version=2", ["-X", "POST"])
    assert %{"reason" => "unknown_version", "version" => 2, "kept" => [12 | _more]} = error
    assert error["message"] =~ "version 2 of price is not kept"
    assert {201, _headers, %{"version" => 13}} = curl_json(node, rollback <> "?version=3", ["-X", "POST"])
    assert version(node, @name) == 3
    # To itself, by its number or by that of the same bytes: nothing changes.
    for same <- [13, 13],
        do:
          assert({200, _headers, %{"version" => 13}} = curl_json(node, rollback <> "?version=#{same}", ["-X", "POST"]))

    for wrong <- ["version=x", "version=0", "version=1&version=2", "versions=1", "wait=never"],
        do: assert({400, _headers, _error} = curl_json(node, rollback <> "?" <> wrong, ["-X", "POST"]))

    :ok = remove(node, @name)
    assert BlobStore.list(blobs(node)) == []
    assert {:error, %Error{reason: :not_deployed}} = rollback(node)
    assert {404, _headers, %{"error" => %{"reason" => "not_deployed"}}} = curl_json(node, "/functions/x/versions", [])
    {:ok, _function} = deploy(node, @name, 1)
    assert {:error, %Error{reason: :unknown_version}} = rollback(node)
  end
end
