defmodule Tidepool.Actor.Copies.Keeper do
  @moduledoc """
  Keeps this node's copies of actors that other nodes have. There are some of these processes, each for its part of the shards, so what
  comes of one actor is kept in the order in which it was sent:

      {:tidepool_copy, version, {alias, id}, what}, where what is
        {:put, class, name, mark before, mark, {tag, due, head, image, values}}
        {:whole, class, name, mark, whole}
      {:tidepool_copied, node, id, :ok | :need | :failed}

  A put is what the owner has written, and is written here likewise when what is here is what it was written on; or else the answer is
  `:need`, and all of the actor is sent. Nothing is answered before it is on disk.
  """

  use GenServer

  require Logger

  alias Tidepool.Native
  alias Tidepool.Actor.{Record, Store}
  alias Tidepool.Actor.Copies.{Hold, Kept, Mark, Merge, Wanted, Written}
  alias Tidepool.Actor.Owner.Shards
  alias Tidepool.Actor.Store.Frozen
  alias Tidepool.Process.Asked

  # Parts of the protocol.
  @version 1
  @parts 8
  # What is remembered of actors, so that they need not be read for each put.
  @most_known 10_000

  @doc "All of them."
  @spec children :: [Supervisor.child_spec()]
  def children, do: for(part <- 0..(@parts - 1), do: Supervisor.child_spec({__MODULE__, part}, id: {__MODULE__, part}))

  @doc false
  def start_link(part), do: GenServer.start_link(__MODULE__, nil, name: server(part))

  defp server(part), do: Module.concat(__MODULE__, "Part#{part}")

  @doc """
  Sends something to be kept of an actor; the answer comes to the alias. Does not wait: for a busy link another process does. Not sent is
  what would need a new link.
  """
  @spec send(node :: String.t(), {reference, id :: term}, what :: tuple) :: sent? :: boolean
  def send(node, to, what) do
    server = what |> elem(1) |> Native.record_shard(elem(what, 2)) |> rem(@parts) |> server()
    receiver = {server, String.to_atom(node)}
    message = {:tidepool_copy, @version, to, what}

    case :erlang.send(receiver, message, [:noconnect, :nosuspend]) do
      :ok -> true
      :noconnect -> false
      # A node that stands still is not to have more and more of them.
      :nosuspend -> not Hold.late?(node) and is_pid(spawn(fn -> :erlang.send(receiver, message, [:noconnect]) end))
    end
  end

  @impl true
  def init(nil),
    do: {:ok, %{known: %{}, pending: %{}, modules: MapSet.new(), admitted: Asked.new("copies of actors", @version)}}

  @impl true
  def handle_info({:tidepool_copy, version, {ref, _id} = to, what}, state) when is_reference(ref) do
    case Asked.admit(state.admitted, node(ref), version, &Shards.nodes/0) do
      {:ok, admitted} ->
        if what?(what),
          do: {:noreply, kept(what, to, %{state | admitted: admitted})},
          else: {:noreply, %{state | admitted: Asked.unreadable(admitted, node(ref))}}

      {:ignore, admitted} ->
        {:noreply, %{state | admitted: admitted}}
    end
  end

  def handle_info({:tidepool_committed, id, outcome}, state), do: {:noreply, committed(state, id, outcome)}
  def handle_info(_other, state), do: {:noreply, state}

  defp kept({:put, class, name, before, mark, {tag, due, head, image, values}}, to, state) do
    with {:ok, records} <- Store.records(),
         {{^before, seq, written}, state} <- known(records, {class, name}, state),
         # There are two at the moment, and that is not for this process alone to decide.
         [] <- Registry.lookup(Tidepool.Actor.Registry, {class, name}) do
      Frozen.drop(class, name)
      id = Native.commit_record(records, class, name, {tag, 1, seq + 1, due, head, image, values})
      state = module(state, class, name, head, to)

      %{
        state
        | known: Map.put(state.known, {class, name}, {mark, seq + 1, written}),
          pending: Map.put(state.pending, id, {to, class, name})
      }
    else
      {:error, error} ->
        failed(state, to, error.message)

      _another_or_awake ->
        state |> unknown(class, name) |> answer(to, if(there?(class, name, mark), do: :ok, else: :need))
    end
  end

  defp kept({:whole, class, name, mark, whole}, to, state) do
    state = state |> flushed() |> unknown(class, name)

    state =
      with {:there, head, _image, _values} <- whole, do: module(state, class, name, head, to), else: (:gone -> state)

    merged = fn ->
      case Merge.merge(class, name, mark, whole) do
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

  # It was sent with all of the actor before.
  defp there?(class, name, mark) do
    with {:ok, records} <- Store.records(),
         {:ok, %{mark: own}} <- Kept.head(records, class, name),
         do: Mark.compare(mark, own) in [:same, :before],
         else: (_none -> false)
  end

  # What is remembered counts as long as nobody else has written the record. Otherwise a put that is refused, for it has another number
  # than the record by then, would have the next one behind it taken, which has the right one and was made on another state.
  defp known(records, {class, name} = key, state) do
    written = Written.count(class, name)

    case state.known do
      %{^key => {_mark, _seq, ^written} = known} ->
        {known, state}

      _unknown ->
        # Of one that was remembered some writes may be on their way.
        state = if is_map_key(state.known, key), do: state |> flushed() |> unknown(class, name), else: state

        known =
          with false <- written?(class, name),
               {:ok, found} <- Kept.read(records, class, name),
               do: if(found, do: {found.mark, found.seq, written}, else: {Mark.none(), 0, written}),
               else: (_another_or_unreadable -> :unreadable)

        {known, if(map_size(state.known) < @most_known, do: state, else: %{state | known: %{}})}
    end
  end

  # Is it about to be written by others?
  defp written?(class, name) do
    Hold.held?(class, name) or Hold.leaving?(class, name) or
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
    if Hold.tell?(:failed) do
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

  defp answer(state, {ref, id}, answer) do
    message = {:tidepool_copied, to_string(node()), id, answer}

    # Over a busy link another process waits: who has asked would take this node for one that is late.
    with :nosuspend <- :erlang.send(ref, message, [:noconnect, :nosuspend]),
         do: spawn(fn -> :erlang.send(ref, message, [:noconnect]) end)

    state
  end

  # The module that it runs may be another than the one that is deployed. What does not come of it is asked for again.
  defp module(state, class, name, head, {ref, _id}) do
    with {:ok, %{sha256: sha256}} <- Record.read(head, class, name), false <- MapSet.member?(state.modules, sha256) do
      from = to_string(node(ref))
      spawn(fn -> Wanted.brought(class, sha256, [from]) end)
      %{state | modules: MapSet.put(state.modules, sha256)}
    else
      _known_or_of_a_later_version -> state
    end
  end

  defp what?({:put, class, name, before, mark, {tag, due, head, image, values}}) do
    is_binary(class) and is_binary(name) and Mark.valid?(before) and Mark.valid?(mark) and tag in [:put, :reset] and
      (due == nil or is_integer(due)) and is_binary(head) and image?(image) and
      Kept.values?(values, &(&1 == nil or is_binary(&1)))
  end

  defp what?({:whole, class, name, mark, whole}),
    do: is_binary(class) and is_binary(name) and Mark.valid?(mark) and Kept.whole?(whole)

  defp what?(_other), do: false

  defp image?({:next, change}), do: is_binary(change)
  defp image?(image), do: image == nil or is_binary(image)
end
