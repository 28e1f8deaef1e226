defmodule Tidepool.Actor.Replication do
  @moduledoc """
  Copies of actors on other nodes, where nodes of a cluster share no store: of classes with the consistency `:available`.

  The owner of an actor is the first of the nodes that are there, in an order that all of them know (`Tidepool.Actor.Ownership.Rendezvous`), and
  its copies are on the next ones. What is written on the owner is sent to these once it is on its own disk, and answered when they have it
  on theirs, or after half a second without those that do not answer: these get it later (`Tidepool.Actor.Replication.AntiEntropy`).

  A node that has just come to own an actor asks those for it that may have had it (`fetched/2`), as long as they have not sent
  all that they have. What two nodes have written without each other is put together by `Tidepool.Actor.Replication.Merge`.
  """

  alias Tidepool.{Error, Native, Nodes}
  alias Tidepool.Actor.Journal
  alias Tidepool.Actor.Journal.{Record, VersionVector}
  alias Tidepool.Actor.Ownership.{Rendezvous, Shards}

  alias Tidepool.Actor.Replication.{
    Backlog,
    Clock,
    Merge,
    MissingModules,
    PeerHealth,
    Queries,
    Replica,
    ReplicaWriter,
    WriteCounts
  }

  alias Tidepool.Function.Actors

  # How long a write waits for a node that has a copy, and a call for one that may have the actor: it serves those first who have called
  # it there. What is large takes its time: a ms for each of these pieces.
  @wait_ms 500
  @piece_bytes 8_192
  @large_bytes 1_048_576
  @fetch_ms 6_000
  # After which time a node is asked again on which no process answers.
  @again_ms 20
  @list_ms 2_000

  @typedoc "Who is told that a node has a copy: an alias, and what it is told."
  @type to :: {reference, id :: term}

  @doc "How long a write waits for copies, in ms."
  @spec wait_ms(put :: tuple) :: pos_integer
  def wait_ms(put), do: put |> bytes() |> patience()

  defp patience(bytes), do: @wait_ms + div(bytes, @piece_bytes)

  defp bytes({_tag, _due, _head, image, values}), do: bytes(image) + bytes(values)
  defp bytes({:there, _head, image, values}), do: bytes(image) + bytes(values)
  defp bytes({:next, change}), do: byte_size(change)
  defp bytes(values) when is_list(values), do: for({_key, value} <- values, reduce: 0, do: (sum -> sum + bytes(value)))
  defp bytes(bytes) when is_binary(bytes), do: byte_size(bytes)
  defp bytes(none) when none in [nil, :gone], do: 0

  @doc "Makes what copies need, for as long as the calling process lives."
  @spec new :: :ok
  def new do
    Clock.begin()
    Backlog.new()
    MissingModules.new()
    WriteCounts.new()
    PeerHealth.new()
  end

  @doc """
  The vector of a record whose number is `seq`, and the record that this node is about to write in its place, of an actor of a class with
  these options.
  """
  @spec stamped(String.t(), String.t(), Record.t(), seq :: non_neg_integer, Actors.t()) ::
          {before :: VersionVector.t(), Record.t()}
  def stamped(class, name, record, seq, options) do
    if available?(options) do
      WriteCounts.note(class, name)

      # One that is there and has none would be taken for one that begins, and what is written for all that there is of it.
      before = if seq > 0, do: Replica.vector_of(record), else: record.vector
      {before, %{record | vector: VersionVector.next(before, Clock.writer(), Clock.now())}}
    else
      {record.vector, record}
    end
  end

  @doc "Are there copies of actors with these options?"
  @spec copied?(Actors.t()) :: boolean
  def copied?(options), do: available?(options) and options.copies > 0 and Shards.ring?()

  defp available?(options), do: match?(%{consistency: :available}, options)

  @doc "The vector that an actor begins with which there is not: later than that of one that was deleted."
  @spec begun(String.t(), String.t(), Actors.t()) :: VersionVector.t()
  def begun(class, name, options) do
    with true <- available?(options),
         {:ok, records} <- Journal.existing(),
         {:ok, %{vector: vector}} <- Replica.read(records, class, name) do
      vector
    else
      _none -> VersionVector.none()
    end
  end

  @doc "Sends what was written on a version vector to who has copies, and returns the nodes that are to be waited for."
  @spec send_put(String.t(), String.t(), Actors.t(), to, {before :: VersionVector.t(), VersionVector.t(), put :: tuple}) ::
          [String.t()]
  def send_put(class, name, options, to, {before, vector, put}) do
    for node <- others(class, name, options.copies),
        sent?(node, to, {:put, class, name, before, vector, put}),
        do: node
  end

  @doc "Sends all of an actor to a node, unless that has no room. When it is not sent, or comes to nothing, that is noted."
  @spec send_whole(String.t(), String.t(), to, node :: String.t()) :: sent? :: boolean
  def send_whole(class, name, to, node) do
    with false <- PeerHealth.full?(node),
         {:ok, records} <- Journal.records(),
         {:ok, {vector, whole}} <- Replica.whole(records, class, name) do
      sent?(node, to, {:whole, class, name, vector, whole})
    else
      _full_or_unreadable -> false
    end
  end

  # A node that was late a moment ago is sent it all the same.
  defp sent?(node, to, {_kind, class, name, _mark, whole} = what), do: sent?(node, to, what, class, name, bytes(whole))

  defp sent?(node, to, {_kind, class, name, _before, _mark, put} = what),
    do: sent?(node, to, what, class, name, bytes(put))

  defp sent?(node, to, what, class, name, bytes) do
    # What others send over the same link comes behind it.
    if bytes > @large_bytes, do: PeerHealth.busy(node, patience(bytes))
    sent? = ReplicaWriter.send(node, to, what)
    waited? = sent? and not PeerHealth.late?(node)
    unless waited?, do: Backlog.note(class, name)
    waited?
  end

  @doc "Notes that a node does not have what it was sent, and whether that is since it could not keep it."
  @spec missed(String.t(), String.t(), node :: String.t(), :need | :failed) :: :ok
  def missed(class, name, node, why) do
    if why == :failed, do: PeerHealth.full(node)
    Backlog.note(class, name)
  end

  @doc "Notes that nodes have not answered in time."
  @spec late(String.t(), String.t(), Enumerable.t()) :: :ok
  def late(class, name, nodes) do
    Enum.each(nodes, &PeerHealth.late/1)
    Backlog.note(class, name)
  end

  defp others(class, name, count) do
    shard = Native.record_shard(class, name)
    shard |> Rendezvous.order(Shards.nodes()) |> List.delete(to_string(node())) |> Enum.take(count)
  end

  @doc """
  Has what other nodes may have of an actor that this one owns and that sleeps, within `left` ms, and in any case a bound.

  A node that does not answer at the moment is asked again until then. The error's reason is `:no_store`: a node that may have a later
  state can't be asked for it, says that it can't read it, or sends one for which there is no room. What this node has is not served
  then, for what was answered since is not in it.
  """
  @spec fetched(String.t(), String.t(), left :: timeout) :: :ok | {:error, Error.t()}
  def fetched(class, name, left \\ :infinity) do
    begun = now()

    Enum.reduce_while(Shards.unsynced(), :ok, fn node, :ok ->
      # Any number comes before an atom.
      until = min(now() + @fetch_ms, if(left == :infinity, do: left, else: begun + left))

      case fetch(node, class, name, until) do
        :ok -> {:cont, :ok}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp fetch(node, class, name, until) do
    with false <- PeerHealth.silent?(node),
         {:ok, {vector, whole}} <- asked(node, {:copy, class, name}, until),
         true <- VersionVector.valid?(vector) and Replica.whole?(whole) do
      Merge.merge(class, name, vector, whole)
    else
      {:ok, nil} -> :ok
      :again -> if missed?(node), do: again(node, class, name, until), else: :ok
      _no_answer -> if missed?(node), do: {:error, unasked(node, class)}, else: :ok
    end
  end

  # What a node had that is gone is out of reach, and what one that has sent all has is here.
  defp missed?(node), do: node in Shards.unsynced() and Nodes.linked?(String.to_atom(node))

  defp again(node, class, name, until) do
    if now() + @again_ms < until do
      Process.sleep(@again_ms)
      fetch(node, class, name, until)
    else
      {:error, unasked(node, class)}
    end
  end

  defp unasked(node, class) do
    message = "#{node} may have a later state of the actor, and can't be asked for it or can't read it: call again"
    Error.new(:no_store, message, class)
  end

  # No caller waits for long for a node that stands still.
  defp asked(node, question, until) do
    begun = now()

    with :error <- Queries.ask(node, question, max(until - begun, 0)) do
      if now() >= begun + @fetch_ms, do: PeerHealth.silent(node)
      :error
    end
  end

  @doc "The module of this hash, which an actor of a class runs; other nodes are asked for it when this one has no copy."
  @spec module(class :: String.t(), sha256 :: String.t()) :: {:ok, binary} | {:error, Error.t()}
  def module(class, sha256), do: MissingModules.brought(class, sha256, Shards.nodes())

  @doc """
  Of how many actors of this node others that should have a copy have not said yet that they do, and for how many ms the first of these
  has been one.
  """
  @spec behind :: {actors :: non_neg_integer, ms :: non_neg_integer}
  def behind do
    # No other node is to have one.
    if Shards.ring?() and Shards.nodes() -- [to_string(node())] != [], do: Backlog.figures(), else: {0, 0}
  rescue
    # The processes of actors are being restarted.
    ArgumentError -> {0, 0}
  end

  @doc "As `Tidepool.Actor.Journal.delete/4`, and so that no copy brings the actor back."
  @spec delete(Native.records(), String.t(), String.t(), epoch :: pos_integer) :: :ok | :again | {:error, Error.t()}
  def delete(records, class, name, epoch) do
    with true <- Shards.ring?(),
         vector when vector != nil <- last(records, class, name) do
      vector = VersionVector.next(vector, Clock.writer(), Clock.now())

      with :ok <- Replica.put_tombstone(records, class, name, vector),
           :ok <- Journal.delete(records, class, name, epoch),
           do: told(class, name, {:whole, class, name, vector, :gone})
    else
      _no_copies_or_no_actor -> Journal.delete(records, class, name, epoch)
    end
  end

  defp last(records, class, name) do
    case Replica.head(records, class, name) do
      {:ok, %{kind: :there, vector: vector}} -> vector
      {:ok, _none} -> nil
      # It is damaged.
      {:error, _error} -> VersionVector.none()
    end
  end

  # All nodes: one may have had it before.
  defp told(class, name, what) do
    {ref, id} = to = {:erlang.alias(), make_ref()}
    nodes = for node <- Shards.nodes(), node != to_string(node()), sent?(node, to, what), do: node
    late = await(nodes, id, now() + @wait_ms)
    :erlang.unalias(ref)
    if late != [], do: Backlog.note(class, name)
    :ok
  end

  defp await([], _id, _deadline), do: []

  defp await(nodes, id, deadline) do
    receive do
      {:tidepool_copied, node, ^id, :ok} -> nodes |> List.delete(node) |> await(id, deadline)
    after
      max(deadline - now(), 0) -> nodes
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  @doc "Records of a class on another node, as `Tidepool.Native.list_records/4`."
  @spec listed(node :: String.t(), class :: String.t(), from :: String.t() | nil, limit :: pos_integer) ::
          {[tuple], next :: String.t() | nil} | nil
  def listed(node, class, from, limit) do
    with {:ok, {rows, next}} when is_list(rows) <- Queries.ask(node, {:list, class, from, limit}, @list_ms),
         do: {rows, next},
         else: (_none -> nil)
  end
end
