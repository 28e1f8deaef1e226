defmodule Tidepool.Actor.OlderNodesTest do
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Activation.DispatchServer
  alias Tidepool.Actor.Ownership.{LeaseHolder, OtherStores}
  alias Tidepool.Actor.Replication.{Queries, ReplicaWriter, Ring}

  # By the modules that answered when the first of these nodes were released. Nothing here is to change.
  @asked %{
    "a call of an actor" => :"Elixir.Tidepool.Actor.Owner.Remote",
    "leases" => :"Elixir.Tidepool.Actor.Owner",
    "stores" => :"Elixir.Tidepool.Actor.Owner.Elsewhere",
    "who is there" => :"Elixir.Tidepool.Actor.Owner.Ring",
    "copies" => :"Elixir.Tidepool.Actor.Copies.Answers",
    "the first part of writes" => :"Elixir.Tidepool.Actor.Copies.Keeper.Part0"
  }

  test "nodes of releases before find who answers them by the names that they know" do
    assert @asked == %{
             "a call of an actor" => DispatchServer.protocol().server,
             "leases" => LeaseHolder.process(),
             "stores" => OtherStores.protocol().server,
             "who is there" => Ring.process(),
             "copies" => Queries.protocol().server,
             "the first part of writes" => ReplicaWriter.process(0)
           }
  end
end
