defmodule Tidepool.Cluster.Gossip.MembershipTest do
  # Single machines; what they come to together is in simulation_test.exs.
  use ExUnit.Case, async: true

  alias Tidepool.Cluster.Gossip.Membership

  defp new(options), do: Membership.new("me@host", Keyword.merge([seed: 1, active_size: 3], options))

  defp with_peers(peers, options \\ []) do
    Enum.reduce(peers, new(options), fn peer, state ->
      {state, _effects} = all(state, [{:up, peer}, {:message, peer, {:neighbor, :high}}])
      state
    end)
  end

  defp all(state, events) do
    Enum.reduce(events, {state, []}, fn event, {state, effects} ->
      {state, more} = Membership.handle(state, event)
      {state, effects ++ more}
    end)
  end

  defp ticks(state, count), do: all(state, List.duplicate(:tick, count))

  test "a node that joins a full view takes a random peer's place, and is told of to the others" do
    state = with_peers(~w(a@host b@host c@host))
    {state, effects} = all(state, [{:up, "d@host"}, {:message, "d@host", :join}])

    assert [out] = for({:send, peer, :disconnect} <- effects, do: peer)
    assert Enum.sort(Membership.active(state)) == Enum.sort(~w(a@host b@host c@host d@host) -- [out])
    assert Membership.passive(state) == [out]
    assert {:send, "d@host", {:neighbor_reply, true}} in effects
    told = for {:send, peer, {:forward_join, "d@host", _ttl}} <- effects, do: peer
    assert Enum.sort(told) == Enum.sort(Membership.active(state) -- ["d@host"])
  end

  test "a full view refuses a request of low priority, and grants one of high" do
    state = with_peers(~w(a@host b@host c@host))
    {state, _effects} = Membership.handle(state, {:up, "d@host"})
    {state, effects} = Membership.handle(state, {:message, "d@host", {:neighbor, :low}})
    assert effects == [{:send, "d@host", {:neighbor_reply, false}}]
    {state, effects} = Membership.handle(state, {:message, "d@host", {:neighbor, :high}})
    assert {:send, "d@host", {:neighbor_reply, true}} in effects
    assert Membership.active?(state, "d@host")
    assert length(Membership.active(state)) == 3
  end

  test "a forwarded join goes on from one full view to the next, and half-way is kept for when there is room" do
    for {ttl, heard} <- [{6, []}, {4, []}, {3, ["d@host"]}, {2, []}] do
      state = with_peers(~w(a@host b@host c@host))
      {state, effects} = Membership.handle(state, {:message, "a@host", {:forward_join, "d@host", ttl}})
      assert [{:send, next, {:forward_join, "d@host", left}}] = effects
      assert left == ttl - 1 and next in ~w(b@host c@host)
      assert Membership.passive(state) == heard
    end

    # At its end a full view takes it all the same.
    state = with_peers(~w(a@host b@host c@host))
    assert {_state, [connect: "d@host"]} = Membership.handle(state, {:message, "a@host", {:forward_join, "d@host", 0}})
  end

  test "who is told to disconnect drops the link, for it has read what was sent before, and takes another peer" do
    state = with_peers(~w(a@host b@host))
    {state, _effects} = Membership.handle(state, {:message, "a@host", {:shuffle_reply, [], ["x@host"]}})
    {state, effects} = Membership.handle(state, {:message, "a@host", :disconnect})
    assert [{:disconnect, "a@host"}, {:connect, "x@host"}] = effects
    refute Membership.active?(state, "a@host")
  end

  test "who is told to disconnect takes another peer at once, however patient refusals had made it, and knows the lost one" do
    state = with_peers(~w(a@host b@host))
    {state, _effects} = Membership.handle(state, {:message, "a@host", {:shuffle_reply, [], ["x@host"]}})

    # Nobody has room: it asks less and less often.
    {state, _effects} = Membership.handle(state, {:up, "x@host"})
    refused = [:tick, {:message, "x@host", {:neighbor_reply, false}}]
    {state, _effects} = Enum.reduce(1..10, {state, []}, fn _time, {state, _effects} -> all(state, refused) end)

    {state, effects} = Membership.handle(state, {:message, "a@host", :disconnect})
    assert Enum.sort(effects) == [{:disconnect, "a@host"}, {:send, "x@host", {:neighbor, :low}}]
    assert "a@host" in Membership.passive(state)
  end

  test "a peer that was told to disconnect and does not is disconnected after a while" do
    state = with_peers(~w(a@host b@host c@host d@host))
    [out] = Membership.passive(state)
    {state, effects} = ticks(state, 5)
    refute {:disconnect, out} in effects
    {_state, effects} = ticks(state, 30)
    assert {:disconnect, out} in effects
  end

  test "a lost peer is replaced at once by one that was heard of" do
    state = with_peers(~w(a@host b@host c@host))
    {state, _effects} = Membership.handle(state, {:message, "a@host", {:shuffle_reply, [], ["x@host"]}})
    {state, effects} = Membership.handle(state, {:down, "a@host"})
    assert effects == [{:connect, "x@host"}]
    {state, effects} = Membership.handle(state, {:up, "x@host"})
    assert effects == [{:send, "x@host", {:neighbor, :low}}]
    {state, []} = Membership.handle(state, {:message, "x@host", {:neighbor_reply, true}})
    assert Membership.active?(state, "x@host")
  end

  test "nodes that are lost are tried for ever, with pauses that grow to a limit and are random" do
    for {live, longest} <- [{1, 4}, {100, 100}] do
      {state, _effects} =
        Membership.handle(with_peers(["a@host"]), {:lost, ["gone@host"], for(n <- 1..live, do: "n#{n}@host")})

      {_state, tried} =
        Enum.reduce(1..5_000, {state, []}, fn tick, {state, tried} ->
          {state, effects} = Membership.handle(state, :tick)
          {state, failed} = all(state, for({:connect, peer} <- effects, do: {:failed, peer}))
          assert failed == [] or live > 1
          {state, if({:connect, "gone@host"} in effects, do: [tick | tried], else: tried)}
        end)

      pauses = tried |> Enum.zip(tl(tried)) |> Enum.map(fn {later, before} -> later - before end)
      assert length(Enum.uniq(pauses)) > 3
      assert Enum.max(pauses) <= 1.5 * longest + 1
      # The last ones as often as the limit says.
      assert hd(tried) > 5_000 - 2 * longest
      assert_in_delta Enum.sum(Enum.take(pauses, 20)) / 20, longest, longest * 0.4
    end
  end

  test "a shuffle's answer goes back on the path that it came" do
    state = with_peers(["a@host"])

    {state, effects} =
      Membership.handle(state, {:message, "a@host", {:shuffle, ["b@host", "o@host"], 0, ["x@host", "y@host"]}})

    assert [{:send, "b@host", {:shuffle_reply, ["o@host"], _sample}}] = effects
    assert Enum.sort(Membership.passive(state)) == ["x@host", "y@host"]

    {_state, effects} =
      Membership.handle(state, {:message, "b@host", {:shuffle_reply, ["a@host", "o@host"], ["z@host"]}})

    assert effects == [{:send, "a@host", {:shuffle_reply, ["o@host"], ["z@host"]}}]
  end

  test "a peer of which only one side knows is taken or told so at its next digest" do
    state = with_peers(["a@host", "b@host"])
    {state, effects} = Membership.handle(state, {:contact, "c@host"})
    assert effects == [{:send, "c@host", {:neighbor_reply, true}}]
    assert {_state, [{:send, "d@host", :disconnect}]} = Membership.handle(state, {:contact, "d@host"})
  end

  test "the node itself and its active peers are in no passive view, and that is bounded" do
    state = with_peers(["a@host"], passive_size: 5)
    sample = ["me@host", "a@host" | for(n <- 1..50, do: "n#{n}@host")]
    {state, _effects} = Membership.handle(state, {:message, "a@host", {:shuffle_reply, [], sample}})
    assert length(Membership.passive(state)) == 5
    assert "me@host" not in Membership.passive(state) and "a@host" not in Membership.passive(state)
  end
end
