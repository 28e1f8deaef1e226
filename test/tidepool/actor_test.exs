defmodule Tidepool.ActorTest do
  # Actors on one node: what they keep, what becomes of calls that end badly, and who is told what.
  use Tidepool.Case, async: true

  alias Tidepool.{Actor, Error, Peer}

  setup do
    {:ok, class: deploy!("rust", "ledger", actor: true)}
  end

  defp class!(options), do: deploy!("rust", "ledger", options)

  # Ends its process, as nothing that is wanted does.
  defp kill(class, name) do
    pid = Actor.where(class, name)
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    eventually(fn -> Actor.where(class, name) == nil end)
  end

  describe "an actor" do
    test "keeps what it has in memory from call to call, and has nothing of others", %{class: class} do
      assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")
      assert {:ok, "5"} = Actor.call(class, "bob", "add", "5")
      assert {:ok, "3"} = Actor.call(class, "alice", "add", "2")
      assert {:ok, "5"} = Actor.call(class, "bob", "sum")
    end

    test "is what it was after it slept", %{class: class} do
      assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")
      text = String.duplicate("tide", 100_000)
      assert {:ok, "1"} = Actor.call(class, "alice", "write", text)
      assert :ok = Actor.stop(class, "alice")
      assert Actor.where(class, "alice") == nil
      assert {:ok, %{awake: false, writes: 2}} = Actor.info(class, "alice")
      assert {:ok, "3"} = Actor.call(class, "alice", "add", "2")
      assert {:ok, ^text} = Actor.call(class, "alice", "read")
    end

    test "goes to sleep when nobody has called for its idle time, and has no process then" do
      class = class!(actor: [idle: 20])
      assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")
      eventually(fn -> Actor.where(class, "alice") == nil end)
      assert {:ok, "2"} = Actor.call(class, "alice", "add", "1")
    end

    test "that is looked at all the time goes to sleep as one that is not" do
      class = class!(actor: [idle: 50])
      assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")
      eventually(fn -> match?({:ok, %{awake: false}}, Actor.info(class, "alice")) end)
    end

    test "that falls asleep all the time loses no call" do
      class = class!(actor: [idle: 1])

      callers =
        for _caller <- 1..4 do
          Task.async(fn ->
            for _call <- 1..100 do
              if :rand.uniform(3) == 1, do: Process.sleep(:rand.uniform(3))
              {:ok, _sum} = Actor.call(class, "alice", "add", "1")
            end
          end)
        end

      Task.await_many(callers, 60_000)
      assert {:ok, "400"} = Actor.call(class, "alice", "sum")
    end

    test "is there once, however many call it first", %{class: class} do
      callers = for _caller <- 1..50, do: Task.async(fn -> Actor.call(class, "new", "add", "1") end)
      sums = for {:ok, sum} <- Task.await_many(callers, 60_000), do: String.to_integer(sum)
      assert Enum.sort(sums) == Enum.to_list(1..50)
    end

    test "serves the calls of one caller in their order", %{class: class} do
      for number <- 1..200, do: :ok = Actor.cast(class, "alice", "write", "#{number}")
      assert {:ok, lines} = Actor.call(class, "alice", "read")
      assert lines == Enum.join(1..200, "\n")
    end

    test "that is killed is what its answered calls made it", %{class: class} do
      assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")
      kill(class, "alice")
      assert {:ok, "2"} = Actor.call(class, "alice", "add", "1")
    end

    test "is gone with all that it knew when it is deleted, awake or asleep", %{class: class} do
      for sleep? <- [false, true] do
        assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")
        if sleep?, do: :ok = Actor.stop(class, "alice")
        assert :ok = Actor.delete(class, "alice")
        assert {:error, %Error{reason: :unknown_actor}} = Actor.info(class, "alice")
        assert {:error, %Error{reason: :unknown_actor}} = Actor.delete(class, "alice")
        assert {:error, %Error{reason: :unknown_actor}} = Actor.call(class, "alice", "sum", "", create: false)
      end
    end

    test "can be made, or woken, without a call, and is shown with its bytes and where it is", %{class: class} do
      assert {:error, %Error{reason: :unknown_actor}} = Actor.start(class, "alice", create: false)
      assert :ok = Actor.start(class, "alice")

      assert {:ok, %{awake: true, tier: :live, writes: 1, calls: 0, alarm: nil, value_bytes: 0}} =
               Actor.info(class, "alice")

      kill(class, "alice")
      assert {:ok, %{awake: false, tier: :disk, writes: 1, bytes: made}} = Actor.info(class, "alice")
      assert :ok = Actor.start(class, "alice", create: false)
      assert {:ok, "1"} = Actor.call(class, "alice", "add", "1", create: false)
      assert :ok = Actor.start(class, "alice")
      {:ok, %{awake: true, writes: 2, bytes: bytes}} = Actor.info(class, "alice")
      :ok = Actor.stop(class, "alice")
      assert {:ok, %{bytes: ^bytes}} = Actor.info(class, "alice")
      assert bytes > made
      assert {:ok, [%{name: "alice", bytes: ^bytes}], nil} = Actor.list(class)
      assert {:error, %Error{reason: :not_deployed}} = Actor.start("nowhere", "alice")
      assert_raise ArgumentError, fn -> Actor.start(class, "alice", colour: 1) end
    end

    test "is in the list of its class, a part at a time", %{class: class} do
      names = for number <- 1..25, do: "name #{number}/é"
      for name <- names, do: {:ok, "1"} = Actor.call(class, name, "add", "1")
      :ok = Actor.stop(class, hd(names))
      listed = listed(class, nil)
      assert Enum.sort(names) == listed |> Enum.map(& &1.name) |> Enum.sort()
      assert [%{awake: false, writes: 1}] = Enum.filter(listed, &(&1.name == hd(names)))
      assert Enum.count(listed, & &1.awake) == 24
    end

    defp listed(class, from) do
      {:ok, actors, next} = Actor.list(class, from, 10)
      assert length(actors) <= 10
      if next, do: actors ++ listed(class, next), else: actors
    end
  end

  describe "a call that ends badly" do
    test "by a trap or a limit leaves the actor as it was before", %{class: class} do
      slow = class!(actor: true, limits: [cpu_time: 20])

      for {class, operation, reason} <- [
            {class, "add_and_trap", {:trap, :unreachable}},
            {slow, "add_and_spin", {:limit, :cpu_time}}
          ] do
        assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")

        # Its process, which has no instance any more, tells of that for a second.
        told = fn ->
          assert {:error, %Error{reason: ^reason}} = Actor.call(class, "alice", operation, "10")
          assert {:ok, %{last_error: %{reason: word}}} = Actor.info(class, "alice")
          word
        end

        assert eventually(told) == Error.reason(%Error{reason: reason, message: "", function: nil})
        assert {:ok, "2"} = Actor.call(class, "alice", "add", "1")
      end
    end

    test "as the first one leaves no actor", %{class: class} do
      assert {:error, %Error{reason: {:trap, :unreachable}}} = Actor.call(class, "alice", "add_and_trap", "10")
      :ok = Actor.stop(class, "alice")
      assert {:error, %Error{reason: :unknown_actor}} = Actor.info(class, "alice")
    end

    test "as the guest itself says keeps what it has changed", %{class: class} do
      assert {:error, %Error{reason: :guest_error}} = Actor.call(class, "alice", "add_and_fail", "10")
      kill(class, "alice")
      assert {:ok, "10"} = Actor.call(class, "alice", "sum")
    end

    test "by its actor's end has an unknown outcome", %{class: class} do
      assert {:ok, "1"} = Actor.call(class, "alice", "add", "1")
      pid = Actor.where(class, "alice")
      :sys.suspend(pid)
      caller = Task.async(fn -> Actor.call(class, "alice", "add_and_spin", "1") end)
      eventually(fn -> waiting(class, "alice") == 1 end)
      :sys.resume(pid)
      eventually(fn -> waiting(class, "alice") == 0 end)
      kill(class, "alice")
      assert {:error, %Error{reason: :unknown_outcome}} = Task.await(caller, 60_000)
      assert {:ok, "1"} = Actor.call(class, "alice", "sum")
    end

    test "to one that was killed just before is served by another, whatever the registry knows of that" do
      peer = Peer.start!()
      on_peer = fn module, function, arguments -> Peer.call(peer, module, function, arguments) end
      {:ok, _class} = on_peer.(Tidepool, :deploy, [guest("rust", "ledger"), [name: "ledger", actor: true]])
      assert {:ok, "1"} = on_peer.(Actor, :call, ["ledger", "alice", "add", "1"])

      partitions = on_peer.(Supervisor, :which_children, [Tidepool.Actor.Registry])
      for {_id, partition, _type, _modules} <- partitions, do: :ok = on_peer.(:sys, :suspend, [partition])
      killed = on_peer.(Actor, :where, ["ledger", "alice"])
      true = on_peer.(Process, :exit, [killed, :kill])
      eventually(fn -> not on_peer.(Process, :alive?, [killed]) end)
      assert [{^killed, _queue}] = on_peer.(Registry, :lookup, [Tidepool.Actor.Registry, {"ledger", "alice"}])

      assert on_peer.(Actor, :where, ["ledger", "alice"]) == nil
      assert {:ok, "2"} = on_peer.(Actor, :call, ["ledger", "alice", "add", "1"])
      assert {:ok, %{awake: true}} = on_peer.(Actor, :info, ["ledger", "alice"])
    end

    test "of a caller who has gone is served all the same", %{class: class} do
      {:ok, "0"} = Actor.call(class, "alice", "sum")
      :sys.suspend(Actor.where(class, "alice"))
      caller = spawn(fn -> Actor.call(class, "alice", "add", "1") end)
      eventually(fn -> waiting(class, "alice") == 1 end)
      Process.exit(caller, :kill)
      :sys.resume(Actor.where(class, "alice"))
      assert {:ok, "1"} = Actor.call(class, "alice", "sum")
    end
  end

  defp waiting(class, name) do
    [{_pid, line}] = Registry.lookup(Tidepool.Actor.Registry, {class, name})
    Actor.Activation.AdmissionQueue.waiting(line)
  end

  describe "a queue" do
    test "has a bound of calls and of bytes, and room again when they are served" do
      class = class!(actor: [queue: 3, queue_bytes: 1_000])
      {:ok, "0"} = Actor.call(class, "alice", "sum")
      pid = Actor.where(class, "alice")

      :sys.suspend(pid)
      for _call <- 1..3, do: :ok = Actor.cast(class, "alice", "add", "1")
      assert {:error, %Error{reason: :overloaded}} = Actor.cast(class, "alice", "add", "1")
      assert {:error, %Error{reason: :overloaded}} = Actor.call(class, "alice", "add", "1")
      :sys.resume(pid)
      eventually(fn -> {:ok, "3"} = Actor.call(class, "alice", "sum") end)

      :sys.suspend(pid)
      :ok = Actor.cast(class, "alice", "write", String.duplicate("a", 900))
      assert {:error, %Error{reason: :overloaded}} = Actor.cast(class, "alice", "write", String.duplicate("a", 200))
      :ok = Actor.cast(class, "alice", "add", "1")
      :sys.resume(pid)
      assert {:ok, "4"} = Actor.call(class, "alice", "sum")
      # One alone may have more.
      assert {:ok, "2"} = Actor.call(class, "alice", "write", String.duplicate("a", 2_000))
    end

    test "ends a call whose time is over before its turn comes", %{class: class} do
      {:ok, "0"} = Actor.call(class, "alice", "sum")
      :sys.suspend(Actor.where(class, "alice"))
      assert {:error, %Error{reason: :timeout}} = Actor.call(class, "alice", "add", "1", timeout: 10)
      :sys.resume(Actor.where(class, "alice"))
      assert {:ok, "0"} = Actor.call(class, "alice", "sum")
    end
  end

  describe "a request with an id" do
    test "is done once, and answered again after a kill and sleep", %{class: class} do
      add = fn -> Actor.call(class, "alice", "add", "1", request_id: "a") end
      assert {:ok, "1"} = add.()
      assert {:ok, "1"} = add.()
      kill(class, "alice")
      assert {:ok, "1"} = add.()
      :ok = Actor.stop(class, "alice")
      assert {:ok, "1"} = add.()
      assert {:ok, "2"} = Actor.call(class, "alice", "add", "1", request_id: "b")
      assert {:ok, "1"} = add.()
      assert {:ok, "2"} = Actor.call(class, "alice", "sum")
    end

    test "is forgotten when 64 others have come", %{class: class} do
      {:ok, "1"} = Actor.call(class, "alice", "add", "1", request_id: "first")
      for number <- 1..63, do: {:ok, _sum} = Actor.call(class, "alice", "add", "1", request_id: "#{number}")
      assert {:ok, "1"} = Actor.call(class, "alice", "add", "1", request_id: "first")
      {:ok, "65"} = Actor.call(class, "alice", "add", "1", request_id: "64")
      assert {:ok, "66"} = Actor.call(class, "alice", "add", "1", request_id: "first")
    end

    test "that failed may be asked again", %{class: class} do
      assert {:error, %Error{}} = Actor.call(class, "alice", "add_and_trap", "1", request_id: "a")
      assert {:error, %Error{}} = Actor.call(class, "alice", "add_and_fail", "1", request_id: "a")
      assert {:ok, "2"} = Actor.call(class, "alice", "add", "1", request_id: "a")
    end
  end

  describe "a new version of a class" do
    test "is for new actors: those that there are stay on the module that they began with", %{class: class} do
      {:ok, "1"} = Actor.call(class, "old", "add", "1")
      {:ok, %{version: 1, sha256: before}} = Actor.info(class, "old")
      {:ok, %{version: 2}} = Tidepool.deploy(guest("rust", "counter"), name: class, actor: true)
      assert {:ok, "2"} = Actor.call(class, "old", "add", "1")
      :ok = Actor.stop(class, "old")
      assert {:ok, "3"} = Actor.call(class, "old", "add", "1")
      assert {:ok, %{version: 1, sha256: ^before}} = Actor.info(class, "old")
      assert {:ok, "1"} = Actor.call(class, "new", "next")
      assert {:ok, %{version: 2}} = Actor.info(class, "new")
    end

    test "that is none any more, or is removed, has no calls; what is kept is found again", %{class: class} do
      {:ok, "1"} = Actor.call(class, "alice", "add", "1")
      {:ok, _function} = Tidepool.deploy(guest("rust", "ledger"), name: class)
      assert {:error, %Error{reason: :not_a_class}} = Actor.call(class, "alice", "sum")
      assert {:error, %Error{reason: :not_a_class}} = Actor.call(class, "bob", "sum")
      :ok = Tidepool.remove(class)
      assert {:error, %Error{reason: :not_deployed}} = Actor.call(class, "alice", "sum")
      {:ok, _function} = Tidepool.deploy(guest("rust", "ledger"), name: class, actor: true)
      assert {:ok, "1"} = Actor.call(class, "alice", "sum")
    end
  end

  describe "guests" do
    test "call actors, and a circle of them is refused at once", %{class: class} do
      :ok = Actor.Activation.Guest.register([:actor])
      assert {:ok, "7"} = Actor.call(class, "alice", "ask", "#{class}/bob/add\n7")
      assert {:ok, "7"} = Actor.call(class, "bob", "sum")

      chain = "#{class}/bob/ask\n#{class}/room/5/ask\n#{class}/alice/sum"
      assert {:error, %Error{reason: :guest_error, message: message}} = Actor.call(class, "alice", "ask", chain)
      assert message =~ "#{class}/alice → #{class}/bob → #{class}/room/5 → #{class}/alice"
      assert {:error, %Error{message: message}} = Actor.call(class, "alice", "ask", "#{class}/alice/sum")
      assert message =~ "waits for this call"
    end
  end

  describe "a node that may be in a cluster" do
    test "has no actors, and says what to set" do
      peer = Peer.start!([cluster: true], name: Peer.name(), cookie: Peer.cookie())

      assert {:error, %Error{reason: :invalid_config, message: message}} =
               Peer.call(peer, Tidepool, :deploy, [guest("rust", "ledger"), [name: "ledger", actor: true]])

      assert message =~ "TIDEPOOL_ACTORS"

      assert {:error, %Error{reason: :no_store, message: message}} =
               Peer.call(peer, Actor, :call, ["ledger", "a", "sum"])

      assert message =~ "TIDEPOOL_CLUSTER=false"
    end
  end

  describe "arguments" do
    test "of another shape raise, and names that there can't be are refused", %{class: class} do
      for wrong <- [
            fn -> Actor.call(:class, "a", "sum") end,
            fn -> Actor.call(class, "a", :sum) end,
            fn -> Actor.call(class, "a", "sum", "", colour: 1) end,
            fn -> Actor.call(class, "a", "sum", "", request_id: "") end,
            fn -> Actor.cast(class, "a", "sum", "", timeout: -1) end
          ],
          do: assert_raise(ArgumentError, wrong)

      for class <- ["", <<255>>, "a/b/c"] do
        assert {:error, %Error{reason: :not_deployed}} = Actor.call(class, "a", "sum")
        assert {:error, %Error{reason: :not_deployed}} = Actor.info(class, "a")
        assert {:error, %Error{reason: :not_deployed}} = Actor.delete(class, "a")
        assert {:ok, [], nil} = Actor.list(class)
      end

      for name <- ["", "a\0", String.duplicate("a", 513), <<255>>, :alice] do
        assert {:error, %Error{reason: :invalid_option}} = Actor.call(class, name, "sum")
        assert {:error, %Error{reason: :invalid_option}} = Actor.info(class, name)
      end
    end
  end
end
