defmodule Tidepool.Cluster do
  @moduledoc """
  What is deployed on one node is deployed on all of them, carried by distributed Erlang.

  A change is written down where it is made and answered then; a moment later the nodes that can be reached know of it,
  get the module by its hash from each other and compile it for themselves. Nodes that were apart agree when they meet
  again: of a name the later change counts on all of them. See docs/cluster.md for what is guaranteed, and
  `Tidepool.Cluster.Gossip` for how.
  """

  alias Tidepool.{Catalog, Config, Error, Function, Log, Options}
  alias Tidepool.Actor
  alias Tidepool.Catalog.{Arrivals, Entry, Origin, State}
  alias Tidepool.Cluster.{Reconciler, Report, Server}
  alias Tidepool.Cluster.Report.Spread
  alias Tidepool.Function.Spec
  alias Tidepool.Log.Change

  # Between two questions to a process that is being restarted.
  @again_ms 20
  # Timers have a largest time, and what is beyond it is not to reach the cluster's process.
  @longest_ms Spec.longest_wait_ms()

  @metrics [
    nodes_linked: "Nodes that this node exchanges messages with",
    nodes_alive: "Nodes that can be reached, this one included",
    nodes_lost: "Nodes that were there within a day, can't be reached and are not forgotten",
    functions_pending: "Functions of the cluster that this node can't serve yet",
    loads: "Modules that are on their way to this node",
    messages_sent: "Messages sent to other nodes",
    bytes_sent: "Bytes of the messages sent to other nodes, modules not included",
    messages_received: "Messages received from other nodes",
    bytes_received: "Bytes of the messages received from other nodes, modules not included"
  ]

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
  - `:apart`: nodes that were met and not linked with, since anybody can change what is deployed on the ones and not on the
    others: see `Tidepool.Cluster.Links`.
  - `:withheld`: functions of this node that are not shared, since anybody could deploy them before it had a token.
  - `:functions`: `:name`, `:version`, `:sha256`, and the nodes that can serve that version (`:ready`) or can't yet.
  - `:fetching`: what is on its way to this node: `:name`, `:version`, `:size`, `:state` and `:attempts`.
  - `:actors`: who has actors' shards, where nodes share a store for them: `:nodes` with `:name`, `:shards` and `:lease_ms`,
    `:unowned` and, for how long, `:unowned_ms`, and `:moving`, what this node hands to another. `nil` elsewhere.
  - `:members`: names of the nodes that keep actors together, as far as this one knows; `nil` when it keeps none with others. How they are is for
    `Tidepool.Actor.Members.list/0` to say.
  """
  @spec status :: map
  def status, do: Map.merge(%{actors: Actor.placement(), members: Actor.Members.known()}, seen(view()))

  defp seen({:ok, view}) do
    Map.merge(
      %{node: view.node, distributed: true, apart: view.apart, withheld: withheld(), fetching: fetching()},
      describe(view)
    )
  end

  defp seen(_alone_or_restarting) do
    name = to_string(node())
    here = for f <- Catalog.briefs(), do: function(f, [name], [])
    pending = for entry <- Catalog.unavailable(), do: function(entry, [], [name])
    functions = Enum.sort_by(here ++ pending, & &1.name)
    node = %{name: name, links: [], functions_pending: length(pending), catalog: :same, skew_ms: 0}
    nothing = %{lost: [], apart: [], withheld: [], fetching: []}
    Map.merge(nothing, %{node: name, distributed: false, nodes: [node], functions: functions})
  end

  @doc """
  Waits until so many of the reachable nodes can serve a function, `timeout` ms at most, of 3,600,000: the version that a deploy
  has returned, or of a name the one that this node has now.

  A version that is superseded meanwhile is not waited for any longer.
  """
  @spec wait(Function.t() | String.t(), extent, timeout :: non_neg_integer) :: {:ok | :timeout | :superseded, spread}
  def wait(function, extent, timeout) do
    name = with %Function{name: name} <- function, do: name
    is_binary(name) || Options.wrong!("Tidepool.Cluster.wait/3: the function", "one, or its name, a string", function)

    extent in [:local, :majority, :all] ||
      Options.wrong!("Tidepool.Cluster.wait/3: the extent", ":local, :majority or :all", extent)

    (is_integer(timeout) and timeout in 0..@longest_ms) ||
      Options.wrong!("Tidepool.Cluster.wait/3: the timeout", "a number of ms from 0 to #{@longest_ms}", timeout)

    case Catalog.stamp(function) do
      {:ok, stamp} -> await(name, stamp, extent, System.monotonic_time(:millisecond) + timeout)
      :none -> {:superseded, Spread.nowhere()}
    end
  end

  @doc """
  Has all nodes forget one that is gone for good: it is not `lost` any more, and not tried again. When it comes back it joins as
  any other.

  Errors have the reason `:node_reachable`, `:unknown_node`, or `:unavailable` for a moment after the cluster's processes have
  failed.
  """
  @spec forget(node | String.t()) :: :ok | {:error, Error.t()}
  def forget(name), do: forget(name, :elixir)

  @doc false
  @spec forget(node | String.t(), Origin.t()) :: :ok | {:error, Error.t()}
  def forget(name, origin) do
    is_binary(name) or (is_atom(name) and name != nil) ||
      Options.wrong!("Tidepool.Cluster.forget/1: the node", "its name, an atom or a string", name)

    name = to_string(name)

    case forget_and_note(name, origin) do
      :ok ->
        :ok

      :reachable ->
        {:error, Error.new(:node_reachable, "#{name} can be reached: stop it first, and it is lost")}

      :restarting ->
        {:error, Error.new(:unavailable, "the cluster's processes are being restarted: ask again")}

      _unknown_or_alone ->
        {:error, Error.new(:unknown_node, "#{inspect(name)} is not among the nodes that this node has lost")}
    end
  end

  defp forget_and_note(name, origin) do
    Change.make(fn ->
      with :ok <- server(fn -> Server.forget(name) end), do: Log.changed(:node_forgotten, name, origin)
    end)
  end

  @doc "Figures for the metrics, as name, meaning and value; those of a node on its own while there is no cluster."
  @spec metrics :: [{name :: String.t(), help :: String.t(), integer}]
  def metrics do
    figures =
      case server(&Server.figures/0) do
        {:ok, figures} -> [{:loads, Arrivals.count()} | figures]
        _alone_or_restarting -> [nodes_alive: 1]
      end

    for {name, help} <- @metrics, do: {"tidepool_cluster_#{name}", help, Keyword.get(figures, name, 0)}
  end

  @doc "Has this node started a moment ago, and is still to learn what others have deployed?"
  @spec joining? :: boolean
  defdelegate joining?, to: Arrivals

  # This node has it: that is where it was deployed.
  defp await(name, stamp, extent, deadline) do
    left = max(deadline - System.monotonic_time(:millisecond), 0)
    own = %{to_string(node()) => :ready}

    case server(fn -> Server.await(name, stamp, extent, left) end) do
      :alone ->
        {:ok, Spread.of(own)}

      :restarting when left == 0 ->
        {:timeout, Spread.of(own)}

      :restarting ->
        Process.sleep(min(@again_ms, left))
        await(name, stamp, extent, deadline)

      answer ->
        answer
    end
  end

  defp view, do: server(&Server.view/0)

  # What fails in the cluster's process is not to fail who asks.
  defp server(question) do
    if Config.get(:cluster), do: question.(), else: :alone
  catch
    :exit, _gone_or_late -> :restarting
  end

  defp withheld do
    open? = Config.open?(%{server: Config.get(:server), token: Config.get(:token)})
    for function <- Catalog.briefs(), Entry.withheld?(function, open?), do: function.name
  end

  defp fetching do
    for %{entry: entry} = job <- Reconciler.list() do
      %{name: entry.name, version: entry.version, size: entry.size, state: job.state, attempts: job.attempts}
    end
  catch
    :exit, _gone_or_late -> []
  end

  defp describe(view) do
    root = view.root
    live = for {name, hash, found} <- view.functions, entry = entry(name, found), do: {entry, hash}
    others = view.live |> Map.delete(view.node) |> Enum.sort()
    all = [{view.node, view.live[view.node]} | others]

    functions =
      for {entry, hash} <- live do
        {ready, pending} = Enum.split_with(all, fn {_node, report} -> ready?(report, hash, root) end)
        function(entry, Enum.map(ready, &elem(&1, 0)), Enum.map(pending, &elem(&1, 0)))
      end

    nodes =
      for {name, report} <- all do
        %{
          name: name,
          links: if(report, do: report.links, else: []),
          functions_pending: if(report, do: length(report.pending)),
          catalog: catalog(report, root),
          skew_ms: if(name == view.node, do: 0, else: view.skews[name])
        }
      end

    %{nodes: nodes, lost: Enum.sort(view.lost), functions: Enum.sort_by(functions, & &1.name)}
  end

  defp entry(_name, %{} = held), do: held

  defp entry(name, stamp) do
    case Catalog.entry(name) do
      %{stamp: ^stamp} = entry -> State.listed(entry)
      _later_or_none -> nil
    end
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
