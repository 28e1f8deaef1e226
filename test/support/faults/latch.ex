defmodule Tidepool.Latch do
  @moduledoc """
  A GenServer as a host handler that keeps its callers waiting until it is told to answer: guests that have called it
  are known to be in the middle of a call.
  """

  use GenServer

  def start_link(options \\ []), do: GenServer.start_link(__MODULE__, nil, options)

  @doc "Like `start_link/1`, but not linked: for a process that comes in by a remote call and is gone after it."
  def start(options), do: GenServer.start(__MODULE__, nil, options)

  @doc "Waits until `count` calls wait here, and returns their payloads in the order in which they came."
  def await(latch, count), do: GenServer.call(latch, {:await, count}, 30_000)

  @doc "Answers the call that has waited longest."
  def release_first(latch, result \\ {:ok, "released"}), do: GenServer.call(latch, {:release, 1, result})

  @doc "Answers all calls that wait."
  def release(latch, result \\ {:ok, "released"}), do: GenServer.call(latch, {:release, :all, result})

  @impl true
  def init(nil), do: {:ok, %{calls: [], awaiting: []}}

  @impl true
  def handle_call({:await, count}, from, state) do
    {:noreply, tell(%{state | awaiting: [{count, from} | state.awaiting]})}
  end

  def handle_call({:release, count, result}, _from, state) do
    {now, later} = Enum.split(state.calls, if(count == :all, do: length(state.calls), else: count))
    Enum.each(now, fn {_payload, ref} -> Tidepool.Host.reply(ref, result) end)
    {:reply, length(now), %{state | calls: later}}
  end

  @impl true
  def handle_info({:invoke_callback, _binding, _namespace, _operation, payload, ref}, state) do
    {:noreply, tell(%{state | calls: state.calls ++ [{payload, ref}]})}
  end

  defp tell(state) do
    {ready, waiting} = Enum.split_with(state.awaiting, fn {count, _from} -> count <= length(state.calls) end)
    payloads = Enum.map(state.calls, &elem(&1, 0))
    Enum.each(ready, fn {_count, from} -> GenServer.reply(from, payloads) end)
    %{state | awaiting: waiting}
  end
end
