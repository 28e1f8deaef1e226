defmodule Tidepool.Actor.Voter.Questions do
  @moduledoc """
  What voters of other nodes ask this node's (`Tidepool.Nodes.Server`): bytes, which `Tidepool.Native.voter_answer/3` reads. `:not_open` is
  the answer as long as this node's voter is not, and `:full` while that is for want of room on its disk.
  """

  @behaviour Tidepool.Nodes.Server

  alias Tidepool.Actor.Voter
  alias Tidepool.Actor.Voter.Speech
  alias Tidepool.Native

  # No voter waits for longer.
  @longest_ms 600_000

  @impl true
  defdelegate protocol, to: Speech

  # Those that are named are voters, whether this node knows of them otherwise by now or not.
  @impl true
  def more, do: Voter.named()

  @impl true
  def question?(question), do: is_binary(question)

  @impl true
  def answer(question, asker, deadline, _argument) do
    case Voter.voter() do
      {:ok, voter} -> answered(voter, question, asker, left(deadline))
      :none -> if Voter.without_room?(), do: :full, else: :not_open
    end
  end

  defp answered(voter, question, asker, left) do
    # It has no answers once its process has ended, and a process that has it open is in the way of the next one.
    monitor = Process.monitor(Voter)
    id = Native.voter_answer(voter, to_string(asker), question)

    receive do
      {:tidepool_answer, ^id, answer} -> answer
      {:DOWN, ^monitor, :process, _voter, _reason} -> :not_open
    after
      left -> :not_open
    end
  end

  defp left(:infinity), do: @longest_ms
  defp left(deadline), do: min(max(deadline - System.monotonic_time(:millisecond), 0), @longest_ms)
end
