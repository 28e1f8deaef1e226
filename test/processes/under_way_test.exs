defmodule Tidepool.Processes.UnderWayTest do
  # What is on its way from a program's processes to those of another node, of nodes that are real ones.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.PuppetCluster

  alias Tidepool.{Peer, Puppets, Stage}
  alias Tidepool.Process.{Inbox, Remote, UnderWay}

  @moduletag :lunatic
  @patience 30_000

  # A process on `b` that is asleep whenever it is driven.
  defp sleeper!(stage, first, b) do
    {id, pid} = spawn_on!(stage, first, b)
    ask!(stage, pid, ?W, 3_600_000)
    {id, pid}
  end

  # Sends so many messages of 4 KiB, each with a tag.
  defp send_many!(stage, from, to, count), do: ask!(stage, from, ?!, to, Bitwise.bsl(count, 32) + 9)

  # Does it wait for an answer of another driver?
  defp state(stage, pid) do
    case Stage.run(stage, Process, :info, [pid, :current_function]) do
      nil -> :ended
      {:current_function, {Remote, :await_answers, _arity}} -> :waits
      _other -> :runs
    end
  end

  test "senders that have ended leave no more on the way to another node than their program may have, and it goes on when that is taken" do
    {[a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, receiver} = sleeper!(stage, first, b)
    {another, _pid} = sleeper!(stage, first, b)
    there = Stage.start(b)
    true = Stage.run(there, :erlang, :suspend_process, [receiver])

    # Each sends less than holds a sender, 60 KiB, and returns.
    ends? = fn to ->
      {_id, child} = Stage.run(stage, Puppets, :spawn, [first])
      send_many!(stage, child, to, 14)
      ask!(stage, child, ?R)
      eventually(fn -> state(stage, child) != :runs end, @patience)
      state(stage, child) == :ended
    end

    ended = id |> List.duplicate(60) |> Enum.take_while(ends?) |> length()
    # 1 MiB of them.
    assert ended in 15..19
    # Nobody else waits for that.
    assert ends?.(another)
    true = Stage.run(there, :erlang, :resume_process, [receiver])
    messages = fn -> Peer.call(b, Tidepool.Process, :known, [receiver]).message_queue end
    eventually(fn -> messages.() == 14 * (ended + 1) end, @patience)
    assert ends?.(id)
    Stage.run(stage, Process, :exit, [first, :kill])
    eventually(fn -> Peer.call(a, :ets, :info, [UnderWay, :size]) == 0 end, @patience)
  end

  test "a process that waits for room on another node takes what it is told of links meanwhile" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, receiver} = sleeper!(stage, first, b)
    {_id, other} = spawn_on!(stage, first, b)
    there = Stage.start(b)
    true = Stage.run(there, :erlang, :suspend_process, [receiver])
    send_many!(stage, first, id, 40)
    eventually(fn -> state(stage, first) == :waits end, @patience)
    for _time <- 1..300, do: assert(tell!(stage, other, ?U, 1) == 0)
    untaken = fn -> Stage.run(stage, Process, :info, [first, :message_queue_len]) end
    eventually(fn -> untaken.() == {:message_queue_len, 0} end, @patience)
    assert state(stage, first) == :waits
    true = Stage.run(there, :erlang, :resume_process, [receiver])
    assert hear!(stage) == {first, {:done, 0}}
  end

  test "a process that is told of deaths is told of both when it links one again that has died before it was told of that" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    assert tell!(stage, first, ?D, 0) == 0
    {id, pid} = spawn_on!(stage, first, b)
    assert tell!(stage, first, ?L, id, 5) == 0
    true = Stage.run(stage, :erlang, :suspend_process, [first])
    ask!(stage, first, ?L, id, 6)
    # More than a process takes at one step to its host.
    for _number <- 1..20, do: Stage.run(stage, Kernel, :send, [first, :nothing])
    Peer.call(b, Process, :exit, [pid, :kill])
    waiting = fn -> Stage.run(stage, Process, :info, [first, :message_queue_len]) end
    eventually(fn -> waiting.() == {:message_queue_len, 22} end, @patience)
    true = Stage.run(stage, :erlang, :resume_process, [first])
    said = for _time <- 1..3, do: hear!(stage)
    assert for({_first, {:link_died, tag}} <- said, do: tag) == [5, 6]
    assert tell!(stage, first, ?P, 1) == 1
  end

  test "one that waits for room on another node, and ends, waits there no more" do
    {[_a, b], stage} = cluster!(2)
    first = begin!(stage)
    {id, receiver} = sleeper!(stage, first, b)
    {_id, flooder} = spawn_on!(stage, first, b)
    ask!(stage, flooder, ?X, id, 40_000)
    bytes = fn -> Peer.call(b, Tidepool.Process, :known, [receiver]).message_bytes end
    eventually(fn -> bytes.() > 64 * 1_048_576 - 8_192 end, @patience)
    Peer.call(b, Process, :exit, [flooder, :kill])

    children = for _number <- 1..5, do: Stage.run(stage, Puppets, :spawn, [first])
    for {_id, child} <- children, do: send_many!(stage, child, id, 40)
    waiting = fn -> Peer.call(b, Process, :info, [receiver, :monitors]) |> elem(1) |> length() end
    eventually(fn -> waiting.() == 5 end, @patience)
    for {_id, child} <- children, do: Stage.run(stage, Process, :exit, [child, :kill])
    dictionary = fn -> Peer.call(b, Process, :info, [receiver, :dictionary]) |> elem(1) end
    eventually(fn -> not List.keymember?(dictionary.(), {Inbox, :waiting}, 0) end, @patience)
    assert waiting.() == 0
  end
end
