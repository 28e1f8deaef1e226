defmodule Tidepool.Command.Signals do
  @moduledoc """
  The signal by which a command is asked to end (SIGTERM), told to a process, where the VM would stop as if all were done.
  Other signals stay what they are to the VM.
  """

  @behaviour :gen_event

  @server :erl_signal_server
  @default :erl_signal_handler

  @doc "Sends `{:signal, :sigterm}` to a process from now on, for the signal."
  @spec subscribe(pid) :: :ok
  def subscribe(pid) do
    _handled = :gen_event.swap_handler(@server, {@default, :swapped}, {__MODULE__, pid})
    :ok
  end

  @doc "Has the VM handle all signals again."
  @spec unsubscribe :: :ok
  def unsubscribe do
    _handled = :gen_event.swap_handler(@server, {__MODULE__, :swapped}, {@default, []})
    :ok
  end

  @impl true
  def init({pid, _of_the_default}), do: {:ok, pid}

  @impl true
  def handle_event(:sigterm, pid) do
    send(pid, {:signal, :sigterm})
    {:ok, pid}
  end

  def handle_event(signal, pid) do
    {:ok, _state} = @default.handle_event(signal, [])
    {:ok, pid}
  end

  @impl true
  def handle_call(_request, pid), do: {:ok, :ok, pid}
end
