defmodule Tidepool.Actor.Guest.Turn do
  @moduledoc """
  What a call of an actor does beside its memory: the values and the alarm that its guest changes by host calls. Nothing of that is written before
  the call is over, and then together with its image, or else not at all.

  It is in the process dictionary of the actor's process for the time of the call. What other guests do in that process meanwhile,
  which handlers of host calls may call, is not the actor's: they are nested deeper.
  """

  alias Tidepool.Actor.{Alarm, Record, State}
  alias Tidepool.Host.Call

  # Values that are known without the store, and the longest.
  @known 64
  @known_bytes 1_024

  @enforce_keys [:class, :name, :depth, :stored?, :most_bytes, :value_bytes, :alarm, :rung?]
  defstruct @enforce_keys ++ [changes: %{}, change_bytes: 0, seen_bytes: 0, known: %{}]

  @typedoc "Some of the values that are on disk, and keys that have none: `nil`."
  @type known :: %{(key :: binary) => value :: binary | nil}

  @typedoc """
  `stored?` says whether there is anything on disk; `value_bytes` is what its values are with these changes, and `most_bytes` what they
  may be. `seen_bytes` went through host calls.
  `alarm` is that of the record, or what the guest has set; `rung?` says that an alarm has made the call.
  """
  @type t :: %__MODULE__{
          class: String.t(),
          name: String.t(),
          depth: pos_integer,
          stored?: boolean,
          most_bytes: non_neg_integer,
          value_bytes: non_neg_integer,
          alarm: Alarm.t() | nil | {:set, Alarm.t() | nil},
          rung?: boolean,
          changes: %{(key :: binary) => value :: binary | nil},
          change_bytes: non_neg_integer,
          seen_bytes: non_neg_integer,
          known: known
        }

  @doc "Begins that of a call, when all before it is on disk."
  @spec begin(State.t(), depth :: pos_integer, rung :: Alarm.t() | nil) :: :ok
  def begin(%State{} = state, depth, rung) do
    turn = %__MODULE__{
      class: state.class,
      name: state.name,
      depth: depth,
      stored?: state.seq > 0,
      most_bytes: state.options.values,
      value_bytes: state.record.value_bytes,
      known: state.known,
      alarm: if(rung == nil, do: state.record.alarm),
      rung?: rung != nil
    }

    put(turn, 0)
  end

  @doc "Ends it; `nil` when none had begun."
  @spec finish :: t | nil
  def finish, do: Process.delete(__MODULE__)

  @doc "That of the guest which makes a host call."
  @spec of(Call.t()) :: {:ok, t} | {:error, String.t()}
  def of(%Call{function: class, depth: depth}) do
    case Process.get(__MODULE__) do
      %__MODULE__{class: ^class, depth: ^depth} = turn -> {:ok, turn}
      _another -> {:error, "this is for guests that are actors"}
    end
  end

  @doc "What it is after a host call of so many bytes."
  @spec put(t, seen_bytes :: non_neg_integer) :: :ok
  def put(%__MODULE__{} = turn, seen_bytes) do
    Process.put(__MODULE__, %{turn | seen_bytes: turn.seen_bytes + seen_bytes})
    :ok
  end

  @doc "Notes what the store has."
  @spec knows(t, key :: binary, value :: binary | nil) :: t
  def knows(turn, key, value) do
    if map_size(turn.known) < @known and byte_size(value || "") <= @known_bytes,
      do: %{turn | known: Map.put(turn.known, :binary.copy(key), value && :binary.copy(value))},
      else: turn
  end

  @doc "What is known of the values after it: of those that it has changed only when that is `kept?`."
  @spec known(t | nil, known, kept? :: boolean) :: known
  def known(nil, known, _kept?), do: known
  def known(turn, _known, false), do: if(map_size(turn.known) < @known, do: turn.known, else: %{})

  def known(turn, _known, true) do
    known = Map.drop(turn.known, Map.keys(turn.changes))
    small = Map.filter(turn.changes, fn {_key, value} -> byte_size(value || "") <= @known_bytes end)
    if map_size(known) + map_size(small) < @known, do: Map.merge(known, small), else: %{}
  end

  @doc "The alarm after it, when nothing has rung."
  @spec alarm(t) :: Alarm.t() | nil
  def alarm(%__MODULE__{alarm: {:set, alarm}}), do: alarm
  def alarm(%__MODULE__{alarm: alarm}), do: alarm

  @doc "The record after it, and what becomes of the store's values."
  @spec kept(t | nil, Record.t()) :: {Record.t(), [{key :: binary, binary | nil}]}
  def kept(nil, record), do: {record, []}

  def kept(turn, record),
    do:
      {%{record | value_bytes: turn.value_bytes}, for({key, value} <- turn.changes, do: {Record.value_key(key), value})}
end
