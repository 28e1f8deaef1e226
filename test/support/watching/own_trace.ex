defmodule Tidepool.OwnTrace do
  @moduledoc "What one process calls and sends, whatever others do at the same time."

  @doc """
  What `work` returns, in a process of its own, with the arguments of each call that it makes of the functions, and what it sends.
  Each function is to be traced by one test at a time.
  """
  @spec of([mfa], (() -> result)) :: {result, calls :: [list], sent :: [term]} when result: term
  def of(functions, work) do
    task = Task.async(fn -> receive(do: (:begin -> work.())) end)
    for function <- functions, do: :erlang.trace_pattern(function, true, [:local])
    :erlang.trace(task.pid, true, [:call, :send])
    send(task.pid, :begin)
    result = Task.await(task, 60_000)
    delivered = :erlang.trace_delivered(:all)
    receive do: ({:trace_delivered, :all, ^delivered} -> :ok)
    for function <- functions, do: :erlang.trace_pattern(function, false, [:local])
    {calls, sent} = collect(task.pid, [], [])
    {result, calls, sent}
  end

  defp collect(pid, calls, sent) do
    receive do
      {:trace, ^pid, :call, {_module, _function, arguments}} -> collect(pid, [arguments | calls], sent)
      {:trace, ^pid, :send, message, _to} -> collect(pid, calls, [message | sent])
      {:trace, ^pid, :send_to_non_existing_process, message, _to} -> collect(pid, calls, [message | sent])
    after
      0 -> {Enum.reverse(calls), Enum.reverse(sent)}
    end
  end
end
