defmodule Tidepool.Cluster.Reconciler do
  @moduledoc """
  Brings what the catalog has accepted from other nodes to where it can be called: gets the module, compiles it, starts it
  once on trial, and has the catalog publish it.

  Each load is a task; there are a few at once, and a load that found its module nowhere waits without taking a place. A trial may take a
  minute, and so may a large module: namespaces share the places (`Tidepool.Namespaces.Places`), so that those of one leave others as many.
  When an entry is superseded on its way, what came of it is dropped. A module that can't be compiled here is reported to
  the catalog as such and keeps nobody else from loading.

  What is on its way is told to `Tidepool.Catalog.Arrivals`, where calls wait for it. Which entries can't be called here yet, and
  which can be now, is told to the process that is named at the start, as `{:pending, entries}` and `{:ready, entries}`.
  """

  use GenServer

  require Logger

  alias Tidepool.{Catalog, Execution}
  alias Tidepool.Catalog.{Arrivals, BlobStore, Entry}
  alias Tidepool.Cluster.Links
  alias Tidepool.Function.Loader
  alias Tidepool.Cluster.Links.Backoff
  alias Tidepool.Cluster.Transfer.BlobClient
  alias Tidepool.Namespaces.{Name, Places}

  @max_tasks 8
  # Waits between attempts to find a module: doubled each time, half of them at random.
  @first_wait_ms 20
  @longest_wait_ms 2_000
  # After an error of this node's own.
  @repair_wait_ms 30_000

  @typedoc """
  What is on its way: its entry; whether it waits for its turn, is being loaded, or waits for a node that has its
  module; how often it was looked for in vain; nodes that sent wrong bytes; who told of it.
  """
  @type job :: %{
          entry: Entry.t(),
          state: :queued | :running | :waiting,
          attempts: non_neg_integer,
          wrong: [node],
          from: node | nil
        }

  @doc false
  def start_link(listener), do: GenServer.start_link(__MODULE__, listener, name: __MODULE__)

  @doc "Loads entries; `from` is the node that may have their modules."
  @spec load([Entry.t()], node | nil) :: :ok
  def load(entries, from), do: GenServer.cast(__MODULE__, {:load, entries, from})

  @doc "Names that need no loading any more: they were removed, or deployed on this node."
  @spec cancel([String.t()]) :: :ok
  def cancel(names), do: GenServer.cast(__MODULE__, {:cancel, names})

  @doc "A node is there from which modules may be had."
  @spec up(node) :: :ok
  def up(node), do: GenServer.cast(__MODULE__, {:up, node})

  @doc """
  Tells the listener which entries can't be called here, when it has just begun to listen for that, and looks for modules that
  there was nowhere to get from while the VM was not distributed.
  """
  @spec report :: :ok
  def report, do: GenServer.cast(__MODULE__, :report)

  @doc "Sends `message` to the calling process when all that it has told before is taken note of."
  @spec echo(term) :: :ok
  def echo(message), do: GenServer.cast(__MODULE__, {:echo, self(), message})

  @doc "What is on its way."
  @spec list :: [job]
  def list, do: GenServer.call(__MODULE__, :list)

  @impl true
  def init(listener) do
    {:ok, tasks} = Task.Supervisor.start_link()
    {_context, entries} = Catalog.known()
    state = %{listener: listener, jobs: %{}, places: Places.new(@max_tasks), tasks: tasks, running: %{}}
    report(state, entries)
    missing = missing(entries)
    Arrivals.expect(for entry <- missing, do: {entry.name, entry.limits.time})
    {:ok, missing |> Enum.reduce(state, &add(&2, &1, nil)) |> start()}
  end

  # Other nodes bring modules, so that while there can be none nothing is waited for that is not here.
  defp missing(entries) do
    distributed? = Node.alive?()

    for entry <- entries,
        missing?(entry) and (distributed? or BlobStore.exists?(Catalog.blobs(), entry.sha256)),
        do: entry
  end

  defp report(state, entries), do: tell(state, {:pending, Enum.filter(entries, &(not ready?(&1)))})

  defp tell(state, event), do: GenServer.cast(state.listener, event)

  defp ready?(%Entry{removed: true}), do: true
  defp ready?(entry), do: Catalog.loaded(entry.name) == {:ok, entry.stamp}

  # What could not be loaded although its module was there is not tried again.
  defp missing?(%Entry{removed: true}), do: false

  defp missing?(entry) do
    case Catalog.loaded(entry.name) do
      {:ok, stamp} -> stamp != entry.stamp
      {:error, _error, stamp} -> stamp != entry.stamp or not BlobStore.exists?(Catalog.blobs(), entry.sha256)
      :none -> true
    end
  end

  @impl true
  def handle_call(:list, _from, state), do: {:reply, Map.values(state.jobs), state}

  @impl true
  def handle_cast({:load, entries, from}, state) do
    {:noreply, entries |> Enum.reduce(state, &add(&2, &1, from)) |> start()}
  end

  def handle_cast({:cancel, names}, state), do: {:noreply, Enum.reduce(names, state, &finish(&2, &1))}

  def handle_cast(:report, state) do
    {_context, entries} = Catalog.known()
    report(state, entries)
    missing = for entry <- missing(entries), not is_map_key(state.jobs, entry.name), do: entry
    {:noreply, missing |> Enum.reduce(state, &add(&2, &1, nil)) |> start()}
  end

  def handle_cast({:echo, pid, message}, state) do
    send(pid, message)
    {:noreply, state}
  end

  # Whoever sent wrong bytes gets another chance when it comes back.
  def handle_cast({:up, node}, state) do
    jobs = Map.new(state.jobs, fn {name, job} -> {name, %{job | wrong: List.delete(job.wrong, node)}} end)
    waiting = for {name, %{state: :waiting}} <- jobs, do: name
    {:noreply, waiting |> Enum.reduce(%{state | jobs: jobs}, &enqueue(&2, &1)) |> start()}
  end

  @impl true
  def handle_info({ref, result}, state) when is_map_key(state.running, ref) do
    Process.demonitor(ref, [:flush])
    {:noreply, ended(state, ref, result)}
  end

  def handle_info({:DOWN, ref, :process, _pid, reason}, state) when is_map_key(state.running, ref) do
    {:noreply, ended(state, ref, {:crashed, reason})}
  end

  # Of a job that was tried again in the meantime, since a node came up, the latest attempt alone has a successor.
  def handle_info({:retry, name, stamp, attempts}, state) do
    case state.jobs do
      %{^name => %{state: :waiting, entry: %{stamp: ^stamp}, attempts: ^attempts}} ->
        {:noreply, state |> enqueue(name) |> start()}

      _over_superseded_or_tried ->
        {:noreply, state}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp add(state, entry, from) do
    Arrivals.coming(entry.name, entry.limits.time)
    job = %{entry: entry, state: :queued, attempts: 0, wrong: [], from: from}
    in_line? = match?(%{state: :queued}, state.jobs[entry.name])
    state = put_in(state.jobs[entry.name], job)
    # However often a name is deployed while it waits, it is in line once.
    if in_line?, do: state, else: enqueue(state, entry.name)
  end

  defp enqueue(state, name) do
    %{put_in(state.jobs[name].state, :queued) | places: Places.wait(state.places, Name.of(name), 0, name)}
  end

  # Fills the places. Names whose job has gone, or runs already, are left over from before they were superseded.
  defp start(state) do
    case Places.next(state.places) do
      {name, places} ->
        state = %{state | places: places}

        case state.jobs do
          %{^name => %{state: :queued} = job} -> state |> run(name, job) |> start()
          _other -> state |> give_back(name) |> start()
        end

      :none ->
        state
    end
  end

  defp give_back(state, name), do: %{state | places: Places.give_back(state.places, Name.of(name), 0)}

  defp run(state, name, job) do
    sources = sources(job)
    task = Task.Supervisor.async_nolink(state.tasks, fn -> load_one(job.entry, sources) end)
    state = put_in(state.jobs[name].state, :running)
    put_in(state.running[task.ref], job.entry)
  end

  # Who told of the entry first, then the other links in any order.
  defp sources(job) do
    links = Links.linked()
    first = Enum.filter([job.from], &(&1 in links))
    (first ++ (Enum.shuffle(links) -- first)) -- job.wrong
  end

  defp load_one(entry, sources) do
    blobs = Catalog.blobs()

    with :ok <- allowed(entry),
         :ok <-
           if(BlobStore.exists?(blobs, entry.sha256), do: :ok, else: BlobClient.run(entry.sha256, entry.size, sources)),
         {:ok, wasm} <- BlobStore.fetch(blobs, entry.sha256) do
      install(entry, compile(wasm, entry))
    else
      {:refused, error} -> install(entry, {:error, error})
      other -> other
    end
  end

  defp install(entry, result) do
    with :ok <- Catalog.install(entry, result), do: if(elem(result, 0) == :ok, do: :ready, else: :unavailable)
  end

  defp allowed(entry) do
    with {:error, error} <- Loader.check_size(entry.size), do: {:refused, %{error | function: entry.name}}
  end

  defp compile(wasm, entry) do
    with {:ok, loaded} <- Loader.compile_deployed(wasm, entry),
         {:ok, function} <- Loader.function(loaded, entry),
         :ok <- Execution.trial_again(function, entry.name) do
      {:ok, loaded, function}
    end
  end

  defp ended(state, ref, result) do
    {entry, running} = Map.pop(state.running, ref)
    state = give_back(%{state | running: running}, entry.name)

    case state.jobs[entry.name] do
      %{entry: ^entry} = job -> state |> concluded(job, result) |> start()
      # Superseded: its successor has a job of its own.
      _other -> start(state)
    end
  end

  defp concluded(state, job, done) when done in [:ready, :unavailable, :superseded] do
    if done == :ready, do: tell(state, {:ready, [job.entry]})
    finish(state, job.entry.name)
  end

  # It was here until a moment ago: others have it.
  defp concluded(state, job, :missing), do: concluded(state, job, {:nowhere, []})

  defp concluded(state, job, {:nowhere, wrong}) do
    wait = min(@first_wait_ms * Integer.pow(2, min(job.attempts, 10)), @longest_wait_ms)
    retry(state, %{job | wrong: wrong ++ job.wrong}, wait)
  end

  defp concluded(state, job, {:error, error}) do
    Logger.error("the module of #{job.entry.name} (version #{job.entry.version}) can't be kept: #{error.message}")
    retry(state, job, @repair_wait_ms)
  end

  defp concluded(state, job, {:crashed, reason}) do
    Logger.error("loading #{job.entry.name} (version #{job.entry.version}) crashed: #{inspect(reason)}")
    retry(state, job, @repair_wait_ms)
  end

  defp retry(state, %{entry: entry} = job, wait) do
    job = %{job | state: :waiting, attempts: job.attempts + 1}
    Process.send_after(self(), {:retry, entry.name, entry.stamp, job.attempts}, Backoff.jitter(wait))
    put_in(state.jobs[entry.name], job)
  end

  defp finish(state, name) do
    Arrivals.over(name)
    %{state | jobs: Map.delete(state.jobs, name)}
  end
end
