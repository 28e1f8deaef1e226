defmodule Tidepool.Keyvalue.Setting do
  @moduledoc """
  The setting `keyvalue`: where components keep keys and values. `:memory`, `:actors`, `:none`, a module of the behaviour `Tidepool.Keyvalue`, or one
  with an argument (`{module, argument}`). As a string it is `memory`, `actors`, `none`, or the URL of a Redis.
  """

  alias Tidepool.Keyvalue.{Actors, Memory, Redis}

  @callbacks [get: 3, set: 4, delete: 3, list_keys: 4, increment: 4, swap: 5]

  @type t :: {module, argument :: term} | nil

  @doc "What the setting has to be."
  @spec expectation :: String.t()
  def expectation,
    do:
      ":memory, :actors, :none, the URL of a Redis, a module of the behaviour Tidepool.Keyvalue, or {module, argument} with options that it has"

  @doc "Can the setting be this?"
  @spec valid?(term) :: boolean
  def valid?(setting), do: read(setting) != :error

  @doc """
  What answers; `nil` is nothing.

      iex> alias Tidepool.Keyvalue.{Actors, Memory, Redis, Setting}
      iex> Enum.map([:none, "memory", "actors", {Memory, max_bytes: 1_000}, "redis://cache.internal"], &Setting.read/1)
      [nil, {Memory, []}, {Actors, []}, {Memory, [max_bytes: 1_000]}, {Redis, [url: "redis://cache.internal"]}]
      iex> Enum.map([:nothing, "http://cache.internal", {Memory, max_bytes: 0}, {Redis, []}, String], &Setting.read/1)
      [:error, :error, :error, :error, :error]
  """
  @spec read(term) :: t | :error
  def read(none) when none in [nil, :none, "none"], do: nil
  def read(memory) when memory in [:memory, "memory"], do: {Memory, []}
  def read(actors) when actors in [:actors, "actors"], do: {Actors, []}
  def read(url) when is_binary(url), do: read({Redis, url: url})
  def read({module, argument} = store), do: if(store?(module, argument), do: store, else: :error)
  def read(module), do: if(store?(module, nil), do: {module, nil}, else: :error)

  defp store?(module, argument) when module in [Actors, Memory, Redis], do: module.argument?(argument)

  defp store?(module, _argument) do
    is_atom(module) and Code.ensure_loaded?(module) and
      Enum.all?(@callbacks, fn {name, arity} -> function_exported?(module, name, arity) end)
  end
end
