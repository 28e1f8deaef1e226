defmodule Tidepool.Actor.Activation.AdmissionQueue do
  @moduledoc """
  Admission to an actor's mailbox: how many calls wait, and how many bytes they bring. The bounds hold before a message is sent, so that
  they bound the mailbox. The actor closes its queue before it sleeps, and only while it is empty: a caller that finds it closed looks for
  the actor anew, and no message is lost.
  """

  alias Tidepool.Actor.Activation.WaitingBytes
  alias Tidepool.Function.Actors

  @registry Tidepool.Actor.Registry
  # Two counts: calls and their bytes; and their bounds.
  @closed 1_000_000_000

  @typedoc "Of an actor that is awake: its own counts, and its namespace's."
  @type t :: {:atomics.atomics_ref(), WaitingBytes.t()}

  @doc "An empty queue of an actor of this class, with the bounds that these options of it say."
  @spec new(class :: String.t(), Actors.t()) :: t
  def new(class, options) do
    queue = {:atomics.new(4, signed: true), WaitingBytes.of(class)}
    bound(queue, options)
    queue
  end

  @doc "From now on other bounds hold."
  @spec bound(t, Actors.t()) :: :ok
  def bound({counts, _shared}, %{queue: calls, queue_bytes: bytes}) do
    :atomics.put(counts, 3, calls)
    :atomics.put(counts, 4, bytes)
  end

  @doc """
  Takes a place for a payload. `:full` when there is none, `:quota` when actors of the namespace have all bytes waiting that may, `:closed`
  when the actor goes to sleep.
  """
  @spec enter(t, bytes :: non_neg_integer) :: :ok | :full | :quota | :closed
  def enter({counts, shared}, bytes) do
    waiting = :atomics.add_get(counts, 1, 1)
    waiting_bytes = :atomics.add_get(counts, 2, bytes)

    cond do
      waiting > @closed -> back(counts, bytes, :closed)
      waiting > :atomics.get(counts, 3) -> back(counts, bytes, :full)
      waiting_bytes > :atomics.get(counts, 4) and waiting_bytes > bytes -> back(counts, bytes, :full)
      not WaitingBytes.enter(shared, bytes, &waiting_bytes/1) -> back(counts, bytes, :quota)
      true -> :ok
    end
  end

  defp back(counts, bytes, why) do
    :atomics.sub(counts, 1, 1)
    :atomics.sub(counts, 2, bytes)
    why
  end

  @doc "Gives the place of a payload back: the actor does when it takes the call."
  @spec leave(t, bytes :: non_neg_integer) :: :ok
  def leave({counts, shared}, bytes) do
    # An actor that is killed in between is none whose bytes are added up.
    WaitingBytes.leave(shared, bytes)
    back(counts, bytes, :ok)
  end

  # What waits at the actors of a namespace that are awake. Nothing is between a slash and a zero.
  defp waiting_bytes(namespace) do
    within = [{:>=, :"$1", namespace <> "/"}, {:<, :"$1", namespace <> "0"}]
    # Those that leave have their queues until they have served them.
    keys = [{:"$1", :_}, {:leaving, :"$1", :_, :_}]

    for {counts, _shared} <- Registry.select(@registry, for(key <- keys, do: {{key, :_, :"$2"}, within, [:"$2"]})),
        reduce: 0,
        do: (bytes -> bytes + max(:atomics.get(counts, 2), 0))
  rescue
    # The registry is being restarted: all of them have ended.
    ArgumentError -> 0
  end

  @doc "Closes it, if it is empty. When `forced`, places of callers that were killed before they sent do not count."
  @spec close(t, forced :: boolean) :: boolean
  def close({counts, _shared}, forced) do
    if forced do
      :atomics.add(counts, 1, @closed)
      true
    else
      :atomics.compare_exchange(counts, 1, 0, @closed) == :ok
    end
  end

  @doc "How many calls wait."
  @spec waiting(t) :: non_neg_integer
  def waiting({counts, _shared}), do: max(:atomics.get(counts, 1), 0)
end
