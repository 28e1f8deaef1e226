defmodule Tidepool.Actor.Activation.Guest.Changes do
  @moduledoc """
  What a call of an actor changes beside its memory: the values and the alarm that its guest sets by host calls. Nothing of that is written
  before the call is over, and then together with its image, or else not at all.

  The actor's process begins it, each of those host calls returns the next one (`Tidepool.Execution.go_on/5`), and the end of the call has
  the last. Other guests, which handlers of host calls may call meanwhile, have no part in it.
  """

  alias Tidepool.Actor.Activation.State
  alias Tidepool.Actor.Alarm
  alias Tidepool.Actor.Journal.Record
  alias Tidepool.Namespaces.Turns

  # Values that are known without the store, and the longest.
  @known 64
  @known_bytes 1_024

  @enforce_keys [:class, :name, :stored?, :most_bytes, :value_bytes, :alarm, :rung?]
  defstruct @enforce_keys ++ [until: :infinity, values: %{}, change_bytes: 0, seen_bytes: 0, known: %{}]

  @typedoc "Some of the values that are on disk, and keys that have none: `nil`."
  @type known :: %{(key :: binary) => value :: binary | nil}

  @typedoc """
  `stored?` says whether there is anything on disk; `value_bytes` is what its values are with these changes, and `most_bytes` what they
  may be. `seen_bytes` went through host calls. `until` is when the call's time is over, as its guest's last host call has it.
  `alarm` is that of the record, or what the guest has set; `rung?` says that an alarm has made the call.
  """
  @type t :: %__MODULE__{
          class: String.t(),
          name: String.t(),
          stored?: boolean,
          most_bytes: non_neg_integer,
          value_bytes: non_neg_integer,
          alarm: Alarm.t() | nil | {:set, Alarm.t() | nil},
          rung?: boolean,
          until: Turns.until(),
          values: %{(key :: binary) => value :: binary | nil},
          change_bytes: non_neg_integer,
          seen_bytes: non_neg_integer,
          known: known
        }

  @doc "None so far, of a call that begins when all before it is on disk."
  @spec new(State.t(), rung :: Alarm.t() | nil) :: t
  def new(%State{} = state, rung) do
    %__MODULE__{
      class: state.class,
      name: state.name,
      stored?: state.seq > 0,
      most_bytes: state.options.values,
      value_bytes: state.record.value_bytes,
      known: state.known,
      alarm: if(rung == nil, do: state.record.alarm),
      rung?: rung != nil
    }
  end

  @doc "After a host call of so many bytes."
  @spec saw(t, bytes :: non_neg_integer) :: t
  def saw(%__MODULE__{} = changes, bytes), do: %{changes | seen_bytes: changes.seen_bytes + bytes}

  @doc "Notes what the store has."
  @spec knows(t, key :: binary, value :: binary | nil) :: t
  def knows(changes, key, value) do
    if map_size(changes.known) < @known and byte_size(value || "") <= @known_bytes,
      do: %{changes | known: Map.put(changes.known, :binary.copy(key), value && :binary.copy(value))},
      else: changes
  end

  @doc "What is known of the values after it: of those that it has changed only when that is `kept?`."
  @spec known(t | nil, known, kept? :: boolean) :: known
  def known(nil, known, _kept?), do: known
  def known(changes, _known, false), do: if(map_size(changes.known) < @known, do: changes.known, else: %{})

  def known(changes, _known, true) do
    known = Map.drop(changes.known, Map.keys(changes.values))
    small = Map.filter(changes.values, fn {_key, value} -> byte_size(value || "") <= @known_bytes end)
    if map_size(known) + map_size(small) < @known, do: Map.merge(known, small), else: %{}
  end

  @doc "The alarm after it, when nothing has rung."
  @spec alarm(t) :: Alarm.t() | nil
  def alarm(%__MODULE__{alarm: {:set, alarm}}), do: alarm
  def alarm(%__MODULE__{alarm: alarm}), do: alarm

  @doc "The record after it, and what becomes of the store's values."
  @spec kept(t | nil, Record.t()) :: {Record.t(), [{key :: binary, binary | nil}]}
  def kept(nil, record), do: {record, []}

  def kept(changes, record),
    do:
      {%{record | value_bytes: changes.value_bytes},
       for({key, value} <- changes.values, do: {Record.value_key(key), value})}
end
