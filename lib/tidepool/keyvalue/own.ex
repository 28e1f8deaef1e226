defmodule Tidepool.Keyvalue.Own do
  @moduledoc """
  The bucket `actor` of a guest that is an actor: its own values, which are written with its memory, in one change. What a call has changed
  of them is undone with it. Bounds are those of an actor's values (`Tidepool.Actor.Activation.Guest.Values`).

  A guest that is none has an ordinary bucket of that name.
  """

  alias Tidepool.{Error, Keyvalue}
  alias Tidepool.Actor.Activation.Guest.{Changes, Values}
  alias Tidepool.Host.Call

  @bucket "actor"

  @typedoc "What a store answers; `:timeout` when the call's time is over."
  @type answer ::
          :ok
          | {:ok, term}
          | {:ok, [binary], more? :: boolean}
          | {:changed, binary | nil}
          | {:error, String.t()}
          | :timeout

  @doc "Is this the own bucket of the guest that asks?"
  @spec bucket?(String.t(), Changes.t() | nil) :: boolean
  def bucket?(bucket, changes), do: bucket == @bucket and changes != nil

  @doc "What it says to an operation, and the changes of the call from then on."
  @spec answer(Call.t(), arguments :: [term], Changes.t()) :: {answer, Changes.t()}
  def answer(%Call{operation: operation, deadline: deadline}, arguments, changes) do
    case perform(operation, arguments, %{changes | until: deadline}) do
      {:error, why} -> {{:error, why}, changes}
      {answer, changes} -> {answer, Changes.saw(changes, size(arguments) + size(answer))}
    end
  rescue
    # No turn to read has come within the call's time.
    error in Error ->
      if error.reason == :timeout, do: {:timeout, changes}, else: reraise(error, __STACKTRACE__)
  end

  defp perform("get", [key], changes) do
    with {:ok, value, changes} <- Values.get(changes, key), do: {{:ok, value}, changes}
  end

  defp perform("exists", [key], changes) do
    with {:ok, value, changes} <- Values.get(changes, key), do: {{:ok, value != nil}, changes}
  end

  defp perform("set", [key, value], changes), do: set_each([{key, value}], changes)
  defp perform("delete", [key], changes), do: delete_each([key], changes)
  defp perform("set-many", [pairs], changes), do: set_each(pairs, changes)
  defp perform("delete-many", [keys], changes), do: delete_each(keys, changes)

  defp perform("get-many", [keys], changes) do
    with {values, changes} when is_list(values) <- get_each(keys, [], 0, changes), do: {{:ok, values}, changes}
  end

  defp perform("list-keys", [from], changes) do
    keys = for {key, _value} <- Values.list(changes, "", from || "", 0), do: key
    more? = keys != [] and Values.list(changes, "", List.last(keys), 1) != []
    {{:ok, keys, more?}, changes}
  end

  defp perform("increment", [key, delta], changes) do
    with {:ok, value, changes} <- Values.get(changes, key),
         {:ok, sum} <- Keyvalue.add(value, delta),
         {:ok, changes} <- Values.put(changes, key, Integer.to_string(sum)),
         do: {{:ok, sum}, changes}
  end

  defp perform("swap", [key, seen, new], changes) do
    case Values.get(changes, key) do
      {:ok, ^seen, changes} -> set_each([{key, new}], changes)
      {:ok, other, changes} -> {{:changed, other}, changes}
      error -> error
    end
  end

  defp perform(operation, _arguments, _changes), do: {:error, "#{operation} is nothing that a bucket does"}

  defp set_each([], changes), do: {:ok, changes}

  defp set_each([{key, value} | more], changes) do
    with {:ok, changes} <- Values.put(changes, key, value), do: set_each(more, changes)
  end

  defp delete_each([], changes), do: {:ok, changes}

  defp delete_each([key | more], changes) do
    with {:ok, changes} <- Values.delete(changes, key), do: delete_each(more, changes)
  end

  defp get_each([], values, _bytes, changes), do: {Enum.reverse(values), changes}

  defp get_each([key | more], values, bytes, changes) do
    with {:ok, value, changes} <- Values.get(changes, key) do
      bytes = bytes + size(value)

      if bytes > Keyvalue.max_batch_bytes(),
        do: {:error, Keyvalue.too_large(Keyvalue.max_batch_bytes())},
        else: get_each(more, [value | values], bytes, changes)
    end
  end

  defp size(binary) when is_binary(binary), do: byte_size(binary)
  defp size(list) when is_list(list), do: list |> Enum.map(&size/1) |> Enum.sum()
  defp size(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> size()
  defp size(_other), do: 0
end
