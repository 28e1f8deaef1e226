defmodule Tidepool.Host.Isolated do
  @moduledoc """
  Runs a handler in a process of its own, which may be ended: so whoever called the guest gets its error in time, however
  long the handler takes.

  The process is linked to the caller's: it ends with that, and takes it along when it is ended by a link of its own, as it
  is with `Task.async/1`. It has the caller's Logger metadata, `$callers` and place in the nesting of calls.
  """

  alias Tidepool.{Execution, Timer}

  @doc "The result of `fun`; what its process was ended by; or `:timeout`, with the process killed. Leaves no message."
  @spec run((() -> result), remaining_us :: non_neg_integer) :: {:ok, result} | {:exit, term} | :timeout
        when result: term
  def run(fun, remaining_us) do
    caller = self()
    callers = [caller | Process.get(:"$callers", [])]
    {nesting, metadata} = {Execution.nesting(), :logger.get_process_metadata()}

    # Dead after the first message, or when nobody waits for it any more.
    reply_to = :erlang.alias([:reply])

    {pid, monitor} =
      :erlang.spawn_opt(
        fn ->
          Process.put(:"$callers", callers)
          Execution.nest(nesting)
          if metadata != :undefined, do: :logger.set_process_metadata(metadata)
          result = fun.()
          Process.unlink(caller)
          send(reply_to, {reply_to, result})
        end,
        [:link, :monitor]
      )

    receive do
      {^reply_to, result} ->
        Process.demonitor(monitor, [:flush])
        {:ok, result}

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        unlink(pid)
        :erlang.unalias(reply_to)
        {:exit, reason}
    after
      Timer.ms(remaining_us) ->
        unlink(pid)
        Process.exit(pid, :kill)
        Process.demonitor(monitor, [:flush])
        :erlang.unalias(reply_to)

        receive do
          {^reply_to, _late} -> :timeout
        after
          0 -> :timeout
        end
    end
  end

  # A caller that traps exits may have been told already.
  defp unlink(pid) do
    Process.unlink(pid)

    receive do
      {:EXIT, ^pid, _reason} -> :ok
    after
      0 -> :ok
    end
  end
end
