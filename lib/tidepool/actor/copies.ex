defmodule Tidepool.Actor.Copies do
  @moduledoc """
  Copies of actors on other nodes, where nodes of a cluster share no store: of classes with the consistency `:available`.

  The owner of an actor is the first of the nodes that are there, in an order that all of them know (`Tidepool.Actor.Owner.Balance`), and
  its copies are on the next ones. What is written on the owner is sent to these once it is on its own disk, and answered when they have it
  on theirs, or after half a second without those that do not answer: these get it later (`Tidepool.Actor.Copies.Rounds`).

  A node that has just come to own an actor asks those for it that may have had it (`fetched/2`), as long as they have not sent
  all that they have. What two nodes have written without each other is put together by `Tidepool.Actor.Copies.Merge`.
  """

  alias Tidepool.{Error, Native}
  alias Tidepool.Actor.{Record, Store}
  alias Tidepool.Actor.Copies.{Answers, Behind, Clock, Hold, Keeper, Kept, Mark, Merge, Wanted, Written}
  alias Tidepool.Actor.Owner.{Balance, Shards}
  alias Tidepool.Function.Actors

  # How long a write waits for a node that has a copy, and a call for one that may have the actor: it serves those first who have called
  # it there. What is large takes its time: a ms for each of these pieces.
  @wait_ms 500
  @piece_bytes 8_192
  @large_bytes 1_048_576
  @fetch_ms 6_000
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
    Behind.new()
    Wanted.new()
    Written.new()
    Hold.new()
  end

  @doc """
  The mark of a record whose number is `seq`, and the record that this node is about to write in its place, of an actor of a class with
  these options.
  """
  @spec marked(String.t(), String.t(), Record.t(), seq :: non_neg_integer, Actors.t()) ::
          {before :: Mark.t(), Record.t()}
  def marked(class, name, record, seq, options) do
    if available?(options) do
      Written.note(class, name)

      # One that is there and has none would be taken for one that begins, and what is written for all that there is of it.
      before = if seq > 0, do: Kept.mark_of(record), else: record.mark
      {before, %{record | mark: Mark.next(before, Clock.writer(), Clock.now())}}
    else
      {record.mark, record}
    end
  end

  @doc "Are there copies of actors with these options?"
  @spec copied?(Actors.t()) :: boolean
  def copied?(options), do: available?(options) and options.copies > 0 and Shards.ring?()

  defp available?(options), do: match?(%{consistency: :available}, options)

  @doc "The mark that an actor begins with which there is not: later than that of one that was deleted."
  @spec begun(String.t(), String.t(), Actors.t()) :: Mark.t()
  def begun(class, name, options) do
    with true <- available?(options),
         {:ok, records} <- Store.existing(),
         {:ok, %{mark: mark}} <- Kept.read(records, class, name) do
      mark
    else
      _none -> Mark.none()
    end
  end

  @doc "Sends what was written on a mark to who has copies, and returns the nodes that are to be waited for."
  @spec send_put(String.t(), String.t(), Actors.t(), to, {before :: Mark.t(), Mark.t(), put :: tuple}) :: [String.t()]
  def send_put(class, name, options, to, {before, mark, put}) do
    for node <- others(class, name, options.copies),
        sent?(node, to, {:put, class, name, before, mark, put}),
        do: node
  end

  @doc "Sends all of an actor to a node, unless that has no room. When it is not sent, or comes to nothing, that is noted."
  @spec send_whole(String.t(), String.t(), to, node :: String.t()) :: sent? :: boolean
  def send_whole(class, name, to, node) do
    with false <- Hold.full?(node),
         {:ok, records} <- Store.records(),
         {:ok, {mark, whole}} <- Kept.whole(records, class, name) do
      sent?(node, to, {:whole, class, name, mark, whole})
    else
      _full_or_unreadable -> false
    end
  end

  # Whoever was late a moment ago is sent it all the same.
  defp sent?(node, to, {_kind, class, name, _mark, whole} = what), do: sent?(node, to, what, class, name, bytes(whole))

  defp sent?(node, to, {_kind, class, name, _before, _mark, put} = what),
    do: sent?(node, to, what, class, name, bytes(put))

  defp sent?(node, to, what, class, name, bytes) do
    # What others send over the same link comes behind it.
    if bytes > @large_bytes, do: Hold.busy(node, patience(bytes))
    sent? = Keeper.send(node, to, what)
    waited? = sent? and not Hold.late?(node)
    unless waited?, do: Behind.note(class, name)
    waited?
  end

  @doc "Notes that a node does not have what it was sent, and whether that is since it could not keep it."
  @spec missed(String.t(), String.t(), node :: String.t(), :need | :failed) :: :ok
  def missed(class, name, node, why) do
    if why == :failed, do: Hold.full(node)
    Behind.note(class, name)
  end

  @doc "Notes that nodes have not answered in time."
  @spec late(String.t(), String.t(), Enumerable.t()) :: :ok
  def late(class, name, nodes) do
    Enum.each(nodes, &Hold.late/1)
    Behind.note(class, name)
  end

  defp others(class, name, count) do
    shard = Native.record_shard(class, name)
    shard |> Balance.order(Shards.nodes()) |> List.delete(to_string(node())) |> Enum.take(count)
  end

  @doc "Has what other nodes may have of an actor that this one owns and that sleeps, within a bound."
  @spec fetched(String.t(), String.t()) :: :ok
  def fetched(class, name) do
    for node <- Shards.unsynced(),
        not Hold.late?(node),
        {:ok, {mark, whole}} <- [asked(node, {:copy, class, name})],
        Mark.valid?(mark) and Kept.whole?(whole),
        do: Merge.merge(class, name, mark, whole)

    :ok
  end

  # Nobody waits for long for one that stands still.
  defp asked(node, question) do
    deadline = now() + @fetch_ms

    with :error <- Answers.ask(node, question, @fetch_ms) do
      if now() >= deadline, do: Hold.late(node)
      :error
    end
  end

  @doc "The module of this hash, which an actor of a class runs; other nodes are asked for it when this one has no copy."
  @spec module(class :: String.t(), sha256 :: String.t()) :: {:ok, binary} | {:error, Error.t()}
  def module(class, sha256), do: Wanted.brought(class, sha256, Shards.nodes())

  @doc """
  Of how many actors of this node others that should have a copy have not said yet that they do, and for how many ms the first of these
  has been one.
  """
  @spec behind :: {actors :: non_neg_integer, ms :: non_neg_integer}
  def behind do
    # Nobody else is to have one.
    if Shards.ring?() and Shards.nodes() -- [to_string(node())] != [], do: Behind.figures(), else: {0, 0}
  rescue
    # The processes of actors are being restarted.
    ArgumentError -> {0, 0}
  end

  @doc "As `Tidepool.Actor.Store.delete/4`, and so that no copy brings the actor back."
  @spec delete(Native.records(), String.t(), String.t(), epoch :: pos_integer) :: :ok | :again | {:error, Error.t()}
  def delete(records, class, name, epoch) do
    with true <- Shards.ring?(),
         mark when mark != nil <- last(records, class, name) do
      mark = Mark.next(mark, Clock.writer(), Clock.now())

      with :ok <- Kept.bury(records, class, name, mark),
           :ok <- Store.delete(records, class, name, epoch),
           do: told(class, name, {:whole, class, name, mark, :gone})
    else
      _no_copies_or_no_actor -> Store.delete(records, class, name, epoch)
    end
  end

  defp last(records, class, name) do
    case Kept.read(records, class, name) do
      {:ok, %{kind: :there, mark: mark}} -> mark
      {:ok, _none} -> nil
      # It is damaged.
      {:error, _error} -> Mark.none()
    end
  end

  # All nodes: one may have had it before.
  defp told(class, name, what) do
    {ref, id} = to = {:erlang.alias(), make_ref()}
    nodes = for node <- Shards.nodes(), node != to_string(node()), sent?(node, to, what), do: node
    late = await(nodes, id, now() + @wait_ms)
    :erlang.unalias(ref)
    if late != [], do: Behind.note(class, name)
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
    with {:ok, {rows, next}} when is_list(rows) <- Answers.ask(node, {:list, class, from, limit}, @list_ms),
         do: {rows, next},
         else: (_none -> nil)
  end
end
