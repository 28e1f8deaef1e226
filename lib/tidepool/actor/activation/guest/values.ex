defmodule Tidepool.Actor.Activation.Guest.Values do
  @moduledoc """
  The values of an actor, by their keys, as a call sees them: with its own changes.

  Keys have 1 to 512 bytes, values 64 KiB at most. All of an actor's together, keys included, are bounded by its class's option
  `values`, and what one call may change to 1 MiB, where each change counts 160 bytes more.
  """

  alias Tidepool.Native
  alias Tidepool.Actor.Activation.Guest.Changes
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.Record

  @key_bytes 512
  @value_bytes 65_536
  @call_bytes 1_048_576
  # What the VM has of a small one beside its key and its value, until the call is over and as the library is given it.
  @change_bytes 160
  # A list has so many values, and ends with the one that goes over so many bytes.
  @listed 1_000
  @listed_bytes 262_144
  # Read from the store at once, and no more than is wanted.
  @page 64

  @typedoc "What is said to the guest."
  @type refusal :: {:error, String.t()}

  @doc "A value; `nil` when there is none. Raises `Tidepool.Error` when it can't be read."
  @spec get(Changes.t(), key :: binary) :: {:ok, binary | nil, Changes.t()} | refusal
  def get(changes, key) do
    with :ok <- key(key) do
      {value, changes} = value(changes, key)
      {:ok, value, changes}
    end
  end

  @doc "Sets a value."
  @spec put(Changes.t(), key :: binary, value :: binary) :: {:ok, Changes.t()} | refusal
  def put(changes, key, value) do
    with :ok <- key(key) do
      if byte_size(value) <= @value_bytes,
        do: change(changes, key, value),
        else: {:error, "a value has #{@value_bytes} bytes at most, and this one #{byte_size(value)}"}
    end
  end

  @doc "Removes a value, if there is one."
  @spec delete(Changes.t(), key :: binary) :: {:ok, Changes.t()} | refusal
  def delete(changes, key) do
    with :ok <- key(key) do
      case value(changes, key) do
        {nil, changes} -> {:ok, changes}
        {_value, changes} -> change(changes, key, nil)
      end
    end
  end

  @doc """
  Values whose keys begin with `prefix` and come after `after_key`, in the order of the keys: `limit` at most, 1,000 if that is 0, and
  no more than go to a guest at once. When there are none, that was the end.
  """
  @spec list(Changes.t(), prefix :: binary, after_key :: binary, limit :: non_neg_integer) :: [
          {key :: binary, value :: binary}
        ]
  def list(changes, prefix, after_key, limit) do
    changed =
      for {key, _value} = change <- changes.values, String.starts_with?(key, prefix), key > after_key, do: change

    pages(
      changes,
      prefix,
      after_key,
      Enum.sort(changed),
      {if(limit in 1..@listed, do: limit, else: @listed), @listed_bytes, []}
    )
  end

  defp key(key) do
    if byte_size(key) in 1..@key_bytes,
      do: :ok,
      else: {:error, "a key has 1 to #{@key_bytes} bytes, and this one #{byte_size(key)}"}
  end

  defp change(changes, key, value) do
    {before, changes} = value(changes, key)
    held = changes.value_bytes - bytes(key, before) + bytes(key, value)
    changed = changes.change_bytes - counted(changes.values, key) + counted(key, value)

    cond do
      value != nil and held > changes.most_bytes ->
        {:error,
         "the values of an actor have #{changes.most_bytes} bytes at most with their keys, and would have #{held}"}

      changed > @call_bytes ->
        {:error, "one call may change #{@call_bytes} bytes of values, and would change #{changed}"}

      true ->
        # What the guest sent may be a part of something larger.
        {key, value} = {:binary.copy(key), value && :binary.copy(value)}
        {:ok, %{changes | values: Map.put(changes.values, key, value), value_bytes: held, change_bytes: changed}}
    end
  end

  defp bytes(_key, nil), do: 0
  defp bytes(key, value), do: byte_size(key) + byte_size(value)

  defp counted(changes, key) when is_map_key(changes, key), do: counted(key, changes[key])
  defp counted(changes, _key) when is_map(changes), do: 0
  defp counted(key, value), do: byte_size(key) + byte_size(value || "") + @change_bytes

  # And what is known after it was looked for.
  defp value(%{values: values} = changes, key) when is_map_key(values, key), do: {values[key], changes}
  defp value(%{known: known} = changes, key) when is_map_key(known, key), do: {known[key], changes}
  defp value(%{stored?: false} = changes, _key), do: {nil, changes}

  defp value(changes, key) do
    value = read(changes, &Native.record_value(&1, &2, &3, Record.value_key(key)))
    {value, Changes.knows(changes, key, value)}
  end

  # Pages of the store, each with the changes up to its end.
  defp pages(changes, prefix, after_key, changed, {limit, room, _values} = listed) do
    # As many more as the call has removed.
    removed = Enum.count(changed, fn {_key, value} -> value == nil end)
    {stored, last} = page(changes, prefix, after_key, {min(limit + removed, @page), room})
    {here, beyond} = Enum.split_while(changed, fn {key, _value} -> last == nil or key <= last end)
    merged = stored |> Map.new() |> Map.merge(Map.new(here)) |> Enum.sort()

    case collect(merged, listed) do
      {:more, listed} when last != nil -> pages(changes, prefix, last, beyond, listed)
      {_full_or_more, {_limit, _room, values}} -> Enum.reverse(values)
    end
  end

  # Values of the store, and the key of the last of them, if there may be more behind it.
  defp page(%{stored?: false}, _prefix, _after_key, _most), do: {[], nil}

  defp page(changes, prefix, after_key, {limit, room} = most) do
    from = if after_key == "", do: nil, else: Record.value_key(after_key)
    rows = read(changes, &Native.record_values(&1, &2, &3, Record.value_key(prefix), from, most))
    held = for {key, value} <- rows, reduce: 0, do: (held -> held + bytes(key, value))
    stored = for {key, value} <- rows, do: {Record.guest_key(key), value}
    more? = length(rows) == limit or held >= room
    {stored, if(more?, do: stored |> List.last() |> elem(0))}
  end

  defp collect(_values, {limit, room, _listed} = full) when limit == 0 or room <= 0, do: {:full, full}
  defp collect([], listed), do: {:more, listed}
  defp collect([{_key, nil} | values], listed), do: collect(values, listed)

  defp collect([{key, value} = one | values], {limit, room, listed}),
    do: collect(values, {limit - 1, room - bytes(key, value), [one | listed]})

  # The guest has run, and may have asked others for what can't be done again: it waits, however many do. What is named here is copied to the
  # process that reads, and not all of the changes.
  defp read(%{class: class, name: name, until: until}, read) do
    with {:ok, records} <- Journal.records(),
         {:ok, found} <- Journal.reading(class, until, fn -> read.(records, class, name) end, :always),
         do: found,
         else: ({:error, error} -> raise(error))
  end
end
