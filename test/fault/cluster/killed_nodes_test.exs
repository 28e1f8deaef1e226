defmodule Tidepool.Fault.Cluster.KilledNodesTest do
  # Not async: a node killed at a moment that the processor decides is killed at a random one.
  use Tidepool.Case

  @moduletag :slow

  import Tidepool.TestCluster

  alias Tidepool.Peer

  @changes 200
  @names for index <- 1..12, do: "f#{index}"
  # One change of so many meets a kill.
  @every 12
  @longest_wait_ms 40

  for nodes <- [3, 5] do
    test "nodes, #{nodes} of them, killed with SIGKILL during #{@changes} random deploys and removals lose nothing and bring nothing back" do
      # Printed by ExUnit at the end; `mix test --seed` brings the same changes back.
      :rand.seed(:exsss, ExUnit.configuration()[:seed])
      assert_survives_kills(start!(unquote(nodes)))
    end
  end

  defp assert_survives_kills(peers) do
    seeds = Enum.map(peers, & &1.node)
    expected = Map.new(@names, &{&1, [:removed]})

    {peers, expected} =
      Enum.reduce(1..@changes, {peers, expected}, fn turn, {peers, expected} ->
        name = Enum.random(@names)
        change = if :rand.uniform(4) == 1, do: :removed, else: turn
        peer = Enum.random(peers)

        if rem(turn, @every) == 0 do
          killed = Enum.random(peers)
          outcome = change_during_kill(peer, name, change, killed)
          restarted = restart!(killed, seeds -- [killed.node])
          peers = Enum.map(peers, &if(&1.node == killed.node, do: restarted, else: &1))
          {peers, expect(expected, name, change, outcome)}
        else
          {peers, expect(expected, name, change, change(peer, name, change))}
        end
      end)

    assert_converged(peers, expected)
  end

  # Where the answer got lost with its node, the change may have been made or not.
  defp change_during_kill(peer, name, change, killed) do
    task = Task.async(fn -> change(peer, name, change) end)

    receive do
    after
      :rand.uniform(@longest_wait_ms) -> Peer.halt(killed)
    end

    Task.await(task, 60_000)
  end

  defp change(peer, name, :removed) do
    case remove(peer, name) do
      :ok -> :done
      # Another node has it, and this one has not heard of it yet.
      {:error, %{reason: :not_deployed}} -> :refused
    end
  catch
    :exit, _node_gone -> :unknown
  end

  defp change(peer, name, version) do
    assert {:ok, %{name: ^name}} = deploy(peer, name, version)
    :done
  catch
    :exit, _node_gone -> :unknown
  end

  defp expect(expected, name, change, :done), do: Map.put(expected, name, [change])
  defp expect(expected, name, change, :unknown), do: Map.update!(expected, name, &[change | &1])
  defp expect(expected, _name, _change, :refused), do: expected
end
