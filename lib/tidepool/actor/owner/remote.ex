defmodule Tidepool.Actor.Owner.Remote do
  @moduledoc """
  Asks another node about an actor that it has: in one hop, and for as long as the asker has time.

  Questions go to the process that is registered as this module on a node, as plain terms, and answers come back to the asker:

      {:tidepool_actor, version, ref, left_ms | :infinity, question}
      {:tidepool_actor, ref, :begun}, then {:tidepool_actor, ref, {:answer, answer} | :elsewhere}

  `ref` is an alias of the asker, which ends when that waits no longer: what comes later is dropped. What comes first is from the process that was asked, so it is here before that one's end is: what it has not begun when it is stopped
  in order is asked elsewhere. A question is one of `Tidepool.Actor.Owner.Here`, in which a call's `deadline` is what it has left. A node that is asked for what it does
  not have, or has no more, says `:elsewhere`, and has done nothing. A caller that loses the node while that has the question is told that the
  outcome is not known.
  """

  alias Tidepool.{Error, Options}
  alias Tidepool.Actor.Modules
  alias Tidepool.Actor.Owner.{Here, Shards}
  alias Tidepool.Process.Nodes

  # A part of the protocol: nodes of other versions know it by this name.
  @server __MODULE__
  @version 1
  # Between two looks for an actor that is on its way to another node; and for one whose node is gone.
  @moving_ms 2
  @gone_ms 20
  # How often it is looked whether a node that does not answer still has the actor.
  @look_ms 500

  @doc "Who is asked on each node, and the version of the protocol."
  @spec protocol :: {name :: atom, version :: pos_integer}
  def protocol, do: {@server, @version}

  @doc """
  The answer of the node that has an actor; `:again` when it is to be looked for once more.

  `deadline` is in ms of the VM's monotonic time.
  """
  @spec ask(Shards.place(), Here.question(), deadline :: integer | :infinity) :: :again | answer when answer: term
  def ask(place, {what, class, name, _argument} = question, deadline) do
    cond do
      place == :no_lease -> {:error, no_store("this node has no lease of the store that nodes share", class)}
      deadline != :infinity and now() >= deadline -> {:error, late(place, class, name)}
      place == :moving -> pause(@moving_ms)
      place == :nobody -> pause(@gone_ms)
      true -> with :ok <- deployed(what, class, deadline), do: forward(place, what, question, deadline)
    end
  end

  # Who has the actor waits a moment for a class that it has not heard of, so it is not asked for one that nobody has.
  defp deployed(what, class, deadline) when what in [:call, :cast, :start] do
    case Modules.arrived(class, left(deadline)) do
      {:error, %Error{reason: :not_deployed}} = not_deployed -> not_deployed
      _class_or_none -> :ok
    end
  end

  defp deployed(_what, _class, _deadline), do: :ok

  defp late({:away, node}, class, name), do: no_store("#{node}, which has #{class}/#{name}, can't be reached", class)
  defp late(_place, class, name), do: no_store("no node has #{class}/#{name} at the moment", class)

  defp no_store(message, class), do: Error.new(:no_store, message <> ": nothing was done", class)

  defp forward({:away, name} = place, what, {_what, class, actor, _argument} = question, deadline) do
    case reach(name) do
      nil ->
        pause(@gone_ms)

      node ->
        ref = :erlang.monitor(:process, {@server, node}, alias: :explicit_unalias)
        message = {:tidepool_actor, @version, ref, left(deadline), sent(question)}
        :erlang.send({@server, node}, message, [:noconnect])
        answer = await(ref, place, class, actor, deadline)
        forget(ref)

        case answer do
          {:answer, answer} -> answer
          :elsewhere -> pause(@moving_ms)
          # Nobody has read the question.
          :unread -> pause(@gone_ms)
          :late when what == :call -> {:error, Error.new(:timeout, "the actor did not answer in time", class)}
          _lost -> {:error, unknown(name, class, actor)}
        end
    end
  end

  defp unknown(node, class, name) do
    message = "#{node}, which had #{class}/#{name}, was lost meanwhile: what was asked may be done, or not"
    Error.new(:unknown_outcome, message, class)
  end

  # The clocks of two nodes have nothing in common.
  defp sent({what, class, name, call}) when what in [:call, :cast],
    do: {what, class, name, %{call | deadline: left(call.deadline)}}

  defp sent(question), do: question

  defp await(ref, place, class, actor, deadline) do
    receive do
      {:tidepool_actor, ^ref, answer} when answer != :begun ->
        read(answer)

      {:DOWN, ^ref, :process, _server, reason} ->
        ended(ref, reason)
    after
      wait(deadline) ->
        cond do
          late?(deadline) -> :late
          # A node that stands still answers nobody, and another has its shards by and by.
          Shards.shared?() and moved?(place, class, actor) -> :lost
          true -> await(ref, place, class, actor, deadline)
        end
    end
  end

  # It waits for those that it has begun before it ends in order.
  defp ended(ref, reason) do
    receive do
      {:tidepool_actor, ^ref, :begun} ->
        receive do
          {:tidepool_actor, ^ref, answer} -> read(answer)
        after
          if(reason == :shutdown, do: @look_ms, else: 0) -> :lost
        end

      {:tidepool_actor, ^ref, answer} ->
        read(answer)
    after
      0 -> if reason in [:noproc, :shutdown], do: :unread, else: :lost
    end
  end

  defp moved?(place, class, actor), do: Shards.place(class, actor) not in [place, :no_lease]

  # What comes from now on is dropped, and what has come is taken away.
  defp forget(ref) do
    :erlang.unalias(ref)
    Process.demonitor(ref, [:flush])
    flush(ref)
  end

  defp flush(ref) do
    receive do
      {:tidepool_actor, ^ref, _answer} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp read({:answer, _answer} = answer), do: answer
  defp read(:elsewhere), do: :elsewhere
  defp read(_of_another_version), do: :lost

  # A node of the store that is not, or not yet, of the cluster is linked with by nobody.
  defp reach(name),
    do: if(Map.get(Nodes.all(), Nodes.number(name)) == name, do: name |> Nodes.number() |> Nodes.reach())

  defp wait(:infinity), do: @look_ms
  defp wait(deadline), do: min(max(deadline - now(), 0), @look_ms)

  defp late?(deadline), do: deadline != :infinity and now() >= deadline

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - now(), 0)

  defp pause(ms) do
    receive do
    after
      ms -> :again
    end
  end

  @doc "Is it a question of this protocol? Whatever a node may send: what is used of it is of its type."
  @spec question?(term) :: boolean
  def question?({what, class, name, call}) when what in [:call, :cast] do
    addressed?(class, name) and
      match?(
        %{operation: o, payload: p, depth: d, actors: a, request_id: r, create: c, alarm: nil, context: _any}
        when is_binary(o) and is_binary(p) and is_integer(d) and d > 0 and is_list(a) and
               (r == nil or is_binary(r)) and is_boolean(c),
        call
      ) and time?(call[:deadline]) and not List.improper?(call.actors) and
      Enum.all?(call.actors, &match?({c, n} when is_binary(c) and is_binary(n), &1))
  end

  def question?({:start, class, name, create}), do: addressed?(class, name) and is_boolean(create)

  def question?({what, class, name, nil}) when what in [:stop, :delete, :info, :where], do: addressed?(class, name)

  def question?({:awake, class, "", names}) when is_list(names),
    do: is_binary(class) and List.improper?(names) == false and Enum.all?(names, &is_binary/1)

  def question?(_other), do: false

  @doc "Is it a time that a question has left?"
  @spec time?(term) :: boolean
  def time?(left), do: left == :infinity or (is_integer(left) and left in 0..0xFFFF_FFFF)

  defp addressed?(class, name),
    do: is_binary(class) and is_binary(name) and Options.line?(class) and Options.line?(name)

  defp now, do: System.monotonic_time(:millisecond)
end
