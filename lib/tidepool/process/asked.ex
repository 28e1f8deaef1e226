defmodule Tidepool.Process.Asked do
  @moduledoc """
  Which questions of other nodes are looked at: those of nodes that are known, by the version of the protocol that this node has. A
  node that asks by another version, or in a way that can't be read, is named once in the log.
  """

  alias Tidepool.Log.Once
  alias Tidepool.Process.Nodes

  @enforce_keys [:what, :version]
  defstruct @enforce_keys ++ [logged: Once.new()]

  @opaque t :: %__MODULE__{what: String.t(), version: pos_integer, logged: Once.t()}

  @doc "Of a protocol of this version, by which nodes ask for `what`."
  @spec new(what :: String.t(), version :: pos_integer) :: t
  def new(what, version), do: %__MODULE__{what: what, version: version}

  @doc """
  Is a question to be looked at? `more` are the names of further nodes that are known: one that has just joined may know of this node
  before this one knows of it.
  """
  @spec admit(t, node, version :: term, more :: (() -> [String.t() | node])) :: {:ok | :ignore, t}
  def admit(%{version: version} = asked, node, version, more) do
    known? = Nodes.known?(node) or Enum.any?(more.(), &(to_string(&1) == to_string(node)))
    {if(known?, do: :ok, else: :ignore), asked}
  end

  def admit(asked, node, version, _more) when is_integer(version),
    do: {:ignore, warn(asked, node, {:version, version}, "by version #{version}, and this node has #{asked.version}")}

  def admit(asked, _node, _no_version, _more), do: {:ignore, asked}

  @doc "Notes that a question can't be read."
  @spec unreadable(t, node) :: t
  def unreadable(asked, node), do: warn(asked, node, :unreadable, "in a way that this node can't read")

  defp warn(asked, node, why, text) do
    text = "#{node} asks for #{asked.what} #{text}: it is ignored"
    %{asked | logged: Once.warn(asked.logged, to_string(node), {node, why}, text)}
  end
end
