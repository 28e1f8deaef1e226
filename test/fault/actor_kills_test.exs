defmodule Tidepool.Fault.ActorKillsTest do
  # Not async: a node killed at a moment that the processor decides is killed at a random one.
  use Tidepool.Case

  alias Tidepool.{Actor, ActorLoad, Peer}

  @kills 15
  @actors 20
  @longest_wait_ms 400

  test "a node killed with SIGKILL at random points has all that its actors have answered, in order, and what has an id once" do
    :rand.seed(:exsss, ExUnit.configuration()[:seed])
    data = tmp_folder!()
    diary = Path.join(data, "diary")
    {:ok, wasm} = File.read(guest_path("rust", "ledger"))

    answered =
      for turn <- 1..@kills, reduce: ActorLoad.none() do
        answered ->
          peer = Peer.start!(data: data)
          {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: "ledger", actor: [idle: 50]]])
          for actor <- 1..@actors, do: assert_kept(peer, "#{actor}", answered)
          File.write!(diary, "")
          os_pid = Peer.call(peer, System, :pid, [])
          Peer.call(peer, ActorLoad, :start, ["ledger", @actors, turn, diary])
          Peer.kill_after!(peer, os_pid, :rand.uniform(@longest_wait_ms))
          ActorLoad.read(answered, diary)
      end

    assert ActorLoad.count(answered) > @kills
    peer = Peer.start!(data: data)
    for actor <- 1..@actors, do: assert_kept(peer, "#{actor}", answered)
    Peer.halt(peer)
  end

  # What an actor has written is what it was asked to, in order: all that was answered, each once, and of the rest what it got to.
  defp assert_kept(peer, actor, answered) do
    case Peer.call(peer, Actor, :call, ["ledger", actor, "read", "", [create: false]]) do
      {:ok, text} ->
        lines = String.split(text, "\n", trim: true)
        assert lines == Enum.uniq(lines), "a request with an id was done twice"
        assert lines == ActorLoad.in_order(lines), "not in the order in which they were asked"
        assert [] == ActorLoad.of(answered, actor) -- lines, "answers were lost"

      {:error, %{reason: :unknown_actor}} ->
        assert [] == ActorLoad.of(answered, actor)
    end
  end
end
