defmodule Tidepool.Actor.Journal.Marks do
  @moduledoc """
  Names of the marks that are left of actors that were deleted, where nodes have copies (`Tidepool.Actor.Replication.Replica`), and how
  many there are of each namespace.

  They are records without a class, in an order in which those of a namespace are not together: all of them are listed.
  """

  alias Tidepool.Namespaces.Name
  alias Tidepool.Native

  @common ""
  @gone "gone/"
  @each 10_000

  @doc "What the mark of an actor is called."
  @spec name(class :: String.t(), name :: String.t()) :: String.t()
  def name(class, name), do: @gone <> class <> "\n" <> name

  @doc "Whose mark is called so; `nil` when it is none."
  @spec of(String.t()) :: {class :: String.t(), name :: String.t()} | nil
  def of(@gone <> of), do: with([class, name] <- :binary.split(of, "\n"), do: {class, name}, else: (_other -> nil))
  def of(_other), do: nil

  @doc "How many there are of each namespace; `nil` are those without one."
  @spec count(Native.records()) :: {:ok, %{(String.t() | nil) => pos_integer}} | Native.record_failure()
  def count(records), do: count(records, nil, %{})

  defp count(records, from, counts) do
    with {:ok, rows, next} <- Native.list_records(records, @common, from, @each) do
      counts =
        for {key, _seq, _alarm_at, _bytes} <- rows, {class, _name} <- [of(key)], reduce: counts do
          counts -> Map.update(counts, Name.of(class), 1, &(&1 + 1))
        end

      if next, do: count(records, next, counts), else: {:ok, counts}
    end
  end
end
