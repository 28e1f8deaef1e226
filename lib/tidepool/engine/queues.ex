defmodule Tidepool.Engine.Queues do
  @moduledoc """
  For how long calls and modules have been waiting without a break.

  A queue that has something for a moment is what queues are for. One that never gets empty says that the node has too little of
  something. They are looked at once a second, so that what is served between two looks breaks no wait.
  """

  use GenServer

  alias Tidepool.{Engine, Native}

  @look_ms 1_000

  @typedoc """
  A queue: of calls for an instance of an engine, of calls at the caps of functions and namespaces, or of modules that are to be
  compiled.
  """
  @type queue :: :fast | :dense | :caps | :compiles

  @doc false
  @spec start_link(term) :: GenServer.on_start()
  def start_link(_config), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "The queues that have not been empty at any look, and for how many seconds."
  @spec waiting :: %{queue => non_neg_integer}
  def waiting do
    now = System.monotonic_time(:second)
    for {queue, since} <- :ets.tab2list(__MODULE__), into: %{}, do: {queue, now - since}
  end

  @impl true
  def init(nil) do
    :ets.new(__MODULE__, [:named_table, read_concurrency: true])
    {:ok, nil, {:continue, :look}}
  end

  @impl true
  def handle_continue(:look, state), do: look(state)

  @impl true
  def handle_info(:look, state), do: look(state)

  defp look(state) do
    now = System.monotonic_time(:second)

    for {queue, queued} <- queued() do
      if queued > 0, do: :ets.insert_new(__MODULE__, {queue, now}), else: :ets.delete(__MODULE__, queue)
    end

    Process.send_after(self(), :look, @look_ms)
    {:noreply, state}
  end

  defp queued do
    at_engines = for {engine, %{queued: queued}} <- Engine.engines(), do: {engine, queued}
    [{:caps, Native.calls_queued_at_caps(Engine.runtime())}, {:compiles, Engine.compiles().queued} | at_engines]
  end
end
