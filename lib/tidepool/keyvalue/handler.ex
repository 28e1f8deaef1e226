defmodule Tidepool.Keyvalue.Handler do
  @moduledoc """
  Answers what components ask of their buckets: by the store of the setting `keyvalue`, within the setting `keyvalue_timeout` and the time
  of the guest's call.

  A request has a process of its own, which is killed when its time is over. The node's own stores end in time by themselves, and leave
  nothing behind in the mailbox of who asks them: what they are asked about one key is asked by the process that drives the guest. What
  is in memory takes neither a process nor a turn.

  The library asks it by `wasi`/`keyvalue`/OPERATION, after it has opened the bucket by the deploy's grants. A guest that is an actor has one
  bucket that is its own (`Tidepool.Keyvalue.Own`).
  """

  alias Tidepool.{Config, Host, Keyvalue, Options}
  alias Tidepool.Actor.Activation.Guest.Changes
  alias Tidepool.Host.{Call, Failure, Isolated, Nesting}
  alias Tidepool.Keyvalue.Own
  alias Tidepool.Namespaces.{Name, Turns}

  # Stores that have an eye on the deadline of the calls around them, and what they are asked that is about one key.
  @single ["get", "set", "delete", "exists", "increment", "swap"]
  # Keys of one page.
  @page 1_000
  # Most bytes of a store's own words that a guest is told.
  @told_bytes 1_024
  @sums -0x8000_0000_0000_0000..0x7FFF_FFFF_FFFF_FFFF

  @doc "What the registry of host functions has for it. It bounds its own time."
  @spec entries :: [{Host.target(), Host.Registry.entry()}]
  def entries, do: [{{"wasi", "keyvalue", :_}, {:kept, {__MODULE__, :answer}}}]

  @doc false
  @spec answer(Call.t(), Changes.t() | nil) :: {Host.result() | :timeout, Changes.t() | nil}
  def answer(%Call{args: [bucket | arguments]} = call, changes) do
    if Own.bucket?(bucket, changes),
      do: own(Own.answer(call, arguments, changes), call),
      else: {answer(call), changes}
  end

  def answer(call, changes), do: {answer(call), changes}

  defp own({:timeout, changes}, _call), do: {:timeout, changes}
  defp own({answer, changes}, call), do: {check(answer, call.operation, call), changes}

  @doc false
  @spec answer(Call.t()) :: Host.result()
  # A guest of another ABI has chosen this name.
  def answer(%Call{args: nil}), do: {:error, "components have stores of keys and values, by wasi:keyvalue"}

  def answer(%Call{operation: operation, args: [bucket | arguments]} = call) do
    case Config.get(:keyvalue) do
      {module, argument} ->
        arguments = [bucket(call.function, bucket) | arguments]

        with :none <- known(module, operation, arguments),
             do: ask(module, operation, arguments, argument, call),
             else: (found -> check(found, operation, call))

      nil ->
        {:error, "this node has no store of keys and values: its setting `keyvalue` is none"}
    end
  end

  @doc """
  The name of a bucket of a function's.

      iex> Enum.map(["shop/checkout", "checkout"], &Tidepool.Keyvalue.Handler.bucket(&1, "sessions"))
      ["shop/sessions", "sessions"]
  """
  @spec bucket(function :: String.t(), String.t()) :: Keyvalue.bucket()
  def bucket(function, bucket) do
    case Name.of(function) do
      nil -> bucket
      namespace -> namespace <> "/" <> bucket
    end
  end

  @doc "What a guest is told whose namespace has too many requests under way."
  @spec busy :: String.t()
  def busy do
    {running, waiting} = Turns.bounds(:keyvalue)
    "busy: the namespace has #{running + waiting} requests under way: ask again later"
  end

  # What is in memory: neither a thread nor a store of others is asked for it.
  defp known(Keyvalue.Actors, "get", [bucket, key]), do: Keyvalue.Actors.known(bucket, key)

  defp known(Keyvalue.Actors, "exists", [bucket, key]),
    do: with({:ok, value} <- Keyvalue.Actors.known(bucket, key), do: {:ok, value != nil})

  defp known(_module, _operation, _arguments), do: :none

  defp ask(module, operation, arguments, argument, call) do
    most = min(max(call.deadline - now(), 0), Config.get(:keyvalue_timeout))
    time = {now() + most, most}
    work = fn argument -> perform(operation, module, arguments ++ [argument]) end

    with :elsewhere <- here(operation, module, argument, work, time, call),
         do: isolated(fn -> argument |> work.() |> check(operation, call) end, time, call)
  end

  # By a store of the node's own. A link to another node may hold up who sends by it for longer than the request has.
  defp here(operation, module, argument, work, time, call) when operation in @single do
    case module do
      Keyvalue.Memory -> prompt(operation, fn -> work.(argument) end, time, call)
      Keyvalue.Actors -> prompt(operation, fn -> argument |> Keyvalue.Actors.here() |> work.() end, time, call)
      _other -> :elsewhere
    end
  end

  defp here(_operation, _module, _argument, _work, _time, _call), do: :elsewhere

  # What the store asks of others has no more time than that.
  defp prompt(operation, work, {until, most} = time, call) do
    outer = Nesting.put({call.depth, until, call.context})
    work = fn -> with answer when answer != :elsewhere <- work.(), do: check(answer, operation, call) end

    try do
      with {:error, _why} = error <- run(work, time, call), do: if(now() < until, do: error, else: late(most))
    after
      Nesting.put(outer)
    end
  end

  defp isolated(work, {until, most}, call) do
    # The time that it has is the process's, and so is that for which it waits.
    case Isolated.run(fn -> run(work, {:infinity, most}, call) end, max(until - now(), 0) * 1_000) do
      {:ok, result} -> result
      {:exit, reason} -> Failure.ended(call, :exit, reason, [])
      :timeout -> late(most)
    end
  end

  defp run(work, {until, most}, call) do
    case Turns.run(:keyvalue, call.function, until, work) do
      {:ok, result} -> result
      :busy -> {:error, busy()}
      :late -> late(most)
    end
  catch
    # What is told of one whose time is over is that, and no failure. A number is less than `:infinity`.
    kind, reason -> if now() < until, do: Failure.ended(call, kind, reason, __STACKTRACE__), else: late(most)
  end

  defp late(ms), do: {:error, "the store has not answered within #{ms} ms"}
  defp now, do: System.monotonic_time(:millisecond)

  defp perform("get", module, arguments), do: apply(module, :get, arguments)
  defp perform("set", module, arguments), do: apply(module, :set, arguments)
  defp perform("delete", module, arguments), do: apply(module, :delete, arguments)
  defp perform("increment", module, arguments), do: apply(module, :increment, arguments)
  defp perform("swap", module, arguments), do: apply(module, :swap, arguments)
  defp perform("list-keys", module, [bucket, from, argument]), do: module.list_keys(bucket, from, @page, argument)

  defp perform("exists", module, [bucket, key, argument] = arguments) do
    with nil <- optional(module, :exists, arguments),
         {:ok, value} <- module.get(bucket, key, argument),
         do: {:ok, value != nil}
  end

  defp perform("get-many", module, [bucket, keys, argument] = arguments) do
    with nil <- optional(module, :get_many, arguments), do: get_each(module, bucket, keys, argument)
  end

  defp perform("set-many", module, [bucket, pairs, argument] = arguments) do
    with nil <- optional(module, :set_many, arguments),
         do: each(pairs, fn {key, value} -> module.set(bucket, key, value, argument) end)
  end

  defp perform("delete-many", module, [bucket, keys, argument] = arguments) do
    with nil <- optional(module, :delete_many, arguments), do: each(keys, &module.delete(bucket, &1, argument))
  end

  defp optional(module, name, arguments),
    do: if(function_exported?(module, name, length(arguments)), do: apply(module, name, arguments))

  defp get_each(module, bucket, keys, argument) do
    Enum.reduce_while(keys, {:ok, [], 0}, fn key, {:ok, values, bytes} ->
      case module.get(bucket, key, argument) do
        {:ok, value} when is_binary(value) or value == nil ->
          bytes = bytes + byte_size(value || "")

          if bytes > Keyvalue.max_batch_bytes(),
            do: {:halt, {:error, Keyvalue.too_large(Keyvalue.max_batch_bytes())}},
            else: {:cont, {:ok, [value | values], bytes}}

        other ->
          {:halt, other}
      end
    end)
    |> case do
      {:ok, values, _bytes} -> {:ok, Enum.reverse(values)}
      other -> other
    end
  end

  defp each(list, fun) do
    Enum.reduce_while(list, :ok, fn one, :ok ->
      case fun.(one) do
        :ok -> {:cont, :ok}
        other -> {:halt, other}
      end
    end)
  end

  # What the library is answered, if the store's answer is one.
  defp check({:error, text}, _operation, _call) when is_binary(text),
    do: {:error, text |> shown() |> Options.cut(@told_bytes)}

  defp check({:ok, value}, "get", call), do: value |> value?() |> given(value, call)
  defp check({:ok, exists?}, "exists", call), do: exists? |> is_boolean() |> given(exists?, call)
  defp check({:ok, sum}, "increment", call), do: given(sum in @sums, sum, call)
  defp check(:ok, "swap", _call), do: {:ok, :swapped}
  defp check({:changed, value}, "swap", call), do: value |> value?() |> given({:changed, value}, call)
  defp check({:ok, values}, "get-many", call), do: values |> values?(&value?/1) |> given(values, call)

  defp check({:ok, keys, more?}, "list-keys", call),
    do: given(values?(keys, &is_binary/1) and is_boolean(more?), {Enum.take(keys, @page), more?}, call)

  defp check(:ok, operation, _call) when operation in ["set", "delete", "set-many", "delete-many"], do: {:ok, nil}
  defp check(other, _operation, call), do: Failure.answered(call, other)

  defp given(true, value, _call), do: fit(value)
  defp given(false, value, call), do: Failure.answered(call, value)

  defp value?(value), do: is_binary(value) or value == nil

  defp values?(values, valid?), do: is_list(values) and List.improper?(values) == false and Enum.all?(values, valid?)

  # Another program may have put there what no guest could.
  defp fit(value) do
    {size, most} =
      case value do
        {:changed, value} -> {size(value), Keyvalue.max_value_bytes()}
        {keys, more?} when is_boolean(more?) -> {size(keys), Keyvalue.max_batch_bytes()}
        values when is_list(values) -> {size(values), Keyvalue.max_batch_bytes()}
        value -> {size(value), Keyvalue.max_value_bytes()}
      end

    if size > most, do: {:error, Keyvalue.too_large(most)}, else: {:ok, value}
  end

  defp size(values) when is_list(values), do: values |> Enum.map(&size/1) |> Enum.sum()
  defp size(value), do: if(is_binary(value), do: byte_size(value), else: 0)

  defp shown(text), do: if(String.valid?(text), do: text, else: inspect(text))
end
