defmodule Tidepool.Cluster do
  @moduledoc """
  What is deployed on one node is deployed on all of them, carried by distributed Erlang.

  A change is written down where it is made and answered then; a moment later the nodes that can be reached know of it,
  get the module by its hash from each other and compile it for themselves. Nodes that were apart agree when they meet
  again: of a name the later change counts on all of them. See docs/cluster.md for what is guaranteed, and
  `Tidepool.Cluster.Gossip` for how.
  """

  alias Tidepool.{Catalog, Config}
  alias Tidepool.Catalog.Entry
  alias Tidepool.Cluster.{Loads, Report, Server}

  @poll_ms 10
  @longest_poll_ms 40

  @typedoc "Whose being able to serve a version is waited for: this node's, more than half of all that can be reached, all."
  @type extent :: :local | :majority | :all

  @typedoc "Nodes that can serve a version, and those that can't (yet)."
  @type spread :: %{ready: [String.t()], pending: [String.t()]}

  @doc """
  The cluster as this node sees it.

  - `:node`, and `:distributed`: does it take part?
  - `:nodes`: those that can be reached, this one first: `:name`, `:links`, `:functions_pending` (how many it can't serve
    yet), `:catalog` (`:same` as here, `:other` or `:unknown`) and `:skew_ms` (how far its clock is ahead, where there is
    a link).
  - `:lost`: nodes that are known and can't be reached.
  - `:functions`: `:name`, `:version`, `:sha256`, and the nodes that can serve that version (`:ready`) or can't yet.
  - `:fetching`: what is on its way to this node: `:name`, `:version`, `:size`, `:state` and `:attempts`.
  """
  @spec status :: map
  def status do
    case view() do
      {:ok, view} ->
        Map.merge(describe(view), %{node: view.node, distributed: true, fetching: fetching()})

      _alone_or_restarting ->
        functions = for f <- Tidepool.list(), do: function(f, [to_string(node())], [])
        node = %{name: to_string(node()), links: [], functions_pending: 0, catalog: :same, skew_ms: 0}
        %{node: to_string(node()), distributed: false, nodes: [node], lost: [], functions: functions, fetching: []}
    end
  end

  @doc """
  Waits until so many of the reachable nodes can serve the version of `name` that this node has now, `timeout` ms at most.

  A version that is superseded meanwhile is not waited for any longer.
  """
  @spec wait(String.t(), extent, timeout :: non_neg_integer) :: {:ok | :timeout | :superseded, spread}
  def wait(name, extent, timeout) do
    case Catalog.loaded(name) do
      {:ok, stamp} -> poll(name, stamp, extent, System.monotonic_time(:millisecond) + timeout, @poll_ms)
      _gone -> {:superseded, %{ready: [], pending: []}}
    end
  end

  @doc "Has this node started a moment ago, and is still to learn what others have deployed?"
  @spec joining? :: boolean
  defdelegate joining?, to: Server

  defp poll(name, stamp, extent, deadline, pause) do
    case progress(name, stamp) do
      {known, progress} ->
        spread = spread(progress)
        left = deadline - System.monotonic_time(:millisecond)

        cond do
          enough?(extent, spread) and (known == :ok or extent == :local) ->
            {:ok, spread}

          left <= 0 ->
            {:timeout, spread}

          true ->
            Process.sleep(min(pause, left))
            poll(name, stamp, extent, deadline, min(2 * pause, @longest_poll_ms))
        end

      :superseded ->
        {:superseded, %{ready: [], pending: []}}
    end
  end

  # This node has it: that is where it was deployed. `:joining` says that who else is there is still being found out.
  defp progress(name, stamp) do
    own = %{to_string(node()) => :ready}

    case server(fn -> Server.progress(name, stamp) end) do
      {known, progress} -> {known, Map.merge(progress, own)}
      :alone -> {:ok, own}
      :restarting -> {:joining, own}
      :superseded -> :superseded
    end
  end

  defp spread(progress) do
    {ready, pending} = Enum.split_with(progress, fn {_node, state} -> state == :ready end)
    %{ready: Enum.map(ready, &elem(&1, 0)), pending: Enum.map(pending, &elem(&1, 0))}
  end

  defp enough?(:local, _spread), do: true
  defp enough?(:all, spread), do: spread.pending == []
  defp enough?(:majority, spread), do: length(spread.ready) > length(spread.pending)

  defp view, do: server(&Server.view/0)

  # What fails in the cluster's process is not to fail who asks.
  defp server(question) do
    if Config.get(:cluster), do: question.(), else: :alone
  catch
    :exit, _gone_or_late -> :restarting
  end

  defp fetching do
    for %{entry: entry} = job <- Loads.list() do
      %{name: entry.name, version: entry.version, size: entry.size, state: job.state, attempts: job.attempts}
    end
  catch
    :exit, _gone_or_late -> []
  end

  defp describe(view) do
    live = for entry <- view.entries, not entry.removed, do: {entry, Entry.hash(entry)}
    others = view.live |> Map.delete(view.node) |> Enum.sort()
    all = [{view.node, view.live[view.node]} | others]

    functions =
      for {entry, hash} <- live do
        {ready, pending} = Enum.split_with(all, fn {_node, report} -> ready?(report, hash, view.root) end)
        function(entry, Enum.map(ready, &elem(&1, 0)), Enum.map(pending, &elem(&1, 0)))
      end

    nodes =
      for {name, report} <- all do
        %{
          name: name,
          links: if(report, do: report.links, else: []),
          functions_pending: if(report, do: length(report.pending)),
          catalog: catalog(report, view.root),
          skew_ms: if(name == view.node, do: 0, else: view.skews[name])
        }
      end

    %{nodes: nodes, lost: Enum.sort(view.lost), functions: Enum.sort_by(functions, & &1.name)}
  end

  defp ready?(nil, _hash, _root), do: false
  defp ready?(report, hash, root), do: Report.progress(report, hash, root) == :ready

  defp catalog(nil, _root), do: :unknown
  defp catalog(%{root: root}, root), do: :same
  defp catalog(_report, _root), do: :other

  defp function(function, ready, pending) do
    %{name: function.name, version: function.version, sha256: function.sha256, ready: ready, pending: pending}
  end
end
