defmodule Tidepool.Actor.Replication.WriteCounts do
  @moduledoc """
  How often records were written here by others than who keeps copies (`Tidepool.Actor.Replication.ReplicaWriter`): by actors, and where states are put
  together. It is counted before they are, so what the keeper remembers of a record is so as long as the count is what it was before
  the record was read.

  Actors share counts: one that has changed says that a record may have been written.
  """

  @key {__MODULE__, :counts}
  @counts 65_536

  @doc "Begins to count; what was counted before stays."
  @spec new :: :ok
  def new,
    do: if(:persistent_term.get(@key, nil), do: :ok, else: :persistent_term.put(@key, :counters.new(@counts, [])))

  @doc "Is about to be written."
  @spec note(String.t(), String.t()) :: :ok
  def note(class, name), do: :counters.add(:persistent_term.get(@key), place(class, name), 1)

  @doc "How often it was."
  @spec count(String.t(), String.t()) :: non_neg_integer
  def count(class, name), do: :counters.get(:persistent_term.get(@key), place(class, name))

  defp place(class, name), do: :erlang.phash2({class, name}, @counts) + 1
end
