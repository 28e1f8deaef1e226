defmodule Tidepool.Actor.Journal.Quota do
  @moduledoc """
  How many actors a namespace may have, awake and asleep, and how many bytes of them may be kept (`Tidepool.Namespaces.Setting`:
  `actors` and `disk`).

  What there is is counted when it is first asked for, and from then on what comes on this node is added, and what goes as far as it is
  known. No write is refused by that alone: what would go over is measured against the records themselves, which are counted anew, for a
  tenth of the time at most; who comes in between waits. Where nodes share a store each of them counts anew once in a minute in which it
  has written something, so that together they may go over by what they write in that.

  A namespace for which neither is set is never counted. Each of the others has a process that counts (`Quota.Counter`): one with very many
  values has none wait that is not of it.
  """

  use Supervisor

  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.Quota.Counter
  alias Tidepool.{Error, Namespaces}
  alias Tidepool.Namespaces.Name

  @doc false
  def start_link(namespaces), do: Supervisor.start_link(__MODULE__, namespaces, name: __MODULE__)

  @impl true
  def init(namespaces) do
    # Who counts says there where it is, and what is known.
    :ets.new(__MODULE__, [:named_table, :public, read_concurrency: true])

    counters =
      for {namespace, %{actors: actors, disk: disk}} <- namespaces, actors != nil or disk != nil do
        counter = {Counter, table: __MODULE__, namespace: namespace, most: %{actors: actors, disk: disk}}
        Supervisor.child_spec(counter, id: namespace)
      end

    Supervisor.init(counters, strategy: :one_for_one)
  end

  @doc """
  Begins an actor that there has not been, for the calling process: it is one of its namespace from now on, until that process ends
  without having said that it is `written/1`.
  """
  @spec begin(class :: String.t()) :: :ok | {:error, Error.t()}
  def begin(class), do: if(namespace = quota(class, :actors), do: ask(namespace, {:begin, class}), else: :ok)

  @doc "The calling process's actor, which it began, is on disk."
  @spec written(class :: String.t()) :: :ok
  def written(class), do: if(namespace = quota(class, :actors), do: tell(namespace, :written), else: :ok)

  @doc "An actor is gone, with all that was kept of it."
  @spec deleted(class :: String.t()) :: :ok
  def deleted(class) do
    if namespace = quota(class, :actors) || quota(class, :disk), do: tell(namespace, :deleted), else: :ok
  end

  @doc "May so many bytes more be kept, which can be fewer than none?"
  @spec grow(class :: String.t(), bytes :: integer) :: :ok | {:error, Error.t()}
  def grow(class, bytes) do
    with namespace when namespace != nil <- quota(class, :disk),
         [{_namespace, _pid, counter, most}] <- lookup(namespace) do
      kept = Counter.add(counter, bytes)
      if bytes > 0 and kept > most, do: ask(namespace, {:grow, class, bytes}), else: :ok
    else
      _no_quota -> :ok
    end
  end

  # The class's namespace, if it has that quota.
  defp quota(class, quota) do
    case Namespaces.settings(class) do
      %{^quota => most} when most != nil -> Name.of(class)
      _none -> nil
    end
  end

  defp lookup(namespace) do
    :ets.lookup(__MODULE__, namespace)
  rescue
    ArgumentError -> []
  end

  # Without it no records are written either.
  defp ask(namespace, question) do
    case lookup(namespace) do
      [{_namespace, pid, _counter, _most}] -> GenServer.call(pid, question, :infinity)
      [] -> {:error, Journal.restarting(nil)}
    end
  catch
    :exit, _reason -> {:error, Journal.restarting(nil)}
  end

  # Once it is back, it counts anew.
  defp tell(namespace, news), do: with({:error, _restarting} <- ask(namespace, news), do: :ok)
end
