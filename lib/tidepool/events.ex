defmodule Tidepool.Events do
  @moduledoc """
  What changes on this node and around it, as messages for the processes that subscribe.

  | `:event` | when | members beside `:event` and `:at` |
  | --- | --- | --- |
  | `:deployed` | a version can be called on this node, wherever it was deployed | `:name`, `:version`, `:tools` |
  | `:removed` | a function that could be called here was removed, on any node | `:name`, `:version`, `:tools` |
  | `:node_joined` | a node of the cluster can be reached that could not be before | `:node` |
  | `:node_left` | a node can't be reached any more, or is forgotten | `:node` |

  `:at` is when this node did or saw it, in seconds since 1970, UTC. `:tools` says whether the version, or the one before it, has
  exports that are tools of the Model Context Protocol, so that clients of it are to list them again. Each is told after it is true, and those of one function in
  the order of its changes. Who subscribes late has missed what was before; after a failure of the cluster's processes nodes are
  told to have joined again.

      Tidepool.Events.subscribe()
      receive do
        {:tidepool_event, %{event: :deployed, name: name}} -> IO.puts("\#{name} can be called")
      end
  """

  @type t ::
          %{event: :deployed | :removed, name: String.t(), version: pos_integer, tools: boolean, at: integer}
          | %{event: :node_joined | :node_left, node: String.t(), at: integer}

  @doc false
  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_argument), do: Registry.child_spec(keys: :duplicate, name: __MODULE__)

  @doc "Sends `{:tidepool_event, event}` to the calling process for each event from now on, until it ends."
  @spec subscribe :: :ok
  def subscribe, do: register(:all)

  @doc false
  # Sends `{:tidepool_change, entry}` for each change that is made on this node: what other nodes are to be told of.
  @spec subscribe_to_changes :: :ok
  def subscribe_to_changes, do: register(:changes)

  defp register(key) do
    {:ok, _registry} = Registry.register(__MODULE__, key, nil)
    :ok
  end

  @doc false
  @spec changed(Tidepool.Catalog.Entry.t()) :: :ok
  def changed(entry), do: dispatch(:changes, {:tidepool_change, entry})

  @doc false
  @spec deployed(String.t(), pos_integer, boolean) :: :ok
  def deployed(name, version, tools? \\ false),
    do: publish(%{event: :deployed, name: name, version: version, tools: tools?})

  @doc false
  @spec removed(String.t(), pos_integer, boolean) :: :ok
  def removed(name, version, tools? \\ false),
    do: publish(%{event: :removed, name: name, version: version, tools: tools?})

  @doc false
  @spec node_joined(String.t()) :: :ok
  def node_joined(node), do: publish(%{event: :node_joined, node: node})

  @doc false
  @spec node_left(String.t()) :: :ok
  def node_left(node), do: publish(%{event: :node_left, node: node})

  defp publish(event), do: dispatch(:all, {:tidepool_event, Map.put(event, :at, System.os_time(:second))})

  defp dispatch(key, message) do
    Registry.dispatch(__MODULE__, key, fn subscribers -> for {pid, _value} <- subscribers, do: send(pid, message) end)
  end
end
