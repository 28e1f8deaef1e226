defmodule Tidepool.Engine.Queues do
  @moduledoc """
  For how long calls and modules have been waiting without a break, and for how long what a node has so much of has been full.

  A queue that has something for a moment is what queues are for. One that never gets empty says that the node has too little of
  something. So does a resource of which nearly all is taken: who wants more is refused it, or waits. They are looked at once a
  second, so that what is served between two looks breaks no wait.
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

  @typedoc "How much of each resource is taken, and how much there may be."
  @type resources :: %{String.t() => %{held: non_neg_integer, max: non_neg_integer}}

  @doc false
  # `others` say what there is so much of beside what the engine knows.
  @spec start_link([(() -> resources)]) :: GenServer.on_start()
  def start_link(others), do: GenServer.start_link(__MODULE__, others, name: __MODULE__)

  @doc "The queues that have not been empty at any look, and for how many seconds."
  @spec waiting :: %{queue => non_neg_integer}
  def waiting, do: lasting(:waiting)

  @doc """
  The resources of `shared/0` that have been full at each look, and for how many seconds: a sixteenth at most is free. Memory is not
  full while there are idle instances, which make room.
  """
  @spec full :: %{String.t() => non_neg_integer}
  def full, do: lasting(:full)

  @doc "The same of all queues (`:waiting`), or of all resources (`:full`): 0 for those that are empty, or have room."
  @spec seconds(:waiting | :full) :: %{(queue | String.t()) => non_neg_integer}
  def seconds(kind) do
    now = now()
    for {{^kind, what}, since} <- seen(:since), into: %{}, do: {what, if(since, do: now - since, else: 0)}
  end

  @doc "What there is so much of, as it was at the last look: what `Tidepool.Engine.shared/0` has, and what is of others."
  @spec shared :: resources
  def shared, do: seen(:shared)

  @doc "The names of those resources that are full, with so many idle instances."
  @spec full_of(resources, idle :: non_neg_integer) :: [String.t()]
  def full_of(shared, idle) do
    for {resource, %{held: held, max: max}} <- shared,
        max > 0 and held >= max - div(max, @free_part),
        resource != "memory" or idle == 0,
        do: resource
  end

  @impl true
  def init(others) do
    :ets.new(__MODULE__, [:named_table, read_concurrency: true])
    :ets.insert(__MODULE__, since: %{}, shared: %{})
    {:ok, %{others: others, since: %{}}, {:continue, :look}}
  end

  @impl true
  def handle_continue(:look, state), do: look(state)

  @impl true
  def handle_info(:look, state), do: look(state)

  defp look(state) do
    shared = Enum.reduce(state.others, Engine.shared(), &Map.merge(&2, told(&1)))
    full = full_of(shared, Engine.instances().idle)
    waiting = for {queue, queued} <- queued(), do: {{:waiting, queue}, queued > 0}
    resources = for {resource, _figures} <- shared, do: {{:full, resource}, resource in full}

    now = now()
    since = for {what, lasts?} <- waiting ++ resources, into: %{}, do: {what, if(lasts?, do: state.since[what] || now)}
    :ets.insert(__MODULE__, since: since, shared: shared)
    Process.send_after(self(), :look, @look_ms)
    # Who is asked has native terms, as records of actors: these close when the last process has forgotten them.
    {:noreply, %{state | since: since}, :hibernate}
  end

  # While who is asked is being started again there is nothing to tell.
  defp told(other) do
    other.()
  rescue
    ArgumentError -> %{}
  catch
    :exit, _reason -> %{}
  end

  defp lasting(kind) do
    now = now()
    for {{^kind, what}, since} when since != nil <- seen(:since), into: %{}, do: {what, now - since}
  end

  defp seen(what), do: :ets.lookup_element(__MODULE__, what, 2)

  defp now, do: System.monotonic_time(:second)

  defp queued do
    at_engines = for {engine, %{queued: queued}} <- Engine.engines(), do: {engine, queued}
    [{:caps, Native.calls_queued_at_caps(Engine.runtime())}, {:compiles, Engine.compiles().queued} | at_engines]
  end
end
