defmodule Tidepool.Actor.Activation do
  @moduledoc "From what is written of an actor, in the store or still in memory, to an instance of it; and to sleep."

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.Activation.{AdmissionQueue, Guest, Modules, State}
  alias Tidepool.Actor.{Bucket, Journal}
  alias Tidepool.Actor.Journal.{Frozen, Quota, Record}
  alias Tidepool.Namespaces.Turns

  # An image of more bytes is read only once there is room for it.
  @large_bytes 262_144
  # One of more is not left on the heap of a process that waits: so much of one counts for no namespace.
  @left_bytes 65_536

  @doc """
  The actor with an instance that its class, as it is deployed now, may run; `create` says whether one is made that there has not been.
  """
  @spec loaded(State.t(), create :: boolean) :: {:ok, State.t()} | {:error, Error.t(), State.t()}
  def loaded(%{owned: nil} = state, create) do
    with {:ok, state} <- known(State.await_writes(state), create), do: {:ok, state}
  end

  # A bucket has no class that is deployed anew.
  def loaded(%{owned: :bucket} = state, _create), do: {:ok, state}

  def loaded(state, create) do
    # The class may have been removed meanwhile, or be none any more. An instance has the limits that it was made with.
    with false <- Modules.deployed?(state.class, state.deployed),
         {:ok, _function} <- Modules.class(state.class),
         {:ok, state} <- State.written(state) do
      loaded(State.forget(state), create)
    else
      true -> {:ok, state}
      {:error, error} -> {:error, error, state}
      {:error, error, state} -> {:error, error, state}
    end
  end

  @doc "The actor with what is written of it; for one whose class may be gone."
  @spec known(State.t(), create :: boolean) :: {:ok, State.t()} | {:error, Error.t(), State.t()}
  def known(%{record: nil} = state, create) do
    case Frozen.take(state.class, state.name, state.title) do
      nil -> read(state, create)
      {seq, head, image} -> begin({State.epoch(state), seq, nil, head, image}, create, state, nil)
    end
  end

  def known(state, _create), do: {:ok, state}

  defp read(state, create) do
    with {:ok, records} <- Journal.records(),
         # The process before this one may have been killed while it wrote.
         :ok <- Journal.settle(records, state.class, state.name),
         {:ok, found, room} <- found(records, state) do
      begin(found, create, state, room)
    else
      {:error, error} -> {:error, error, state}
    end
  end

  # With the room that there is for the image, if it is a large one.
  defp found(records, %{class: class, name: name, until: until}) do
    with {:larger, {_seq, _alarm_at, bytes, head}} <-
           Journal.read_up_to(records, class, name, @large_bytes, class, until),
         {:ok, record} <- Record.read(head, class, name),
         {:ok, {_function, native}} <- of(class, record.sha256),
         {:ok, room} <- room(native, bytes, class) do
      with_room(room, Journal.read(records, class, name, class, until))
    else
      {:ok, found} -> {:ok, found, nil}
      {:error, error} -> {:error, error}
    end
  end

  defp with_room(room, {:ok, found}) when found != nil, do: {:ok, found, room}

  defp with_room(room, none) do
    if room, do: Native.free_image_room(room)
    with {:ok, nil} <- none, do: {:ok, nil, nil}
  end

  # A bucket has no image.
  defp room(:bucket, _bytes, _class), do: {:ok, nil}

  defp room(native, bytes, class) do
    with {:error, reason, message, details} <- Native.image_room(native, bytes),
         do: {:error, Error.new(reason, message, class, details)}
  end

  @doc """
  What is written of an actor, to be left in memory when it sleeps, if its class has it so; to be said when all of it is written. `nil` if there
  is none, and of one with much memory when no turn of its namespace's to copy that has come until then.
  """
  @spec copy(State.t(), Turns.until()) :: Frozen.copy() | nil
  def copy(%State{owned: owned, seq: seq, activity: %{leaving?: false}, options: %{frozen: ms}} = state, until)
      when owned != nil and seq > 0 and ms > 0 do
    head = Record.write(%{state.record | last_error: state.last_error})

    Frozen.made(byte_size(head) + state.image_bytes, fn ->
      with {:ok, {:ok, image}} <- image(state, until), do: {state.title, seq, head, image}
    end)
  end

  def copy(%State{}, _until), do: nil

  defp image(%{large?: true, class: class, owned: owned}, until),
    do: Turns.run(:images, class, until, fn -> Native.image_copy(owned) end)

  defp image(%{owned: owned}, _until), do: {:ok, Native.image_copy(owned)}

  defp begin(nil, false, state, _room), do: {:error, Journal.unknown(state.class, state.name), state}

  defp begin(nil, true, state, _room) do
    # Where there is no room for an actor no module is kept for it.
    with :ok <- Quota.begin(state.class),
         {:ok, {function, native}, stamp} <- newest(state.class) do
      state = %{state | record: Record.new(function, stamp), seq: 0, begun?: true, image_bytes: 0, alarm: nil}
      own(state, {function, native}, nil, nil)
    else
      {:error, error} -> {:error, error, state}
    end
  end

  defp begin({_epoch, seq, _alarm_at, head, image}, _create, state, room) do
    with {:ok, record} <- Record.read(head, state.class, state.name),
         {:ok, loaded} <- of(state.class, record.sha256) do
      state = %{state | record: record, seq: seq, image_bytes: byte_size(image || ""), alarm: record.alarm}
      own(%{state | last_error: state.last_error || record.last_error}, loaded, image, room)
    else
      {:error, error} ->
        if room, do: Native.free_image_room(room)
        {:error, error, state}
    end
  end

  # A bucket has no module.
  defp newest(class),
    do: if(Bucket.class?(class), do: {:ok, {Bucket.function(class), :bucket}, nil}, else: Modules.newest(class))

  defp of(class, sha256),
    do: if(Bucket.class?(class), do: {:ok, {Bucket.function(class), :bucket}}, else: Modules.of(class, sha256))

  # No image is one of nothing.
  defp owned(native, "", room), do: owned(native, nil, room)
  defp owned(native, image, room) when room == nil or image == nil, do: Native.own(native, image)
  defp owned(native, image, room), do: Native.own_in(native, image, room)

  defp own(state, {_function, :bucket}, _image, _room), do: {:ok, Guest.Bucket.own(state)}

  defp own(state, {function, native}, image, room) do
    bytes = byte_size(image || "")
    owned = owned(native, image, room)
    # By now it is the instance's, or garbage.
    if bytes > @left_bytes, do: :erlang.garbage_collect()

    case owned do
      {:ok, owned} ->
        # Those who call it look there how many may wait.
        if state.options != function.actor, do: AdmissionQueue.bound(state.queue, function.actor)
        {:ok, %{state | owned: owned, deployed: function.version, options: function.actor}}

      {:error, reason, message, details} ->
        {:error, Error.new(reason, message, state.class, details), State.forget(state)}
    end
  end
end
