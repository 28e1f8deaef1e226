defmodule Tidepool.Growth do
  @moduledoc """
  Programs that take one resource until they are refused: `guests/growth`. What is here runs on the node that has them, but for
  `prepare/1`.
  """

  alias Tidepool.{FaultFootprint, Peer}

  @quota 64 * 1024 * 1024
  @instances 40
  @queue 10

  # How long a program does nothing that waits for good.
  @still_ms 500
  # A guest that grows and grows would never be still.
  @most_ms 120_000
  # How often the node's memory is looked at.
  @sample_ms 20

  # How often it is looked whether all is given back.
  @look_ms 5

  @typedoc """
  How programs ended that have, how many wait, of which resources their function has more then than before they took any, how many
  bytes the node has grown by at most, and how long it took from when they were killed until their function had nothing any more.
  """
  @type outcome :: %{
          ended: [{term, String.t()}],
          waiting: non_neg_integer,
          grown: [String.t()],
          bytes: integer,
          given_back_ms: non_neg_integer
        }

  @doc "Bytes of memory that each of the namespaces may have."
  @spec quota :: pos_integer
  def quota, do: @quota

  @doc "The setting `namespaces`."
  @spec namespaces :: String.t()
  def namespaces do
    Enum.map_join([{"tenant", @instances}, {"crowd", 400}], ",", fn {namespace, instances} ->
      "#{namespace}/memory=#{@quota},#{namespace}/instances=#{instances},#{namespace}/queue=#{@queue}"
    end)
  end

  @doc "Instances that `tenant` may have, and calls that may wait for one."
  @spec instances :: {pos_integer, queue :: pos_integer}
  def instances, do: {@instances, @queue}

  @doc "Deploys the programs."
  @spec prepare(%Peer{}) :: :ok
  def prepare(node) do
    limits = [memory: 16 * 1024 * 1024]
    Peer.deploy!(node, "wat", "grows", name: "tenant/grows", limits: limits, net: ["udp:*:*"], files: ["/data=memory"])
    Peer.deploy!(node, "wat", "ties", name: "crowd/ties", limits: limits, engine: :dense)
    :ok
  end

  @doc "Whose programs take what a row says, and how many of them do: `count`, or one that has a crowd of processes."
  @spec programs(what :: String.t(), count :: pos_integer) :: {name :: String.t(), pos_integer}
  def programs("links and monitors", _count), do: {"crowd/ties", 1}
  def programs(_what, count), do: {"tenant/grows", count}

  @doc """
  Has so many programs of a function run this entry at once, until each has ended or waits; then kills them, and waits until all is
  given back.
  """
  @spec grow(String.t(), String.t(), pos_integer) :: outcome
  def grow(name, entry, count) do
    sampler = sample()
    parent = self()

    runners =
      for _program <- 1..count, into: %{} do
        {pid, monitor} = spawn_monitor(fn -> run(parent, name, entry) end)
        {monitor, pid}
      end

    programs =
      for {monitor, pid} <- runners, into: %{} do
        receive do
          {:started, ^pid, program} -> {monitor, program}
        end
      end

    before = held(name)
    # None takes what another begins with.
    for {_monitor, program} <- programs, do: send(program, {:tidepool, 0, "go"})
    {programs, ended} = settle(name, programs, [], nil, System.monotonic_time(:millisecond) + @most_ms)
    bytes = sampled(sampler)
    grown = for {resource, now} <- held(name), now > Map.get(before, resource, 0), do: resource
    killed = System.monotonic_time(:millisecond)

    for {monitor, _program} <- programs do
      Process.exit(runners[monitor], :kill)

      receive do
        {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
      end
    end

    outcome = %{ended: ended, waiting: map_size(programs), grown: grown, bytes: bytes}
    Map.put(outcome, :given_back_ms, given_back_ms(killed, [name]))
  end

  @doc "Waits until these functions have nothing: how long that was since a moment of the node's own clock, in ms."
  @spec given_back_ms(since :: integer, [String.t()]) :: non_neg_integer
  def given_back_ms(since, names) do
    ms = System.monotonic_time(:millisecond) - since
    held = for name <- names, held = held(name), held != %{}, do: {name, held}

    cond do
      held == [] ->
        ms

      ms > @most_ms ->
        raise "after #{ms} ms there is still #{inspect(held)}"

      true ->
        receive do
        after
          @look_ms -> given_back_ms(since, names)
        end
    end
  end

  @doc "Begins to look at how many bytes this node has."
  @spec sample :: pid
  def sample do
    spawn(fn ->
      :erlang.garbage_collect()
      before = FaultFootprint.resident_bytes()
      peak(before, before)
    end)
  end

  @doc "By how many bytes the node has grown at most since `sample/0`."
  @spec sampled(pid) :: integer
  def sampled(sampler) do
    send(sampler, {:stop, self()})

    receive do
      {^sampler, bytes} -> bytes
    end
  end

  defp peak(most, before) do
    receive do
      {:stop, asker} -> send(asker, {self(), most - before})
    after
      @sample_ms -> most |> max(FaultFootprint.resident_bytes()) |> peak(before)
    end
  end

  # The program of a process that is killed is killed with it.
  defp run(parent, name, entry) do
    Process.flag(:trap_exit, true)
    {:ok, program} = Tidepool.Process.start_link(name, ["grows"], entry: entry)
    send(parent, {:started, self(), program})

    receive do
      {:EXIT, ^program, {%Tidepool.Error{reason: reason, message: message}, _stack}} -> exit({reason, message})
      {:EXIT, ^program, reason} -> exit({reason, ""})
    end
  end

  defp settle(name, programs, ended, last, deadline) do
    receive do
      {:DOWN, monitor, :process, _pid, reason} ->
        settle(name, Map.delete(programs, monitor), [reason | ended], nil, deadline)
    after
      @still_ms ->
        # Whatever a guest does is done by its process. Those of a crowd have more and more meanwhile.
        now = for {_monitor, program} <- programs, do: Process.info(program, [:reductions, :status])
        seen = {now, held(name)}
        # On a busy machine they may have their turn yet.
        waits? = Enum.all?(now, &(&1[:status] == :waiting)) and :erlang.statistics(:total_run_queue_lengths) == 0
        late? = System.monotonic_time(:millisecond) > deadline

        cond do
          seen == last and waits? -> {programs, ended}
          late? -> raise "after #{@most_ms} ms programs go on: #{inspect(seen)}"
          true -> settle(name, programs, ended, seen, deadline)
        end
    end
  end

  @doc "What a function has, by the metrics, beside its code."
  @spec held(String.t()) :: %{String.t() => integer}
  def held(name) do
    for [_all, resource, value] <-
          Regex.scan(~r/^tidepool_held\{function="#{Regex.escape(name)}",resource="(\w+)"\} (\d+)/m, metrics()),
        resource != "code",
        into: %{},
        do: {resource, String.to_integer(value)}
  end

  defp metrics, do: IO.iodata_to_binary(Tidepool.Native.metrics(Tidepool.Engine.runtime(), [], []))
end
