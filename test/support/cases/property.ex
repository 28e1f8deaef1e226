defmodule Tidepool.Property do
  @moduledoc """
  Properties with PropEr: `assert_holds(generator, fn value -> … end)` tries random values and shrinks what fails.
  """

  @doc "Fails with the smallest counterexample found unless `property` is true for all values of `generator`."
  def assert_holds(generator, property, tests \\ 100) do
    unless :proper.quickcheck(:proper.forall(generator, property), [:quiet, {:numtests, tests}]) == true do
      ExUnit.Assertions.flunk("counterexample: #{inspect(:proper.counterexample(), limit: :infinity)}")
    end
  end

  @doc "Values of `generator` after `fun`."
  def map(generator, fun), do: :proper_types.bind(generator, fun, false)

  @doc "PropEr's basic generators, as in `types().integer()`."
  def types, do: :proper_types
end
