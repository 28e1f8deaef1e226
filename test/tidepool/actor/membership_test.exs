defmodule Tidepool.Actor.MembershipTest do
  # Nodes without a shared store, in virtual time. What fails is printed with its seed.
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Replication.Membership
  alias Tidepool.MembershipSimulation

  @source "lib/tidepool/actor/replication/membership.ex"
  @steps 3_000
  # Of seeds that are tried for a defect, when the one that is named finds it no more.
  @seeds 2_000

  # What is wrong, what is written in the source and what instead, and a seed that finds it.
  @defects [
    {"a node that has counted on one that is lost is synced", "synced == nil or synced -- ids != []",
     "synced == nil and ids != nil", 52},
    {"a node that has started anew is synced", "%{id: id, synced: nil, leaving?", "%{id: id, synced: [id], leaving?",
     299},
    {"a hello has no answer", "emit({:tell, name, :hello}) |> emit({:watch, name, id})", "emit({:watch, name, id})", 1},
    {"nobody is watched", "emit({:tell, name, :hello}) |> emit({:watch, name, id})", "emit({:tell, name, :hello})", 1},
    {"what was before is lost once more", "%{^name => %{id: ^id}} -> %{state | peers: Map.delete",
     "%{^name => %{id: _id}} when id != nil -> %{state | peers: Map.delete", 254},
    {"a round in which somebody came is told of", "if(changes == state.changes, do: ids)", "if(changes, do: ids)", 979},
    {"those who are left are not doubted",
     "%{state | peers: Map.delete(state.peers, name)} |> doubted() |> changed(view)",
     "%{state | peers: Map.delete(state.peers, name)} |> changed(view)", 850},
    {"those who are doubted are believed", "put_in(state.peers[name], %{peer | synced: nil}) |> ping(name)",
     "put_in(state.peers[name], peer) |> ping(name)", 219},
    {"what was said before somebody came is said again", "changes: state.changes + 1, said: nil}",
     "changes: state.changes + 1}", 1515},
    {"what was missed is not looked for", "others? and now >= (state.catches_up_at || now)", "others? and now < 0", 7},
    {"the table does not hear who is synced", "      emit(state, {:unsynced, unsynced(state)})\n    end",
     "      state\n    end", 1},
    {"the table does not hear who is synced no more", "state |> emit({:unsynced, unsynced(state)}) |> emit({:nodes",
     "state |> emit({:nodes", 8}
  ]

  test "no write that was answered is lost, nor is an actor activated without it, whatever nodes and links do" do
    for seed <- 1..Tidepool.Case.sample(500, 20_000) do
      assert {:ok, %{writes: writes, activated: activated}} = run(Membership, seed)
      assert writes > 0 and activated > 0
    end
  end

  test "the simulation finds defects of each kind" do
    source = File.read!(@source)

    for {{defect, right, wrong, seed}, number} <- Enum.with_index(@defects) do
      assert [before, behind] = String.split(source, right), "#{@source} has no such place once: #{right}"
      module = Module.concat(__MODULE__, "Defect#{number}")
      head = "defmodule #{inspect(Membership)} do"
      code = String.replace(before <> wrong <> behind, head, "defmodule #{inspect(module)} do")
      ExUnit.CaptureIO.capture_io(:stderr, fn -> Code.compile_string(code) end)

      assert Enum.any?([seed | Enum.to_list(1..@seeds)], &match?({:error, _why}, run(module, &1))),
             "not found: #{defect}"
    end
  end

  defp run(machine, seed), do: MembershipSimulation.run(machine: machine, seed: seed, steps: @steps)
end
