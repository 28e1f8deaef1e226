defmodule Tidepool.Actor.Line do
  @moduledoc """
  How many calls wait for an actor, and how many bytes they bring: bounds that hold before a message is sent, so that a mailbox
  has them, too. An actor closes its line before it goes to sleep, and only when nobody is in it: whoever comes then looks for
  the actor anew, and no message is lost.
  """

  alias Tidepool.Function.Actors

  # Two counts: calls and their bytes; and what they may be.
  @closed 1_000_000_000

  @typedoc "Of an actor that is awake."
  @type t :: :atomics.atomics_ref()

  @doc "A line with nobody in it, and the bounds that these options of a class say."
  @spec new(Actors.t()) :: t
  def new(options) do
    line = :atomics.new(4, signed: true)
    bound(line, options)
    line
  end

  @doc "From now on other bounds hold."
  @spec bound(t, Actors.t()) :: :ok
  def bound(line, %{queue: calls, queue_bytes: bytes}) do
    :atomics.put(line, 3, calls)
    :atomics.put(line, 4, bytes)
  end

  @doc "Steps in with a payload. `:full` when there is no place, `:closed` when the actor goes to sleep."
  @spec enter(t, bytes :: non_neg_integer) :: :ok | :full | :closed
  def enter(line, bytes) do
    waiting = :atomics.add_get(line, 1, 1)
    waiting_bytes = :atomics.add_get(line, 2, bytes)

    cond do
      waiting > @closed -> back(line, bytes, :closed)
      waiting > :atomics.get(line, 3) -> back(line, bytes, :full)
      waiting_bytes > :atomics.get(line, 4) and waiting_bytes > bytes -> back(line, bytes, :full)
      true -> :ok
    end
  end

  defp back(line, bytes, why) do
    leave(line, bytes)
    why
  end

  @doc "Steps out, as the actor does for those whom it has taken."
  @spec leave(t, bytes :: non_neg_integer) :: :ok
  def leave(line, bytes) do
    :atomics.sub(line, 1, 1)
    :atomics.sub(line, 2, bytes)
  end

  @doc "Closes it, if nobody is in it. Whoever was killed in it is not counted when `forced`."
  @spec close(t, forced :: boolean) :: boolean
  def close(line, forced) do
    if forced do
      :atomics.add(line, 1, @closed)
      true
    else
      :atomics.compare_exchange(line, 1, 0, @closed) == :ok
    end
  end

  @doc "How many are in it."
  @spec waiting(t) :: non_neg_integer
  def waiting(line), do: max(:atomics.get(line, 1), 0)
end
