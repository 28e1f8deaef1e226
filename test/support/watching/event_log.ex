defmodule Tidepool.EventLog do
  @moduledoc "Keeps telemetry events in the order in which they came, on the node where it runs."

  use GenServer

  @doc "Starts it without a link: for a process that comes in by a remote call and is gone after it."
  def start, do: GenServer.start(__MODULE__, [], name: __MODULE__)

  @doc "A handler of events."
  def record(event, measurements, metadata, _config) do
    GenServer.call(__MODULE__, {:record, {event, measurements, metadata}})
  end

  @doc "A handler that fails."
  def fail(_event, _measurements, _metadata, _config), do: raise("this handler fails")

  @doc "Attaches `record/4` to all events with `module`, which is `Tidepool.Telemetry` or `:telemetry`."
  def attach(Tidepool.Telemetry = module), do: module.attach(__MODULE__, module.events(), &__MODULE__.record/4)
  def attach(module), do: module.attach_many(__MODULE__, Tidepool.Telemetry.events(), &__MODULE__.record/4, nil)

  @doc "The events since they were last asked for."
  def take, do: GenServer.call(__MODULE__, :take)

  @impl true
  def init(events), do: {:ok, events}

  @impl true
  def handle_call({:record, event}, _from, events), do: {:reply, :ok, [event | events]}
  def handle_call(:take, _from, events), do: {:reply, Enum.reverse(events), []}
end
