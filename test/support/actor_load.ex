defmodule Tidepool.ActorLoad do
  @moduledoc """
  Writers of lines into actors, on a node that is about to be killed: each line is written with an id and asked for twice, and
  when it is answered that goes into a diary, which outlives the node.
  """

  alias Tidepool.{Actor, Catalog, Native, Peer}
  alias Tidepool.Actor.Owner
  alias Tidepool.Actor.Owner.Shards

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

  @doc "Adds one to an actor: the sums that were answered, and the reasons why others were not."
  def sums(class, name), do: sums(class, name, [], [])

  defp sums(class, name, sums, reasons) do
    if :persistent_term.get({__MODULE__, :enough}) do
      {Enum.reverse(sums), reasons}
    else
      case Actor.call(class, name, "add", "1") do
        {:ok, sum} -> sums(class, name, [String.to_integer(sum) | sums], reasons)
        {:error, %{reason: reason}} -> sums(class, name, sums, [reason | reasons])
      end
    end
  end

  @doc "Can this node call these functions, and may it own shards? Looked at in this order, also while it starts."
  def begun(classes) do
    callable? = Process.whereis(Catalog) != nil and Enum.all?(classes, &match?({:ok, _function}, Catalog.fetch(&1)))
    {callable?, Process.whereis(Owner) != nil and Shards.leased?()}
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
    with {:ok, records} <- Actor.Store.existing(),
         {:ok, rows, nil} <- Native.list_records(records, class, nil, 10_000) do
      for {name, _seq, _alarm_at, _bytes} <- rows, do: name
    else
      :none -> []
    end
  end

  @doc "Has this node note a deletion with a mark."
  def bury(class, name, mark) do
    {:ok, records} = Actor.Store.records()
    Actor.Copies.Kept.bury(records, class, name, mark)
  end

  @doc "The tombstones that this node has, once old ones were looked for."
  def graves do
    {:ok, records} = Actor.Store.records()
    :ok = Actor.Copies.Kept.purge(records)
    for {class, name, _mark} <- Actor.Copies.Kept.graves(records), do: {class, name}
  end

  @doc "The mark of what this node has of an actor."
  def mark(class, name) do
    with {:ok, records} <- Actor.Store.existing(),
         {:ok, %{mark: mark}} <- Actor.Copies.Kept.read(records, class, name),
         do: mark
  end

  @doc "All that this node has of an actor, with its mark."
  def whole(class, name) do
    {:ok, records} = Actor.Store.existing()
    {:ok, whole} = Actor.Copies.Kept.whole(records, class, name)
    whole
  end

  @doc "Has this node have an actor as it was."
  def put_back(class, name, {mark, whole}) do
    {:ok, records} = Actor.Store.existing()
    {:ok, found} = Actor.Copies.Kept.read(records, class, name)
    Actor.Copies.Kept.install(records, class, name, found, mark, whole)
  end

  @doc "The process of this node that keeps its copy of an actor."
  def keeper(class, name) do
    part = class |> Native.record_shard(name) |> rem(8)
    Process.whereis(Module.concat(Actor.Copies.Keeper, "Part#{part}"))
  end

  @doc "How many messages wait for a process of this node."
  def waiting(pid), do: pid |> Process.info(:message_queue_len) |> elem(1)

  @doc "Has this node kept a module with its records?"
  def module?(sha256) do
    {:ok, records} = Actor.Store.records()
    Actor.Copies.Kept.module(records, sha256) != nil
  end

  @doc "Has this node not have a module among its records."
  def drop_module(sha256) do
    {:ok, records} = Actor.Store.records()
    {:ok, {epoch, seq, _alarm_at, _head, _wasm}} = Native.read_record(records, "", sha256)
    Actor.Store.commit(records, "", sha256, {:delete, epoch, seq})
  end

  @doc "How long a call takes that adds one, in µs, for each of so many."
  def times(class, name, count) do
    for _call <- 1..count do
      {us, {:ok, _sum}} = :timer.tc(fn -> Actor.call(class, name, "add", "1") end)
      us
    end
  end
end
