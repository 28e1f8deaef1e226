defmodule Tidepool.Keyvalue.ActorsTest do
  # Keys and values where actors are, on nodes of their own. What components do with them is in stores_test.exs, by each store.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Keyvalue, Native, Peer, Postgres, TestCluster}
  alias Tidepool.Actor.Bucket
  alias Tidepool.Actor.Journal.Archive
  alias Tidepool.Actor.Ownership.{LeaseHolder, Shards}

  defp start!(settings \\ []), do: Peer.start!([keyvalue: :actors, cluster: false] ++ settings)

  # Stores raise what is not for guests.
  defp ask(peer, name, arguments, options \\ []) do
    Peer.call(peer, Keyvalue.Actors, name, arguments ++ [options])
  rescue
    error in Error -> {:error, error}
  end

  defp set(peer, bucket, key, value), do: ask(peer, :set, [bucket, key, value])
  defp get(peer, bucket, key), do: ask(peer, :get, [bucket, key])

  defp bucket(peer, bucket), do: Peer.call(peer, Registry, :lookup, [Actor.Registry, {Bucket.class(nil), bucket}])

  test "what was answered is there when the node is killed, and a bucket that was read alone is none" do
    node = start!()
    assert {:ok, nil} = get(node, "visits", "k")
    assert {:ok, [], false} = ask(node, :list_keys, ["visits", nil, 10])
    assert :ok = ask(node, :delete_many, ["visits", ["k"]])
    assert {:changed, nil} = ask(node, :swap, ["visits", "k", "v", "w"])
    assert {:ok, %{}} == Peer.call(node, Keyvalue.Actors, :buckets, [])

    sums =
      1..8
      |> Enum.map(fn _caller ->
        Task.async(fn -> for _time <- 1..25, do: ask(node, :increment, ["visits", "n", 1]) end)
      end)
      |> Enum.flat_map(&Task.await(&1, 60_000))

    assert Enum.sort(sums) == for(number <- 1..200, do: {:ok, number})
    assert :ok = ask(node, :set_many, ["visits", [{"a", "1"}, {"b", "2"}, {"a", "3"}]])
    assert :ok = ask(node, :delete, ["visits", "b"])
    Peer.halt(node)
    node = start!(data: node.data)
    assert {:ok, "200"} = get(node, "visits", "n")
    assert {:ok, ["3", nil]} = ask(node, :get_many, ["visits", ["a", "b"]])
    assert {:ok, ["a", "n"], false} = ask(node, :list_keys, ["visits", nil, 10])
    counted = 2 * 128 + byte_size("a" <> "3") + byte_size("n" <> "200")
    assert {:ok, %{"visits" => ^counted}} = Peer.call(node, Keyvalue.Actors, :buckets, [])
  end

  test "what was answered is there when the process of a bucket is killed while it writes, and who asks then is answered" do
    node = start!()
    assert :ok = set(node, "b", "n", "0")
    {:ok, records} = Peer.call(node, Actor.Journal, :records, [])
    writes? = fn -> not Peer.call(node, Native, :record_settled, [records, Bucket.class(nil), "b"]) end

    # It takes its time until all that waits is on the disk.
    value = String.duplicate("x", 256 * 1024)
    others = for other <- 1..16, do: Task.async(fn -> for _time <- 1..10, do: set(node, "b#{other}", "k", value) end)

    told =
      for round <- 1..10, reduce: %{} do
        told ->
          tasks =
            for number <- 1..20,
                do: {"n#{number}", Task.async(fn -> ask(node, :increment, ["b", "n#{number}", 1]) end)}

          eventually(fn -> writes?.() or Enum.all?(tasks, fn {_key, task} -> not Process.alive?(task.pid) end) end)
          with [{pid, _queue}] <- bucket(node, "b"), do: Peer.call(node, Process, :exit, [pid, :kill])
          assert {:ok, ^round} = ask(node, :increment, ["b", "after", 1])

          for {key, task} <- tasks,
              {:ok, sum} <- [task |> Task.await(60_000) |> of_the_killed()],
              into: told,
              do: {key, sum}
      end

    assert map_size(told) > 0
    assert Enum.all?(Enum.flat_map(others, &Task.await(&1, 60_000)), &(&1 == :ok))

    for {key, sum} <- told do
      assert {:ok, found} = get(node, "b", key)
      assert String.to_integer(found) >= sum
    end
  end

  # Those alone are told that it is not known what has become of a change which the process had when it was killed.
  defp of_the_killed(answer) do
    with {:error, why} <- answer, do: assert(is_binary(why) and why =~ "ended while it had the call")
    answer
  end

  test "a bucket has as many bytes as the setting says and not one more, and what is removed makes room" do
    options = [max_bucket_bytes: 3 * (128 + 1 + 100)]
    node = start!(keyvalue: {Keyvalue.Actors, options})
    set = &ask(node, :set, [&1, &2, &3], options)
    value = String.duplicate("x", 100)
    full = {:error, "the bucket would have more than the #{options[:max_bucket_bytes]} bytes that it may have"}
    for key <- ["a", "b", "c"], do: assert(:ok = set.("full", key, value))
    assert set.("full", "d", "") == full
    assert set.("full", "a", value <> "x") == full
    assert ask(node, :set_many, ["full", [{"a", ""}, {"d", ""}]], options) == full
    assert ask(node, :increment, ["full", "n", 1], options) == full
    assert ask(node, :swap, ["full", "d", nil, "v"], options) == full
    assert {:ok, nil} = get(node, "full", "d")
    assert :ok = set.("full", "a", String.duplicate("y", 100))
    assert :ok = ask(node, :delete, ["full", "a"], options)
    assert :ok = set.("full", "d", value)
    assert :ok = set.("other", "a", value)
    assert :ok = Peer.call(node, Keyvalue.Actors, :clear, ["full"])
    assert :ok = Peer.call(node, Keyvalue.Actors, :clear, ["full"])

    assert {:ok, ["other"]} =
             with({:ok, all} <- Peer.call(node, Keyvalue.Actors, :buckets, []), do: {:ok, Map.keys(all)})

    assert {:ok, nil} = get(node, "full", "b")
    assert :ok = set.("full", "a", value)
  end

  test "as many bytes as one answer may have are given, and what is more is told" do
    node = start!()
    value = String.duplicate("x", Keyvalue.max_value_bytes())
    for key <- ["a", "b", "c", "d"], do: assert(:ok = set(node, "large", key, value))
    assert {:ok, [^value, ^value, nil, ^value, ^value]} = ask(node, :get_many, ["large", ["a", "b", "e", "c", "d"]])
    assert :ok = set(node, "large", "e", "x")
    too_large = {:error, Keyvalue.too_large(Keyvalue.max_batch_bytes())}
    assert too_large == ask(node, :get_many, ["large", ["a", "b", "c", "d", "e"]])
  end

  test "buckets of a namespace are within its quotas of actors and disk, and no other's" do
    node = start!(namespaces: "shop/actors=2,shop/disk=100000")
    assert [:ok, :ok] = for(bucket <- ["shop/a", "shop/b"], do: set(node, bucket, "k", "v"))
    assert {:error, message} = set(node, "shop/c", "k", "v")
    assert message =~ "actors"
    assert {:error, message} = set(node, "shop/a", "k", :crypto.strong_rand_bytes(200_000))
    assert message =~ "100000 bytes"
    assert {:ok, "v"} = get(node, "shop/a", "k")
    assert :ok = set(node, "blog/a", "k", String.duplicate("x", 200_000))
    assert {:ok, nil} = get(node, "a", "k")
    assert :ok = Peer.call(node, Keyvalue.Actors, :clear, ["shop/b"])
    assert :ok = set(node, "shop/c", "k", "v")
  end

  test "nobody reaches a bucket as an actor" do
    node = start!(server: true, port: 0)
    assert :ok = set(node, "mine", "k", "v")
    class = Bucket.class(nil)
    question = :erlang.term_to_binary({:put, [{"k", "stolen"}], 1_000})

    for {name, arguments} <- [
          call: [class, "mine", "keyvalue", question],
          cast: [class, "mine", "keyvalue", question],
          start: [class, "mine"],
          stop: [class, "mine"],
          delete: [class, "mine"],
          info: [class, "mine"],
          list: [class],
          call: ["shop/" <> class, "mine", "keyvalue", question]
        ],
        do: assert({:error, %Error{reason: :not_deployed}} = Peer.call(node, Actor, name, arguments))

    assert nil == Peer.call(node, Actor, :where, [class, "mine"])

    for path <- ["/actors/%3Akeyvalue/mine", "/actors/%3Akeyvalue", "/actors/%3Akeyvalue/mine/keyvalue"],
        method <- ["GET", "POST", "DELETE"],
        do: assert(request(Peer.url(node, path), method) in [404, 405])

    assert {:error, %Error{}} =
             Peer.call(node, Tidepool, :deploy, [guest("rust", "ledger"), [name: class, actor: true]])

    assert {:ok, "v"} = get(node, "mine", "k")
  end

  defp request(url, method) do
    {text, 0} = System.cmd("curl", ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, url])
    String.to_integer(text)
  end

  test "a bucket is what it was when it has gone from a folder to a database, and nodes that share that share it" do
    {_postgres, url} = Postgres.start!()
    file = Path.join(tmp_folder!(), "actors")
    first = start!()
    assert :ok = ask(first, :set_many, ["shop/visits", [{"a", "1"}, {"b", "2"}]])
    assert {:ok, %{actors: 1, modules: 0}} = Archive.export({:folder, Peer.folder(first)}, file, nil, false)
    assert {:ok, %{actors: 1, modules: 0}} = Archive.import({:postgres, url}, file, false)
    nodes = TestCluster.start!(2, actors: {:postgres, url}, keyvalue: :actors)

    for node <- nodes do
      eventually(fn -> assert {:ok, ["1", "2"]} = ask(node, :get_many, ["shop/visits", ["a", "b"]]) end, 20_000)
    end

    # Each bucket has one node, and is asked for there by the other.
    for number <- 1..20, node <- nodes, do: assert({:ok, _sum} = ask(node, :increment, ["sum #{number}", "n", 1]))
    for number <- 1..20, node <- nodes, do: assert({:ok, "2"} = get(node, "sum #{number}", "n"))
    [one, two] = nodes
    Peer.halt(one)

    # What the other had is this one's when its lease is over.
    for number <- 1..20,
        do: eventually(fn -> assert {:ok, "2"} = get(two, "sum #{number}", "n") end, 60_000)
  end

  test "what a node has of a bucket in memory is told under its lease, and no more once another node has the bucket" do
    {_postgres, url} = Postgres.start!()
    settings = [actors: {:postgres, url}, keyvalue: :actors]
    [one] = TestCluster.start!(1, settings)
    buckets = for number <- 1..40, do: "b#{number}"
    known = &Peer.call(one, Keyvalue.Actors, :known, [&1, "k"])

    for bucket <- buckets do
      eventually(fn -> :ok = set(one, bucket, "k", "1") end, 20_000)
      assert {:ok, "1"} = get(one, bucket, "k")
    end

    # Not all of a namespace's have a place.
    [bucket | _others] = there = Enum.filter(buckets, &(known.(&1) == {:ok, "1"}))
    assert length(there) <= 32

    # Neither is the lease renewed, nor noticed that it ends.
    :ok = Peer.call(one, :sys, :suspend, [LeaseHolder.process()])
    eventually(fn -> known.(bucket) == :none end, 20_000)
    assert {:error, %Error{reason: :no_store}} = get(one, bucket, "k")
    :ok = Peer.call(one, :sys, :resume, [LeaseHolder.process()])
    for bucket <- buckets, do: eventually(fn -> {:ok, "1"} = get(one, bucket, "k") end, 20_000)

    late = Peer.name("late")
    other = TestCluster.start_node!(late, one.cookie, [one.node], settings)
    away = {:away, to_string(late)}
    place = &Peer.call(one, Shards, :place, [Bucket.class(nil), &1])
    moved = fn -> Enum.filter(buckets, &(place.(&1) == away)) end
    eventually(fn -> assert moved.() != [] end, 60_000)

    for bucket <- moved.() do
      assert known.(bucket) == :none
      eventually(fn -> :ok = set(other, bucket, "k", "2") end, 20_000)
      assert {:ok, "2"} = get(one, bucket, "k")
      assert known.(bucket) == :none
    end
  end

  test "in a cluster that shares no store there are no buckets, and why is not for guests" do
    [one, _two] = TestCluster.start!(2, keyvalue: :actors)
    Peer.deploy!(one, "rust", "keyvalue_draft2", name: "keys", keyvalue: ["visits"])
    assert {:ok, text} = Peer.call(one, Tidepool, :call, ["keys", :run, ["open visits\nset a b"]])
    assert ["ok", "error other " <> why] = String.split(text, "\n")
    assert why =~ ~r/id [0-9a-f]+/
    refute why =~ to_string(one.node)
  end
end
