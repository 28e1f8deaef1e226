defmodule TidepoolWeb.EventStream do
  @moduledoc """
  Writes events to one client, as server-sent events, until that is gone or the node is about to stop.

  The client's pace is kept: while it does not read, its process waits in `TidepoolWeb.Stream.write/2`, and events are in
  `TidepoolWeb.EventRing` alone. When it has fallen behind what that keeps, or comes back with an id that is not this node's, it is
  told so by an event `missed`.
  """

  alias TidepoolWeb.{EventRing, Stream}

  # After how long a client that has lost its connection should come back.
  @retry_ms 1_000

  @doc "The head of an answer that `run` goes on with: proxies that would rather have it whole are told not to."
  @spec answer((Stream.t() -> term)) :: TidepoolWeb.Resource.answer()
  def answer(run),
    do: {:stream, 200, "text/event-stream", [{"cache-control", "no-store"}, {"x-accel-buffering", "no"}], run}

  @typedoc """
  Who reads: `permit` says whether the client may read on, and is asked before it is told of something; `begin` has what is written at
  first, `tell` what is written for events, and how many were missed before them; `over` what is written when the node is about to stop.
  """
  @type reader :: %{
          permit: (() -> :ok | {:error, term}),
          begin: (:ok | :unknown, mark :: String.t(), EventRing.position() -> iodata),
          tell: (mark :: String.t(), missed :: non_neg_integer, [EventRing.event()], EventRing.position() -> iodata),
          over: iodata
        }

  @doc """
  Writes what comes after the event with the id `last`; with `nil`, what comes from now on: events of functions, and of none (`nil`),
  that the client `sees?`. A comment goes out each `ping_ms`, and whether the client may read on is asked then, and before it is told of
  something (`permit`).
  """
  @spec run(Stream.t(), last :: binary | nil, ping_ms :: pos_integer, options) :: :ok | {:error, :closed}
        when options: %{sees?: (String.t() | nil -> boolean), permit: (() -> :ok | {:error, term})}
  def run(stream, last, ping_ms, %{sees?: sees?, permit: permit}) do
    begin = fn
      :ok, mark, position -> "retry: #{@retry_ms}\nid: #{mark}-#{position}\n\n"
      :unknown, mark, position -> ["retry: #{@retry_ms}\n", missed(mark, nil, position)]
    end

    tell = fn mark, missed, events, position ->
      seen = for {number, {name, _tools?}, text} <- events, sees?.(name), do: ["id: #{mark}-#{number}\n" | text]
      if missed > 0, do: [missed(mark, missed, position - length(events)) | seen], else: seen
    end

    read(stream, last, ping_ms, %{permit: permit, begin: begin, tell: tell, over: []})
  end

  @doc "The same for another reader."
  @spec read(Stream.t(), last :: binary | nil, ping_ms :: pos_integer, reader) :: :ok | {:error, :closed}
  def read(stream, last, ping_ms, reader) do
    # Between a failure of the edge and the start of the next one there is none: the client comes back.
    with ring when ring != nil <- Process.whereis(EventRing) do
      Process.monitor(ring)
      {known, mark, position} = EventRing.locate(ring, last)
      state = Map.merge(reader, %{stream: stream, ring: ring, mark: mark, ping_ms: ping_ms, ping_at: now() + ping_ms})
      with :ok <- write(stream, reader.begin.(known, mark, position)), do: follow(state, position)
    else
      nil -> :ok
    end
  end

  defp follow(state, position) do
    EventRing.next(state.ring, position)
    listen(state)
  end

  defp listen(%{stream: %{id: id}, ring: ring} = state) do
    receive do
      {:tidepool_events, missed, events, position} ->
        with :ok <- state.permit.(),
             :ok <- write(state.stream, state.tell.(state.mark, missed, events, position)) do
          follow(state, position)
        else
          refused -> refused(refused)
        end

      {:tidepool_stream, ^id, :closed} ->
        {:error, :closed}

      {:tidepool_stream, ^id, :draining} ->
        write(state.stream, state.over)

      {:DOWN, _monitor, :process, ^ring, _reason} ->
        :ok

      _message ->
        listen(state)
    after
      max(state.ping_at - now(), 0) -> ping(state)
    end
  end

  # A stream ends with its token: nobody else would get its place.
  defp ping(state) do
    with :ok <- state.permit.(),
         :ok <- Stream.write(state.stream, ": ping\n\n") do
      listen(%{state | ping_at: now() + state.ping_ms})
    else
      refused -> refused(refused)
    end
  end

  defp refused({:error, :closed} = closed), do: closed
  defp refused({:error, _refusal}), do: :ok

  defp write(_stream, []), do: :ok
  defp write(stream, texts), do: Stream.write(stream, texts)

  # How many is known of a client that was too slow; not of one that comes from another node.
  defp missed(mark, count, position) do
    "id: #{mark}-#{position}\nevent: missed\ndata: #{Tidepool.Native.json_encode(%{count: count})}\n\n"
  end

  defp now, do: System.monotonic_time(:millisecond)
end
