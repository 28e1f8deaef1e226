defmodule Tidepool.ConsistencyChangeTest do
  # A class whose consistency is changed by deploys, on nodes that share a store: where they do, `:available` is as `:strict`.
  use Tidepool.Case, async: true

  @moduletag :slow

  alias Tidepool.{Actor, Histories, LogWatch, Peer, Postgres, TestCluster}

  @patience 60_000

  # Of what a module hands over to the next one the lines are no part.
  for {versions, kinds} <- [pin: ~w(counter register list), migrate: ~w(counter register)] do
    @actors for kind <- kinds, actor <- 1..6, do: "#{kind} #{actor}"

    test "actors are there once while their class is deployed strict and available in turn, with versions: #{versions}" do
      {postgres, url} = Postgres.start!()
      settings = [actors: {:postgres, url}, builtins: [:actor]]
      [one, two, three] = nodes = TestCluster.start!(3, settings)
      for peer <- nodes, do: Peer.call(peer, LogWatch, :collect, [])
      {:ok, there} = Agent.start_link(fn -> nodes end)
      peers = fn -> Agent.get(there, & &1) end
      assert {:ok, _function} = deploy(one, 0, unquote(versions))
      for peer <- nodes, do: eventually(fn -> Peer.call(peer, Tidepool, :list, []) != [] end, @patience)
      clients = Histories.start(8, "ledger", fn -> Enum.random(@actors) end, peers)
      deploys = Task.async(fn -> deploys(peers, 1, unquote(versions), 0) end)

      pause(3_000)
      Agent.update(there, &List.delete(&1, two))
      Peer.halt(two)
      pause(2_000)
      two = TestCluster.restart!(two, [one.node, three.node], settings)
      Peer.call(two, LogWatch, :collect, [])
      Agent.update(there, &[two | &1])
      pause(3_000)
      :ok = Postgres.tell(postgres, :stop)
      pause(1_000)
      :ok = Postgres.tell(postgres, :start)
      pause(3_000)
      :ok = Postgres.tell(postgres, :stop)
      pause(6_500)
      :ok = Postgres.tell(postgres, :start)
      pause(3_000)
      send(deploys.pid, :enough)
      assert Task.await(deploys, @patience) > 5

      for peer <- [one, two, three], actor <- @actors do
        eventually(
          fn -> {:ok, _sum} = Peer.call(peer, Actor, :call, ["ledger", actor, "sum", "", [timeout: 5_000]]) end,
          @patience
        )
      end

      {seen, unexpected} = Histories.stop(clients)
      assert unexpected == []
      {linearizable?, said} = Histories.check(seen)
      assert linearizable?, said
      assert Enum.count(seen, & &1.answered) > 50

      # No process has crashed but actors that were ended with a lease.
      for peer <- [one, two, three],
          {level, text} <- Peer.call(peer, LogWatch, :collected, []),
          level in [:error, :critical] and text =~ ~r/terminat|crash/,
          do: assert(text =~ "Tidepool.Actor.Activation.Server" and text =~ "killed", text)
    end
  end

  defp deploys(peers, number, versions, done) do
    receive do
      :enough -> done
    after
      500 ->
        ok? =
          try do
            match?({:ok, _function}, deploy(Enum.random(peers.()), number, versions))
          catch
            # The node is killed meanwhile.
            :exit, _gone -> false
          end

        deploys(peers, number + 1, versions, if(ok?, do: done + 1, else: done))
    end
  end

  defp deploy(peer, number, versions) do
    consistency = if rem(number, 2) == 0, do: :strict, else: :available
    wasm = guest("rust", "ledger")
    # Another module each second time.
    wasm = wasm <> <<0, 3, 2, "v#{rem(div(number, 2), 10)}">>
    Peer.call(peer, Tidepool, :deploy, [wasm, [name: "ledger", actor: [consistency: consistency, versions: versions]]])
  end

  defp pause(ms) do
    receive do
    after
      ms -> :ok
    end
  end

  test "a node that is started without the store that others share answers for no actor, and says why" do
    {_postgres, url} = Postgres.start!()
    settings = [actors: {:postgres, url}, builtins: [:actor]]
    [one, two] = TestCluster.start!(2, settings)
    {:ok, _function} = deploy(one, 1, :pin)
    eventually(fn -> Peer.call(two, Tidepool, :list, []) != [] end, @patience)
    eventually(fn -> {:ok, "5"} = Peer.call(one, Actor, :call, ["ledger", "actor", "add", "5"]) end, @patience)
    Peer.halt(two)
    two = TestCluster.restart!(two, [one.node], builtins: [:actor])
    Peer.call(two, LogWatch, :collect, [])

    told = fn ->
      Enum.any?(Peer.call(two, LogWatch, :collected, []), fn {_level, text} -> text =~ "share a store" end)
    end

    sum = fn -> Peer.call(two, Actor, :call, ["ledger", "actor", "sum", "", [timeout: 1_000]]) end
    # Until it knows what is deployed, and whether others answer, it waits for them.
    eventually(fn -> not match?({:error, %{reason: :no_store, message: "no node has" <> _more}}, sum.()) end, @patience)
    assert {:error, %{reason: :no_store, message: message}} = sum.()
    assert message =~ "TIDEPOOL_ACTORS"
    eventually(told, @patience)
    assert {:ok, "5"} = Peer.call(one, Actor, :call, ["ledger", "actor", "sum", ""])
    # Once nobody shares one any more, it has actors as any node without.
    Peer.halt(one)
    eventually(fn -> match?({:ok, "1"}, Peer.call(two, Actor, :call, ["ledger", "another", "add", "1"])) end, @patience)
  end
end
