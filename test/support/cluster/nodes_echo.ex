defmodule Tidepool.NodesEcho do
  @moduledoc "A message between nodes, as a module of one makes it: what it is asked it says, or says when it is let go, or fails at."

  @behaviour Tidepool.Nodes.Server

  alias Tidepool.Namespaces.{Name, Turns}
  alias Tidepool.Nodes.{Ask, Protocol, Server}

  @doc "Starts it on a node, with a protocol in which this is another, and nodes that are known."
  def open(fields \\ %{}, known \\ nil) do
    :persistent_term.put(__MODULE__, {fields, known})
    # On a node that has nothing else.
    _turns = GenServer.start(Turns, [], name: Turns)
    GenServer.start(Server, {__MODULE__, "from"}, name: __MODULE__)
  end

  @impl true
  def protocol do
    {fields, _known} = :persistent_term.get(__MODULE__, {%{}, nil})

    protocol = %Protocol{
      server: __MODULE__,
      tag: :tidepool_echo,
      version: 1,
      what: "echoes",
      refused: &__MODULE__.refused/1
    }

    Map.merge(protocol, fields)
  end

  @doc false
  def refused(why), do: {:refused, why}

  @impl true
  def more, do: elem(:persistent_term.get(__MODULE__), 1) || Node.list(:connected)

  @impl true
  def question?(question),
    do: match?({what, _term} when what in [:say, :hold, :fail, :left, :many, :late, :list], question)

  @impl true
  def bytes({_what, term}), do: if(is_binary(term), do: byte_size(term), else: 0)

  @impl true
  def namespace({what, {function, _bytes}}) when what in [:many, :late, :list], do: Name.of(function)
  def namespace({_what, term}), do: if(is_binary(term), do: Name.of(term))

  @impl true
  def about({what, {function, _bytes}}) when what in [:many, :late], do: function
  def about(_question), do: nil

  @impl true
  def turn({what, {function, _bytes}}) when what in [:many, :late, :list], do: function
  def turn(_question), do: nil

  @impl true
  def answer({:say, term}, node, _deadline, argument), do: {argument, node, term}

  def answer({what, {_function, bytes}}, _node, _deadline, _argument) when what in [:many, :list],
    do: String.duplicate("x", bytes)

  def answer({:late, {function, bytes}}, node, deadline, argument) do
    ^function = answer({:hold, function}, node, deadline, argument)
    String.duplicate("x", bytes)
  end

  def answer({:left, _term}, _node, :infinity, _argument), do: :infinity
  def answer({:left, _term}, _node, deadline, _argument), do: deadline - System.monotonic_time(:millisecond)
  def answer({:fail, reason}, _node, _deadline, _argument), do: exit(reason)

  def answer({:hold, term}, _node, _deadline, _argument) do
    Process.put(__MODULE__, term)

    receive do
      :go -> term
    end
  end

  @doc "Asks a node."
  def ask(node, question, timeout \\ 20_000, watch \\ nil), do: Ask.ask(protocol(), node, question, timeout, watch)

  @doc "Has no long answer about functions of a namespace go to a node, until who does that is told to."
  def keep(function, node) do
    link = {:links, node}
    {most, _waiting} = Turns.bounds(link)
    test = self()

    work = fn ->
      send(test, :kept)
      Process.put(__MODULE__, function)
      receive do: (:go -> :ok)
      Process.delete(__MODULE__)
    end

    for _turn <- 1..most, do: spawn(fn -> Turns.run(link, function, :infinity, work) end)
    for _turn <- 1..most, do: receive(do: (:kept -> :ok))
  end

  @doc "Who holds what, on this node."
  def held do
    for pid <- Process.list(),
        {:dictionary, dictionary} <- [Process.info(pid, :dictionary)],
        {__MODULE__, term} <- dictionary,
        do: {term, pid}
  end

  @doc "Is a node not to be waited for? As one that stands still."
  def lost?, do: true

  @doc "Ends it in order, and lets all go once it waits for them."
  def stop do
    server = Process.whereis(__MODULE__)
    spawn(fn -> GenServer.stop(server, :shutdown) end)
    waits(server)
    go()
  end

  defp waits(server) do
    {:current_stacktrace, stack} = Process.info(server, :current_stacktrace)
    unless Enum.any?(stack, &match?({Tidepool.Nodes.Requests, _function, _arity, _at}, &1)), do: waits(server)
  end

  @doc "Lets all go."
  def go, do: for({_term, pid} <- held(), do: send(pid, :go))
end
