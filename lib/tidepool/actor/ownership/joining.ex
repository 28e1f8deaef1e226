defmodule Tidepool.Actor.Ownership.Joining do
  @moduledoc """
  Whether a node with a store that nodes share may have actors in its cluster: with each lease it asks the nodes that it is linked with
  whether they have actors elsewhere (`Tidepool.Actor.Ownership.OtherStores`), until none has.

  A node is refused at once by one of a release before that has actors in a store of its own. By one that shares another store it is when that was found
  twice in a row: nodes of the same store that start at the same time may have got their leases since this one has looked. Once it was
  refused no node has to be found twice: nodes that ask meanwhile whether this one has a store have no actors from then on.
  """

  alias Tidepool.Actor.Ownership.OtherStores
  alias Tidepool.Nodes

  defstruct stage: :asks, monitor: nil, doubted: []

  @typedoc "`monitor` is that of who asks, and `doubted` are names of nodes that share another store, as it seems."
  @type t :: %__MODULE__{
          stage: :asks | :refused | :joined,
          monitor: reference | nil,
          doubted: [String.t()]
        }

  @doc "Has a process ask, if that is still to be done and none does. `leased` are the names of nodes that have leases in the node's store."
  @spec ask(t, owner :: module, leased :: [String.t()]) :: t
  def ask(%{stage: stage, monitor: monitor} = joining, _owner, _leased) when stage == :joined or monitor != nil,
    do: joining

  def ask(joining, owner, leased) do
    names = Map.values(Nodes.all())
    {_pid, monitor} = spawn_monitor(__MODULE__, :look, [owner, names, leased])
    %{joining | monitor: monitor}
  end

  @doc false
  @spec look(owner :: module, names :: [String.t()], leased :: [String.t()]) :: no_return
  def look(owner, names, leased), do: exit({:done, OtherStores.apart(owner, names, leased)})

  @doc "Who has asked has ended so. The node joins or is refused, or asks again."
  @spec ended(t, reason :: term) :: {:joined | :refused | :again, t}
  def ended(joining, {:done, found}), do: found(found, %{joining | monitor: nil})
  def ended(joining, _failed), do: {:again, %{joining | monitor: nil}}

  defp found(nil, %{stage: :refused} = joining), do: {:again, %{joining | stage: :asks, doubted: []}}

  defp found(nil, joining) do
    OtherStores.put(nil)
    {:joined, %{joining | stage: :joined}}
  end

  defp found({:another, names} = found, %{doubted: doubted} = joining) do
    if Enum.any?(names, &(&1 in doubted)),
      do: refused(found, joining),
      else: {:again, %{joining | doubted: names}}
  end

  defp found(found, joining), do: refused(found, joining)

  defp refused({_how, names} = found, joining) do
    OtherStores.put(found)
    {:refused, %{joining | stage: :refused, doubted: names}}
  end
end
