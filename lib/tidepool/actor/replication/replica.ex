defmodule Tidepool.Actor.Replication.Replica do
  @moduledoc """
  What this node has of an actor that nodes have copies of: its record, or when it was deleted a tombstone, so that no node that was away
  brings it back. Tombstones are records without a class, so they are not listed or counted; they are gone after a week.
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.{Alarm, Journal}
  alias Tidepool.Actor.Journal.{Frozen, Marks, Quota, Record, VersionVector}
  alias Tidepool.Actor.Replication.WriteCounts

  # Changes of a store of a node's own have one epoch.
  @epoch 1
  # Where tombstones are, which are called as `Marks` says, and modules.
  @common ""
  @gone_ms 7 * 86_400_000
  # Reading is begun anew when the actor was written meanwhile.
  @tries 20
  @every 1_000_000

  @typedoc "What there is of an actor: `seq` is the number of its record, 0 when there is none, and `module` the hash of what it runs."
  @type t :: %{
          kind: :there | :gone,
          vector: VersionVector.t(),
          module: String.t() | nil,
          seq: non_neg_integer,
          head: binary | nil,
          image: binary | nil
        }

  @typedoc "All of an actor, as it is sent."
  @type whole :: {:there, head :: binary, image :: binary | nil, [{key :: binary, value :: binary}]} | :gone

  @doc "What this node has of an actor; `nil` when that is nothing."
  @spec read(Native.records(), String.t(), String.t()) :: {:ok, t | nil} | {:error, Error.t()}
  def read(records, class, name) do
    with {:ok, {_epoch, seq, _alarm_at, head, image}} <- Journal.read(records, class, name, class),
         {:ok, record} <- Record.read(head, class, name) do
      {:ok, %{kind: :there, vector: vector_of(record), module: record.sha256, seq: seq, head: head, image: image}}
    else
      {:ok, nil} -> tombstone(records, class, name)
      {:error, error} -> {:error, error}
    end
  end

  @doc """
  What this node has of actors of a class, but for images and tombstones, from the name on that a list before said is the next.
  """
  @spec heads(Native.records(), class :: String.t(), from :: String.t() | nil, limit :: pos_integer) ::
          {:ok, [{name :: String.t(), %{vector: VersionVector.t(), module: String.t()}}], next :: String.t() | nil}
          | :error
  def heads(records, class, from, limit) do
    with {:ok, rows, next} <- Native.record_heads(records, class, from, limit) do
      kept =
        for {name, head} when head != nil <- rows,
            {:ok, record} <- [Record.read(head, class, name)],
            do: {name, %{vector: vector_of(record), module: record.sha256}}

      {:ok, kept, next}
    else
      {:error, _kind, _message} -> :error
    end
  end

  @doc "The vector of a record that is here. One from before its class had copies is this node's own."
  @spec vector_of(Record.t()) :: VersionVector.t()
  def vector_of(%{vector: vector} = record) do
    if vector == VersionVector.none(),
      do: VersionVector.next(vector, to_string(node()), record.created_at * 1_000),
      else: vector
  end

  @doc "As `read/3`, but for the image, which is not read, so that nothing is known of damage to it."
  @spec head(Native.records(), String.t(), String.t()) ::
          {:ok, %{kind: :there | :gone, vector: VersionVector.t(), module: String.t() | nil} | nil}
          | {:error, Error.t()}
  def head(records, class, name) do
    with {:ok, {_seq, _alarm_at, _bytes, head}} <- Journal.head(records, class, name, class),
         {:ok, record} <- Record.read(head, class, name) do
      {:ok, %{kind: :there, vector: vector_of(record), module: record.sha256}}
    else
      {:ok, nil} -> tombstone(records, class, name)
      {:error, error} -> {:error, error}
    end
  end

  defp tombstone(records, class, name) do
    with {:ok, {_epoch, _seq, _alarm_at, head, _image}} <-
           Journal.read(records, @common, Marks.name(class, name), class) do
      {vector, _at} = :erlang.binary_to_term(head, [:safe])
      {:ok, %{kind: :gone, vector: vector, module: nil, seq: 0, head: nil, image: nil}}
    end
  end

  @doc "All of what there is of an actor, of one moment, with its vector; `nil` when that is nothing."
  @spec whole(Native.records(), String.t(), String.t()) :: {:ok, {VersionVector.t(), whole} | nil} | {:error, Error.t()}
  def whole(records, class, name), do: whole(records, class, name, @tries)

  defp whole(records, class, name, tries) do
    with {:ok, %{kind: :there, vector: vector, seq: seq, head: head, image: image}} <- read(records, class, name),
         {:ok, values} <- Native.record_values(records, class, name, "", nil, @every),
         {:ok, now} <- read(records, class, name) do
      if match?(%{seq: ^seq}, now) or tries == 0,
        do: {:ok, {vector, {:there, head, image, values}}},
        else: whole(records, class, name, tries - 1)
    else
      {:ok, nil} -> {:ok, nil}
      {:ok, %{kind: :gone, vector: vector}} -> {:ok, {vector, :gone}}
      {:error, error} -> {:error, error}
      {:error, kind, message} -> {:error, Journal.error(kind, message, class)}
    end
  end

  @doc "Has an actor be what another node has sent, in place of what there was, with this vector. It may not be awake."
  @spec install(Native.records(), String.t(), String.t(), before :: t | nil, VersionVector.t(), whole) ::
          :ok | {:error, Error.t()}
  def install(records, class, name, before, vector, :gone) do
    with :ok <- put_tombstone(records, class, name, vector), do: erase(records, class, name, before)
  end

  def install(records, class, name, before, vector, {:there, head, image, values}) do
    with {:ok, record} <- Record.read(head, class, name) do
      due = Alarm.due(record.alarm)
      head = Record.write(%{record | vector: vector})
      put = {:reset, @epoch, seq(before) + 1, due, head, image || "", values}
      with :ok <- commit(records, class, name, put), do: Alarm.told(due)
    end
  end

  @doc "Has what there is of an actor bear another vector."
  @spec put_vector(Native.records(), String.t(), String.t(), before :: t, VersionVector.t()) ::
          :ok | {:error, Error.t()}
  def put_vector(records, class, name, %{kind: :gone}, vector), do: put_tombstone(records, class, name, vector)

  def put_vector(records, class, name, %{head: head, seq: seq}, vector) do
    with {:ok, record} <- Record.read(head, class, name) do
      put = {:put, @epoch, seq + 1, Alarm.due(record.alarm), Record.write(%{record | vector: vector}), nil, []}
      commit(records, class, name, put)
    end
  end

  @doc "Has nothing of an actor here; no tombstone, either: others have it."
  @spec drop(Native.records(), String.t(), String.t(), t) :: :ok | {:error, Error.t()}
  def drop(records, class, name, kept), do: erase(records, class, name, kept)

  @doc "Is it so long since an actor was deleted, by the vector of that, that a tombstone is not kept?"
  @spec old?(VersionVector.t()) :: boolean
  def old?(vector), do: Alarm.now() - deleted_at(vector) > @gone_ms

  # By the clock of the node that has deleted it, whenever this one hears of it; not later than now, whatever that clock says.
  defp deleted_at(vector), do: min(div(VersionVector.last(vector), 1_000), Alarm.now())

  @doc "Notes that an actor was deleted."
  @spec put_tombstone(Native.records(), String.t(), String.t(), VersionVector.t()) :: :ok | {:error, Error.t()}
  def put_tombstone(records, class, name, vector) do
    with {:ok, before} <- Journal.read(records, @common, Marks.name(class, name), class) do
      head = :erlang.term_to_binary({vector, deleted_at(vector)})
      seq = if before, do: elem(before, 1), else: 0

      with :ok <- commit(records, @common, Marks.name(class, name), {:put, @epoch, seq + 1, nil, head, nil, []}) do
        if before == nil, do: Quota.marked(class, 1)
        :ok
      end
    end
  end

  @doc "Tombstones that there are, with their vectors: those that are older than a week are gone when it returns."
  @spec tombstones(Native.records()) :: [{class :: String.t(), name :: String.t(), VersionVector.t()}]
  def tombstones(records), do: tombstones(records, nil, [], &Kernel.++/2)

  @doc "Has tombstones that are older than a week gone."
  @spec purge(Native.records()) :: :ok
  def purge(records), do: tombstones(records, nil, :ok, fn _found, :ok -> :ok end)

  defp tombstones(records, from, found, more) do
    case Native.list_records(records, @common, from, 256) do
      {:ok, rows, next} ->
        found =
          rows |> Enum.flat_map(fn {name, _seq, _alarm_at, _bytes} -> tombstone_of(records, name) end) |> more.(found)

        if next, do: tombstones(records, next, found, more), else: found

      {:error, _kind, _message} ->
        found
    end
  end

  defp tombstone_of(records, key) do
    with {class, name} <- Marks.of(key),
         {:ok, {_epoch, seq, _alarm_at, head, _image}} <- Journal.read(records, @common, key, class) do
      {vector, at} = :erlang.binary_to_term(head, [:safe])

      if Alarm.now() - at > @gone_ms do
        if Journal.commit(records, @common, key, {:delete, @epoch, seq}) == :ok, do: Quota.marked(class, -1)
        []
      else
        [{class, name, vector}]
      end
    else
      _none -> []
    end
  end

  defp erase(_records, _class, _name, none) when none == nil or none.seq == 0, do: :ok
  defp erase(records, class, name, %{seq: seq}), do: commit(records, class, name, {:delete, @epoch, seq})

  defp seq(nil), do: 0
  defp seq(%{seq: seq}), do: seq

  defp commit(records, class, name, change) do
    Frozen.drop(class, name)
    WriteCounts.note(class, name)

    with {:error, kind, message} <- Journal.commit(records, class, name, change),
         do: {:error, Journal.error(kind, message, class)}
  end

  @doc "The module of this hash, as it is kept with the records."
  @spec module(Native.records(), sha256 :: String.t()) :: binary | nil
  def module(records, sha256) do
    case Journal.read(records, @common, sha256, sha256) do
      {:ok, {_epoch, _seq, _alarm_at, _head, wasm}} -> wasm
      _none -> nil
    end
  end

  @doc "Keeps a module with the records, for actors of this class."
  @spec put_module(Native.records(), class :: String.t(), sha256 :: String.t(), wasm :: binary) ::
          :ok | {:error, Error.t()}
  def put_module(records, class, sha256, wasm),
    do: commit(records, @common, sha256, {:put, @epoch, 1, nil, class, wasm, []})

  @doc "Is it all of an actor, whatever another node has sent?"
  @spec whole?(term) :: boolean
  def whole?(:gone), do: true

  def whole?({:there, head, image, values}),
    do: is_binary(head) and (image == nil or is_binary(image)) and values?(values, &is_binary/1)

  def whole?(_other), do: false

  @doc "Are they keys and values?"
  @spec values?(term, (term -> boolean)) :: boolean
  def values?(values, value?) do
    is_list(values) and List.improper?(values) == false and
      Enum.all?(values, fn pair -> match?({key, _value} when is_binary(key), pair) and value?.(elem(pair, 1)) end)
  end
end
