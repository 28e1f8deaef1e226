defmodule Tidepool.Fault.ChatKillsTest do
  # examples/chat. Not async: a node killed at a moment that the processor decides is killed at a random one.
  use Tidepool.Case

  alias Tidepool.{Actor, ActorLoad, Peer}

  @rooms 4
  @kills 3
  @longest_wait_ms 400

  test "what was said in a room, and answered, is there when its node was killed with SIGKILL, in order and once" do
    :rand.seed(:exsss, ExUnit.configuration()[:seed])
    data = tmp_folder!()
    diary = Path.join(data, "diary")
    wasm = guest("rust", "room")

    answered =
      for turn <- 1..@kills, reduce: ActorLoad.none() do
        answered ->
          peer = start!(data, wasm)
          File.write!(diary, "")
          os_pid = Peer.call(peer, System, :pid, [])
          Peer.call(peer, ActorLoad, :start, ["room", @rooms, turn, diary, "say"])
          # When there is something to lose.
          eventually(fn -> File.stat!(diary).size > 0 end, 20_000)
          Peer.kill_after!(peer, os_pid, :rand.uniform(@longest_wait_ms))
          ActorLoad.read(answered, diary)
      end

    peer = start!(data, wasm)
    for room <- 1..@rooms, do: assert_kept(peer, "#{room}", answered)
    # A new version of the guest has all of it.
    {:ok, _function} =
      Peer.call(peer, Tidepool, :deploy, [wasm <> <<0, 2, 1, "v">>, [name: "room", actor: [versions: :kv]]])

    for room <- 1..@rooms, do: assert_kept(peer, "#{room}", answered)
    Peer.halt(peer)
  end

  defp assert_kept(peer, room, answered) do
    lines = history(peer, room)
    assert [] == ActorLoad.of(answered, room) -- lines, "answers were lost"
    assert lines == ActorLoad.in_order(lines)
    assert lines == Enum.uniq(lines), "something was said twice"
  end

  test "a room forgets all but its last messages when its alarm comes" do
    class = deploy!("rust", "room", actor: true)
    for number <- 1..105, do: assert({:ok, "#{number}"} == Actor.call(class, "lobby", "say", "Ada: #{number}"))
    {:ok, %{alarm: %{operation: "forget", due: due}}} = Actor.info(class, "lobby")
    assert {:ok, ""} = Actor.ring(class, "lobby", due)
    {:ok, history} = Actor.call(class, "lobby", "history", "0")
    assert ["6 Ada: 6" | _later] = lines = String.split(history, "\n")
    assert length(lines) == 100
    assert {:ok, "106"} = Actor.call(class, "lobby", "say", "Ada: more")
  end

  defp start!(data, wasm) do
    peer = Peer.start!(data: data)
    {:ok, _function} = Peer.call(peer, Tidepool, :deploy, [wasm, [name: "room", actor: [versions: :kv]]])
    peer
  end

  # Its lines, a part at a time.
  defp history(peer, room, after_number \\ "0") do
    case Peer.call(peer, Actor, :call, ["room", room, "history", after_number]) do
      {:ok, ""} ->
        []

      {:ok, part} ->
        part = for line <- String.split(part, "\n"), do: String.split(line, " ")
        Enum.map(part, &List.last/1) ++ history(peer, room, part |> List.last() |> hd())
    end
  end
end
