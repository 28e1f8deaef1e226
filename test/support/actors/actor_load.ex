defmodule Tidepool.ActorLoad do
  @moduledoc """
  Writers of lines into actors, on a node that is about to be killed: each line is written with an id and asked for twice, and
  when it is answered that goes into a diary, which outlives the node.
  """

  alias Tidepool.{Actor, Catalog, Native, Peer}
  alias Tidepool.Actor.Activation.DispatchServer
  alias Tidepool.Actor.Activation.Modules.Sweep
  alias Tidepool.Actor.Ownership.{Handover, LeaseHolder, Shards}
  alias Tidepool.Catalog.BlobStore
  alias Tidepool.Nodes.Ask

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

  @doc "Has another node hand its shards over, and then stay: those that it has left in between, and whether it has a lease then."
  def handed_over(name) do
    there = fn function -> :erpc.call(String.to_atom(name), Shards, function, []) end

    Handover.first(LeaseHolder.process(), name, fn ->
      left = for {shard, {owned, _epoch}} when owned in [:ours, :moving] <- there.(:all), do: shard
      {left, there.(:leased?)}
    end)
  end

  @doc "Asks another node for a call of an actor, with a payload of so many bytes, as this node does where that one has the actor."
  def ask(node, class, bytes, timeout) do
    call = %{
      operation: "add",
      payload: :binary.copy("1", bytes),
      deadline: :infinity,
      depth: 1,
      actors: [],
      request_id: nil,
      create: true,
      alarm: nil,
      context: nil
    }

    Ask.ask(DispatchServer.protocol(), node, {:call, class, "any", call}, timeout)
  end

  @doc "Has this node have what a release before has left of an actor that was deleted."
  def put_tombstone(class, name) do
    {:ok, records} = Actor.Journal.records()
    head = :erlang.term_to_binary({%{"a@host#1" => 5}, System.os_time(:millisecond)})
    Actor.Journal.commit(records, "", "gone/#{class}\n#{name}", {:put, 1, 1, nil, head, nil, []})
  end

  @doc "Names of those that this node has."
  def tombstones do
    {:ok, records} = Actor.Journal.records()
    {:ok, rows, nil} = Native.list_records(records, "", nil, 1_000)
    for {"gone/" <> _actor = name, _seq, _alarm_at, _bytes} <- rows, do: name
  end

  @doc "Has this node have so many modules of actors that nothing names: their hashes."
  def put_modules(count) do
    {:ok, records} = Actor.Journal.records()
    hashes = for number <- 1..count, do: BlobStore.sha256("module #{number}")

    # All at once: they need not wait for one another.
    ids =
      for sha256 <- hashes,
          do: Native.commit_record(records, "", sha256, {:put, 1, 1, nil, "any/class", "module", []})

    for id <- ids do
      receive do
        {:tidepool_committed, ^id, :ok} -> :ok
      end
    end

    hashes
  end

  @doc "How many modules of actors this node has."
  def count_modules do
    {:ok, records} = Actor.Journal.records()
    {:ok, kept} = Sweep.kept(records)
    length(kept)
  end
end
