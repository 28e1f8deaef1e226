defmodule Tidepool.Host.Isolated do
  @moduledoc """
  Runs a handler in a process of its own, which may be ended: so whoever called the guest gets its error in time, however
  long the handler takes.

  The process ends with the caller's, and not the other way round: what ends it, a link of its own say, ends nobody else.
  It has the caller's Logger metadata, `$callers`, and place in the nesting of calls and in their trace.
  """

  alias Tidepool.Host.{Nesting, Timer}
  alias Tidepool.Trace

  @doc "The result of `fun`; what its process was ended by; or `:timeout`, with the process killed. Leaves no message."
  @spec run((() -> result), remaining_us :: non_neg_integer) :: {:ok, result} | {:exit, term} | :timeout
        when result: term
  def run(fun, remaining_us) do
    caller = self()
    enter = entrance(caller)

    # Dead after the first message, or when nobody waits for it any more.
    reply_to = :erlang.alias([:reply])

    {pid, monitor} =
      :erlang.spawn_opt(
        fn ->
          end_with(caller, fn -> :ok end)
          enter.()
          send(reply_to, {reply_to, fun.()})
        end,
        [:monitor]
      )

    receive do
      {^reply_to, result} ->
        Process.demonitor(monitor, [:flush])
        {:ok, result}

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        :erlang.unalias(reply_to)
        {:exit, reason}
    after
      Timer.ms(remaining_us) ->
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

  @doc "Runs `fun` in such a process for whose result nobody waits, and then `over`, however it ended."
  @spec start((() -> term), over :: (() -> term)) :: :ok
  def start(fun, over) do
    caller = self()
    enter = entrance(caller)

    spawn(fn ->
      end_with(caller, over)
      enter.()
      fun.()
    end)

    :ok
  end

  # Takes the process that calls it to where the caller is.
  defp entrance(caller) do
    callers = [caller | Process.get(:"$callers", [])]
    {nesting, actors, trace} = {Nesting.get(), Nesting.actors(), Trace.Context.get()}
    metadata = :logger.get_process_metadata()

    fn ->
      Process.put(:"$callers", callers)
      Nesting.put(nesting)
      Nesting.put_actors(actors)
      Trace.Context.put(trace)
      if metadata != :undefined, do: :logger.set_process_metadata(metadata)
    end
  end

  # A link would end the caller as well, and a handler that traps exits would outlive it.
  defp end_with(caller, over) do
    handler = self()

    spawn(fn ->
      calling = Process.monitor(caller)
      handling = Process.monitor(handler)

      receive do
        {:DOWN, ^calling, :process, _pid, _reason} -> Process.exit(handler, :kill)
        {:DOWN, ^handling, :process, _pid, _reason} -> :ok
      end

      over.()
    end)
  end
end
