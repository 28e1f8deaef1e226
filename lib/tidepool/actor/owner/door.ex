defmodule Tidepool.Actor.Owner.Door do
  @moduledoc """
  Answers other nodes' questions about actors that this one has: `Tidepool.Actor.Owner.Remote` has the questions.

  Each is done by a process of its own, so that none waits for another; those of one caller come one after the other, since it waits
  for each. A question of a node that is neither of the cluster nor of the store has no answer (`Tidepool.Process.Asked`).

  A class that the asker has, and this node has not heard of, was just deployed, and is waited for.
  """

  use GenServer

  alias Tidepool.{Error, Events}
  alias Tidepool.Actor.Modules
  alias Tidepool.Actor.Owner.{Here, Remote, Shards}
  alias Tidepool.Process.Asked

  # Questions that are being done at once, and the bytes that they bring.
  @most 20_000
  @most_bytes 268_435_456
  # How long a class may be unheard of.
  @unheard_ms 1_000
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
    {:ok, %{asked: %{}, bytes: 0, admitted: Asked.new("actors", @version)}}
  end

  @impl true
  def handle_info({:tidepool_actor, version, ref, left, question}, state) when is_reference(ref) do
    case Asked.admit(state.admitted, node(ref), version, &Shards.nodes/0) do
      {:ok, _as_before} -> {:noreply, asked(question, left, ref, state)}
      {:ignore, admitted} -> {:noreply, %{state | admitted: admitted}}
    end
  end

  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    {{ref, bytes}, asked} = Map.pop!(state.asked, monitor)

    if reason != :normal do
      error = Error.new(:unknown_outcome, "#{node()} failed while it had the question: it may be done, or not")
      answer(ref, {:answer, {:error, error}})
    end

    {:noreply, %{state | asked: asked, bytes: state.bytes - bytes}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp asked(question, left, ref, state) do
    if Remote.time?(left) and Remote.question?(question) do
      bytes = bytes(question)

      # One that is larger than all may be is taken alone.
      if map_size(state.asked) < @most and (state.bytes == 0 or state.bytes + bytes <= @most_bytes),
        do: take(state, question, bytes, ref),
        else: busy(state, ref)
    else
      %{state | admitted: Asked.unreadable(state.admitted, node(ref))}
    end
  end

  defp bytes({what, _class, _name, %{payload: payload}}) when what in [:call, :cast], do: byte_size(payload)
  defp bytes(_question), do: 0

  defp take(state, question, bytes, ref) do
    if :erlang.send(ref, {:tidepool_actor, ref, :begun}, [:nosuspend, :noconnect]) == :ok do
      begun = System.monotonic_time(:millisecond)
      {_pid, monitor} = spawn_monitor(fn -> answer(ref, serve(here(question, begun))) end)
      %{state | asked: Map.put(state.asked, monitor, {ref, bytes}), bytes: state.bytes + bytes}
    else
      # Nothing is begun of which that can't be said.
      answer(ref, :elsewhere)
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

  defp serve({what, class, _name, _argument} = question) do
    if what in [:call, :cast, :start], do: hear_of(class)

    case Here.serve(question) do
      {:elsewhere, _place} -> :elsewhere
      answer -> {:answer, answer}
    end
  end

  defp hear_of(class) do
    with {:error, %Error{reason: :not_deployed}} <- Modules.class(class),
         :ok = Events.subscribe(),
         {:error, %Error{reason: :not_deployed}} <- Modules.arrived(class, :infinity) do
      receive do
        {:tidepool_event, %{event: :deployed, name: ^class}} -> :ok
      after
        @unheard_ms -> :ok
      end
    end
  end

  defp here({what, class, name, %{deadline: left} = call}, begun) when what in [:call, :cast],
    do: {what, class, name, %{call | deadline: if(left == :infinity, do: :infinity, else: begun + left)}}

  defp here(question, _begun), do: question

  defp busy(state, ref) do
    error = Error.new(:overloaded, "#{node()} has as many questions about actors as it takes")
    answer(ref, {:answer, {:error, error}})
    state
  end

  # A link that is busy has nobody wait but the one who answers. Whoever has given up has no such alias any more.
  defp answer(ref, answer) do
    message = {:tidepool_actor, ref, answer}

    with :nosuspend <- :erlang.send(ref, message, [:nosuspend, :noconnect]),
         do: spawn(fn -> :erlang.send(ref, message, [:noconnect]) end)
  end
end
