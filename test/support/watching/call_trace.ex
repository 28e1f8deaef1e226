defmodule Tidepool.CallTrace do
  @moduledoc "Which calls of a function the processes of this VM make, one trace at a time."

  @doc "Begins to trace calls of `{module, function, arity}`."
  @spec start(mfa) :: :ok
  def start(mfa) do
    parent = self()

    tracer =
      spawn(fn ->
        Process.register(self(), __MODULE__)
        send(parent, :registered)
        collect([])
      end)

    receive do: (:registered -> :ok)
    :erlang.trace_pattern(mfa, true, [:local])
    :erlang.trace(:all, true, [:call, {:tracer, tracer}])
    :ok
  end

  @doc "Ends the trace: the arguments of each call, in their order."
  @spec stop :: [list]
  def stop do
    :erlang.trace(:all, false, [:call])
    delivered = :erlang.trace_delivered(:all)
    receive do: ({:trace_delivered, :all, ^delivered} -> :ok)
    send(__MODULE__, {:stop, self()})
    receive do: ({:calls, calls} -> calls)
  end

  defp collect(calls) do
    receive do
      {:trace, _pid, :call, {_module, _function, arguments}} -> collect([arguments | calls])
      {:stop, pid} -> send(pid, {:calls, Enum.reverse(calls)})
    end
  end
end
