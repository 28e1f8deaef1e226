defmodule Tidepool.Log.Change do
  @moduledoc """
  A change that is noted if it was made, even when its caller waits no more.

  The process that serves a request is killed when its client hangs up, between a change and the note of it for instance. So
  both are one process's that nobody kills: it goes on, and only what would be answered is lost.
  """

  @doc "What a function returns that makes a change and notes it; an exit when it crashes."
  @spec make((() -> result)) :: result when result: term
  def make(change) do
    {pid, monitor} = spawn_monitor(__MODULE__, :run, [change])

    receive do
      {:DOWN, ^monitor, :process, ^pid, {__MODULE__, result}} -> result
      {:DOWN, ^monitor, :process, ^pid, reason} -> exit(reason)
    end
  end

  @doc false
  @spec run((() -> term)) :: no_return
  def run(change), do: exit({__MODULE__, change.()})
end
