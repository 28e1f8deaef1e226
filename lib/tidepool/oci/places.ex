defmodule Tidepool.Oci.Places do
  @moduledoc """
  How many modules are fetched at once: so many in all, and of one registry half of them, so that one that is slow leaves places to others.
  Whoever has a place gives it back, or ends.
  """

  use GenServer

  @most 8
  @most_of_one 4

  @doc "How many there may be at once, in all and of one registry."
  @spec most :: {pos_integer, pos_integer}
  def most, do: {@most, @most_of_one}

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Runs a function with a place among those of a registry, if there is one."
  @spec with_place(registry :: String.t(), (() -> result)) :: {:ok, result} | :full when result: term
  def with_place(registry, function) do
    with {:ok, place} <- GenServer.call(__MODULE__, {:take, registry}, :infinity) do
      try do
        {:ok, function.()}
      after
        GenServer.cast(__MODULE__, {:give_back, place})
      end
    end
  end

  @impl true
  def init(nil), do: {:ok, %{}}

  @impl true
  def handle_call({:take, registry}, {pid, _tag}, held) do
    if map_size(held) < @most and Enum.count(held, &match?({_place, ^registry}, &1)) < @most_of_one do
      place = Process.monitor(pid)
      {:reply, {:ok, place}, Map.put(held, place, registry)}
    else
      {:reply, :full, held}
    end
  end

  @impl true
  def handle_cast({:give_back, place}, held) do
    Process.demonitor(place, [:flush])
    {:noreply, Map.delete(held, place)}
  end

  @impl true
  def handle_info({:DOWN, place, :process, _pid, _reason}, held), do: {:noreply, Map.delete(held, place)}
  def handle_info(_message, held), do: {:noreply, held}
end
