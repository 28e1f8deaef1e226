defmodule Tidepool.ActorLoad do
  @moduledoc """
  Writers of lines into actors, on a node that is about to be killed: each line is written with an id and asked for twice, and
  when it is answered that goes into a diary, which outlives the node.
  """

  alias Tidepool.{Actor, Catalog, Native, Peer}
  alias Tidepool.Actor.Ownership.{LeaseHolder, Shards}

  @doc "Starts a writer for each actor, by the operation that writes; lines are `TURN.NUMBER`."
  def start(class, actors, turn, diary, operation \\ "write") do
    for actor <- 1..actors,
        do: spawn(fn -> write({class, operation}, "#{actor}", turn, 1, File.open!(diary, [:append, :raw])) end)

    :ok
  end

  defp write({class, operation} = what, actor, turn, number, diary) do
    line = "#{turn}.#{number}"

    for _again <- 1..2 do
      {:ok, _count} = Actor.call(class, actor, operation, line, request_id: line)
    end

    :ok = :file.write(diary, "#{actor} #{line}\n")
    write(what, actor, turn, number + 1, diary)
  end

  @doc "No answers."
  def none, do: %{}

  @doc "Those before, and those of a diary, whose last line may be cut."
  def read(answered, diary) do
    lines = diary |> File.read!() |> String.split("\n") |> Enum.drop(-1)

    for line <- lines, reduce: answered do
      answered ->
        [actor, line] = String.split(line, " ")
        Map.update(answered, actor, [line], &[line | &1])
    end
  end

  @doc "The lines that an actor has answered for."
  def of(answered, actor), do: Map.get(answered, actor, [])

  @doc "How many lines were answered for."
  def count(answered), do: answered |> Map.values() |> Enum.map(&length/1) |> Enum.sum()

  @doc "Lines in the order in which they were asked."
  def in_order(lines),
    do: Enum.sort_by(lines, fn line -> line |> String.split(".") |> Enum.map(&String.to_integer/1) end)

  @doc "Has a node add one to each of these actors until `enough/1`: the tasks that call it."
  def add(peer, class, names) do
    # Once for all of them: a writer that begins late is not to have the others go on.
    Peer.call(peer, :persistent_term, :put, [{__MODULE__, :enough}, false])
    for name <- names, do: Peer.async(peer, __MODULE__, :sums, [class, name])
  end

  @doc "Has a node's writers end."
  def enough(peer), do: Peer.call(peer, :persistent_term, :put, [{__MODULE__, :enough}, true])

  @doc "Adds one to an actor: the sums that were answered, and the errors of calls that were not."
  def sums(class, name), do: sums(class, name, [], [])

  defp sums(class, name, sums, errors) do
    if :persistent_term.get({__MODULE__, :enough}) do
      {Enum.reverse(sums), errors}
    else
      # What is asked for is an answer, and not within how many seconds a busy machine has it.
      case Actor.call(class, name, "add", "1", timeout: 30_000) do
        {:ok, sum} -> sums(class, name, [String.to_integer(sum) | sums], errors)
        {:error, error} -> sums(class, name, sums, [error | errors])
      end
    end
  end

  @doc "Can this node call these functions, and may it own shards? Looked at in this order, also while it starts."
  def begun(classes) do
    # A process has its name before it has its table.
    there? = :ets.whereis(Catalog.Callable) != :undefined
    callable? = there? and Enum.all?(classes, &match?({:ok, _function}, Catalog.fetch(&1)))
    {callable?, Process.whereis(LeaseHolder.process()) != nil and Shards.leased?()}
  end

  @doc "What guests are told to do, when this node's lease has ended: a handler of host calls."
  def obey(call) do
    if Shards.leased?() do
      receive do
      after
        20 -> obey(call)
      end
    else
      {:ok, call.payload}
    end
  end

  @doc "Deploys a class, and calls an actor of it at once."
  def deploy_and_call(wasm, class, name) do
    {:ok, _function} = Tidepool.deploy(wasm, name: class, actor: true)
    Actor.call(class, name, "add", "1")
  end

  @doc "Has this node's alarms leave one alone for so long, which was so long the last time."
  def hold(key, in_ms, ms) do
    until = System.monotonic_time(:millisecond) + in_ms
    :sys.replace_state(Actor.Alarm.process(), &put_in(&1.held[key], {until, ms}))
  end

  @doc "The actors of a class that this node has a record of, its own or a copy."
  def kept(class) do
    with {:ok, records} <- Actor.Journal.existing(),
         {:ok, rows, nil} <- Native.list_records(records, class, nil, 10_000) do
      for {name, _seq, _alarm_at, _bytes} <- rows, do: name
    else
      :none -> []
    end
  end

  @doc "Has this node note a deletion with a version vector."
  def put_tombstone(class, name, vector) do
    {:ok, records} = Actor.Journal.records()
    Actor.Replication.Replica.put_tombstone(records, class, name, vector)
  end

  @doc "Has this node note deletions of so many actors, called by their numbers, with a version vector."
  def put_tombstones(class, count, vector) do
    1..count
    |> Task.async_stream(&put_tombstone(class, "#{&1}", vector), max_concurrency: 500, timeout: :infinity)
    |> Enum.each(fn {:ok, :ok} -> :ok end)
  end

  @doc "The tombstones that this node has, once old ones were looked for."
  def tombstones do
    {:ok, records} = Actor.Journal.records()
    :ok = Actor.Replication.Replica.purge(records)
    for {class, name, _mark} <- Actor.Replication.Replica.tombstones(records), do: {class, name}
  end

  @doc "The vector of what this node has of an actor."
  def vector(class, name) do
    with {:ok, records} <- Actor.Journal.existing(),
         {:ok, %{vector: vector}} <- Actor.Replication.Replica.read(records, class, name),
         do: vector
  end

  @doc "All that this node has of an actor, with its vector."
  def whole(class, name) do
    {:ok, records} = Actor.Journal.existing()
    {:ok, whole} = Actor.Replication.Replica.whole(records, class, name)
    whole
  end

  @doc "Has this node have an actor as it was."
  def put_back(class, name, {vector, whole}) do
    {:ok, records} = Actor.Journal.existing()
    {:ok, found} = Actor.Replication.Replica.read(records, class, name)
    Actor.Replication.Replica.install(records, class, name, found, vector, whole)
  end

  @doc "The process of this node that keeps its copy of an actor."
  def keeper(class, name) do
    part = class |> Native.record_shard(name) |> rem(8)
    Process.whereis(Actor.Replication.ReplicaWriter.process(part))
  end

  @doc """
  Has another node's keeper told twice of an actor in one go, and in between that others have written its record there: first by a write
  upon `vector`, then by one upon another vector.
  """
  def puts_of_two(node, class, name, vector, head) do
    put = fn before, vector -> {:put, class, name, before, vector, {:put, nil, head, nil, []}} end

    keeper = {Actor.Replication.ReplicaWriter.process(class |> Native.record_shard(name) |> rem(8)), node}

    true = Actor.Replication.ReplicaWriter.send(to_string(node), {:erlang.alias(), 1}, put.(vector, vector))

    :sys.replace_state(keeper, fn state ->
      Actor.Replication.WriteCounts.note(class, name)
      state
    end)

    true =
      Actor.Replication.ReplicaWriter.send(
        to_string(node),
        {:erlang.alias(), 2},
        put.(%{"other@host" => 1}, %{"other@host" => 2})
      )
  end

  @doc "Has this node hold that other nodes may have more of actors than it knows."
  def unsync(nodes) do
    :sys.replace_state(Actor.Replication.Ring.process(), fn state ->
      true = :ets.insert(Actor.Ownership.Shards, {:unsynced, nodes})
      state
    end)

    :ok
  end

  @doc "How many ends of writes a process waits for that keeps copies on this node."
  def pending(keeper), do: map_size(:sys.get_state(keeper).pending)

  @doc "How many messages wait for a process of this node."
  def waiting(pid), do: pid |> Process.info(:message_queue_len) |> elem(1)

  @doc "Has this node kept a module with its records?"
  def module?(sha256) do
    {:ok, records} = Actor.Journal.records()
    Actor.Replication.Replica.module(records, sha256) != nil
  end

  @doc "Has this node not have a module among its records."
  def drop_module(sha256) do
    {:ok, records} = Actor.Journal.records()
    {:ok, {epoch, seq, _alarm_at, _head, _wasm}} = Native.read_record(records, "", sha256)
    Actor.Journal.commit(records, "", sha256, {:delete, epoch, seq})
  end

  @doc "How long a call takes that adds one, in µs, for each of so many."
  def times(class, name, count) do
    for _call <- 1..count do
      {us, {:ok, _sum}} = :timer.tc(fn -> Actor.call(class, name, "add", "1") end)
      us
    end
  end
end
