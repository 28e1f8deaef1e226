defmodule Tidepool.Telemetry.Listeners do
  @moduledoc """
  Knows whether there are listeners, so that no other module has to ask.

  Handlers are kept by `:telemetry` where the application has it, else by `Tidepool.Telemetry.Handlers`; either is the
  *backend*. While it has handlers for Tidepool's events, a persistent term names it, and the native library hands every
  request of the HTTP edge to a process: what is answered without one has nobody to tell of it. Where there are traces and no
  handlers, the term says that: the edge hands over what is recorded, and what runs in a process looks whether it is.

  `:telemetry` tells nobody of new handlers, so it is asked once a second. One that is attached through this process
  counts at once.
  """

  use GenServer

  alias Tidepool.{Engine, Native, Trace}
  alias Tidepool.Telemetry.Handlers

  @interval_ms 1_000
  # In place of a backend, where there are traces and no listener.
  @traces :traces

  @doc false
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The module that executes events, or `nil` without a listener."
  @spec backend :: module | nil
  def backend do
    with @traces <- :persistent_term.get(__MODULE__, nil), do: nil
  end

  @doc "Attaches a handler, and has looked when this returns."
  @spec attach(term, [Tidepool.Telemetry.event()], Tidepool.Telemetry.handler(), term) ::
          :ok | {:error, :already_exists}
  def attach(id, events, handler, config), do: ask({:attach_many, [id, events, handler, config]})

  @doc "Detaches a handler, and has looked when this returns."
  @spec detach(term) :: :ok | {:error, :not_found}
  def detach(id), do: ask({:detach, [id]})

  # What the backend raises, when it is not started say, is the caller's.
  defp ask(question) do
    with {:raised, exception} <- GenServer.call(__MODULE__, question), do: raise(exception)
  end

  @doc "Detaches a handler that failed, in whichever process it did."
  @spec drop(term) :: :ok
  def drop(id), do: GenServer.cast(__MODULE__, {:detach, [id]})

  @doc false
  # For the application's end.
  @spec clear :: :ok
  def clear do
    :persistent_term.erase(__MODULE__)
    Handlers.clear()
  end

  @impl true
  def init(nil) do
    backend = if Code.ensure_loaded?(:telemetry), do: :telemetry, else: Handlers
    if backend == :telemetry, do: {:ok, _timer} = :timer.send_interval(@interval_ms, :look)
    look(backend)
    {:ok, backend}
  end

  @impl true
  def handle_call({function, arguments}, _from, backend) do
    result = apply(backend, function, arguments)
    look(backend)
    {:reply, result, backend}
  rescue
    exception -> {:reply, {:raised, exception}, backend}
  end

  @impl true
  def handle_cast({function, arguments}, backend) do
    apply(backend, function, arguments)
    look(backend)
    {:noreply, backend}
  end

  @impl true
  def handle_info(:look, backend) do
    look(backend)
    {:noreply, backend}
  end

  def handle_info(_message, backend), do: {:noreply, backend}

  defp look(backend) do
    listening? = handlers(backend) != []
    was_listening? = backend() != nil
    # Before anybody may take it that there is a listener.
    if listening? != was_listening?, do: Native.observe(Engine.runtime(), listening?)
    traces = if Trace.on?(), do: @traces
    :persistent_term.put(__MODULE__, if(listening?, do: backend, else: traces))
  end

  # It may be loaded and not started.
  defp handlers(backend) do
    backend.list_handlers([:tidepool])
  rescue
    ArgumentError -> []
  end
end
