defmodule Tidepool.Actor.FrozenTest do
  # Actors between those that are awake and those on disk alone: when they are in memory, and that this is never another state.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Peer}
  alias Tidepool.Actor.Journal.Frozen
  alias Tidepool.Actor.Ownership.Lease

  defp class!(options), do: deploy!("rust", "ledger", actor: [idle: 20] ++ options)

  defp tier(class, name) do
    {:ok, %{tier: tier, awake: awake}} = Actor.info(class, name)
    assert awake == (tier == :live)
    tier
  end

  defp asleep!(class, name, tier), do: eventually(fn -> tier(class, name) == tier end, 20_000)

  test "an actor that falls asleep is in memory without a process, and wakes as it was" do
    class = class!([])
    for number <- 1..5, do: {:ok, "1"} = Actor.call(class, "#{number}", "add", "1", request_id: "a")
    {:ok, _reply} = Actor.call(class, "1", "host", "kv put 11\n" <> <<6, 0>> <> "colourred")
    for number <- 1..5, do: asleep!(class, "#{number}", :frozen)
    assert Actor.where(class, "1") == nil
    for number <- 1..5, do: assert({:ok, "1"} = Actor.call(class, "#{number}", "add", "1", request_id: "a"))
    assert {:ok, <<1, "red">>} = Actor.call(class, "1", "host", "kv get 6\ncolour")
    assert {:ok, "2"} = Actor.call(class, "1", "add", "1")
    asleep!(class, "1", :frozen)
    assert {:ok, "2"} = Actor.call(class, "1", "sum")
  end

  test "it wakes from what is in memory" do
    class = class!([])
    {:ok, "5"} = Actor.call(class, "alice", "add", "5")
    {:ok, "1"} = Actor.call(class, "bob", "add", "1")
    for name <- ["alice", "bob"], do: asleep!(class, name, :frozen)
    {seq, head, image} = Frozen.take(class, "alice", {1, nil})
    :ok = Frozen.put(class, "bob", {{1, nil}, seq, head, image}, 60_000)
    assert {:ok, "5"} = Actor.call(class, "bob", "sum")
    # And what is there is what is on disk.
    assert {:ok, "5"} = Actor.call(class, "alice", "sum")
  end

  test "it is on disk alone when its time is over, and when it is stopped" do
    class = class!(frozen: 1)
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    asleep!(class, "alice", :disk)
    assert {:ok, "1"} = Actor.call(class, "alice", "sum")

    class = class!([])
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    :ok = Actor.stop(class, "alice")
    assert tier(class, "alice") == :disk
    {:ok, "1"} = Actor.call(class, "alice", "sum")
    asleep!(class, "alice", :frozen)
    :ok = Actor.stop(class, "alice")
    assert tier(class, "alice") == :disk
    assert {:ok, "1"} = Actor.call(class, "alice", "sum")

    class = class!(frozen: 0)
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    asleep!(class, "alice", :disk)
  end

  test "by another title it is not used, and is gone, be that of the same epoch" do
    [lease, later] = for _lease <- 1..2, do: Lease.new()

    for other <- [{8, lease}, {7, later}, {7, nil}] do
      :ok = Frozen.put("epochs", "alice", {{7, lease}, 1, "head", "image"}, 60_000)
      assert Frozen.member?("epochs", "alice", {7, lease})
      refute Frozen.member?("epochs", "alice", other)
      assert Frozen.take("epochs", "alice", other) == nil
      assert Frozen.take("epochs", "alice", {7, lease}) == nil
    end

    # The later one is what there is.
    for seq <- 1..2, do: :ok = Frozen.put("epochs", "alice", {{7, lease}, seq, "head", nil}, 60_000)
    assert Frozen.take("epochs", "alice", {7, lease}) == {2, "head", nil}
  end

  test "no copy is made of one that is larger than all may be" do
    made = fn -> send(self(), :made) && {{1, nil}, 1, "head", "image"} end
    assert Frozen.made(Tidepool.Config.get(:max_frozen) + 1, made) == nil
    refute_received :made
    assert Frozen.made(9, made) == {{1, nil}, 1, "head", "image"}
    assert_received :made
    assert Frozen.made(9, fn -> {:error, :internal, "busy", %{}} end) == nil
  end

  test "one that is deleted is not there any more, and neither is one that is reset" do
    class = class!(versions: :reset)
    {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    asleep!(class, "alice", :frozen)
    assert :ok = Actor.delete(class, "alice")
    assert {:error, %Error{reason: :unknown_actor}} = Actor.call(class, "alice", "sum", "", create: false)
    assert {:ok, "0"} = Actor.call(class, "alice", "sum")
  end

  test "deletes and calls at the same time leave what the store has" do
    class = class!(idle: 1)

    for round <- 1..30 do
      {:ok, _sum} = Actor.call(class, "alice", "add", "1")
      deletes = Task.async(fn -> for _turn <- 1..3, do: Actor.delete(class, "alice") end)
      calls = Task.async(fn -> for _turn <- 1..10, do: Actor.call(class, "alice", "sum") end)
      for outcomes <- Task.await_many([deletes, calls], 60_000), {:error, error} <- outcomes, do: known!(error)
      known = Actor.call(class, "alice", "sum", "", create: false)
      :ok = Actor.stop(class, "alice")
      assert same?(known, Actor.call(class, "alice", "sum", "", create: false)), "round #{round}: #{inspect(known)}"
    end
  end

  # Whose actor was deleted under it.
  defp known!(%Error{reason: reason}), do: assert(reason in [:unknown_actor, :no_store, :unknown_outcome])

  defp same?({:ok, sum}, {:ok, sum}), do: true
  defp same?({:error, %Error{reason: reason}}, {:error, %Error{reason: reason}}), do: true
  defp same?(_one, _other), do: false

  test "there is no more of it than the node may have, and those are left that were called last" do
    peer = Peer.start!(max_frozen: 30_000)
    Peer.deploy!(peer, "rust", "ledger", actor: [idle: 1])
    call = &Peer.call(peer, Actor, :call, ["ledger", &1, "add", "1"])
    tier = fn name -> Peer.call(peer, Actor, :info, ["ledger", name]) |> elem(1) |> Map.fetch!(:tier) end

    for number <- 1..40 do
      assert {:ok, "1"} = call.("#{number}")
      eventually(fn -> tier.("#{number}") == :frozen end, 20_000)
      # It is there before room is made for it.
      eventually(fn -> Peer.call(peer, Frozen, :size, []) |> elem(1) <= 30_000 end)
    end

    {count, _bytes} = Peer.call(peer, Frozen, :size, [])
    assert count in 2..39
    assert Enum.map(1..40, &tier.("#{&1}")) == List.duplicate(:disk, 40 - count) ++ List.duplicate(:frozen, count)
    for number <- 1..40, do: assert({:ok, "2"} = call.("#{number}"))
  end

  test "room is made in as many steps however many classes have actors in memory" do
    shell = Peer.shell(Peer.start!(max_frozen: 4_000_000))

    # Small ones that have slept for longer, and a large one for which some of them go.
    steps = """
    alias Tidepool.Actor.Journal.Frozen
    numbers = 1..5_000
    class = &"class \#{rem(&1, classes)}"
    for number <- numbers, do: Frozen.put(class.(number), "\#{number}", {{1, nil}, 1, "head", nil}, 3_600_000)
    {^count, _bytes} = Frozen.size()
    large = {{1, nil}, 1, "head", String.duplicate("i", 2_000_000)}
    {:reductions, before} = Process.info(self(), :reductions)
    Frozen.put("large", "one", large, 3_600_000)
    Frozen.make_room()
    {:reductions, steps} = Process.info(self(), :reductions)
    {left, bytes} = Frozen.size()
    true = Frozen.member?("large", "one", {1, nil})
    # The oldest have gone.
    there = for number <- numbers, do: Frozen.member?(class.(number), "\#{number}", {1, nil})
    true = there == Enum.sort(there)
    Frozen.drop("large", "one")
    for number <- numbers, do: Frozen.drop(class.(number), "\#{number}")
    {0, 0} = Frozen.size()
    {steps - before, left, bytes}
    """

    [few, many] =
      for classes <- [10, 1_000] do
        {{steps, left, bytes}, _names} = shell.(steps, [classes: classes, count: 5_000], [])
        assert left in 2_000..4_500
        assert bytes <= 4_000_000
        steps
      end

    assert many <= 3 * few
  end

  test "what was not written yet is, before it falls asleep: a node that is killed then has it" do
    data = tmp_folder!()
    peer = Peer.start!(data: data)
    Peer.deploy!(peer, "rust", "ledger", actor: [idle: 20, durability: :idle, flush: 60_000])
    for number <- 1..20, do: {:ok, "5"} = Peer.call(peer, Actor, :call, ["ledger", "#{number}", "add", "5"])

    for number <- 1..20 do
      eventually(
        fn -> match?({:ok, %{tier: :frozen}}, Peer.call(peer, Actor, :info, ["ledger", "#{number}"])) end,
        20_000
      )
    end

    Peer.halt(peer)
    peer = Peer.start!(data: data)
    for number <- 1..20, do: assert({:ok, "5"} = Peer.call(peer, Actor, :call, ["ledger", "#{number}", "sum"]))
  end
end
