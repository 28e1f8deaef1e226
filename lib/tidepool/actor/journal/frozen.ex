defmodule Tidepool.Actor.Journal.Frozen do
  @moduledoc """
  Actors that sleep in memory: of each what is written of it, without a process and without an instance. The next call wakes it from here
  instead of from the store.

  All of it is on disk, so any of it may go at any time. It goes when its class's time for that is over (`frozen` of a deploy), and when
  there is more than the setting `max_frozen`: those first that were not called for the longest time. It is of one title: a process that has
  another to the actor by then does not get it, for another node may have written since. An epoch is not enough: a store that was restored
  from a backup gives the same ones again.

  An entry is put here by an actor's process at its end and taken by the next one at its beginning, so there is no other copy that
  could be newer. Who changes a record without its process drops what is here.

  A process puts its actor here before the next one can begin, and makes room for it after that (`make_room/0`): the next one does not wait
  until others are gone. What goes is found in as many steps however many classes there are.
  """

  use GenServer

  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Config

  # {{class, name}, stamp, title, seq, head, image}
  @entries __MODULE__
  # {{class, stamp}, name, until}: of a class in the order in which they fell asleep.
  @order Module.concat(__MODULE__, Order)
  # {stamp, class}: of all classes in that order. One is here last, so that all of it is there when it is found here.
  @ages Module.concat(__MODULE__, Ages)
  @bytes {__MODULE__, :bytes}
  # What the tables take for one, beside its record: measured.
  @entry_bytes 608
  @look_ms 1_000

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @typedoc "What is written of an actor, by one title."
  @type copy :: {Shards.title(), seq :: pos_integer, head :: binary, image :: binary | nil}

  @doc "Keeps an actor for so many ms, by what is written of it. Who has put it here makes room then (`make_room/0`)."
  @spec put(class :: String.t(), name :: String.t(), copy, ms :: pos_integer) :: :ok
  def put(class, name, {title, seq, head, image}, ms) do
    drop(class, name)
    stamp = :erlang.unique_integer([:monotonic])
    entry = {{class, name}, stamp, title, seq, head, image}
    most = Config.get(:max_frozen)

    if bytes(entry) <= most do
      :counters.add(counter(), 1, bytes(entry))
      :ets.insert(@entries, entry)
      :ets.insert(@order, {{class, stamp}, name, now() + ms})
      :ets.insert(@ages, {stamp, class})
    end

    :ok
  rescue
    # The tables are being made anew.
    ArgumentError -> :ok
  end

  @doc "What `make` returns for `put/4`, which is called only if so many bytes may be here; `nil`, if it fails."
  @spec made(bytes :: non_neg_integer, make :: (() -> tuple)) :: copy | nil
  def made(bytes, make) do
    with true <- bytes <= Config.get(:max_frozen),
         {title, _seq, _head, _image} = copy when is_tuple(title) <- make.(),
         do: copy,
         else: (_none -> nil)
  end

  @doc "Has those go that were not called for the longest time, as long as there is more than may be."
  @spec make_room :: :ok
  def make_room do
    make_room(Config.get(:max_frozen))
  rescue
    ArgumentError -> :ok
  end

  defp make_room(most) do
    with true <- :counters.get(counter(), 1) > most,
         stamp when is_integer(stamp) <- :ets.first(@ages) do
      # Of several who make room one has it.
      for {stamp, class} <- :ets.take(@ages, stamp), do: evict({class, stamp})
      make_room(most)
    else
      _room_or_none -> :ok
    end
  end

  @doc "What is written of an actor, which is not here any more; `nil` when it was not, or was of another title."
  @spec take(class :: String.t(), name :: String.t(), Shards.title()) ::
          {seq :: pos_integer, head :: binary, image :: binary | nil} | nil
  def take(class, name, title) do
    case taken(class, name) do
      [{_key, _stamp, ^title, seq, head, image}] -> {seq, head, image}
      _none_or_outdated -> nil
    end
  end

  @doc "Has nothing of an actor here."
  @spec drop(class :: String.t(), name :: String.t()) :: :ok
  def drop(class, name) do
    taken(class, name)
    :ok
  end

  @doc "Would an actor wake from here?"
  @spec member?(class :: String.t(), name :: String.t(), Shards.title()) :: boolean
  def member?(class, name, title) do
    :ets.lookup_element(@entries, {class, name}, 3) == title
  rescue
    ArgumentError -> false
  end

  @doc "How many there are, and what they take in memory."
  @spec size :: {count :: non_neg_integer, bytes :: non_neg_integer}
  def size do
    {:ets.info(@entries, :size), :counters.get(counter(), 1)}
  end

  defp taken(class, name) do
    found = :ets.take(@entries, {class, name})
    for {_key, stamp, _epoch, _seq, _head, _image} = entry <- found, do: gone(entry, {class, stamp})
    found
  rescue
    ArgumentError -> []
  end

  defp gone(entry, {_class, stamp} = place) do
    :counters.sub(counter(), 1, bytes(entry))
    :ets.delete(@order, place)
    :ets.delete(@ages, stamp)
  end

  # Those of each class that have slept for the longest time.
  defp firsts, do: @order |> :ets.first() |> Stream.iterate(&next_class/1) |> Enum.take_while(&(&1 != :"$end_of_table"))

  # Atoms come after all numbers.
  defp next_class({class, _stamp}), do: :ets.next(@order, {class, :last})
  defp next_class(:"$end_of_table"), do: :"$end_of_table"

  defp evict({class, stamp} = place) do
    :ets.delete(@ages, stamp)
    # It may have woken, and sleep again since.
    with [{_place, name, _until}] <- :ets.take(@order, place),
         [{_key, ^stamp, _title, _seq, _head, _image}] <- :ets.lookup(@entries, {class, name}),
         do: drop(class, name)
  end

  @impl true
  def init(nil) do
    :persistent_term.put(@bytes, :counters.new(1, [:write_concurrency]))
    options = [:named_table, :public, write_concurrency: true, read_concurrency: true]
    :ets.new(@entries, [:set | options])
    for order <- [@order, @ages], do: :ets.new(order, [:ordered_set | options])
    {:ok, nil, @look_ms}
  end

  @impl true
  def handle_info(:timeout, state) do
    Enum.each(firsts(), &expire(&1, now()))
    {:noreply, state, @look_ms}
  end

  def handle_info(_other, state), do: {:noreply, state, @look_ms}

  defp expire({class, _stamp} = place, now) do
    case :ets.lookup(@order, place) do
      [{_place, _name, until}] when until > now ->
        :ok

      _over_or_gone ->
        evict(place)
        with {^class, _stamp} = next <- :ets.next(@order, place), do: expire(next, now)
    end
  end

  defp bytes({{class, name}, _stamp, _title, _seq, head, image}),
    do: @entry_bytes + 3 * byte_size(class) + 2 * byte_size(name) + byte_size(head) + byte_size(image || "")

  defp counter, do: :persistent_term.get(@bytes)

  defp now, do: System.monotonic_time(:millisecond)
end
