defmodule Tidepool.Actor.QuotaTest do
  # How many actors a namespace may have, and how many bytes of them, on nodes of their own.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Peer, Postgres, TestCluster}

  @text_bytes 8_000

  # What can't be packed.
  defp text(bytes \\ @text_bytes), do: :crypto.strong_rand_bytes(bytes)

  defp class!(node, name \\ "shop/room", options \\ []) do
    Peer.deploy!(node, "rust", "ledger", name: name, actor: Keyword.merge([idle: 20], options))
    name
  end

  defp call(node, class, name, operation \\ "add", payload \\ "1"),
    do: Peer.call(node, Actor, :call, [class, name, operation, payload])

  defp delete!(node, class, name), do: :ok = Peer.call(node, Actor, :delete, [class, name])

  defp asleep!(node, class, name),
    do: eventually(fn -> Peer.call(node, Actor, :where, [class, name]) == nil end, 20_000)

  defp counter(node, namespace) do
    [{_namespace, pid, _counter, _most}] = Peer.call(node, :ets, :lookup, [Tidepool.Actor.Journal.Quota, namespace])
    pid
  end

  test "those of one namespace wait while it is counted, and no others" do
    node = Peer.start!(namespaces: "shop/actors=5,blog/actors=5")
    for class <- ["shop/room", "blog/room"], do: class!(node, class)
    # As who counts answers nothing.
    counter = counter(node, "shop")
    :ok = Peer.call(node, :sys, :suspend, [counter])
    held = Peer.async(node, Actor, :call, ["shop/room", "it", "add", "1"])
    assert {:ok, "1"} = call(node, "blog/room", "it")
    assert Task.yield(held, 0) == nil
    :ok = Peer.call(node, :sys, :resume, [counter])
    assert {:ok, "1"} = Task.await(held, 60_000)
  end

  test "an image that has no room is not read, and one that has is not on the heap beside" do
    node = Peer.start!()
    class = class!(node, "shop/room", idle: 5_000)
    {:ok, _reply} = call(node, class, "it", "write", text(8_000_000))
    :ok = Peer.call(node, Actor, :stop, [class, "it"])
    {:ok, _bytes} = call(node, class, "it", "sum", "")
    [{pid, _queue}] = Peer.call(node, Registry, :lookup, [Tidepool.Actor.Registry, {class, "it"}])
    {:binary, held} = Peer.call(node, Process, :info, [pid, :binary])
    assert held |> Enum.map(&elem(&1, 1)) |> Enum.sum() < 1_000_000
    :ok = Peer.call(node, Actor, :stop, [class, "it"])
    # What the newest version of its class may have on the host is less.
    options = [name: class, actor: [idle: 5_000, frozen: 0], limits: [memory: 4_194_304, total_memory: 4_194_304]]
    Peer.deploy!(node, "rust", "ledger", options)
    read = read_bytes(node)

    for _call <- 1..20,
        do:
          assert({:error, %Error{reason: :overloaded, message: message}} = call(node, class, "it", "sum", "")) &&
            message

    assert read_bytes(node) - read < 60_000_000
  end

  # What the node has had from files, in memory or not.
  defp read_bytes(node) do
    [bytes] = Regex.run(~r/^rchar: (\d+)$/m, Peer.call(node, File, :read!, ["/proc/self/io"]), capture: :all_but_first)
    String.to_integer(bytes)
  end

  describe "actors" do
    test "are as many as the quota says, whoever makes them at once, and one that is deleted makes room" do
      node = Peer.start!(namespaces: "shop/actors=5")
      for class <- ["shop/room", "shop/desk", "shopx/room", "room"], do: class!(node, class)

      results =
        for(number <- 1..40, do: {Enum.at(["shop/room", "shop/desk"], rem(number, 2)), "#{number}"})
        |> Enum.map(fn {class, name} -> {class, name, Peer.async(node, Actor, :call, [class, name, "add", "1"])} end)
        |> Enum.map(fn {class, name, task} -> {class, name, Task.await(task, 60_000)} end)

      {made, refused} = Enum.split_with(results, &match?({_class, _name, {:ok, "1"}}, &1))
      assert {5, 35} = {length(made), length(refused)}

      for {class, _name, {:error, error}} <- refused do
        assert %Error{reason: {:quota, :actors}, function: ^class, details: details} = error
        assert details == %{namespace: "shop", allowed: 5}
      end

      # Those that there are go on, and all that is not of the namespace.
      for {class, name, _reply} <- made, do: assert({:ok, "2"} = call(node, class, name))
      for class <- ["shopx/room", "room"], number <- 1..8, do: assert({:ok, "1"} = call(node, class, "#{number}"))

      # One that is awake makes room, and one that sleeps.
      [{class, awake, _reply}, {other, asleep, _again} | _rest] = made
      delete!(node, class, awake)
      assert {:ok, "1"} = call(node, "shop/room", "new")
      assert {:error, %Error{reason: {:quota, :actors}}} = call(node, "shop/room", "newer")
      asleep!(node, other, asleep)
      delete!(node, other, asleep)
      assert :ok = Peer.call(node, Actor, :start, ["shop/desk", "newer"])
      assert {:error, %Error{reason: {:quota, :actors}}} = Peer.call(node, Actor, :start, ["shop/desk", "newest"])

      # So it is after the node was killed.
      Peer.halt(node)
      node = Peer.start!(data: node.data, namespaces: "shop/actors=5")
      assert {:error, %Error{reason: {:quota, :actors}}} = call(node, "shop/room", "newest")
      assert {:ok, "2"} = call(node, "shop/room", "new")
    end

    test "that were never written leave their place" do
      node = Peer.start!(namespaces: "shop/actors=2")
      class = class!(node)

      for number <- 1..6 do
        trapped? = &match?({:error, %Error{reason: {:trap, _kind}}}, &1)
        eventually(fn -> trapped?.(call(node, class, "#{number}", "add_and_trap")) end, 20_000)
      end

      for name <- ["alice", "bob"], do: eventually(fn -> match?({:ok, _sum}, call(node, class, name)) end, 20_000)
      assert {:error, %Error{reason: {:quota, :actors}}} = call(node, class, "carol")
      assert {:error, %Error{reason: :unknown_actor}} = Peer.call(node, Actor, :info, [class, "1"])
    end

    test "over the quota are refused over HTTP with its name" do
      node = Peer.start!(server: true, namespaces: "shop/actors=0")
      class!(node)
      url = Peer.url(node, "/actors/shop%2Froom/alice/add")
      assert {429, headers, %{"error" => error}} = curl_url(url, ["--data-binary", "1"])
      assert %{"reason" => "quota", "quota" => "actors", "namespace" => "shop", "allowed" => 0} = error
      refute is_map_key(headers, "retry-after")
    end
  end

  describe "disk" do
    test "is what images and values of all actors may have: what goes over it is not kept, and less is always kept" do
      node = Peer.start!(namespaces: "shop/disk=50000,blog/disk=50000")
      class = class!(node)
      other = class!(node, "blog/room")

      # Each writes about 8 KB.
      text = text()
      replies = for number <- 1..20, do: {number, call(node, class, "#{number}", "write", text)}
      {kept, refused} = Enum.split_while(replies, &match?({_number, {:ok, "1"}}, &1))
      assert length(kept) in 3..6

      for {number, reply} <- refused do
        assert {:error, %Error{reason: {:quota, :disk}, details: %{namespace: "shop", allowed: 50_000}}} = reply
        assert {:error, %Error{reason: :unknown_actor}} = Peer.call(node, Actor, :info, [class, "#{number}"])
      end

      # One that can't have more is what it was, and another namespace has what it may.
      assert {:error, %Error{reason: {:quota, :disk}}} = call(node, class, "1", "write", text())
      assert {:ok, ^text} = call(node, class, "1", "read", "")
      assert {:ok, "1"} = call(node, other, "1", "write", text)

      # Values are counted, and those that take the place of others again and again are not.
      put = fn key, value -> call(node, other, "1", "host", put_value(key, value)) end

      for round <- 1..60,
          do: assert({round, {:ok, ""}} == {round, put.("a", String.duplicate("#{rem(round, 10)}", 10_000))})

      assert {:ok, ""} = put.("b", String.duplicate("b", 10_000))
      assert {:ok, ""} = put.("c", String.duplicate("c", 10_000))
      assert {:error, %Error{reason: {:quota, :disk}}} = put.("d", String.duplicate("d", 30_000))
      assert {:ok, ""} = put.("a", "less")
      assert {:ok, <<1, "less">>} = call(node, other, "1", "host", "kv get 1\na")

      # One that is gone makes room.
      delete!(node, class, "1")
      assert {:ok, "1"} = call(node, class, "new", "write", text)
    end

    test "that is full keeps what was written of actors that write later, and says what is lost" do
      node = Peer.start!(namespaces: "shop/disk=20000")
      class = class!(node, "shop/room", durability: :idle, flush: 10, idle: 60_000)
      {:ok, "1"} = call(node, class, "alice")
      eventually(fn -> match?({:ok, %{writes: 1}}, Peer.call(node, Actor, :info, [class, "alice"])) end, 20_000)
      {:ok, "1"} = call(node, class, "alice", "write", text(30_000))
      eventually(fn -> call(node, class, "alice", "read", "") == {:ok, ""} end, 20_000)
      assert {:ok, "1"} = call(node, class, "alice", "sum", "")
    end
  end

  test "payloads that wait at all actors of a namespace are within its memory, and leave nothing when an actor is killed" do
    node = Peer.start!(namespaces: "shop/memory=16777216")

    for class <- ["shop/room", "shop/desk", "shopx/room"],
        do: class!(node, class, queue_bytes: 1_073_741_824, idle: 60_000)

    cast = fn class, name, payload -> Peer.call(node, Actor, :cast, [class, name, "write", payload]) end
    part = String.duplicate("a", 4_194_304)

    pids =
      for class <- ["shop/room", "shop/desk", "shopx/room"], name <- ["alice", "bob"] do
        {:ok, "1"} = call(node, class, name)
        pid = Peer.call(node, Actor, :where, [class, name])
        :ok = Peer.call(node, :sys, :suspend, [pid])
        {{class, name}, pid}
      end

    full? = fn class, name, payload ->
      case cast.(class, name, payload) do
        {:error, %Error{reason: {:quota, :memory}, function: ^class, details: details}} ->
          details == %{namespace: "shop", allowed: 16_777_216}

        _taken ->
          false
      end
    end

    for class <- ["shop/room", "shop/desk"], name <- ["alice", "bob"], do: assert(:ok = cast.(class, name, part))
    for class <- ["shop/room", "shop/desk"], do: assert(full?.(class, "alice", "1"))
    for _payload <- 1..5, do: assert(:ok = cast.("shopx/room", "alice", part))

    # What was refused is not counted, and what is served makes room.
    pid = Map.new(pids)
    :ok = Peer.call(node, :sys, :resume, [pid[{"shop/room", "alice"}]])
    {:ok, _sum} = call(node, "shop/room", "alice", "sum", "")
    :ok = Peer.call(node, :sys, :suspend, [pid[{"shop/room", "alice"}]])
    assert :ok = cast.("shop/room", "bob", part)
    assert full?.("shop/room", "bob", "1")

    # What waited at one that is killed is gone with it: eight megabytes, and no more.
    true = Peer.call(node, Process, :exit, [pid[{"shop/room", "bob"}], :kill])
    eventually(fn -> cast.("shop/room", "alice", part) == :ok end, 20_000)
    eventually(fn -> cast.("shop/desk", "alice", part) == :ok end, 20_000)
    assert full?.("shop/room", "alice", "1")
  end

  test "nodes that share a store count what all of them have written" do
    {_postgres, url} = Postgres.start!()
    [one, two] = nodes = TestCluster.start!(2, actors: {:postgres, url}, namespaces: "shop/actors=6")
    class!(one)

    for node <- nodes,
        do: eventually(fn -> match?({:ok, _class}, Peer.call(node, Tidepool, :fetch, ["shop/room"])) end, 20_000)

    eventually(fn -> match?({:ok, _sum}, call(one, "shop/room", "first")) end, 20_000)
    for number <- 1..20, do: call(one, "shop/room", "#{number}")
    # What each has counted may be from before the other's.
    for node <- nodes, do: Peer.call(node, Kernel, :send, [counter(node, "shop"), :again])

    # A link between the two may be lost meanwhile, and made again: then nobody knows what became of the call. Before a node has
    # counted, it may make one more: that one is there from then on, so each try is of another.
    full? = &match?({:error, %Error{reason: {:quota, :actors}}}, call(&1, "shop/room", unique_name("more")))
    for node <- [two, one], do: eventually(fn -> full?.(node) end, 20_000)
    {:ok, listed, nil} = Peer.call(one, Actor, :list, ["shop/room"])
    assert length(listed) in 6..12
  end

  defp put_value(key, value) do
    payload = <<byte_size(key), 0, key::binary, value::binary>>
    "kv put #{byte_size(payload)}\n" <> payload
  end
end
