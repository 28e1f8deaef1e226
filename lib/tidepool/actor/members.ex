defmodule Tidepool.Actor.Members do
  @moduledoc """
  The nodes that keep actors together (`Tidepool.Actor.Voter`): who they are, and how one is added, removed, or replaced when its folder is
  lost. Any of them can be asked, and asks the one that leads.
  """

  alias Tidepool.{Config, Error, Native}
  alias Tidepool.Actor.{Journal, Voter}
  alias Tidepool.Actor.Ownership.{Handover, LeaseHolder}

  # How long it may take until the members are told, and until they have changed: a node that is added has to have all.
  @tell_ms 10_000
  @change_ms 600_000
  @late_ms 5_000

  @typedoc """
  `votes` says whether it is a voter, or is about to be one; `leads` whether it is asked first; `answers` whether it is there; `lacks` is how many
  entries of the log are not on its disk, `nil` until it has said so to the one that leads; `problem` what is wrong with it and what to do, in a
  sentence or two, by what it says itself or the one that leads has seen, `nil` when nothing is known to be.
  """
  @type member :: %{
          node: String.t(),
          votes: boolean,
          leads: boolean,
          answers: boolean,
          lacks: non_neg_integer | nil,
          problem: String.t() | nil
        }

  @type change :: :add | :remove | :replace

  @doc """
  The names of the members, as far as this node knows by itself: none before there is a group, and none of a node that waits to be added. `nil`
  when it is to keep no actors with others.
  """
  @spec known :: [String.t()] | nil
  def known do
    case {Voter.named(), Voter.voter()} do
      {[], _voter} -> nil
      {_named, {:ok, voter}} -> Native.voter_known(voter)
      {_named, :none} -> []
    end
  end

  @doc "The members, by their names. Errors have the reason `:no_store`, where none leads, or this node keeps no actors with others."
  @spec list :: {:ok, [member]} | {:error, Error.t()}
  def list do
    asked(&Native.voter_members(&1, @tell_ms), @tell_ms, &Error.new(:no_store, &1))
  end

  @doc """
  Changes the members; them, when they have changed. Asked for again it is the same change. One that is removed hands its actors over
  first, if it is there.

  Errors have the reason `:invalid_option` for what is no node's name; `:members_unchanged`, and say why; `:unknown_outcome` when no voter has said what has become of it, so that it is to
  be asked for again; or `:no_store`.
  """
  @spec change(change, node :: String.t()) :: {:ok, [member]} | {:error, Error.t()}
  def change(how, node) when how in [:add, :remove, :replace] do
    if Config.node_name?(node),
      do: changed(how, node),
      else: {:error, Error.new(:invalid_option, "a member is named by the full name of its node, as in d@10.0.0.4")}
  end

  # One that is replaced has no actors to hand over: its folder is another one than the member's, or all stays as it is.
  defp changed(:remove, node) do
    change = fn -> made(:remove, node) end
    if leaves?(list(), node), do: Handover.first(LeaseHolder.process(), node, change), else: change.()
  end

  defp changed(how, node), do: made(how, node)

  defp made(how, node), do: asked(&Native.voter_change(&1, how, node, @change_ms), @change_ms, &unknown/1)

  # Is it there, and a majority of the others? A change that will be refused has no actor moved.
  defp leaves?({:ok, members}, node) do
    others = for member <- members, member.votes and member.node != node, do: member.answers
    Enum.any?(members, &(&1.node == node and &1.answers)) and 2 * Enum.count(others, & &1) > length(others)
  end

  defp leaves?({:error, _error}, _node), do: false

  # The answer comes as a message.
  defp asked(ask, within_ms, lost) do
    case Voter.voter() do
      {:ok, voter} ->
        # A voter that ends answers no question.
        monitor = Process.monitor(Voter)
        id = ask.(voter)

        answer =
          receive do
            {:tidepool_members, ^id, answer} -> told(answer)
            {:DOWN, ^monitor, :process, _voter, _reason} -> {:error, lost.("the voter of this node has ended")}
          after
            within_ms + @late_ms -> {:error, lost.("no voter that leads has answered in time")}
          end

        Process.demonitor(monitor, [:flush])
        answer

      :none ->
        {:error,
         Error.new(
           :no_store,
           "this node keeps no actors with others, or can't open what it keeps: see its setting actors, and its log"
         )}
    end
  end

  defp told({:ok, rows}) do
    members =
      for {node, votes, leads, answers, lacks, problem} <- rows,
          do: %{node: node, votes: votes, leads: leads, answers: answers, lacks: lacks, problem: problem}

    {:ok, Enum.sort_by(members, & &1.node)}
  end

  defp told({:error, :members_unchanged, message}), do: {:error, Error.new(:members_unchanged, message)}
  defp told({:error, kind, message}), do: {:error, Journal.error(kind, message, nil)}

  defp unknown(why),
    do:
      Error.new(:unknown_outcome, "#{why}: the members may have changed, or not. Ask for them, or for the change again")
end
