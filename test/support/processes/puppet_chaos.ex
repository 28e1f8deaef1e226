defmodule Tidepool.PuppetChaos do
  @moduledoc """
  Puppets on several nodes that link, spawn, send, name each other and die at random, beside auditors, which are told of every death. A stage runs it
  (`Tidepool.Stage`), on the node where the program begins.
  """

  alias Tidepool.Puppets

  @patience 60_000
  # What a puppet answers that was asked for it.
  @barrier 987_654_321
  # Not the number itself, so that none is taken for the other.
  @tag 1_000

  defstruct [:auditors, :workers, :audits, :monitors]

  @doc "So many auditors here, and so many workers on each of the nodes with these numbers; each of them has two auditors."
  def prepare(main, auditors, nodes, workers) do
    auditors = for _ <- 1..auditors, do: Puppets.spawn(main)
    for {_id, pid} <- auditors, do: Puppets.tell(pid, ?D, 0)

    workers =
      for node <- nodes, {_id, leader} = Puppets.spawn_on(main, node), _ <- 1..workers, do: Puppets.spawn(leader)

    audits = for {id, _pid} <- workers, auditor <- Enum.take_random(auditors, 2), do: {auditor, id}
    for {{_auditor, pid}, id} <- audits, command <- [?L, ?M], do: Puppets.tell(pid, command, id, tag(id))
    monitors = for {id, pid} <- workers, into: %{}, do: {Process.monitor(pid), id}
    %__MODULE__{auditors: auditors, workers: workers, audits: audits, monitors: monitors}
  end

  defp tag(id), do: rem(id, 1_000_003) + @tag

  @doc "So many random commands to workers."
  def orders(chaos, count, seed) do
    :rand.seed(:exsss, seed)

    for _ <- 1..count do
      {_id, pid} = Enum.random(chaos.workers)
      {other, _pid} = Enum.random(chaos.workers)

      case :rand.uniform(20) do
        n when n <= 4 -> Puppets.ask(pid, ?Y, other, 1)
        n when n <= 6 -> Puppets.ask(pid, ?Z, other, :rand.uniform(50))
        7 -> Puppets.ask(pid, ?S)
        8 -> Puppets.ask(pid, ?+, other, Bitwise.bsr(other, 44))
        n when n <= 11 -> Puppets.ask(pid, ?M, other)
        n when n <= 14 -> Puppets.ask(pid, ?E, other)
        n when n <= 15 -> Puppets.ask(pid, ?L, other, 7)
        n when n <= 17 -> Puppets.ask(pid, ?U, other)
        18 -> Puppets.ask(pid, ?K, other)
        19 -> Puppets.ask(pid, ?R)
        20 -> Puppets.ask(pid, ?D, 1)
      end
    end

    :ok
  end

  @doc """
  Ends those that are left, and says of each audit: the worker's node, why it has died, and how often its auditor was told by a link
  and by a monitor.
  """
  def finish(chaos) do
    for {_id, pid} <- chaos.workers, do: Puppets.ask(pid, Enum.random([?R, ?C]))
    auditors = Map.new(chaos.auditors, fn {id, pid} -> {pid, id} end)
    {reasons, notices} = heard(auditors, chaos.monitors, map_size(chaos.monitors), %{}, [])
    nodes = for {id, pid} <- chaos.workers, into: %{}, do: {id, node(pid)}
    least = Enum.sum(for({_auditor, id} <- chaos.audits, do: if(reasons[id] == :normal, do: 1, else: 2)))
    told = auditors |> flushed(least, notices, System.monotonic_time(:millisecond) + @patience) |> Enum.frequencies()

    for {{auditor, _pid}, id} <- chaos.audits do
      counts = for what <- [{3, tag(id)}, {4, id}], do: Map.get(told, {auditor, what}, 0)
      {nodes[id], reasons[id], counts}
    end
  end

  # All that auditors have said. The VM may tell one process of a node's end before it tells the next.
  defp flushed(auditors, least, notices, deadline) do
    for {pid, _id} <- auditors, do: Puppets.ask(pid, ?P, @barrier)
    {_none, notices} = heard(auditors, %{}, map_size(auditors), %{}, notices)

    if length(notices) >= least or System.monotonic_time(:millisecond) > deadline,
      do: notices,
      else: flushed(auditors, least, notices, deadline)
  end

  # Why workers have died, and what auditors have said, until so many have died or answered. All messages are taken as they come: there
  # are many.
  defp heard(_auditors, _monitors, 0, reasons, notices), do: {reasons, notices}

  defp heard(auditors, monitors, waiting, reasons, notices) do
    receive do
      {:DOWN, monitor, :process, _pid, reason} ->
        heard(auditors, monitors, waiting - 1, Map.put(reasons, monitors[monitor], reason), notices)

      {:tidepool, _pid, _tag, <<2, @barrier::little-64>>} ->
        heard(auditors, monitors, waiting - 1, reasons, notices)

      {:tidepool, pid, _tag, <<what, number::little-64>>} when what in [3, 4] and is_map_key(auditors, pid) ->
        heard(auditors, monitors, waiting, reasons, [{auditors[pid], {what, number}} | notices])

      {:tidepool, _pid, _tag, _bytes} ->
        heard(auditors, monitors, waiting, reasons, notices)
    after
      @patience -> raise "#{waiting} workers don't die, or auditors don't answer"
    end
  end
end
