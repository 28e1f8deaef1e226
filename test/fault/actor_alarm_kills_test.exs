defmodule Tidepool.Fault.ActorAlarmKillsTest do
  # Not async: a node killed at a moment that the processor decides is killed at a random one.
  use Tidepool.Case

  alias Tidepool.{Actor, Peer}

  import Tidepool.ActorScript

  @actors 50

  test "alarms that were answered for are called after the node was killed, and nothing else is woken" do
    data = tmp_folder!()
    wasm = guest("rust", "ledger")
    peer = Peer.start!(data: data)
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: "ledger", actor: true]])
    Peer.call(peer, Actor, :call, ["ledger", "asleep", "add", "1"])

    # Due when it is down, and some only after it is up again.
    set =
      for number <- 1..@actors do
        {:ok, at} =
          Peer.call(peer, Actor, :call, [
            "ledger",
            "#{number}",
            "host",
            ask("alarm", "set", "+#{300 + 60 * number}\nadd")
          ])

        {"#{number}", at}
      end

    Peer.kill_after!(peer, Peer.call(peer, System, :pid, []), 0)
    peer = Peer.start!(data: data)

    for {name, at} <- set do
      eventually(fn -> match?({:ok, %{alarm: nil}}, Peer.call(peer, Actor, :info, ["ledger", name])) end, 20_000)
      assert {:ok, ^at} = Peer.call(peer, Actor, :call, ["ledger", name, "sum"])
    end

    assert {:ok, %{awake: false}} = Peer.call(peer, Actor, :info, ["ledger", "asleep"])
    Peer.halt(peer)
  end
end
