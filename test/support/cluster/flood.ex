defmodule Tidepool.Flood do
  @moduledoc """
  Many calls at once, made on the node where this runs: test files' own functions don't exist on peers.
  """

  @doc "Calls `hello_world` from `count` processes at once; how many calls ended how."
  def run(count) do
    1..count
    |> Enum.map(fn i -> Task.async(fn -> outcome(Tidepool.call("hello_world", "hello", "#{i}"), i) end) end)
    |> Task.await_many(50_000)
    |> Enum.frequencies()
  end

  @doc "Calls a function from `count` processes that nobody is linked to; their pids."
  def spawn(name, count), do: for(_ <- 1..count, do: Kernel.spawn(fn -> Tidepool.call(name, "x") end))

  @doc "Kills them."
  def kill(pids), do: Enum.each(pids, &Process.exit(&1, :kill))

  defp outcome({:ok, reply}, i), do: if(reply == "Hello, #{i}!", do: :ok, else: :mixed_up)
  defp outcome({:error, error}, _i), do: error.reason
end
