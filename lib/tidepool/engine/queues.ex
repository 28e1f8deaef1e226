defmodule Tidepool.Engine.Queues do
  @moduledoc """
  For how long calls and modules have been waiting without a break, and for how long what functions share has been full.

  A queue that has something for a moment is what queues are for. One that never gets empty says that the node has too little of
  something. So does a resource that functions have nearly all of: who wants more is refused it. They are looked at once a second, so
  that what is served between two looks breaks no wait.
  """

  use GenServer

  alias Tidepool.{Engine, Native}

  @look_ms 1_000

  # A resource is full when this part of it at most is free.
  @free_part 16

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
  def waiting, do: seconds(:waiting)

  @doc """
  The resources of `Tidepool.Engine.shared/0` that have been full at each look, and for how many seconds: a sixteenth at most is
  free. Memory is not full while there are idle instances, which make room.
  """
  @spec full :: %{String.t() => non_neg_integer}
  def full, do: seconds(:full)

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
    for {queue, queued} <- queued(), do: note({:waiting, queue}, queued > 0)
    idle = Engine.instances().idle

    for {resource, %{held: held, max: max}} <- Engine.shared() do
      full? = max > 0 and held >= max - div(max, @free_part)
      note({:full, resource}, full? and not (resource == "memory" and idle > 0))
    end

    Process.send_after(self(), :look, @look_ms)
    {:noreply, state}
  end

  defp note(key, true), do: :ets.insert_new(__MODULE__, {key, System.monotonic_time(:second)})
  defp note(key, false), do: :ets.delete(__MODULE__, key)

  defp seconds(kind) do
    now = System.monotonic_time(:second)
    for [what, since] <- :ets.match(__MODULE__, {{kind, :"$1"}, :"$2"}), into: %{}, do: {what, now - since}
  end

  defp queued do
    at_engines = for {engine, %{queued: queued}} <- Engine.engines(), do: {engine, queued}
    [{:caps, Native.calls_queued_at_caps(Engine.runtime())}, {:compiles, Engine.compiles().queued} | at_engines]
  end
end
