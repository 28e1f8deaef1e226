defmodule Tidepool.Actor.Activation.AdmissionQueue do
  @moduledoc """
  Admission to an actor's mailbox: how many calls wait, and how many bytes they bring. The bounds hold before a message is sent, so that
  they bound the mailbox. The actor closes its queue before it sleeps, and only while it is empty: a caller that finds it closed looks for
  the actor anew, and no message is lost.
  """

  alias Tidepool.Function.Actors

  # Two counts: calls and their bytes; and their bounds.
  @closed 1_000_000_000

  @typedoc "Of an actor that is awake."
  @type t :: :atomics.atomics_ref()

  @doc "An empty queue, with the bounds that these options of a class say."
  @spec new(Actors.t()) :: t
  def new(options) do
    queue = :atomics.new(4, signed: true)
    bound(queue, options)
    queue
  end

  @doc "From now on other bounds hold."
  @spec bound(t, Actors.t()) :: :ok
  def bound(queue, %{queue: calls, queue_bytes: bytes}) do
    :atomics.put(queue, 3, calls)
    :atomics.put(queue, 4, bytes)
  end

  @doc "Takes a place for a payload. `:full` when there is none, `:closed` when the actor goes to sleep."
  @spec enter(t, bytes :: non_neg_integer) :: :ok | :full | :closed
  def enter(queue, bytes) do
    waiting = :atomics.add_get(queue, 1, 1)
    waiting_bytes = :atomics.add_get(queue, 2, bytes)

    cond do
      waiting > @closed -> back(queue, bytes, :closed)
      waiting > :atomics.get(queue, 3) -> back(queue, bytes, :full)
      waiting_bytes > :atomics.get(queue, 4) and waiting_bytes > bytes -> back(queue, bytes, :full)
      true -> :ok
    end
  end

  defp back(queue, bytes, why) do
    leave(queue, bytes)
    why
  end

  @doc "Gives the place of a payload back: the actor does when it takes the call."
  @spec leave(t, bytes :: non_neg_integer) :: :ok
  def leave(queue, bytes) do
    :atomics.sub(queue, 1, 1)
    :atomics.sub(queue, 2, bytes)
  end

  @doc "Closes it, if it is empty. When `forced`, places of callers that were killed before they sent do not count."
  @spec close(t, forced :: boolean) :: boolean
  def close(queue, forced) do
    if forced do
      :atomics.add(queue, 1, @closed)
      true
    else
      :atomics.compare_exchange(queue, 1, 0, @closed) == :ok
    end
  end

  @doc "How many calls wait."
  @spec waiting(t) :: non_neg_integer
  def waiting(queue), do: max(:atomics.get(queue, 1), 0)
end
