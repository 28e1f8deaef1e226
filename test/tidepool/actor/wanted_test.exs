defmodule Tidepool.Actor.WantedTest do
  # Actors that rest and hold instances that others have a use for: they sleep at once then, and as they are.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Peer}

  # No actor of these falls asleep by itself.
  defp class!(node, name, options \\ []) do
    options = Keyword.merge([name: name, actor: [idle: 3_600_000]], options)
    {:ok, function} = Peer.call(node, Tidepool, :deploy, [guest("rust", "ledger"), options])
    function.name
  end

  defp call(node, class, name, operation, payload \\ ""),
    do: Peer.call(node, Actor, :call, [class, name, operation, payload])

  defp awake(node, class, names), do: Enum.filter(names, &Peer.call(node, Actor, :where, [class, &1]))

  test "more actors than instances are called, in turn and at once, and each is as it was" do
    node = Peer.start!(max_instances: 4, max_dense_instances: 4)

    for engine <- [:fast, :dense] do
      class = class!(node, "#{engine}", engine: engine)
      names = for number <- 1..20, do: "#{number}"
      for round <- 1..3, name <- names, do: assert({:ok, "#{round}"} == call(node, class, name, "add", "1"))

      # Eight at a time, of whom no two have the same actor.
      for round <- 4..6, some <- Enum.chunk_every(names, 8) do
        calls = for name <- some, do: Peer.async(node, Actor, :call, [class, name, "add", "1"])
        assert Task.await_many(calls, 60_000) == List.duplicate({:ok, "#{round}"}, length(some))
      end

      for name <- names, do: assert({:ok, "6"} == call(node, class, name, "sum"))
      assert length(awake(node, class, names)) in 1..4
    end
  end

  test "a function finds room beside actors that rest, and those stay that were called lately" do
    node = Peer.start!(max_instances: 4)
    class = class!(node, "ledger")
    {:ok, _function} = Peer.call(node, Tidepool, :deploy, [guest("rust", "hello_world"), [name: "hello"]])
    for name <- ~w(a b c d), do: {:ok, "1"} = call(node, class, name, "add", "1")
    for name <- ~w(a b d), do: {:ok, "1"} = call(node, class, name, "sum")
    assert {:ok, _reply} = Peer.call(node, Tidepool, :call, ["hello", "hello", "world"])
    assert awake(node, class, ~w(a b c d)) == ~w(a b d)
    assert {:ok, "1"} = call(node, class, "c", "sum")
  end

  test "an actor finds room for one that it calls, and none where all others serve a call" do
    node = Peer.start!(max_instances: 2, builtins: [:actor])
    class = class!(node, "ledger")
    for name <- ~w(a b c), do: {:ok, "1"} = call(node, class, name, "add", "1")
    assert {:ok, "2"} = call(node, class, "a", "ask", "#{class}/b/add\n1")
    assert {:ok, "2"} = call(node, class, "a", "ask", "#{class}/c/add\n1")

    assert {:error, %Error{reason: :guest_error, message: message}} =
             call(node, class, "a", "ask", "#{class}/b/ask\n#{class}/c/add\n1")

    assert message =~ "all 2 instances of this node are in use"
    for {name, sum} <- [{"a", "1"}, {"b", "2"}, {"c", "2"}], do: assert({:ok, sum} == call(node, class, name, "sum"))
  end

  test "what is not written yet is written before" do
    node = Peer.start!(max_instances: 1)
    class = class!(node, "ledger", actor: [idle: 3_600_000, durability: :idle, flush: 3_600_000])
    {:ok, "1"} = call(node, class, "a", "add", "1")
    {:ok, "1"} = call(node, class, "b", "add", "1")
    # By its record on disk.
    Peer.halt(node)
    node = Peer.start!(data: node.data)
    assert {:ok, "1"} = call(node, class, "a", "sum")
  end

  test "in a namespace they make room for its functions, and for no others" do
    node = Peer.start!(namespaces: "shop/instances=2", max_instances: 8)
    [shop, blog] = for name <- ["shop/room", "blog/room"], do: class!(node, name)
    for name <- ~w(a b c), do: {:ok, "1"} = call(node, blog, name, "add", "1")
    for name <- ~w(a b c d), do: assert({:ok, "1"} = call(node, shop, name, "add", "1"))
    assert length(awake(node, shop, ~w(a b c d))) == 2
    assert awake(node, blog, ~w(a b c)) == ~w(a b c)
  end

  test "one that serves a call keeps its instance, and whoever waits for that is told of the quota" do
    node = Peer.start!(namespaces: "shop/instances=1")
    class = class!(node, "shop/room", limits: [time: 60_000, cpu_time: 2_000])
    options = [name: "shop/hello", limits: [time: 300]]
    {:ok, _function} = Peer.call(node, Tidepool, :deploy, [guest("rust", "hello_world"), options])
    {:ok, "1"} = call(node, class, "a", "add", "1")
    busy = Peer.async(node, Actor, :call, [class, "a", "add_and_spin", "1"])
    eventually(fn -> Peer.call(node, Tidepool.Engine, :instances, []).live == 1 end)
    late = Peer.call(node, Tidepool, :call, ["shop/hello", "hello", ""])
    assert {:error, %Error{reason: {:quota, :instances}, details: %{namespace: "shop", allowed: 1}}} = late
    assert {:error, %Error{reason: {:limit, :cpu_time}}} = Task.await(busy, 60_000)
    assert {:ok, "1"} = call(node, class, "b", "add", "1")
  end
end
