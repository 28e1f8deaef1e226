defmodule Tidepool.Actor.HandoverTest do
  # What a node that is about to be no member does in which order, and who waits for it.
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Ownership.Handover

  test "a node hands its shards over before it gives its lease up, and has none until all who asked for that are done" do
    mark = :erlang.alias()
    asker = spawn(fn -> Process.sleep(:infinity) end)
    hands = Handover.asked(%Handover{}, asker, mark)
    assert Handover.under_way?(hands) and Handover.hands?(hands) and Handover.may_lease?(hands)
    gives_up = Handover.gives_up(hands)
    assert Handover.under_way?(gives_up)
    refute Handover.hands?(gives_up) or Handover.may_lease?(gives_up)
    refute_received {^mark, :handed_over}
    over = Handover.over(gives_up)
    assert_received {^mark, :handed_over}

    # Another who asks has nothing to wait for.
    late = :erlang.alias()
    both = Handover.asked(over, self(), late)
    assert_received {^late, :handed_over}
    one = Handover.ended(both, late)
    assert Handover.under_way?(one)
    refute Handover.may_lease?(one)

    # Who ends on the way has made no change.
    %{^mark => monitor} = one.askers
    Process.exit(asker, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^asker, :killed}
    back = Handover.ended(one, monitor)
    refute Handover.under_way?(back)
    assert Handover.may_lease?(back)
    assert {true, stays} = Handover.leased(back)
    assert {false, ^stays} = Handover.leased(stays)
    assert stays == %Handover{}
  end

  test "a lease that was given up late, when those who asked are gone, is asked for again" do
    mark = :erlang.alias()
    gone = %Handover{} |> Handover.asked(self(), mark) |> Handover.gives_up() |> Handover.ended(mark)
    assert Handover.may_lease?(gone)
    assert Handover.over(gone) == gone
    assert Handover.ended(gone, make_ref()) == gone
  end

  test "a node that stays after all is given its share again, whether that was heard or not" do
    leases = %{"a@host" => {7, 5_000}, "b@host" => {8, 5_000}}
    leaving = %{} |> Handover.leaves({"a@host", 7}, 0) |> Handover.leaves({"b@host", 7}, 0)
    # Another start of that node leaves no more.
    assert Map.keys(Handover.leave_still(leaving, leases, 1_000)) == [{"a@host", 7}]
    # While it leaves it says so again and again, and as one that ends it has no lease by then.
    again = Handover.leaves(leaving, {"a@host", 7}, 59_000)
    assert Map.keys(Handover.leave_still(again, leases, 60_000)) == [{"a@host", 7}]
    assert Handover.leave_still(again, %{}, 60_000) == %{}
    assert Handover.leave_still(leaving, leases, 60_000) == %{}
  end

  test "a change is made when the node has handed over, and the node is told when that was tried" do
    owner = :"handover #{System.unique_integer([:positive])}"
    Process.register(self(), owner)

    for {outcome, change} <- [made: fn -> :made end, failed: fn -> exit(:failed) end] do
      first = fn -> Handover.first(owner, to_string(node()), change) end

      {pid, monitor} = spawn_monitor(fn -> exit({:outcome, catch_exits(first)}) end)
      assert_receive {:tidepool_shards, _from, {:hand_over, ^pid, mark}}
      refute_received {:DOWN, ^monitor, :process, ^pid, _reason}
      send(mark, {mark, :handed_over})
      assert_receive {:DOWN, ^monitor, :process, ^pid, {:outcome, ^outcome}}
      assert_received {:tidepool_shards, _from, {:go_on, ^mark}}
    end
  end

  defp catch_exits(first) do
    first.()
  catch
    :exit, reason -> reason
  end

  test "a change is made at once when the node is not there, or has no shards of any store" do
    assert Handover.first(:no_owner, "none@nowhere", fn -> :made end) == :made
    assert Handover.first(:no_owner, to_string(node()), fn -> :made end) == :made
  end
end
