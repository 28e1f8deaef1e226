defmodule Tidepool.Growth do
  @moduledoc """
  Programs that take one resource until they are refused: `guests/growth`. What is here runs on the node that has them.
  """

  alias Tidepool.FaultFootprint

  # How long a program does nothing that waits for good.
  @still_ms 500
  # A guest that grows and grows would never be still.
  @most_ms 120_000

  @typedoc "How programs ended that have, how many wait, and how many bytes the node has grown by at most."
  @type outcome :: %{ended: [term], waiting: non_neg_integer, bytes: integer}

  @doc """
  Has so many programs of a function run this entry, until each has ended or waits; then kills them.

  A program waits, too, that has no instance because the others have them all.
  """
  @spec grow(String.t(), String.t(), pos_integer) :: outcome
  def grow(name, entry, count) do
    :erlang.garbage_collect()
    before = FaultFootprint.resident_bytes()
    parent = self()

    runners =
      for _program <- 1..count, into: %{} do
        {pid, monitor} = spawn_monitor(fn -> run(parent, name, entry) end)
        {monitor, {pid, nil}}
      end

    deadline = System.monotonic_time(:millisecond) + @most_ms
    {runners, ended, peak} = settle(runners, [], nil, before, deadline)
    for {_monitor, {pid, _program}} <- runners, do: Process.exit(pid, :kill)

    for {monitor, _runner} <- runners do
      receive do
        {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
      end
    end

    %{ended: ended, waiting: map_size(runners), bytes: peak - before}
  end

  # The program of a process that is killed is killed with it.
  defp run(parent, name, entry) do
    Process.flag(:trap_exit, true)

    case Tidepool.Process.start_link(name, ["grows"], entry: entry) do
      {:ok, program} ->
        send(parent, {:started, self(), program})

        receive do
          {:EXIT, ^program, reason} -> exit(reason(reason))
        end

      {:error, error} ->
        exit(error.reason)
    end
  end

  defp reason({%Tidepool.Error{reason: reason}, _stack}), do: reason
  defp reason(reason), do: reason

  defp settle(runners, ended, last, peak, deadline) do
    receive do
      {:started, pid, program} ->
        {monitor, _runner} = Enum.find(runners, fn {_monitor, {runner, _program}} -> runner == pid end)
        settle(%{runners | monitor => {pid, program}}, ended, nil, peak, deadline)

      {:DOWN, monitor, :process, _pid, reason} ->
        settle(Map.delete(runners, monitor), [reason | ended], nil, peak, deadline)
    after
      @still_ms ->
        # Whatever a guest does is done by its process.
        now = for {_monitor, {pid, program}} <- runners, do: {pid, program && Process.info(program, :reductions)}
        peak = max(peak, FaultFootprint.resident_bytes())

        if now == last or System.monotonic_time(:millisecond) > deadline,
          do: {runners, ended, peak},
          else: settle(runners, ended, now, peak, deadline)
    end
  end

  @doc "What a function has, by the metrics."
  @spec held(String.t()) :: %{String.t() => integer}
  def held(name) do
    for [_all, resource, value] <-
          Regex.scan(~r/^tidepool_held\{function="#{Regex.escape(name)}",resource="(\w+)"\} (\d+)/m, metrics()),
        into: %{},
        do: {resource, String.to_integer(value)}
  end

  defp metrics, do: IO.iodata_to_binary(Tidepool.Native.metrics(Tidepool.Engine.runtime(), [], []))
end
