defmodule Tidepool.Slowdown do
  @moduledoc """
  How much slower the machine lets this node be than it would be alone.

  Linux counts for each thread how long it has run, and how long it has waited for a core
  ([schedstat](https://www.kernel.org/doc/html/latest/scheduler/sched-stats.html), nanoseconds).
  """

  @doc "Runs a function: its value, and by how many times the threads of this node took longer for want of a core, at least 1.0."
  @spec of((() -> value)) :: {value, float} when value: term
  def of(function) do
    before = threads()
    value = function.()
    passed = for {thread, now} <- threads(), then = before[thread], do: Enum.zip_with(now, then, &-/2)
    ran = passed |> Enum.map(&hd/1) |> Enum.sum()
    waited = passed |> Enum.map(&List.last/1) |> Enum.sum()
    {value, (ran + waited) / max(ran, 1)}
  end

  # A thread may end meanwhile.
  defp threads do
    for thread <- File.ls!("/proc/self/task"),
        {:ok, text} <- [File.read("/proc/self/task/#{thread}/schedstat")],
        into: %{} do
      [ran, waited, _slices] = String.split(text)
      {thread, [String.to_integer(ran), String.to_integer(waited)]}
    end
  end
end
