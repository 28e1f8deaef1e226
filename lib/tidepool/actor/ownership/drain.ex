defmodule Tidepool.Actor.Ownership.Drain do
  @moduledoc """
  Puts the actors of shards to sleep, whose shards no new call enters: each serves those who have come, is written and ends. One that
  does not within the time is killed; what it has not written by then is refused by the store, for another node has its shard.
  """

  alias Tidepool.Native

  @registry Tidepool.Actor.Registry

  @doc "Puts those to sleep, within `ms`, and returns how many had to be killed."
  @spec drain(Enumerable.t(), ms :: non_neg_integer) :: killed :: non_neg_integer
  def drain(shards, ms) do
    watched = watch(shards)
    for {_monitor, pid} <- watched, do: send(pid, :leave)
    rest = await(watched, now() + ms)
    finish(rest)
    map_size(rest)
  end

  @doc "Notes that the calling actor leaves: it has its name no more, and is to be found, with its queue, when its shard is lost."
  @spec leaving(class :: String.t(), name :: String.t(), queue :: term) :: :ok
  def leaving(class, name, queue) do
    # There may be another that leaves, of the same name.
    {:ok, _registry} = Registry.register(@registry, {:leaving, class, name, self()}, queue)
    :ok
  end

  @doc "Ends actors of shards at once: they are another node's, or may be. All are gone when it returns."
  @spec kill(Enumerable.t()) :: :ok
  def kill([]), do: :ok
  def kill(shards), do: shards |> watch() |> finish()

  defp watch(shards), do: for(pid <- awake(shards), into: %{}, do: {Process.monitor(pid), pid})

  defp awake(shards) do
    shards = MapSet.new(shards)

    for {key, pid} <- Registry.select(@registry, [{{:"$1", :"$2", :_}, [], [{{:"$1", :"$2"}}]}]),
        {class, name} = named(key),
        MapSet.member?(shards, Native.record_shard(class, name)),
        do: pid
  rescue
    # The registry is being restarted, and all actors with it.
    ArgumentError -> []
  end

  defp named({:leaving, class, name, _pid}), do: {class, name}
  defp named({class, name}), do: {class, name}

  defp await(watched, _deadline) when watched == %{}, do: watched

  defp await(watched, deadline) do
    receive do
      {:DOWN, monitor, :process, _pid, _reason} when is_map_key(watched, monitor) ->
        watched |> Map.delete(monitor) |> await(deadline)
    after
      max(deadline - now(), 0) -> watched
    end
  end

  defp finish(watched) do
    for {_monitor, pid} <- watched, do: Process.exit(pid, :kill)

    for {monitor, _pid} <- watched do
      receive do
        {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
      end
    end

    :ok
  end

  defp now, do: System.monotonic_time(:millisecond)
end
