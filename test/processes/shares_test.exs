defmodule Tidepool.Processes.SharesTest do
  # Processes that programs of one namespace ask another node for, beside those of another; the nodes are real ones.
  use Tidepool.Case, async: true

  @moduletag :slow

  import Tidepool.PuppetCluster

  alias Tidepool.Catalog.Arrivals
  alias Tidepool.Nodes.Requests
  alias Tidepool.{Peer, Puppets, Stage}
  alias Tidepool.Process.Remote

  @moduletag :lunatic
  # Half of the places that a node has for this, and of those in line.
  @making 16
  @waiting 256

  # What a node is asked for programs of a namespace.
  defp asked(peer, namespace),
    do: peer |> Peer.call(:sys, :get_state, [Remote.protocol().server]) |> Requests.of(namespace)

  # Asks as a program does whose module is not here: with what is to be started, and no guest that waits.
  defp ask_for!(stage, peer, first, name, times) do
    process = %{
      entry: "puppet",
      params: "",
      max_memory: 1,
      max_fuel: nil,
      may: {true, true, true},
      args: [],
      env: []
    }

    what = %{first: first, name: name, version: 1, sha256: String.duplicate("0", 64), parent: {1, first}}
    %{server: server, tag: tag, version: version} = Remote.protocol()
    question = {:spawn, Map.put(what, :process, process)}
    # At once: the first ones are not to be given up before the last one is sent.
    questions = for _time <- 1..times, do: {tag, version, stage.pid, make_ref(), question}
    Stage.run(stage, :lists, :zipwith, [&:erlang.send/2, List.duplicate({server, peer.node}, times), questions])
  end

  test "processes that programs of a namespace ask another node for leave others as many places, and are refused beyond theirs" do
    {[a, b], stage} = cluster!(2)
    Peer.deploy!(a, "lunatic", "puppet", name: "blog/puppet", wait: :all)
    # Each of these takes its place for as long as it is waited for a module that is on its way.
    :ok = Peer.call(b, Arrivals, :coming, ["shop/late", 600_000])
    asker = Stage.start(a)
    first = begin!(stage)
    ask_for!(asker, b, first, "shop/late", @making + @waiting + 3)

    for _refused <- 1..3 do
      assert {:tidepool_process, _ref, {:error, 1, text}} = Stage.run(asker, Stage, :next, [])
      assert text =~ "more processes at once than it makes"
    end

    assert asked(b, "shop") == %{held: @making, waiting: @waiting, bytes: 0}
    other = Stage.run(stage, Puppets, :begin, ["blog/puppet", []])
    assert {_id, pid} = spawn_on!(stage, other, b)
    assert node(pid) == b.node
    assert asked(b, "shop").waiting > 0
  end
end
