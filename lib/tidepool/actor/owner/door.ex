defmodule Tidepool.Actor.Owner.Door do
  @moduledoc """
  Answers other nodes' questions about actors that this one has: `Tidepool.Actor.Owner.Remote` has the questions.

  Each is done by a process of its own, so that none waits for another; those of one caller come one after the other, since it waits
  for each. A question of a node that is neither of the cluster nor of the store has no answer, and one that is none is logged once for each node.
  """

  use GenServer

  require Logger

  alias Tidepool.Error
  alias Tidepool.Actor.Owner.{Here, Remote, Shards}
  alias Tidepool.Process.Nodes

  # Questions that are being done at once.
  @most 20_000
  # How long it waits for one of them at its end.
  @last_ms 200

  @server elem(Remote.protocol(), 0)
  @version elem(Remote.protocol(), 1)

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: @server)

  @impl true
  def init(nil) do
    # So that what is being done is answered before its end.
    Process.flag(:trap_exit, true)
    {:ok, %{asked: %{}, logged: MapSet.new()}}
  end

  @impl true
  def handle_info({:tidepool_actor, @version, from, ref, left, question}, state)
      when is_pid(from) and is_reference(ref) do
    cond do
      # One that has just joined may know of this node before this one knows of it.
      not (Nodes.known?(node(from)) or to_string(node(from)) in Shards.nodes()) -> {:noreply, state}
      not (Remote.time?(left) and Remote.question?(question)) -> {:noreply, log(state, node(from), "can't read")}
      map_size(state.asked) >= @most -> {:noreply, busy(state, from, ref)}
      true -> {:noreply, take(state, question, from, ref)}
    end
  end

  def handle_info({:tidepool_actor, version, from, _ref, _left, _question}, state)
      when is_integer(version) and version != @version and is_pid(from),
      do: {:noreply, log(state, node(from), "does not know, of version #{version}")}

  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    {{from, ref}, asked} = Map.pop!(state.asked, monitor)

    if reason != :normal do
      error = Error.new(:unknown_outcome, "#{node()} failed while it had the question: it may be done, or not")
      answer(from, ref, {:answer, {:error, error}})
    end

    {:noreply, %{state | asked: asked}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp take(state, question, from, ref) do
    if :erlang.send(from, {:tidepool_actor, ref, :begun}, [:nosuspend, :noconnect]) == :ok do
      begun = System.monotonic_time(:millisecond)
      {_pid, monitor} = spawn_monitor(fn -> answer(from, ref, serve(here(question, begun))) end)
      put_in(state.asked[monitor], {from, ref})
    else
      # Nothing is begun of which that can't be said.
      answer(from, ref, :elsewhere)
      state
    end
  end

  # No actor is here any more, so they are about to be done.
  @impl true
  def terminate(_reason, %{asked: asked}) do
    for {monitor, _from} <- asked do
      receive do
        {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
      after
        @last_ms -> :ok
      end
    end
  end

  defp serve(question) do
    case Here.serve(question) do
      {:elsewhere, _place} -> :elsewhere
      answer -> {:answer, answer}
    end
  end

  defp here({what, class, name, %{deadline: left} = call}, begun) when what in [:call, :cast],
    do: {what, class, name, %{call | deadline: if(left == :infinity, do: :infinity, else: begun + left)}}

  defp here(question, _begun), do: question

  defp busy(state, from, ref) do
    error = Error.new(:overloaded, "#{node()} has as many questions about actors as it takes")
    answer(from, ref, {:answer, {:error, error}})
    state
  end

  defp log(state, node, what) do
    unless node in state.logged,
      do: Logger.warning("#{node} asks about actors in a way that this node #{what}: it is ignored")

    %{state | logged: MapSet.put(state.logged, node)}
  end

  # A link that is busy has nobody wait but the one who answers.
  defp answer(to, ref, answer) do
    message = {:tidepool_actor, ref, answer}

    with :nosuspend <- :erlang.send(to, message, [:nosuspend, :noconnect]),
         do: spawn(fn -> :erlang.send(to, message, [:noconnect]) end)
  end
end
