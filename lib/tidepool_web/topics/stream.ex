defmodule TidepoolWeb.Topics.Stream do
  @moduledoc """
  Writes what happens to the topics of one client (`TidepoolWeb.Topics`), as server-sent events, until that is gone, may not read it any
  more, or the node is about to stop.

  What happens is kept where it happens: lines and failures by the library, changes by `TidepoolWeb.EventRing`, each within bounds.
  This process looks there four times a second, for as much at a time as a client takes at once. So nobody who prints or fails
  waits for a client or sends it anything, a client that does not read costs what is on its way to it, and what it is too slow for is
  counted: an event `dropped` says of which topic, and how many, or `null` where that is not known.

  An event's id has the position in each topic, in their order, behind the mark of `TidepoolWeb.EventRing`. A client that comes
  back with one for the same topics goes on from there.
  """

  alias Tidepool.Engine.Recent
  alias Tidepool.Native
  alias TidepoolWeb.{EventRing, Figures, Topics}
  alias TidepoolWeb.Resources.Functions

  # How often it is looked, and for how many at a time.
  @look_ms 250
  @batch 16
  # After how long a client that has lost its connection should come back.
  @retry_ms 1_000

  @typedoc """
  `last_id`: the id that the client has had last; `last`: without one, how many of the newest lines and failures it begins with;
  `ping_ms`: a comment goes out that often; `permit`: whether the client may read on, which is asked at each look; `sees?`: whether it is
  told of a function, or of what is of none (`nil`), by the topics that are of all.
  """
  @type options :: %{
          last_id: binary | nil,
          last: non_neg_integer,
          ping_ms: pos_integer,
          permit: (() -> :ok | {:error, term}),
          sees?: (String.t() | nil -> boolean)
        }

  @doc "Writes what happens from now on, or since the client was there before."
  @spec run(TidepoolWeb.Stream.t(), [Topics.t(), ...], options) :: :ok | {:error, :closed}
  def run(stream, topics, options) do
    # Between a failure of the edge and the start of the next one there is none: the client comes back.
    with ring when ring != nil <- Process.whereis(EventRing) do
      Process.monitor(ring)
      {:ok, mark, last} = EventRing.locate(ring, nil)
      {known, positions} = positions(topics, options, mark, last)
      state = %{stream: stream, ring: ring, mark: mark, options: options, ping_at: now() + options.ping_ms}
      lost = if known == :unknown, do: for(topic <- topics, do: dropped(topic, nil)), else: []
      followed = Enum.zip(topics, positions)

      with :ok <- TidepoolWeb.Stream.write(stream, ["retry: #{@retry_ms}\n", id(state, followed), "\n", lost]),
           do: follow(state, followed)
    else
      nil -> :ok
    end
  end

  defp positions(topics, %{last_id: nil, last: last}, _mark, changes) do
    {:known, for(topic <- topics, do: beginning(topic, last, changes))}
  end

  defp positions(topics, %{last_id: id}, mark, changes) do
    with <<^mark::binary-size(8), "-", text::binary>> <- id,
         # What is behind those of its topics is one more, and none.
         positions = for(digits <- String.split(text, ".", parts: length(topics) + 1), do: position(digits)),
         true <- length(positions) == length(topics),
         true <- Enum.all?(Enum.zip(topics, positions), &possible?(&1, changes)) do
      {:known, positions}
    else
      _other -> {:unknown, for(topic <- topics, do: beginning(topic, 0, changes))}
    end
  end

  defp position(digits) do
    with true <- byte_size(digits) <= 15, {position, ""} when position >= 0 <- Integer.parse(digits) do
      position
    else
      _other -> nil
    end
  end

  # None is ahead of what has happened: whoever says so would wait for as long as it likes. Those of a function that was removed are
  # behind what comes after.
  defp possible?({_topic, nil}, _changes), do: false
  defp possible?({:functions, position}, changes), do: position <= changes
  defp possible?({:figures, _position}, _changes), do: true
  defp possible?({{kind, name}, position}, _changes), do: position <= elem(Recent.newest(kind, name, 0), 0)

  # Where a client begins that was not there before.
  defp beginning(:functions, _last, changes), do: changes
  defp beginning(:figures, _last, _changes), do: 0

  defp beginning({kind, name}, last, _changes) do
    case Recent.newest(kind, name, last) do
      {position, []} -> position
      {_position, [first | _others]} -> first.position - 1
    end
  end

  # One look at each topic, as long as the client may. A token that has ended ends what is read with it.
  defp follow(state, followed) do
    with :ok <- state.options.permit.(),
         {:ok, followed, more?} <- looks(state, [], followed) do
      listen(state, followed, if(more?, do: 0, else: @look_ms))
    else
      {:error, :closed} -> {:error, :closed}
      {:error, _refusal} -> :ok
    end
  end

  # No more than what there is of one topic waits for the client at a time.
  defp looks(_state, seen, []), do: {:ok, Enum.reverse(seen), false}

  defp looks(state, seen, [{topic, position} | others]) do
    {missed, events, position, more?} = look(state, topic, position)
    lost = if missed == 0, do: [], else: dropped(topic, missed)
    texts = for {at, text} <- events, do: [id(state, Enum.reverse(seen, [{topic, at} | others])), text]

    with :ok <- TidepoolWeb.Stream.write(state.stream, [lost | texts]),
         {:ok, followed, more_of_others?} <- looks(state, [{topic, position} | seen], others),
         do: {:ok, followed, more? or more_of_others?}
  end

  defp look(%{ring: ring, options: %{sees?: sees?}}, :functions, position) do
    {missed, events, position} = EventRing.read(ring, position)
    {missed, for({at, {name, _tools?}, text} <- events, sees?.(name), do: {at, text}), position, events != []}
  end

  defp look(%{options: %{sees?: sees?}}, :figures, position) do
    # 0 is that of nobody. Whoever sees what is of no function sees all of them.
    {tick, pieces} = if sees?.(nil), do: Figures.pieces(position - 1), else: Figures.pieces_of(position - 1, sees?)
    # Who is cut off within a tick gets all of the next one.
    {0, for(piece <- pieces, do: {tick + 1, ["event: figures\ndata: ", piece, "\n\n"]}), tick + 1, false}
  end

  defp look(_state, {kind, name}, position) do
    {position, missed, entries} = Recent.following(kind, name, position, @batch)
    event = if kind == :lines, do: "log", else: "failure"

    texts =
      for entry <- entries do
        data = entry |> Functions.Recent.shown() |> Map.delete(:position) |> Native.json_encode()
        {entry.position, ["event: ", event, "\ndata: ", data, "\n\n"]}
      end

    {missed, texts, position, length(texts) == @batch}
  end

  defp listen(%{stream: %{id: id}, ring: ring} = state, followed, wait_ms) do
    receive do
      {:tidepool_stream, ^id, :closed} -> {:error, :closed}
      {:tidepool_stream, ^id, :draining} -> :ok
      {:DOWN, _monitor, :process, ^ring, _reason} -> :ok
      _message -> listen(state, followed, 0)
    after
      wait_ms -> if now() < state.ping_at, do: follow(state, followed), else: ping(state, followed)
    end
  end

  defp ping(%{options: %{ping_ms: ping_ms}} = state, followed) do
    with :ok <- TidepoolWeb.Stream.write(state.stream, ": ping\n\n"),
         do: follow(%{state | ping_at: now() + ping_ms}, followed)
  end

  defp id(%{mark: mark}, followed),
    do: "id: #{mark}-#{Enum.map_join(followed, ".", fn {_topic, position} -> position end)}\n"

  defp dropped(topic, count),
    do: "event: dropped\ndata: #{Native.json_encode(%{topic: Topics.name(topic), count: count})}\n\n"

  defp now, do: System.monotonic_time(:millisecond)
end
