defmodule Tidepool.Actor.Ownership.Directory do
  @moduledoc """
  What a node that keeps no actors asks one that does: where all shards are, and what is written of actors.

  Where shards are is said in some KiB at most, by a stamp that follows from it alone: who asks with that stamp is told that all is as it
  was, by whichever node. A node without a lease names those that have one, as far as it has heard of them. A node of a release before has no
  such process, and another one is asked.
  """

  @behaviour Tidepool.Nodes.Server

  alias Tidepool.{Error, Nodes}
  alias Tidepool.Actor.Journal.Listing
  alias Tidepool.Actor.Ownership.Shards
  alias Tidepool.Actor.Table
  alias Tidepool.Namespaces.Name
  alias Tidepool.Nodes.{Ask, Protocol}

  # {:made, changes of the shards, what is said of them}.
  @table __MODULE__
  # How long a node may take to say where shards are, and to look what is written.
  @ask_ms 1_000
  @read_ms 10_000
  # Names that a node without a lease tells at most, and nodes that are asked in a row.
  @most_names 64

  @typedoc "Where shards are: the nodes, by their numbers from 1 on, and for each shard 16 bits with such a number, or 0 for none."
  @type said :: {stamp :: binary, nodes :: [String.t()], places :: binary}

  @doc "Makes the table of what was said last, for as long as the caller lives."
  @spec new :: :ok
  def new, do: Table.new(@table)

  @doc "At most 64 questions are being answered, and `:busy` is the answer to more than wait for that: another node is asked then."
  @impl true
  @spec protocol :: Protocol.t()
  def protocol,
    do: %Protocol{
      server: __MODULE__,
      tag: :tidepool_directory,
      version: 1,
      what: "where actors are",
      at_once: 64,
      waiting: 2_000,
      refused: fn _why -> :busy end
    }

  @impl true
  def more, do: []

  @impl true
  def question?({:places, stamp}), do: stamp == nil or is_binary(stamp)
  def question?(question), do: Listing.question?(question)

  @impl true
  def namespace(question), do: with(class when class != nil <- turn(question), do: Name.of(class))

  # Lists of actors with long names are long.
  @impl true
  def turn({:places, _stamp}), do: nil
  def turn(question), do: elem(question, 1)

  @impl true
  def answer({:places, stamp}, _asker, _deadline, nil) do
    if Shards.leased?() and Shards.filled?(),
      do: news(said(), stamp),
      else: {:elsewhere, Enum.take(Shards.nodes(), @most_names)}
  end

  def answer(question, _asker, deadline, nil), do: Listing.read(question, deadline)

  defp news({stamp, _nodes, _places}, stamp), do: :same
  defp news({stamp, nodes, places}, _another), do: {:places, stamp, nodes, places}

  # As it was made after the last change: hundreds of nodes may ask.
  defp said do
    changes = Shards.changes()

    case :ets.lookup(@table, :made) do
      [{:made, ^changes, said}] ->
        said

      _older ->
        said = encode(for {shard, state} <- Shards.all(), do: {shard, owner(state)})
        :ets.insert(@table, {:made, changes, said})
        said
    end
  end

  defp owner({:away, name}), do: name
  defp owner(:nobody), do: nil
  defp owner(_ours_or_moving), do: to_string(node())

  @doc """
  Where shards are, as it is said.

      iex> alias Tidepool.Actor.Ownership.Directory
      iex> {stamp, nodes, places} = Directory.encode([{7, "b@host"}, {0, "a@host"}, {1, nil}])
      iex> {byte_size(stamp), nodes, byte_size(places)}
      {16, ["a@host", "b@host"], 8_192}
      iex> {:ok, all} = Directory.decode(nodes, places)
      iex> for {shard, node} when node != nil <- all, do: {shard, node}
      [{0, "a@host"}, {7, "b@host"}]
      iex> Directory.decode(nodes, "short")
      :error
      iex> Directory.decode([], places)
      :error
  """
  @spec encode([{Shards.shard(), node :: String.t() | nil}]) :: said
  def encode(places) do
    places = Map.new(places)
    nodes = places |> Map.values() |> Enum.uniq() |> Enum.reject(&is_nil/1) |> Enum.sort()
    numbers = nodes |> Enum.with_index(1) |> Map.new()
    bytes = for shard <- 0..(Shards.count() - 1), into: <<>>, do: <<Map.get(numbers, places[shard], 0)::16>>
    {:erlang.md5([Enum.intersperse(nodes, ","), bytes]), nodes, bytes}
  end

  @doc "The node of each shard, of what was said; `:error` when it says nothing that can be."
  @spec decode(nodes :: term, places :: term) :: {:ok, [{Shards.shard(), node :: String.t() | nil}]} | :error
  def decode(nodes, places) do
    with true <- is_list(nodes) and not List.improper?(nodes) and Enum.all?(nodes, &is_binary/1),
         true <- is_binary(places) and byte_size(places) == 2 * Shards.count(),
         numbers = for(<<number::16 <- places>>, do: number),
         names = List.to_tuple([nil | nodes]),
         true <- Enum.all?(numbers, &(&1 < tuple_size(names))) do
      {:ok, numbers |> Enum.map(&elem(names, &1)) |> Enum.with_index(&{&2, &1})}
    else
      false -> :error
    end
  end

  @doc """
  Where shards are, as a node says that has a lease, and which node that is: `first`, if it has one, or one of the others, or of those that
  they name; `nil` when none has. `stamp` is that of what is known.

  Who asks the same node each time is told nothing that is older than what it was told before: of two that have a lease one may hear of a
  move a second later.
  """
  @spec find(first :: String.t() | nil, others :: [String.t()], stamp :: binary | nil) ::
          {node :: String.t(), Shards.said()} | nil
  def find(first, others, stamp),
    do: in_turn(List.wrap(first) ++ near(others), stamp, MapSet.new([to_string(node())]))

  defp in_turn([], _stamp, _asked), do: nil

  defp in_turn([name | names], stamp, asked) do
    cond do
      name in asked ->
        in_turn(names, stamp, asked)

      MapSet.size(asked) > @most_names ->
        nil

      true ->
        case heard(ask(name, {:places, stamp}, @ask_ms)) do
          {:next, more} -> in_turn(names ++ more, stamp, MapSet.put(asked, name))
          said -> {name, said}
        end
    end
  end

  defp heard(:same), do: :same

  defp heard({:places, stamp, nodes, places}) when is_binary(stamp),
    do: with({:ok, places} <- decode(nodes, places), do: {stamp, places}, else: (:error -> {:next, []}))

  defp heard({:elsewhere, names}) when is_list(names), do: {:next, for(name <- names, is_binary(name), do: name)}
  defp heard(_no_answer), do: {:next, []}

  @doc """
  What is written, as a node has it that keeps actors, when this one does not and has been told which do; else `:own`, and it is to be looked
  at here. An error has the reason `:no_store` when none of them can say.
  """
  @spec read(Listing.question(), until :: integer) :: :own | Listing.found() | {:error, Error.t()}
  def read(question, until) do
    if Shards.told?() do
      message = "none of the nodes that keep actors answers: nothing was done"
      Shards.nodes() |> near() |> read(question, until, Error.new(:no_store, message, turn(question)))
    else
      :own
    end
  end

  defp read([], _question, _until, error), do: {:error, error}

  defp read([name | names], question, until, error) do
    left = until - System.monotonic_time(:millisecond)

    # Another one may be able to.
    case if(left > 0, do: ask(name, question, min(left, @read_ms))) do
      {:ok, _count} = counted -> counted
      {:ok, _rows, _next} = listed -> listed
      {:error, %Error{reason: reason} = other} when reason != :no_store -> {:error, other}
      {:error, %Error{} = other} -> read(names, question, until, other)
      _no_answer -> read(names, question, until, error)
    end
  end

  defp ask(name, question, ms) do
    # No link is made with a node that is not, or not yet, of the cluster.
    with true <- Nodes.known?(name),
         node when node != nil <- name |> Nodes.number() |> Nodes.reach(),
         {:ok, answer} <- Ask.ask(protocol(), node, question, ms),
         do: answer,
         else: (_none -> nil)
  end

  # Another one each time, and those first for which no link is to be made.
  defp near(names) do
    linked = Enum.map(Node.list(:connected), &to_string/1)
    names |> Enum.shuffle() |> Enum.sort_by(&(&1 not in linked))
  end
end
