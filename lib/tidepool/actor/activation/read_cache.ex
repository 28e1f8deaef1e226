defmodule Tidepool.Actor.Activation.ReadCache do
  @moduledoc """
  Values of buckets that are awake, in tables which any process of the node reads without a message to the bucket's.

  A bucket's process has a table, in which it keeps what it has read or written lately: all of that is on disk. The process is the only one
  that writes the bucket, and it takes out what a change is about before it begins the change: who looks for that meanwhile asks the process,
  whose answer waits for the write. The process closes the table before it gives its name back, and with the process the table is gone. So
  what is found was the bucket's when it was found, if the process is alive afterwards and its lease lasts.

  So many buckets of a node have a table, of which those of a namespace are no more than they leave to others. The others are read from the
  store. A place whose process has ended is free: who comes next sees that.
  """

  alias Tidepool.Actor.Ownership.{Lease, Shards}
  alias Tidepool.Actor.Table
  alias Tidepool.Namespaces.Name

  # {{class, name}, pid, table, lease} of each that is open, and {place, namespace, that row} of each place that is taken.
  @index __MODULE__
  @places 64
  # When all of it goes: it is read again.
  @most_bytes 524_288
  # The longest value.
  @value_bytes 65_536
  # What the VM takes for one, beside its key and its value.
  @entry_bytes 384
  # How long a process does without that has found no place.
  @look_ms 1_000

  @enforce_keys [:place, :row, :table]
  defstruct @enforce_keys

  @typedoc "Whose it is: a bucket, by its class and name, and the lease that its process has it under."
  @type owner :: {class :: String.t(), name :: String.t(), Lease.t()}

  @opaque opened :: %__MODULE__{}

  @typedoc "What a process has of it; it looks for a place again at that time, in ms of the VM's monotonic time, and never when `:closed`."
  @type t :: opened | {:none, until :: integer} | :closed | nil

  @doc "Makes the table of tables, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@index)

  @doc "How many buckets of the node may have a table, and how many bytes each."
  @spec bounds :: {places :: pos_integer, bytes :: pos_integer}
  def bounds, do: {@places, @most_bytes}

  @doc "What is under a key of a bucket, `nil` being nothing; `:none` when its process is to be asked."
  @spec read(class :: String.t(), name :: String.t(), key :: binary) :: {:ok, binary | nil} | :none
  def read(class, name, key) do
    with [{_bucket, pid, table, lease}] <- :ets.lookup(@index, {class, name}),
         [{_key, value}] <- :ets.lookup(table, key),
         # In this order: what holds now has held when the value was found.
         true <- Process.alive?(pid) and Lease.lasts?(lease) and Shards.leased?(),
         do: {:ok, value},
         else: (_none -> :none)
  rescue
    # A table was closed.
    ArgumentError -> :none
  end

  # --- For the process of a bucket alone ------------------------------------------------------------

  @doc "With a table, if there is a place for one."
  @spec open(t, owner) :: t
  def open({:none, until} = none, owner), do: if(now() < until, do: none, else: open(nil, owner))

  def open(nil, {class, name, lease}) do
    table = :ets.new(__MODULE__, [:protected, read_concurrency: true])
    row = {{class, name}, self(), table, lease}
    place = taken(Name.of(class), row)

    if place do
      :ets.insert(table, {:bytes, 0})
      :ets.insert(@index, row)
      %__MODULE__{place: place, row: row, table: table}
    else
      :ets.delete(table)
      {:none, now() + @look_ms}
    end
  rescue
    # What has the table of tables is being restarted.
    ArgumentError -> {:none, now() + @look_ms}
  end

  def open(opened_or_closed, _owner), do: opened_or_closed

  @doc "What is under a key, as `read/3`."
  @spec find(t, key :: binary) :: {:ok, binary | nil} | :none
  def find(%__MODULE__{table: table}, key),
    do: with([{_key, value}] <- :ets.lookup(table, key), do: {:ok, value}, else: ([] -> :none))

  def find(_none, _key), do: :none

  @doc "Keeps what is on disk under a key, and that no write which is under way changes."
  @spec put(t, key :: binary, binary | nil) :: :ok
  def put(%__MODULE__{table: table} = cache, key, value) when value == nil or byte_size(value) <= @value_bytes do
    take(cache, key)
    bytes = counted(key, value)
    if :ets.update_counter(table, :bytes, bytes) > @most_bytes, do: empty(table, bytes)
    # Copied: they may be parts of larger binaries, which would stay as long.
    :ets.insert(table, {:binary.copy(key), value && :binary.copy(value)})
    :ok
  end

  def put(_none, _key, _value), do: :ok

  @doc "Takes out what is about to change."
  @spec take(t, key :: binary) :: :ok
  def take(%__MODULE__{table: table}, key) do
    for {key, value} <- :ets.take(table, key), do: :ets.update_counter(table, :bytes, -counted(key, value))
    :ok
  end

  def take(_none, _key), do: :ok

  @doc "Takes all out: it is not known any more what is on disk."
  @spec clear(t) :: :ok
  def clear(%__MODULE__{table: table}), do: empty(table, 0)
  def clear(_none), do: :ok

  @doc "Ends it: from now on the process is asked."
  @spec close(t) :: :closed
  def close(%__MODULE__{place: place, row: row, table: table}) do
    :ets.delete(table)
    :ets.delete_object(@index, row)
    :ets.delete(@index, place)
    :closed
  rescue
    # What has the table of tables is being restarted, and the process ends with it.
    ArgumentError -> :closed
  end

  def close(_none), do: :closed

  defp empty(table, bytes) do
    :ets.delete_all_objects(table)
    :ets.insert(table, {:bytes, bytes})
    :ok
  end

  defp counted(key, value), do: @entry_bytes + byte_size(key) + byte_size(value || "")

  # Of several that come at once all may find that they are too many, and none that they are not.
  defp taken(namespace, row) do
    with true <- room?(namespace, 1), place when place != nil <- taken(namespace, row, @places) do
      if room?(namespace, 0) do
        place
      else
        :ets.delete(@index, place)
        nil
      end
    else
      _no_room -> nil
    end
  end

  defp taken(_namespace, _row, 0), do: nil

  defp taken(namespace, row, place) do
    mine = {place, namespace, row}

    if :ets.insert_new(@index, mine) or (left?(place) and :ets.insert_new(@index, mine)),
      do: place,
      else: taken(namespace, row, place - 1)
  end

  # Another may have seen that too, and have it by now.
  defp left?(place) do
    case :ets.lookup(@index, place) do
      [{_place, _namespace, {_bucket, pid, _table, _lease} = row} = taken] ->
        not Process.alive?(pid) and :ets.delete_object(@index, row) and :ets.delete_object(@index, taken)

      [] ->
        true
    end
  end

  defp room?(namespace, more) do
    held =
      for place <- 1..@places,
          {_place, of, {_bucket, pid, _table, _lease}} <- :ets.lookup(@index, place),
          Process.alive?(pid),
          do: of

    mine = Enum.count(held, &(&1 == namespace))
    mine + more <= div(@places - (length(held) - mine), 2)
  end

  defp now, do: System.monotonic_time(:millisecond)
end
