defmodule Tidepool.Function.ActorsTest do
  # Options of actors that releases before had: what becomes of deploys that give them, and of functions that have them.
  use ExUnit.Case, async: true

  alias Tidepool.Catalog.{Previous, Record}
  alias Tidepool.Cluster.Wire
  alias Tidepool.{ClusterMessages, Error, Limits}
  alias Tidepool.Function.{Actors, Fields, Spec}

  doctest Actors

  @given [name: "f", actor: [idle: 5]]

  # As a form says it, or Elixir.
  defp checked(text) when is_binary(text) do
    {:ok, read} = Fields.read([{"name", "f"}, {"actor", text}], Spec.kept())
    Spec.check(read, Spec.schema(), &Fields.subject/1)
  end

  defp checked(actor), do: Spec.check([name: "f", actor: actor], Spec.schema(), "the option")

  test "a deploy that says strict is as one that says nothing of it" do
    {:ok, expected} = Spec.check(@given, Spec.schema(), "the option")

    for actor <- [
          [idle: 5, consistency: :strict],
          %{idle: 5, consistency: :strict},
          ~s({"idle":5,"consistency":"strict"})
        ],
        do: assert(checked(actor) == {:ok, expected})
  end

  test "a deploy that asks for available, or for copies, is refused with what to do" do
    for actor <- [
          [consistency: :available],
          [copies: 0],
          %{consistency: :strict, copies: 1},
          [consistency: nil],
          ~s({"consistency":"available"}),
          ~s({"copies":2})
        ] do
      assert {:error, %Error{reason: :invalid_option, message: message}} = checked(actor)
      assert message =~ "TIDEPOOL_ACTORS=replicated:" and message =~ "Leave out"
    end
  end

  test "options that there have never been are refused, and none of before is named as known" do
    assert {:error, %Error{message: message}} = Fields.read([{"actor", ~s({"consitency":"strict"})}], Spec.kept())
    assert message =~ "known are"
    refute message =~ "consistency"
  end

  test "a function of a release before is read without what there is not any more, wherever it comes from" do
    {:ok, %{actor: actor}} = Spec.check(@given, Spec.schema(), "the option")
    entry = ClusterMessages.entry("f", {1, 1, "a@b#1"}, limits: Limits.complete(%{}), actor: actor)

    for former <- [%{consistency: :available}, %{consistency: :available, copies: 3}, %{copies: 0}] do
      # Written as such a release has written it.
      before = %{entry | actor: Map.merge(actor, former)}
      assert Record.decode(Record.encode(before)) == {[entry], []}
      assert Wire.decode(Wire.encode({:push, [{before, nil}]})) == {:ok, {:push, [{entry, nil}]}}
      assert [version] = Previous.list(Previous.push(before))
      assert {:ok, options} = Previous.options(version)
      assert {:ok, %{actor: ^actor}} = Spec.check([name: "f"] ++ options, Spec.kept(), "the option")
    end
  end

  test "nodes of releases before are told what they told each other of a strict class" do
    {:ok, %{actor: actor}} = Spec.check(@given, Spec.schema(), "the option")
    [{"actor", text}] = Fields.write(Keyword.take(Spec.kept(), [:actor]), %{actor: actor})

    assert text ==
             ~s({"durability":"commit","flush":1000,"idle":5,"queue":1000,"queue_bytes":4194304})
  end
end
