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

  @doc """
  Writes what comes after the event with the id `last`; with `nil`, what comes from now on. A comment goes out each `ping_ms`.
  """
  @spec run(Stream.t(), last :: binary | nil, ping_ms :: pos_integer) :: :ok | {:error, :closed}
  def run(stream, last, ping_ms) do
    # Between a failure of the edge and the start of the next one there is none: the client comes back.
    with ring when ring != nil <- Process.whereis(EventRing) do
      Process.monitor(ring)
      {known, mark, position} = EventRing.locate(ring, last)
      state = %{stream: stream, ring: ring, mark: mark, ping_ms: ping_ms, ping_at: now() + ping_ms}
      begin = if known == :ok, do: "id: #{mark}-#{position}\n\n", else: missed(state, nil, position)

      with :ok <- Stream.write(stream, ["retry: #{@retry_ms}\n", begin]), do: follow(state, position)
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
        events = if missed > 0, do: [missed(state, missed, position - length(events)) | events], else: events
        with :ok <- Stream.write(state.stream, events), do: follow(state, position)

      {:tidepool_stream, ^id, :closed} ->
        {:error, :closed}

      {:tidepool_stream, ^id, :draining} ->
        :ok

      {:DOWN, _monitor, :process, ^ring, _reason} ->
        :ok

      _message ->
        listen(state)
    after
      max(state.ping_at - now(), 0) ->
        with :ok <- Stream.write(state.stream, ": ping\n\n"), do: listen(%{state | ping_at: now() + state.ping_ms})
    end
  end

  # How many is known of a client that was too slow; not of one that comes from another node.
  defp missed(%{mark: mark}, count, position) do
    "id: #{mark}-#{position}\nevent: missed\ndata: #{Tidepool.Native.json_encode(%{count: count})}\n\n"
  end

  defp now, do: System.monotonic_time(:millisecond)
end
