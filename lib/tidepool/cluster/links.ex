defmodule Tidepool.Cluster.Links do
  @moduledoc """
  The links of a node: made, watched and ended. State and effects of the process `Tidepool.Cluster.Server`, which
  hands the messages about links to here and what follows from them, `t:event/0`, to gossip.

  A link is one of distributed Erlang, made as a hidden one: `global` looks at visible links only, so it neither completes
  the mesh nor cuts it, whatever flags the VM was started with. Links that the application has made are used as well, and
  never cut.

  A handshake is a hello and its answer. A hello says whether the edge of its node is *open*: it takes changes from anybody, for
  it has no token. Open nodes link with open ones, and all others with each other, so that no chain of links leads from the ones
  to the others, and nothing that nodes exchange has to be sorted.

  It says as well which version of the protocol (`Tidepool.Cluster.Wire`) the node has. A node of the first one says
  hello without a word about either, and takes no other hellos: it is asked about its edge
  (`Tidepool.Cluster.Links.FirstVersion`), and answered likewise if it is to be linked with.

  A node counts as a peer when its `Server` has answered a hello, until that process or the link is gone, as the VM's
  monitor tells. Messages are sent so that nobody waits for a slow link and none makes a new one (`Tidepool.Nodes.Post`);
  what is lost that way is repaired by gossip. Connecting, which may take seconds, is done in tasks.
  """

  require Logger

  alias Tidepool.Config
  alias Tidepool.Cluster.Links.{Backoff, FirstVersion}
  alias Tidepool.Nodes.Post

  # A link whose other side answers none of these leads to a node that does not run Tidepool.
  @hellos 3
  @hello_ms 1_000
  @max_connecting 8
  # Atoms are never freed, and names of nodes come from peers.
  @max_names 10_000

  # {node}: the peers.
  @table __MODULE__

  # The name of the process whose state this is, here as elsewhere. Is this node's edge open? Its version of the protocol. Names
  # of nodes as atoms; monitors of peers, and the versions that they have; handshakes that wait for their answer; nodes that were asked
  # about their edges; connection attempts.
  @enforce_keys [:server, :open?, :version]
  defstruct @enforce_keys ++
              [
                nodes: %{},
                peers: %{},
                versions: %{},
                handshakes: %{},
                asked: MapSet.new(),
                connecting: MapSet.new(),
                backoff: Backoff.new()
              ]

  @typedoc """
  How a link came about: it was made here; it was there when one was to be made here; or another node made it.
  """
  @type origin :: :made | :found | :met

  @type handshake :: %{ref: reference, left: non_neg_integer, origin: origin}
  @type t :: %__MODULE__{
          server: module,
          open?: boolean,
          version: pos_integer,
          nodes: %{String.t() => node},
          peers: %{String.t() => reference},
          versions: %{String.t() => pos_integer},
          handshakes: %{String.t() => handshake},
          asked: MapSet.t(String.t()),
          connecting: MapSet.t(String.t()),
          backoff: Backoff.t()
        }

  @typedoc "What a hello says of its node."
  @type hello :: %{:open => boolean, optional(:version) => pos_integer}

  @type event :: {:up, String.t()} | {:down, String.t()} | {:failed, String.t()}

  @doc "The nodes that this one is linked with now and that run Tidepool."
  @spec linked :: [node]
  def linked do
    for {node} <- :ets.tab2list(@table), do: node
  rescue
    # There is no cluster.
    ArgumentError -> []
  end

  @doc """
  No links yet of the calling process, whose name is `server`, of a node with this version of the protocol. It keeps the table
  of peers.
  """
  @spec new(server :: module, open? :: boolean, version :: pos_integer) :: t
  def new(server, open?, version) do
    :ets.new(@table, [:named_table, :protected, read_concurrency: true])
    %__MODULE__{server: server, open?: open?, version: version}
  end

  @doc "Is the node of this name a peer?"
  @spec peer?(t, String.t()) :: boolean
  def peer?(links, name), do: is_map_key(links.peers, name)

  @doc "The version of the protocol that a peer has."
  @spec version(t, String.t()) :: pos_integer
  def version(links, name), do: Map.fetch!(links.versions, name)

  @doc "How many peers there are."
  @spec count(t) :: non_neg_integer
  def count(links), do: map_size(links.peers)

  @doc "The node of this name, if there was a link to it."
  @spec node_of(t, String.t()) :: node | nil
  def node_of(links, name), do: links.nodes[name]

  @doc "Is nobody there, and none of `names` to be reached?"
  @spec alone?(t, [String.t()]) :: boolean
  def alone?(links, names) do
    links.peers == %{} and links.handshakes == %{} and MapSet.size(links.connecting) == 0 and
      Enum.all?(names, &Backoff.failed?(links.backoff, &1))
  end

  @doc "Sends a message of gossip to a peer; to anybody else nothing."
  @spec send_to(t, String.t(), binary) :: sent? :: boolean
  def send_to(links, name, bytes) do
    peer?(links, name) and Post.deliver({links.server, links.nodes[name]}, {:tidepool_cluster, self(), bytes}) == :ok
  end

  @doc "Begins to make a link, of which the message `{:connected, name, :made | :found | :failed}` tells later."
  @spec connect(t, String.t()) :: {t, [event]}
  def connect(links, name) do
    cond do
      peer?(links, name) or MapSet.member?(links.connecting, name) ->
        {links, []}

      MapSet.size(links.connecting) >= @max_connecting or not Backoff.due?(links.backoff, name, monotonic()) ->
        {links, [{:failed, name}]}

      true ->
        case named(links, name) do
          {:ok, node} ->
            server = self()

            {:ok, _task} =
              Task.Supervisor.start_child(Tidepool.Cluster.Tasks, fn ->
                send(server, {:connected, name, make(node)})
              end)

            nodes = Map.put(links.nodes, name, node)
            {%{links | connecting: MapSet.put(links.connecting, name), nodes: nodes}, []}

          :error ->
            {links, [{:failed, name}]}
        end
    end
  end

  # Connecting says the same of a link that is there already, which may be an observer's.
  defp make(node) do
    found? = node in Node.list(:connected)

    case :net_kernel.hidden_connect_node(node) do
      true when found? -> :found
      true -> :made
      _refused -> :failed
    end
  end

  @doc "What came of connecting; `why` says what is known of the node if nothing did."
  @spec connected(t, String.t(), :made | :found | :failed, :configured | :guessed) :: {t, [event]}
  def connected(links, name, outcome, why) do
    links = %{links | connecting: MapSet.delete(links.connecting, name)}

    cond do
      peer?(links, name) -> {links, []}
      outcome == :failed -> failed(links, name, why)
      true -> {handshake(links, links.nodes[name], outcome), []}
    end
  end

  @doc "Begins the handshake with the node at the other end of a link, unless that is done."
  @spec handshake(t, node, origin) :: t
  def handshake(links, node, origin \\ :met) do
    name = to_string(node)

    cond do
      peer?(links, name) ->
        links

      is_map_key(links.handshakes, name) ->
        if origin == :met, do: links, else: put_in(links.handshakes[name].origin, origin)

      true ->
        links = %{links | nodes: Map.put(links.nodes, name, node)}
        send_hello(links, name, %{ref: make_ref(), left: @hellos - 1, origin: origin})
    end
  end

  @doc "Another node begins a handshake. It gets its answer in any case."
  @spec accept(t, pid, reference, hello) :: {t, [event]}
  def accept(links, pid, ref, hello) do
    Post.deliver(pid, {:tidepool_hello, ref, self(), hello(links)})
    if hello.open == links.open?, do: link(links, pid, spoken(hello)), else: {links, []}
  end

  @doc """
  A node of the protocol's first version begins a handshake. The message `{:told, pid, ref, answer}` says later what it answers
  when it is asked about its edge.
  """
  @spec ask(t, pid, reference) :: t
  def ask(links, pid, ref) do
    name = to_string(node(pid))

    if peer?(links, name) or MapSet.member?(links.asked, name) or MapSet.size(links.asked) >= @max_connecting do
      links
    else
      server = self()

      {:ok, _task} =
        Task.Supervisor.start_child(Tidepool.Cluster.Tasks, fn ->
          send(server, {:told, pid, ref, FirstVersion.open?(node(pid))})
        end)

      %{links | asked: MapSet.put(links.asked, name)}
    end
  end

  @doc "A node of the protocol's first version has told of its edge, or has not. It gets its answer if it is to be linked with."
  @spec told(t, pid, reference, {:ok, open? :: boolean} | :error) :: {t, [event]}
  def told(links, pid, ref, answer) do
    links = %{links | asked: MapSet.delete(links.asked, to_string(node(pid)))}

    if answer == {:ok, links.open?} do
      Post.deliver(pid, {:tidepool_hello, ref, self()})
      link(links, pid, 1)
    else
      {links, []}
    end
  end

  @doc "A hello was answered."
  @spec answered(t, pid, reference, hello) :: {t, [event]}
  def answered(links, pid, ref, %{open: open?} = hello) do
    name = to_string(node(pid))

    case links.handshakes do
      %{^name => %{ref: ^ref}} when open? == links.open? -> link(links, pid, spoken(hello))
      %{^name => %{ref: ^ref} = handshake} -> unlinked(links, name, handshake, :apart)
      _late -> {links, []}
    end
  end

  @doc "A hello was not answered in time."
  @spec unanswered(t, String.t(), reference) :: {t, [event]}
  def unanswered(links, name, ref) do
    case links.handshakes do
      %{^name => %{ref: ^ref, left: 0} = handshake} ->
        unlinked(links, name, handshake, :stranger)

      %{^name => %{ref: ^ref} = handshake} ->
        {send_hello(links, name, %{handshake | left: handshake.left - 1}), []}

      _answered ->
        {links, []}
    end
  end

  @doc "The monitor of a peer tells of its end."
  @spec down(t, reference, pid, term) :: {t, [event]}
  def down(links, monitor, pid, reason) do
    name = to_string(node(pid))

    case links.peers do
      %{^name => ^monitor} ->
        :ets.delete(@table, node(pid))
        Logger.info("the link to #{name} is gone (#{inspect(reason)})", tidepool_node: name)
        links = %{links | peers: Map.delete(links.peers, name), versions: Map.delete(links.versions, name)}
        # Its process has ended and the link has not: it may come back.
        {if(reason == :noconnection, do: links, else: handshake(links, node(pid))), [{:down, name}]}

      _other ->
        {links, []}
    end
  end

  @doc "Ends a link, if it is one of those that are made here."
  @spec disconnect(t, String.t()) :: :ok
  def disconnect(links, name) do
    with {:ok, node} <- Map.fetch(links.nodes, name), true <- node in Node.list(:hidden), do: Node.disconnect(node)
    :ok
  end

  # A link that was not made here is left alone: a shell's, say.
  defp unlinked(links, name, handshake, why) do
    links = %{links | handshakes: Map.delete(links.handshakes, name)}
    if handshake.origin == :made, do: disconnect(links, name)
    if handshake.origin == :met, do: {links, []}, else: failed(links, name, why)
  end

  defp failed(links, name, why) do
    {%{links | backoff: Backoff.failed(links.backoff, name, why, monotonic())}, [{:failed, name}]}
  end

  defp send_hello(links, name, handshake) do
    Post.deliver({links.server, links.nodes[name]}, {:tidepool_hello, self(), handshake.ref, hello(links)})
    Process.send_after(self(), {:unanswered, name, handshake.ref}, @hello_ms)
    put_in(links.handshakes[name], handshake)
  end

  defp hello(links), do: %{open: links.open?, version: links.version}

  # Nodes of versions 2 and 3 did not tell.
  defp spoken(%{version: version}) when is_integer(version), do: max(version, 2)
  defp spoken(_hello), do: 3

  defp link(links, pid, version) do
    node = node(pid)
    name = to_string(node)

    if peer?(links, name) do
      {links, []}
    else
      :ets.insert(@table, {node})
      earlier = if version < links.version, do: ", which has version #{version} of the cluster's protocol"
      Logger.info("linked with #{name}#{earlier}", tidepool_node: name)

      links = %{
        links
        | peers: Map.put(links.peers, name, Process.monitor(pid)),
          versions: Map.put(links.versions, name, version),
          nodes: Map.put(links.nodes, name, node),
          handshakes: Map.delete(links.handshakes, name),
          backoff: Backoff.met(links.backoff, name)
      }

      {links, [{:up, name}]}
    end
  end

  defp named(%{nodes: nodes}, name) do
    case nodes do
      %{^name => node} ->
        {:ok, node}

      _new ->
        if map_size(nodes) < @max_names and Config.node_name?(name), do: {:ok, String.to_atom(name)}, else: :error
    end
  end

  defp monotonic, do: System.monotonic_time(:millisecond)
end
