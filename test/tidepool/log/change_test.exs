defmodule Tidepool.Log.ChangeTest do
  # Clients that hang up while what they asked for is done: their processes are killed, as the edge does it.
  use Tidepool.Case, async: true

  alias Tidepool.{Audit, Catalog, FaultVersion, Peer, Telemetry}
  alias Tidepool.Log.Change

  test "a change returns what its function does, and crashes as that does" do
    assert Change.make(fn -> {:ok, 1} end) == {:ok, 1}
    assert catch_exit(Change.make(fn -> exit(:boom) end)) == :boom
  end

  # Of the catalog, stopped, with somebody's request in its queue; and that somebody is killed.
  defp killed_meanwhile(node, process, {module, function, arguments}) do
    pid = Peer.call(node, Process, :whereis, [process])
    :ok = Peer.call(node, :sys, :suspend, [pid])
    client = Peer.call(node, :erlang, :spawn, [module, function, arguments])
    eventually(fn -> match?({_, n} when n > 0, Peer.call(node, Process, :info, [pid, :message_queue_len])) end, 30_000)
    true = Peer.call(node, Process, :exit, [client, :kill])
    eventually(fn -> not Peer.call(node, Process, :alive?, [client]) end, 30_000)
    :ok = Peer.call(node, :sys, :resume, [pid])
  end

  defp noted(node),
    do: for(entry <- node |> Peer.call(Audit, :list, [nil, 100]) |> elem(0), do: {entry.action, entry.name})

  test "what is changed is noted, though nobody waits for the answer any more" do
    node = Peer.start!(token: "s3cret")
    {:ok, _function} = Peer.call(node, Tidepool, :deploy, [FaultVersion.module(1), [name: "f"]])
    killed_meanwhile(node, Catalog, {Catalog, :remove, ["f"]})
    eventually(fn -> {"remove", "f"} in noted(node) end, 30_000)
    assert Peer.call(node, Tidepool, :list, []) == []

    killed_meanwhile(node, Tidepool.Tokens, {Tidepool.Tokens, :make, [[name: "ci", scopes: ["read"]]]})
    eventually(fn -> {"token_made", "ci"} in noted(node) end, 30_000)
    killed_meanwhile(node, Tidepool.Tokens, {Tidepool.Tokens, :revoke, ["ci"]})
    eventually(fn -> {"token_revoked", "ci"} in noted(node) end, 30_000)
  end

  test "a deploy whose client hangs up when it is stored is noted" do
    name = "hung_up_#{System.unique_integer([:positive])}"
    on_exit(fn -> Tidepool.remove(name) end)

    # The first thing that whoever deploys does behind the commit is to tell those who listen.
    die = fn _event, _measurements, metadata, _config ->
      if metadata.function == name, do: Process.exit(self(), :kill)
    end

    :ok = Telemetry.attach(name, [[:tidepool, :deploy, :stop]], die)
    {pid, monitor} = spawn_monitor(fn -> Tidepool.deploy(FaultVersion.module(1), name: name) end)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    Telemetry.detach(name)
    assert {:ok, %{version: 1}} = Tidepool.fetch(name)
    assert {[%{action: "deploy", version: 1}], nil} = Audit.list(nil, 100, %{name: name})
  end
end
