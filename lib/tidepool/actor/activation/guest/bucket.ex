defmodule Tidepool.Actor.Activation.Guest.Bucket do
  @moduledoc """
  What the process of a bucket does in place of a guest (`Tidepool.Actor.Bucket`).

  Under each key the record has two values: the size of what is there, so that keys are listed and entries counted without that, and what
  is there. What was changed and may not be on disk yet is known (`State.known`), and who has seen it is answered when it is. What is on disk
  is read once, as far as it has room in memory (`Tidepool.Actor.Activation.ReadCache`).
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.Activation.{Activity, OutputGate, ReadCache, State}
  alias Tidepool.Actor.{Bucket, Journal}
  alias Tidepool.Actor.Journal.Record

  # What keys in the store begin with under which sizes are. Those of values are as those of guests.
  @size "size/"
  # What an entry counts beside its key and its value.
  @entry_bytes 128
  # With so much known of changes the next question waits until they are on disk. An entry counts as on disk.
  @known_bytes 1_048_576

  @doc "The actor with what stands for its instance."
  @spec own(State.t()) :: State.t()
  def own(state) do
    %{version: version, actor: options} = Bucket.function(state.class)
    %{state | owned: :bucket, deployed: version, decided: version, options: options}
  end

  @doc "Does what is asked, a `t:Bucket.question/0` as bytes, and answers with a `t:Bucket.answer/0` as bytes."
  @spec run(question :: binary, State.t()) :: {State.answer(), State.t()}
  def run(question, state) do
    question |> decoded() |> asked(settled(opened(%{state | activity: Activity.ran(state.activity)})))
  end

  defp opened(%{title: {_epoch, lease}} = state),
    do: %{state | cache: ReadCache.open(state.cache, {state.class, state.name, lease})}

  # Atoms and questions that are not known are a newer node's.
  defp decoded(question) do
    :erlang.binary_to_term(question, [:safe])
  rescue
    ArgumentError -> :unknown
  end

  # What it was to be answered from was not written.
  defp asked(_question, %{owned: nil} = state), do: refused(:no_store, "the last write of the bucket failed", state)

  # An error says that it can't be read. What has been heard of writes before is in the state.
  defp asked(question, state) do
    answer(question, state)
  rescue
    error in Error -> {{:now, {:error, error}}, state}
  end

  defp refused(reason, message, state), do: {{:now, {:error, Error.new(reason, message, state.class)}}, state}

  # What is on disk need not be known: it is as what was read there.
  defp settled(state) do
    cond do
      OutputGate.idle?(state.gate) ->
        for {key, value} <- state.known, do: ReadCache.put(state.cache, key, value)
        %{state | known: %{}, known_bytes: 0}

      state.known_bytes > @known_bytes ->
        settled(State.await_writes(state))

      true ->
        state
    end
  end

  defp answer({:get, keys, most}, state) do
    # No more is read than one value beyond that.
    found =
      Enum.reduce_while(keys, {[], 0}, fn key, {values, bytes} ->
        value = value(state, key)
        bytes = bytes + byte_size(value || "")
        if bytes > most, do: {:halt, :too_large}, else: {:cont, {[value | values], bytes}}
      end)

    with {values, _bytes} <- found,
         do: said({:ok, Enum.reverse(values)}, state),
         else: (:too_large -> said(:too_large, state))
  end

  defp answer({:exists, key}, state), do: said({:ok, size(state, key) != nil}, state)

  defp answer({:list, after_key, limit}, state) do
    keys = keys(state, after_key, limit + 1)
    said({:ok, Enum.take(keys, limit), length(keys) > limit}, state)
  end

  # The last one of a key counts.
  defp answer({:put, pairs, most}, state), do: put(Map.new(pairs), most, state)

  defp answer({:swap, key, expected, value, most}, state) do
    case value(state, key) do
      ^expected -> put(%{key => value}, most, state)
      other -> said({:changed, other}, state)
    end
  end

  defp answer(_unknown, state),
    do: refused(:no_store, "this node does not know what the bucket is asked: let all nodes have one version", state)

  # Behind the last write, which it may have seen.
  defp said(answer, state) do
    reply = :erlang.term_to_binary(answer)
    {{:gated, {:ok, reply}}, State.saw(state, reply)}
  end

  defp put(changes, most, state) do
    before = state.record.value_bytes
    changes = for {key, value} <- changes, do: {key, value, size(state, key)}
    changes = Enum.reject(changes, &match?({_key, nil, nil}, &1))

    bytes =
      Enum.reduce(changes, before, fn {key, value, size}, sum ->
        sum - counted(key, size) + counted(key, value && byte_size(value))
      end)

    cond do
      changes == [] -> said(:ok, state)
      bytes > before and bytes > most -> said(:full, state)
      true -> write(changes, bytes, state)
    end
  end

  defp write(changes, bytes, state) do
    # Before anything of it is seen: who finds the value of before has asked before.
    for {key, _value, _before} <- changes, do: ReadCache.take(state.cache, key)
    known = for {key, value, _before} <- changes, into: state.known, do: {key, value}
    more = for {key, value, _before} <- changes, reduce: 0, do: (sum -> sum + counted(key, byte_size(value || "")))
    state = %{state | known: known, known_bytes: state.known_bytes + more}

    case State.write(%{state | record: %{state.record | value_bytes: bytes}}, Enum.flat_map(changes, &rows/1)) do
      {:ok, state} -> said(:ok, state)
      {{:error, error}, state} -> {{:now, {:error, error}}, state}
    end
  end

  defp rows({key, nil, _before}), do: [{@size <> key, nil}, {Record.value_key(key), nil}]

  defp rows({key, value, before}) do
    sized = if byte_size(value) != before, do: [{@size <> key, <<byte_size(value)::32>>}], else: []
    [{Record.value_key(key), value} | sized]
  end

  defp counted(_key, nil), do: 0
  defp counted(key, size), do: byte_size(key) + size + @entry_bytes

  defp value(%{known: known}, key) when is_map_key(known, key), do: known[key]

  defp value(state, key) do
    with :none <- ReadCache.find(state.cache, key) do
      value = stored(state, Record.value_key(key))
      ReadCache.put(state.cache, key, value)
      value
    else
      {:ok, value} -> value
    end
  end

  defp size(%{known: known}, key) when is_map_key(known, key), do: known[key] && byte_size(known[key])

  defp size(state, key) do
    case ReadCache.find(state.cache, key) do
      {:ok, value} -> value && byte_size(value)
      :none -> with(<<size::32>> <- stored(state, @size <> key), do: size)
    end
  end

  # One that was never written has nothing in the store.
  defp stored(%{seq: 0}, _key), do: nil
  defp stored(state, key), do: read(state, &Native.record_value(&1, &2, &3, key))

  # In the order of their bytes, with those that are changed.
  defp keys(state, after_key, most) do
    from = after_key && @size <> after_key
    changed = for {key, value} <- state.known, after_key == nil or key > after_key, do: {key, value != nil}
    # As many more as may be gone by now.
    gone = Enum.count(changed, fn {_key, there?} -> not there? end)
    rows = read(state, &Native.record_values(&1, &2, &3, @size, from, {most + gone, nil}))
    stored = for {@size <> key, _size} <- rows, into: %{}, do: {key, true}
    there = for {key, true} <- Map.merge(stored, Map.new(changed)), do: key
    there |> Enum.sort() |> Enum.take(most)
  end

  # What is named here is copied to the process that reads, and not all of the state.
  defp read(%{class: class, name: name, until: until}, read) do
    with {:ok, records} <- Journal.records(),
         {:ok, found} <- Journal.reading(class, until, fn -> read.(records, class, name) end),
         do: found,
         else: ({:error, error} -> raise(error))
  end
end
