defmodule Tidepool.Host do
  @moduledoc """
  What guests may call: handlers by `{binding, namespace, operation}`.

      Tidepool.Host.register({"host", "redis", "GET"}, fn call -> {:ok, fetch(call.payload)} end)

  A part of the target may be `:_`, which matches anything. The most specific handler is taken: one that names the
  binding before one that doesn't, then namespace, then operation.

  A handler is one of:

  - a function of one argument, or `{module, function}`: it gets a `Tidepool.Host.Call`, runs in the process that made
    the call, and returns `{:ok, bytes}` or `{:error, bytes}`;
  - a GenServer, by pid or registered name (`name`, `{:global, name}`, `{:via, module, name}`): it gets the message
    `{:invoke_callback, binding, namespace, operation, payload, ref}`, and anybody answers with `reply/2`.

  Whatever a handler does, its guest gets an answer: a handler that raises, dies, returns something else or stays silent
  until the call's time is over becomes an error in the guest.
  """

  alias Tidepool.Host.{Call, Registry}
  alias Tidepool.Timer

  @type part :: String.t() | :_
  @type target :: {binding :: part, namespace :: part, operation :: part}
  @type result :: {:ok, binary} | {:error, binary}
  @type handler :: (Call.t() -> result) | {module, atom} | GenServer.name() | pid
  @typedoc "What a GenServer passes to `reply/2`. Good for one reply."
  @type ref :: reference

  @doc """
  Routes calls to `target` to `handler` from now on, in place of the one before.

  Raises `ArgumentError` for a target or handler of another shape.
  """
  @spec register(target, handler) :: :ok
  def register(target, handler) do
    unless target?(target) do
      raise ArgumentError, "a target is {binding, namespace, operation}, each a string or :_, not #{inspect(target)}"
    end

    Registry.put(target, classify(handler))
  end

  @doc "Removes the handler of exactly this target."
  @spec unregister(target) :: :ok
  def unregister(target), do: Registry.delete(target)

  @doc """
  Answers the host call with this `ref`, from any process. A second answer, or one that comes too late, is dropped.
  """
  @spec reply(ref, result) :: :ok
  def reply(ref, {tag, bytes} = result) when is_reference(ref) and tag in [:ok, :error] and is_binary(bytes) do
    send(ref, {ref, result})
    :ok
  end

  @doc false
  # Carries a call out. Never raises.
  @spec dispatch(Call.t(), remaining_us :: non_neg_integer) :: result
  def dispatch(%Call{} = call, remaining_us) do
    case Registry.lookup(call.binding, call.namespace, call.operation) do
      {:fun, fun} -> run(fun, call)
      {:mfa, module, function} -> run(&apply(module, function, [&1]), call)
      {:process, name} -> ask(name, call, remaining_us)
      nil -> {:error, "no host function #{call.binding}/#{call.namespace}/#{call.operation}"}
    end
  end

  defp run(fun, call) do
    call |> fun.() |> check()
  rescue
    exception -> {:error, "the host's handler raised: #{Exception.message(exception)}"}
  catch
    kind, reason -> {:error, "the host's handler ended: #{Exception.format_banner(kind, reason)}"}
  end

  defp check({tag, bytes} = result) when tag in [:ok, :error] and is_binary(bytes), do: result

  defp check(other) do
    {:error, "the host's handler answered #{inspect(other, limit: 5)} instead of {:ok, bytes} or {:error, bytes}"}
  end

  # The monitor's reference is an alias for the reply, dead after the first one: whatever else is sent to it vanishes.
  defp ask(name, call, remaining_us) do
    case whereis(name) do
      nil ->
        {:error, "the host's handler #{inspect(name)} is not running"}

      process ->
        ref = :erlang.monitor(:process, process, alias: :reply_demonitor)
        send(process, {:invoke_callback, call.binding, call.namespace, call.operation, call.payload, ref})
        await(ref, Timer.ms(remaining_us))
    end
  end

  defp await(ref, timeout_ms) do
    receive do
      {^ref, result} ->
        check(result)

      {:DOWN, ^ref, :process, _pid, reason} ->
        {:error, "the host's handler died: #{Exception.format_exit(reason)}"}
    after
      timeout_ms ->
        Process.demonitor(ref, [:flush])

        # It may have come between the timeout and the end of the alias.
        receive do
          {^ref, result} -> check(result)
        after
          0 -> {:error, "the host's handler did not answer in time"}
        end
    end
  end

  defp whereis(pid) when is_pid(pid), do: pid
  defp whereis(name), do: GenServer.whereis(name)

  defp classify(fun) when is_function(fun, 1), do: {:fun, fun}
  defp classify({:global, _name} = name), do: {:process, name}
  defp classify({module, function}) when is_atom(module) and is_atom(function), do: {:mfa, module, function}
  defp classify({:via, module, _name} = name) when is_atom(module), do: {:process, name}
  defp classify(name) when is_pid(name) or (is_atom(name) and name not in [nil, true, false]), do: {:process, name}

  defp classify(other) do
    raise ArgumentError,
          "a handler is a function of one argument, {module, function}, or a GenServer's pid or name, " <>
            "not #{inspect(other)}"
  end

  defp target?({binding, namespace, operation}), do: Enum.all?([binding, namespace, operation], &part?/1)
  defp target?(_other), do: false

  defp part?(part), do: is_binary(part) or part == :_
end
