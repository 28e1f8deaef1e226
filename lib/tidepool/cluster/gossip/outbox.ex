defmodule Tidepool.Cluster.Gossip.Outbox do
  @moduledoc """
  Changes of the catalog on their way from peer to peer: taken in, and kept until they are passed on, with those who are
  known to have them. Of each name only the last one is passed on.
  """

  alias Tidepool.Catalog.{Entry, State}

  @typedoc "An entry, and the moment of the change that its replica made before."
  @type change :: {Entry.t(), before :: State.moment() | nil}
  @type t :: %{String.t() => {change, known_to :: [String.t()]}}

  @doc "A change that was made here."
  @spec local(t, State.t(), Entry.t()) :: {t, State.t()}
  def local(changes, catalog, entry) do
    before = State.seen(catalog, catalog.replica)

    case State.merge(catalog, entry) do
      {:changed, catalog} -> {Map.put(changes, entry.name, {{entry, before}, []}), State.see_own(catalog, entry)}
      {_older, catalog} -> {changes, State.see_own(catalog, entry)}
    end
  end

  @doc """
  A change that `from` has passed on. `:accepted`: it is now the entry of its name. `:completed`: it is the change that was
  the entry of its name, with more details (`Tidepool.Catalog.Entry`). `:known`: it is nothing new. `:tie`:
  neither, and what is here has the same stamp, which does not show when keys are compared. `:gone`: see
  `Tidepool.Catalog.State.merge/2`.
  """
  @spec take_in(t, State.t(), change, from :: String.t()) ::
          {:accepted | :completed | :known | :tie | :gone, t, State.t()}
  def take_in(changes, catalog, {entry, before} = change, from) do
    {result, catalog} = State.merge(catalog, entry)

    case result do
      news when news in [:changed, :completed] ->
        {_seen, catalog} = State.follow(catalog, entry.stamp, before)
        {if(news == :changed, do: :accepted, else: news), Map.put(changes, entry.name, {change, [from]}), catalog}

      :same ->
        {changes, catalog} = changes |> known_to(entry, from) |> follow(catalog, change, from)
        {:known, changes, catalog}

      :older ->
        {changes, catalog} = follow(changes, catalog, change, from)
        {if(catalog.index[entry.name].stamp == entry.stamp, do: :tie, else: :known), changes, catalog}

      :gone ->
        {:gone, changes, catalog}
    end
  end

  # A change that is nothing new may still fill a gap in what was seen; others may have the same gap.
  defp follow(changes, catalog, {entry, before} = change, from) do
    case State.follow(catalog, entry.stamp, before) do
      {:changed, catalog} -> {Map.put_new(changes, entry.name, {change, [from]}), catalog}
      {:same, catalog} -> {changes, catalog}
    end
  end

  defp known_to(changes, %{name: name, stamp: stamp}, from) do
    case changes do
      %{^name => {{%{stamp: ^stamp}, _before} = change, others}} -> %{changes | name => {change, [from | others]}}
      _other -> changes
    end
  end
end
