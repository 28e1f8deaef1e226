defmodule Tidepool.Actor.Table do
  @moduledoc "Tables of the actors' rooms that any process writes."

  @doc "Makes a table of this name, unless it is there, for as long as the caller lives."
  @spec new(name :: atom, [term]) :: :ok
  def new(name, options \\ [read_concurrency: true, write_concurrency: true]) do
    if :ets.whereis(name) == :undefined, do: :ets.new(name, [:named_table, :public | options])
    :ok
  end
end
