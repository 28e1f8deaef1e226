defmodule Tidepool.Actor.Ownership.Outside do
  @moduledoc """
  Has a node that has no lease know where actors are, so that it passes calls on to there: one that is no member of those that keep actors
  together, or whose disk is full, or lacks what the others have.

  It asks those that are named, and those that it has heard of, until one with a lease has said where all shards are (`Directory`): every five
  seconds, and soon when a call has found an actor elsewhere, or a link with one of them has come or gone. What is said goes to the process
  that has the table of shards (`LeaseHolder`), which heeds it for as long as this node has no lease.
  """

  use GenServer

  require Logger

  alias Tidepool.Actor.Ownership.{Directory, LeaseHolder, Shards}
  alias Tidepool.Actor.Voter
  alias Tidepool.Config

  # {:wanted} when a call has found an actor elsewhere since it was last asked; {:silent, since} while no node has answered.
  @table __MODULE__
  # How often it is asked: at random by half, so that hundreds of nodes do not ask at once; until the first answer; and at most.
  @every_ms 5_000
  @first_ms 500
  @apart_ms 200
  # How often it is looked whether the lease lasts.
  @leased_ms 1_000
  # How long no node may have an answer before calls wait for it no longer, and before the log says so.
  @soon_ms 2_000
  @silent_ms 30_000

  # `from` is the node that has answered last.
  defstruct [:timer, :asking, :asked_at, :from, :silent_since, said?: false]

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  An actor is not where this node has it: if it has no lease, it asks soon where that is by now. Is it so? Who waits for the answer is told
  when the actor is said to be elsewhere (`Shards.await/4`).
  """
  @spec stale? :: boolean
  def stale? do
    outside? = not Shards.leased?()
    # Thousands of calls may find that at once.
    if outside? and :ets.insert_new(@table, {:wanted}), do: GenServer.cast(__MODULE__, :soon)
    outside?
  rescue
    # Where nodes share a database there is no such table: each node looks there.
    ArgumentError -> false
  end

  @doc """
  Is this node, which has no lease, about to know where actors are? It asks, and no node has had time to answer. A member that has lost its
  lease may be answered within some milliseconds, or have another lease within a second.
  """
  @spec soon? :: boolean
  def soon? do
    stale?() and silent_ms() < @soon_ms
  rescue
    ArgumentError -> false
  end

  defp silent_ms do
    case :ets.lookup(@table, :silent) do
      [{:silent, since}] -> now() - since
      [] -> 0
    end
  end

  @impl true
  def init(nil) do
    :ets.new(@table, [:named_table, :public, write_concurrency: true])
    :ok = :net_kernel.monitor_nodes(true, node_type: :all)
    {:ok, look_in(%__MODULE__{}, 0)}
  end

  # While no node has an answer it is asked often enough, however many calls wait for one.
  @impl true
  def handle_cast(:soon, %{silent_since: since} = state), do: {:noreply, if(since, do: state, else: soon(state))}

  @impl true
  def handle_info(:look, %{asking: monitor} = state) when monitor != nil, do: {:noreply, state}

  def handle_info(:look, state) do
    :ets.delete(@table, :wanted)

    if Shards.leased?() or Config.stops?(),
      do: {:noreply, look_in(heard(state), @leased_ms)},
      else: {:noreply, ask(state)}
  end

  def handle_info({:DOWN, monitor, :process, _pid, outcome}, %{asking: monitor} = state),
    do: {:noreply, %{state | asking: nil} |> answered(outcome) |> again()}

  def handle_info({change, node, _how}, state) when change in [:nodeup, :nodedown],
    do: {:noreply, if(to_string(node) in asked(), do: soon(state), else: state)}

  def handle_info(_other, state), do: {:noreply, state}

  defp ask(state) do
    {_pid, monitor} = spawn_monitor(__MODULE__, :look, [state.from, asked(), Shards.stamp()])
    since = state.silent_since || now()
    :ets.insert(@table, {:silent, since})
    %{state | timer: nil, asking: monitor, asked_at: now(), silent_since: since}
  end

  defp heard(state) do
    :ets.delete(@table, :silent)
    %{state | silent_since: nil, said?: false}
  end

  @doc false
  @spec look(from :: String.t() | nil, [String.t()], stamp :: binary | nil) :: no_return
  def look(from, names, stamp), do: exit({:found, Directory.find(from, names, stamp)})

  # Those that are named may be other ones than those that keep actors by now.
  defp asked, do: Enum.uniq(Shards.nodes() ++ Voter.named())

  defp answered(state, {:found, {from, said}}) do
    GenServer.cast(LeaseHolder.process(), {:heard, said})
    heard(%{state | from: from})
  end

  defp answered(state, _nothing) do
    if not state.said? and now() - state.silent_since > @silent_ms do
      Logger.warning(
        "none of #{Enum.join(asked(), ", ")} says where actors are, so this node calls none: they are not there, no majority of those " <>
          "that keep actors is, or they are of a release before"
      )

      %{state | said?: true}
    else
      state
    end
  end

  defp again(state) do
    cond do
      state.silent_since -> look_in(state, @first_ms)
      # A call has found it stale meanwhile.
      :ets.member(@table, :wanted) -> look_in(state, @apart_ms)
      true -> look_in(state, div(@every_ms, 2) + :rand.uniform(@every_ms))
    end
  end

  # It looks again when it has its answer.
  defp soon(%{asking: monitor} = state) when monitor != nil, do: state
  defp soon(%{asked_at: nil} = state), do: look_in(state, 0)
  defp soon(state), do: look_in(state, max(state.asked_at + @apart_ms - now(), 0))

  defp look_in(state, ms) do
    if state.timer, do: Process.cancel_timer(state.timer)
    %{state | timer: Process.send_after(self(), :look, ms)}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
