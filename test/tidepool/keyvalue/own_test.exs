defmodule Tidepool.Keyvalue.OwnTest do
  # The bucket that is an actor's own, without the actor: what is changed stays with the call.
  use ExUnit.Case, async: true

  alias Tidepool.Actor.Activation.Guest.Changes
  alias Tidepool.Host.Call
  alias Tidepool.Keyvalue
  alias Tidepool.Keyvalue.Own

  @none %Changes{
    class: "any",
    name: "any",
    stored?: false,
    most_bytes: 1_048_576,
    value_bytes: 0,
    alarm: nil,
    rung?: false
  }

  defp answer(operation, arguments, changes),
    do:
      Own.answer(
        %Call{function: "any", binding: "any", namespace: "any", operation: operation, payload: ""},
        arguments,
        changes
      )

  defp with_value(value) do
    {:ok, changes} = answer("set", ["n", value], @none)
    changes
  end

  test "a number is what it is in all stores, and no value of digits is read as one, however long" do
    assert {{:ok, 1}, _changes} = answer("increment", ["n", 1], @none)
    assert {{:ok, -4}, changes} = answer("increment", ["n", -5], with_value("1"))
    assert {{:ok, "-4"}, _changes} = answer("get", ["n"], changes)

    for value <- ["007", "+5", "", "1 ", String.duplicate("9", 65_536)],
        changes = with_value(value),
        do: assert(answer("increment", ["n", 1], changes) == {{:error, Keyvalue.no_number()}, changes})

    assert {{:error, _too_large}, _changes} = answer("increment", ["n", 1], with_value("9223372036854775807"))
  end
end
