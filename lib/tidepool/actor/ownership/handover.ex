defmodule Tidepool.Actor.Ownership.Handover do
  @moduledoc """
  A node that is about to be no member of those that keep actors together hands its shards over first, as one does that is stopped: its actors
  serve who has come, are written, sleep, and wake elsewhere. Then it gives its lease up, and has none until the change is made, or is not:
  so no node can give it a shard meanwhile, and it can claim none.

  Who makes the change asks for that (`first/3`), of the process that owns the node's shards. This is a part of that one's state. A release
  before does not know the question, and is as one that does not answer.
  """

  require Logger

  alias Tidepool.Nodes

  # How long a node takes for all of its shards, as when it ends.
  @within_ms 20_000
  # For how long others take it to leave: longer than it takes to end. One that is there on says so each second, while it leaves.
  @leaves_ms 60_000

  defstruct askers: %{}, stage: :none

  @typedoc """
  `askers` are who make changes, by their marks, with the monitors of their processes. As long as there are any the node `:hands` its shards
  over, `:gives_up` its lease, and is `:over`. `:back` is one that other nodes still take to leave.
  """
  @type t :: %__MODULE__{
          askers: %{reference => monitor :: reference},
          stage: :none | :hands | :gives_up | :over | :back
        }

  @doc """
  Has a node hand its shards over, and then makes the change, whose outcome it returns; afterwards the node may have a lease again. A node
  that is not linked is not asked, and one that takes too long is not waited for. `owner` is the name of the process there.
  """
  @spec first(owner :: atom, node_name :: String.t(), change :: (() -> outcome)) :: outcome when outcome: term
  def first(owner, name, change) do
    case linked(name) do
      nil -> change.()
      node -> handed_over({owner, node}, change)
    end
  end

  # A node that is linked has a name here. Others leave none behind.
  defp linked(name) do
    node = String.to_existing_atom(name)
    if Nodes.linked?(node), do: node
  rescue
    ArgumentError -> nil
  end

  defp handed_over({_owner, node} = process, change) do
    mark = :erlang.alias()
    monitor = Process.monitor(process)
    tell(process, {:hand_over, self(), mark})

    try do
      receive do
        {^mark, :handed_over} -> :ok
        # It has none, or no more.
        {:DOWN, ^monitor, :process, _process, _reason} -> :ok
      after
        @within_ms ->
          Logger.warning("#{node} has not handed its actors over in time: others have them when its lease is over")
      end

      change.()
    after
      tell(process, {:go_on, mark})
      Process.demonitor(monitor, [:flush])
      :erlang.unalias(mark)
      flush(mark)
    end
  end

  # Who makes the change can wait for a link that is busy.
  defp tell(process, what), do: :erlang.send(process, {:tidepool_shards, to_string(node()), what}, [:noconnect])

  defp flush(mark) do
    receive do
      {^mark, :handed_over} -> :ok
    after
      0 -> :ok
    end
  end

  # --- For the owner alone --------------------------------------------------------------------------

  @doc "One more asks for it."
  @spec asked(t, pid, mark :: reference) :: t
  def asked(%__MODULE__{askers: askers, stage: stage} = handover, pid, mark) do
    if stage == :over, do: told(mark)
    stage = if stage in [:none, :back], do: :hands, else: stage
    %{handover | askers: Map.put(askers, mark, Process.monitor(pid)), stage: stage}
  end

  @doc "Is the node to have no shard?"
  @spec under_way?(t) :: boolean
  def under_way?(%__MODULE__{askers: askers}), do: askers != %{}

  @doc "Does it hand its shards over, so that its lease is renewed?"
  @spec hands?(t) :: boolean
  def hands?(%__MODULE__{stage: stage}), do: stage == :hands

  @doc "May it ask for a lease, or have it renewed?"
  @spec may_lease?(t) :: boolean
  def may_lease?(%__MODULE__{stage: stage}), do: stage not in [:gives_up, :over]

  @doc "It has no shard, and gives its lease up."
  @spec gives_up(t) :: t
  def gives_up(%__MODULE__{} = handover), do: %{handover | stage: :gives_up}

  @doc "It has neither: who has asked is told."
  @spec over(t) :: t
  # Those who have asked are gone, and it goes on.
  def over(%__MODULE__{stage: stage} = handover) when stage != :gives_up, do: handover

  def over(%__MODULE__{askers: askers} = handover) do
    askers |> Map.keys() |> Enum.each(&told/1)
    %{handover | stage: :over}
  end

  @doc "Who has asked so, or whose process had this monitor, has made the change, or has ended."
  @spec ended(t, mark_or_monitor :: reference) :: t
  def ended(%__MODULE__{askers: askers, stage: stage} = handover, reference) do
    gone = for {mark, monitor} <- askers, reference in [mark, monitor], do: mark
    for mark <- gone, do: Process.demonitor(askers[mark], [:flush])
    left = Map.drop(askers, gone)
    %{handover | askers: left, stage: if(gone != [] and left == %{}, do: :back, else: stage)}
  end

  @doc "The node has a lease: is that news to others, who were told that it leaves?"
  @spec leased(t) :: {boolean, t}
  def leased(%__MODULE__{stage: :back} = handover), do: {true, %{handover | stage: :none}}
  def leased(handover), do: {false, handover}

  defp told(mark), do: :erlang.send(mark, {mark, :handed_over}, [:noconnect])

  # --- Of other nodes -------------------------------------------------------------------------------

  @typedoc "A start of a node."
  @type start :: {node_name :: String.t(), incarnation :: integer}

  @typedoc "Which starts of nodes leave, and until when that is taken to be so."
  @type leaving :: %{start => until :: integer}

  @doc "Another node has said that it leaves. That it stays after all may not be heard, so it is taken to leave for a minute."
  @spec leaves(leaving, start, now :: integer) :: leaving
  def leaves(leaving, start, now), do: Map.put(leaving, start, now + @leaves_ms)

  @doc "Those that have a lease, and have said so lately."
  @spec leave_still(leaving, leases :: %{String.t() => {incarnation :: integer, until :: integer}}, now :: integer) ::
          leaving
  def leave_still(leaving, leases, now) do
    Map.filter(leaving, fn {{name, incarnation}, until} ->
      until > now and match?(%{^name => {^incarnation, _until}}, leases)
    end)
  end
end
