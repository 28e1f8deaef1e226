defmodule Tidepool.Engine.Recent do
  @moduledoc """
  What guests printed last on this node, and calls that failed last: of each function the newest 500 lines and 50 failures.

  The library keeps them, within 256 KiB of a function for each of the two and 16 MiB of all functions. Where these are
  over, the oldest are dropped of the namespace, or function without one, that has most. A function's go when it is removed, and all end with
  the node.

  A reader has a position, and asks for what has come after it: that is how many are gone since, `nil` when this is not
  known, those that there are, the oldest first, and the position after them. Positions are numbers of lines, or failures, of one
  function, or with `nil` as its name of all: those of one mean nothing for another.
  """

  alias Tidepool.{Engine, Error, Native}

  @type kind :: :lines | :failures
  @type position :: non_neg_integer

  @typedoc "A line, or a failure, whose error is as its caller had it. `at_ms` is since 1970."
  @type entry :: %{
          required(:position) => position,
          required(:at_ms) => pos_integer,
          required(:function) => String.t(),
          required(:version) => pos_integer,
          optional(:stream) => :console | :stdout | :stderr,
          optional(:text) => String.t(),
          optional(:dropped) => non_neg_integer,
          optional(:operation) => String.t() | nil,
          optional(:payload) => binary | nil,
          optional(:error) => Error.t()
        }

  @doc "How many there are of a function at most."
  @spec most(kind) :: pos_integer
  def most(:lines), do: 500
  def most(:failures), do: 50

  @doc "The newest ones; of none of them the position is the one from which on all is new."
  @spec newest(kind, name :: String.t() | nil, limit :: non_neg_integer) :: {position, [entry]}
  def newest(kind, name, limit) do
    {position, 0, entries} = native(kind, name, limit)
    {position, Enum.map(entries, &entry/1)}
  end

  @doc "Those that came after a position, the oldest of them."
  @spec following(kind, name :: String.t() | nil, position, limit :: non_neg_integer) ::
          {position, missed :: non_neg_integer | nil, [entry]}
  def following(kind, name, position, limit) do
    {position, missed, entries} = native(kind, name, position, limit)
    {position, missed, Enum.map(entries, &entry/1)}
  end

  defp native(:lines, name, limit), do: Native.newest_lines(Engine.runtime(), name, limit)
  defp native(:failures, name, limit), do: Native.newest_failures(Engine.runtime(), name, limit)
  defp native(:lines, name, position, limit), do: Native.lines_after(Engine.runtime(), name, position, limit)
  defp native(:failures, name, position, limit), do: Native.failures_after(Engine.runtime(), name, position, limit)

  defp entry({position, at_ms, function, version, stream, text, dropped})
       when is_atom(stream) and is_integer(dropped) do
    %{
      position: position,
      at_ms: at_ms,
      function: function,
      version: version,
      stream: stream,
      text: text,
      dropped: dropped
    }
  end

  defp entry({position, at_ms, function, version, operation, payload, {:error, reason, message, details}}) do
    %{
      position: position,
      at_ms: at_ms,
      function: function,
      version: version,
      operation: operation,
      payload: payload,
      error: Error.new(reason, message, function, details)
    }
  end
end
