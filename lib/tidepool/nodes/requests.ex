defmodule Tidepool.Nodes.Requests do
  @moduledoc """
  What other nodes ask of a process by its `Tidepool.Nodes.Protocol`: which of that is looked at, how much at once, and the answers.

  Looked at are questions of nodes that are known. One that asks by another version is told `:unknown_version` where the form has an answer,
  and is named once in the log, as is one whose question can't be read. A question of any other node has no answer.

  Namespaces share the protocol's bounds (`Tidepool.Namespaces.Places`): what other nodes ask for functions of one leaves as much to those of
  others. A question has no namespace in its form: whoever is asked tells it from what the question is about.

  Answers that are large may have as many bytes until they have gone: a link may be slow. Where the last answer about the same was large, so
  may the next one be: it is not begun before there is room for as much, or for an eighth of all, since what is asked may take long. An
  answer that is larger than that waits for room while its asker does, and one of which nothing was expected, or for which those that wait have
  too many bytes, is `:no_room` without.
  """

  alias Tidepool.Log.Once
  alias Tidepool.Namespaces.Places
  alias Tidepool.Nodes
  alias Tidepool.Nodes.Protocol

  # `doing` are those that are being done, by who does them; `sizes` of the last answers, by what they were about, of those that are large.
  @enforce_keys [:protocol, :more, :places]
  defstruct @enforce_keys ++ [logged: Once.new(), doing: %{}, sizes: %{}]

  # What is smaller is not counted: with as many as may be under way that is some tens of MiB.
  @large 4_096
  @most_sizes 1_000
  # Of one that is larger than this part of all bytes no more is expected: others have room while nobody has the answer yet.
  @share 8

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

  @typedoc "The namespace that a request is for, the bytes that it brings, and what it is about, whose answers are as large as the last one."
  @type share :: {Places.namespace(), bytes :: non_neg_integer, about :: term}

  @doc """
  Has a request done by a process of its own, which answers it, or sees to that. It waits while too many are, and is refused when too many
  wait, or when all bring more bytes than they may; one that brings more than all may is taken alone. A namespace has no more of any of that
  than it leaves to others, and `nil`, where the question is of none, whatever is free.
  """
  @spec begin(t, request, share, (() -> term)) :: t
  def begin(requests, request, {namespace, bytes, about}, fun) do
    expected = Map.get(requests.sizes, about, 0)
    one = {request, {namespace, bytes, expected, about}, fun}

    case Places.take(requests.places, namespace, bytes, one, expected) do
      {:ok, places} -> start(%{requests | places: places}, one)
      {:waits, places} -> %{requests | places: places}
      :full -> refuse(requests, request, :busy)
    end
  end

  defp start(%{protocol: protocol} = requests, {%{to: to}, {namespace, bytes, expected, about}, fun}) do
    server = self()

    # Nothing is begun of which that can't be said: a link that is busy is waited for. Until then it ends with the server, whose end is told
    # to who asks.
    begun = fn ->
      if begun?(protocol, to) do
        Process.unlink(server)
        fun.()
      end
    end

    {pid, _monitor} = :erlang.spawn_opt(begun, [:link, :monitor])
    one = %{to: to, namespace: namespace, bytes: bytes, later: expected, about: about, held?: false, waits: nil}
    %{requests | doing: Map.put(requests.doing, pid, one)}
  end

  defp begun?(%{begun?: false}, _to), do: true

  defp begun?(protocol, to) do
    {receiver, message} = Protocol.answer(protocol, to, :begun)
    :erlang.send(receiver, message, [:noconnect]) == :ok
  end

  @doc "Is an answer of so many bytes large, so that `hold/3` is to be asked before it goes?"
  @spec large?(bytes :: non_neg_integer) :: boolean
  def large?(bytes), do: bytes > @large

  @doc """
  Counts the bytes of an answer until the process has ended that does what was asked. That is told whether there is room for them; where it
  may wait, once there is. The next answer about the same is expected to have as many.
  """
  @spec hold(t, GenServer.from(), bytes :: non_neg_integer) :: t
  def hold(requests, {pid, _tag} = from, bytes) do
    case requests.doing do
      %{^pid => one} ->
        requests |> expect(one.about, bytes) |> hold(from, %{one | held?: true}, bytes)

      # One of a server before this one.
      _doing ->
        GenServer.reply(from, true)
        requests
    end
  end

  defp hold(requests, {pid, _tag} = from, one, bytes) do
    {places, one} =
      case bring(requests.places, one, bytes, from) do
        {:ok, places} ->
          GenServer.reply(from, true)
          {places, %{one | later: bytes}}

        {:waits, places} ->
          {places, %{one | later: 0, waits: from}}

        :full ->
          GenServer.reply(from, false)
          {requests.places, one}
      end

    next(%{requests | places: places, doing: Map.put(requests.doing, pid, one)})
  end

  # An answer that was begun in the knowledge that it may be large is not lost for being larger.
  defp bring(places, %{namespace: namespace, later: later}, bytes, from) do
    with :full when later > 0 <- Places.bring(places, namespace, bytes, later),
         do: Places.await(places, namespace, bytes, later, from)
  end

  defp expect(%{protocol: %{bytes: :infinity}} = requests, _about, _bytes), do: requests

  defp expect(%{protocol: %{bytes: most}, sizes: sizes} = requests, about, bytes) do
    kept = if map_size(sizes) < @most_sizes, do: sizes, else: %{}
    %{requests | sizes: Map.put(kept, about, min(bytes, div(most, @share)))}
  end

  defp refuse(%{protocol: %{refused: refused}} = requests, %{to: to}, why) do
    if refused, do: answer(requests.protocol, to, refused.(why))
    requests
  end

  @doc "A process has ended: if it did a request, those that wait are begun which have a place now."
  @spec ended(t, pid, reason :: term) :: t
  def ended(requests, pid, reason) do
    case Map.pop(requests.doing, pid) do
      {nil, _doing} ->
        requests

      {one, doing} ->
        if reason != :normal, do: refuse(requests, %{to: one.to}, :failed)
        # Its answer was not large.
        sizes = if one.held?, do: requests.sizes, else: Map.delete(requests.sizes, one.about)
        places = requests.places |> Places.leave(one.waits) |> Places.give_back(one.namespace, one.bytes, one.later)
        next(%{requests | doing: doing, sizes: sizes, places: places})
    end
  end

  # What has been done comes before what is yet to be begun.
  defp next(requests) do
    with :none <- Places.come(requests.places),
         :none <- Places.next(requests.places) do
      requests
    else
      {{pid, _tag} = from, bytes, places} ->
        GenServer.reply(from, true)
        doing = Map.update!(requests.doing, pid, &%{&1 | later: bytes, waits: nil})
        next(%{requests | places: places, doing: doing})

      {one, places} ->
        %{requests | places: places} |> start(one) |> next()
    end
  end

  @doc "What is being done for a namespace, and waits: see `Tidepool.Namespaces.Places.of/2`."
  @spec of(t, Places.namespace()) :: %{held: non_neg_integer, waiting: non_neg_integer, bytes: non_neg_integer}
  def of(requests, namespace), do: Places.of(requests.places, namespace)

  @doc "Waits for those that are being done, for `ms` each."
  @spec drain(t, ms :: non_neg_integer) :: :ok
  def drain(%{doing: doing}, ms) do
    for {_pid, %{waits: from}} when from != nil <- doing, do: GenServer.reply(from, true)
    for {pid, _one} <- doing, do: last(pid, ms)
    :ok
  end

  # Who has an answer may ask for room for it: `hold/3`.
  defp last(pid, ms) do
    receive do
      {:DOWN, _monitor, :process, ^pid, _reason} ->
        :ok

      {:"$gen_call", from, {:hold, _bytes}} ->
        GenServer.reply(from, true)
        last(pid, ms)
    after
      ms -> :ok
    end
  end
end
