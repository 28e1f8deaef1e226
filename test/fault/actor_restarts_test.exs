defmodule Tidepool.Fault.ActorRestartsTest do
  # Not async: it kills what all actors of the node need.
  # What is told while nodes stop is here, too.
  use Tidepool.Case

  alias Tidepool.{Actor, Error, Peer}

  # As many as their supervisor starts again in 5 s.
  @needed [Tidepool.Actor.Journal, Tidepool.Actor.Registry, Tidepool.Actor.Servers]

  test "callers are told of it when what keeps actors is killed, and what was answered is there when that has been started again" do
    class = deploy!("rust", "ledger", actor: true)
    {:ok, "0"} = Actor.call(class, "alice", "sum")
    over = :atomics.new(1, [])
    callers = for number <- 1..4, do: Task.async(fn -> call(class, "#{number}", over, 0) end)

    for name <- @needed do
      pid = Process.whereis(name)
      Process.exit(pid, :kill)
      eventually(fn -> Process.whereis(name) not in [nil, pid] end)
      eventually(fn -> {:ok, _sum} = Actor.call(class, "alice", "add", "1") end)
    end

    :atomics.put(over, 1, 1)

    for {answered, number} <- Enum.with_index(Task.await_many(callers, 60_000), 1) do
      assert {:ok, sum} = Actor.call(class, "#{number}", "sum")
      assert String.to_integer(sum) >= answered
    end
  end

  # How many calls were answered. Whatever becomes of one, it is an answer or an error.
  defp call(class, name, over, answered) do
    outcomes = [
      Actor.call(class, name, "add", "1"),
      Actor.info(class, name),
      Actor.list(class),
      Actor.cast(class, name, "add", "0"),
      Actor.stop(class, name)
    ]

    for {:error, error} <- outcomes,
        do: assert(%Error{reason: reason} = error) && assert(reason in [:no_store, :unknown_outcome, :unknown_actor])

    answered = answered + if match?({:ok, _sum}, hd(outcomes)), do: 1, else: 0
    if :atomics.get(over, 1) == 1, do: answered, else: call(class, name, over, answered)
  end

  test "a call of a node that stops, or has stopped, is told so, and one that is started again answers" do
    alone = Peer.start!()
    Peer.deploy!(alone, "rust", "ledger", name: "ledger", actor: true)
    call = fn -> Peer.call(alone, Actor, :call, ["ledger", "alice", "add", "1"]) end
    eventually(fn -> match?({:ok, "1"}, call.()) end, 20_000)
    :ok = Peer.stop_application(alone)
    assert {:error, %Error{reason: :no_store, message: "the node stops" <> _more}} = call.()
    {:ok, _started} = Peer.start_application(alone)
    eventually(fn -> match?({:ok, "2"}, call.()) end, 20_000)
  end
end
