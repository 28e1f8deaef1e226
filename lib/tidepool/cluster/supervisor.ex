defmodule Tidepool.Cluster.Supervisor do
  @moduledoc """
  The processes of the cluster. What crashes here is restarted here: calls on this node go on.

      BlobServer  hands modules out
      Tasks       connecting, looking for nodes: whatever may take long
      Server      membership and gossip; knows the links
      Reconciler  brings what others have deployed to where it can be called
      Processes   starts processes of other nodes' programs, and knows which nodes there are
      NameServer  keeps names of this node's programs for their processes on others
  """

  use Supervisor

  alias Tidepool.Cluster.{Links, Processes, Reconciler, Server}
  alias Tidepool.Cluster.Transfer.BlobServer
  alias Tidepool.Process.NameServer

  @doc false
  def start_link(config), do: Supervisor.start_link(__MODULE__, config, name: __MODULE__)

  @impl true
  def init(config) do
    children = [
      BlobServer,
      {Task.Supervisor, name: Tidepool.Cluster.Tasks},
      {Server, config},
      {Reconciler, Server},
      Processes,
      {NameServer, &Links.linked/0}
    ]

    Supervisor.init(children, strategy: :rest_for_one, max_restarts: 10, max_seconds: 10)
  end
end
