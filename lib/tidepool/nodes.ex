defmodule Tidepool.Nodes do
  @moduledoc """
  The nodes that programs may be on, and their numbers.

  A node's number follows from its name, so it is the same wherever it is asked for, and whatever happens to the node. It has 19
  bits, for the numbers of processes hold it above 44 bits of their own. Where two names have one number neither node is there
  for the other nodes' programs, and the log says so: a program's messages must not go astray.

  The module that knows the cluster says which nodes there are (`set/1`); without one, this node is the only one.
  """

  import Bitwise

  require Logger

  alias Tidepool.{Engine, Native}
  alias Tidepool.Nodes.Post

  # {node}: those whose links programs use.
  @held __MODULE__
  @bits 19
  # Bits of a process's number within its node.
  @own_bits 44

  @typedoc "A node's number, or the whole one of a process."
  @type id :: pos_integer

  @doc """
  The number of a node.

      iex> Tidepool.Nodes.number(:"a@127.0.0.1") == Tidepool.Nodes.number("a@127.0.0.1")
      true
  """
  @spec number(node | String.t()) :: id
  def number(node \\ node()), do: node |> to_string() |> :erlang.phash2((1 <<< @bits) - 1) |> Kernel.+(1)

  @doc "The number of the node that a process's number holds; 0 is the one where the program began."
  @spec of(non_neg_integer) :: non_neg_integer
  def of(id), do: id >>> @own_bits

  @doc "Says which other nodes there are, by their names."
  @spec set([String.t()]) :: :ok
  def set(names) do
    own = to_string(node())
    {alone, alike} = [own | names] |> Enum.uniq() |> Enum.group_by(&number/1) |> Enum.split_with(&match?({_, [_]}, &1))
    there = for {number, [name]} <- alone, name != own, into: %{}, do: {number, name}

    if there != all() do
      for {number, names} <- alike do
        names = Enum.join(names, " and ")
        Logger.warning("#{names} have the same number (#{number}), so programs reach neither: give one another name")
      end

      :persistent_term.put(__MODULE__, there)
    end

    # The native library may be another one than before.
    Native.set_nodes(Engine.runtime(), Map.keys(there))
  end

  @doc "Forgets which there are: the module that knows the cluster is about to say it."
  @spec clear :: :ok
  def clear do
    :persistent_term.erase(__MODULE__)
    Native.set_nodes(Engine.runtime(), [])
  end

  @doc "The names of the other nodes, by their numbers."
  @spec all :: %{id => String.t()}
  def all, do: :persistent_term.get(__MODULE__, %{})

  @doc "Is it another node that programs may be on?"
  @spec known?(node) :: boolean
  def known?(node) do
    name = to_string(node)
    Map.get(all(), number(name)) == name
  end

  @doc "The node with this number, linked with this one from now on; `nil` when there is none, or it can't be reached."
  @spec reach(id) :: node | nil
  def reach(number) do
    with %{^number => name} <- all(), node = String.to_atom(name), true <- linked?(node) or link(node) do
      hold(node)
      node
    else
      _none -> nil
    end
  end

  @doc "Makes the tables of links that programs use, and of messages that wait, for as long as the caller lives."
  @spec new :: :ok
  def new do
    if :ets.whereis(@held) == :undefined, do: :ets.new(@held, [:named_table, :public, read_concurrency: true])
    Post.new()
  end

  @doc "A program of this node, or of that one, has processes on the other: the link between them is not to be cut."
  @spec hold(node) :: :ok
  def hold(node) do
    unless :ets.member(@held, node), do: :ets.insert(@held, {node})
    :ok
  end

  @doc "Does a program use the link with the node of this name?"
  @spec held?(String.t()) :: boolean
  def held?(name), do: name in for({node} <- :ets.tab2list(@held), do: to_string(node))

  @doc "Is there a link with a node?"
  @spec linked?(node) :: boolean
  def linked?(node), do: node == node() or node in Node.list(:connected)

  # As the cluster's own: hidden, so that `global` doesn't complete the mesh.
  defp link(node), do: :net_kernel.hidden_connect_node(node) == true
end
