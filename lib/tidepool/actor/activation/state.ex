defmodule Tidepool.Actor.Activation.State do
  @moduledoc """
  What an actor's process knows: its instance, its record, and the writes that are under way with the answers that wait for them
  (`OutputGate`). For the process alone, which gets the ends of its writes.
  """

  require Logger

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.{Alarm, Journal}
  alias Tidepool.Actor.Activation.{Activity, OutputGate, ReadCache}
  alias Tidepool.Actor.Journal.{Quota, Record}
  alias Tidepool.Actor.Ownership.Lease
  alias Tidepool.Log.Budget
  alias Tidepool.Namespaces.Turns

  # What the store has beside each value: its usage has them, too.
  @value_bytes 64

  defstruct [
    :class,
    :name,
    :queue,
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
    # Whether its memory was too much for an image to be made on a scheduler.
    large?: false,
    # Until when it may wait to read what is written: as long as the call's time lasts that it serves.
    until: :infinity,
    # Some of its values: `Tidepool.Actor.Activation.Guest.Changes`.
    known: %{},
    # Of a bucket: what that counts.
    known_bytes: 0,
    # Of a bucket: what of it all may read.
    cache: nil,
    # The alarm that is written, or about to be.
    alarm: nil,
    gate: OutputGate.new(),
    # Answers to requests with an id that are about to be written, each with the id of that write.
    fresh: %{},
    # Whether there is something that is not written yet, with the durability `:idle`.
    flush: nil,
    last_error: nil,
    activity: nil
  ]

  @type t :: %__MODULE__{}

  @typedoc "What a call comes to, and whether that waits for the last write or just for those before it."
  @type answer :: {:now | :gated, {:ok, binary} | {:error, Error.t()}}

  @doc "The epoch that its changes have."
  @spec epoch(t) :: pos_integer
  def epoch(%{title: {epoch, _lease}}), do: epoch

  @doc "What is in memory is not what is to go on: the instance is dropped."
  @spec forget(t) :: t
  def forget(state) do
    ReadCache.clear(state.cache)
    %{state | owned: nil, record: nil, decided: nil, known: %{}, known_bytes: 0}
  end

  @doc """
  The actor after what did not run it: an image that was read for a call is not kept until there is one. It would be in its namespace's
  memory, and no call of another could ask for its place.
  """
  @spec rested(t) :: t
  def rested(%{owned: owned} = state) when owned in [nil, :bucket], do: state
  def rested(%{owned: owned} = state), do: if(Native.owned_imaged?(owned), do: forget(state), else: state)

  @doc "Notes bytes that are beside the process's heap."
  @spec saw(t, binary) :: t
  def saw(state, bytes), do: %{state | activity: Activity.saw(state.activity, byte_size(bytes))}

  @doc "Says in the log what has become of the actor, as often as calls of a function that fail are told of there."
  @spec warn(t, String.t()) :: :ok
  def warn(state, what) do
    # Each of very many calls may be one that finds no room on the disk.
    with {:ok, left_out} <- Budget.take({:actor, state.class}) do
      {more, metadata} =
        if left_out > 0,
          do: {" (#{left_out} more before this were not logged)", [tidepool_left_out: left_out]},
          else: {"", []}

      text = "the actor #{state.class}/#{state.name} #{what}#{more}"
      Logger.warning(text, [{:tidepool_function, state.class} | metadata])
    end

    :ok
  end

  @doc "Answers a caller, now or when it is time; `nil` is none."
  @spec answer(t, GenServer.from() | nil, answer) :: t
  def answer(state, nil, {_when, {:ok, _reply}}), do: state

  def answer(state, nil, {_when, {:error, error}}) do
    warn(state, "failed in a call without a caller that waits: #{error.message}")
    state
  end

  def answer(state, from, {whence, answer}) do
    {released, gate} = OutputGate.put(state.gate, whence, {:answer, from, answer})
    release(%{state | gate: gate}, released)
  end

  @doc """
  Has the image written, if it has changed, values with it, and the alarm. The end of that is for `heard/2`.

  With `:kept` something is written in any case; with `:replaced` no image is left of before, either: this is another instance. With
  `:reset` nothing is left of before, as if the actor had just been made.
  """
  @spec write(t, [{key :: binary, binary | nil}], :changed | :kept | :replaced | :reset) ::
          {:ok | {:error, Error.t()}, t}
  def write(state, values, image \\ :changed) do
    with {{:ok, records}, state} <- {Journal.records(), state},
         {{:ok, made}, state} <- image(state) do
      # An instance that has not been called yet is as none.
      new = made || if(image in [:replaced, :reset], do: "")
      record = %{state.record | last_error: state.last_error}
      alarm = state.record.alarm

      if image == :changed and new == nil and values == [] and alarm == state.alarm and state.seq > 0,
        do: {:ok, state},
        else: commit(records, %{state | alarm: alarm}, record, {new, values, image == :reset}, alarm != state.alarm)
    else
      {{:error, error}, state} ->
        {{:error, error}, forget(state)}

      {{:error, reason, message, details}, state} ->
        {{:error, Error.new(reason, message, state.class, details)}, forget(state)}
    end
  end

  defp commit(records, state, record, {image, values, reset?}, rings?) do
    with :ok <- Quota.grow(state.class, more_bytes(state, image, values)) do
      seq = state.seq + 1
      due = Alarm.due(record.alarm)

      tag = if reset?, do: :reset, else: :put
      put = {tag, epoch(state), seq, due, Record.write(record), image, values}
      id = Native.commit_record(records, state.class, state.name, put)
      gate = OutputGate.began(state.gate, id)
      # An alarm that is told of is on disk.
      {[], gate} = if rings?, do: OutputGate.put(gate, :gated, {:alarm, due}), else: {[], gate}
      {:ok, imaged(%{state | seq: seq, gate: gate}, image)}
    else
      {:error, error} -> {{:error, error}, forget(state)}
    end
  end

  # What a value takes the place of is not known here.
  defp more_bytes(state, image, values) do
    image_bytes =
      case image do
        nil -> 0
        {:next, change} -> byte_size(change)
        whole -> byte_size(whole) - state.image_bytes
      end

    for {key, value} when value != nil <- values, reduce: image_bytes do
      bytes -> bytes + byte_size(key) + byte_size(value) + @value_bytes
    end
  end

  # A bucket has none.
  defp image(%{owned: :bucket} = state), do: {{:ok, nil}, state}

  defp image(state) do
    with {{:error, {:limit, :total_memory}, _message, _details}, state} <- made(state), do: again(state)
  end

  # The actor's own images that are on their way to the disk count until they are there, and as garbage until that is collected.
  defp again(state) do
    case await_writes(state) do
      %{owned: nil} = state ->
        {{:error, Error.new(:no_store, "the last write failed", state.class)}, state}

      state ->
        :erlang.garbage_collect()
        made(state)
    end
  end

  defp made(%{owned: owned} = state) do
    case Native.image(owned) do
      :large -> {state |> large() |> changed(), %{state | large?: true}}
      image -> {changed(image), state}
    end
  end

  # Whatever time its caller has left: what was done is not thrown away for want of a turn, which comes.
  defp large(%{owned: owned, class: class}) do
    {:ok, image} = Turns.run(:images, class, :infinity, fn -> Native.image_large(owned) end)
    image
  end

  defp changed(:unchanged), do: {:ok, nil}
  defp changed({:ok, image}), do: {:ok, image}
  defp changed(failure), do: failure

  defp imaged(state, nil), do: state
  defp imaged(state, {:next, change}), do: saw(%{state | image_bytes: state.image_bytes + byte_size(change)}, change)
  defp imaged(state, image), do: saw(%{state | image_bytes: byte_size(image)}, image)

  @doc "Is a message about a write of this process? Then it is for `heard/2`."
  defguard is_write_message(message)
           when is_tuple(message) and tuple_size(message) == 3 and elem(message, 0) == :tidepool_committed

  @doc "What is told of a write: that it has ended, and how."
  @spec heard(t, message :: tuple) :: t
  def heard(state, {:tidepool_committed, id, :ok}) do
    {released, gate} = OutputGate.committed(state.gate, id)
    # Those of this write, and of all before it, are in the store.
    fresh = Map.reject(state.fresh, fn {_request, {_reply, write}} -> write <= id end)
    if state.begun?, do: Quota.written(state.class)
    release(%{state | gate: gate, fresh: fresh, begun?: false}, released)
  end

  def heard(state, {:tidepool_committed, id, {:error, kind, message}}), do: failed(state, id, kind, message)

  # What was computed on it is not kept either: the writes after it are refused, for they don't follow what there is.
  defp failed(state, id, kind, message) do
    error = Journal.error(kind, message, state.class)

    if kind == :unknown_outcome,
      do: warn(state, "was written, or not, and is read anew: #{message}"),
      else: warn(state, "was not written, and is as it was before: #{message}")

    # One that found no room is told of at once, when those before it may still be on their way.
    {released, gate} = OutputGate.failed(state.gate, id, {:error, error})
    # One that was written, or not, may be seen in the store later than what is read meanwhile.
    cache = if kind == :unknown_outcome, do: ReadCache.close(state.cache), else: state.cache
    state = %{state | gate: gate, fresh: %{}, cache: cache}
    state |> forget() |> release(released)
  end

  defp release(state, released) do
    for output <- released do
      case output do
        {:answer, from, answer} -> reply(state, from, answer)
        # One that is due already is found now.
        {:alarm, due} -> Alarm.told(due)
      end
    end

    state
  end

  # The node that has the actor by now may have answered others since.
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

  @doc "Waits for all writes."
  @spec await_writes(t) :: t
  def await_writes(state) do
    if OutputGate.idle?(state.gate) do
      state
    else
      receive do
        message when is_write_message(message) -> state |> heard(message) |> await_writes()
      end
    end
  end

  @doc "With room for one answer more: waits for all writes when too many answers do."
  @spec room(t) :: t
  def room(state), do: if(OutputGate.full?(state.gate), do: await_writes(state), else: state)

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
