defmodule Tidepool.Actor.Activation.DispatchServer do
  @moduledoc """
  Answers other nodes' questions about actors that this one has: `Tidepool.Actor.Activation.RemoteDispatch` has the questions.

  Each is done by a process of its own, so that none waits for another; those of one caller come one after the other, since it waits
  for each. A question of a node that is neither of the cluster nor of the store has no answer (`Tidepool.Nodes.Requests`). What the actors
  of a namespace are asked leaves as many questions to those of others, and as many bytes of payloads and of large replies, which count until
  these have gone.

  A class that the asker has, and this node has not heard of, was just deployed, and is waited for.
  """

  @behaviour Tidepool.Nodes.Server

  alias Tidepool.{Error, Events, Options}
  alias Tidepool.Actor.Activation.{LocalDispatch, Modules}
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Namespaces.Name
  alias Tidepool.Nodes.{Protocol, Server}

  # How long a class may be unheard of.
  @unheard_ms 1_000
  # How long it is waited here for an actor that may come.
  @coming_ms 200

  @doc false
  def child_spec(_argument), do: Server.child_spec({__MODULE__, nil})

  @impl true
  def protocol do
    %Protocol{
      # What older nodes ask.
      server: :"Elixir.Tidepool.Actor.Owner.Remote",
      tag: :tidepool_actor,
      version: 1,
      what: "actors",
      begun?: true,
      waiting: 1_000,
      bytes: 268_435_456,
      refused: &__MODULE__.refused/1
    }
  end

  @doc false
  def refused(:busy),
    do: {:answer, {:error, Error.new(:overloaded, "#{node()} has as many questions about actors as it takes")}}

  def refused(:no_room) do
    message = "#{node()} has no room for as many replies as wait for their links: the actor has answered, ask it again"
    {:answer, {:error, Error.new(:unknown_outcome, message)}}
  end

  def refused(:failed) do
    error = Error.new(:unknown_outcome, "#{node()} failed while it had the question: it may be done, or not")
    {:answer, {:error, error}}
  end

  @impl true
  def more, do: Shards.nodes()

  @impl true
  def bytes({what, _class, _name, %{payload: payload}}) when what in [:call, :cast], do: byte_size(payload)
  def bytes(_question), do: 0

  # Of all that is asked: so a namespace whose actors take their time leaves others as many questions, and as many bytes of payloads.
  @impl true
  def namespace({_what, class, _name, _argument}), do: Name.of(class)

  @impl true
  def about({:call, class, _name, _call}), do: class
  def about(_question), do: nil

  # Names of actors that are awake are long as well, where many are asked for.
  @impl true
  def turn({_what, class, _name, _argument}), do: class

  @impl true
  def question?({what, class, name, call}) when what in [:call, :cast] do
    addressed?(class, name) and
      match?(
        %{operation: o, payload: p, depth: d, actors: a, request_id: r, create: c, alarm: nil, context: _any}
        when is_binary(o) and is_binary(p) and is_integer(d) and d > 0 and is_list(a) and
               (r == nil or is_binary(r)) and is_boolean(c),
        call
      ) and Protocol.time?(call[:deadline]) and not List.improper?(call.actors) and
      Enum.all?(call.actors, &match?({c, n} when is_binary(c) and is_binary(n), &1))
  end

  def question?({:start, class, name, create}), do: addressed?(class, name) and is_boolean(create)

  def question?({what, class, name, nil}) when what in [:stop, :delete, :info, :where], do: addressed?(class, name)

  def question?({:awake, class, "", names}) when is_list(names),
    do: is_binary(class) and List.improper?(names) == false and Enum.all?(names, &is_binary/1)

  def question?(_other), do: false

  defp addressed?(class, name),
    do: is_binary(class) and is_binary(name) and Options.line?(class) and Options.line?(name)

  @impl true
  def answer(question, asker, deadline, nil), do: question |> here(deadline) |> serve(asker, deadline)

  defp serve({what, class, _name, _argument} = question, asker, deadline) do
    if what in [:call, :cast, :start], do: hear_of(class)
    served(question, asker, deadline)
  end

  defp served({_what, class, name, _argument} = question, asker, deadline) do
    with {:elsewhere, place} <- LocalDispatch.serve(question) do
      if coming?(place, asker) and arrived?(class, name, place, left(deadline)),
        do: served(question, asker, deadline),
        else: :elsewhere
    else
      answer -> {:answer, answer}
    end
  end

  # It may be here in a moment, as the asker has it: this node hears of that first.
  defp coming?(place, asker), do: place in [:moving, :nobody, {:away, to_string(asker)}]

  defp arrived?(class, name, place, ms) do
    Shards.await(class, name, place, min(ms, @coming_ms))
    Shards.place(class, name) != place
  end

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - now(), 0)

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

  # Of a call that is given time it is what its asker waits for, from when the question came.
  defp here({what, class, name, call}, deadline) when what in [:call, :cast],
    do:
      {what, class, name,
       %{call | deadline: if(call.deadline == :infinity, do: :infinity, else: later(call, deadline))}}

  defp here(question, _deadline), do: question

  defp later(%{deadline: left}, :infinity), do: now() + left
  defp later(%{deadline: left}, deadline), do: min(now() + left, deadline)

  defp now, do: System.monotonic_time(:millisecond)
end
