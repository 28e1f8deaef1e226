defmodule Tidepool.Actor.Replication.ReplicaWriter do
  @moduledoc """
  Keeps this node's copies of actors that other nodes have. There are some of these processes, each for its part of the shards, so what
  comes of one actor is kept in the order in which it was sent:

      what is sent, in the form `:counted` of `Tidepool.Nodes.Protocol`, is
        {:put, class, name, vector before, vector, {tag, due, head, image, values}}
        {:whole, class, name, vector, whole}
      and is answered by {:tidepool_copied, node, id, :ok | :need | :failed}

  A put is what the owner has written, and is written here likewise when what is here is what it was written on; or else the answer is
  `:need`, and all of the actor is sent. Nothing is answered before it is on disk.
  """

  use GenServer

  require Logger

  alias Tidepool.Native
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.{Frozen, Record, VersionVector}
  alias Tidepool.Actor.Ownership.{ActorLock, Shards}
  alias Tidepool.Actor.Replication.{Merge, MissingModules, PeerHealth, Replica, WriteCounts}
  alias Tidepool.Nodes.{Ask, Protocol, Requests}

  # Both are parts of the protocol, as older nodes speak it: each process is called so, with its number.
  @process :"Elixir.Tidepool.Actor.Copies.Keeper"
  @parts 8
  @protocol %Protocol{
    server: @process,
    tag: :tidepool_copy,
    version: 1,
    what: "copies of actors",
    form: :counted,
    reply: :tidepool_copied
  }
  # What is remembered of actors, so that they need not be read for each put.
  @most_known 10_000

  @doc "All of them."
  @spec children :: [Supervisor.child_spec()]
  def children, do: for(part <- 0..(@parts - 1), do: Supervisor.child_spec({__MODULE__, part}, id: {__MODULE__, part}))

  @doc false
  def start_link(part), do: GenServer.start_link(__MODULE__, nil, name: process(part))

  @doc "The name of one of them."
  @spec process(part :: 0..7) :: atom
  def process(part), do: Module.concat(@process, "Part#{part}")

  @doc """
  Sends something to be kept of an actor; the answer comes to the alias. Does not wait: for a busy link another process does. Not sent is
  what would need a new link.
  """
  @spec send(node :: String.t(), {reference, id :: term}, what :: tuple) :: sent? :: boolean
  def send(node, to, what) do
    server = what |> elem(1) |> Native.record_shard(elem(what, 2)) |> rem(@parts) |> process()
    receiver = {server, String.to_atom(node)}

    case Ask.tell(@protocol, receiver, to, what) do
      :ok -> true
      :noconnect -> false
      # A node that stands still is not to have more and more of them.
      :nosuspend -> not PeerHealth.late?(node) and Ask.tell_later(@protocol, receiver, to, what)
    end
  end

  @impl true
  def init(nil),
    do: {:ok, %{known: %{}, pending: %{}, modules: MapSet.new(), requests: Requests.new(@protocol, &Shards.nodes/0)}}

  @impl true
  def handle_info({:tidepool_committed, id, outcome}, state), do: {:noreply, committed(state, id, outcome)}

  def handle_info(message, state) do
    Requests.handle(state, message, fn %{to: to, question: what} = request, state ->
      if what?(what),
        do: kept(what, to, state),
        else: %{state | requests: Requests.unreadable(state.requests, request)}
    end)
  end

  defp kept({:put, class, name, _before, _mark, _write} = put, to, state) do
    case Journal.records() do
      {:ok, records} ->
        # Whatever comes of the put, what is known by now has taken the ends of writes that were on their way.
        {known, state} = known(records, {class, name}, state)
        put(put, known, records, to, state)

      {:error, error} ->
        failed(state, to, error.message)
    end
  end

  defp kept({:whole, class, name, vector, whole}, to, state) do
    state = state |> flushed() |> unknown(class, name)

    state =
      with {:there, head, _image, _values} <- whole, do: module(state, class, name, head, to), else: (:gone -> state)

    merged = fn ->
      case Merge.merge(class, name, vector, whole) do
        :ok -> answer(state, to, :ok)
        {:error, error} -> failed(state, to, error.message)
      end
    end

    # One that is awake serves those first who have called it, and others of this part don't wait for that. What comes of it meanwhile
    # is made of another state than there is by then, and so comes to nothing; all of it is sent after that.
    if Registry.lookup(Tidepool.Actor.Registry, {class, name}) == [] do
      merged.()
    else
      spawn(merged)
      state
    end
  end

  defp put(
         {:put, class, name, before, vector, {tag, due, head, image, values}},
         {before, seq, written},
         records,
         to,
         state
       ) do
    # There are two at the moment, and that is not for this process alone to decide.
    if Registry.lookup(Tidepool.Actor.Registry, {class, name}) == [] do
      Frozen.drop(class, name)
      id = Native.commit_record(records, class, name, {tag, 1, seq + 1, due, head, image, values})
      state = module(state, class, name, head, to)

      %{
        state
        | known: Map.put(state.known, {class, name}, {vector, seq + 1, written}),
          pending: Map.put(state.pending, id, {to, class, name})
      }
    else
      unsuited(class, name, vector, to, state)
    end
  end

  defp put({:put, class, name, _before, vector, _write}, _another, _records, to, state),
    do: unsuited(class, name, vector, to, state)

  # What is here is not what it was written on.
  defp unsuited(class, name, vector, to, state),
    do: state |> unknown(class, name) |> answer(to, if(there?(class, name, vector), do: :ok, else: :need))

  # It was sent with all of the actor before.
  defp there?(class, name, vector) do
    with {:ok, records} <- Journal.records(),
         {:ok, %{vector: own}} <- Replica.head(records, class, name),
         do: VersionVector.compare(vector, own) in [:same, :before],
         else: (_none -> false)
  end

  # What is remembered counts as long as no other process has written the record. Otherwise a put that is refused, for it has another number
  # than the record by then, would have the next one behind it taken, which has the right one and was made on another state.
  defp known(records, {class, name} = key, state) do
    written = WriteCounts.count(class, name)

    case state.known do
      %{^key => {_mark, _seq, ^written} = known} ->
        {known, state}

      _unknown ->
        # Of one that was remembered some writes may be on their way.
        state = if is_map_key(state.known, key), do: state |> flushed() |> unknown(class, name), else: state

        known =
          with false <- written?(class, name),
               {:ok, found} <- Replica.read(records, class, name),
               do: if(found, do: {found.vector, found.seq, written}, else: {VersionVector.none(), 0, written}),
               else: (_another_or_unreadable -> :unreadable)

        {known, if(map_size(state.known) < @most_known, do: state, else: %{state | known: %{}})}
    end
  end

  # Is it about to be written by others?
  defp written?(class, name) do
    ActorLock.held?(class, name) or ActorLock.leaving?(class, name) or
      Registry.lookup(Tidepool.Actor.Registry, {class, name}) != []
  end

  defp unknown(state, class, name), do: %{state | known: Map.delete(state.known, {class, name})}

  defp committed(state, id, outcome) do
    {{to, class, name}, pending} = Map.pop!(state.pending, id)
    state = %{state | pending: pending}

    case outcome do
      :ok ->
        answer(state, to, :ok)

      {:error, kind, _message} when kind in [:out_of_order, :failed] ->
        state |> unknown(class, name) |> answer(to, :need)

      {:error, _kind, message} ->
        state |> unknown(class, name) |> failed(to, message)
    end
  end

  defp failed(state, to, message) do
    if PeerHealth.tell?(:failed) do
      Logger.warning(
        "copies of other nodes' actors can't be kept here, and their writes are answered without: #{message}"
      )
    end

    answer(state, to, :failed)
  end

  defp flushed(%{pending: pending} = state) when pending == %{}, do: state

  defp flushed(state) do
    receive do
      {:tidepool_committed, id, outcome} -> state |> committed(id, outcome) |> flushed()
    end
  end

  # Over a busy link another process waits: who has asked would take this node for one that is late.
  defp answer(state, to, answer) do
    Requests.answer(@protocol, to, answer)
    state
  end

  # The module that it runs may be another than the one that is deployed. What does not come of it is asked for again.
  defp module(state, class, name, head, {ref, _id}) do
    with {:ok, %{sha256: sha256}} <- Record.read(head, class, name), false <- MapSet.member?(state.modules, sha256) do
      from = to_string(node(ref))
      spawn(fn -> MissingModules.brought(class, sha256, [from]) end)
      %{state | modules: MapSet.put(state.modules, sha256)}
    else
      _known_or_of_a_later_version -> state
    end
  end

  defp what?({:put, class, name, before, vector, {tag, due, head, image, values}}) do
    is_binary(class) and is_binary(name) and VersionVector.valid?(before) and VersionVector.valid?(vector) and
      tag in [:put, :reset] and
      (due == nil or is_integer(due)) and is_binary(head) and image?(image) and
      Replica.values?(values, &(&1 == nil or is_binary(&1)))
  end

  defp what?({:whole, class, name, vector, whole}),
    do: is_binary(class) and is_binary(name) and VersionVector.valid?(vector) and Replica.whole?(whole)

  defp what?(_other), do: false

  defp image?({:next, change}), do: is_binary(change)
  defp image?(image), do: image == nil or is_binary(image)
end
