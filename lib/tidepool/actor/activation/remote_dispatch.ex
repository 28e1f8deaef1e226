defmodule Tidepool.Actor.Activation.RemoteDispatch do
  @moduledoc """
  Asks another node about an actor that it has: in one hop, and for as long as the asker has time.

  Questions go to `Tidepool.Actor.Activation.DispatchServer` of that node, whose answer is `{:answer, answer}` or `:elsewhere`. A question is one of
  `Tidepool.Actor.Activation.LocalDispatch`, in which a call's `deadline` is what it has left. A node that is asked for what it does
  not have, or has no more, says `:elsewhere`, and has done nothing. A caller that loses the node while that has the question is told
  that the outcome is not known.
  """

  alias Tidepool.{Config, Error, Nodes}
  alias Tidepool.Actor.Activation.{DispatchServer, LocalDispatch, Modules}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Ownership.{Outside, Shards}
  alias Tidepool.Nodes.Ask

  # How long it is waited that an actor is elsewhere, before it is looked for where it was; and for one that is on its way, or whose node can't
  # be reached: thousands of calls may wait for that, each of which looks again.
  @gone_ms 20
  @moving_ms 200
  # How often it is looked whether a node that does not answer still has the actor.
  @look_ms 500
  # What keeps a link busy.
  @long_bytes 65_536

  @doc """
  The answer of the node that has an actor; `:again` when it is to be looked for once more.

  `deadline` is in ms of the VM's monotonic time.
  """
  @spec ask(Shards.place(), LocalDispatch.question(), deadline :: integer | :infinity) :: :again | answer
        when answer: term
  def ask(place, {what, class, name, _argument} = question, deadline) do
    cond do
      place == :no_lease and (Config.stops?() or not Outside.soon?()) -> {:error, unleased(class)}
      deadline != :infinity and now() >= deadline -> {:error, late(place, class, name)}
      place in [:moving, :nobody, :no_lease] -> pause(place, class, name, deadline, @moving_ms)
      true -> with :ok <- deployed(what, class, deadline), do: forward(place, what, question, deadline)
    end
  end

  # The node that has the actor waits a moment for a class that it has not heard of, so it is not asked for one that no node has.
  defp deployed(what, class, deadline) when what in [:call, :cast, :start] do
    case Modules.arrived(class, left(deadline)) do
      {:error, %Error{reason: :not_deployed}} = not_deployed -> not_deployed
      _class_or_none -> :ok
    end
  end

  defp deployed(_what, _class, _deadline), do: :ok

  # What knows of leases ends before what has actors does.
  defp unleased(class) do
    if Config.stops?(),
      do: Journal.restarting(class),
      else: no_store("this node has no lease of the store that nodes share", class)
  end

  defp late({:away, node}, class, name), do: no_store("#{node}, which has #{class}/#{name}, can't be reached", class)
  defp late(_place, class, name), do: no_store("no node has #{class}/#{name} at the moment", class)

  defp no_store(message, class), do: Error.new(:no_store, message <> ": nothing was done", class)

  defp forward({:away, name} = place, what, {_what, class, actor, _argument} = question, deadline) do
    case reach(name) do
      nil ->
        pause(place, class, actor, deadline, @moving_ms)

      node ->
        # A node that stands still answers no question, and another has its shards by and by.
        lost? = fn -> Shards.shared?() and Shards.place(class, actor) not in [place, :no_lease] end

        case Ask.ask(DispatchServer.protocol(), node, sent(question), left(deadline), {@look_ms, lost?}, long(question)) do
          {:ok, {:answer, answer}} ->
            answer

          {:ok, :elsewhere} ->
            pause(place, class, actor, deadline, @gone_ms)

          # The question was not read.
          {:error, :gone} ->
            pause(place, class, actor, deadline, @gone_ms)

          {:error, :timeout} when what == :call ->
            {:error, Error.new(:timeout, "the actor did not answer in time", class)}

          {:error, :unknown_version} ->
            {:error, other_version(name, class, actor)}

          _lost ->
            {:error, unknown(name, class, actor)}
        end
    end
  end

  defp other_version(node, class, name) do
    message = "#{node}, which has #{class}/#{name}, takes no questions of this version: let all nodes have one version"
    no_store(message, class)
  end

  defp unknown(node, class, name) do
    message = "#{node}, which had #{class}/#{name}, was lost meanwhile: what was asked may be done, or not"
    Error.new(:unknown_outcome, message, class)
  end

  defp long({what, class, _name, %{payload: payload}})
       when what in [:call, :cast] and byte_size(payload) > @long_bytes,
       do: class

  defp long({:awake, class, _name, names}),
    do: if(names |> Enum.map(&byte_size/1) |> Enum.sum() > @long_bytes, do: class)

  defp long(_question), do: nil

  # The clocks of two nodes have nothing in common.
  defp sent({what, class, name, call}) when what in [:call, :cast],
    do: {what, class, name, %{call | deadline: left(call.deadline)}}

  defp sent(question), do: question

  # No node links with a node of the store that is not, or not yet, of the cluster.
  defp reach(name),
    do: if(Map.get(Nodes.all(), Nodes.number(name)) == name, do: name |> Nodes.number() |> Nodes.reach())

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - now(), 0)

  # Who changes where it is tells of it. A node without a lease hears of that when it has asked.
  defp pause(place, class, actor, deadline, ms) do
    ms = if Outside.stale?(), do: @moving_ms, else: ms
    Shards.await(class, actor, place, min(left(deadline), ms))
    :again
  end

  defp now, do: System.monotonic_time(:millisecond)
end
