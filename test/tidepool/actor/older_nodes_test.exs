defmodule Tidepool.Actor.OlderNodesTest do
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Activation.DispatchServer
  alias Tidepool.Actor.Ownership.{LeaseHolder, OtherStores}

  # By the modules that answered when the first of these nodes were released. Nothing here is to change.
  @asked %{
    "a call of an actor" => :"Elixir.Tidepool.Actor.Owner.Remote",
    "leases" => :"Elixir.Tidepool.Actor.Owner",
    "stores" => :"Elixir.Tidepool.Actor.Owner.Elsewhere"
  }

  test "nodes of releases before find who answers them, and are found, by the names that they know" do
    assert @asked == %{
             "a call of an actor" => DispatchServer.protocol().server,
             "leases" => LeaseHolder.process(),
             "stores" => OtherStores.protocol().server
           }
  end
end
