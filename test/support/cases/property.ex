defmodule Tidepool.Property do
  @moduledoc """
  Properties with PropEr: `assert_holds(generator, fn value -> … end)` tries random values and shrinks what fails. All follow from the
  seed of the run: `mix test --seed`.
  """

  @doc "Fails with the smallest counterexample found unless `property` is true for all values of `generator`."
  def assert_holds(generator, property, tests \\ 100) do
    Process.delete(__MODULE__)

    unless :proper.quickcheck(:proper.forall(seeded(generator), property), [:quiet, {:numtests, tests}]) == true do
      ExUnit.Assertions.flunk("counterexample: #{inspect(:proper.counterexample(), limit: :infinity)}")
    end
  end

  # PropEr takes no seed, and sets one of its own at the beginning, in this process: it is set again by what is generated first.
  defp seeded(generator) do
    map(:proper_types.exactly(nil), fn nil ->
      unless Process.put(__MODULE__, :seeded), do: :rand.seed(:exsplus, ExUnit.configuration()[:seed])
      generator
    end)
  end

  @doc "Values of `generator` after `fun`."
  def map(generator, fun), do: :proper_types.bind(generator, fun, false)

  @doc "PropEr's basic generators, as in `types().integer()`."
  def types, do: :proper_types
end
