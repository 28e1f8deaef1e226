defmodule Tidepool.Nodes.Requests do
  @moduledoc """
  What other nodes ask of a process by its `Tidepool.Nodes.Protocol`: which of that is looked at, how much at once, and the answers.

  Looked at are questions of nodes that are known. One that asks by another version is told `:unknown_version` where the form has an answer,
  and is named once in the log, as is one whose question can't be read. A question of any other node has no answer.

  Namespaces share the protocol's bounds (`Tidepool.Namespaces.Places`): what other nodes ask for functions of one leaves as much to those of
  others. A question has no namespace in its form: whoever is asked tells it from what the question is about.
  """

  alias Tidepool.Log.Once
  alias Tidepool.Namespaces.Places
  alias Tidepool.Nodes
  alias Tidepool.Nodes.Protocol

  # `doing` are those that are being done, by the monitors of who does them.
  @enforce_keys [:protocol, :more, :places]
  defstruct @enforce_keys ++ [logged: Once.new(), doing: %{}]

  @opaque t :: %__MODULE__{protocol: Protocol.t(), more: (() -> [String.t() | node])}

  @typedoc "A question of a node that is known. Who it is from is for `answer/3` and `asker/1`; `left` is its time, in ms."
  @type request :: %{to: Protocol.to(), left: term, question: term}

  @doc """
  None so far. `more` are the names of further nodes that are known: one that has just joined may know of this node before this one knows
  of it.
  """
  @spec new(Protocol.t(), more :: (() -> [String.t() | node])) :: t
  def new(%{at_once: at_once, waiting: waiting, bytes: bytes} = protocol, more),
    do: %__MODULE__{protocol: protocol, more: more, places: Places.new(at_once, waiting, bytes)}

  @doc "Is a message a question, and one to be looked at? `:other` is no question of this protocol."
  @spec take(t, message :: term) :: {:ok, request, t} | {:ignored, t} | :other
  def take(%{protocol: %{version: version} = protocol, more: more} = requests, message) do
    case Protocol.read(protocol, message) do
      {to, ^version, left, question} ->
        request = %{to: to, left: left, question: question}

        cond do
          not known?(more, Protocol.asker(to)) -> {:ignored, requests}
          Protocol.time?(left) -> {:ok, request, requests}
          true -> {:ignored, unreadable(requests, request)}
        end

      {to, version, _left, _question} ->
        {:ignored, other_version(requests, to, version, known?(more, Protocol.asker(to)))}

      :none ->
        :other
    end
  end

  @doc """
  What a process does with a message that keeps its requests in its state, as `:requests`: `fun` is given a question, and the state, and
  returns the state that it leaves.
  """
  @spec handle(state, message :: term, (request, state -> state)) :: {:noreply, state}
        when state: %{:requests => t, optional(atom) => term}
  def handle(%{requests: requests} = state, message, fun) do
    case take(requests, message) do
      {:ok, request, requests} -> {:noreply, fun.(request, %{state | requests: requests})}
      {:ignored, requests} -> {:noreply, %{state | requests: requests}}
      :other -> {:noreply, state}
    end
  end

  # What is on this node needs no cluster.
  defp known?(more, node),
    do: node == node() or Nodes.known?(node) or Enum.any?(more.(), &(to_string(&1) == to_string(node)))

  defp other_version(requests, to, version, known?) when is_integer(version) do
    if known?, do: answer(requests.protocol, to, :unknown_version)

    warn(
      requests,
      Protocol.asker(to),
      {:version, version},
      "by version #{version}, and this node has #{requests.protocol.version}"
    )
  end

  defp other_version(requests, _to, _no_version, _known?), do: requests

  @doc "The node that asks."
  @spec asker(request) :: node
  def asker(%{to: to}), do: Protocol.asker(to)

  @doc "Notes that a question can't be read."
  @spec unreadable(t, request) :: t
  def unreadable(requests, request),
    do: warn(requests, asker(request), :unreadable, "in a way that this node can't read")

  defp warn(requests, node, why, text) do
    text = "#{node} asks for #{requests.protocol.what} #{text}: it is ignored"
    %{requests | logged: Once.warn(requests.logged, to_string(node), {node, why}, text)}
  end

  @doc """
  Answers a request; whoever has given up has no such alias any more. A link that is busy has nobody wait but the one who answers.
  """
  @spec answer(t | Protocol.t(), request | Protocol.to(), term) :: :ok
  def answer(%__MODULE__{protocol: protocol}, request, answer), do: answer(protocol, request, answer)
  def answer(protocol, %{to: to}, answer), do: answer(protocol, to, answer)

  def answer(protocol, to, answer) do
    {receiver, message} = Protocol.answer(protocol, to, answer)

    with :nosuspend <- :erlang.send(receiver, message, [:nosuspend, :noconnect]),
         do: spawn(fn -> :erlang.send(receiver, message, [:noconnect]) end)

    :ok
  end

  @doc "As `answer/3`, by a process that is there for this answer: it waits for a link that is busy itself."
  @spec reply(Protocol.t(), Protocol.to(), term) :: :ok
  def reply(protocol, to, answer) do
    {receiver, message} = Protocol.answer(protocol, to, answer)
    :erlang.send(receiver, message, [:noconnect])
    :ok
  end

  @doc """
  Has a request done by a process of its own, which answers it, or sees to that. It waits while too many are, and is refused when too many
  wait, or when all bring more bytes than they may; one that brings more than all may is taken alone. A namespace has no more of any of that
  than it leaves to others, and `nil`, where the question is of none, whatever is free.
  """
  @spec begin(t, request, Places.namespace(), bytes :: non_neg_integer, (() -> term)) :: t
  def begin(requests, request, namespace, bytes, fun) do
    one = {request, namespace, bytes, fun}

    case Places.take(requests.places, namespace, bytes, one) do
      {:ok, places} -> start(%{requests | places: places}, one)
      {:waits, places} -> %{requests | places: places}
      :full -> refuse(requests, request, :busy)
    end
  end

  defp start(requests, {request, namespace, bytes, fun}) do
    if begun?(requests.protocol, request.to) do
      {_pid, monitor} = spawn_monitor(fun)
      %{requests | doing: Map.put(requests.doing, monitor, {request.to, namespace, bytes})}
    else
      # Nothing is begun of which that can't be said.
      requests |> give_back(namespace, bytes) |> refuse(request, :unsaid)
    end
  end

  defp give_back(requests, namespace, bytes),
    do: %{requests | places: Places.give_back(requests.places, namespace, bytes)}

  defp begun?(%{begun?: false}, _to), do: true

  defp begun?(protocol, to) do
    {receiver, message} = Protocol.answer(protocol, to, :begun)
    :erlang.send(receiver, message, [:nosuspend, :noconnect]) == :ok
  end

  defp refuse(%{protocol: %{refused: refused}} = requests, %{to: to}, why) do
    if refused, do: answer(requests.protocol, to, refused.(why))
    requests
  end

  @doc "One that did a request has ended, by its monitor: those that wait are begun which have a place now."
  @spec ended(t, reference, reason :: term) :: t
  def ended(requests, monitor, reason) do
    case Map.pop(requests.doing, monitor) do
      {nil, _doing} ->
        requests

      {{to, namespace, bytes}, doing} ->
        if reason != :normal, do: refuse(requests, %{to: to}, :failed)
        %{requests | doing: doing} |> give_back(namespace, bytes) |> next()
    end
  end

  defp next(requests) do
    case Places.next(requests.places) do
      {one, places} -> %{requests | places: places} |> start(one) |> next()
      :none -> requests
    end
  end

  @doc "What is being done for a namespace, and waits: see `Tidepool.Namespaces.Places.of/2`."
  @spec of(t, Places.namespace()) :: %{held: non_neg_integer, waiting: non_neg_integer, bytes: non_neg_integer}
  def of(requests, namespace), do: Places.of(requests.places, namespace)

  @doc "Waits for those that are being done, for `ms` each."
  @spec drain(t, ms :: non_neg_integer) :: :ok
  def drain(%{doing: doing}, ms) do
    for {monitor, _one} <- doing do
      receive do
        {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
      after
        ms -> :ok
      end
    end

    :ok
  end
end
