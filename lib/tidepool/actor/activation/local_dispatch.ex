defmodule Tidepool.Actor.Activation.LocalDispatch do
  @moduledoc """
  What is asked of an actor, done on this node: its process is found or started, and told. What is asked of one that another node
  has, or is about to have, is `:elsewhere`.
  """

  alias Tidepool.{Error, Namespaces}
  alias Tidepool.Actor.Activation.{AdmissionQueue, Invocation, Modules, Server}
  alias Tidepool.Actor.{Journal, Name}
  alias Tidepool.Actor.Journal.{Frozen, Quota, Record}
  alias Tidepool.Actor.Ownership.Shards

  @registry Tidepool.Actor.Registry
  @servers Tidepool.Actor.Servers

  @typedoc """
  What is asked of an actor, by its class and name. To `:start` goes whether it may be made; to `:ring` when the alarm was due; and
  `:awake` is asked of many, whose names are the argument.
  """
  @type question ::
          {:call | :cast, String.t(), String.t(), Invocation.call()}
          | {:start, String.t(), String.t(), create :: boolean}
          | {:ring, String.t(), String.t(), due :: integer}
          | {:stop | :delete | :info | :where, String.t(), String.t(), nil}
          | {:awake, String.t(), String.t(), names :: [String.t()]}

  @doc "The answer, as `Tidepool.Actor` gives it; or where else the actor is."
  @spec serve(question) :: answer | {:elsewhere, Shards.place()} when answer: term
  def serve({:call, class, name, call}), do: ask(class, name, call)

  def serve({:cast, class, name, call}) do
    with {:ok, pid} <- enter(class, name, call), do: GenServer.cast(pid, {:cast, call})
  end

  def serve({:start, class, name, create} = question) do
    with {:ok, pid, _queue} <- server(class, name, :infinity) do
      case request(pid, {:start, create}, :again) do
        :again -> serve(question)
        {:ok, _nothing} -> :ok
        {:error, error} -> {:error, error}
      end
    end
  end

  def serve({:ring, class, name, due} = question) do
    with {:ok, pid, _queue} <- server(class, name, :infinity),
         do: with(:again <- request(pid, {:ring, due}, :again), do: serve(question))
  end

  def serve({:where, class, name, nil}) do
    with {:asleep, {:here, _title}} <- find(class, name) do
      nil
    else
      {:ok, pid} -> pid
      {:asleep, place} -> {:elsewhere, place}
    end
  end

  def serve({:awake, class, "", names}), do: Enum.filter(names, &match?({:ok, _pid}, awake(class, &1)))

  def serve({what, class, name, nil} = question) do
    case find(class, name) do
      {:ok, pid} when what == :stop -> pid |> request(:stop, :ok) |> stopped(class, name)
      {:ok, pid} -> pid |> request(what, :again) |> served(question)
      {:asleep, {:here, title}} -> asleep(question, title)
      {:asleep, place} -> {:elsewhere, place}
    end
  end

  defp served(:again, question), do: serve(question)
  defp served({:written, title, error}, {:info, class, name, nil}), do: written(class, name, title, error)
  defp served(answer, _question), do: answer

  defp asleep({:stop, class, name, nil}, _title), do: stopped(:ok, class, name)
  defp asleep({:info, class, name, nil}, title), do: written(class, name, title)

  # An actor that sleeps needs no waking for it, and its class need not be there any more.
  defp asleep({:delete, class, name, nil} = question, {epoch, _lease}) do
    case Journal.existing() do
      {:ok, records} -> records |> Journal.delete(class, name, epoch) |> counted(class) |> deleted(question)
      :none -> {:error, Journal.unknown(class, name)}
      {:error, error} -> {:error, error}
    end
  end

  defp counted(outcome, class) do
    if outcome == :ok, do: Quota.deleted(class)
    outcome
  end

  # It may have fallen asleep of its own accord.
  defp stopped(:ok, class, name), do: Frozen.drop(class, name)
  defp stopped({:error, error}, _class, _name), do: {:error, error}

  defp deleted(:again, question), do: serve(question)

  defp deleted(outcome, {:delete, class, name, nil}) do
    # What woke before is what there was before, and so is what slept again since.
    with {:ok, pid} <- awake(class, name), do: request(pid, :forget, :ok)
    Frozen.drop(class, name)
    outcome
  end

  defp ask(class, name, call) do
    with {:ok, pid} <- enter(class, name, call) do
      timeout = left(call.deadline)

      try do
        GenServer.call(pid, {:call, call}, timeout)
      catch
        :exit, {:timeout, _call} ->
          {:error, Error.new(:timeout, "the actor did not answer within #{timeout} ms", class)}

        # It closed its queue before, so that the call was not taken.
        :exit, {reason, _call} when reason in [:noproc, {:shutdown, :asleep}] ->
          ask(class, name, call)

        :exit, {_reason, _call} ->
          message = "#{class}/#{name} ended while it had the call: what that did may be kept, or not"
          {:error, Error.new(:unknown_outcome, message, class)}
      end
    end
  end

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)

  # A place in the queue of an actor, which is activated for it.
  defp enter(class, name, call) do
    with {:ok, pid, queue} <- server(class, name, call.deadline) do
      case AdmissionQueue.enter(queue, byte_size(call.payload)) do
        :ok ->
          {:ok, pid}

        :full ->
          message = "#{class}/#{name} has all the calls waiting that it may have (queue, queue_bytes)"
          {:error, Error.new(:overloaded, message, class)}

        :quota ->
          {:error, over_memory(class)}

        :closed ->
          gone(pid)
          enter(class, name, call)
      end
    end
  end

  defp over_memory(class) do
    {namespace, %{memory: most}} = {Namespaces.Name.of(class), Namespaces.settings(class)}

    message =
      "payloads of the namespace #{namespace} may have #{most} bytes while they wait for its actors, and this would be more"

    Error.new({:quota, :memory}, message, class, %{namespace: namespace, allowed: most})
  end

  # Waits for the end of a process that has said that it ends.
  defp gone(pid) do
    monitor = Process.monitor(pid)

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    after
      1_000 -> Process.demonitor(monitor, [:flush])
    end
  end

  # Its process; a class that is on its way here is waited for until then.
  defp server(class, name, deadline) do
    case registered(class, name) do
      [{pid, queue}] ->
        # Who tells an actor something is told that it has a place in its queue.
        if Shards.leased?(), do: {:ok, pid, queue}, else: {:elsewhere, :no_lease}

      [] ->
        # Of one that is awake the name has been looked at.
        with :ok <- Name.check(class, name),
             {:here, title} <- Shards.place(class, name),
             {:ok, _pid} <- ensure(class, name, title, left(deadline)) do
          server(class, name, deadline)
        else
          {:error, error} -> {:error, error}
          place -> {:elsewhere, place}
        end
    end
  rescue
    ArgumentError -> {:error, Journal.restarting(class)}
  catch
    :exit, _reason -> {:error, Journal.restarting(class)}
  end

  defp ensure(class, name, title, wait_ms) do
    with {:ok, function} <- Modules.arrived(class, wait_ms) do
      supervisor = {:via, PartitionSupervisor, {@servers, {class, name}}}

      case DynamicSupervisor.start_child(supervisor, {Server, {class, name, function.actor, title}}) do
        {:ok, pid} -> {:ok, pid}
        {:error, {:already_started, pid}} -> {:ok, pid}
        # It has another owner since.
        {:error, {:shutdown, :elsewhere}} -> {:ok, nil}
        {:error, :max_children} -> {:error, Error.new(:overloaded, "no more actors can be awake", class)}
        {:error, _reason} -> {:error, Journal.restarting(class)}
      end
    end
  end

  defp find(class, name) do
    with :asleep <- awake(class, name), do: {:asleep, Shards.place(class, name)}
  end

  defp awake(class, name) do
    case registered(class, name) do
      [{pid, _value}] -> {:ok, pid}
      [] -> :asleep
    end
  rescue
    ArgumentError -> :asleep
  end

  # One that was killed stands in the registry for a moment longer; the one that is started in its place takes its name.
  defp registered(class, name),
    do: Enum.filter(Registry.lookup(@registry, {class, name}), fn {pid, _queue} -> Process.alive?(pid) end)

  defp request(pid, request, asleep) do
    GenServer.call(pid, request, :infinity)
  catch
    :exit, {reason, _call} when reason in [:noproc, {:shutdown, :asleep}] ->
      gone(pid)
      asleep

    :exit, {reason, _call} ->
      {:error, Error.new(:unknown_outcome, "the actor ended meanwhile: #{inspect(reason)}")}
  end

  # An image may be large: who looks at an actor that sleeps, or has no instance, has none read.
  defp written(class, name, title, error \\ nil) do
    with {:ok, records} <- Journal.existing(),
         {:ok, {seq, _alarm_at, bytes, head}} <- Journal.head(records, class, name, class),
         {:ok, record} <- Record.read(head, class, name) do
      tier = if Frozen.member?(class, name, title), do: :frozen, else: :disk
      # That of a call which changed nothing is not written.
      record = if error, do: %{record | last_error: error}, else: record
      known = %{class: class, name: name, node: node(), awake: false, tier: tier, writes: seq}
      {:ok, record |> Record.shown() |> Map.merge(known) |> Map.put(:bytes, bytes)}
    else
      none when none in [:none, {:ok, nil}] ->
        {:error, Journal.unknown(class, name)}

      {:error, error} ->
        {:error, error}
    end
  end
end
