defmodule Tidepool.Process.HostCalls do
  @moduledoc """
  Answers what a process asks of the host's handlers (`Tidepool.Host`): imports of components, what they keep by keys, and requests for
  other functions.

  A handler that is a function runs in a process of its own, so that what it receives is not the guest's, unless it was registered with
  `:inline`. Calls that it makes are nested in the guest's process as in a call from outside.
  """

  alias Tidepool.{Host, Native}
  alias Tidepool.Host.{Call, Nesting, Timer}

  @typedoc "What the library asks."
  @type asked :: {:import | :exchange, binding :: binary, namespace :: binary, operation :: binary, arguments :: [term]}

  # The VM's timers have an end: who has longer than ten days is told then that nobody has answered.
  @most_us 864_000_000_000

  @doc "The answer for the library; `:timeout` when the process has no time left."
  @spec answer(asked, remaining_us :: non_neg_integer, Native.process_ref()) :: Host.result() | :timeout
  def answer(asked, remaining_us, process) when remaining_us > @most_us do
    with :timeout <- answer(asked, @most_us, process), do: {:error, "the host's handler has not answered for ten days"}
  end

  def answer({_kind, binding, namespace, operation, arguments}, remaining_us, process) do
    deadline = System.monotonic_time(:millisecond) + Timer.ceil_ms(remaining_us)
    %{function: function, version: version} = Native.process_info(process)

    call = %Call{
      binding: binding,
      namespace: namespace,
      operation: operation,
      payload: "",
      args: arguments,
      function: function,
      version: version,
      depth: 1,
      deadline: deadline
    }

    outer = Nesting.put({1, deadline, nil})

    try do
      Host.dispatch(call, remaining_us, true)
    after
      Nesting.put(outer)
    end
  end
end
