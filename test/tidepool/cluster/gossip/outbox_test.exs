defmodule Tidepool.Cluster.Gossip.OutboxTest do
  use ExUnit.Case, async: true

  import Tidepool.ClusterMessages

  alias Tidepool.Catalog.State
  alias Tidepool.Cluster.Gossip.Outbox

  defp known_to(changes, name) do
    {_change, nodes} = changes[name]
    nodes
  end

  test "a change is kept with those who have passed it on, so that it is not sent back to them" do
    catalog = State.new(State.new_context("me@host#1"), [])
    {mine, theirs} = {entry("mine", {1, 0, "me@host#1"}), entry("theirs", {1, 0, "b@host#1"})}

    {changes, catalog} = Outbox.local(%{}, catalog, mine)
    assert known_to(changes, "mine") == []
    {:accepted, changes, catalog} = Outbox.take_in(changes, catalog, {theirs, nil}, "b@host")
    assert known_to(changes, "theirs") == ["b@host"]

    # They come once more, by another way.
    for {entry, nodes} <- [{mine, ["c@host"]}, {theirs, ["b@host", "c@host"]}] do
      assert {:known, changes, _catalog} = Outbox.take_in(changes, catalog, {entry, nil}, "c@host")
      assert Enum.sort(known_to(changes, entry.name)) == nodes
    end

    # Who passes on an earlier one has not got the later one.
    later = entry("theirs", {2, 0, "me@host#1"}, version: 2)
    {changes, catalog} = Outbox.local(changes, catalog, later)
    assert {:known, changes, _catalog} = Outbox.take_in(changes, catalog, {theirs, nil}, "c@host")
    assert known_to(changes, "theirs") == []
  end
end
