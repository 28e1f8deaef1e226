defmodule Tidepool.Fault.Cluster.ReturnTest do
  # Not async: several nodes at once.
  use Tidepool.Case

  @moduletag :slow

  import Tidepool.TestCluster

  alias Tidepool.{FaultVersion, Peer}
  alias Tidepool.Catalog.{Entry, Log, Record}
  alias Tidepool.Data.Check

  @day_ms 86_400_000

  test "a node that joins later gets all that is deployed" do
    [a, b] = start!(2)
    for index <- 1..10, do: {:ok, _function} = deploy(a, "f#{index}", index)
    c = start_node!(Peer.name("late"), a.cookie, [b.node])
    assert_converged([a, b, c], Map.new(1..10, &{"f#{&1}", [&1]}))
  end

  test "a node that comes back with its data has missed nothing, and what it has alone reaches the others" do
    [a, b] = start!(2)
    {:ok, _function} = deploy(a, "stays", 1)
    {:ok, _function} = deploy(a, "goes", 2)
    {:ok, _function} = deploy(a, "changes", 3)
    assert_converged([a, b], %{"stays" => [1], "goes" => [2], "changes" => [3]})

    part([a], [b])
    {:ok, _function} = deploy(b, "of_b_alone", 4)
    Peer.halt(b)
    :ok = remove(a, "goes")
    {:ok, _function} = deploy(a, "changes", 5)
    heal_one(a, b)
    b = restart!(b, [a.node])

    assert_converged([a, b], %{"stays" => [1], "goes" => [:removed], "changes" => [5], "of_b_alone" => [4]})
  end

  test "a node that comes back after a day with an old catalog brings nothing back that was removed" do
    [a, b] = start!(2)
    names = Enum.map([a, b], & &1.node)
    for {name, version} <- [{"stays", 1}, {"goes", 2}, {"changes", 3}], do: {:ok, _function} = deploy(a, name, version)
    {:ok, _function} = deploy(b, "of_b", 4)
    assert_converged([a, b], %{"stays" => [1], "goes" => [2], "changes" => [3], "of_b" => [4]})

    # A day passes: what both have on disk was made a day before now.
    logs = for peer <- [a, b], do: Path.join(Peer.folder(peer), "catalog.log")
    Enum.each([a, b], &Peer.halt/1)
    Enum.each(logs, &age/1)

    a = restart!(a, names -- [a.node])
    for name <- ["goes", "of_b"], do: :ok = remove(a, name)
    {:ok, _function} = deploy(a, "changes", 5)
    b = restart!(b, [a.node])
    assert_converged([a, b], %{"stays" => [1], "goes" => [:removed], "of_b" => [:removed], "changes" => [5]})
  end

  test "a node whose disk was lost gets everything back, and deploys as before" do
    [a, b, c] = start!(3)
    {:ok, _function} = deploy(a, "f", 1)
    {:ok, _function} = deploy(b, "g", 2)
    assert_converged([a, b, c], %{"f" => [1], "g" => [2]})

    Peer.halt(c)
    :ok = remove(a, "g")
    File.rm_rf!(c.data)
    File.mkdir_p!(c.data)
    c = restart!(c, [a.node, b.node])
    assert_converged([a, b, c], %{"f" => [1], "g" => [:removed]})

    {:ok, %{version: 2}} = deploy(c, "f", 3)
    assert_converged([a, b, c], %{"f" => [3], "g" => [:removed]})
  end

  test "all nodes stopped and started in any order have what they had" do
    peers = [a | _others] = start!(3)
    {:ok, _function} = deploy(a, "f", 1)
    {:ok, _function} = deploy(a, "g", 2)
    :ok = remove(a, "g")
    assert_converged(peers, %{"f" => [1], "g" => [:removed]})
    names = Enum.map(peers, & &1.node)
    Enum.each(peers, &Peer.halt/1)
    peers = for peer <- Enum.reverse(peers), do: restart!(peer, names -- [peer.node])
    assert_converged(peers, %{"f" => [1], "g" => [:removed]})
  end

  test "a damaged module comes anew from another node" do
    [a, b] = start!(2)
    {:ok, function} = deploy(a, "f", 1)
    assert_converged([a, b], %{"f" => [1]})
    blob = Path.join([Peer.folder(b), "blobs", function.sha256])
    Peer.halt(b)
    File.write!(blob, FaultVersion.module(2))
    b = restart!(b, [a.node])
    assert_converged([a, b], %{"f" => [1]})
  end

  test "whatever a node has lost of its data comes anew from another node, and is lost nowhere" do
    [a, b] = start!(2)
    for {name, version} <- [{"f", 1}, {"g", 2}, {"h", 3}], do: {:ok, _function} = deploy(b, name, version)
    await(a, "g", 2)
    :ok = remove(a, "g")
    expected = %{"f" => [1], "g" => [:removed], "h" => [3]}
    assert_converged([a, b], expected)
    folder = Peer.folder(b)
    {log, blobs} = {Path.join(folder, "catalog.log"), Path.join(folder, "blobs")}

    damages = [
      # The records of both functions.
      fn ->
        File.write!(
          log,
          :binary.replace(File.read!(log), for(name <- ["f", "h"], do: <<?m, 1::32, name::binary>>), <<0::48>>, [
            :global
          ])
        )
      end,
      # The second half, with the last changes.
      fn -> File.write!(log, binary_part(File.read!(log), 0, div(byte_size(File.read!(log)), 2))) end,
      fn -> File.rm!(log) end,
      fn -> for blob <- File.ls!(blobs), do: File.rm!(Path.join(blobs, blob)) end,
      fn -> for blob <- File.ls!(blobs), do: File.write!(Path.join(blobs, blob), "damaged") end,
      fn -> File.rm_rf!(folder) end
    ]

    Enum.reduce(damages, {b, 1}, fn damage, {b, version} ->
      Peer.halt(b)
      damage.()
      assert_told(folder, a.node)
      b = restart!(b, [a.node])
      assert_converged([a, b], expected)
      # Versions go on.
      {:ok, function} = deploy(b, "f", 4)
      assert function.version == version + 1
      {:ok, function} = deploy(b, "f", 1)
      assert function.version == version + 2
      assert_converged([a, b], expected)
      {b, version + 2}
    end)
  end

  # The damage, and for modules who has them.
  defp assert_told(folder, other) do
    with {:ok, findings} <- Check.run(folder) do
      damaged = for %{state: :damaged} = one <- findings, do: one
      assert damaged != []
      for %{path: "blobs/" <> _hash, text: text} <- damaged, do: assert(text =~ "cluster" and text =~ to_string(other))
    end
  end

  # Moves all moments of a catalog's file a day back: those of its entries' stamps, and those of its context.
  defp age(path) do
    {records, []} = path |> File.read!() |> Record.decode()

    aged =
      Enum.map(records, fn
        %Entry{stamp: {wall_ms, counter, replica}} = entry ->
          %{entry | stamp: {wall_ms - @day_ms, counter, replica}, deployed_at: entry.deployed_at - div(@day_ms, 1_000)}

        %{seen: seen, beyond: beyond, horizon: nil} = context ->
          seen = Map.new(seen, fn {replica, moment} -> {replica, earlier(moment)} end)

          beyond =
            Map.new(beyond, fn {replica, moments} ->
              {replica, Map.new(moments, fn {moment, true} -> {earlier(moment), true} end)}
            end)

          %{context | seen: seen, beyond: beyond}
      end)

    :ok = Log.rewrite(path, aged)
  end

  defp earlier({wall_ms, counter}), do: {wall_ms - @day_ms, counter}

  # The other one is down, and will have the true cookie when it is up again.
  defp heal_one(a, b), do: Peer.call(a, :erlang, :set_cookie, [b.node, b.cookie])
end
