defmodule Tidepool.Oci.Places do
  @moduledoc """
  How many modules are fetched at once: so many in all, and of one registry half of them, so that one that is slow leaves places to others.
  A namespace has no more of them than it leaves to others, however many registries it names. Whoever has a place gives it back, or ends.
  """

  use GenServer

  @most 8
  @most_of_one 4

  @doc "How many there may be at once, in all and of one registry."
  @spec most :: {pos_integer, pos_integer}
  def most, do: {@most, @most_of_one}

  @doc "How many there are now, and may be, as `fetches`."
  @spec held :: %{String.t() => %{held: non_neg_integer, max: pos_integer}}
  def held, do: %{"fetches" => %{held: GenServer.call(__MODULE__, :held), max: @most}}

  @doc false
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Runs a function with a place among those of a registry and of a namespace, if there is one; `nil` is no namespace, and has no share."
  @spec with_place(registry :: String.t(), namespace :: String.t() | nil, (() -> result)) :: {:ok, result} | :full
        when result: term
  def with_place(registry, namespace, function) do
    with {:ok, place} <- GenServer.call(__MODULE__, {:take, registry, namespace}, :infinity) do
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
  def handle_call(:held, _from, held), do: {:reply, map_size(held), held}

  def handle_call({:take, registry, namespace}, {pid, _tag}, held) do
    of_registry = Enum.count(held, &match?({_place, {^registry, _namespace}}, &1))
    of_namespace = Enum.count(held, &match?({_place, {_registry, ^namespace}}, &1))
    shared? = namespace == nil or of_namespace < @most - map_size(held)

    if map_size(held) < @most and of_registry < @most_of_one and shared? do
      place = Process.monitor(pid)
      {:reply, {:ok, place}, Map.put(held, place, {registry, namespace})}
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
