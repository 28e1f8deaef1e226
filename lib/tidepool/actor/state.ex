defmodule Tidepool.Actor.State do
  @moduledoc """
  What an actor's process has: its instance, what is written of it and what is about to be, and the gate, where answers wait, in
  the order of their calls, each for the write with its number. For the process alone, which gets the ends of its writes.
  """

  require Logger

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.{Alarm, Copies, Quota, Record, Store}
  alias Tidepool.Actor.Owner.Lease

  defstruct [
    :class,
    :name,
    :line,
    :options,
    # The instance, and the version of the class that it was last known to be of.
    :owned,
    :deployed,
    # That for which it is known whether the actor goes over to it.
    :decided,
    # What is written, or about to be; `nil` as long as nothing is. `seq` is its number.
    :record,
    # Whether it is new, and was never written.
    begun?: false,
    # Under what this node owns it: its changes have the epoch, and its answers need the lease.
    title: {1, nil},
    seq: 0,
    image_bytes: 0,
    # Some of its values: `Tidepool.Actor.Guest.Turn`.
    known: %{},
    # The alarm that is written, or about to be, and `{id, due}` of a write that has set another.
    alarm: nil,
    rings: nil,
    # The last write, and answers that wait for theirs: `{id, from, answer}`.
    last: 0,
    pending: 0,
    gate: :queue.new(),
    # Writes that other nodes get when they are on disk here; those of which nodes have not said yet that they have them, with the
    # nodes' names; and where they say so.
    unsent: %{},
    copying: %{},
    alias: nil,
    # Answers to requests with an id that are about to be written.
    fresh: %{},
    # Whether there is something that is not written yet, with the durability `:idle`.
    flush: nil,
    calls: 0,
    last_error: nil,
    # Bytes of payloads, replies and images since garbage was collected.
    seen: 0,
    # When it was called last, and since when somebody is in the line who does not come, in ms of the VM's monotonic time.
    called_at: 0,
    lingers_since: nil,
    # Whether its shard is about to be another node's.
    leaving?: false
  ]

  @type t :: %__MODULE__{}

  @typedoc "What a call comes to, and whether that waits for the last write or just for those before it."
  @type answer :: {:now | :gated, {:ok, binary} | {:error, Error.t()}}

  @doc "The epoch that its changes have."
  @spec epoch(t) :: pos_integer
  def epoch(%{title: {epoch, _lease}}), do: epoch

  @doc "What is in memory is not what is to go on: the instance is dropped."
  @spec forget(t) :: t
  def forget(state), do: %{state | owned: nil, record: nil, decided: nil, known: %{}}

  @doc "Notes bytes that are beside the process's heap."
  @spec saw(t, binary) :: t
  def saw(state, bytes), do: %{state | seen: state.seen + byte_size(bytes)}

  @doc "Says in the log what has become of the actor."
  @spec warn(t, String.t()) :: :ok
  def warn(state, what),
    do: Logger.warning("the actor #{state.class}/#{state.name} #{what}", tidepool_function: state.class)

  @doc "Answers whoever called, now or when it is time; `nil` is nobody."
  @spec answer(t, GenServer.from() | nil, answer) :: t
  def answer(state, nil, {_when, {:ok, _reply}}), do: state

  def answer(state, nil, {_when, {:error, error}}) do
    warn(state, "failed in a call that nobody waits for: #{error.message}")
    state
  end

  def answer(%{pending: 0} = state, from, {_when, answer}) do
    reply(state, from, answer)
    state
  end

  # Those before it are first, even if it waits for nothing itself.
  def answer(state, from, {:now, answer}), do: %{state | gate: :queue.in({:now, from, answer}, state.gate)}
  def answer(state, from, {:gated, answer}), do: %{state | gate: :queue.in({state.last, from, answer}, state.gate)}

  @doc """
  Has the image written, if it has changed, values with it, and the alarm. The end of that is for `committed/3`.

  With `:kept` something is written in any case; with `:replaced` no image is left of before, either: this is another instance. With
  `:reset` nothing is left of before, as if the actor had just been made.
  """
  @spec write(t, [{key :: binary, binary | nil}], :changed | :kept | :replaced | :reset) ::
          {:ok | {:error, Error.t()}, t}
  def write(state, values, image \\ :changed) do
    with {:ok, records} <- Store.records(),
         {:ok, made} <- image(state.owned) do
      # An instance that has not been called yet is as none.
      new = made || if(image in [:replaced, :reset], do: "")
      record = %{state.record | last_error: state.last_error}
      alarm = state.record.alarm

      if image == :changed and new == nil and values == [] and alarm == state.alarm and state.seq > 0,
        do: {:ok, state},
        else: commit(records, %{state | alarm: alarm}, record, {new, values, image == :reset}, alarm != state.alarm)
    else
      {:error, error} ->
        {{:error, error}, forget(state)}

      {:error, reason, message, details} ->
        {{:error, Error.new(reason, message, state.class, details)}, forget(state)}
    end
  end

  defp commit(records, state, record, {image, values, reset?}, rings?) do
    with :ok <- Quota.grow(state.class, more_bytes(state, image, values)) do
      seq = state.seq + 1
      due = Alarm.due(record.alarm)
      {before, %{mark: mark} = record} = Copies.marked(state.class, state.name, record, state.seq, state.options)
      tag = if reset?, do: :reset, else: :put
      head = Record.write(record)
      id = Native.commit_record(records, state.class, state.name, {tag, epoch(state), seq, due, head, image, values})
      rings = if rings?, do: {id, due}, else: state.rings
      state = unsent(state, id, {before, mark, {tag, due, head, image, values}})
      state = %{state | seq: seq, last: id, pending: state.pending + 1, rings: rings}
      {:ok, imaged(%{state | record: %{state.record | mark: mark}}, image)}
    else
      {:error, error} -> {{:error, error}, forget(state)}
    end
  end

  defp unsent(state, id, sent),
    do: if(Copies.copied?(state.options), do: put_in(state.unsent[id], sent), else: state)

  # What a value takes the place of is not known here.
  defp more_bytes(state, image, values) do
    image_bytes =
      case image do
        nil -> 0
        {:next, change} -> byte_size(change)
        whole -> byte_size(whole) - state.image_bytes
      end

    for {key, value} when value != nil <- values, reduce: image_bytes do
      bytes -> bytes + byte_size(key) + byte_size(value)
    end
  end

  defp image(owned) do
    case Native.image(owned) do
      :large -> changed(Native.image_large(owned))
      image -> changed(image)
    end
  end

  defp changed(:unchanged), do: {:ok, nil}
  defp changed(image), do: image

  defp imaged(state, nil), do: state
  defp imaged(state, {:next, change}), do: saw(%{state | image_bytes: state.image_bytes + byte_size(change)}, change)
  defp imaged(state, image), do: saw(%{state | image_bytes: byte_size(image)}, image)

  @doc "A write has come to its end here. Other nodes may be to have it as well."
  @spec committed(t, id :: pos_integer, :ok | {:error, kind :: atom, message :: String.t()}) :: t
  def committed(%{unsent: unsent} = state, id, :ok) when is_map_key(unsent, id) do
    {sent, unsent} = Map.pop!(unsent, id)
    state = %{state | unsent: unsent, alias: state.alias || :erlang.alias()}

    case Copies.send_put(state.class, state.name, state.options, {state.alias, id}, sent) do
      [] ->
        committed(state, id, :ok)

      nodes ->
        Process.send_after(self(), {:tidepool_late, id}, Copies.wait_ms(elem(sent, 2)))
        put_in(state.copying[id], MapSet.new(nodes))
    end
  end

  def committed(state, id, :ok) do
    state = told(%{state | pending: state.pending - 1}, id)
    fresh = if state.pending == 0, do: %{}, else: state.fresh
    if state.begun?, do: Quota.written(state.class)
    open(%{state | fresh: fresh, begun?: false}, id)
  end

  # What was computed on it is not kept either: the writes after it are refused, for they don't follow what there is.
  def committed(state, id, {:error, kind, message}) do
    error = Store.error(kind, message, state.class)

    if kind == :unknown_outcome,
      do: warn(state, "was written, or not, and is read anew: #{message}"),
      else: warn(state, "was not written, and is as it was before: #{message}")

    # One that found no room is told of at once, when those before it may still be on their way.
    failed = fn
      {^id, from, _answer} -> [{:now, from, {:error, error}}]
      _other -> true
    end

    gate = :queue.filter(failed, state.gate)
    state = %{state | unsent: Map.delete(state.unsent, id)}
    open(forget(%{state | pending: state.pending - 1, fresh: %{}, gate: gate}), 0)
  end

  @doc "A node has answered that it has a write; or that it has not what that was made on, so it is sent all."
  @spec copied(t, id :: pos_integer, node :: String.t(), :ok | :need | :failed) :: t
  def copied(%{copying: copying} = state, id, node, answer) when is_map_key(copying, id) do
    if answer == :need and Copies.send_whole(state.class, state.name, {state.alias, id}, node) do
      state
    else
      if answer != :ok, do: Copies.missed(state.class, state.name, node, answer)
      nodes = MapSet.delete(copying[id], node)
      if MapSet.size(nodes) == 0, do: over(state, id), else: put_in(state.copying[id], nodes)
    end
  end

  def copied(state, _id, _node, _late), do: state

  @doc "A write has waited long enough for other nodes. What they lack they get later."
  @spec late(t, id :: pos_integer) :: t
  def late(%{copying: copying} = state, id) when is_map_key(copying, id) do
    Copies.late(state.class, state.name, copying[id])
    over(state, id)
  end

  def late(state, _id), do: state

  defp over(state, id), do: committed(%{state | copying: Map.delete(state.copying, id)}, id, :ok)

  # Whoever has the actor by now may have answered others since.
  defp reply(%{title: {_epoch, lease}} = state, from, answer) do
    # Of what was not begun, or not kept, there is nothing that others could have changed.
    if Lease.lasts?(lease) or match?({:error, %Error{reason: :no_store}}, answer) do
      GenServer.reply(from, answer)
    else
      message =
        "this node's lease ran out while #{state.class}/#{state.name} had the call: what that did may be kept, or not"

      GenServer.reply(from, {:error, Error.new(:unknown_outcome, message, state.class)})
    end
  end

  # An alarm that is due already is found by whoever looks now.
  defp told(%{rings: {id, due}} = state, id) do
    Alarm.told(due)
    %{state | rings: nil}
  end

  defp told(state, _id), do: state

  # Lets answers out that wait for the write with this number, or one before it, and those between it and the next.
  defp open(state, id) do
    case :queue.peek(state.gate) do
      {:value, {waits, from, answer}} when waits == :now or waits <= id ->
        reply(state, from, answer)
        open(%{state | gate: :queue.drop(state.gate)}, id)

      _later_or_none ->
        state
    end
  end

  @doc "Waits for all writes."
  @spec await_writes(t) :: t
  def await_writes(%{pending: 0} = state), do: state

  def await_writes(state) do
    receive do
      {:tidepool_committed, id, outcome} -> state |> committed(id, outcome) |> await_writes()
      {:tidepool_copied, node, id, answer} -> state |> copied(id, node, answer) |> await_writes()
      {:tidepool_late, id} -> state |> late(id) |> await_writes()
    end
  end

  @doc "Waits until all is written that there is."
  @spec written(t) :: {:ok, t} | {:error, Error.t(), t}
  def written(state) do
    if state.flush, do: Process.cancel_timer(state.flush)

    with {:dirty, true} <- {:dirty, state.flush != nil and state.owned != nil},
         {:ok, state} <- write(%{state | flush: nil}, []) do
      state = await_writes(state)
      # A write that failed has dropped the instance.
      if state.owned,
        do: {:ok, state},
        else: {:error, Error.new(:no_store, "the last write failed", state.class), state}
    else
      {:dirty, false} -> {:ok, await_writes(%{state | flush: nil})}
      {{:error, error}, state} -> {:error, error, state}
    end
  end
end
