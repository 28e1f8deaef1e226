defmodule Tidepool.Actor.Owner.Elsewhere do
  @moduledoc """
  Nodes of the cluster that have actors in a store that they share, as this one, which shares none, has found when it started. It has no
  actors then: they would be other ones by the same names.
  """

  alias Tidepool.Process.Nodes

  @key {__MODULE__, :sharing}
  @ask_ms 1_000

  @doc "Which of these nodes share a store: of those that are linked and answer. `owner` is the process that such a node has."
  @spec ask(owner :: module, names :: [String.t()]) :: [String.t()]
  def ask(owner, names),
    do: for(name <- names, node = String.to_atom(name), Nodes.linked?(node), shares?({owner, node}), do: name)

  defp shares?(owner) do
    match?(%{nodes: _nodes}, GenServer.call(owner, :report, @ask_ms))
  catch
    :exit, _none -> false
  end

  @doc "What was found; nothing once this node has actors."
  @spec put([String.t()]) :: :ok
  def put(names), do: if(names != sharing(), do: :persistent_term.put(@key, names), else: :ok)

  @doc "Why this node has no actors, if others share a store."
  @spec reason :: String.t() | nil
  def reason, do: with([_one | _more] = names <- sharing(), do: why(names), else: ([] -> nil))

  defp why(names) do
    "#{Enum.join(names, ", ")} share a store of actors, and this node is not told which: start it with the same setting actors " <>
      "(TIDEPOOL_ACTORS=postgres://…); or stop all nodes, and start them without"
  end

  defp sharing, do: :persistent_term.get(@key, [])
end
