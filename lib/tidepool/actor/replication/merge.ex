defmodule Tidepool.Actor.Replication.Merge do
  @moduledoc """
  What becomes of an actor when another node's state of it comes. A state that follows from this node's takes its place. Of two that know
  nothing of each other the later one (`VersionVector.later?/2`) is the actor from then on, with a version vector that says that it has seen the other; and the
  other one is kept as the actor `NAME@conflict`, without its alarm. All nodes that have both come to the same.

  There is one such actor for each: of several that lost the latest stays, which the log says. Calls make none of that name
  (`Tidepool.Actor.Activation`), so that no user's own actor is in its way.
  """

  require Logger

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.{Record, VersionVector}
  alias Tidepool.Actor.Ownership.ActorLock
  alias Tidepool.Actor.Replication.{Backlog, Replica}

  @registry Tidepool.Actor.Registry
  @conflict "@conflict"
  # A name's bytes: `Tidepool.Actor.Name`.
  @name_bytes 512
  # What tells names apart that are cut alike.
  @digest_bytes 16
  # How long an actor that is awake may take for those who have called it.
  @leave_ms 5_000

  @doc """
  What of an actor lost is called so.

      iex> Tidepool.Actor.Replication.Merge.conflict("alice")
      "alice@conflict"
      iex> {Tidepool.Actor.Replication.Merge.conflict?("alice"), Tidepool.Actor.Replication.Merge.conflict?("alice@conflict")}
      {false, true}
      iex> [one, other] = for last <- ["a", "b"], do: Tidepool.Actor.Replication.Merge.conflict(String.duplicate("é", 255) <> last)
      iex> {byte_size(one), byte_size(other), one == other}
      {511, 511, false}
  """
  @spec conflict(name :: String.t()) :: String.t()
  def conflict(name) do
    most = @name_bytes - byte_size(@conflict)

    if byte_size(name) <= most,
      do: name <> @conflict,
      else: cut(name, most - @digest_bytes) <> digest(name) <> @conflict
  end

  defp digest(name), do: :sha256 |> :crypto.hash(name) |> Base.encode16(case: :lower) |> binary_part(0, @digest_bytes)

  defp cut(name, bytes) do
    part = binary_part(name, 0, bytes)
    if String.valid?(part), do: part, else: cut(name, bytes - 1)
  end

  @doc "Is it the name of one that lost?"
  @spec conflict?(name :: String.t()) :: boolean
  def conflict?(name), do: String.ends_with?(name, @conflict)

  @doc "Puts another node's state of an actor to what this node has of it."
  @spec merge(String.t(), String.t(), VersionVector.t(), Replica.whole()) :: :ok | {:error, Error.t()}
  def merge(class, name, vector, whole) do
    with {:ok, records} <- Journal.records(),
         {:ok, found} <- Replica.read(records, class, name) do
      # An actor that is awake writes later ones only.
      if known?(found, vector),
        do: :ok,
        else: settled(class, name, fn -> merge(records, class, name, vector, whole) end)
    end
  end

  defp known?(nil, _mark), do: false
  defp known?(%{vector: own}, vector), do: VersionVector.compare(vector, own) in [:same, :before]

  defp merge(records, class, name, vector, whole) do
    with {:ok, found} <- Replica.read(records, class, name) do
      cond do
        known?(found, vector) ->
          :ok

        # A node that has been away for long brings no tombstones back.
        found == nil and whole == :gone and Replica.old?(vector) ->
          :ok

        found == nil or VersionVector.compare(vector, found.vector) == :after ->
          Replica.install(records, class, name, found, vector, whole)

        true ->
          apart(records, class, name, found, {vector, whole})
      end
    end
  end

  defp apart(records, class, name, found, {vector, whole}) do
    joined = VersionVector.join(vector, found.vector)

    with {:ok, {_mark, own}} <- Replica.whole(records, class, name) do
      if same?(class, name, whole, own) do
        noted(Replica.put_vector(records, class, name, found, joined), class, name)
      else
        apart(records, class, name, {found, own}, {vector, whole}, joined)
      end
    end
  end

  # As two nodes have it that were given the same records to begin with.
  defp same?(class, name, {:there, head, image, values}, {:there, own_head, image, values}) do
    [one, other] = for head <- [head, own_head], do: Record.read(head, class, name)
    match?({{:ok, %{} = same}, {:ok, %{} = same}}, {unmarked(one), unmarked(other)})
  end

  defp same?(_class, _name, one, other), do: one == other

  defp unmarked(read), do: with({:ok, record} <- read, do: {:ok, %{record | vector: VersionVector.none()}})

  defp apart(records, class, name, {found, own}, {vector, whole}, joined) do
    if wins?(name, {vector, whole}, {found.vector, own}) do
      with :ok <- keep(class, name, {found.vector, own}, vector),
           do: noted(Replica.install(records, class, name, found, joined, whole), class, name)
    else
      with :ok <- keep(class, name, {vector, whole}, found.vector),
           do: noted(Replica.put_vector(records, class, name, found, joined), class, name)
    end
  end

  # Nothing that lost once is gone by what was deleted before that was known.
  defp wins?(name, {vector, whole}, {own_mark, own}) do
    if conflict?(name) and whole == :gone != (own == :gone),
      do: own == :gone,
      else: VersionVector.later?(vector, own_mark)
  end

  # Other nodes should have it as well.
  defp noted(:ok, class, name), do: Backlog.note(class, name)
  defp noted({:error, error}, _class, _name), do: {:error, error}

  # What the one that wins was made of is not lost: its node goes on from there, and has not heard yet of a conflict that was kept before.
  defp keep(class, name, {vector, whole}, winner),
    do: if(whole == :gone or VersionVector.follows?(winner, vector), do: :ok, else: left(class, name, vector, whole))

  defp left(class, name, vector, {:there, head, image, values}) do
    if conflict?(name) do
      Logger.warning(
        "the actor #{class}/#{name} is what another conflict has left by now: the one that was there before is gone",
        tidepool_function: class
      )
    else
      with {:ok, record} <- Record.read(head, class, name),
           head = Record.write(%{record | alarm: nil}),
           :ok <- merge(class, conflict(name), vector, {:there, head, image, values}) do
        Logger.warning(
          "the actor #{class}/#{name} was written by nodes that were parted: the later state is kept, and the other one is " <>
            "#{class}/#{conflict(name)}",
          tidepool_function: class
        )

        Backlog.note(class, conflict(name))
      end
    end
  end

  @doc "Does something while an actor sleeps and is not woken: it serves those who have called it before."
  @spec settled(String.t(), String.t(), (() -> result)) :: result when result: term
  def settled(class, name, fun) do
    ActorLock.with_lock(class, name, fn ->
      for pid <- awake(class, name), do: leave(pid)
      fun.()
    end)
  end

  # One that leaves has its name no more.
  defp awake(class, name) do
    leaving = [{{{:leaving, class, name, :_}, :"$1", :_}, [], [:"$1"]}]
    for({pid, _value} <- Registry.lookup(@registry, {class, name}), do: pid) ++ Registry.select(@registry, leaving)
  rescue
    # It is being restarted, and all actors with it.
    ArgumentError -> []
  end

  defp leave(pid) do
    monitor = Process.monitor(pid)
    send(pid, :leave)

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    after
      @leave_ms ->
        Process.exit(pid, :kill)

        receive do
          {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
        end
    end
  end

  @doc "What this node has of an actor that is another's by now, once it sleeps here."
  @spec handed(Native.records(), String.t(), String.t()) ::
          {:ok, {VersionVector.t(), Replica.whole()} | nil} | {:error, Error.t()}
  def handed(records, class, name), do: settled(class, name, fn -> Replica.whole(records, class, name) end)
end
