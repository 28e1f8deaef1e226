defmodule Tidepool.ActorTurnsTest do
  # Reads of actors' records, and images of those with much memory, in turns of their namespaces: who waits for whom, and who does not.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Native}
  alias Tidepool.Actor.Activation.Modules
  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Namespaces.Turns

  import Tidepool.ActorScript

  # The only function of a namespace.
  defp class! do
    class = unique_name("space") <> "/ledger"
    {:ok, _function} = Tidepool.deploy(guest("rust", "ledger"), name: class, actor: [idle: 600_000])
    on_exit(fn -> remove!(class) end)
    class
  end

  defp host(class, name, script, options \\ []), do: Actor.call(class, name, "host", script, options)
  defp list(class, name), do: host(class, name, list("", "", 0))

  # Processes that have all turns of a class's namespace, each until it is told to go on.
  defp hold(kind, class) do
    {most, _waiting} = Turns.bounds(kind)
    test = self()

    work = fn ->
      send(test, {:has, self()})
      receive do: (:go_on -> :ok)
    end

    for _turn <- 1..most, do: spawn(fn -> Turns.run(kind, class, :infinity, work) end)

    holders =
      for _turn <- 1..most do
        assert_receive {:has, holder}, 20_000
        holder
      end

    on_exit(fn -> for holder <- holders, do: Process.exit(holder, :kill) end)
    holders
  end

  defp waits!(kind, class), do: eventually(fn -> match?({_most, 1}, Turns.count(kind, class)) end, 20_000)

  test "an actor reads its values in a turn of its namespace, and one of another namespace waits for none of these" do
    [class, other] = for _class <- 1..2, do: class!()
    for class <- [class, other], do: {:ok, ""} = host(class, "alice", put("a", "1"))
    [holder | _others] = hold(:records, class)
    listed = Task.async(fn -> list(class, "alice") end)
    waits!(:records, class)
    assert {:ok, reply} = list(other, "alice")
    assert read_list(reply) == [{"a", "1"}]
    waits!(:records, class)
    send(holder, :go_on)
    assert Task.await(listed, 60_000) == {:ok, reply}
  end

  test "an actor wakes in a turn of its namespace, be it that of a process that was killed" do
    class = class!()
    assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")
    :ok = Actor.stop(class, "alice")
    [holder | _others] = hold(:records, class)
    woken = Task.async(fn -> Actor.call(class, "alice", "sum") end)
    waits!(:records, class)
    Process.exit(holder, :kill)
    assert Task.await(woken, 60_000) == {:ok, "1"}
  end

  test "an actor that is deleted, asleep or awake, is looked for in a turn of its namespace" do
    class = class!()

    for {name, sleeps?} <- [{"alice", false}, {"bob", true}] do
      assert {:ok, "1"} = Actor.call(class, name, "add", "1")
      if sleeps?, do: :ok = Actor.stop(class, name)
      holders = hold(:records, class)
      deleted = Task.async(fn -> Actor.delete(class, name) end)
      waits!(:records, class)
      for holder <- holders, do: send(holder, :go_on)
      assert Task.await(deleted, 60_000) == :ok
      assert {:error, %Error{reason: :unknown_actor}} = Actor.info(class, name)
    end
  end

  test "an actor waits for a turn no longer than its call has time, and is as it was then" do
    class = class!()
    {most, _waiting} = Turns.bounds(:records)
    assert {:ok, "1"} = host(class, "alice", [put("a", "1"), then_do("add", "1")])
    holders = hold(:records, class)
    script = [list("", "", 0), put("b", "1"), then_do("add", "1")]
    assert {:error, %Error{reason: :timeout}} = host(class, "alice", script, timeout: 100)
    eventually(fn -> Turns.count(:records, class) == {most, 0} end, 20_000)
    # And one that is to wake for it.
    :ok = Actor.stop(class, "alice")
    assert {:error, %Error{reason: :timeout}} = Actor.call(class, "alice", "add", "1", timeout: 100)
    eventually(fn -> Turns.count(:records, class) == {most, 0} end, 20_000)
    for holder <- holders, do: send(holder, :go_on)
    assert {:ok, "1"} = Actor.call(class, "alice", "sum")
    {:ok, reply} = list(class, "alice")
    assert read_list(reply) == [{"a", "1"}]
  end

  test "where as many wait as may a call of an actor that is yet to wake is refused, and one that has begun waits for its turn" do
    class = class!()
    {:ok, ""} = host(class, "alice", put("a", "1"))
    {most, waiting} = Turns.bounds(:records)
    holders = hold(:records, class)
    crowd = for _caller <- 1..waiting, do: spawn(fn -> Turns.run(:records, class, :infinity, fn -> :ok end) end)
    on_exit(fn -> for caller <- crowd, do: Process.exit(caller, :kill) end)
    eventually(fn -> Turns.count(:records, class) == {most, waiting} end, 20_000)
    assert {:error, %Error{reason: :overloaded}} = Actor.call(class, "bob", "sum")
    listed = Task.async(fn -> list(class, "alice") end)
    eventually(fn -> Turns.count(:records, class) == {most, waiting + 1} end, 20_000)
    for holder <- holders, do: send(holder, :go_on)
    assert {:ok, reply} = Task.await(listed, 60_000)
    assert read_list(reply) == [{"a", "1"}]
  end

  test "of modules that actors of a namespace wait for so many are in line, and an actor of another that begins waits for none" do
    [class, other] = for _class <- 1..2, do: class!()
    # Two that are being read, and 4,096 behind them.
    {asked, waiting} = {20_000, 4_098}
    holders = hold(:records, class)
    test = self()

    for number <- 1..asked,
        do: spawn(fn -> send(test, {:told, Modules.of(class, BlobStore.sha256("module #{number}"))}) end)

    for _beyond <- 1..(asked - waiting),
        do: assert_receive({:told, {:error, %Error{reason: :overloaded, function: ^class}}}, 20_000)

    assert {:ok, "1"} = Actor.call(other, "alice", "add", "1")
    for holder <- holders, do: send(holder, :go_on)

    # There are no such modules. What actors of other tests have waited for was taken off the share.
    for _one <- 1..waiting do
      assert_receive {:told, {:error, %Error{reason: reason}}}, 20_000
      assert reason in [:no_store, :overloaded]
    end
  end

  test "of a namespace whose actors list their values without end no more read at a time than have turns, and another's reads go on" do
    [class, other] = for _class <- 1..2, do: class!()
    {most, _waiting} = Turns.bounds(:records)
    names = for number <- 1..24, do: "#{number}"
    large = String.duplicate("v", 65_536)
    for name <- names, do: {:ok, ""} = host(class, name, for(number <- 1..4, do: put("#{number}", large)))
    {:ok, ""} = host(other, "alice", put("a", "1"))
    actors = for name <- names, actor = Actor.where(class, name), do: actor

    hostile =
      for name <- names do
        spawn(fn -> for _call <- Stream.cycle([:ok]), do: list(class, name) end)
      end

    on_exit(fn -> for caller <- hostile, do: Process.exit(caller, :kill) end)
    eventually(fn -> match?({^most, waiting} when waiting > 0, Turns.count(:records, class)) end, 20_000)

    # Each look asks all processes of the VM, of which other tests may have very many.
    for _time <- 1..15 do
      # What is on one of the VM's threads for it, or waits for one. While it is looked at one after the other a turn may go from one to
      # another, so that both are counted: the fewest of some looks count.
      looks = for _look <- 1..3, do: Enum.count(Process.list(), &reads_for?(&1, actors))
      assert Enum.min(looks) <= most
      assert {:ok, reply} = list(other, "alice")
      assert read_list(reply) == [{"a", "1"}]
    end

    for caller <- hostile, do: Process.exit(caller, :kill)
    eventually(fn -> Turns.count(:records, class) == {0, 0} end, 20_000)
  end

  # A process that reads was started by the actor's.
  defp reads_for?(pid, actors) do
    case Process.info(pid, [:current_function, :parent]) do
      [current_function: {Native, :record_values, 6}, parent: parent] -> parent in actors
      _other -> false
    end
  end

  describe "of an actor with much memory" do
    setup do
      [class, other] = for _class <- 1..2, do: class!()
      large = String.duplicate("a", 1_000_000)
      for class <- [class, other], do: {:ok, "1"} = Actor.call(class, "alice", "write", large)
      {:ok, class: class, other: other}
    end

    test "an image is made in a turn of its namespace, and one of another namespace waits for none of these", %{
      class: class,
      other: other
    } do
      [holder | _others] = hold(:images, class)
      added = Task.async(fn -> Actor.call(class, "alice", "add", "1") end)
      waits!(:images, class)
      assert {:ok, "1"} = Actor.call(other, "alice", "add", "1")
      waits!(:images, class)
      Process.exit(holder, :kill)
      assert Task.await(added, 60_000) == {:ok, "1"}
    end

    test "no copy is left in memory without a turn, when others want its place", %{class: class, other: other} do
      holders = hold(:images, class)
      for class <- [class, other], do: send(Actor.where(class, "alice"), :tidepool_wanted)
      for class <- [class, other], do: eventually(fn -> Actor.where(class, "alice") == nil end, 20_000)
      assert {:ok, %{tier: :disk}} = Actor.info(class, "alice")
      assert {:ok, %{tier: :frozen}} = Actor.info(other, "alice")
      for holder <- holders, do: send(holder, :go_on)
      for class <- [class, other], do: assert({:ok, "1"} = Actor.call(class, "alice", "add", "1"))
    end
  end
end
