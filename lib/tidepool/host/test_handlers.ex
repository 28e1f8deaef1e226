defmodule Tidepool.Host.TestHandlers do
  @moduledoc """
  The handlers of tests: which process's test has one for a host call.

  A table, made by `Tidepool.Host.Registry` when the first test asks for it. From then on the registry's entries are
  `{:testing, entry}`, and say by that alone that this is to be asked first: while no test is run nothing is looked up here,
  and no host call pays for it.
  """

  alias Tidepool.Host
  alias Tidepool.Host.{Call, Registry, Target}

  @table __MODULE__

  @doc "Makes the table, in the process that is to own it."
  @spec create :: :ok
  def create do
    if :ets.whereis(@table) == :undefined, do: :ets.new(@table, [:named_table, :public, read_concurrency: true])
    :ok
  end

  @doc "Routes host calls to `target` in calls by `owner`."
  @spec put(owner :: pid, Host.target(), Registry.entry()) :: :ok
  def put(owner, target, entry) do
    :ets.insert(@table, {{owner, target}, entry})
    :ok
  end

  @doc "Takes calls by `pid` for calls by `owner`, until the owner's are removed."
  @spec allow(owner :: pid, pid) :: :ok
  def allow(owner, pid) do
    :ets.insert(@table, {pid, owner})
    :ok
  end

  @doc "Removes all that an owner has."
  @spec remove(owner :: pid) :: :ok
  def remove(owner) do
    if :ets.whereis(@table) != :undefined do
      :ets.match_delete(@table, {{owner, :_}, :_})
      :ets.match_delete(@table, {:_, owner})
    end

    :ok
  end

  @doc """
  The most specific handler for a host call in the process that makes it, or `nil`. A test has made the call when its
  process did, or one that works for it: `$callers` has them, of a `Task` for one, the nearest first.
  """
  @spec find(Call.t()) :: Registry.entry() | nil
  def find(call) do
    # The table goes with a registry that crashes, and comes back with the next test.
    if :ets.whereis(@table) != :undefined do
      targets = Target.matched(call.binding, call.namespace, call.operation)
      callers = [self() | Process.get(:"$callers", [])]
      Enum.find_value(callers, fn caller -> Enum.find_value(targets, &value({owner(caller), &1})) end)
    end
  end

  defp owner(pid), do: value(pid) || pid

  defp value(key) do
    case :ets.lookup(@table, key) do
      [{_key, value}] -> value
      [] -> nil
    end
  end
end
