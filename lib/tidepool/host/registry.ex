defmodule Tidepool.Host.Registry do
  @moduledoc """
  The table of host handlers. Lookups read ETS; this process owns the table and is its only writer.
  """

  use GenServer

  alias Tidepool.Host

  @type entry :: {:fun, fun} | {:mfa, module, atom} | {:process, GenServer.name() | pid}

  @doc false
  def start_link(builtins), do: GenServer.start_link(__MODULE__, builtins, name: __MODULE__)

  @doc "Sets the handler of a target."
  @spec put(Host.target(), entry) :: :ok
  def put(target, entry), do: GenServer.call(__MODULE__, {:put, target, entry})

  @doc "Removes the handler of a target."
  @spec delete(Host.target()) :: :ok
  def delete(target), do: GenServer.call(__MODULE__, {:delete, target})

  @doc "The most specific handler that matches, or `nil`."
  @spec lookup(binary, binary, binary) :: entry | nil
  def lookup(binding, namespace, operation) do
    # Most applications name all three, so the exact target is tried before the list of patterns is even made.
    find({binding, namespace, operation}) ||
      Enum.find_value(
        [
          {binding, namespace, :_},
          {binding, :_, operation},
          {binding, :_, :_},
          {:_, namespace, operation},
          {:_, namespace, :_},
          {:_, :_, operation},
          {:_, :_, :_}
        ],
        &find/1
      )
  end

  defp find(target) do
    case :ets.lookup(__MODULE__, target) do
      [{_target, entry}] -> entry
      [] -> nil
    end
  end

  @impl true
  def init(builtins) do
    :ets.new(__MODULE__, [:named_table, :protected, read_concurrency: true])
    :ets.insert(__MODULE__, Host.Builtin.entries(builtins))
    {:ok, nil}
  end

  @impl true
  def handle_call({:put, target, entry}, _from, state) do
    :ets.insert(__MODULE__, {target, entry})
    {:reply, :ok, state}
  end

  def handle_call({:delete, target}, _from, state) do
    :ets.delete(__MODULE__, target)
    {:reply, :ok, state}
  end
end
