defmodule Tidepool.Actor.JoiningTest do
  # When a node with a store that nodes share joins a cluster, and when it is refused: by what it hears, one answer after the other.
  # Not async: what was found is noted for all of the node.
  use Tidepool.Case

  alias Tidepool.Actor.Ownership.{Joining, OtherStores}

  setup do: on_exit(fn -> OtherStores.put(nil) end)

  # What it comes to after each of these.
  defp stages(found) do
    {stages, _joining} =
      Enum.map_reduce(found, %Joining{}, fn found, joining -> Joining.ended(joining, {:done, found}) end)

    stages
  end

  test "a node joins when nobody has actors elsewhere, and is refused by who has them in a store of its own" do
    assert stages([nil]) == [:joined]
    assert stages([{:own, ["a@host"]}]) == [:refused]
    assert OtherStores.reason() =~ "a@host"
  end

  test "nodes that got their leases just now are no nodes of another store" do
    assert stages([{:another, ["a@host"]}, {:another, ["b@host"]}, nil]) == [:again, :again, :joined]
    assert OtherStores.reason() == nil
    assert stages([{:another, ["a@host"]}, {:another, ["b@host", "a@host"]}]) == [:again, :refused]
  end

  test "a node that was refused joins when nobody was found twice in a row" do
    assert stages([{:own, ["a@host"]}, nil, {:own, ["a@host"]}, nil, nil]) == [
             :refused,
             :again,
             :refused,
             :again,
             :joined
           ]

    other = {:another, ["a@host"]}
    assert stages([other, other, other, nil, nil]) == [:again, :refused, :refused, :again, :joined]
  end

  test "a node whose question failed asks again" do
    assert {:again, %Joining{stage: :asks, monitor: nil}} = Joining.ended(%Joining{monitor: make_ref()}, :killed)
  end
end
