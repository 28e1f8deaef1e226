defmodule Tidepool.Keyvalue.Memory do
  @moduledoc """
  Keys and values in the node's memory, as `Tidepool.Keyvalue`: gone when the node stops, and another node has its own.

      config :tidepool, keyvalue: {Tidepool.Keyvalue.Memory, max_bytes: 1_073_741_824}

  Options: `:max_entries` of a bucket (100,000), `:max_bucket_bytes` (16 MiB), `:max_namespace_bytes` of the buckets of a namespace, and of those
  of functions without one (no more than they leave to others), and `:max_bytes` of all buckets together (64 MiB). What an entry takes is its key, its value,
  and 384 bytes, about as the VM has it. A guest whose bucket is full gets the error `other`; nothing is dropped to make room.

  Buckets stay when functions are removed. `buckets/0` says what is there, and `clear/1` empties one.

  Who asks reads the table. All that changes it is done by one process, one after the other; whose guest has gone before its turn, or has no
  more time, is not done.
  """

  @behaviour Tidepool.Keyvalue

  use GenServer

  alias Tidepool.Host.Nesting
  alias Tidepool.Keyvalue
  alias Tidepool.Namespaces.Name

  # Keys have a bucket's number before them: its name would be in each of them.
  @table __MODULE__
  # Numbers, entries and bytes of buckets by their names.
  @buckets Module.concat(__MODULE__, Buckets)
  @entry_bytes 384
  @defaults %{max_entries: 100_000, max_bucket_bytes: 16_777_216, max_namespace_bytes: nil, max_bytes: 67_108_864}

  @doc "Are these options of it?"
  @spec argument?(term) :: boolean
  def argument?(options), do: Keyvalue.bounds?(options, @defaults)

  @impl Keyvalue
  def children(options), do: [{__MODULE__, options}]

  @doc false
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: __MODULE__)

  @doc "The buckets that have entries, by their names: how many, and their bytes."
  @spec buckets :: %{Keyvalue.bucket() => %{entries: pos_integer, bytes: pos_integer}}
  def buckets do
    for {name, _number, entries, bytes} <- :ets.tab2list(@buckets),
        into: %{},
        do: {name, %{entries: entries, bytes: bytes}}
  end

  @doc "Removes all entries of a bucket, such as `shop/visits`: how many those were."
  @spec clear(Keyvalue.bucket()) :: {:ok, non_neg_integer}
  def clear(bucket), do: change({:clear, bucket})

  @impl Keyvalue
  def get(bucket, key, _options), do: {:ok, value(number_of(bucket), key)}

  @impl Keyvalue
  def exists(bucket, key, _options), do: {:ok, :ets.member(@table, {number_of(bucket), key})}

  @impl Keyvalue
  def get_many(bucket, keys, _options) do
    most = Keyvalue.max_batch_bytes()

    # Values are shared with the table, so what is too much has been copied by nobody yet.
    number = number_of(bucket)
    values = Enum.map(keys, &value(number, &1))
    size = for(value <- values, value != nil, do: byte_size(value)) |> Enum.sum()
    if size > most, do: {:error, Keyvalue.too_large(most)}, else: {:ok, values}
  end

  @impl Keyvalue
  # An atom comes before all keys.
  def list_keys(bucket, from, limit, _options) do
    number = number_of(bucket)
    keys(number, :ets.next(@table, {number, from}), limit, [])
  end

  defp keys(number, {number, _key}, 0, keys), do: {:ok, Enum.reverse(keys), true}
  defp keys(number, {number, key} = at, left, keys), do: keys(number, :ets.next(@table, at), left - 1, [key | keys])
  defp keys(_number, _end_or_other, _left, keys), do: {:ok, Enum.reverse(keys), false}

  @impl Keyvalue
  def set(bucket, key, value, _options), do: change({:set, bucket, [{key, value}]})

  @impl Keyvalue
  def set_many(bucket, pairs, _options), do: change({:set, bucket, pairs})

  @impl Keyvalue
  def delete(bucket, key, _options), do: change({:delete, bucket, [key]})

  @impl Keyvalue
  def delete_many(bucket, keys, _options), do: change({:delete, bucket, keys})

  @impl Keyvalue
  def increment(bucket, key, delta, _options), do: change({:increment, bucket, key, delta})

  @impl Keyvalue
  def swap(bucket, key, expected, value, _options), do: change({:swap, bucket, key, expected, value})

  # What is asked for within a call has that one's time.
  defp change(what) do
    case Nesting.get() do
      nil -> GenServer.call(__MODULE__, {what, :infinity}, :infinity)
      {_depth, deadline, _context} -> GenServer.call(__MODULE__, {what, deadline}, max(deadline - now(), 0))
    end
  catch
    # The deadline is for the process to see as well.
    :exit, {:timeout, _call} -> {:error, "the store had no time for it before the call's was over"}
  end

  defp now, do: System.monotonic_time(:millisecond)

  # A bucket without entries has none, and `nil` is before no key.
  defp number_of(bucket),
    do: with([{_name, number, _entries, _bytes}] <- :ets.lookup(@buckets, bucket), do: number, else: ([] -> nil))

  defp value(number, key) do
    case :ets.lookup(@table, {number, key}) do
      [{_key, value}] -> value
      [] -> nil
    end
  end

  @impl GenServer
  def init(options) do
    for {table, kind} <- [{@table, :ordered_set}, {@buckets, :set}],
        do: :ets.new(table, [kind, :named_table, read_concurrency: true])

    limits = Map.merge(@defaults, Map.new(options))
    # The bytes of all, and those by namespace; and the number of the bucket that comes next.
    {:ok, %{bytes: 0, spaces: %{}, next: 1, limits: limits}}
  end

  @impl GenServer
  # Who has ended, or has no more time, waits for nothing, and could have left more behind than a namespace has under way. A number is less than
  # `:infinity`.
  def handle_call({change, until}, {pid, _tag}, state) do
    if now() < until and (node(pid) != node() or Process.alive?(pid)),
      do: changed(change, state),
      else: {:noreply, state}
  end

  defp changed(change, state) do
    bucket = elem(change, 1)
    space = space(bucket)

    {number, entries, bytes} =
      case :ets.lookup(@buckets, bucket) do
        [{_name, number, entries, bytes}] -> {number, entries, bytes}
        [] -> {state.next, 0, 0}
      end

    place = %{
      number: number,
      entries: entries,
      bytes: bytes,
      others: state.bytes - bytes,
      neighbours: Map.get(state.spaces, space, 0) - bytes,
      limits: state.limits
    }

    {answer, place} = perform(change, place)

    if place.entries == 0,
      do: :ets.delete(@buckets, bucket),
      else: :ets.insert(@buckets, {bucket, number, place.entries, place.bytes})

    {:reply, answer,
     %{
       state
       | next: max(state.next, number + 1),
         bytes: place.others + place.bytes,
         spaces: taken(state.spaces, space, place.neighbours + place.bytes)
     }}
  end

  # Names of buckets have no slash of their own.
  defp space(bucket), do: Name.of(bucket)

  defp taken(spaces, space, 0), do: Map.delete(spaces, space)
  defp taken(spaces, space, bytes), do: Map.put(spaces, space, bytes)

  defp perform({:set, _bucket, pairs}, place) do
    Enum.reduce_while(pairs, {:ok, place}, fn {key, value}, {:ok, place} ->
      case put(place, key, value) do
        {:ok, place} -> {:cont, {:ok, place}}
        error -> {:halt, {error, place}}
      end
    end)
  end

  defp perform({:delete, _bucket, keys}, place), do: {:ok, Enum.reduce(keys, place, &remove(&2, &1))}

  defp perform({:clear, _bucket}, place) do
    :ets.select_delete(@table, [{{{place.number, :_}, :_}, [], [true]}])
    {{:ok, place.entries}, %{place | entries: 0, bytes: 0}}
  end

  defp perform({:increment, _bucket, key, delta}, place) do
    with {:ok, sum} <- place.number |> value(key) |> Keyvalue.add(delta),
         {:ok, place} <- put(place, key, Integer.to_string(sum)) do
      {{:ok, sum}, place}
    else
      error -> {error, place}
    end
  end

  defp perform({:swap, _bucket, key, expected, value}, place) do
    case value(place.number, key) do
      ^expected -> with({:ok, place} <- put(place, key, value), do: {:ok, place}, else: (error -> {error, place}))
      other -> {{:changed, other}, place}
    end
  end

  defp put(place, key, value) do
    before = size(place, key)
    more = @entry_bytes + byte_size(key) + byte_size(value) - (before || 0)
    entries = if before, do: place.entries, else: place.entries + 1
    bytes = place.bytes + more
    limits = place.limits
    of_namespace = limits.max_namespace_bytes || share(place)

    cond do
      entries > limits.max_entries ->
        {:error, "the bucket has the #{limits.max_entries} entries that it may have"}

      more > 0 and bytes > limits.max_bucket_bytes ->
        {:error, full("the bucket", limits.max_bucket_bytes)}

      more > 0 and place.neighbours + bytes > of_namespace ->
        {:error, full("the namespace", of_namespace)}

      more > 0 and place.others + bytes > limits.max_bytes ->
        {:error, full("the node's store", limits.max_bytes)}

      true ->
        # Copied: they may be parts of larger binaries, which would stay as long.
        :ets.insert(@table, {{place.number, :binary.copy(key)}, :binary.copy(value)})
        {:ok, %{place | entries: entries, bytes: bytes}}
    end
  end

  # As much as it leaves to others: there is room for one that comes later, however many there are.
  defp share(%{others: others, neighbours: neighbours, limits: limits}),
    do: div(limits.max_bytes - (others - neighbours), 2)

  defp full(what, most), do: "#{what} would have more than the #{most} bytes that it may have"

  defp remove(place, key) do
    case size(place, key) do
      nil ->
        place

      size ->
        :ets.delete(@table, {place.number, key})
        %{place | entries: place.entries - 1, bytes: place.bytes - size}
    end
  end

  defp size(place, key),
    do: with(value when value != nil <- value(place.number, key), do: @entry_bytes + byte_size(key) + byte_size(value))
end
