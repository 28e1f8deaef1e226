defmodule Tidepool.Log.Once do
  @moduledoc """
  Warnings about other nodes, each logged once however often there is a reason: what they send must not fill the log.
  """

  require Logger

  # What is remembered is bounded as well; beyond it nothing new is logged.
  @max 10_000

  @opaque t :: MapSet.t()

  @doc "Nothing has been logged yet."
  @spec new :: t
  def new, do: MapSet.new()

  @doc "Logs `text`, which is about the node `name`, unless there was a warning about `what` before."
  @spec warn(t, String.t(), term, String.t()) :: t
  def warn(logged, name, what, text) do
    if MapSet.member?(logged, what) or MapSet.size(logged) >= @max do
      logged
    else
      Logger.warning(text, tidepool_node: name)
      MapSet.put(logged, what)
    end
  end
end
