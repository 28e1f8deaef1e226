defmodule Tidepool.Actor.Ownership.OtherStores do
  @moduledoc """
  Nodes of the cluster that have actors where this one, as it has found when it joined, could have none of them: it has no actors then, for
  they would be other ones by the same names.

  A node with a store that nodes share has none beside nodes that share another store, and none beside nodes of releases before that have
  actors in stores of their own (`apart/3`). Who was there first stays. Nodes with a shared store are asked for what they know of leases,
  and nodes of releases before whether they have actors in a store of their own; today's have none in a cluster.
  """

  alias Tidepool.Nodes
  alias Tidepool.Nodes.{Ask, Protocol}

  # What nodes of releases before answer.
  @own %Protocol{
    server: :"Elixir.Tidepool.Actor.Owner.Elsewhere",
    tag: :tidepool_stores,
    version: 1,
    what: "stores of actors"
  }
  @key {__MODULE__, :found}
  @ask_ms 1_000

  @typedoc "How those have their actors that were found, by their names: each in a store of its own, or in another one that they share."
  @type found :: {:own | :another, [String.t(), ...]}

  @doc "By what nodes of releases before are asked."
  @spec protocol :: Protocol.t()
  def protocol, do: @own

  @doc """
  Which of these nodes have actors and are not of the store in whose table the nodes `leased` have leases; of those that are linked and
  answer. `owner` is the process that a node with a shared store has.
  """
  @spec apart(owner :: module, names :: [String.t()], leased :: [String.t()]) :: found | nil
  def apart(owner, names, leased) do
    names = linked(names)

    found(:own, Enum.filter(names, &own?/1)) ||
      found(:another, for(name <- names -- leased, name in (leases(owner, name) || []), do: name))
  end

  defp found(_how, []), do: nil
  defp found(how, names), do: {how, names}

  defp linked(names), do: Enum.filter(names, &Nodes.linked?(String.to_atom(&1)))

  defp own?(name), do: Ask.ask(@own, String.to_atom(name), :own, @ask_ms) == {:ok, true}

  # Those that have leases, as the owner of a node has seen; `nil` when it has none of a store, or has no actors itself.
  defp leases(owner, name) do
    with %{nodes: nodes} <- GenServer.call({owner, String.to_atom(name)}, :report, @ask_ms),
         do: for(%{name: name, lease_ms: left} when is_integer(left) and left > 0 <- nodes, do: name),
         else: (_no_actors -> nil)
  catch
    :exit, _none -> nil
  end

  @doc "Notes what was found; `nil` once this node has actors."
  @spec put(found | nil) :: :ok
  def put(found), do: if(found != get(), do: :persistent_term.put(@key, found), else: :ok)

  @doc "Why this node has no actors, if that is for others."
  @spec reason :: String.t() | nil
  def reason, do: with({how, names} <- get(), do: why(how, Enum.join(names, ", ")))

  defp why(:own, names) do
    "#{names} have actors in stores of their own, as releases before had them, and this node, #{node()}, in one that nodes share: stop " <>
      "them, and start them by this release with the same setting actors (TIDEPOOL_ACTORS)"
  end

  defp why(:another, names) do
    "#{names} share another store of actors than this node, #{node()}: start it with the same setting actors " <>
      "(TIDEPOOL_ACTORS)"
  end

  @doc "What is wrong, and what to do, where this node has met those that were found, and both have had their actors before."
  @spec met(found) :: String.t()
  def met({how, names}) do
    where = if how == :own, do: "in stores of their own, as releases before had them,", else: "in another store"

    "#{Enum.join(names, ", ")} have actors #{where} and are linked with this node, #{node()}: of each name there may be two actors by now, and " <>
      "which of them is called depends on the node that is asked. Part the two sides again, by their seeds or the network; or export the " <>
      "actors of one side, stop its nodes, and start them with the setting actors (TIDEPOOL_ACTORS) of the other"
  end

  defp get, do: :persistent_term.get(@key, nil)
end
